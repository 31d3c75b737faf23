//! How many nodes of which kind a pool should have, and what its formula is told. The formula itself is
//! rendered elsewhere from the [`Plan`]; here is only the decision. `docs/policy.md` has the rules in prose.
//!
//! - [`need`]: what the accepted work needs to be done by its deadlines
//! - [`bounds`]: floors, caps, steps, cooldown, budget: what may be had of it

mod bounds;
mod need;

use crate::knobs::Knobs;
use crate::reason::{Code, Evidence, Reason};
use crate::snapshot::{Sight, Spread};
use crate::units::{MicroUsd, Millis, UnixMs};
use bounds::{Bounds, Draft};

/// A setback that stands for longer is not believed any more: three plans at the usual five minutes.
pub const SETBACK_FRESH: Millis = Millis::from_secs(15 * 60);
/// An alert that nothing resolved counts for this long.
pub const ALERT_FRESH: Millis = Millis::from_secs(3_600);
/// So many boots in a row without a usable node, and no more are bought.
pub const UNUSABLE_BOOTS_MAX: u32 = 3;
/// After this long, one node is tried again.
pub const UNUSABLE_RETRY: Millis = Millis::from_secs(30 * 60);
/// A plan may add this many nodes, or as many as there are, whichever is more: from nothing to 80 in four
/// plans, and a wrong number costs ten nodes for five minutes.
pub const STEP_NODES: u32 = 10;
/// A formula whose last evaluation is older than two intervals and this is not evaluated any more.
pub const EVALUATION_LATE: Millis = Millis::from_secs(120);
/// A node pays its boot when it has this many tasks a slot: a task is two to five minutes, a boot as long as two.
const TASKS_WORTH_A_BOOT: u32 = 4;

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
    /// When a boot last ended unusable; none: it is taken to be when the targets last changed.
    pub last_unusable: Option<UnixMs>,
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
    /// Between two plans the formula adds a node for each of so many tasks; a power of two, so that the
    /// formula's text changes seldom.
    pub tasks_per_node: u32,
    /// Since when these targets hold: their generation, by which setbacks are judged.
    pub changed: UnixMs,
    /// Since when fewer nodes than the pool's targets would do; none: all are needed.
    pub surplus_since: Option<UnixMs>,
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

/// Plans the size of a pool. The same two values always give the same decision.
pub fn rebalance(knobs: &Knobs, observed: &Observed) -> Decision {
    if observed.sight == Sight::Blind {
        let next = "the size stays as it is; the formula follows the tasks until its plan is old";
        let reason = Reason::new(Code::Blind).next(next, None).remedy("look whether Sweep runs", None);
        return Decision { plan: None, kick: false, reasons: vec![reason] };
    }
    let bounds = Bounds::of(knobs, observed);
    let need = need::need(&bounds, observed);
    let mut draft = Draft::of(&need, observed);
    bounds.apply(&mut draft, &need, observed);
    let kick = stopped(observed);
    let plan = plan(&bounds, &draft, observed);
    Decision { plan: Some(plan), kick: kick.is_some(), reasons: draft.told(kick) }
}

fn plan(bounds: &Bounds<'_>, draft: &Draft, observed: &Observed) -> Plan {
    let (spot, dedicated) = (draft.spot, draft.dedicated);
    let changed = match &observed.previous {
        Some(previous) if (previous.spot, previous.dedicated) == (spot, dedicated) => previous.changed,
        _ => observed.now,
    };
    let slots_per_node = observed.slots_per_node.max(1);
    let tasks = u32::try_from(observed.tasks()).unwrap_or(u32::MAX);
    let worth = slots_per_node.saturating_mul(TASKS_WORTH_A_BOOT);
    let tasks_per_node = tasks.div_ceil((spot + dedicated).max(1)).max(worth);
    Plan {
        at: observed.now,
        spot,
        dedicated,
        min_spot: bounds.min_spot.min(spot),
        min_dedicated: bounds.min_dedicated.min(dedicated),
        max_nodes: bounds.ceiling,
        max_dedicated: bounds.max_dedicated,
        slots_per_node,
        tasks_per_node: tasks_per_node.checked_next_power_of_two().unwrap_or(1 << 31),
        changed,
        surplus_since: draft.surplus_since,
    }
}

/// Why the formula must be enabled anew: it is ours, it is on, and nobody evaluates it.
fn stopped(observed: &Observed) -> Option<Reason> {
    let formula = &observed.formula;
    let last = formula.evaluated.or(observed.previous.map(|plan| plan.at))?;
    let age = observed.now.since(last);
    let late = formula.interval.scaled(2, 1) + EVALUATION_LATE;
    (formula.enabled && formula.ours && age > late).then(|| {
        Reason::new(Code::AutoscaleStopped)
            .with("age", Evidence::Time(age))
            .with("interval", Evidence::Time(formula.interval))
            .next("the formula is enabled anew", Some(observed.now))
            .remedy(
                "look at the pool's last evaluation and resize errors; ask the vendor if it repeats",
                None,
            )
    })
}

impl Observed {
    /// Tasks that are added and not over.
    fn tasks(&self) -> u64 {
        self.queued_tasks.saturating_add(self.running_tasks)
    }

    /// Whether anything is to be done whose deadline has not passed.
    fn work(&self) -> bool {
        self.tasks() > 0 || self.demand.iter().any(|demand| demand.work.0 > 0 && demand.deadline > self.now)
    }

    /// The newest setback of a kind of node that is still believed: young, and of the present targets.
    fn setback(&self, spot: bool) -> Option<&Setback> {
        let generation = self.previous.map_or(UnixMs(0), |plan| plan.changed);
        self.setbacks.iter().find(|setback| {
            setback.spot == spot
                && matches!(setback.kind, SetbackKind::Quota | SetbackKind::NoCapacity)
                && setback.since >= generation
                && self.now.since(setback.since) <= SETBACK_FRESH
        })
    }

    /// Whether an alert asks for this and is still believed.
    fn alert(&self, asks: Asks) -> Option<&Alert> {
        let fresh = |alert: &&Alert| self.now.since(alert.fired) <= ALERT_FRESH;
        self.alerts.iter().filter(fresh).find(|alert| alert.asks == asks)
    }
}

impl Nodes {
    /// Here or on their way.
    fn present(&self) -> u32 {
        self.usable.saturating_add(self.starting)
    }

    /// Wanted and neither here, nor on their way, nor lost.
    fn ordered(&self) -> u32 {
        self.target.saturating_sub(self.present()).saturating_sub(self.preempted).saturating_sub(self.broken)
    }
}
