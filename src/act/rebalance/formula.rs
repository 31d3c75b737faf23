//! A plan as the text of a formula, and back. `autoscale` writes the text; here it is tried before
//! anybody else sees it: on the pool as it is, and on a pool of which nothing is known.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Mutex;

use autoscale::lint::{Finding, Severity, lint};
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

/// Findings of a formula that are shown.
const FINDINGS_MAX: usize = 8;

/// The formula of a plan for a pool that evaluates it every `interval`.
///
/// # Errors
/// What is wrong with the formula, an unwise construct included: then the renderer is, and the service must
/// not see it.
pub fn write(plan: &Plan, interval: Millis, seen: &PoolView) -> Result<String, String> {
    let text = render::render(&rendered(plan, interval));
    let formula = autoscale::parse(&text).map_err(|error| format!("our formula does not parse: {error}"))?;
    // What the service takes may still be unwise.
    if let Some(finding) = lint(&formula, Some(plan.slots_per_node)).first() {
        return Err(format!("our formula has a fault: {}", told(finding)));
    }
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

/// Formulas that are not ours, with what is unwise in them: the last one of each pool that was seen, because
/// each look finds the same.
#[derive(Default)]
pub struct Judged(Mutex<HashMap<String, (Foreign, Vec<String>)>>);

/// A formula of somebody else's, and the slots of its pool's nodes.
type Foreign = (String, u32);

impl Judged {
    /// What `judge` says of a pool's formula; it is asked where the text is another one than before.
    pub fn findings(
        &self,
        pool: &str,
        foreign: (&str, u32),
        judge: impl FnOnce(&str, u32) -> Vec<String>,
    ) -> Vec<String> {
        let mut judged = self.0.lock().expect("no holder of this lock panics");
        match judged.get(pool) {
            Some(((text, slots), findings)) if (text.as_str(), *slots) == foreign => findings.clone(),
            _ => {
                let findings = judge(foreign.0, foreign.1);
                judged.insert(pool.to_owned(), ((foreign.0.to_owned(), foreign.1), findings.clone()));
                findings
            }
        }
    }
}

/// What our linter says of a formula for nodes of so many slots: at most [`FINDINGS_MAX`] lines, the worst first, notes left out.
pub fn findings(text: &str, slots_per_node: u32) -> Vec<String> {
    let formula = match autoscale::parse(text) {
        Ok(formula) => formula,
        Err(error) => return vec![format!("the service would refuse it: {error}")],
    };
    let mut findings = lint(&formula, Some(slots_per_node));
    findings.retain(|finding| finding.severity > Severity::Note);
    findings.sort_by_key(|finding| Reverse(finding.severity));
    let left_out = findings.len().saturating_sub(FINDINGS_MAX);
    let more = (left_out > 0).then(|| format!("and {left_out} more; see switchyard formula lint"));
    findings.iter().take(FINDINGS_MAX).map(told).chain(more).collect()
}

fn told(finding: &Finding) -> String {
    let Finding { rule, at, what, remedy, .. } = finding;
    format!("{rule} (line {}, column {}): {what}; {remedy}", at.line, at.column)
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
    fn what_is_wrong_with_a_formula_is_told() {
        assert_eq!(findings(&write(&plan(3, 1), FIVE_MINUTES, &PoolView::default()).unwrap(), 2), [""; 0]);
        let told = findings("$TargetDedicatedNodes = min(4, $PendingTasks.GetSample(1));", 1);
        assert_eq!(told.len(), 3, "{told:#?}");
        assert!(told[0].starts_with("kills_running_tasks (line 1, column 1): of 4 nodes"), "{told:#?}");
        let refused = findings("$TargetDedicatedNodes = ", 1);
        assert!(refused[0].starts_with("the service would refuse it: Line 1, Col 25"), "{refused:?}");
        let many: String = (0..20).map(|n| format!("unread{n} = {n};\n")).collect();
        let told = findings(&format!("{many}$TargetLowPriorityNodes = 0;"), 1);
        assert_eq!((told.len(), told[8].as_str()), (9, "and 13 more; see switchyard formula lint"));
    }

    #[test]
    fn a_formula_is_judged_when_it_is_another_one() {
        let (judged, mut asked) = (Judged::default(), 0);
        for (pool, foreign, times) in [
            ("a", ("x = 1;", 1), 1),
            ("a", ("x = 1;", 1), 1),
            ("b", ("x = 1;", 1), 2),
            ("a", ("x = 2;", 1), 3),
            ("a", ("x = 2;", 4), 4),
            ("b", ("x = 1;", 1), 4),
        ] {
            let judge = |text: &str, slots| {
                asked += 1;
                vec![format!("{text} {slots}")]
            };
            let told = judged.findings(pool, foreign, judge);
            assert_eq!((told, asked), (vec![format!("{} {}", foreign.0, foreign.1)], times), "{pool}");
        }
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
