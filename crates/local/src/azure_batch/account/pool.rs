//! A pool and its nodes: what was asked for and how they stand.

use std::collections::BTreeMap;

use super::{RunId, Stamp};
use crate::azure_batch::body::{self, Object, Properties, Property};
use crate::azure_batch::fault::{Code, Fault};

/// Nodes that a pool may ask for. A fresh account's core quotas are 10 to 100, and each node may run processes of this machine.
pub(super) const NODES_MAX: i64 = 100;
/// The service's bound for slots on the largest machine (min(4 × cores, 256)).
const SLOTS_MAX: i64 = 256;

const PROPERTIES: Properties = &[
    ("id", Property::Taken),
    ("displayName", Property::Taken),
    ("vmSize", Property::Taken),
    ("virtualMachineConfiguration", Property::Taken),
    ("resizeTimeout", Property::Taken),
    ("resourceTags", Property::Taken),
    ("targetDedicatedNodes", Property::Taken),
    ("targetLowPriorityNodes", Property::Taken),
    ("enableAutoScale", Property::Refused),
    ("autoScaleFormula", Property::Refused),
    ("autoScaleEvaluationInterval", Property::Refused),
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
    /// By id, which is their age as well.
    pub(in crate::azure_batch) nodes: BTreeMap<String, Node>,
}

/// A node's state, as far as the stand-in has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::azure_batch) enum NodeState {
    Starting,
    /// Booted; idle or running by what it runs.
    Up,
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
    /// A new pool and its first targets.
    pub(super) fn read(mut object: Object) -> Result<(Spec, Resize), Fault> {
        body::check(&object, PROPERTIES)?;
        let id = body::id(&object)?;
        body::text(&object, "vmSize")?.ok_or_else(|| body::missing("vmSize"))?;
        let machine = body::inner(&object, "virtualMachineConfiguration")?;
        for required in ["imageReference", "nodeAgentSKUId"] {
            if !machine.contains_key(required) {
                return Err(body::missing(required));
            }
        }
        let first = Resize::targets(&object, Deallocation::Requeue)?;
        for changing in ["targetDedicatedNodes", "targetLowPriorityNodes"] {
            object.remove(changing);
        }
        Ok((Spec::of(id, object)?, first))
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

impl Resize {
    /// The body of `resize`, which names at least one target.
    pub(in crate::azure_batch) fn read(object: &Object) -> Result<Resize, Fault> {
        body::check(object, RESIZED)?;
        let options = ["requeue", "terminate", "taskcompletion", "retaineddata"];
        let deallocation = match body::choice(object, "nodeDeallocationOption", &options)? {
            Some("terminate") => Deallocation::Terminate,
            Some("taskcompletion") => Deallocation::TaskCompletion,
            // Gone since 2026-10-01.
            Some("retaineddata") => return Err(body::invalid("nodeDeallocationOption", "it was retired")),
            _ => Deallocation::Requeue,
        };
        let resize = Resize::targets(object, deallocation)?;
        if resize.dedicated.is_none() && resize.spot.is_none() {
            return Err(body::missing("targetDedicatedNodes"));
        }
        Ok(resize)
    }

    fn targets(object: &Object, deallocation: Deallocation) -> Result<Resize, Fault> {
        let least_ms = 5 * 60 * 1000;
        if body::duration_ms(object, "resizeTimeout")?.is_some_and(|limit| limit < least_ms) {
            return Err(Fault::property(Code::OutOfRangeInput, "resizeTimeout", "it is at least PT5M"));
        }
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
