//! `switchyard formula lint`: what is unwise in a formula, each finding with its place and its remedy.

use std::process::ExitCode;

use autoscale::lint::{Finding, Severity};
use serde_json::json;

use super::show;
use super::source::Source;
use crate::Failure;
use crate::cli::FormulaLint;
use crate::print::Printer;

/// Lints a formula. The exit code is 1 where something is worse than a note.
///
/// # Errors
/// When the file cannot be read or holds no formula.
pub(super) fn run(flags: &FormulaLint, printer: &Printer) -> Result<ExitCode, Failure> {
    let Source { text, slots } = super::formula(&flags.file)?;
    let formula = match autoscale::parse(&text) {
        Ok(formula) => formula,
        Err(mistake) => {
            show::mistake(&text, &mistake, printer);
            return Ok(ExitCode::FAILURE);
        }
    };
    let findings = autoscale::lint::lint(&formula, flags.slots.or(slots));
    for finding in &findings {
        tell(&text, finding, printer);
    }
    printer.say(&summary(&findings));
    let is_sound = findings.iter().all(|finding| finding.severity == Severity::Note);
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

fn summary(findings: &[Finding]) -> String {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let counts =
        [Severity::Error, Severity::Warning, Severity::Note].map(|severity| (count(severity), severity));
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let told =
        counts.map(|(count, severity)| format!("{count} {severity}{}", if count > 1 { "s" } else { "" }));
    let told: Vec<String> = told.collect();
    if told.is_empty() { "nothing was found".to_owned() } else { told.join(", ") }
}
