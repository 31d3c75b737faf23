//! Formulas that are refused, with the place and the text of the mistake.

use autoscale::parse::{CHARACTERS_MAX, STATEMENTS_MAX};
use autoscale::{ErrorKind, Evaluation, parse};

use crate::pool::pool;

#[test]
fn mistakes_name_their_place() {
    use ErrorKind::{ReadOnly, Syntax, Type, UnknownName};
    for (text, kind, message) in [
        ("", Syntax, "Line 1, Col 1: Expected a statement but found the end of the formula"),
        ("// nothing\n", Syntax, "Line 2, Col 1: Expected a statement but found the end of the formula"),
        (";", Syntax, "Line 1, Col 1: Expected a statement but found ';'"),
        ("x = 1;;", Syntax, "Line 1, Col 7: Expected a statement but found ';'"),
        ("x = 1 y = 2", Syntax, "Line 1, Col 7: Expected ';' but found 'y'"),
        ("x =", Syntax, "Line 1, Col 4: Expected an expression but found the end of the formula"),
        ("x = (1 + 2;", Syntax, "Line 1, Col 11: Expected ')' but found ';'"),
        ("x = 1;\n  y = 2 %\n 3", Syntax, "Line 2, Col 9: Unexpected character '%'"),
        ("x = \"é\" == é", Syntax, "Line 1, Col 12: Unexpected character 'é'"),
        ("x = 1 ? 2", Syntax, "Line 1, Col 10: Expected ':' but found the end of the formula"),
        ("x = \"a", Syntax, "Line 1, Col 5: The string has no closing quote"),
        ("x = 1e3", Syntax, "Line 1, Col 6: Expected ';' but found 'e3'"),
        ("x = 1.", Syntax, "Line 1, Col 7: Expected a member but found the end of the formula"),
        ("x = $", Syntax, "Line 1, Col 5: Unexpected character '$'"),
        ("x = 2 & 3", Syntax, "Line 1, Col 7: Unexpected character '&'"),
        ("1 = 2", Syntax, "Line 1, Col 1: Expected a statement but found '1'"),
        ("x = 1; x", Syntax, "Line 1, Col 9: Expected '=' but found the end of the formula"),
        ("max(1, 2)", Syntax, "Line 1, Col 4: Expected '=' but found '('"),
        ("x = time(\"soon\")", Syntax, "Line 1, Col 10: \"soon\" is no W3C-DTF or RFC 1123 time"),
        ("x = time().epoch", Syntax, "Line 1, Col 12: A timestamp has no member epoch"),
        ("x = $PendingTasks.Get(1)", Syntax, "Line 1, Col 19: $PendingTasks has no member Get"),
        ("x = (2).hour", Syntax, "Line 1, Col 9: A double has no member hour"),
        ("$something_useless", UnknownName, "Line 1, Col 1: Undefined name $something_useless"),
        ("x = y", UnknownName, "Line 1, Col 5: Undefined name y"),
        ("x = x + 1", UnknownName, "Line 1, Col 5: Undefined name x"),
        ("x = 1; y = $x", UnknownName, "Line 1, Col 12: Undefined name $x"),
        ("x = Max(1)", UnknownName, "Line 1, Col 5: Undefined name Max; did you mean max?"),
        (
            "x = $cpupercent",
            UnknownName,
            "Line 1, Col 5: Undefined name $cpupercent; did you mean $CPUPercent?",
        ),
        ("$PendingTasks = 1", ReadOnly, "Line 1, Col 1: Variable $PendingTasks is read-only"),
        ("requeue = 1", ReadOnly, "Line 1, Col 1: requeue is a constant"),
        ("TimeInterval_Day = 1", ReadOnly, "Line 1, Col 1: TimeInterval_Day is a constant"),
        ("x = 1 + \"a\"", Type, "Line 1, Col 7: Operator '+' does not apply to double and string"),
        ("x = !time()", Type, "Line 1, Col 5: Operator '!' does not apply to timestamp"),
        ("x = 1 ? 2 : \"a\"", Type, "Line 1, Col 7: The branches of '?' differ: double and string"),
        ("x = time() ? 2 : 3", Type, "Line 1, Col 5: A condition must be a double, not a timestamp"),
        ("x = max(time())", Type, "Line 1, Col 5: max does not take (timestamp)"),
        ("x = val(1, 2)", Type, "Line 1, Col 5: val does not take (double, double)"),
        (
            "x = $PendingTasks.GetSample(1, 70)",
            Type,
            "Line 1, Col 5: GetSample does not take (double, double)",
        ),
        (
            "$TargetDedicatedNodes = time()",
            Type,
            "Line 1, Col 25: A timestamp cannot be assigned to $TargetDedicatedNodes",
        ),
        (
            "$NodeDeallocationOption = \"requeue\"",
            Type,
            "Line 1, Col 27: A string cannot be assigned to $NodeDeallocationOption",
        ),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!((error.kind, error.to_string().as_str()), (kind, message), "{text}");
        assert_eq!(error.kind.code(), "AutoScalingFormulaSyntaxError");
    }
}

#[test]
fn a_name_that_nothing_has_is_found_by_the_evaluation() {
    // Recorded by the service's JavaScript client: 200, this code, these results.
    let pool = pool().targeting(2, 0);
    let mistake = parse("$something_useless").expect_err("unknown");
    let evaluation = Evaluation::of_mistake(&mistake, &pool.world()).expect("inside a 200");
    assert_eq!(evaluation.error.expect("an error").code, "AutoScalingFormulaEvaluationError");
    assert_eq!(
        evaluation.results.to_string(),
        "$TargetDedicatedNodes=2;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue"
    );
    let mistake = parse("x = (").expect_err("no expression");
    assert_eq!(Evaluation::of_mistake(&mistake, &pool.world()), None, "a 400");
}

#[test]
fn lengths_are_bounded_as_by_the_service() {
    let padded = |length: usize| format!("x = 1;{}", " ".repeat(length - "x = 1;".len()));
    assert!(parse(&padded(CHARACTERS_MAX)).is_ok());
    let error = parse(&padded(CHARACTERS_MAX + 1)).expect_err("one too many");
    assert_eq!((error.kind, error.kind.code()), (ErrorKind::TooLong, "AutoScalingFormulaTooLong"));

    assert!(parse(&"x = 1;".repeat(STATEMENTS_MAX)).is_ok());
    let error = parse(&"x = 1;\n".repeat(STATEMENTS_MAX + 1)).expect_err("one too many");
    assert_eq!((error.kind, error.line), (ErrorKind::TooManyStatements, 101));
}

#[test]
fn nesting_is_bounded() {
    for (open, close) in [("(", ")"), ("-", ""), ("!", ""), ("max(", ")"), ("1 + (", ")"), ("1 ? 2 : ", "")] {
        let deep = |levels: usize| format!("x = {}1{}", open.repeat(levels), close.repeat(levels));
        assert!(parse(&deep(40)).is_ok(), "{open}");
        let error = parse(&deep(900)).expect_err("too deep");
        assert_eq!(error.kind, ErrorKind::TooDeep, "{open}");
    }
    let row = |terms: usize| format!("x = 1{}", " + 1".repeat(terms));
    assert!(parse(&row(90)).is_ok());
    assert_eq!(parse(&row(2_000)).expect_err("too long a row").kind, ErrorKind::TooDeep);
}
