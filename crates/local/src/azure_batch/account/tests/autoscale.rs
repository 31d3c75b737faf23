//! Formulas in virtual time: when they are evaluated, what they see, what their targets do.

use super::super::autoscale::{Asked, formula};
use super::super::pool::Nodes;
use super::*;

const MINUTE_MS: u64 = 60_000;
const VERSION: Version = Version::V2025_06_01;
/// One spot node for each pending task, at most four; nodes drain.
const PENDING: &str = "$TargetLowPriorityNodes = min(4, max($PendingTasks.GetSample(1)));
    $NodeDeallocationOption = taskcompletion;";

fn enable(world: &mut World, with: Value) -> Result<(), Fault> {
    let asked = Asked::read(&object(with), VERSION)?;
    world.account.enable_autoscale("p", asked, world.now_ms)?;
    world.see();
    Ok(())
}

fn results(world: &World) -> (u64, String) {
    let run = world.found_pool().autoscale.as_ref().expect("it is on").last.as_ref().expect("it has run");
    (run.at_ms, run.results.clone())
}

fn autoscaled(formula: &str, interval: &str) -> World {
    let mut world = World::new();
    world.pool(json!({"enableAutoScale": true, "autoScaleFormula": formula,
        "autoScaleEvaluationInterval": interval}));
    world.job("j", json!({}));
    world
}

#[test]
fn a_pool_grows_with_its_work_and_goes_back_to_nothing() {
    let mut world = autoscaled(PENDING, "PT5M");
    let (at_ms, first) = results(&world);
    assert_eq!(at_ms, 0, "evaluated when it is switched on");
    assert!(first.ends_with("$NodeDeallocationOption=taskcompletion"), "{first}");
    for task in ["a", "b"] {
        world.task("j", task, json!({}));
    }
    world.wait(5 * MINUTE_MS - 1);
    assert_eq!(world.found_pool().target, Nodes::default());
    world.wait(1);
    assert_eq!(world.found_pool().target, Nodes { dedicated: 0, spot: 2 });
    world.wait(BOOTED_MS);
    assert_eq!(world.running(), ["a", "b"]);
    world.exit("a", 0);
    world.wait(5 * MINUTE_MS);
    assert_eq!(world.running(), ["b"], "the idle node goes, the busy one stays");
    assert_eq!((world.found_pool().nodes.len(), world.found_pool().allocation), (1, Allocation::Steady));
    world.exit("b", 0);
    world.wait(10 * MINUTE_MS);
    assert_eq!((world.found_pool().nodes.len(), world.found_pool().target), (0, Nodes::default()));
}

#[test]
fn samples_come_every_half_minute_a_minute_late_and_are_forgotten() {
    let mut world = World::with_pool(1, 4);
    enable(&mut world, json!({"autoScaleFormula": "$TargetLowPriorityNodes=1;"})).unwrap();
    let seen = |world: &mut World, text: &str| {
        let formula = formula(&object(json!({"autoScaleFormula": text})), VERSION).unwrap();
        world.account.evaluate_autoscale("p", &formula, world.now_ms).unwrap().results
    };
    world.task("j", "a", json!({"requiredSlots": 2}));
    let last = "$a = $RunningTasks.GetSample(1); $b = $CPUPercent.GetSample(1);";
    world.wait(89_000);
    assert!(seen(&mut world, last).ends_with("$a=[0];$b=[0]"), "what is there now is seen later");
    world.wait(1_000);
    assert!(seen(&mut world, last).ends_with("$a=[1];$b=[0.5]"), "{}", seen(&mut world, last));
    let nodes = "$c = $CurrentLowPriorityNodes.GetSample(1); $u = $UsableNodeCount.GetSample(1);
        $p = $PreemptedNodeCount.GetSample(1); $s = $TaskSlotsPerNode.GetSample(1);";
    world.evict_first();
    world.wait(91_000);
    assert!(seen(&mut world, nodes).ends_with("$c=[1];$p=[1];$s=[4];$u=[0]"), "{}", seen(&mut world, nodes));
    world.wait(24 * HOUR_MS);
    let rows = world.found_pool().samples.history().len();
    assert_eq!(rows, 6 * 60 * 2 + 1 - 2, "six hours, but for the last minute");
}

#[test]
fn an_omitted_member_keeps_its_value_and_an_interval_starts_over() {
    let mut world = autoscaled("$TargetLowPriorityNodes=0;", "PT10M");
    world.wait(4 * MINUTE_MS);
    enable(&mut world, json!({"autoScaleFormula": "$TargetLowPriorityNodes=1;"})).unwrap();
    let autoscale = |world: &World| {
        let autoscale = world.found_pool().autoscale.as_ref().unwrap();
        (autoscale.text().to_owned(), autoscale.interval_ms)
    };
    assert_eq!(autoscale(&world), ("$TargetLowPriorityNodes=1;".to_owned(), 10 * MINUTE_MS));
    assert_eq!(world.found_pool().target.spot, 0, "a new formula waits for its time");
    world.wait(6 * MINUTE_MS);
    assert_eq!((world.found_pool().target.spot, results(&world).0), (1, 10 * MINUTE_MS));
    world.wait(4 * MINUTE_MS);
    enable(&mut world, json!({"autoScaleEvaluationInterval": "PT20M"})).unwrap();
    assert_eq!(autoscale(&world), ("$TargetLowPriorityNodes=1;".to_owned(), 20 * MINUTE_MS));
    assert_eq!(results(&world).0, 14 * MINUTE_MS);
    world.wait(19 * MINUTE_MS);
    assert_eq!(results(&world).0, 14 * MINUTE_MS);
    world.wait(MINUTE_MS);
    assert_eq!(results(&world).0, 34 * MINUTE_MS);
}

#[test]
fn what_the_service_refuses_is_refused() {
    let mut world = World::new();
    world.pool(json!({"targetLowPriorityNodes": 1}));
    let formula_text = json!({"autoScaleFormula": "$TargetLowPriorityNodes=1;"});
    assert_eq!(code(enable(&mut world, formula_text.clone())), Code::PoolBeingResized);
    world.wait(BOOTED_MS);
    let cases = [
        (json!({}), Code::MissingRequiredProperty),
        (json!({"autoScaleEvaluationInterval": "PT5M"}), Code::MissingRequiredProperty),
        (json!({"autoScaleFormula": "$TargetLowPriorityNodes=;"}), Code::AutoScalingFormulaSyntaxError),
        (json!({"autoScaleFormula": "/".repeat(8193)}), Code::AutoScalingFormulaTooLong),
        (
            json!({"autoScaleFormula": "$a=1", "autoScaleEvaluationInterval": "PT4M"}),
            Code::InvalidPropertyValue,
        ),
        (
            json!({"autoScaleFormula": "$a=1", "autoScaleEvaluationInterval": "P8D"}),
            Code::InvalidPropertyValue,
        ),
        (json!({"autoscaleFormula": "$a=1"}), Code::InvalidRequestBody),
    ];
    for (with, expected) in cases {
        assert_eq!(code(enable(&mut world, with.clone())), expected, "{with}");
    }
    let one = formula(&object(formula_text.clone()), VERSION).unwrap();
    let now_ms = world.now_ms;
    let off = world.account.evaluate_autoscale("p", &one, now_ms).map(|_| ());
    assert_eq!(code(off), Code::OperationNotValidOnPool);
    assert_eq!(code(world.account.disable_autoscale("p", now_ms)), Code::OperationNotValidOnPool);

    enable(&mut world, formula_text.clone()).unwrap();
    assert_eq!(code(enable(&mut world, json!({}))), Code::MissingRequiredProperty);
    assert_eq!(code(world.resize(json!({"targetLowPriorityNodes": 2}))), Code::OperationNotValidOnPool);
    world.wait(29_999);
    assert_eq!(code(enable(&mut world, formula_text.clone())), Code::TooManyEnableAutoScaleRequests);
    world.wait(1);
    enable(&mut world, formula_text.clone()).unwrap();
    // Off and on again is no way around the thirty seconds.
    world.account.disable_autoscale("p", world.now_ms).unwrap();
    assert_eq!(code(enable(&mut world, formula_text)), Code::TooManyEnableAutoScaleRequests);
    world.resize(json!({"targetLowPriorityNodes": 2})).unwrap();
}

#[test]
fn a_new_pool_has_targets_or_a_formula() {
    let mut world = World::new();
    let mut refused = |with: Value| {
        let mut pool = object(json!({"id": "q", "vmSize": "s",
            "virtualMachineConfiguration": {"imageReference": {}, "nodeAgentSKUId": "a"}}));
        pool.extend(object(with));
        code(world.account.add_pool(pool, Version::V2026_10_01, 0))
    };
    let cases = [
        (json!({"enableAutoScale": true}), Code::MissingRequiredProperty),
        (
            json!({"enableAutoScale": true, "autoScaleFormula": "$a=1", "targetDedicatedNodes": 0}),
            Code::InvalidAutoScalingSettings,
        ),
        (json!({"autoScaleFormula": "$a=1"}), Code::InvalidAutoScalingSettings),
        (json!({"enableAutoScale": true, "autoScaleFormula": "$a="}), Code::AutoScalingFormulaSyntaxError),
        (
            json!({"enableAutoScale": true, "autoScaleFormula": "$NodeDeallocationOption=retaineddata;"}),
            Code::AutoScalingFormulaSyntaxError,
        ),
        (
            json!({"enableAutoScale": true, "autoScaleFormula": "$a=1", "autoScaleEvaluationInterval": "PT1M"}),
            Code::InvalidPropertyValue,
        ),
    ];
    for (with, expected) in cases {
        assert_eq!(refused(with.clone()), expected, "{with}");
    }
    assert_eq!(world.account.pools().count(), 0);
    for (version, taken) in [(Version::V2024_02_01, true), (VERSION, true), (Version::V2026_10_01, false)] {
        let body = object(json!({"targetDedicatedNodes": 0, "nodeDeallocationOption": "retaineddata"}));
        assert_eq!(Resize::read(&body, version).is_ok(), taken);
        let body = object(json!({"autoScaleFormula": "// never retaineddata\n$a=1"}));
        assert!(Asked::read(&body, version).is_ok(), "a comment names no option");
    }
}

#[test]
fn a_failed_evaluation_is_told_with_its_results_and_changes_nothing() {
    let text = "$TargetLowPriorityNodes=3;$x=$PendingTasks.GetSample(TimeInterval_Hour, 90);";
    let mut world = autoscaled(text, "PT5M");
    world.wait(HOUR_MS / 2);
    let run = world.found_pool().autoscale.as_ref().unwrap().last.as_ref().unwrap();
    let error = run.error.as_ref().expect("there are not enough samples");
    assert_eq!(error.code, "InsufficientSampleData");
    assert!(run.results.starts_with("$TargetLowPriorityNodes=3;"), "{}", run.results);
    assert_eq!(world.found_pool().target, Nodes::default());
    world.wait(HOUR_MS);
    assert_eq!(world.found_pool().target.spot, 3, "samples fill up and it succeeds");
}

#[test]
fn a_shrinking_pool_treats_running_tasks_as_its_formula_says() {
    for (option, state) in
        [("requeue", State::Active), ("terminate", State::Completed), ("taskcompletion", State::Running)]
    {
        let mut world = World::with_pool(1, 1);
        world.task("j", "a", json!({}));
        let text = format!("$TargetLowPriorityNodes=0;$NodeDeallocationOption={option};");
        enable(&mut world, json!({"autoScaleFormula": text})).unwrap();
        assert_eq!(world.found("a").state, state, "{option}");
    }
}

#[test]
fn an_evaluation_that_meets_a_resizing_pool_is_told_and_changes_nothing() {
    let mut world = World::with_pool(1, 1);
    world.task("j", "a", json!({}));
    let drain = "$TargetLowPriorityNodes=0;$NodeDeallocationOption=taskcompletion;";
    let text = json!({"autoScaleFormula": drain, "autoScaleEvaluationInterval": "PT5M"});
    enable(&mut world, text).unwrap();
    assert_eq!(world.found_pool().allocation, Allocation::Resizing);
    world.wait(MINUTE_MS);
    enable(&mut world, json!({"autoScaleFormula": "$TargetLowPriorityNodes=3;"})).unwrap();
    world.wait(5 * MINUTE_MS);
    assert!(results(&world).1.starts_with("$TargetLowPriorityNodes=3;"));
    assert_eq!(world.found_pool().target.spot, 0, "the drain holds growth up");
    world.exit("a", 0);
    world.wait(5 * MINUTE_MS);
    assert_eq!(world.found_pool().target.spot, 3);
}

#[test]
fn targets_past_what_there_is_give_errors_and_are_tried_for_again() {
    let mut world = autoscaled("$TargetLowPriorityNodes=1000;", "PT5M");
    world.wait(PACE.arrival_ms);
    let errors = |world: &World| world.found_pool().resize_errors.clone();
    assert_eq!((world.found_pool().current().spot, world.found_pool().target.spot), (100, 1000));
    assert_eq!(errors(&world), [ResizeError::QuotaReached(Kind::Spot)]);

    let mut world = World::new();
    world.account.set_quota(Quota { dedicated_cores: 4, spot_cores: 8 });
    world.pool(json!({"enableAutoScale": true, "autoScaleEvaluationInterval": "PT5M",
        "autoScaleFormula": "$TargetLowPriorityNodes=3;$TargetDedicatedNodes=2;"}));
    world.wait(PACE.arrival_ms);
    assert_eq!(world.found_pool().current(), Nodes { dedicated: 1, spot: 2 }, "a T4 machine has four cores");
    let both = [ResizeError::QuotaReached(Kind::Dedicated), ResizeError::QuotaReached(Kind::Spot)];
    assert_eq!(errors(&world), both);
    world.account.set_quota(Quota::UNLIMITED);
    world.wait(5 * MINUTE_MS);
    assert_eq!((world.found_pool().current(), errors(&world).len()), (Nodes { dedicated: 2, spot: 3 }, 0));
}

#[test]
fn an_error_stays_while_no_resize_follows_it() {
    let mut world = World::new();
    world.account.set_capacity(Capacity { dedicated: 0, spot: 0 });
    world.pool(json!({"targetLowPriorityNodes": 2}));
    world.wait(PACE.arrival_ms);
    world.account.set_capacity(Capacity::UNLIMITED);
    enable(&mut world, json!({"autoScaleFormula": "$TargetLowPriorityNodes=0;"})).unwrap();
    world.wait(24 * HOUR_MS);
    let pool = world.found_pool();
    assert_eq!((pool.target.spot, pool.allocation), (0, Allocation::Steady));
    assert_eq!(pool.resize_errors, [ResizeError::AllocationFailed(Kind::Spot)], "old, and its cause is gone");
}

#[test]
fn an_autoscale_that_stopped_grows_old_until_it_is_kicked() {
    let mut world = autoscaled("$TargetLowPriorityNodes=0;", "PT5M");
    world.wait(7 * MINUTE_MS);
    world.account.set_evaluating("p", false, world.now_ms).unwrap();
    world.wait(HOUR_MS);
    assert_eq!(results(&world).0, 5 * MINUTE_MS);
    enable(&mut world, json!({"autoScaleFormula": "$TargetLowPriorityNodes=1;"})).unwrap();
    world.wait(HOUR_MS);
    assert_eq!(results(&world).0, 5 * MINUTE_MS, "a new formula alone does not help");
    enable(&mut world, json!({"autoScaleEvaluationInterval": "PT5M"})).unwrap();
    assert_eq!((results(&world).0, world.found_pool().target.spot), (world.now_ms, 1));
    world.account.set_evaluating("p", false, world.now_ms).unwrap();
    world.account.set_evaluating("p", true, world.now_ms).unwrap();
    world.wait(5 * MINUTE_MS);
    assert_eq!(results(&world).0, world.now_ms);
}
