//! A pool and its nodes: what was asked for and how they stand.

use std::collections::{BTreeMap, BTreeSet};

use super::autoscale::{Asked, Autoscale};
use super::samples::Samples;
use super::trouble::{BootEnd, Raging};
use super::{RunId, Stamp};
use crate::azure_batch::body::{self, Object, Properties, Property};
use crate::azure_batch::fault::{Code, Fault};
use crate::azure_batch::version::Version;

/// Nodes that a pool may ask for. A fresh account's core quotas are 10 to 100, and each node may run processes of this machine.
pub(super) const NODES_MAX: i64 = 100;
/// The service's bound for slots on the largest machine (min(4 × cores, 256)).
const SLOTS_MAX: i64 = 256;
/// Nodes in one `removenodes`.
const REMOVED_MAX: usize = 100;

const PROPERTIES: Properties = &[
    ("id", Property::Taken),
    ("displayName", Property::Taken),
    ("vmSize", Property::Taken),
    ("virtualMachineConfiguration", Property::Taken),
    ("resizeTimeout", Property::Taken),
    ("resourceTags", Property::Taken),
    ("targetDedicatedNodes", Property::Taken),
    ("targetLowPriorityNodes", Property::Taken),
    ("enableAutoScale", Property::Taken),
    ("autoScaleFormula", Property::Taken),
    ("autoScaleEvaluationInterval", Property::Taken),
    ("enableInterNodeCommunication", Property::Taken),
    ("networkConfiguration", Property::Taken),
    ("startTask", Property::Taken),
    ("applicationPackageReferences", Property::Taken),
    ("taskSlotsPerNode", Property::Taken),
    ("taskSchedulingPolicy", Property::Taken),
    ("userAccounts", Property::Taken),
    ("metadata", Property::Taken),
    ("mountConfiguration", Property::Taken),
    ("upgradePolicy", Property::Taken),
];

/// What PATCH may replace (2025-06-01).
const PATCHED: Properties = &[
    ("displayName", Property::Taken),
    ("vmSize", Property::Taken),
    ("virtualMachineConfiguration", Property::Taken),
    ("resourceTags", Property::Taken),
    ("enableInterNodeCommunication", Property::Taken),
    ("networkConfiguration", Property::Taken),
    ("startTask", Property::Taken),
    ("applicationPackageReferences", Property::Taken),
    ("taskSlotsPerNode", Property::Taken),
    ("taskSchedulingPolicy", Property::Taken),
    ("userAccounts", Property::Taken),
    ("metadata", Property::Taken),
    ("mountConfiguration", Property::Taken),
    ("upgradePolicy", Property::Taken),
];

const RESIZED: Properties = &[
    ("targetDedicatedNodes", Property::Taken),
    ("targetLowPriorityNodes", Property::Taken),
    ("resizeTimeout", Property::Taken),
    ("nodeDeallocationOption", Property::Taken),
];

const REMOVED: Properties = &[
    ("nodeList", Property::Taken),
    ("resizeTimeout", Property::Taken),
    ("nodeDeallocationOption", Property::Taken),
];

/// What a pool has beside its targets or its formula: shown as it is now, not as it was given.
const SCALING: [&str; 5] = [
    "targetDedicatedNodes",
    "targetLowPriorityNodes",
    "enableAutoScale",
    "autoScaleFormula",
    "autoScaleEvaluationInterval",
];

/// The two kinds of nodes. What the wire still calls low priority is spot since March 2026.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::azure_batch) enum Kind {
    Dedicated,
    Spot,
}

/// One number for each kind of node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::azure_batch) struct Nodes {
    pub(in crate::azure_batch) dedicated: usize,
    pub(in crate::azure_batch) spot: usize,
}

impl Nodes {
    pub(super) fn of(&self, kind: Kind) -> usize {
        match kind {
            Kind::Dedicated => self.dedicated,
            Kind::Spot => self.spot,
        }
    }
}

/// What happens to the tasks of a node that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::azure_batch) enum Deallocation {
    Requeue,
    Terminate,
    TaskCompletion,
}

/// Where new tasks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    Spread,
    Pack,
}

/// How a pool was asked to be.
#[derive(Clone, Debug)]
pub(in crate::azure_batch) struct Spec {
    pub(in crate::azure_batch) id: String,
    /// As it was given, for showing; without the targets, which change.
    pub(in crate::azure_batch) given: Object,
    pub(in crate::azure_batch) slots: u32,
    pub(super) fill: Fill,
    /// Whether its tasks run in containers.
    pub(super) containers: bool,
}

/// New targets. A kind that is not named keeps its target.
#[derive(Clone, Copy, Debug)]
pub(in crate::azure_batch) struct Resize {
    pub(super) dedicated: Option<usize>,
    pub(super) spot: Option<usize>,
    pub(super) deallocation: Deallocation,
}

/// How a new pool is to be sized.
#[derive(Debug)]
pub(super) enum Scaling {
    Fixed(Resize),
    Auto(Asked),
}

/// Nodes to remove by name.
#[derive(Clone, Debug)]
pub(in crate::azure_batch) struct Removal {
    pub(super) nodes: BTreeSet<String>,
    pub(super) deallocation: Deallocation,
}

/// Whether the pool is on its way to its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::azure_batch) enum Allocation {
    Steady,
    Resizing,
}

/// Why the last resize stopped short of its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::azure_batch) enum ResizeError {
    /// No capacity for a kind of node.
    AllocationFailed(Kind),
    /// The account's core quota for a kind of node.
    QuotaReached(Kind),
    /// `stopresize`.
    ResizeStopped,
}

/// A pool.
pub(in crate::azure_batch) struct Pool {
    pub(in crate::azure_batch) spec: Spec,
    pub(in crate::azure_batch) created_ms: u64,
    pub(in crate::azure_batch) stamp: Stamp,
    pub(in crate::azure_batch) target: Nodes,
    pub(in crate::azure_batch) allocation: Allocation,
    pub(in crate::azure_batch) allocation_since_ms: u64,
    /// When the nodes that are still missing arrive.
    pub(super) arrive_ms: Option<u64>,
    pub(in crate::azure_batch) resize_errors: Vec<ResizeError>,
    /// Errors that stay whatever its resizes do: trouble on request.
    pub(in crate::azure_batch) stale_errors: Vec<ResizeError>,
    pub(in crate::azure_batch) autoscale: Option<Autoscale>,
    /// When `enableautoscale` was last taken.
    pub(super) enabled_ms: Option<u64>,
    pub(super) samples: Samples,
    pub(super) storm: Option<Raging>,
    /// By id, which is their age as well.
    pub(in crate::azure_batch) nodes: BTreeMap<String, Node>,
}

/// A node's state, as far as the stand-in has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::azure_batch) enum NodeState {
    Starting,
    /// Booted; idle or running by what it runs.
    Up,
    /// Booted, and of no use.
    Unusable,
    StartTaskFailed,
    Preempted,
    LeavingPool,
}

/// A node.
pub(in crate::azure_batch) struct Node {
    pub(in crate::azure_batch) kind: Kind,
    pub(in crate::azure_batch) state: NodeState,
    pub(in crate::azure_batch) since_ms: u64,
    pub(in crate::azure_batch) allocated_ms: u64,
    pub(in crate::azure_batch) booted_ms: Option<u64>,
    /// How its boot ends.
    pub(super) boot_end: BootEnd,
    /// When it boots, or is tried to be got back.
    pub(super) due_ms: Option<u64>,
    /// What runs on it, with the slots each takes.
    pub(in crate::azure_batch) runs: BTreeMap<RunId, u32>,
    pub(in crate::azure_batch) tasks_run: u64,
    pub(in crate::azure_batch) tasks_succeeded: u64,
}

impl Node {
    pub(in crate::azure_batch) fn slots_taken(&self) -> u32 {
        self.runs.values().sum()
    }

    /// The state's name on the wire.
    pub(in crate::azure_batch) fn state_name(&self) -> &'static str {
        match self.state {
            NodeState::Starting => "starting",
            NodeState::Up if self.runs.is_empty() => "idle",
            NodeState::Up => "running",
            NodeState::Unusable => "unusable",
            NodeState::StartTaskFailed => "starttaskfailed",
            NodeState::Preempted => "preempted",
            NodeState::LeavingPool => "leavingpool",
        }
    }
}

impl Pool {
    /// The nodes of the pool as the service counts them: preempted ones are among them.
    pub(in crate::azure_batch) fn current(&self) -> Nodes {
        Nodes { dedicated: self.count(Kind::Dedicated), spot: self.count(Kind::Spot) }
    }

    fn count(&self, kind: Kind) -> usize {
        self.nodes.values().filter(|node| node.kind == kind).count()
    }

    /// Machines of a kind that the pool holds now.
    pub(super) fn held(&self, kind: Kind) -> usize {
        self.nodes.values().filter(|node| node.kind == kind && node.state != NodeState::Preempted).count()
    }
}

impl Spec {
    /// A new pool, and its first targets or its formula.
    pub(super) fn read(mut object: Object, version: Version) -> Result<(Spec, Scaling), Fault> {
        body::check(&object, PROPERTIES)?;
        let id = body::id(&object)?;
        body::text(&object, "vmSize")?.ok_or_else(|| body::missing("vmSize"))?;
        let machine = body::inner(&object, "virtualMachineConfiguration")?;
        for required in ["imageReference", "nodeAgentSKUId"] {
            if !machine.contains_key(required) {
                return Err(body::missing(required));
            }
        }
        let scaling = if body::flag(&object, "enableAutoScale")?.unwrap_or(false) {
            Scaling::Auto(Asked::of_new_pool(&object, version)?)
        } else {
            let formula = ["autoScaleFormula", "autoScaleEvaluationInterval"];
            if let Some(name) = formula.iter().find(|name| object.contains_key(**name)) {
                let reason = "it must not be specified unless enableAutoScale is true";
                return Err(Fault::property(Code::InvalidAutoScalingSettings, name, reason));
            }
            Scaling::Fixed(Resize::targets(&object, Deallocation::Requeue)?)
        };
        object.retain(|name, _| !SCALING.contains(&name.as_str()));
        Ok((Spec::of(id, object)?, scaling))
    }

    /// The same pool with some properties replaced.
    pub(super) fn patched(&self, changes: Object) -> Result<Spec, Fault> {
        body::check(&changes, PATCHED)?;
        let mut given = self.given.clone();
        given.extend(changes);
        Spec::of(self.id.clone(), given)
    }

    fn of(id: String, given: Object) -> Result<Spec, Fault> {
        let slots = body::number(&given, "taskSlotsPerNode", 1..=SLOTS_MAX)?.unwrap_or(1);
        let policy = body::inner(&given, "taskSchedulingPolicy")?;
        let fill = match body::choice(&policy, "nodeFillType", &["spread", "pack"])? {
            Some("pack") => Fill::Pack,
            _ => Fill::Spread,
        };
        let containers =
            body::inner(&given, "virtualMachineConfiguration")?.contains_key("containerConfiguration");
        let slots = u32::try_from(slots).expect("the range is checked");
        Ok(Spec { id, given, slots, fill, containers })
    }
}

impl Deallocation {
    /// `nodeDeallocationOption`.
    fn read(object: &Object, version: Version) -> Result<Deallocation, Fault> {
        let options = ["requeue", "terminate", "taskcompletion", "retaineddata"];
        match body::choice(object, "nodeDeallocationOption", &options)? {
            Some("terminate") => Ok(Deallocation::Terminate),
            Some("taskcompletion") => Ok(Deallocation::TaskCompletion),
            // The nodes drain; the data's retention is not waited for.
            Some("retaineddata") if version.knows_retained_data() => Ok(Deallocation::TaskCompletion),
            Some("retaineddata") => {
                Err(body::invalid("nodeDeallocationOption", "retaineddata was retired with 2026-10-01"))
            }
            _ => Ok(Deallocation::Requeue),
        }
    }
}

impl Removal {
    /// The body of `removenodes`.
    pub(in crate::azure_batch) fn read(object: &Object, version: Version) -> Result<Removal, Fault> {
        body::check(object, REMOVED)?;
        check_timeout(object)?;
        let wrong = || body::invalid("nodeList", "it is a list of 1 to 100 ids of nodes");
        let listed = object.get("nodeList").ok_or_else(|| body::missing("nodeList"))?;
        let listed = listed.as_array().filter(|list| (1..=REMOVED_MAX).contains(&list.len()));
        let ids = listed.ok_or_else(wrong)?.iter().map(|id| id.as_str().map(str::to_owned));
        let nodes: Option<BTreeSet<String>> = ids.collect();
        Ok(Removal { nodes: nodes.ok_or_else(wrong)?, deallocation: Deallocation::read(object, version)? })
    }
}

fn check_timeout(object: &Object) -> Result<(), Fault> {
    let least_ms = 5 * 60 * 1000;
    if body::duration_ms(object, "resizeTimeout")?.is_some_and(|limit| limit < least_ms) {
        return Err(Fault::property(Code::OutOfRangeInput, "resizeTimeout", "it is at least PT5M"));
    }
    Ok(())
}

impl Resize {
    /// The body of `resize`, which names at least one target.
    pub(in crate::azure_batch) fn read(object: &Object, version: Version) -> Result<Resize, Fault> {
        body::check(object, RESIZED)?;
        let resize = Resize::targets(object, Deallocation::read(object, version)?)?;
        if resize.dedicated.is_none() && resize.spot.is_none() {
            return Err(body::missing("targetDedicatedNodes"));
        }
        Ok(resize)
    }

    fn targets(object: &Object, deallocation: Deallocation) -> Result<Resize, Fault> {
        check_timeout(object)?;
        let target = |name| {
            let number = body::number(object, name, 0..=NODES_MAX)?;
            Ok::<_, Fault>(number.map(|number| usize::try_from(number).expect("the range is checked")))
        };
        Ok(Resize {
            dedicated: target("targetDedicatedNodes")?,
            spot: target("targetLowPriorityNodes")?,
            deallocation,
        })
    }
}
