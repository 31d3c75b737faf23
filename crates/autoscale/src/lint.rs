//! What is unwise in a formula that the service would take.
//!
//! - [`rule`]: the closed list of what is looked for
//! - [`flow`]: what an expression can be worth, and which samples reach it
//! - [`text`]: rules that the text shows
//! - [`proof`]: rules that are shown by evaluating the formula; [`trial`] is the pool that it is
//!   evaluated on, with samples made up for it
//!
//! A finding is said only where it is true: rules about sizes are proven by an evaluation, whose
//! numbers the finding gives. What cannot be told is not said.

mod flow;
mod proof;
mod rule;
mod text;
mod trial;

pub use rule::{Rule, Severity};

use crate::tree::{Action, Variable};
use crate::{Formula, Position, Statement};
use flow::Flow;
use proof::Prover;

/// Slots of a node where nobody said how many: a guess, and what it finds is only a note.
const SLOTS_GUESSED: u32 = 4;

/// Something unwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// How bad it is; the rule's severity, or less where it depends on what was not said.
    pub severity: Severity,
    /// Where.
    pub at: Position,
    /// The statement that it is in, in one line.
    pub statement: String,
    /// What happens, in a sentence, with the numbers that were seen.
    pub what: String,
    /// What one can do.
    pub remedy: String,
}

/// Looks for everything that [`Rule`] names, in the order of the text. `slots` is the pool's
/// `taskSlotsPerNode`; without it, what depends on it is a note.
pub fn lint(formula: &Formula, slots: Option<u32>) -> Vec<Finding> {
    let flow = Flow::of(formula);
    let mut found = Found { formula, findings: Vec::new() };
    text::look(&flow, &mut found);
    let guess = slots.unwrap_or(SLOTS_GUESSED);
    Prover::new(formula, &flow, guess).look(&mut found);
    if slots.is_none() {
        let told = found.findings.iter_mut().filter(|finding| finding.rule == Rule::CountsTasksNotSlots);
        told.for_each(|finding| finding.severity = Severity::Note);
    }
    found.findings.sort_by_key(|finding| (finding.at, finding.rule));
    found.findings
}

/// What was found so far.
struct Found<'a> {
    formula: &'a Formula,
    findings: Vec<Finding>,
}

impl Found<'_> {
    fn add(&mut self, rule: Rule, at: Position, what: String) {
        let statement = self.formula.statements().iter().rev().find(|statement| statement.at <= at);
        self.findings.push(Finding {
            rule,
            severity: rule.severity(),
            at,
            statement: statement.map(Statement::to_string).unwrap_or_default(),
            what,
            remedy: rule.remedy().to_owned(),
        });
    }

    fn has(&self, rule: Rule) -> bool {
        self.findings.iter().any(|finding| finding.rule == rule)
    }
}

/// Where the last statement stands that assigns such a variable.
fn assigned(formula: &Formula, wanted: impl Fn(&Variable) -> bool) -> Option<Position> {
    let assigns =
        |statement: &&Statement| matches!(&statement.action, Action::Assign { to, .. } if wanted(to));
    formula.statements().iter().rev().find(assigns).map(|statement| statement.at)
}
