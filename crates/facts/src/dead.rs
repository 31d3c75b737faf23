//! What is kept of a message that nobody works on, and what was done about it since.

use serde::{Deserialize, Serialize};

use crate::VERSION;

/// What is kept of a body: enough to see what it was, and more than any ticket has.
pub const BODY_BYTES_MAX: usize = 4 * 1024;
/// What is kept of a text that the host says about a message: its times are shorter.
const SAID_BYTES_MAX: usize = 64;

/// Why a message was given up. The list is closed; `docs/operations.md` has it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The host delivered it as often as it does, and the handler failed each time.
    TriesUsedUp,
    /// It is no ticket that this version reads.
    NoTicket,
    /// Empty, or white space.
    EmptyMessage,
    /// base64 of a text that is no ticket.
    Base64NoTicket,
    /// base64 of bytes that are no text.
    Base64NoText,
    /// A ticket of another version.
    TicketVersion,
    /// It names a tenant that the catalogue does not have, or no job's id.
    UnknownOwner,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 7] = [
        Reason::TriesUsedUp,
        Reason::NoTicket,
        Reason::EmptyMessage,
        Reason::Base64NoTicket,
        Reason::Base64NoText,
        Reason::TicketVersion,
        Reason::UnknownOwner,
    ];

    /// Its code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::TriesUsedUp => "tries_used_up",
            Reason::NoTicket => "no_ticket",
            Reason::EmptyMessage => "empty_message",
            Reason::Base64NoTicket => "base64_no_ticket",
            Reason::Base64NoText => "base64_no_text",
            Reason::TicketVersion => "ticket_version",
            Reason::UnknownOwner => "unknown_owner",
        }
    }

    /// The reason of this code.
    pub fn parse(code: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.as_str() == code)
    }
}

/// `dead/{hash of body}.json`: a message that nobody works on. What an older version did not write is none.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Letter {
    /// [`crate::VERSION`].
    pub v: u32,
    /// When it was kept.
    pub at_unix_ms: u64,
    /// Code of the [`Reason`].
    pub reason: String,
    /// The message's text, cut at [`BODY_BYTES_MAX`].
    pub body: String,
    /// Length of the whole text.
    pub body_bytes: u64,
    /// Whose job its ticket names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The job that its ticket names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// That job's model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How often the host says that it was delivered. Members of a message can overwrite what the host
    /// says, so this is for people only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dequeue_count: Option<u32>,
    /// When the host says that it was put into the queue; for people only, as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inserted: Option<String>,
}

impl Letter {
    /// A letter with this text, of which nothing else is known.
    pub fn new(at_unix_ms: u64, reason: &str, text: &str) -> Letter {
        Letter {
            v: VERSION,
            at_unix_ms,
            reason: reason.to_owned(),
            body: text[..text.floor_char_boundary(BODY_BYTES_MAX)].to_owned(),
            body_bytes: text.len() as u64,
            tenant: None,
            job: None,
            model: None,
            dequeue_count: None,
            inserted: None,
        }
    }

    /// The same, with what the host says about the message.
    #[must_use]
    pub fn said_by_host(mut self, dequeue_count: Option<u32>, inserted: Option<String>) -> Letter {
        self.dequeue_count = dequeue_count;
        self.inserted = inserted.filter(|text| text.len() <= SAID_BYTES_MAX);
        self
    }

    /// Whether the text was longer than what is kept of it.
    pub fn is_cut(&self) -> bool {
        (self.body.len() as u64) < self.body_bytes
    }
}

/// `dead/{hash of body}/replayed-…`: somebody asked for another look. Written once the look is sure to be
/// taken, before the doorbell is rung.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Replayed {
    /// [`crate::VERSION`].
    pub v: u32,
    /// When.
    pub at_unix_ms: u64,
    /// Public part of the key that asked.
    pub by: String,
}

/// `dead/{hash of body}/returned-…`: after that replay the same message was given up again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Returned {
    /// [`crate::VERSION`].
    pub v: u32,
    /// When.
    pub at_unix_ms: u64,
    /// Code of the [`Reason`].
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_older_versions_are_read() {
        let old = r#"{"v":1,"at_unix_ms":7,"reason":"tries_used_up","body":"ab","body_bytes":5}"#;
        let letter: Letter = serde_json::from_str(old).unwrap();
        assert!(letter.is_cut());
        assert_eq!((letter.tenant.as_deref(), letter.dequeue_count), (None, None));
        assert_eq!(serde_json::to_string(&letter).unwrap(), old, "what is not known is not written");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let letter = Letter::new(1, "no_ticket", &"ä".repeat(3_000));
        assert_eq!((letter.body.len(), letter.body_bytes, letter.is_cut()), (BODY_BYTES_MAX, 6_000, true));
        let letter = Letter::new(1, "no_ticket", &format!("x{}", "ä".repeat(3_000)));
        assert_eq!(letter.body.len(), BODY_BYTES_MAX - 1);
        let letter = Letter::new(1, "no_ticket", "x").said_by_host(Some(5), Some("x".repeat(65)));
        assert_eq!((letter.is_cut(), letter.dequeue_count, letter.inserted), (false, Some(5), None));
    }

    #[test]
    fn reasons_are_read_back() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(Reason::parse("bored"), None);
    }
}
