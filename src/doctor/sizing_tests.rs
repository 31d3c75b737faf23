use policy::units::UnixMs;
use wire::doctor::Outcome;

use super::*;
use crate::azure::batch::pool::{Allocation, Nodes};

const NOW: u64 = 100 * 60 * 1_000;

fn pool() -> Pool {
    Pool {
        state: PoolState::Active,
        allocation: Allocation::Steady,
        allocation_since: None,
        dedicated: Nodes { current: 0, target: 0 },
        low_priority: Nodes { current: 2, target: 2 },
        task_slots_per_node: 1,
        containers: false,
        resize_errors: Vec::new(),
        auto_scale: true,
        formula: Some("$TargetLowPriorityNodes = min(2, $PendingTasks.GetSample(1)); $NodeDeallocationOption = taskcompletion;".to_owned()),
        interval: Some(Duration::from_secs(300)),
        auto_scale_run: None,
    }
}

fn worker(image: Option<&str>) -> wire::catalogue::PoolWorker {
    serde_json::from_value(serde_json::json!({ "program": "worker", "image": image })).unwrap()
}

fn wanted() -> Wanted {
    Wanted { name: "p".to_owned(), slots: 1, worker: Some(worker(None)) }
}

fn judged(finding: &Finding) -> (Outcome, String, String) {
    (finding.outcome, finding.found.clone(), finding.remedy.clone().unwrap_or_default())
}

fn world(knobs: &Knobs, is_free: bool) -> World<'_> {
    World { knobs, now_ms: NOW, is_free, pool: "p" }
}

#[test]
fn a_pool_without_a_formula_is_told_by_who_would_buy_a_node() {
    let cases = [
        (AutoscaleMode::Recommend, 0, false, Outcome::Broken, "no node"),
        (AutoscaleMode::Observe, 0, true, Outcome::Broken, "no node"),
        (AutoscaleMode::Act, 0, false, Outcome::Warning, "within five minutes"),
        (AutoscaleMode::Recommend, 3, false, Outcome::Warning, "3 nodes are paid for"),
        (AutoscaleMode::Recommend, 3, true, Outcome::Ok, "fixed size of 3"),
    ];
    for (mode, nodes, is_free, outcome, says) in cases {
        let knobs = Knobs { autoscale: mode, ..Knobs::default() };
        let pool =
            Pool { auto_scale: false, low_priority: Nodes { current: nodes, target: nodes }, ..pool() };
        let (seen, found, remedy) = judged(&autoscale(&world(&knobs, is_free), &pool));
        assert!(seen == outcome && found.contains(says), "{mode:?} {nodes}: {found}");
        assert_eq!(remedy.is_empty(), outcome == Outcome::Ok, "{found}");
    }
}

#[test]
fn a_formula_is_told_by_its_last_evaluation() {
    let knobs = Knobs::default();
    let run = |minutes_ago: u64, code: &str| AutoScaleRun {
        at: Some(UnixMs(NOW - minutes_ago * 60_000)),
        results: "$TargetLowPriorityNodes=2;$NodeDeallocationOption=taskcompletion;x=1".to_owned(),
        error: (!code.is_empty()).then(|| Problem { code: code.to_owned(), message: "m".to_owned() }),
    };
    let cases = [
        (Some(run(4, "")), Outcome::Ok, "last result $TargetLowPriorityNodes=2"),
        (None, Outcome::Ok, "not evaluated yet"),
        (Some(run(16, "")), Outcome::Broken, "16 minutes ago"),
        (Some(run(4, "InsufficientSampleData")), Outcome::Warning, "InsufficientSampleData"),
        (Some(run(4, "Other")), Outcome::Broken, "Other: m"),
    ];
    for (run, outcome, says) in cases {
        let pool = Pool { auto_scale_run: run, ..pool() };
        let finding = autoscale(&world(&knobs, false), &pool);
        // The linter has its say on what is otherwise well.
        let is_linted = outcome == Outcome::Ok && finding.outcome == Outcome::Warning;
        assert!(is_linted || (finding.outcome == outcome && finding.found.contains(says)), "{finding:?}");
    }
}

#[test]
fn what_is_unwise_in_a_formula_is_told_with_the_worst_first() {
    let (what, remedy) = unwise("$TargetLowPriorityNodes = 4;", 1).expect("it kills running tasks");
    assert!(
        what.starts_with("kills_running_tasks") && remedy.contains("taskcompletion"),
        "{what} / {remedy}"
    );
    assert!(unwise("$Target = ;", 1).expect("no formula").0.contains("cannot be read"));
}

#[test]
fn a_change_of_size_that_fell_short_is_explained() {
    let knobs = Knobs::default();
    let cases = [
        ("AccountLowPriorityCoreQuotaReached", "spot cores", "low-priority cores"),
        ("AccountSpotCoreQuotaReached", "spot cores", "low-priority cores"),
        ("AccountCoreQuotaReached", "dedicated cores", "dedicated cores"),
        ("AccountVMSeriesCoreQuotaReached", "VM family", "family"),
        ("AllocationFailed", "no machine of this size", "another region"),
        ("AllocationTimedOut", "time-out", "another region"),
        ("ResizeStopped", "somebody stopped", "autoscale enable --pool-id p"),
        ("SubnetFull", "network", "subnet"),
        ("Newer", "stops short", "az batch pool show"),
    ];
    for (code, says, todo) in cases {
        let errors = vec![Problem { code: code.to_owned(), message: "its words".to_owned() }];
        let short = Pool { resize_errors: errors.clone(), ..pool() };
        let (outcome, found, remedy) = judged(&resize(&world(&knobs, false), &short)[0]);
        assert!(found.contains(says) && found.contains(code) && found.contains("its words"), "{found}");
        assert!(outcome == Outcome::Warning && remedy.contains(todo), "{remedy}");
        let none = Pool { resize_errors: errors, low_priority: Nodes { current: 0, target: 2 }, ..pool() };
        assert_eq!(
            resize(&world(&knobs, false), &none)[0].outcome,
            Outcome::Broken,
            "{code}: it has no node at all"
        );
    }
    assert_eq!(resize(&world(&knobs, false), &pool())[0].outcome, Outcome::Ok);
}

#[test]
fn a_pool_is_told_by_what_keeps_work_from_it() {
    let knobs = Knobs::default();
    let nodes = |unusable: u32| NodeCounts {
        low_priority: Counts { idle: 2, unusable, total: 2, ..Counts::default() },
        ..NodeCounts::default()
    };
    let with_image = Wanted { worker: Some(worker(Some("i"))), ..wanted() };
    let cases = [
        (wanted(), pool(), 0, Outcome::Ok, "spot 2 of 2, dedicated 0 of 0, 2 idle"),
        (wanted(), pool(), 1, Outcome::Warning, "1 unusable"),
        (wanted(), Pool { state: PoolState::Deleting, ..pool() }, 0, Outcome::Broken, "deleted"),
        (wanted(), Pool { containers: true, ..pool() }, 0, Outcome::Broken, "names no image"),
        (with_image, pool(), 0, Outcome::Broken, "runs no containers"),
        (wanted(), Pool { task_slots_per_node: 4, ..pool() }, 0, Outcome::Warning, "4 task slots"),
        (Wanted { worker: None, ..wanted() }, pool(), 0, Outcome::Warning, "none is sent"),
    ];
    for (wanted, pool, unusable, outcome, says) in cases {
        let (seen, found, _) = judged(&state(&world(&knobs, false), &wanted, &pool, &nodes(unusable)));
        assert!(seen == outcome && found.contains(says), "{says}: {seen:?} {found}");
    }
}
