//! What came of telling a webhook that a job ended. What is told follows from the job's summary, which
//! never changes; an attempt is written once, after it was made. An attempt whose process died before
//! it was written is made again, with the same event id.

use serde::{Deserialize, Serialize};

/// `hooks/{endpoint}/{n}.json`: an attempt that was made. Times are Unix milliseconds by the handler's
/// clock.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Attempt {
    /// [`crate::VERSION`].
    pub v: u32,
    /// When it was made.
    pub at_ms: u64,
    /// How long it really took.
    pub took_ms: u64,
    /// What the endpoint answered; none: it did not.
    pub status: Option<u16>,
    /// Why there is no answer.
    pub problem: Option<Problem>,
    /// What follows.
    pub outcome: Outcome,
    /// When the next one is made, if there is one.
    pub next_ms: Option<u64>,
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing: the endpoint has it.
    Delivered,
    /// Another one.
    Retrying,
    /// Nothing: the endpoint does not want this event.
    Gone,
    /// Nothing: it took too long.
    GaveUp,
}

/// Why an endpoint did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// Its name has no address to which webhooks may be sent.
    AddressRefused,
    /// No connection, or no TLS.
    NotConnected,
    /// Not in time.
    TimedOut,
    /// The connection broke before the answer.
    Broken,
    /// It was not asked: it was down when the time of this event was over.
    Down,
}

impl Problem {
    /// As text, the same as in the fact.
    pub fn as_str(self) -> &'static str {
        match self {
            Problem::AddressRefused => "address_refused",
            Problem::NotConnected => "not_connected",
            Problem::TimedOut => "timed_out",
            Problem::Broken => "broken",
            Problem::Down => "down",
        }
    }
}

impl Outcome {
    /// As text, the same as in the fact.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Retrying => "retrying",
            Outcome::Gone => "gone",
            Outcome::GaveUp => "gave_up",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_fact() {
        let written = |value: serde_json::Value| value.as_str().unwrap().to_owned();
        for problem in [
            Problem::AddressRefused,
            Problem::NotConnected,
            Problem::TimedOut,
            Problem::Broken,
            Problem::Down,
        ] {
            assert_eq!(written(serde_json::to_value(problem).unwrap()), problem.as_str());
        }
        for outcome in [Outcome::Delivered, Outcome::Retrying, Outcome::Gone, Outcome::GaveUp] {
            assert_eq!(written(serde_json::to_value(outcome).unwrap()), outcome.as_str());
        }
    }
}
