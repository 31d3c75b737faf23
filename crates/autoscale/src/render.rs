//! A plan as a formula: numbers in, text out, and the plan read back from the text.
//!
//! The first line is a comment that carries the plan; [`body`] is the rest, which is compared to tell
//! whether a pool has the formula already. A plan that is made anew with the same numbers renders the same
//! body for three evaluation intervals, so an unchanged plan is sent once in so long. What the body does
//! until then is in the comments that it carries; `docs/policy.md` says why.

use std::fmt::Write as _;

use crate::Timestamp;

/// What the first line begins with, before the numbers.
const MARK: &str = "// switchyard v1 ";
/// The first line is never longer.
pub const HEADER_CHARS_MAX: usize = 512;
/// Evaluation intervals after which a body is renewed although its numbers are the same, those that a plan
/// is believed at least after the last renewal, and those without a task that make a pool quiet.
const INTERVALS: u64 = 3;
/// The service evaluates no more often than this.
const INTERVAL_S_MIN: u32 = 300;
/// A window holds half of its samples, or it is not believed: the newest are a minute late, so five minutes
/// have eight of ten when all is well.
const PERCENT_MIN: u32 = 50;
/// Minutes over which tasks are counted: an interval, at the usual setting.
const RECENT_MINUTES: u32 = 5;
/// Nodes of a pool, at most: more than any pool may have, and what keeps a formula within 100 statements.
const NODES_MAX: u32 = 10_000;

/// What a pool shall have, in plain numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// When it was made, in seconds since the Unix epoch.
    pub at_unix_s: u64,
    /// Since when its targets are what they are.
    pub changed_unix_s: u64,
    /// Since when fewer nodes would do; none: all are needed.
    pub surplus_unix_s: Option<u64>,
    /// Spot nodes wanted.
    pub spot: u32,
    /// Dedicated nodes wanted.
    pub dedicated: u32,
    /// Spot nodes that are kept whatever happens.
    pub min_spot: u32,
    /// Dedicated nodes that are kept whatever happens.
    pub min_dedicated: u32,
    /// Nodes of both kinds at most. At most 10,000.
    pub max_nodes: u32,
    /// Spot nodes at most.
    pub max_spot: u32,
    /// Dedicated nodes at most.
    pub max_dedicated: u32,
    /// Tasks of one slot that a node runs at once; at least 1.
    pub slots_per_node: u32,
    /// Between two plans, a node is added for each of so many tasks; at least `slots_per_node`.
    pub tasks_per_node: u32,
    /// How often the formula is evaluated, seconds; at least 300.
    pub interval_s: u32,
}

/// The formula of a plan: its header and its body. Numbers that contradict each other yield to the caps.
pub fn render(plan: &Plan) -> String {
    let plan = plan.within_caps();
    let mut text = header(&plan);
    text.push('\n');
    text.push_str(&written(&plan));
    text
}

/// The plan that a formula carries; none where it is not one of ours.
pub fn read_header(formula: &str) -> Option<Plan> {
    let (at, numbers) = split(formula)?.0.split_once(" plan=")?;
    let mut plan = Plan { at_unix_s: at.strip_prefix("at=")?.parse().ok()?, ..Plan::default() };
    for pair in numbers.split(',') {
        let (name, value) = pair.split_once('=')?;
        let small = || value.parse::<u32>().ok();
        match name {
            "changed" => plan.changed_unix_s = value.parse().ok()?,
            "surplus" => plan.surplus_unix_s = Some(value.parse().ok()?),
            "spot" => plan.spot = small()?,
            "dedicated" => plan.dedicated = small()?,
            "min_spot" => plan.min_spot = small()?,
            "min_dedicated" => plan.min_dedicated = small()?,
            "max" => plan.max_nodes = small()?,
            "max_spot" => plan.max_spot = small()?,
            "max_dedicated" => plan.max_dedicated = small()?,
            "slots" => plan.slots_per_node = small()?,
            "tasks" => plan.tasks_per_node = small()?,
            "interval" => plan.interval_s = small()?,
            // A later version may say more.
            _ => {}
        }
    }
    Some(plan.within_caps())
}

/// A formula without the header that [`render`] gave it; all of it where it is not one of ours.
pub fn body(formula: &str) -> &str {
    split(formula).map_or(formula, |(_, body)| body)
}

/// What the header says after its mark, and what follows the header.
fn split(formula: &str) -> Option<(&str, &str)> {
    let rest = formula.strip_prefix(MARK)?;
    let (header, body) = rest.split_once('\n')?;
    (header.len() <= HEADER_CHARS_MAX).then_some((header.trim_end_matches('\r'), body))
}

fn header(plan: &Plan) -> String {
    let mut text = format!(
        "{MARK}at={} plan=spot={},dedicated={},min_spot={},min_dedicated={},max={},max_spot={},max_dedicated={},slots={},tasks={},interval={},changed={}",
        plan.at_unix_s,
        plan.spot,
        plan.dedicated,
        plan.min_spot,
        plan.min_dedicated,
        plan.max_nodes,
        plan.max_spot,
        plan.max_dedicated,
        plan.slots_per_node,
        plan.tasks_per_node,
        plan.interval_s,
        plan.changed_unix_s,
    );
    if let Some(surplus) = plan.surplus_unix_s {
        write!(text, ",surplus={surplus}").expect("a string takes all");
    }
    debug_assert!(text.len() <= HEADER_CHARS_MAX, "ten numbers of 10 digits and three of 20");
    text
}

fn written(plan: &Plan) -> String {
    let Plan { spot, dedicated, min_spot, min_dedicated, max_nodes, max_spot, max_dedicated, .. } = *plan;
    let span_s = INTERVALS * u64::from(plan.interval_s);
    let fresh_until = time((plan.at_unix_s / span_s).saturating_add(2).saturating_mul(span_s));
    let settled_from = time(plan.changed_unix_s.saturating_add(span_s));
    // Not used by the service: whoever reads the formula sees it, and so does the next plan.
    let surplus = plan.surplus_unix_s.map_or(String::new(), |since| {
        format!("// Fewer nodes would do since {}; they are kept a while.\n", time(since))
    });
    let division = division(max_nodes);
    format!(
        "{surplus}\
// What was planned. It is old when nobody has renewed it.
plannedSpot = {spot};
plannedDedicated = {dedicated};
fresh = time() < time(\"{fresh_until}\");
// Tasks that wait or run. With too few samples the plan holds.
recent = TimeInterval_Minute * {RECENT_MINUTES};
known = $PendingTasks.GetSamplePercent(recent) >= {PERCENT_MIN};
tasks = known ? max(0, $PendingTasks.GetSample(recent, {PERCENT_MIN})) : 0;
// Nodes for these tasks, rounded up by long division.
each = fresh ? {tasks_per_node} : {slots};
left = min(tasks, {max_nodes} * each) + each - 1;
nodes = 0;
{division}\
// A fresh plan is a floor and may grow; an old one shrinks to what the tasks need and buys no dedicated node.
follow = fresh ? max(plannedSpot, nodes - plannedDedicated) : min(max(plannedSpot, 1), nodes);
spot = known ? follow : plannedSpot;
dedicated = fresh ? plannedDedicated : {min_dedicated};
// Nothing to do for long, and not because the plan is new: only the floors stay.
long = TimeInterval_Minute * {long_minutes};
settled = time() >= time(\"{settled_from}\");
sampled = $PendingTasks.GetSamplePercent(long) >= {PERCENT_MIN};
most = sampled ? max(0, $PendingTasks.GetSample(long, {PERCENT_MIN})) : 1;
quiet = settled && most == 0;
spot = quiet ? {min_spot} : max({min_spot}, spot);
dedicated = quiet ? {min_dedicated} : max({min_dedicated}, dedicated);
// Caps. Preempted nodes count for the spot target: the service restores them by itself.
dedicated = min({max_dedicated}, dedicated);
$TargetDedicatedNodes = dedicated;
$TargetLowPriorityNodes = min(min({max_spot}, {max_nodes} - dedicated), spot);
$NodeDeallocationOption = taskcompletion;
",
        tasks_per_node = plan.tasks_per_node,
        slots = plan.slots_per_node,
        long_minutes = span_s / 60,
    )
}

/// Statements that take `each` off `left` as often as it goes, up to `most` times, and count in `nodes`.
/// The language documents neither a division that rounds up nor what becomes of a fraction of a node.
fn division(most: u32) -> String {
    let mut text = String::new();
    // One step also where no node is allowed: then too the tasks are read and counted, to 0.
    let mut step = 1 << most.max(1).ilog2();
    while step > 0 {
        writeln!(
            text,
            "more = left >= {step} * each ? {step} : 0; nodes = nodes + more; left = left - more * each;"
        )
        .expect("a string takes all");
        step /= 2;
    }
    text
}

fn time(unix_s: u64) -> Timestamp {
    /// The end of the year 9999: the last that the service's times can tell.
    const LAST_UNIX_S: u64 = 253_402_300_799;
    Timestamp::from_unix_ms(unix_s.min(LAST_UNIX_S) * 1_000)
}

impl Plan {
    fn within_caps(self) -> Plan {
        let max_nodes = self.max_nodes.min(NODES_MAX);
        let max_dedicated = self.max_dedicated.min(max_nodes);
        let min_dedicated = self.min_dedicated.min(max_dedicated);
        let dedicated = self.dedicated.clamp(min_dedicated, max_dedicated);
        let max_spot = self.max_spot.min(max_nodes);
        let min_spot = self.min_spot.min(max_spot.min(max_nodes - dedicated));
        let slots_per_node = self.slots_per_node.max(1);
        Plan {
            spot: self.spot.clamp(min_spot, max_spot.min(max_nodes - dedicated)),
            dedicated,
            min_spot,
            min_dedicated,
            max_nodes,
            max_spot,
            max_dedicated,
            slots_per_node,
            tasks_per_node: self.tasks_per_node.max(slots_per_node),
            interval_s: self.interval_s.max(INTERVAL_S_MIN),
            ..self
        }
    }
}
