//! A plan as the text of a formula, and back. `autoscale` writes the text; here it is tried before
//! anybody else sees it: on the pool as it is, and on a pool of which nothing is known.

use autoscale::render;
use autoscale::{Deallocation, History, Interval, Metric, Targets, Timestamp, World};
use facts::view::PoolView;
use policy::rebalance::Plan;
use policy::units::{Millis, UnixMs};

/// The service's samples are this far apart.
const SAMPLE_EVERY_MS: u64 = 30_000;
/// And become visible about so much later.
const SAMPLE_LATE_MS: u64 = 60_000;
/// As far back as a formula of ours looks, and a bit more.
const SAMPLED_MS: u64 = 3_600_000;

/// The formula of a plan for a pool that evaluates it every `interval`.
///
/// # Errors
/// What is wrong with the formula: then the renderer is, and the service must not see it.
pub fn write(plan: &Plan, interval: Millis, seen: &PoolView) -> Result<String, String> {
    let text = render::render(&rendered(plan, interval));
    // The linter's place: what the service takes may still be unwise.
    let formula = autoscale::parse(&text).map_err(|error| format!("our formula does not parse: {error}"))?;
    let full = history(plan.at, seen);
    for history in [&full, &History::new(Interval::from_ms(SAMPLE_EVERY_MS))] {
        let world = World {
            now: Timestamp::from_unix_ms(plan.at.0),
            history,
            targets: Targets { dedicated: seen.dedicated.target, low_priority: seen.spot.target },
            deallocation: Deallocation::default(),
            seed: 0,
        };
        let run = formula.evaluate(&world);
        if let Some(error) = run.error {
            return Err(format!("our formula fails: {} {}", error.code, error.detail));
        }
        let nodes = run.results.dedicated().unwrap_or(0) + run.results.low_priority().unwrap_or(0);
        if nodes > plan.max_nodes {
            return Err(format!("our formula asks for {nodes} nodes, above {}", plan.max_nodes));
        }
        if run.results.deallocation() != Deallocation::TaskCompletion {
            return Err("our formula would kill running tasks".to_owned());
        }
    }
    Ok(text)
}

/// The plan in the header of a formula of ours; none: it is not ours.
pub fn previous(text: &str) -> Option<Plan> {
    let read = render::read_header(text)?;
    let at = |unix_s: u64| UnixMs(unix_s.saturating_mul(1_000));
    Some(Plan {
        at: at(read.at_unix_s),
        spot: read.spot,
        dedicated: read.dedicated,
        min_spot: read.min_spot,
        min_dedicated: read.min_dedicated,
        max_nodes: read.max_nodes,
        max_spot: read.max_spot,
        max_dedicated: read.max_dedicated,
        slots_per_node: read.slots_per_node,
        tasks_per_node: read.tasks_per_node,
        changed: at(read.changed_unix_s),
        surplus_since: read.surplus_unix_s.map(at),
    })
}

/// Whether two formulas differ in their headers alone.
pub fn says_the_same(one: &str, other: &str) -> bool {
    render::body(one) == render::body(other)
}

fn rendered(plan: &Plan, interval: Millis) -> render::Plan {
    let unix_s = |at: UnixMs| at.0 / 1_000;
    render::Plan {
        at_unix_s: unix_s(plan.at),
        changed_unix_s: unix_s(plan.changed),
        surplus_unix_s: plan.surplus_since.map(unix_s),
        spot: plan.spot,
        dedicated: plan.dedicated,
        min_spot: plan.min_spot,
        min_dedicated: plan.min_dedicated,
        max_nodes: plan.max_nodes,
        max_spot: plan.max_spot,
        max_dedicated: plan.max_dedicated,
        slots_per_node: plan.slots_per_node,
        tasks_per_node: plan.tasks_per_node,
        interval_s: u32::try_from(interval.0 / 1_000).unwrap_or(u32::MAX),
    }
}

/// Samples as they would be had the pool been for an hour what it is now.
fn history(now: UnixMs, seen: &PoolView) -> History {
    let running = seen.tasks.saturating_sub(seen.queued_tasks);
    let row = [
        (Metric::ActiveTasks, seen.queued_tasks as f64),
        (Metric::RunningTasks, running as f64),
        (Metric::PendingTasks, seen.tasks as f64),
        (Metric::CurrentDedicatedNodes, f64::from(seen.dedicated.usable + seen.dedicated.starting)),
        (
            Metric::CurrentLowPriorityNodes,
            f64::from(seen.spot.usable + seen.spot.starting + seen.spot.preempted),
        ),
        (Metric::PreemptedNodeCount, f64::from(seen.spot.preempted)),
        (Metric::UsableNodeCount, f64::from(seen.ready_nodes)),
    ];
    let mut history = History::new(Interval::from_ms(SAMPLE_EVERY_MS));
    let newest = now.0.saturating_sub(SAMPLE_LATE_MS);
    for n in 0..SAMPLED_MS / SAMPLE_EVERY_MS {
        history.push(Timestamp::from_unix_ms(newest.saturating_sub(n * SAMPLE_EVERY_MS)), &row);
    }
    history
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_795_189_031_000);
    const FIVE_MINUTES: Millis = Millis::from_secs(300);

    fn plan(spot: u32, dedicated: u32) -> Plan {
        Plan {
            at: NOW,
            spot,
            dedicated,
            max_nodes: 4,
            max_spot: 4,
            max_dedicated: 1,
            slots_per_node: 2,
            tasks_per_node: 8,
            changed: NOW,
            ..Plan::default()
        }
    }

    #[test]
    fn a_plan_is_read_back_from_its_formula() {
        let text = write(&plan(3, 1), FIVE_MINUTES, &PoolView::default()).unwrap();
        assert_eq!(previous(&text), Some(plan(3, 1)));
        assert_eq!(previous("$TargetDedicatedNodes = 1;"), None);
    }

    #[test]
    fn the_same_numbers_a_moment_later_say_the_same() {
        let write = |plan: &Plan| write(plan, FIVE_MINUTES, &PoolView::default()).unwrap();
        let later = Plan { at: NOW + Millis(1_000), ..plan(3, 0) };
        assert!(says_the_same(&write(&plan(3, 0)), &write(&later)));
        assert_ne!(write(&plan(3, 0)), write(&later));
        assert!(!says_the_same(&write(&plan(3, 0)), &write(&plan(2, 0))));
    }
}
