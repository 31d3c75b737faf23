//! How many nodes of which kind a pool should have, and what its formula is told. The formula itself is
//! rendered elsewhere from the [`Plan`]; here is only the decision.

use crate::knobs::Knobs;
use crate::reason::Reason;
use crate::snapshot::{Sight, Spread};
use crate::units::{MicroUsd, Millis, UnixMs};

/// So many boots in a row without a usable node, and no more are bought.
pub const UNUSABLE_BOOTS_MAX: u32 = 3;

/// What is seen of one pool and its work before its size is planned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Now, by the handler's clock.
    pub now: UnixMs,
    /// How far the observation can be trusted; blind holds what is.
    pub sight: Sight,
    /// Tasks of one slot that a node runs at once; at least 1.
    pub slots_per_node: u32,
    /// Nodes at most by the catalogue; the knob may be lower.
    pub max_nodes: u32,
    /// Spot nodes.
    pub spot: Nodes,
    /// Nodes that are not taken away.
    pub dedicated: Nodes,
    /// Work that is accepted and not done, by deadline, the nearest first: waiting in facts, queued in
    /// tasks and running.
    pub demand: Vec<Demand>,
    /// Tasks that wait for a slot.
    pub queued_tasks: u64,
    /// Tasks that run.
    pub running_tasks: u64,
    /// From a plan to the first task on a node that it bought: evaluation wait, boot and model load.
    pub lead: Spread,
    /// Evictions of a spot node an hour, in thousandths.
    pub evictions_per_node_hour_milli: u64,
    /// What stopped the pool's last changes of size, newest first.
    pub setbacks: Vec<Setback>,
    /// Boots in a row that ended unusable, since the last good one.
    pub unusable_boots: u32,
    /// Alerts that fired and are not resolved.
    pub alerts: Vec<Alert>,
    /// The formula that the pool has now.
    pub formula: Formula,
    /// What was planned last, from the formula's header or the view.
    pub previous: Option<Plan>,
    /// Spend of the current hour, over all lanes.
    pub spent_this_hour: MicroUsd,
}

/// Nodes of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// Wanted now, by the pool.
    pub target: u32,
    /// Idle or running.
    pub usable: u32,
    /// Of these, running something.
    pub busy: u32,
    /// On their way: creating, starting, waiting for the start task, rebooting.
    pub starting: u32,
    /// Taken away by the platform, which tries to get them back.
    pub preempted: u32,
    /// Unusable or with a failed start task.
    pub broken: u32,
    /// Price of one for an hour; none: this kind is not bought.
    pub price_per_hour: Option<MicroUsd>,
}

/// Work that must be done by one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Until when.
    pub deadline: UnixMs,
    /// How much, as time on one slot.
    pub work: Millis,
    /// Pieces that can run side by side: its shards.
    pub parallel: u32,
    /// What the same work costs in the realtime lane; none where nothing serves it there. It is taken
    /// there before its deadline is missed.
    pub realtime_cost: Option<MicroUsd>,
}

/// Why the pool stopped short of what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setback {
    /// What.
    pub kind: SetbackKind,
    /// Whether spot nodes are concerned; else dedicated ones.
    pub spot: bool,
    /// When it was first seen for the present target: a new target is a new generation, and an
    /// error that stands since before it is stale.
    pub since: UnixMs,
}

/// What a setback is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetbackKind {
    /// The account's core quota.
    Quota,
    /// The region has no machines.
    NoCapacity,
    /// Anything else.
    Other,
}

/// An alert of Azure Monitor, as far as the plan looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its rule, a name of the operator's.
    pub rule: String,
    /// What it asks for.
    pub asks: Asks,
    /// When it fired.
    pub fired: UnixMs,
}

/// What an alert asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// More nodes.
    More,
    /// Fewer nodes, as a budget alert does.
    Fewer,
    /// Nothing: it is shown and changes nothing.
    Nothing,
}

/// What is known of the pool's formula.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Formula {
    /// Whether a formula sets the size.
    pub enabled: bool,
    /// Whether it is one of ours.
    pub ours: bool,
    /// When it was evaluated last.
    pub evaluated: Option<UnixMs>,
    /// How often it is to be evaluated.
    pub interval: Millis,
    /// Whether its last evaluation failed.
    pub failed: bool,
}

/// How many nodes there shall be, in a form that a formula can follow between two plans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// When it was made.
    pub at: UnixMs,
    /// Spot nodes wanted now.
    pub spot: u32,
    /// Dedicated nodes wanted now.
    pub dedicated: u32,
    /// Spot nodes that are kept whatever happens.
    pub min_spot: u32,
    /// Dedicated nodes that are kept whatever happens.
    pub min_dedicated: u32,
    /// Nodes of both kinds at most.
    pub max_nodes: u32,
    /// Dedicated nodes at most, in `max_nodes`.
    pub max_dedicated: u32,
    /// Tasks of one slot that a node runs at once.
    pub slots_per_node: u32,
}

/// What to do about a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The new plan; none: hold what is.
    pub plan: Option<Plan>,
    /// Whether the formula must be enabled anew although its body is the same, because the service
    /// does not evaluate it any more.
    pub kick: bool,
    /// Why; the first settled it.
    pub reasons: Vec<Reason>,
}

/// Plans the size of a pool.
pub fn rebalance(knobs: &Knobs, observed: &Observed) -> Decision {
    if observed.sight == Sight::Blind {
        return Decision { plan: None, kick: false, reasons: vec![Reason::new(crate::reason::Code::Blind)] };
    }
    let slots_per_node = observed.slots_per_node.max(1);
    let max_nodes = knobs.max_nodes.min(observed.max_nodes);
    let tasks = observed.queued_tasks + observed.running_tasks;
    let wanted = u32::try_from(tasks.div_ceil(u64::from(slots_per_node))).unwrap_or(u32::MAX);
    let plan = Plan {
        at: observed.now,
        spot: wanted.min(max_nodes),
        max_nodes,
        max_dedicated: knobs.max_dedicated_nodes.min(max_nodes),
        slots_per_node,
        ..Plan::default()
    };
    Decision { plan: Some(plan), kick: false, reasons: vec![Reason::new(crate::reason::Code::Demand)] }
}
