//! The lane of one request. `docs/policy.md` has the rules in prose.

use crate::breaker;
use crate::estimate::{self, Choice, Wait};
use crate::knobs::Knobs;
use crate::reason::{Code, Evidence, Reason};
use crate::request::{Answer, Lane, LaneWish, Request, Tier};
use crate::snapshot::{Failure, Sight, Snapshot};
use crate::units::{MicroUsd, Millis, UnixMs};

/// Tries of one request, at most, over all backends.
pub const TRIES_MAX: usize = 3;
/// An answer's headers come within this or not at all: the ingress ends a request at 230 s.
pub const ANSWER_WITHIN_MAX: Millis = Millis::from_secs(220);
/// The shortest wait that a refusal asks for.
pub const RETRY_AFTER_MIN: Millis = Millis(100);
/// The longest: above 120 s the OpenAI SDKs do not retry at all.
pub const RETRY_AFTER_MAX: Millis = Millis::from_secs(60);

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
    /// What would be possible instead.
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
    /// The place that finishes first, and when it probably does.
    pub earliest: Option<(Choice, UnixMs)>,
    /// The place that costs least, and when it probably finishes.
    pub cheapest: Option<(Choice, UnixMs)>,
}

/// Decides the lane of `request`. The same three values always give the same decision; ties are
/// broken by name.
pub fn route(knobs: &Knobs, request: &Request, snapshot: &Snapshot) -> Decision {
    let choices = estimate::choices(knobs, request, snapshot);
    let (verdict, mut reasons) = match refused_outright(knobs, request, snapshot, &choices) {
        Some(refusal) => refusal,
        None => choose(knobs, request, snapshot, &choices),
    };
    if !snapshot.tried.is_empty() {
        reasons.push(Reason::new(Code::Retried).with("tries", Evidence::Count(snapshot.tried.len() as u64)));
    }
    if snapshot.sight == Sight::Blind {
        reasons.push(Reason::new(Code::Blind));
    }
    Decision { verdict, reasons, choices }
}

type Judged = (Verdict, Vec<Reason>);

/// What no place could change.
fn refused_outright(
    knobs: &Knobs,
    request: &Request,
    snapshot: &Snapshot,
    choices: &[Choice],
) -> Option<Judged> {
    let refuse = |kind, retry_after, reason: Reason| {
        let alternatives = alternatives(choices, snapshot.now);
        Some((Verdict::Refuse(Refusal { kind, retry_after, alternatives }), vec![reason]))
    };
    if let Some(deadline) = request.deadline.filter(|deadline| *deadline <= snapshot.now) {
        let reason = Reason::new(Code::DeadlinePassed)
            .with("deadline", Evidence::At(deadline))
            .with("now", Evidence::At(snapshot.now))
            .remedy("send a deadline in the future; check the client's clock", None);
        return refuse(RefusalKind::Expired, None, reason);
    }
    if choices.is_empty() {
        let reason = Reason::new(Code::NotServed).remedy("ask /v1/models for what is served", None);
        return refuse(RefusalKind::NotServed, None, reason);
    }
    if let Some(cap) = knobs.max_usd_per_hour.filter(|cap| snapshot.spent_this_hour >= *cap) {
        let next_hour = UnixMs((snapshot.now.0 / 3_600_000 + 1) * 3_600_000);
        let reason = Reason::new(Code::BudgetSpent)
            .with("spent", Evidence::Cost(snapshot.spent_this_hour))
            .with("cap", Evidence::Cost(cap))
            .next("the next hour begins", Some(next_hour))
            .remedy("raise max-usd-per-hour", None);
        return refuse(RefusalKind::Overloaded, Some(next_hour.since(snapshot.now)), reason);
    }
    if snapshot.tried.len() >= TRIES_MAX {
        return Some(after_failures(snapshot, choices));
    }
    None
}

fn choose(knobs: &Knobs, request: &Request, snapshot: &Snapshot, choices: &[Choice]) -> Judged {
    let wish = Wish::of(knobs, request, snapshot.now);
    let open: Vec<&Choice> =
        choices.iter().filter(|choice| wish.allows(choice.lane) && choice.barred.is_none()).collect();
    let possible: Vec<&Choice> = open.iter().copied().filter(|choice| wish.met_by(choice)).collect();
    if possible.is_empty() {
        return refused(&wish, request, snapshot, choices, &open);
    }
    let (choice, first) = pick(knobs, &wish, &open, &possible);
    let mut reasons: Vec<Reason> = wish.lane_reason.iter().cloned().chain([first]).collect();
    reasons.extend(beside(&wish, choice, choices));
    reasons.dedup_by_key(|reason| reason.code);
    let verdict = match choice.lane {
        Lane::Realtime => Verdict::Realtime(choice.clone()),
        Lane::Deferred => Verdict::Deferred(choice.clone()),
    };
    (verdict, reasons)
}

/// What the client's controls and the knobs come to.
struct Wish {
    lane: Option<Lane>,
    lane_reason: Option<Reason>,
    can_take_later: bool,
    left: Option<Millis>,
    within: Millis,
    target: Option<Millis>,
    max_cost: Option<MicroUsd>,
    at_p50: bool,
}

impl Wish {
    fn of(knobs: &Knobs, request: &Request, now: UnixMs) -> Wish {
        let left = request.deadline.map(|deadline| deadline.since(now));
        let (lane, lane_reason) = match (request.lane, request.tier, left) {
            (LaneWish::Realtime, ..) => (Some(Lane::Realtime), Some(Reason::new(Code::LaneRequested))),
            (LaneWish::Deferred, ..) => (Some(Lane::Deferred), Some(Reason::new(Code::LaneRequested))),
            (_, Tier::Priority, _) => (Some(Lane::Realtime), Some(Reason::new(Code::TierRequested))),
            (.., Some(left)) if left <= knobs.realtime_threshold => {
                let reason = Reason::new(Code::DeadlineWithinThreshold)
                    .with("left", Evidence::Time(left))
                    .with("threshold", Evidence::Time(knobs.realtime_threshold));
                (Some(Lane::Realtime), Some(reason))
            }
            _ => (None, None),
        };
        let within = match request.answer {
            Answer::Now { within } => within.min(ANSWER_WITHIN_MAX),
            Answer::LaterWelcome => ANSWER_WITHIN_MAX,
        };
        let can_take_later = request.answer == Answer::LaterWelcome || request.lane == LaneWish::Deferred;
        let target = (request.tier != Tier::Flex).then_some(knobs.realtime_threshold);
        let at_p50 = knobs.confidence_percent <= 50;
        Wish { lane, lane_reason, can_take_later, left, within, target, max_cost: request.max_cost, at_p50 }
    }

    fn allows(&self, lane: Lane) -> bool {
        self.lane.is_none_or(|wanted| wanted == lane) && (lane == Lane::Realtime || self.can_take_later)
    }

    /// When the choice is expected to finish, at the wanted confidence.
    fn eta(&self, choice: &Choice) -> Millis {
        if self.at_p50 { choice.eta.p50 } else { choice.eta.p95 }
    }

    fn meets_deadline(&self, choice: &Choice) -> bool {
        self.left.is_none_or(|left| self.eta(choice).max(choice.lead) <= left)
    }

    fn affordable(&self, choice: &Choice) -> bool {
        self.max_cost.is_none_or(|max| choice.cost <= max)
    }

    fn in_time_for_http(&self, choice: &Choice) -> bool {
        choice.lane == Lane::Deferred || choice.eta.p50 <= self.within
    }

    fn met_by(&self, choice: &Choice) -> bool {
        self.meets_deadline(choice) && self.affordable(choice) && self.in_time_for_http(choice)
    }
}

/// Picks among the `possible` places, which all meet the wish; `open` are those that might have.
fn pick<'a>(knobs: &Knobs, wish: &Wish, open: &[&Choice], possible: &[&'a Choice]) -> (&'a Choice, Reason) {
    let cheapest = |of: &[&'a Choice]| of.iter().copied().min_by_key(|choice| order(wish, choice));
    let later: Vec<&Choice> =
        possible.iter().copied().filter(|choice| choice.lane == Lane::Deferred).collect();
    let deferred = cheapest(&later);
    let realtime_cost =
        open.iter().filter(|choice| choice.lane == Lane::Realtime).map(|choice| choice.cost).min();

    if let (Some(realtime_cost), Some(later)) = (realtime_cost, deferred)
        && realtime_cost > knobs.batch_cost_threshold
    {
        let reason = Reason::new(Code::AboveCostThreshold)
            .with("realtime", Evidence::Cost(realtime_cost))
            .with("threshold", Evidence::Cost(knobs.batch_cost_threshold));
        return (later, reason);
    }
    let best = cheapest(possible).expect("the caller found at least one");
    let Some(target) = wish.target.filter(|_| wish.left.is_none()) else {
        let code = if best.lane == Lane::Realtime && deferred.is_some() {
            Code::NotWorthDeferring
        } else if wish.left.is_some() {
            Code::CheapestMeetingDeadline
        } else {
            Code::TierRequested
        };
        return (best, with_numbers(Reason::new(code), best));
    };
    let quick: Vec<&Choice> = possible.iter().copied().filter(|choice| choice.eta.p50 <= target).collect();
    if let Some(choice) = cheapest(&quick) {
        let starts = choice.lane == Lane::Realtime && choice.wait == Wait::Start;
        let code = if starts { Code::ColdStart } else { Code::WarmReplica };
        return (choice, with_numbers(Reason::new(code), choice));
    }
    // The soft target is missed: still served, as soon as it can be, and the reason says so.
    let soonest =
        |choice: &&&Choice| (choice.failed_tries, choice.eta.p50, choice.cost, choice.place.clone());
    let choice = possible.iter().min_by_key(soonest).copied().expect("the caller found at least one");
    let code = match choice.wait {
        Wait::Start => Code::ColdStart,
        Wait::Slot => Code::Queued,
        Wait::None => Code::TargetMissed,
    };
    (choice, with_numbers(Reason::new(code), choice).with("target", Evidence::Time(target)))
}

/// The order among places that all do: fewest failures, then cost, then time, then name.
fn order(wish: &Wish, choice: &Choice) -> (usize, MicroUsd, Millis, String) {
    (choice.failed_tries, choice.cost, wish.eta(choice), choice.place.clone())
}

fn with_numbers(reason: Reason, choice: &Choice) -> Reason {
    reason.with("eta", Evidence::Time(choice.eta.p50)).with("cost", Evidence::Cost(choice.cost))
}

/// What else is worth saying of a choice that was taken.
fn beside(wish: &Wish, taken: &Choice, choices: &[Choice]) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let waits = match taken.wait {
        Wait::Start if taken.lane == Lane::Realtime => Some(Code::ColdStart),
        Wait::Slot => Some(Code::Queued),
        Wait::None | Wait::Start => None,
    };
    reasons.extend(waits.map(|code| Reason::new(code).with("eta", Evidence::Time(taken.eta.p50))));
    let later = choices.iter().filter(|choice| choice.lane == Lane::Deferred && choice.barred.is_none());
    let cheaper =
        later.filter(|choice| wish.met_by(choice) && choice.cost < taken.cost).min_by_key(|c| c.cost);
    if let Some(cheaper) = cheaper.filter(|_| !wish.can_take_later && wish.lane.is_none()) {
        let reason = Reason::new(Code::CannotAnswerLater)
            .remedy("send `Prefer: respond-async` to have it deferred", Some(cheaper.cost));
        reasons.push(reason);
    }
    reasons
}

/// Says why none of the places will do: `open` are those that the wish allows and nothing bars.
fn refused(
    wish: &Wish,
    request: &Request,
    snapshot: &Snapshot,
    choices: &[Choice],
    open: &[&Choice],
) -> Judged {
    let alternatives = alternatives(choices, snapshot.now);
    let refuse = |kind, retry_after: Option<Millis>, reason| {
        (Verdict::Refuse(Refusal { kind, retry_after, alternatives: alternatives.clone() }), vec![reason])
    };
    let soonest = open.iter().min_by_key(|choice| (choice.eta.p50, &choice.place));
    let Some(soonest) = soonest else {
        return after_failures_or_bars(wish, snapshot, choices);
    };
    if !open.iter().any(|choice| wish.meets_deadline(choice)) {
        let left = wish.left.expect("only a deadline can be missed");
        let reason = Reason::new(Code::DeadlineInfeasible)
            .with("left", Evidence::Time(left))
            .with("earliest", Evidence::Time(wish.eta(soonest)))
            .remedy("give it more time, or take the earliest finish", Some(soonest.cost));
        return refuse(RefusalKind::Infeasible, None, reason);
    }
    let in_time = open.iter().filter(|choice| wish.meets_deadline(choice));
    if !in_time.clone().any(|choice| wish.affordable(choice)) {
        let least = in_time.map(|choice| choice.cost).min().unwrap_or_default();
        let reason = Reason::new(Code::OverMaxCost)
            .with("max", Evidence::Cost(request.max_cost.unwrap_or_default()))
            .with("cheapest", Evidence::Cost(least))
            .remedy("raise Switchyard-Max-Cost or give it more time", Some(least));
        return refuse(RefusalKind::Infeasible, None, reason);
    }
    let (code, kind) = match soonest.wait {
        Wait::Start => (Code::Warming, RefusalKind::Unavailable),
        Wait::Slot | Wait::None => (Code::Overloaded, RefusalKind::Overloaded),
    };
    let ready = snapshot.now + soonest.eta.p50;
    let reason = Reason::new(code)
        .with("eta", Evidence::Time(soonest.eta.p50))
        .with("wait", Evidence::Time(wish.within))
        .next("a slot is expected", Some(ready))
        .remedy("come back then, or send `Prefer: respond-async`", None);
    refuse(kind, Some(bounded(soonest.eta.p50)), reason)
}

fn after_failures_or_bars(wish: &Wish, snapshot: &Snapshot, choices: &[Choice]) -> Judged {
    let allowed = choices.iter().filter(|choice| wish.allows(choice.lane));
    let barred = allowed.filter_map(|choice| choice.barred).min_by_key(|code| bar_order(*code));
    // Without any pool the deferred lane is as unavailable as with one that takes no work; but waiting brings
    // none.
    let asked_for_none = (wish.lane == Some(Lane::Deferred)).then_some(Code::DeferredUnavailable);
    let Some(code) = barred.or(asked_for_none) else {
        // Only pools serve the model and the client cannot take a 202.
        let reason = Reason::new(Code::CannotAnswerLater).remedy("send `Prefer: respond-async`", None);
        let alternatives = alternatives(choices, snapshot.now);
        let refusal = Refusal { kind: RefusalKind::Infeasible, retry_after: None, alternatives };
        return (Verdict::Refuse(refusal), vec![reason]);
    };
    let (kind, what) = match code {
        Code::TooLargeForGpu => {
            (RefusalKind::Infeasible, "raise gpu-memory-limit where the GPU has the memory")
        }
        Code::ResidencyUnmet => (RefusalKind::Infeasible, "add a place in that region to the catalogue"),
        Code::DeferredUnavailable if barred.is_none() => {
            (RefusalKind::Infeasible, "leave Switchyard-Lane out")
        }
        Code::DeferredUnavailable => (RefusalKind::Unavailable, "leave Switchyard-Lane out"),
        _ => return after_failures(snapshot, choices),
    };
    let alternatives = alternatives(choices, snapshot.now);
    let refusal = Refusal { kind, retry_after: None, alternatives };
    (Verdict::Refuse(refusal), vec![Reason::new(code).remedy(what, None)])
}

/// Which bar is told when places are barred for several causes: the one that waiting cures first.
fn bar_order(code: Code) -> u8 {
    match code {
        Code::Overloaded => 0,
        Code::Warming => 1,
        Code::BackendsDown | Code::Retried => 2,
        Code::DeferredUnavailable => 3,
        Code::ResidencyUnmet => 4,
        _ => 5,
    }
}

/// Nothing is left to try: says what the last tries met and when it may be over.
fn after_failures(snapshot: &Snapshot, choices: &[Choice]) -> Judged {
    let failures = || snapshot.tried.iter().map(|attempt| attempt.failure);
    let asked = |wanted: fn(Failure) -> Option<Millis>| failures().filter_map(wanted).min();
    let overloaded = asked(|failure| match failure {
        Failure::Overloaded { retry_after } => Some(retry_after),
        _ => None,
    });
    let warming = asked(|failure| match failure {
        Failure::Warming { retry_after } => Some(retry_after),
        _ => None,
    });
    let opens = snapshot.backends.iter().filter_map(|backend| match backend.breaker {
        breaker::State::Open { until } => Some(until.since(snapshot.now)),
        breaker::State::Closed | breaker::State::HalfOpen => None,
    });
    let (code, kind, wait) = match (overloaded, warming) {
        (Some(wait), _) => (Code::Overloaded, RefusalKind::Overloaded, wait),
        (None, Some(wait)) => (Code::Warming, RefusalKind::Unavailable, wait),
        (None, None) => {
            (Code::BackendsDown, RefusalKind::Unavailable, opens.min().unwrap_or(Millis::from_secs(1)))
        }
    };
    let retry_after = bounded(wait);
    let reason = Reason::new(code)
        .with("tries", Evidence::Count(snapshot.tried.len() as u64))
        .next("it may be tried again", Some(snapshot.now + retry_after));
    let alternatives = alternatives(choices, snapshot.now);
    (Verdict::Refuse(Refusal { kind, retry_after: Some(retry_after), alternatives }), vec![reason])
}

fn bounded(wait: Millis) -> Millis {
    wait.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
}

fn alternatives(choices: &[Choice], now: UnixMs) -> Alternatives {
    let open = || choices.iter().filter(|choice| choice.barred.is_none());
    let finish = |choice: &Choice| (choice.clone(), now + choice.eta.p50);
    Alternatives {
        earliest: open().min_by_key(|choice| (choice.eta.p50, choice.cost, &choice.place)).map(finish),
        cheapest: open().min_by_key(|choice| (choice.cost, choice.eta.p50, &choice.place)).map(finish),
    }
}
