//! A formula told statement by statement: what it computes, and what its parts were worth.

use autoscale::{Expr, Formula, Step, Value};
use serde_json::json;

use crate::print::Printer;

/// Elements of a vector that are shown before the rest is only counted.
const ELEMENTS_SHOWN: usize = 12;

/// Tells what each statement did. Parentheses show how the statement is understood.
pub(super) fn steps(formula: &Formula, steps: &[Step<'_>], printer: &Printer) {
    for Step { statement, value, seen } in steps {
        let at = statement.at;
        let seen = parts(seen);
        printer.record(&json!({
            "line": at.line, "column": at.column, "statement": statement.to_string(),
            "value": value.as_ref().map(short),
            "seen": seen.iter().map(|(part, value)| json!({ "expression": part, "value": value })).collect::<Vec<_>>(),
        }));
        printer.say(&format!("Line {}: {statement}", at.line));
        let width = seen.iter().map(|(part, _)| part.chars().count()).max().unwrap_or(0);
        for (part, value) in &seen {
            printer.say(&format!("    {part:<width$}  {value}"));
        }
        if let Some(value) = value {
            printer.say(&format!("  = {}", short(value)));
        }
    }
    let left = formula.statements().len() - steps.len();
    if left > 0 {
        printer.say(&format!("{left} more statements are not reached"));
    }
    printer.say("");
}

/// The parts of a statement and their values, each once.
fn parts(seen: &[(&Expr, Value)]) -> Vec<(String, String)> {
    let mut parts: Vec<(String, String)> = Vec::new();
    for (expr, value) in seen {
        let part = (expr.to_string(), short(value));
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts
}

fn short(value: &Value) -> String {
    match value {
        Value::Vector(elements) if elements.len() > ELEMENTS_SHOWN => {
            let first = Value::Vector(elements[..ELEMENTS_SHOWN].to_vec()).to_string();
            format!("{},… {} in all]", first.trim_end_matches(']'), elements.len())
        }
        _ => value.to_string(),
    }
}
