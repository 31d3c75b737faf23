//! A pool or a formula that is not deployed yet, judged by this command's own linters.

use autoscale::lint::{Severity, lint};
use wire::doctor::{Finding, Outcome};

use crate::Failure;
use crate::cli::Doctor;
use crate::formula;
use crate::place::Place;

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
pub(super) fn look(flags: &Doctor, _place: &Place) -> Result<Further, Failure> {
    let mut further = Further::default();
    if let Some(file) = &flags.formula {
        let (text, slots) = formula::text_of(file)?;
        further.findings.extend(of_formula(&file.display().to_string(), &text, slots));
    }
    Ok(further)
}

fn of_formula(subject: &str, text: &str, slots: Option<u32>) -> Vec<Finding> {
    let said = |outcome, found: String, remedy: Option<String>| Finding {
        check: "formula".to_owned(),
        subject: Some(subject.to_owned()),
        outcome,
        found,
        remedy,
    };
    let formula = match autoscale::parse(text) {
        Ok(formula) => formula,
        Err(error) => {
            let remedy = "`switchyard formula check FILE` shows the place".to_owned();
            return vec![said(
                Outcome::Broken,
                format!("the service would refuse it: {error}"),
                Some(remedy),
            )];
        }
    };
    let findings = lint(&formula, slots).into_iter().filter(|finding| finding.severity != Severity::Note);
    let told: Vec<Finding> = findings
        .map(|finding| {
            let outcome =
                if finding.severity == Severity::Error { Outcome::Broken } else { Outcome::Warning };
            said(outcome, format!("{}: {}", finding.rule, finding.what), Some(finding.remedy))
        })
        .collect();
    if told.is_empty() { vec![said(Outcome::Ok, "nothing in it is unwise".to_owned(), None)] } else { told }
}
