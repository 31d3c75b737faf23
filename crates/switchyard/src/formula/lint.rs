//! `switchyard formula lint`: what is unwise in a formula, each finding with its place and its remedy.

use std::process::ExitCode;

use autoscale::lint::Finding;
use serde_json::json;

use super::show;
use super::source::Source;
use crate::Failure;
use crate::cli::FormulaLint;
use crate::print::Printer;
use crate::tally::Tally;

/// Lints a formula. The exit code is 1 where something is worse than a note.
///
/// # Errors
/// When the file cannot be read or holds no formula.
pub(super) fn run(flags: &FormulaLint, printer: &Printer) -> Result<ExitCode, Failure> {
    let Source { text, slots } = super::formula(&flags.file)?;
    let Some(tally) = judged(&text, flags.slots.or(slots), printer) else { return Ok(ExitCode::FAILURE) };
    printer.say(&tally.to_string());
    Ok(if tally.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tells each finding, or the mistake for which the service would refuse the formula.
pub(crate) fn judged(text: &str, slots: Option<u32>, printer: &Printer) -> Option<Tally> {
    let formula = match autoscale::parse(text) {
        Ok(formula) => formula,
        Err(mistake) => {
            show::mistake(text, &mistake, printer);
            return None;
        }
    };
    let findings = autoscale::lint::lint(&formula, slots);
    findings.iter().for_each(|finding| tell(text, finding, printer));
    Some(Tally::of(findings.iter().map(|finding| finding.severity.as_str())))
}

fn tell(text: &str, finding: &Finding, printer: &Printer) {
    let Finding { rule, severity, at, statement, what, remedy } = finding;
    printer.record(&json!({
        "rule": rule.as_str(), "severity": severity.as_str(), "line": at.line, "column": at.column,
        "statement": statement, "what": what, "remedy": remedy,
    }));
    printer.say(&format!("Line {}, Col {}: {severity} {rule}", at.line, at.column));
    show::marked(text, at.line, at.column).iter().for_each(|line| printer.say(line));
    printer.say(&format!("  {what}"));
    printer.say(&format!("  remedy: {remedy}"));
    printer.say("");
}
