//! What `switchyard knobs` takes.

use clap::{Args, Subcommand};

use super::Target;

/// `switchyard knobs`
#[derive(Debug, Subcommand)]
pub enum Knobs {
    /// Show every knob: its value, its default, what it may be, and how old the set is.
    List(KnobsAsked),
    /// Set knobs; a wrong set is refused as a whole, and nothing is written.
    Set(KnobsSet),
    /// Bring back the set before the last change that was made by this command; a second one undoes it.
    Rollback(KnobsAsked),
    /// Read the file or the vault now, after a change made by other means.
    Refresh(KnobsAsked),
}

impl Knobs {
    /// Which Switchyard is asked.
    pub fn target(&self) -> &Target {
        match self {
            Knobs::List(asked) | Knobs::Rollback(asked) | Knobs::Refresh(asked) => &asked.target,
            Knobs::Set(set) => &set.target,
        }
    }

    pub(super) fn is_json(&self) -> bool {
        match self {
            Knobs::List(asked) | Knobs::Rollback(asked) | Knobs::Refresh(asked) => asked.json,
            Knobs::Set(set) => set.json,
        }
    }
}

/// `switchyard knobs list`, `rollback` and `refresh`
#[derive(Debug, Args)]
pub struct KnobsAsked {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the command's own help")]
    pub target: Target,
    /// Print the knobs as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `switchyard knobs set`
#[derive(Debug, Args)]
pub struct KnobsSet {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the command's own help")]
    pub target: Target,
    /// Knobs and their values, as max-aca-replicas=4; without a value, as max-aca-replicas=, the default.
    #[arg(required = true, value_name = "NAME=VALUE")]
    pub knobs: Vec<Assignment>,
    /// Print the knobs as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `NAME=VALUE`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment(String, Option<String>);

impl Assignment {
    /// A member of a merge patch: null where there is no value.
    pub fn to_json(&self) -> (String, serde_json::Value) {
        (self.0.clone(), self.1.clone().into())
    }
}

impl std::str::FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Assignment, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                Ok(Assignment(name.to_owned(), Some(value.to_owned()).filter(|value| !value.is_empty())))
            }
            _ => Err("give a knob and its value, as max-aca-replicas=4".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn knobs_are_set_by_name() {
        let set = |text: &str| text.parse::<Assignment>().map(|assignment| assignment.to_json());
        assert_eq!(set("a=b=c"), Ok(("a".to_owned(), "b=c".into())));
        assert_eq!(set("a="), Ok(("a".to_owned(), serde_json::Value::Null)));
        assert!(set("a").is_err() && set("=1").is_err());
        assert!(Cli::try_parse_from(["switchyard", "knobs", "set"]).is_err());
    }
}
