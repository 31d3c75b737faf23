//! Whether a backend may be tried: closed; open after failures in a row; then one probe at a time.
//!
//! A 429 and a 503 "warming" say that the backend lives, so they neither open nor close it.

use crate::snapshot::Failure;
use crate::units::{Millis, UnixMs};

/// Failures in a row that open a breaker: more than one killed replica gives, fewer than a second
/// of traffic needs.
pub const FAILURES_TO_OPEN: u32 = 5;
/// How long it stays open at first; doubled with every probe that fails.
pub const OPEN_FIRST: Millis = Millis(1_000);
/// The longest it stays open: a backend that came back is found within this.
pub const OPEN_MAX: Millis = Millis(30_000);
/// A probe that reported nothing for this long is given up: no answer takes longer (the handler's
/// own bound is 220 s).
pub const PROBE_LOST_AFTER: Millis = Millis(240_000);

/// A backend that had less than this to answer is not blamed for its silence, however little was asked of it.
const PATIENCE_MIN: Millis = Millis::from_secs(2);
/// Nor one that had less than this many times what its answer was expected to take: the estimate may be off.
const PATIENCE_TIMES: u64 = 8;
/// Nor one whose replica had to start, before this.
const PATIENCE_WITH_START: Millis = Millis::from_secs(120);

/// Whether a try that was given up after `waited` says something of its backend. A client may ask for an answer
/// sooner than any backend gives it, and must not close it to the others with that. `expected` is what the
/// answer was to take; none: a replica had to start.
pub fn had_time(waited: Millis, expected: Option<Millis>) -> bool {
    let fair = expected.map_or(PATIENCE_WITH_START, |expected| expected.scaled(PATIENCE_TIMES, 1));
    waited >= fair.max(PATIENCE_MIN)
}

/// What a breaker shows to a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Requests may pass.
    #[default]
    Closed,
    /// None may pass until then; from then on one may, as a probe.
    Open {
        /// When a probe may pass.
        until: UnixMs,
    },
    /// A probe is under way; nothing else may pass.
    HalfOpen,
}

/// The breaker of one backend in one process. Plain data: time is passed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    failures_in_a_row: u32,
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    until: UnixMs,
    lasts: Millis,
    probing_since: Option<UnixMs>,
}

impl Breaker {
    /// What a decision sees.
    pub fn state(&self, now: UnixMs) -> State {
        match self.open {
            None => State::Closed,
            Some(Open { probing_since: Some(since), .. }) if now.since(since) < PROBE_LOST_AFTER => {
                State::HalfOpen
            }
            Some(Open { until, .. }) => State::Open { until },
        }
    }

    /// Asks to send a request. `false`: it must not be sent. `true`: its end must be reported by
    /// [`Breaker::succeeded`], [`Breaker::failed`] or [`Breaker::abandoned`].
    pub fn acquire(&mut self, now: UnixMs) -> bool {
        match self.state(now) {
            State::Closed => true,
            State::HalfOpen => false,
            State::Open { until } if until > now => false,
            State::Open { .. } => {
                if let Some(open) = &mut self.open {
                    open.probing_since = Some(now);
                }
                true
            }
        }
    }

    /// A request got an answer.
    pub fn succeeded(&mut self) {
        *self = Breaker::default();
    }

    /// A request failed.
    pub fn failed(&mut self, failure: Failure, now: UnixMs) {
        match failure {
            Failure::Overloaded { .. } | Failure::Warming { .. } => return self.abandoned(),
            Failure::Unreachable | Failure::TimedOut | Failure::Broken => {}
        }
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let lasts = match self.open {
            Some(Open { lasts, probing_since: Some(_), .. }) => lasts.scaled(2, 1).min(OPEN_MAX),
            // A request that was under way when the breaker opened tells nothing new.
            Some(_) => return,
            None if self.failures_in_a_row < FAILURES_TO_OPEN => return,
            None => OPEN_FIRST,
        };
        self.open = Some(Open { until: now + lasts, lasts, probing_since: None });
    }

    /// A request ended without telling anything about the backend: its client went away.
    pub fn abandoned(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing_since = None;
        }
    }
}
