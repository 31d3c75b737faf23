//! What `switchyard dead` takes.

use std::str::FromStr;

use clap::{ArgGroup, Args, Subcommand};

use super::Target;

/// `switchyard dead`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Dead {
    /// What to do; without it, letters are listed.
    #[command(subcommand)]
    pub command: Option<DeadCommand>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the command's own help")]
    pub list: DeadList,
}

/// The commands below `dead`.
#[derive(Debug, Subcommand)]
pub enum DeadCommand {
    /// Show a letter, how its job is now, and what a replay would do.
    Show(DeadShow),
    /// Have the jobs that letters name looked at again. A second replay doubles nothing.
    ///
    /// Letters are named, or selected by what they have in common: then those that wait, the newest first.
    ///
    /// Exit code: 0 each letter was dealt with as it says; 1 one of them is not there, the store did not
    /// answer for one, or something went wrong; 2 nothing was selected.
    Replay(DeadReplay),
    /// Delete letters that nobody needs any more. The same message, given up again, is a new one.
    Delete(DeadDelete),
}

impl Dead {
    pub(super) fn is_json(&self) -> bool {
        match &self.command {
            None => self.list.json,
            Some(DeadCommand::Show(show)) => show.json,
            Some(DeadCommand::Replay(replay)) => replay.json,
            Some(DeadCommand::Delete(delete)) => delete.json,
        }
    }
}

/// What letters have in common.
#[derive(Debug, Args)]
pub struct DeadFilter {
    /// Given up for this reason: tries_used_up, unknown_owner, no_ticket, empty_message, base64_no_ticket,
    /// base64_no_text or ticket_version.
    #[arg(long, value_name = "CODE")]
    pub reason: Option<String>,
    /// Of jobs with this model.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Of this tenant's jobs.
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// Kept since then: a span as 30m, 2h or 7d, or an instant as 2026-11-21T10:00:00Z.
    #[arg(long, value_name = "WHEN")]
    pub since: Option<Since>,
}

/// `switchyard dead` without a command
#[derive(Debug, Args)]
pub struct DeadList {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the command's own help")]
    pub target: Target,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the command's own help")]
    pub filter: DeadFilter,
    /// Show only letters that somebody has to look at: not replayed, or back since.
    #[arg(long)]
    pub waiting: bool,
    /// Letters at most.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Print one JSON object a line, a letter each.
    #[arg(long)]
    pub json: bool,
}

/// `switchyard dead show`
#[derive(Debug, Args)]
pub struct DeadShow {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the command's own help")]
    pub target: Target,
    /// Its id, or how it begins, as `switchyard dead` shows it.
    pub letter: LetterId,
    /// Print the letter as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `switchyard dead replay`
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("selection").required(true).multiple(true)
    .args(["letters", "reason", "model", "tenant", "since"]))]
pub struct DeadReplay {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the command's own help")]
    pub target: Target,
    /// Ids, or how they begin, as `switchyard dead` shows them.
    #[arg(value_name = "LETTER", conflicts_with_all = ["reason", "model", "tenant", "since", "limit"])]
    pub letters: Vec<LetterId>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the command's own help")]
    pub filter: DeadFilter,
    /// Letters at most.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Only tell what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object a line, a letter each.
    #[arg(long)]
    pub json: bool,
}

/// `switchyard dead delete`
#[derive(Debug, Args)]
pub struct DeadDelete {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the command's own help")]
    pub target: Target,
    /// Ids, or how they begin, as `switchyard dead` shows them.
    #[arg(value_name = "LETTER", required = true)]
    pub letters: Vec<LetterId>,
    /// Print one JSON object a line, a letter each.
    #[arg(long)]
    pub json: bool,
}

/// A letter's id, or how it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterId(String);

/// Digits of a whole id, and the fewest that name a letter.
const ID_DIGITS: usize = 64;
const ID_DIGITS_MIN: usize = 8;

impl LetterId {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the whole of it.
    pub fn is_whole(&self) -> bool {
        self.0.len() == ID_DIGITS
    }
}

impl FromStr for LetterId {
    type Err = String;

    fn from_str(text: &str) -> Result<LetterId, String> {
        let is_hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if is_hex && (ID_DIGITS_MIN..=ID_DIGITS).contains(&text.len()) {
            Ok(LetterId(text.to_owned()))
        } else {
            Err(format!(
                "an id has from {ID_DIGITS_MIN} to {ID_DIGITS} hex digits; `switchyard dead` shows it"
            ))
        }
    }
}

/// Since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// So many ms ago.
    Ago(u64),
    /// Since that Unix ms.
    At(u64),
}

impl Since {
    /// In Unix ms.
    pub fn unix_ms(self, now_ms: u64) -> u64 {
        match self {
            Since::Ago(span_ms) => now_ms.saturating_sub(span_ms),
            Since::At(at_ms) => at_ms,
        }
    }
}

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Since, Self::Err> {
        let wanted = "give a span as 30m, 2h or 7d, or an instant as 2026-11-21T10:00:00Z";
        if let Some(at_ms) = crate::render::instant_ms(text) {
            return Ok(Since::At(at_ms));
        }
        let unit = text.find(|c: char| !c.is_ascii_digit()).ok_or(wanted)?;
        let (number, unit) = text.split_at(unit);
        let unit_ms = match unit {
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wanted),
        };
        let span_ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
        span_ms.map(Since::Ago).ok_or(wanted)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn spans_and_instants_are_told_apart() {
        let since = |text: &str| text.parse::<Since>().map(|since| since.unix_ms(10_000_000));
        assert_eq!(since("2h"), Ok(2_800_000));
        assert_eq!(since("9d"), Ok(0), "before the clock began");
        assert_eq!(since("1970-01-01T00:00:07Z"), Ok(7_000));
        for wrong in ["", "2", "h", "2w", "-2h", "99999999999999999999d", "yesterday"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_replay_needs_a_selection_of_one_kind() {
        let replay = |arguments: &[&str]| {
            Cli::try_parse_from([&["switchyard", "dead", "replay"], arguments].concat()).is_ok()
        };
        let id = "0123abcd";
        for good in
            [&[id][..], &["--model", "m"], &["--since", "2h", "--reason", "no_ticket", "--limit", "5"]]
        {
            assert!(replay(good), "{good:?}");
        }
        for wrong in [&[][..], &["--dry-run"], &["--limit", "5"], &[id, "--model", "m"], &["0123"], &["x"]] {
            assert!(!replay(wrong), "{wrong:?}");
        }
        assert!(Cli::try_parse_from(["switchyard", "dead"]).is_ok());
        assert!(Cli::try_parse_from(["switchyard", "dead", "delete"]).is_err());
    }
}
