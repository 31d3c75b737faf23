//! What goes wrong in any call, and the flat error bodies in which Azure Batch says it.

use std::time::Duration;

use serde::Deserialize;

use super::retry::CALL_MAX;

/// What is kept of a message; the rest would only be noise in a log line.
const MESSAGE_CHARS_MAX: usize = 512;
/// A longer code is none; the longest published one has 41 characters.
const CODE_BYTES_MAX: usize = 64;

/// Codes that say that a job takes no tasks any more. None of them passes by waiting.
const JOB_OVER: &[&str] =
    &["JobNotActive", "JobCompleted", "JobDisabled", "JobBeingTerminated", "JobBeingDeleted"];

/// What any call may come to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The account is asked too much. Come back after the time, if one was given.
    #[error("azure batch asks to come back later")]
    Throttled {
        /// How long the service wants to be left alone, on the clock of the client.
        retry_after: Option<Duration>,
    },
    /// No connection, or the service failed, and again on each retry.
    #[error("azure batch is not available: {what}")]
    Unavailable {
        /// What was seen last.
        what: String,
    },
    /// No whole answer came within [`CALL_MAX`]. What was asked for may still have been done.
    #[error("azure batch did not answer within {}s", CALL_MAX.as_secs())]
    Timeout,
    /// The account does not let us. Somebody must act.
    #[error(
        "azure batch account `{account}` refused us ({code}); check BATCH_ACCOUNT_NAME, BATCH_ENDPOINT, and \
         the account's key or our role in it"
    )]
    Refused {
        /// The account.
        account: String,
        /// Why.
        code: String,
    },
    /// The service understood the call and said no.
    #[error("azure batch rejected the call ({code}): {message}")]
    Rejected {
        /// The service's code, or `http-STATUS` when the answer held none.
        code: String,
        /// The service's words.
        message: String,
    },
    /// What answered does not speak as Azure Batch does.
    #[error("the answer is not azure batch's: {what}; check BATCH_ENDPOINT")]
    Unreadable {
        /// What is wrong with it.
        what: String,
    },
    /// The call was wrong already here.
    #[error("not sent to azure batch: {what}")]
    NotSent {
        /// What is wrong with it.
        what: String,
    },
}

impl CallError {
    /// Whether the service said no with one of these codes.
    pub(super) fn is_one_of(&self, codes: &[&str]) -> bool {
        matches!(self, CallError::Rejected { code, .. } if codes.contains(&code.as_str()))
    }

    /// Whether the service said that the job takes no tasks any more.
    pub(super) fn says_job_is_over(&self) -> bool {
        self.is_one_of(JOB_OVER)
    }

    pub(super) fn unreadable(what: impl Into<String>) -> CallError {
        CallError::Unreadable { what: what.into() }
    }

    pub(super) fn not_sent(what: impl Into<String>) -> CallError {
        CallError::NotSent { what: what.into() }
    }
}

/// Something that Azure Batch reports: a code for programs, a text for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// As `AllocationFailed`. Empty: none was given.
    pub code: String,
    /// One line.
    pub message: String,
}

/// An error as the service writes it: flat in answers, with a plain `message` inside other objects.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ErrorBody {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<Message>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Message {
    Plain(String),
    Localized { value: String },
}

impl From<ErrorBody> for Problem {
    fn from(body: ErrorBody) -> Problem {
        let is_code = !body.code.is_empty()
            && body.code.len() <= CODE_BYTES_MAX
            && body.code.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        let message = match body.message {
            Some(Message::Plain(text) | Message::Localized { value: text }) => text,
            None => String::new(),
        };
        // The second line is `RequestId:…`.
        let line = message.lines().next().unwrap_or_default();
        Problem {
            code: if is_code { body.code } else { String::new() },
            message: line.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect(),
        }
    }
}

impl Problem {
    /// What an answer of this status says. Bodies of proxies, which are not flat errors, say only
    /// their status.
    pub(super) fn of_answer(status: u16, body: &[u8]) -> Problem {
        let problem: Problem = serde_json::from_slice::<ErrorBody>(body).unwrap_or_default().into();
        if problem.code.is_empty() {
            return Problem { code: format!("http-{status}"), message: "no flat error body".to_owned() };
        }
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_bodies_are_read_and_others_say_only_their_status() {
        let flat = r#"{"odata.metadata":"m","code":"JobNotFound","message":{"lang":"en-US","value":"no such job\nRequestId:1\nTime:2"},"values":[{"key":"k","value":"v"}]}"#;
        let long = format!(r#"{{"code":"{}","message":"x"}}"#, "A".repeat(CODE_BYTES_MAX + 1));
        let chatty = format!(r#"{{"code":"A","message":"{}"}}"#, "é".repeat(MESSAGE_CHARS_MAX + 1));
        let cut = "é".repeat(MESSAGE_CHARS_MAX);
        let cases: &[(&str, &str, &str)] = &[
            (flat, "JobNotFound", "no such job"),
            (r#"{"code":"A","message":"plain"}"#, "A", "plain"),
            (r#"{"code":"A"}"#, "A", ""),
            (r#"{"code":"A","message":{"value":"\u001b[31mred"}}"#, "A", "[31mred"),
            (&chatty, "A", &cut),
            (r#"{"error":{"code":"Arm","message":"x"}}"#, "http-404", "no flat error body"),
            ("<html>Not Found</html>", "http-404", "no flat error body"),
            (&long, "http-404", "no flat error body"),
            (r#"{"code":"two words"}"#, "http-404", "no flat error body"),
            (r#"{"code":7}"#, "http-404", "no flat error body"),
            ("", "http-404", "no flat error body"),
        ];
        for (body, code, message) in cases {
            let problem = Problem::of_answer(404, body.as_bytes());
            assert_eq!((problem.code.as_str(), problem.message.as_str()), (*code, *message), "{body}");
        }
    }

    #[test]
    fn only_published_codes_end_a_job() {
        let said = |code: &str| CallError::Rejected { code: code.to_owned(), message: String::new() };
        for code in JOB_OVER {
            assert!(said(code).says_job_is_over(), "{code}");
        }
        for code in ["JobNotFound", "http-409", "TaskExists"] {
            assert!(!said(code).says_job_is_over(), "{code}");
        }
        assert!(!CallError::Timeout.says_job_is_over());
    }
}
