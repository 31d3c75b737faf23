//! The lane of one request.

use crate::estimate::Choice;
use crate::units::{Millis, UnixMs};
use crate::{Knobs, Reason, Request, Snapshot};

/// What to do with a request, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub verdict: Verdict,
    /// Why; the first settled it, the others add to it. Never empty.
    pub reasons: Vec<Reason>,
    /// Every place that was looked at, with its numbers.
    pub choices: Vec<Choice>,
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it to this backend now.
    Realtime(Choice),
    /// Make it a job for this pool.
    Deferred(Choice),
    /// Do not run it.
    Refuse(Refusal),
}

/// How to refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which answer the client gets.
    pub kind: RefusalKind,
    /// When to come back; none: not by waiting.
    pub retry_after: Option<Millis>,
    /// The earliest that any place would finish, and the cheapest that would.
    pub alternatives: Alternatives,
}

/// Which answer a refused client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// 429: too much at once.
    Overloaded,
    /// 503: nothing can serve it now.
    Unavailable,
    /// 422: the wish cannot be met.
    Infeasible,
    /// 400: the deadline has passed.
    Expired,
    /// 404: no such model here.
    NotServed,
}

/// What would be possible instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alternatives {
    /// The place that finishes first, and when.
    pub earliest: Option<(Choice, UnixMs)>,
    /// The place that costs least, and when it finishes.
    pub cheapest: Option<(Choice, UnixMs)>,
}

/// Decides the lane of `request`. The same three values always give the same decision; ties are
/// broken by name.
pub fn route(_knobs: &Knobs, _request: &Request, _snapshot: &Snapshot) -> Decision {
    unreachable!("written next")
}
