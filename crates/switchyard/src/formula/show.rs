//! Results and mistakes of formulas, for people (the line with a mark under the place) and as one
//! JSON object for programs.

use autoscale::parse::{CHARACTERS_MAX, STATEMENTS_MAX};
use autoscale::tree::{Action, Variable};
use autoscale::{Caution, Error, Evaluation, Formula, Results, RunError, Timestamp};
use serde_json::{Value, json};

use crate::print::Printer;

/// Characters of a line that are shown around a place.
const LINE_SHOWN: usize = 100;

/// Says that the service would take a formula, and what in it is not documented.
pub(super) fn accepted(text: &str, formula: &Formula, printer: &Printer) {
    let sets = service_variables(formula);
    let undocumented: Vec<Value> = formula.undocumented().iter().map(caution).collect();
    printer.record(&json!({
        "ok": true, "characters": text.chars().count(), "statements": formula.statements().len(),
        "sets": sets, "undocumented": undocumented,
    }));
    let sets = if sets.is_empty() { "no target: it never resizes".to_owned() } else { sets.join(", ") };
    let (characters, statements) = (text.chars().count(), formula.statements().len());
    printer.say(&format!(
        "accepted: {characters} of {CHARACTERS_MAX} characters, {statements} of {STATEMENTS_MAX} statements; sets {sets}"
    ));
    for Caution { at, what } in formula.undocumented() {
        printer.say("");
        printer.say(&format!("Line {}, Col {}: {}", at.line, at.column, what.text()));
        marked(text, at.line, at.column).iter().for_each(|line| printer.say(line));
    }
}

fn service_variables(formula: &Formula) -> Vec<&str> {
    let mut sets = Vec::new();
    for statement in formula.statements() {
        match &statement.action {
            Action::Assign { to: Variable::User(_), .. } | Action::Stop => {}
            Action::Assign { to, .. } if sets.contains(&to.name()) => {}
            Action::Assign { to, .. } => sets.push(to.name()),
        }
    }
    sets
}

fn caution(caution: &Caution) -> Value {
    let Caution { at, what } = caution;
    json!({ "line": at.line, "column": at.column, "what": format!("{what:?}"), "message": what.text() })
}

/// Says why the service would refuse a formula.
pub(super) fn mistake(text: &str, mistake: &Error, printer: &Printer) {
    printer.record(&json!({ "ok": false, "error": {
        "code": mistake.kind.code(), "message": mistake.message, "line": mistake.line, "column": mistake.column,
    }}));
    printer.say(&format!("refused ({})", mistake.kind.code()));
    printer.say(&mistake.to_string());
    marked(text, mistake.line, mistake.column).iter().for_each(|line| printer.say(line));
}

/// Says what an evaluation gave.
pub(super) fn evaluation(text: &str, evaluation: &Evaluation, now: Timestamp, printer: &Printer) {
    let results = &evaluation.results;
    printer.record(&json!({
        "at": now.to_string(), "results": results.to_string(),
        "dedicated": results.dedicated(), "low_priority": results.low_priority(),
        "deallocation": results.deallocation().as_str(),
        "error": evaluation.error.as_ref().map(run_error),
    }));
    printer.say(&format!("at {now}"));
    printer.say(&results.to_string());
    match &evaluation.error {
        None => printer.say(&outcome(results)),
        Some(error) => {
            printer.say(&format!("failed, and the pool is not resized ({})", error.code));
            printer.say(&error.detail);
            marked(text, error.line, error.column).iter().for_each(|line| printer.say(line));
        }
    }
}

fn run_error(error: &RunError) -> Value {
    json!({
        "code": error.code, "message": error.message, "detail": error.detail,
        "line": error.line, "column": error.column,
    })
}

fn outcome(results: &Results) -> String {
    let nodes = |target: Option<u32>| target.map_or_else(|| "as it is".to_owned(), |nodes| nodes.to_string());
    let (dedicated, low_priority) = (nodes(results.dedicated()), nodes(results.low_priority()));
    let deallocation = results.deallocation().as_str();
    format!(
        "dedicated nodes: {dedicated}; low-priority nodes: {low_priority}; a node that leaves: {deallocation}"
    )
}

/// The line of a place, and a mark under its character. A long line is cut on both sides.
pub(super) fn marked(text: &str, line: u32, column: u32) -> Vec<String> {
    let index = |number: u32| usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
    let shown = text.split('\n').nth(index(line)).unwrap_or_default().trim_end_matches('\r');
    let before = index(column).saturating_sub(LINE_SHOWN / 2);
    // One column each, also for a tab and for what would move the terminal's cursor.
    let blank = |c: char| if c.is_control() { ' ' } else { c };
    let part: String = shown.chars().skip(before).take(LINE_SHOWN).map(blank).collect();
    let head = if before > 0 { "…" } else { "" };
    let gap = " ".repeat(head.chars().count() + index(column) - before);
    vec![format!("  {head}{part}"), format!("  {gap}^")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_under_its_character() {
        assert_eq!(marked("a = 1;\r\n\tb = %\r\nc", 2, 6), ["   b = %", "       ^"]);
        assert_eq!(marked("", 1, 1), ["  ", "  ^"]);
        assert_eq!(marked("é %", 1, 3), ["  é %", "    ^"]);
        let long = format!("{}%{}", "x".repeat(200), "y".repeat(200));
        let [line, mark] = &marked(&long, 1, 201)[..] else { panic!("two lines") };
        assert_eq!(line.chars().nth(mark.chars().count() - 1), Some('%'));
        assert!(line.chars().count() < 110);
    }
}
