//! Dead letters as `/api/operate/dead` shows them. Times are Unix milliseconds by the handler's clock.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::whole;

/// Letters of one page or one replay, at most.
pub const LETTERS_MAX: u32 = 100;

/// A message that nobody works on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct DeadLetter {
    /// Its id: the SHA-256 of its text.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub id: String,
    /// Always `dead_letter`.
    pub object: String,
    /// When it was kept.
    pub at_unix_ms: u64,
    /// Why it was given up; `docs/operations.md` lists the codes.
    pub reason: String,
    /// Whose job its ticket names.
    pub tenant: Option<String>,
    /// The job that its ticket names.
    pub job: Option<String>,
    /// That job's model.
    pub model: Option<String>,
    /// Its text, cut at 4 KiB.
    pub body: String,
    /// Length of the whole text.
    pub body_bytes: u64,
    /// Whether the text was cut.
    pub body_is_cut: bool,
    /// How often the host says that it was delivered; members of a message can overwrite this.
    pub dequeue_count: Option<u32>,
    /// When the host says that it was put into the queue; members of a message can overwrite this.
    pub inserted: Option<String>,
    /// Whether somebody has to look at it.
    pub state: LetterState,
    /// How often it was replayed.
    pub replays: u32,
    /// The newest replay.
    pub last_replay: Option<LastReplay>,
}

/// Whether somebody has to look at a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LetterState {
    /// Nothing was done about it, or it was given up again since.
    Waiting,
    /// It was replayed, and has not come back.
    Replayed,
}

/// A replay of a letter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct LastReplay {
    /// When.
    pub at_unix_ms: u64,
    /// Public part of the key that asked for it; none where it cannot be read any more.
    pub by: Option<String>,
}

/// A page of letters, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct DeadLetterList {
    /// Always `list`.
    pub object: String,
    /// They.
    pub data: Vec<DeadLetter>,
    /// Whether others may follow. A page looks at 1,000 letters at most, so one with a rare filter may be
    /// short, and others follow all the same.
    pub has_more: bool,
    /// What to give as `after` for the next page.
    pub next: Option<String>,
    /// Letters of today that the process which answers did not keep, because 1,000 of the day are kept. They
    /// are in the queue `batch-inference-dlq`.
    pub not_kept_today: u64,
}

/// A letter, and what a replay would do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct DeadLetterDetail {
    /// It.
    pub letter: DeadLetter,
    /// How its job is now: `waiting`, `running`, `stopping`, `finishing`, or how it ended; none where there
    /// is none.
    pub job_status: Option<String>,
    /// What a replay would do now.
    pub replay: Outcome,
    /// What that says, and what one can do.
    pub advice: String,
}

/// What came of a replay, or would come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The job would be looked at again; nothing was done.
    WouldRing,
    /// The job is looked at now.
    Rung,
    /// The queue did not take the ring; Sweep looks at the job, usually within 30 s.
    Marked,
    /// Its job has ended: there is nothing to look at.
    JobEnded,
    /// There is no such job, or none any more.
    NoSuchJob,
    /// The catalogue has no such tenant.
    UnknownTenant,
    /// Its text is no ticket.
    NotATicket,
    /// It was replayed too often.
    TooOften,
    /// There is no such letter, or none any more.
    NoSuchLetter,
    /// The store did not answer.
    Failed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 10] = [
        Outcome::WouldRing,
        Outcome::Rung,
        Outcome::Marked,
        Outcome::JobEnded,
        Outcome::NoSuchJob,
        Outcome::UnknownTenant,
        Outcome::NotATicket,
        Outcome::TooOften,
        Outcome::NoSuchLetter,
        Outcome::Failed,
    ];

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::WouldRing => "would_ring",
            Outcome::Rung => "rung",
            Outcome::Marked => "marked",
            Outcome::JobEnded => "job_ended",
            Outcome::NoSuchJob => "no_such_job",
            Outcome::UnknownTenant => "unknown_tenant",
            Outcome::NotATicket => "not_a_ticket",
            Outcome::TooOften => "too_often",
            Outcome::NoSuchLetter => "no_such_letter",
            Outcome::Failed => "failed",
        }
    }
}

/// Which letters are to be replayed: by id, or by what they have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayWish {
    /// These, whether they were replayed before or not.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// Waiting ones with this reason.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Waiting ones of jobs with this model.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Waiting ones of jobs of this tenant.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Waiting ones that were kept then or later.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub since_unix_ms: Option<u64>,
    /// Waiting ones that were kept before.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub until_unix_ms: Option<u64>,
    /// How many at most, the newest first; 100 where it is left out.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Those that follow: `next` of the answer before.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Only tell what would be done.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// A member may be left out, but null is no value of it: a selection that is lost on the way must not
/// select everything.
fn given<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

fn whole<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    whole::read(from).map(Some)
}

/// What came of a replay.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct ReplayReport {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Letter by letter.
    pub letters: Vec<LetterReport>,
    /// Whether others may match.
    pub has_more: bool,
    /// What to give as `after` for those.
    pub next: Option<String>,
}

/// What came of one letter's replay.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct LetterReport {
    /// Its id.
    pub id: String,
    /// Whose job its ticket names.
    pub tenant: Option<String>,
    /// The job that its ticket names.
    pub job: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
    /// What that says, and what one can do.
    pub advice: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_have_their_names_on_the_wire() {
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
    }

    #[test]
    fn a_wish_is_read_back_and_null_is_none() {
        let wish = ReplayWish { model: Some("m".to_owned()), dry_run: Some(true), ..Default::default() };
        let text = r#"{"model":"m","dry_run":true}"#;
        assert_eq!(serde_json::to_string(&wish).unwrap(), text);
        assert_eq!(serde_json::from_str::<ReplayWish>(text).unwrap(), wish);
        assert_eq!(serde_json::from_str::<ReplayWish>(r#"{"limit":17.0}"#).unwrap().limit, Some(17));
        for wrong in [
            r#"{"limit":0.5}"#,
            r#"{"limit":1e300}"#,
            r#"{"model":null}"#,
            r#"{"models":"m"}"#,
            r#"{"limit":-1}"#,
        ] {
            assert!(serde_json::from_str::<ReplayWish>(wrong).is_err(), "{wrong}");
        }
    }
}
