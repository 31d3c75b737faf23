//! A job, and how it was asked to be.

use std::collections::BTreeMap;

use super::task::Task;
use super::{Key, Stamp};
use crate::azure_batch::body::{self, Object, Properties, Property};
use crate::azure_batch::fault::{Code, Fault};

const PROPERTIES: Properties = &[
    ("id", Property::Taken),
    ("displayName", Property::Taken),
    ("usesTaskDependencies", Property::Refused),
    ("priority", Property::Taken),
    // Not available on an account by default; accepted and without effect, as there.
    ("allowTaskPreemption", Property::Taken),
    ("maxParallelTasks", Property::Taken),
    ("constraints", Property::Taken),
    ("jobManagerTask", Property::Refused),
    ("jobPreparationTask", Property::Refused),
    ("jobReleaseTask", Property::Refused),
    ("commonEnvironmentSettings", Property::Taken),
    ("poolInfo", Property::Taken),
    ("onAllTasksComplete", Property::Taken),
    ("onTaskFailure", Property::Taken),
    ("networkConfiguration", Property::Taken),
    ("metadata", Property::Taken),
];

const CHANGED: Properties = &[
    ("priority", Property::Taken),
    ("allowTaskPreemption", Property::Taken),
    ("maxParallelTasks", Property::Taken),
    ("constraints", Property::Taken),
    ("poolInfo", Property::Taken),
    ("onAllTasksComplete", Property::Taken),
    ("networkConfiguration", Property::Taken),
    ("metadata", Property::Taken),
];

const CONSTRAINTS: Properties =
    &[("maxWallClockTime", Property::Taken), ("maxTaskRetryCount", Property::Taken)];

/// How a job was asked to be.
#[derive(Clone, Debug)]
pub(in crate::azure_batch) struct Spec {
    pub(in crate::azure_batch) id: String,
    /// As it was given, for showing.
    pub(in crate::azure_batch) given: Object,
    pub(super) pool: Key,
    pub(super) priority: i64,
    pub(super) wall_limit_ms: Option<u64>,
    pub(super) retries: i64,
    pub(super) ends_with_its_tasks: bool,
    pub(super) environment: Vec<(String, String)>,
}

/// A job's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::azure_batch) enum State {
    Active,
    /// Asked to be disabled while tasks that may finish still run.
    Disabling,
    Disabled,
    Completed,
}

impl State {
    /// The state's name on the wire.
    pub(in crate::azure_batch) fn name(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Disabling => "disabling",
            State::Disabled => "disabled",
            State::Completed => "completed",
        }
    }
}

/// A job.
pub(in crate::azure_batch) struct Job {
    pub(in crate::azure_batch) spec: Spec,
    /// The order of creation in the account.
    pub(super) number: u64,
    pub(in crate::azure_batch) created_ms: u64,
    pub(in crate::azure_batch) stamp: Stamp,
    pub(in crate::azure_batch) state: State,
    pub(in crate::azure_batch) since_ms: u64,
    pub(in crate::azure_batch) previous: Option<State>,
    pub(in crate::azure_batch) ended_ms: Option<u64>,
    pub(in crate::azure_batch) end_reason: Option<String>,
    /// When its own wall-clock time is over.
    pub(super) limit_ms: Option<u64>,
    pub(in crate::azure_batch) tasks: BTreeMap<Key, Task>,
    /// The active tasks.
    pub(super) ready: Ready,
    /// Tasks that are not completed.
    pub(super) open: usize,
    /// Tasks that are completed without a failure.
    pub(super) succeeded: usize,
    /// The number of the next task.
    pub(super) next_task: u64,
}

impl Job {
    /// Moves to a state and remembers the one before.
    pub(super) fn enter(&mut self, state: State, now_ms: u64) {
        self.previous = Some(self.state);
        self.state = state;
        self.since_ms = now_ms;
    }
}

/// Active tasks in the order in which they were added.
#[derive(Default)]
pub(super) struct Ready {
    tasks: BTreeMap<u64, (Key, u32)>,
    instances: u64,
}

impl Ready {
    /// A task by its number and key, with the instances that it will be.
    pub(super) fn insert(&mut self, number: u64, key: Key, instances: u32) {
        self.remove(number);
        self.tasks.insert(number, (key, instances));
        self.instances += u64::from(instances);
    }

    pub(super) fn remove(&mut self, number: u64) {
        if let Some((_, instances)) = self.tasks.remove(&number) {
            self.instances -= u64::from(instances);
        }
    }

    pub(super) fn first(&self) -> Option<&Key> {
        self.tasks.first_key_value().map(|(_, (key, _))| key)
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The instances of all of them.
    pub(super) fn instances(&self) -> u64 {
        self.instances
    }

    #[cfg(test)]
    pub(super) fn numbers(&self) -> std::collections::BTreeSet<u64> {
        self.tasks.keys().copied().collect()
    }
}

/// What becomes of the running tasks of a job that is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DisableTasks {
    Requeue,
    Terminate,
    Wait,
}

impl DisableTasks {
    /// The body of `disable`.
    pub(super) fn read(object: &Object) -> Result<DisableTasks, Fault> {
        body::check(object, &[("disableTasks", Property::Taken)])?;
        match body::choice(object, "disableTasks", &["requeue", "terminate", "wait"])? {
            Some("requeue") => Ok(DisableTasks::Requeue),
            Some("terminate") => Ok(DisableTasks::Terminate),
            Some(_) => Ok(DisableTasks::Wait),
            None => Err(body::missing("disableTasks")),
        }
    }
}

impl Spec {
    /// A new job.
    pub(super) fn read(object: Object) -> Result<Spec, Fault> {
        body::check(&object, PROPERTIES)?;
        Spec::of(body::id(&object)?, object)
    }

    /// The same job with some properties replaced: PATCH.
    pub(super) fn patched(&self, changes: Object) -> Result<Spec, Fault> {
        body::check(&changes, CHANGED)?;
        let mut given = self.given.clone();
        given.extend(changes);
        Spec::of(self.id.clone(), given)
    }

    /// The same job with all properties that can change replaced: PUT. What the client reads and
    /// sends back may hold the other ones, which stay as they are.
    pub(super) fn replaced(&self, changes: &Object) -> Result<Spec, Fault> {
        if !changes.contains_key("poolInfo") {
            return Err(body::missing("poolInfo"));
        }
        let changes_of = |name: &str| CHANGED.iter().any(|(changed, _)| *changed == name);
        let mut given = self.given.clone();
        given.retain(|name, _| !changes_of(name));
        given
            .extend(changes.iter().filter(|(name, _)| changes_of(name)).map(|(n, v)| (n.clone(), v.clone())));
        Spec::of(self.id.clone(), given)
    }

    fn of(id: String, given: Object) -> Result<Spec, Fault> {
        let pool_info = body::inner(&given, "poolInfo")?;
        body::check(
            &pool_info,
            &[("poolId", Property::Taken), ("autoPoolSpecification", Property::Refused)],
        )?;
        let pool = body::text(&pool_info, "poolId")?.ok_or_else(|| body::missing("poolInfo"))?;
        let constraints = body::inner(&given, "constraints")?;
        body::check(&constraints, CONSTRAINTS)?;
        if body::number(&given, "maxParallelTasks", -1..=i64::MAX)?.unwrap_or(-1) != -1 {
            let reason = "it is not available on an account by default";
            return Err(Fault::property(Code::UnsupportedProperty, "maxParallelTasks", reason));
        }
        if body::choice(&given, "onTaskFailure", &["noaction", "performexitoptionsjobaction"])?
            == Some("performexitoptionsjobaction")
        {
            let reason = "the Azure Batch stand-in does not carry it out";
            return Err(Fault::property(Code::UnsupportedProperty, "onTaskFailure", reason));
        }
        let at_end = body::choice(&given, "onAllTasksComplete", &["noaction", "terminatejob"])?;
        Ok(Spec {
            pool: Key::of(pool),
            priority: body::number(&given, "priority", -1000..=1000)?.unwrap_or(0),
            wall_limit_ms: body::duration_ms(&constraints, "maxWallClockTime")?,
            retries: body::number(&constraints, "maxTaskRetryCount", -1..=i64::from(i32::MAX))?.unwrap_or(0),
            ends_with_its_tasks: at_end == Some("terminatejob"),
            environment: body::settings(&given, "commonEnvironmentSettings")?,
            id,
            given,
        })
    }
}
