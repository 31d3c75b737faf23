//! A decision as data: one line of JSON that `/api/explain`, the log and the audit file render
//! alike, with every factor that was looked at, and never with user text.
//!
//! [`reason`] and [`decision`] render; [`Line`] is what is written to `audit/…`, and reads back.

use policy::estimate::{Choice, Wait};
use policy::reason::{Evidence, Reason};
use policy::request::{Answer, Lane, LaneWish, Operation, Request, Tier};
use policy::route::{Alternatives, Decision, RefusalKind, Verdict};
use policy::snapshot::{Sight, Snapshot};
use policy::units::UnixMs;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// One line of the audit file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Version of this shape.
    pub v: u8,
    /// Unix milliseconds by the handler's clock.
    pub at: u64,
    /// The tenant's id.
    pub tenant: String,
    /// `x-request-id` of the answer.
    pub request_id: String,
    /// What was asked, as [`request`] renders it.
    pub request: Value,
    /// What was seen, as [`seen`] renders it.
    pub seen: Value,
    /// What was decided, as [`decision`] renders it.
    pub decision: Value,
}

impl Line {
    /// The text of the line, without a line end.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("maps with text keys serialize")
    }
}

/// A lane's name.
pub fn lane(lane: Lane) -> &'static str {
    match lane {
        Lane::Realtime => "realtime",
        Lane::Deferred => "deferred",
    }
}

/// An operation's path below `/v1/`.
pub fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Embeddings => "embeddings",
        Operation::ChatCompletions => "chat/completions",
        Operation::Completions => "completions",
    }
}

/// Why: `{code, since?, evidence{…}, next?, remedy?}`. Times in milliseconds, money in US dollars.
pub fn reason(reason: &Reason) -> Value {
    let mut shown = Map::new();
    shown.insert("code".into(), json!(reason.code.as_str()));
    if let Some(since) = reason.since {
        shown.insert("since_unix_ms".into(), json!(since.0));
    }
    if !reason.evidence.is_empty() {
        let evidence: Map<String, Value> =
            reason.evidence.iter().map(|(name, value)| evidence(name, value)).collect();
        shown.insert("evidence".into(), Value::Object(evidence));
    }
    if let Some(next) = &reason.next {
        shown.insert("next".into(), json!({ "what": next.what, "at_unix_ms": next.at.map(|at| at.0) }));
    }
    if let Some(remedy) = &reason.remedy {
        shown.insert(
            "remedy".into(),
            json!({ "what": remedy.what, "cost_usd": remedy.cost.map(|cost| cost.usd()) }),
        );
    }
    Value::Object(shown)
}

/// The unit goes last in the name.
fn evidence(name: &str, value: &Evidence) -> (String, Value) {
    match value {
        Evidence::Time(time) => (format!("{name}_ms"), json!(time.0)),
        Evidence::At(at) => (format!("{name}_unix_ms"), json!(at.0)),
        Evidence::Cost(cost) => (format!("{name}_usd"), json!(cost.usd())),
        Evidence::Tokens(tokens) => (name.to_owned(), json!(tokens.0)),
        Evidence::Count(count) => (name.to_owned(), json!(count)),
        Evidence::Name(text) => (name.to_owned(), json!(text)),
    }
}

/// A place with its numbers.
pub fn choice(choice: &Choice) -> Value {
    let wait = match choice.wait {
        Wait::None => "none",
        Wait::Slot => "slot",
        Wait::Start => "start",
    };
    json!({
        "lane": lane(choice.lane),
        "place": choice.place,
        "wait": wait,
        "eta_p50_ms": choice.eta.p50.0,
        "eta_p95_ms": choice.eta.p95.0,
        "cost_usd": choice.cost.usd(),
        "barred": choice.barred.map(|code| code.as_str()),
    })
}

/// What would be possible instead.
pub fn alternatives(alternatives: &Alternatives) -> Value {
    let finish = |option: &Option<(Choice, UnixMs)>| {
        option.as_ref().map(|(found, at)| {
            json!({ "lane": lane(found.lane), "finish_unix_ms": at.0, "eta_p50_ms": found.eta.p50.0,
                "cost_usd": found.cost.usd() })
        })
    };
    json!({ "earliest": finish(&alternatives.earliest), "cheapest": finish(&alternatives.cheapest) })
}

/// What was decided, why, and every place that was looked at.
pub fn decision(decision: &Decision) -> Value {
    let verdict = match &decision.verdict {
        Verdict::Realtime(taken) | Verdict::Deferred(taken) => choice(taken),
        Verdict::Refuse(refusal) => json!({
            "refused": refusal_kind(refusal.kind),
            "retry_after_ms": refusal.retry_after.map(|wait| wait.0),
            "alternatives": alternatives(&refusal.alternatives),
        }),
    };
    json!({
        "verdict": verdict,
        "reasons": decision.reasons.iter().map(reason).collect::<Vec<_>>(),
        "choices": decision.choices.iter().map(choice).collect::<Vec<_>>(),
    })
}

fn refusal_kind(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::Overloaded => "overloaded",
        RefusalKind::Unavailable => "unavailable",
        RefusalKind::Infeasible => "infeasible",
        RefusalKind::Expired => "expired",
        RefusalKind::NotServed => "not_served",
    }
}

/// What was asked, as far as the decision looked at it.
pub fn request(request: &Request) -> Value {
    let wish = match request.lane {
        LaneWish::Auto => "auto",
        LaneWish::Realtime => "realtime",
        LaneWish::Deferred => "deferred",
    };
    let tier = match request.tier {
        Tier::Default => "default",
        Tier::Priority => "priority",
        Tier::Flex => "flex",
    };
    let within = match request.answer {
        Answer::Now { within } => Some(within.0),
        Answer::LaterWelcome => None,
    };
    json!({
        "model": request.model,
        "operation": operation(request.operation),
        "items": request.items,
        "tokens_in": request.tokens_in.0,
        "tokens_out": request.tokens_out.0,
        "deadline_unix_ms": request.deadline.map(|deadline| deadline.0),
        "lane": wish,
        "tier": tier,
        "answer_within_ms": within,
        "max_cost_usd": request.max_cost.map(|cost| cost.usd()),
        "residency": request.residency,
    })
}

/// What was seen besides the places' own estimates.
pub fn seen(snapshot: &Snapshot) -> Value {
    let backends: Vec<Value> = snapshot
        .backends
        .iter()
        .map(|backend| {
            json!({ "name": backend.name, "ready_replicas": backend.ready_replicas,
                "starting_replicas": backend.starting_replicas, "in_flight": backend.in_flight })
        })
        .collect();
    let pools: Vec<Value> = snapshot
        .pools
        .iter()
        .map(|pool| {
            json!({ "name": pool.name, "ready_nodes": pool.ready_nodes, "backlog_ms": pool.backlog.0,
                "accepting": pool.accepting })
        })
        .collect();
    json!({
        "blind": snapshot.sight == Sight::Blind,
        "tries": snapshot.tried.len(),
        "spent_this_hour_usd": snapshot.spent_this_hour.usd(),
        "backends": backends,
        "pools": pools,
    })
}

#[cfg(test)]
mod tests {
    use policy::reason::Code;
    use policy::units::{MicroUsd, Millis};

    use super::*;

    #[test]
    fn a_reason_shows_units_and_what_to_do() {
        let shown = reason(
            &Reason::new(Code::ColdStart)
                .with("eta", Evidence::Time(Millis(85_000)))
                .with("cost", Evidence::Cost(MicroUsd(36_811)))
                .next("a replica is ready", Some(UnixMs(5)))
                .remedy("raise min-aca-replicas", Some(MicroUsd(1_500_000))),
        );
        let expected = json!({
            "code": "cold_start",
            "evidence": { "eta_ms": 85_000, "cost_usd": 0.036811 },
            "next": { "what": "a replica is ready", "at_unix_ms": 5 },
            "remedy": { "what": "raise min-aca-replicas", "cost_usd": 1.5 },
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_line_is_one_line_and_reads_back() {
        let line = Line {
            v: 1,
            at: 7,
            tenant: "dev".into(),
            request_id: "a\nb".into(),
            request: json!({ "model": "minilm" }),
            seen: json!({ "blind": true }),
            decision: json!({ "verdict": { "refused": "expired" } }),
        };
        assert!(!line.text().contains('\n'));
        assert_eq!(serde_json::from_str::<Line>(&line.text()).expect("it reads back"), line);
    }
}
