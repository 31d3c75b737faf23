//! What the service does not document: each case has a stated outcome, and the text that relies
//! on it is marked.

use autoscale::Undocumented::{
    self, EmptyWindow, OptionInVariable, Precedence, Retyped, Rounding, StopInside, VectorAsTarget, Year,
};
use autoscale::{Metric, parse};

use crate::pool::pool;

#[test]
fn run_errors_name_what_is_wrong() {
    for (expression, detail) in [
        ("avg()", "Line 1, Col 5: avg of an empty vector"),
        ("max($PendingTasks.GetSample(5))", "Line 1, Col 5: max of an empty vector"),
        ("std($PendingTasks.GetSample(5))", "Line 1, Col 5: std of an empty vector"),
        ("val(vec(1, 2), 2)", "Line 1, Col 5: Index 2 is outside a vector of 2"),
        ("val(vec(1, 2), -1)", "Line 1, Col 5: Index -1 is outside a vector of 2"),
        ("val(vec(1, 2), 0 / 0)", "Line 1, Col 5: Index NaN is outside a vector of 2"),
        ("percentile(vec(), 50)", "Line 1, Col 5: percentile of an empty vector"),
        ("percentile(vec(1), 101)", "Line 1, Col 5: A percentile must be from 0 to 100, not 101"),
        ("vec(1, 2) + vec(1)", "Line 1, Col 15: Operator '+' on vectors of 2 and 1"),
        ("TimeInterval_Day / 0", "Line 1, Col 22: A timeinterval would be inf"),
    ] {
        assert_eq!(pool().x(expression), detail, "{expression}");
    }
    let evaluation = pool().evaluate("s = \"soon\"; t = time(s)");
    let error = evaluation.error.expect("no time");
    assert_eq!(error.detail, "Line 1, Col 17: \"soon\" is no W3C-DTF or RFC 1123 time");
    assert_eq!(error.code, "AutoScalingFormulaEvaluationError");
}

#[test]
fn arithmetic_without_a_finite_result_goes_on_until_a_target_needs_it() {
    for (expression, value) in [
        ("1 / 0", "Infinity"),
        ("-1 / 0", "-Infinity"),
        ("0 / 0", "NaN"),
        ("0 / 0 == 0 / 0", "0"),
        ("0 / 0 != 0 / 0", "1"),
        ("-0", "0"),
        ("min(4, 1 / 0)", "4"),
        ("sum() + norm() + len()", "0"),
        ("TimeInterval_Year * 999999999999 > TimeInterval_Year", "1"),
        ("(time() + TimeInterval_Year * 999999999999).year > 20000", "1"),
    ] {
        assert_eq!(pool().x(expression), value, "{expression}");
    }
    let evaluation = pool().evaluate("x = 1; $TargetDedicatedNodes = 5 / 0");
    assert_eq!(
        evaluation.error.expect("no target").detail,
        "Line 1, Col 34: inf is assigned to $TargetDedicatedNodes"
    );
    assert_eq!(evaluation.results.dedicated(), None);
    assert_eq!(evaluation.results.variable("x").expect("assigned before").to_string(), "1");
}

#[test]
fn targets_are_whole_and_never_negative() {
    for (target, nodes) in [("-3", 0), ("0.99", 0), ("7.99", 7), ("99999999999999", 2_147_483_647)] {
        let results = pool().evaluate(&format!("$TargetLowPriorityNodes = {target}")).results;
        assert_eq!(results.low_priority(), Some(nodes), "{target}");
        let printed = format!("$TargetLowPriorityNodes={nodes};$NodeDeallocationOption=requeue");
        assert_eq!(results.to_string(), printed);
    }
}

#[test]
fn a_bare_vector_is_its_newest_element() {
    let pool = pool().with(Metric::PendingTasks, &[9.0, 3.0]);
    let results = pool.results("$TargetDedicatedNodes = $PendingTasks.GetSample(2)");
    assert!(results.starts_with("$TargetDedicatedNodes=3;"));
    let error = pool.evaluate("$TargetDedicatedNodes = $RunningTasks.GetSample(2)").error;
    assert!(error.expect("nothing to take").detail.contains("An empty vector is assigned"));
}

#[test]
fn stop_keeps_what_was_set() {
    let evaluation = pool().evaluate("$TargetDedicatedNodes = 2; stop(); $TargetDedicatedNodes = 9");
    assert_eq!((evaluation.results.dedicated(), evaluation.error), (Some(2), None));
    let formula =
        "$TargetDedicatedNodes = 2; $TargetDedicatedNodes = 1 ? stop() : 9; $TargetDedicatedNodes = 5";
    assert_eq!(pool().evaluate(formula).results.dedicated(), Some(2));
}

#[test]
fn vectors_are_bounded() {
    let doubling = format!("v = vec(1, 2); {}", "v = vec(v, v); ".repeat(40));
    let error = pool().evaluate(&doubling).error.expect("2^41 elements");
    assert_eq!(error.detail, "Line 1, Col 245: A vector has more than 65536 elements");
}

#[test]
fn what_is_not_documented_is_marked() {
    for (text, expected) in [
        ("x = 1 < 2 && 3 < 4 ? 5 : 6", &[][..]),
        ("x = ceil(1.5) + floor(2)", &[Rounding, Rounding]),
        ("x = round(2)", &[Rounding]),
        ("$TargetDedicated = vec(1)", &[VectorAsTarget]),
        ("x = 1 && 2 || 3", &[Precedence]),
        ("x = (1 && 2) || 3", &[]),
        ("x = 1 < 2 == 3", &[Precedence]),
        ("x = 1 ? 2 : 3 ? 4 : 5", &[Precedence]),
        ("x = 1 ? 2 : (3 ? 4 : 5)", &[]),
        ("x = min($PendingTasks.GetSample(5), 4)", &[EmptyWindow]),
        ("x = min($PendingTasks.GetSample(TimeInterval_Day, 70), 4)", &[]),
        ("x = 1; x = 2; x = time()", &[Retyped]),
        ("x = requeue", &[OptionInVariable]),
        ("x = 1 ? stop() : 2", &[StopInside]),
        ("stop()", &[]),
        ("x = TimeInterval_Year", &[Year]),
    ] {
        let formula = parse(text).expect(text);
        let found: Vec<Undocumented> = formula.undocumented().iter().map(|caution| caution.what).collect();
        assert_eq!(found, expected, "{text}");
    }
    let formula = parse("x = 1;\ny = ceil(x)").expect("a formula");
    let at = formula.undocumented()[0].at;
    assert_eq!((at.line, at.column), (2, 5));
}
