//! What somebody did by hand, or the system to its own size, as one line beside the decisions: who, what,
//! before and after. Never a key: its public part names the actor.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::VERSION;

/// What was done. The list is closed; `docs/operations.md` has it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// Knobs were set.
    KnobsChanged,
    /// The set before the last change came back.
    KnobsRolledBack,
    /// Knobs, catalogue and view were read anew by hand.
    Refreshed,
    /// Another catalogue came into force.
    CatalogueChanged,
    /// Dead letters were replayed.
    LettersReplayed,
    /// A dead letter was deleted.
    LetterDeleted,
    /// A job was asked to stop.
    JobCancelled,
    /// A job was asked to go to the realtime lane.
    JobPromoted,
    /// A job's facts were deleted.
    JobDeleted,
    /// A pool's formula was put into force.
    FormulaEnabled,
}

impl Did {
    /// All of them.
    pub const ALL: [Did; 10] = [
        Did::KnobsChanged,
        Did::KnobsRolledBack,
        Did::Refreshed,
        Did::CatalogueChanged,
        Did::LettersReplayed,
        Did::LetterDeleted,
        Did::JobCancelled,
        Did::JobPromoted,
        Did::JobDeleted,
        Did::FormulaEnabled,
    ];

    /// Its code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Did::KnobsChanged => "knobs_changed",
            Did::KnobsRolledBack => "knobs_rolled_back",
            Did::Refreshed => "refreshed",
            Did::CatalogueChanged => "catalogue_changed",
            Did::LettersReplayed => "letters_replayed",
            Did::LetterDeleted => "letter_deleted",
            Did::JobCancelled => "job_cancelled",
            Did::JobPromoted => "job_promoted",
            Did::JobDeleted => "job_deleted",
            Did::FormulaEnabled => "formula_enabled",
        }
    }
}

/// What a line is written from.
#[derive(Clone, Debug)]
pub struct Action<'a> {
    /// Unix milliseconds by the handler's clock.
    pub at: u64,
    /// Who.
    pub actor: Actor<'a>,
    /// `x-request-id` of the answer; none where no request asked.
    pub request_id: Option<&'a str>,
    /// What.
    pub did: Did,
    /// To what: a job, a pool, a letter; empty where there is but one.
    pub target: &'a str,
    /// How it was.
    pub before: Value,
    /// How it is.
    pub after: Value,
}

/// Who acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor<'a> {
    /// Whoever holds the key with this public part; of this tenant, or an operator.
    Key(&'a str, Option<&'a str>),
    /// The handler itself, by this function.
    Function(&'a str),
}

/// A line of an action, as it is read back.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ActionLine {
    /// Version of this shape.
    pub v: u8,
    /// Always `action`; decisions have no kind.
    pub kind: String,
    /// Unix milliseconds by the handler's clock.
    pub at: u64,
    /// `key:` and its public part, or `function:` and its name.
    pub actor: String,
    /// The tenant whose key it was.
    #[serde(default)]
    pub tenant: Option<String>,
    /// `x-request-id` of the answer.
    #[serde(default)]
    pub request_id: Option<String>,
    /// Code of what was done.
    pub action: String,
    /// To what.
    pub target: String,
    /// How it was.
    pub before: Value,
    /// How it is.
    pub after: Value,
}

impl ActionLine {
    /// What `kind` says.
    pub const KIND: &'static str = "action";
}

/// One line of the audit file, without a line end.
pub fn line(action: Action<'_>) -> String {
    let (actor, tenant) = match action.actor {
        Actor::Key(prefix, tenant) => (format!("key:{prefix}"), tenant),
        Actor::Function(name) => (format!("function:{name}"), None),
    };
    let line = ActionLine {
        v: VERSION,
        kind: ActionLine::KIND.to_owned(),
        at: action.at,
        actor,
        tenant: tenant.map(str::to_owned),
        request_id: action.request_id.map(str::to_owned),
        action: action.did.as_str().to_owned(),
        target: action.target.to_owned(),
        before: action.before,
        after: action.after,
    };
    serde_json::to_string(&line).expect("maps with text keys serialize")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Entry;

    #[test]
    fn an_action_is_one_line_and_reads_back_as_one() {
        let action = Action {
            at: 7,
            actor: Actor::Key("operator", None),
            request_id: Some("a\nb"),
            did: Did::KnobsChanged,
            target: "",
            before: json!({ "max-aca-replicas": 4 }),
            after: json!({ "max-aca-replicas": 5 }),
        };
        let text = line(action);
        assert!(!text.contains('\n'));
        let Ok(Entry::Action(read)) = Entry::read(&text) else { panic!("{text}") };
        assert_eq!((read.actor.as_str(), read.action.as_str()), ("key:operator", "knobs_changed"));
        assert_eq!(
            (&read.before["max-aca-replicas"], &read.after["max-aca-replicas"]),
            (&json!(4), &json!(5))
        );
    }

    #[test]
    fn codes_are_told_apart() {
        let codes: std::collections::BTreeSet<_> = Did::ALL.iter().map(|did| did.as_str()).collect();
        assert_eq!(codes.len(), Did::ALL.len());
    }
}
