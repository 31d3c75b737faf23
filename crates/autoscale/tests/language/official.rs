//! The examples of the service's documentation, with the values that it gives or that follow.

use autoscale::{Deallocation, Metric, Timestamp};

use crate::pool::{Pool, pool, thursday};

fn dedicated(pool: &Pool, formula: &str) -> Option<u32> {
    let evaluation = pool.evaluate(formula);
    assert_eq!(evaluation.error, None);
    evaluation.results.dedicated()
}

#[test]
fn pending_tasks() {
    let formula = include_str!("../fixtures/pending-tasks.txt");
    let some = |samples: &[f64]| pool().with(Metric::PendingTasks, samples);
    let half = [Some(9.0), None, Some(9.0), None, Some(9.0), None];
    assert_eq!(dedicated(&pool().with_gaps(Metric::PendingTasks, &half), formula), Some(1));
    assert_eq!(dedicated(&some(&[4.0, 8.0, 8.0, 8.0, 8.0, 12.0]), formula), Some(8));
    assert_eq!(dedicated(&some(&[100.0; 6]), formula), Some(25));
    assert_eq!(dedicated(&some(&[0.0; 6]), formula), Some(0));
    let results = some(&[0.0; 6]).evaluate(formula).results;
    assert_eq!(results.deallocation(), Deallocation::TaskCompletion);
}

#[test]
fn preempted_nodes() {
    let formula = include_str!("../fixtures/preempted-nodes.txt");
    for (samples, expected) in
        [([0.0; 6], (Some(0), Some(25))), ([2.0, 2.0, 3.0, 3.0, 3.0, 3.0], (Some(2), Some(23)))]
    {
        let evaluation = pool().with(Metric::PreemptedNodeCount, &samples).evaluate(formula);
        assert_eq!(evaluation.error, None);
        assert_eq!((evaluation.results.dedicated(), evaluation.results.low_priority()), expected);
    }
}

#[test]
fn weekday() {
    let formula = include_str!("../fixtures/weekday.txt");
    for (day, nodes) in [("2026-11-23", 5), ("2026-11-24", 1), ("2026-11-22", 1)] {
        let at = Timestamp::parse(day).expect("a day");
        assert_eq!(dedicated(&pool().at(at), formula), Some(nodes), "{day}");
    }
}

#[test]
fn work_hours_print_exactly_what_the_documentation_shows() {
    assert_eq!(
        pool().results(include_str!("../fixtures/work-hours.txt")),
        "$TargetDedicatedNodes=10;$NodeDeallocationOption=requeue;$curTime=2016-10-13T19:18:47.805Z;\
         $isWeekday=1;$isWorkingWeekdayHour=0;$workHours=0"
    );
}

#[test]
fn task_based() {
    let formula = include_str!("../fixtures/task-based.txt");
    let mut rising = [7.0; 30];
    (rising[0], rising[29]) = (11.0, 3.0);
    let some = |samples: &[f64]| pool().with(Metric::ActiveTasks, samples);
    assert_eq!(dedicated(&some(&rising), formula), Some(7));
    assert_eq!(dedicated(&some(&[30.0; 30]), formula), Some(20));
    // Too few samples: the newest one alone.
    assert_eq!(dedicated(&some(&[9.0, 3.0]), formula), Some(3));
    let idle = some(&[0.0; 30]).targeting(9, 0);
    assert_eq!(dedicated(&idle, formula), Some(4), "half of 9, truncated");
    assert!(idle.results(formula).ends_with("$samples=100;$targetVMs=4.5;$tasks=0"));
}

#[test]
fn parallel_tasks() {
    let formula = include_str!("../fixtures/parallel-tasks.txt");
    for (target, tasks, raw, nodes) in
        [(0, 5.0, "2", 2), (1, 5.0, "2", 2), (0, 40.0, "10.75", 3), (2, 0.0, "0.75", 0)]
    {
        let pool = pool().with(Metric::ActiveTasks, &[tasks; 30]).targeting(target, 0);
        assert_eq!(dedicated(&pool, formula), Some(nodes), "{tasks} tasks at {target} nodes");
        let results = pool.evaluate(formula).results;
        assert_eq!(results.variable("$targetVMs").expect("assigned").to_string(), raw);
    }
}

#[test]
fn initial_size() {
    let formula = include_str!("../fixtures/initial-size.txt");
    let minutes = |minutes: i64| Timestamp(thursday().0 + minutes * 600_000_000);
    let aged = |age, running: &[f64]| {
        let pool = pool().at(minutes(age)).targeting(7, 0);
        pool.with(Metric::RunningTasks, running).with(Metric::ActiveTasks, running)
    };
    // The branch not taken is not evaluated: no samples are needed yet.
    assert_eq!(dedicated(&aged(5, &[]), formula), Some(4));
    assert_eq!(dedicated(&aged(120, &[0.0; 120]), formula), Some(0));
    assert_eq!(dedicated(&aged(120, &[0.0; 60]), formula), Some(0));
    // The first statement's 4 is visible to the last one; the pool's 7 is not.
    assert_eq!(dedicated(&aged(120, &[1.0; 120]), formula), Some(4));

    let short = aged(120, &[0.0; 48]).evaluate(formula);
    let error = short.error.expect("40 % of the samples are too few");
    assert_eq!(error.code, "InsufficientSampleData");
    assert_eq!(error.message, "Autoscale evaluation failed due to insufficient sample data");
    assert_eq!(
        error.detail,
        "Line 7, Col 52: Insufficient data from data set: $RunningTasks wanted 50%, received 40%"
    );
    assert_eq!(short.results.dedicated(), None, "a failed evaluation resizes nothing");
}

#[test]
fn cpu() {
    let formula = include_str!("../fixtures/cpu.txt");
    for (load, nodes) in [(0.9, 11), (0.1, 9), (0.5, 10)] {
        let pool = pool().with(Metric::CpuPercent, &[load; 120]).with(Metric::CurrentDedicatedNodes, &[10.0]);
        assert_eq!(dedicated(&pool, formula), Some(nodes), "{load}");
    }
}

#[test]
fn sample_range() {
    let pool = pool().with(Metric::RunningTasks, &[1.0; 20]);
    assert_eq!(
        pool.results(include_str!("../fixtures/sample-range.txt")),
        "$NodeDeallocationOption=requeue;$runningTasksSample=[1,1,1,1,1,1,1,1,1,1]"
    );
}

#[test]
fn sample_guards() {
    let formula = include_str!("../fixtures/sample-guard.txt");
    // From two minutes to one minute ago there are two samples, of which one is missing.
    let gap = [Some(1.0), Some(1.0), None, Some(1.0), Some(1.0)];
    let error = pool().with_gaps(Metric::RunningTasks, &gap).evaluate(formula).error.expect("one of two");
    assert_eq!(
        error.detail,
        "Line 1, Col 23: Insufficient data from data set: $RunningTasks wanted 75%, received 50%"
    );
    assert_eq!(pool().with(Metric::RunningTasks, &[1.0; 5]).evaluate(formula).error, None);

    let mut gap = [Some(0.5); 20];
    (gap[3], gap[11]) = (None, None);
    let pool = pool().with_gaps(Metric::CpuPercent, &gap);
    let guarded =
        |percent| pool.evaluate(&format!("x = $CPUPercent.GetSample(TimeInterval_Minute * 10, {percent})"));
    assert!(guarded(95).error.expect("18 of 20").detail.ends_with("$CPUPercent wanted 95%, received 90%"));
    assert_eq!(guarded(80).error, None);
}

#[test]
fn the_present_size() {
    let pool = pool().with(Metric::CurrentDedicatedNodes, &[6.0]);
    assert_eq!(dedicated(&pool, include_str!("../fixtures/current-nodes.txt")), Some(6));
}

#[test]
fn the_alias_is_printed_as_it_was_written() {
    let expected = "$TargetDedicated=1;$NodeDeallocationOption=requeue";
    assert_eq!(pool().results(include_str!("../fixtures/alias.txt")), expected);
    let both = "$TargetDedicatedNodes = 2; $TargetDedicated = 1; $TargetLowPriority = 3";
    assert_eq!(
        pool().results(both),
        "$TargetDedicatedNodes=2;$TargetLowPriority=3;$NodeDeallocationOption=requeue"
    );
}

#[test]
fn zero() {
    assert_eq!(dedicated(&pool(), include_str!("../fixtures/zero.txt")), Some(0));
}

#[test]
fn names_without_a_dollar_print_without_one() {
    // From the reference of Test-AzBatchAutoScale.
    assert_eq!(
        pool().results("totalNodes = 5; $TargetDedicated=min(100,totalNodes);"),
        "$TargetDedicated=5;$NodeDeallocationOption=requeue;totalNodes=5"
    );
}
