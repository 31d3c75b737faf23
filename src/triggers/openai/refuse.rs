//! A refusal of policy as an answer: status, code, remedy, when to come back, what would be
//! possible instead.

use policy::admit::Limit;
use policy::reason::{Code, Reason};
use policy::route::{Decision, Refusal, RefusalKind};
use policy::units::Millis;
use serde_json::json;

use crate::failure::{Failure, Kind};
use crate::http::{self, Response};
use crate::metrics::Left;

/// The answer to a request that `decision` refused.
pub fn answer(decision: &Decision, refusal: &Refusal) -> Response {
    let reason = decision.reasons.first().expect("a decision has at least one reason");
    let mut response = http::failure(&failure(reason, refusal));
    http::set(&mut response, "switchyard-reason", reason.code.as_str());
    response
}

/// The answer to a request that its tenant's limits hold back.
pub fn limited(limited: &policy::admit::Limited) -> Response {
    let cause = format!("the tenant's limit {} is reached", limited.limit.as_str());
    let message = sentence(&cause, &limited.reason);
    // The vendor's codes: an SDK tries a rate again after the wait, and a quota not at all. What waits
    // goes down by minutes, not by an SDK's few tries.
    let (code, vain) = match limited.limit {
        Limit::Requests | Limit::Tokens => ("rate_limit_exceeded", false),
        Limit::QueuedItems => ("rate_limit_exceeded", true),
        Limit::UsdPerDay => ("insufficient_quota", true),
    };
    let failure = Failure::new(Kind::Overloaded, code, message).retry_after(limited.retry_after.0.max(1));
    let mut response = http::failure(&Failure { vain, ..failure });
    http::set(&mut response, "switchyard-reason", limited.reason.code.as_str());
    response
}

/// Tells what is left of limits, in the vendor's headers; nothing where there are none.
pub fn tell(response: &mut Response, (requests, tokens): Left) {
    let names = [
        ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
        ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
    ];
    for ([limit, remaining, reset], room) in names.into_iter().zip([requests, tokens]) {
        let Some(room) = room else { continue };
        http::set(response, limit, &room.limit.to_string());
        http::set(response, remaining, &room.remaining.to_string());
        http::set(response, reset, &span(room.reset));
    }
}

/// A span as the vendor writes it: `120ms`, `1.5s`, `6m0s`.
fn span(span: Millis) -> String {
    let (minutes, rest) = (span.0 / 60_000, span.0 % 60_000);
    match (minutes, rest) {
        (0, ms @ 0..1_000) => format!("{ms}ms"),
        (0, ms) => format!("{}s", ms as f64 / 1_000.0),
        (minutes, ms) => format!("{minutes}m{}s", ms as f64 / 1_000.0),
    }
}

fn failure(reason: &Reason, refusal: &Refusal) -> Failure {
    let kind = match refusal.kind {
        RefusalKind::Overloaded => Kind::Overloaded,
        RefusalKind::Unavailable => Kind::Unavailable,
        RefusalKind::Infeasible => Kind::Infeasible,
        RefusalKind::Expired => Kind::Invalid,
        RefusalKind::NotServed => Kind::NotFound,
    };
    let mut failure = Failure::new(kind, reason.code.as_str(), sentence(cause(reason.code), reason));
    failure.param = param(reason.code).map(Into::into);
    failure.retry_after_ms = refusal.retry_after.map(|wait| wait.0.max(1));
    failure.vain = refusal.retry_after.is_none();
    if kind == Kind::Infeasible {
        let alternatives = json!(audit::Alternatives(&refusal.alternatives));
        failure.alternatives = Some(Box::new(alternatives));
    }
    failure
}

fn sentence(cause: &str, reason: &Reason) -> String {
    let next = reason.next.as_ref().map(|next| format!("; {}", next.what)).unwrap_or_default();
    let remedy = reason.remedy.as_ref().map(|remedy| format!("; {}", remedy.what)).unwrap_or_default();
    format!("{cause}{next}{remedy}")
}

fn cause(code: Code) -> &'static str {
    match code {
        Code::Overloaded => "every realtime slot is taken",
        Code::Warming => "the model's replicas are starting",
        Code::BackendsDown | Code::Retried => "no backend of this model answers now",
        Code::DeadlineInfeasible => "no place finishes this before its deadline",
        Code::DeadlinePassed => "the deadline has passed; nothing was run",
        Code::OverMaxCost => "every place costs more than Switchyard-Max-Cost",
        Code::BudgetSpent => "the budget of this hour is spent",
        Code::NotServed => "no backend or pool serves this model",
        Code::DeferredUnavailable => "no pool takes work for this model",
        Code::TooLargeForGpu => "the model needs more GPU memory than knob gpu-memory-limit allows",
        Code::ResidencyUnmet => "no place in the wanted region serves this model",
        _ => "this request cannot be served now",
    }
}

fn param(code: Code) -> Option<&'static str> {
    match code {
        Code::DeadlineInfeasible | Code::DeadlinePassed => Some("Switchyard-Deadline"),
        Code::OverMaxCost => Some("Switchyard-Max-Cost"),
        Code::DeferredUnavailable => Some("Switchyard-Lane"),
        Code::NotServed | Code::TooLargeForGpu => Some("model"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_the_vendor_does() {
        for (ms, text) in [(0, "0ms"), (120, "120ms"), (1_000, "1s"), (1_500, "1.5s"), (360_000, "6m0s")] {
            assert_eq!(span(Millis(ms)), text);
        }
    }
}
