//! A pool or a formula that is not deployed yet, judged by this command's own linters.

use autoscale::lint::{Severity, lint};
use machines::Date;
use wire::doctor::{Finding, Outcome};

use crate::Failure;
use crate::cli::Doctor;
use crate::formula;
use crate::place::Place;
use crate::pool;

/// What was found of files.
#[derive(Debug, Default)]
pub(super) struct Further {
    /// Of the pool and of formulas.
    pub findings: Vec<Finding>,
    /// The pool's size of machine.
    pub vm_size: Option<String>,
}

/// Looks at the files that the flags name.
///
/// # Errors
/// When one cannot be read.
pub(super) fn look(flags: &Doctor, place: &Place) -> Result<Further, Failure> {
    let mut further = Further::default();
    if let Some(file) = &flags.pool {
        let today = Date::of_unix_ms(place.clock().now_ms());
        let (findings, vm_size) = pool::judged(file, today)?;
        further.findings.extend(of_pool(&file.display().to_string(), findings));
        further.vm_size = vm_size;
    }
    if let Some(file) = &flags.formula {
        let (text, slots) = formula::text_of(file)?;
        further.findings.extend(of_formula(&file.display().to_string(), &text, slots));
    }
    Ok(further)
}

fn of_pool(subject: &str, findings: Vec<machines::Finding>) -> Vec<Finding> {
    let findings = findings.into_iter().filter(|finding| finding.severity != machines::Severity::Note);
    let told: Vec<Finding> = findings
        .map(|finding| {
            let is_error = finding.severity == machines::Severity::Error;
            let outcome = if is_error { Outcome::Broken } else { Outcome::Warning };
            said("machine", subject, outcome, format!("{}: {}", finding.rule, finding.what), finding.remedy)
        })
        .collect();
    if told.is_empty() { vec![well("machine", subject, "nothing in it is wrong or ends soon")] } else { told }
}

fn of_formula(subject: &str, text: &str, slots: Option<u32>) -> Vec<Finding> {
    let formula = match autoscale::parse(text) {
        Ok(formula) => formula,
        Err(error) => {
            let remedy = "`switchyard formula check FILE` shows the place".to_owned();
            let found = format!("the service would refuse it: {error}");
            return vec![said("formula", subject, Outcome::Broken, found, remedy)];
        }
    };
    let findings = lint(&formula, slots).into_iter().filter(|finding| finding.severity != Severity::Note);
    let told: Vec<Finding> = findings
        .map(|finding| {
            let outcome =
                if finding.severity == Severity::Error { Outcome::Broken } else { Outcome::Warning };
            said("formula", subject, outcome, format!("{}: {}", finding.rule, finding.what), finding.remedy)
        })
        .collect();
    if told.is_empty() { vec![well("formula", subject, "nothing in it is unwise")] } else { told }
}

fn said(check: &str, subject: &str, outcome: Outcome, found: String, remedy: String) -> Finding {
    let (check, subject) = (check.to_owned(), Some(subject.to_owned()));
    Finding { check, subject, outcome, found, remedy: Some(remedy) }
}

fn well(check: &str, subject: &str, found: &str) -> Finding {
    Finding { remedy: None, ..said(check, subject, Outcome::Ok, found.to_owned(), String::new()) }
}
