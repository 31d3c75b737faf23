//! A task, and how it was asked to be.

use super::pool::NODES_MAX;
use super::{RunId, Stamp};
use crate::azure_batch::body::{self, Object, Properties, Property};
use crate::azure_batch::fault::{Code, Fault};

const PROPERTIES: Properties = &[
    ("id", Property::Taken),
    ("displayName", Property::Taken),
    ("commandLine", Property::Taken),
    ("containerSettings", Property::Taken),
    ("exitConditions", Property::Refused),
    ("resourceFiles", Property::Refused),
    ("outputFiles", Property::Refused),
    ("environmentSettings", Property::Taken),
    // A wish that the service may ignore.
    ("affinityInfo", Property::Taken),
    ("constraints", Property::Taken),
    ("requiredSlots", Property::Taken),
    // Everything runs as the user who runs the stand-in.
    ("userIdentity", Property::Taken),
    ("multiInstanceSettings", Property::Taken),
    ("dependsOn", Property::Refused),
    ("applicationPackageReferences", Property::Refused),
    ("authenticationTokenSettings", Property::Refused),
];

const CONSTRAINTS: Properties = &[
    ("maxWallClockTime", Property::Taken),
    // Nothing outlives the stand-in, and completed tasks count against its bound until deleted.
    ("retentionTime", Property::Taken),
    ("maxTaskRetryCount", Property::Taken),
];

const INSTANCES: Properties = &[
    ("numberOfInstances", Property::Taken),
    ("coordinationCommandLine", Property::Taken),
    ("commonResourceFiles", Property::Refused),
];

/// How a task was asked to be.
#[derive(Clone, Debug)]
pub(in crate::azure_batch) struct Spec {
    pub(in crate::azure_batch) id: String,
    /// As it was given, for showing.
    pub(in crate::azure_batch) given: Object,
    pub(super) command_line: String,
    pub(super) image: Option<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(in crate::azure_batch) slots: u32,
    /// Nodes that it runs on at the same time.
    pub(super) instances: u32,
    pub(super) wall_limit_ms: Option<u64>,
    /// None leaves it to the job; -1 is for ever.
    pub(super) retries: Option<i64>,
}

impl Spec {
    /// A new task.
    pub(super) fn read(object: Object) -> Result<Spec, Fault> {
        if object.contains_key("dependsOn") {
            // No job here uses them.
            return Err(Code::TaskDependenciesNotSpecifiedOnJob.into());
        }
        body::check(&object, PROPERTIES)?;
        Spec::of(body::id(&object)?, object)
    }

    /// The same task with other constraints: PUT.
    pub(super) fn constrained(&self, changes: &Object) -> Result<Spec, Fault> {
        let mut given = self.given.clone();
        given.shift_remove("constraints");
        if let Some(constraints) = changes.get("constraints") {
            given.insert("constraints".to_owned(), constraints.clone());
        }
        Spec::of(self.id.clone(), given)
    }

    fn of(id: String, given: Object) -> Result<Spec, Fault> {
        let command_line = body::text(&given, "commandLine")?.ok_or_else(|| body::missing("commandLine"))?;
        let image = match given.get("containerSettings") {
            Some(_) => {
                let settings = body::inner(&given, "containerSettings")?;
                let image = body::text(&settings, "imageName")?.ok_or_else(|| body::missing("imageName"))?;
                Some(image.to_owned())
            }
            None if command_line.trim().is_empty() => {
                return Err(body::invalid("commandLine", "only a container task may leave it empty"));
            }
            None => None,
        };
        let constraints = body::inner(&given, "constraints")?;
        body::check(&constraints, CONSTRAINTS)?;
        let slots = body::number(&given, "requiredSlots", 1..=256)?.unwrap_or(1);
        Ok(Spec {
            command_line: command_line.to_owned(),
            image,
            environment: body::settings(&given, "environmentSettings")?,
            slots: u32::try_from(slots).expect("the range is checked"),
            instances: instances(&given)?,
            wall_limit_ms: body::duration_ms(&constraints, "maxWallClockTime")?,
            retries: body::number(&constraints, "maxTaskRetryCount", -1..=i64::from(i32::MAX))?,
            id,
            given,
        })
    }
}

/// On how many nodes a task runs. Its command runs on the first of them, the others are held for
/// what it starts there: a command that coordinates them would have to run on each.
fn instances(given: &Object) -> Result<u32, Fault> {
    let settings = body::inner(given, "multiInstanceSettings")?;
    body::check(&settings, INSTANCES)?;
    if !body::text(&settings, "coordinationCommandLine")?.unwrap_or_default().trim().is_empty() {
        let reason = "the Azure Batch stand-in does not carry it out; leave it empty";
        return Err(Fault::property(Code::UnsupportedProperty, "coordinationCommandLine", reason));
    }
    let instances = body::number(&settings, "numberOfInstances", 1..=NODES_MAX)?.unwrap_or(1);
    Ok(u32::try_from(instances).expect("the range is checked"))
}

/// A task's state. `preparing` takes no time here: there is nothing to download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::azure_batch) enum State {
    Active,
    Running,
    Completed,
}

impl State {
    /// The state's name on the wire.
    pub(in crate::azure_batch) fn name(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Running => "running",
            State::Completed => "completed",
        }
    }
}

/// Where a task runs or ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::azure_batch) struct Place {
    /// The pool's id.
    pub(in crate::azure_batch) pool: String,
    pub(in crate::azure_batch) node: String,
}

/// Why a task did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::azure_batch) struct Failure {
    pub(in crate::azure_batch) code: &'static str,
    pub(in crate::azure_batch) message: String,
}

/// How a task ended. All failures that the stand-in has are the user's in the service's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::azure_batch) struct Outcome {
    /// None when no process has ended by itself.
    pub(in crate::azure_batch) exit_code: Option<i32>,
    pub(in crate::azure_batch) failure: Option<Failure>,
}

impl Outcome {
    /// A process that ended by itself.
    pub(super) fn exited(exit_code: i32) -> Outcome {
        let failure = (exit_code != 0).then(|| Failure {
            code: "FailureExitCode",
            message: "The task exited with an exit code representing a failure".to_owned(),
        });
        Outcome { exit_code: Some(exit_code), failure }
    }

    /// Ended from outside: by a call, a time limit or a node that went away.
    pub(super) fn ended() -> Outcome {
        let message = "Task Was Ended by User Request".to_owned();
        Outcome { exit_code: None, failure: Some(Failure { code: "TaskEnded", message }) }
    }
}

/// A task.
pub(in crate::azure_batch) struct Task {
    pub(in crate::azure_batch) spec: Spec,
    /// The order of adding in the job.
    pub(super) number: u64,
    pub(in crate::azure_batch) created_ms: u64,
    pub(in crate::azure_batch) stamp: Stamp,
    pub(in crate::azure_batch) state: State,
    pub(in crate::azure_batch) since_ms: u64,
    pub(in crate::azure_batch) previous: Option<State>,
    pub(in crate::azure_batch) started_ms: Option<u64>,
    pub(in crate::azure_batch) ended_ms: Option<u64>,
    pub(in crate::azure_batch) retries: i64,
    pub(in crate::azure_batch) retried_ms: Option<u64>,
    pub(in crate::azure_batch) requeues: u64,
    pub(in crate::azure_batch) requeued_ms: Option<u64>,
    pub(in crate::azure_batch) outcome: Option<Outcome>,
    /// Where it runs, or ran last while that node is there.
    pub(in crate::azure_batch) place: Option<Place>,
    pub(super) run: Option<RunId>,
}

impl Task {
    pub(super) fn new(spec: Spec, number: u64, stamp: Stamp) -> Task {
        Task {
            spec,
            number,
            created_ms: stamp.modified_ms,
            stamp,
            state: State::Active,
            since_ms: stamp.modified_ms,
            previous: None,
            started_ms: None,
            ended_ms: None,
            retries: 0,
            retried_ms: None,
            requeues: 0,
            requeued_ms: None,
            outcome: None,
            place: None,
            run: None,
        }
    }

    /// Moves to a state and remembers the one before.
    pub(super) fn enter(&mut self, state: State, now_ms: u64) {
        self.previous = Some(self.state);
        self.state = state;
        self.since_ms = now_ms;
    }

    /// Whether it has ended without a failure.
    pub(in crate::azure_batch) fn succeeded(&self) -> bool {
        self.outcome.as_ref().is_some_and(|outcome| outcome.failure.is_none())
    }
}
