//! A refusal of policy as an answer: status, code, remedy, when to come back, what would be
//! possible instead.

use policy::reason::{Code, Reason};
use policy::route::{Decision, Refusal, RefusalKind};
use serde_json::json;

use crate::failure::{Failure, Kind};
use crate::http::{self, Response};

/// The answer to a request that `decision` refused.
pub fn answer(decision: &Decision, refusal: &Refusal) -> Response {
    let reason = decision.reasons.first().expect("a decision has at least one reason");
    let mut response = http::failure(&failure(reason, refusal));
    http::set(&mut response, "switchyard-reason", reason.code.as_str());
    response
}

/// The answer to a request that its tenant's limits hold back.
pub fn limited(limited: &policy::admit::Limited) -> Response {
    let message = sentence("the tenant's limit is reached", &limited.reason);
    let failure = Failure::new(Kind::Overloaded, limited.reason.code.as_str(), message);
    let mut response = http::failure(&failure.retry_after(limited.retry_after.0.max(1)));
    http::set(&mut response, "switchyard-reason", limited.reason.code.as_str());
    response
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
        Code::DeferredUnavailable => "the deferred lane takes no work in this version",
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
