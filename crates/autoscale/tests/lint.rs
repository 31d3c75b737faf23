//! What the linter says of the documentation's formulas, of the recipe's and of ours.

mod plans;

use autoscale::lint::{Finding, Rule, Severity, lint};
use autoscale::parse;
use autoscale::render::render;
use proptest::prelude::*;

fn findings(formula: &str) -> Vec<Finding> {
    lint(&parse(formula).unwrap_or_else(|error| panic!("{error} in\n{formula}")), None)
}

/// Their names, in the order of the list of rules.
fn rules(formula: &str) -> Vec<&'static str> {
    let mut rules: Vec<Rule> = findings(formula).iter().map(|finding| finding.rule).collect();
    rules.sort();
    rules.iter().map(|rule| rule.as_str()).collect()
}

#[test]
fn the_documentations_formulas_get_what_they_deserve() {
    let cases: &[(&str, &str, &[&str])] = &[
        // Its window of 180 s has 67 % at most where samples are a full minute late: a newer page says 15 min.
        (
            "pending-tasks",
            include_str!("fixtures/pending-tasks.txt"),
            &["buys_when_blind", "counts_tasks_not_slots", "late_samples", "never_buys_spot"],
        ),
        (
            "preempted-nodes",
            include_str!("fixtures/preempted-nodes.txt"),
            &["buys_when_blind", "no_percentage_guard", "minimum_over_samples", "never_shrinks"],
        ),
        ("weekday", include_str!("fixtures/weekday.txt"), &["kills_running_tasks", "never_buys_spot"]),
        ("work-hours", include_str!("fixtures/work-hours.txt"), &["kills_running_tasks", "never_buys_spot"]),
        (
            "task-based",
            include_str!("fixtures/task-based.txt"),
            &["undocumented", "counts_tasks_not_slots", "never_buys_spot"],
        ),
        ("parallel-tasks", include_str!("fixtures/parallel-tasks.txt"), &["undocumented", "never_buys_spot"]),
        (
            "initial-size",
            include_str!("fixtures/initial-size.txt"),
            &["kills_running_tasks", "never_buys_spot"],
        ),
        (
            "cpu",
            include_str!("fixtures/cpu.txt"),
            &[
                "kills_running_tasks",
                "no_percentage_guard",
                "no_percentage_guard",
                "never_grows",
                "never_buys_spot",
            ],
        ),
        ("sample-range", include_str!("fixtures/sample-range.txt"), &["no_percentage_guard", "no_target"]),
        ("sample-guard", include_str!("fixtures/sample-guard.txt"), &["no_target"]),
        (
            "current-nodes",
            include_str!("fixtures/current-nodes.txt"),
            &["never_shrinks", "never_grows", "never_buys_spot"],
        ),
        ("alias", include_str!("fixtures/alias.txt"), &["kills_running_tasks", "never_buys_spot"]),
        ("zero", include_str!("fixtures/zero.txt"), &["kills_running_tasks"]),
    ];
    for (name, formula, expected) in cases {
        assert_eq!(rules(formula), *expected, "{name}: {:#?}", findings(formula));
    }
}

/// Fault by fault, as it was found by reading and running the recipe.
#[test]
fn each_fault_of_the_recipe_is_named() {
    let findings = findings(include_str!("fixtures/recipe.txt"));
    let faults = [
        (
            Rule::PercentageAsTime,
            "70 s is the end of the window, not a percentage: it takes the 3 or 4 samples",
        ),
        (Rule::NoPercentageGuard, "used however few there are"),
        (Rule::MinimumOverSamples, "where all say 9 and one says 0 it asks for 0 nodes instead of 4"),
        (
            Rule::BuysWhenBlind,
            "without a single sample (a new pool, a gap) it asks for 4 dedicated nodes; where the samples say that there is no task, for 0",
        ),
        (Rule::NeverBuysSpot, "only dedicated nodes"),
        (
            Rule::KillsRunningTasks,
            "of 4 nodes that it asked for it keeps 1 while tasks run, and the option is requeue, which holds where none is assigned",
        ),
        (Rule::CountsTasksNotSlots, "two tasks more"),
    ];
    for (rule, what) in faults {
        let found = findings.iter().find(|finding| finding.rule == rule);
        assert!(found.is_some_and(|found| found.what.contains(what)), "{rule}: {found:#?}");
    }
    assert_eq!(findings.len(), faults.len(), "{findings:#?}");
    let place = findings.iter().find(|finding| finding.rule == Rule::PercentageAsTime).unwrap();
    assert_eq!((place.at.line, place.at.column), (1, 29));
    assert!(place.statement.starts_with("$TargetDedicatedNodes = min($PendingTasks.GetSample("));
}

/// A formula without a fault, into which each case puts one.
const SOUND: &str = "\
window = TimeInterval_Minute * 15;
known = $PendingTasks.GetSamplePercent(window) >= 70;
tasks = known ? avg($PendingTasks.GetSample(window)) : 0;
nodes = (tasks + 3) / 4;
$TargetLowPriorityNodes = min(20, nodes);
$NodeDeallocationOption = taskcompletion;
";

#[test]
fn every_rule_finds_its_fault_and_nothing_else() {
    assert_eq!(rules(SOUND), [] as [&str; 0], "{:#?}", findings(SOUND));
    let cases: &[(Rule, &str, &str)] = &[
        (Rule::KillsRunningTasks, "= taskcompletion", "= terminate"),
        (Rule::RetainedData, "= taskcompletion", "= retaineddata"),
        (
            Rule::BuysWhenBlind,
            "$TargetLowPriorityNodes =",
            "$TargetDedicatedNodes = known ? 0 : 2;\n$TargetLowPriorityNodes =",
        ),
        (Rule::UnboundedGrowth, "min(20, nodes)", "nodes"),
        (
            Rule::PercentageAsTime,
            "GetSample(window)",
            "GetSample(600 * TimeInterval_Second, 80 * TimeInterval_Second)",
        ),
        (Rule::NoPercentageGuard, "$PendingTasks.GetSamplePercent", "$ActiveTasks.GetSamplePercent"),
        (Rule::PercentageOutOfScale, ">= 70", ">= 0.7"),
        (Rule::PercentageOutOfScale, "GetSample(window)", "GetSample(window, 0.7)"),
        (Rule::MinimumOverSamples, "avg(", "min(100, "),
        (Rule::ShortWindow, "avg(", "max($RunningTasks.GetSample(TimeInterval_Minute, 1), "),
        (
            Rule::PreemptedCountedTwice,
            "min(20, nodes)",
            "min(20, nodes + max(0, $PreemptedNodeCount.GetSample(window, 70)))",
        ),
        (Rule::NeverShrinks, "min(20, nodes)", "min(20, tasks > 0 ? nodes : $TargetLowPriorityNodes)"),
        (
            Rule::NeverGrows,
            "(tasks + 3) / 4",
            "tasks > 0 ? $TargetLowPriorityNodes + ($TargetLowPriorityNodes / 2) : 0",
        ),
        (Rule::UnreachableCap, "min(20, nodes)", "min(20, min(5, nodes))"),
        (Rule::UnreachableCap, "min(20, nodes)", "max(20, min(5, nodes))"),
        (Rule::BothNames, "$NodeDe", "$TargetLowPriority = 1;\n$NodeDe"),
        (Rule::NoTarget, "$TargetLowPriorityNodes", "$targetNodes"),
        (Rule::NeverRead, "$NodeDe", "spare = 3;\n$NodeDe"),
        (Rule::NeverRead, "$NodeDe", "spare = 0; spare = spare + 1;\n$NodeDe"),
        (Rule::Undocumented, "(tasks + 3) / 4", "ceil(tasks / 4)"),
        (Rule::CountsTasksNotSlots, "(tasks + 3) / 4", "tasks"),
        (Rule::LateSamples, "* 15", "* 3"),
        (Rule::NeverBuysSpot, "$TargetLowPriorityNodes", "$TargetDedicatedNodes"),
    ];
    for (rule, sound, fault) in cases {
        assert!(SOUND.contains(sound), "{sound}");
        let formula = SOUND.replace(sound, fault);
        let found = findings(&formula);
        assert!(found.iter().all(|finding| finding.rule == *rule), "{rule}: {found:#?}");
        assert_eq!(found.len(), 1, "{rule} in\n{formula}");
    }
    for rule in Rule::ALL {
        assert!(cases.iter().any(|(tried, ..)| *tried == rule), "{rule} has no case");
    }
}

#[test]
fn slots_are_counted_where_they_are_known() {
    let formula = parse(include_str!("fixtures/task-based.txt")).unwrap();
    let severity = |slots| {
        let found = lint(&formula, slots);
        let found = found.iter().find(|finding| finding.rule == Rule::CountsTasksNotSlots);
        found.map(|found| found.severity)
    };
    assert_eq!(severity(None), Some(Severity::Note));
    assert_eq!(severity(Some(1)), None);
    assert_eq!(severity(Some(2)), Some(Severity::Warning));
}

#[test]
fn what_stands_after_a_stop_or_cannot_be_told_is_left_alone() {
    assert_eq!(rules("stop(); $TargetDedicatedNodes = 1;"), [] as [&str; 0]);
    let long = SOUND.replace("TimeInterval_Minute * 15", "TimeInterval_Week * 2");
    assert_eq!(rules(&long), [] as [&str; 0], "{:#?}", findings(&long));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn our_own_formulas_have_no_fault(plan in plans::any_plan()) {
        let formula = render(&plan);
        let found = lint(&parse(&formula).unwrap(), Some(plan.slots_per_node.max(1)));
        prop_assert!(found.is_empty(), "{:#?}\n{}", found, formula);
    }
}
