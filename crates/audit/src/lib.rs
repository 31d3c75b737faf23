//! A decision as data: one line of JSON that `/api/explain`, the log and the audit file render
//! alike, with every factor that was looked at, and never with user text.
//!
//! Policy's values are wrapped to be serialized: [`Reason`], [`Choice`], [`Decision`], [`Alternatives`],
//! [`Request`], [`Seen`]. [`line()`] writes a line of `audit/…` straight to text; [`Line`] reads it back.
//! [`action`]: what was done by hand, in lines beside these; [`Entry`] reads either.

pub mod action;

use policy::estimate::Wait;
use policy::reason::Evidence;
use policy::request::{Answer, Lane, LaneWish, Operation, Tier};
use policy::route::{RefusalKind, Verdict};
use policy::snapshot::Sight;
use policy::units::UnixMs;
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// Version of the lines' shape.
const VERSION: u8 = 1;

/// One line of the audit file, as it is read back.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Line {
    /// Version of this shape.
    pub v: u8,
    /// Unix milliseconds by the handler's clock.
    pub at: u64,
    /// The tenant's id.
    pub tenant: String,
    /// `x-request-id` of the answer.
    pub request_id: String,
    /// What was asked, as [`Request`] renders it.
    pub request: Value,
    /// What was seen, as [`Seen`] renders it.
    pub seen: Value,
    /// What was decided, as [`Decision`] renders it.
    pub decision: Value,
}

/// A line of either kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A decision.
    Decision(Line),
    /// Something that was done.
    Action(action::ActionLine),
}

impl Entry {
    /// Reads a line.
    ///
    /// # Errors
    /// When it is neither.
    pub fn read(line: &str) -> Result<Entry, serde_json::Error> {
        #[derive(Deserialize)]
        struct Kind {
            kind: Option<String>,
        }
        match serde_json::from_str::<Kind>(line)?.kind.as_deref() {
            Some(action::ActionLine::KIND) => serde_json::from_str(line).map(Entry::Action),
            _ => serde_json::from_str(line).map(Entry::Decision),
        }
    }
}

/// What a line is written from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The tenant's id.
    pub tenant: &'a str,
    /// `x-request-id` of the answer.
    pub request_id: &'a str,
    /// What was asked.
    pub request: &'a policy::Request,
    /// What was seen.
    pub snapshot: &'a policy::Snapshot,
    /// What was decided.
    pub decision: &'a policy::Decision,
}

/// One line of the audit file, without a line end.
pub fn line(facts: &Facts<'_>) -> String {
    #[derive(Serialize)]
    struct Written<'a> {
        v: u8,
        at: u64,
        tenant: &'a str,
        request_id: &'a str,
        request: Request<'a>,
        seen: Seen<'a>,
        decision: Decision<'a>,
    }
    let written = Written {
        v: VERSION,
        at: facts.snapshot.now.0,
        tenant: facts.tenant,
        request_id: facts.request_id,
        request: Request(facts.request),
        seen: Seen(facts.snapshot),
        decision: Decision(facts.decision),
    };
    serde_json::to_string(&written).expect("maps with text keys serialize")
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

/// Why: `{code, since?, evidence{…}?, next?, remedy?}`. Times in milliseconds, money in US dollars.
#[derive(Clone, Copy, Debug)]
pub struct Reason<'a>(pub &'a policy::Reason);

impl Serialize for Reason<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Next {
            what: &'static str,
            at_unix_ms: Option<u64>,
        }
        #[derive(Serialize)]
        struct Remedy {
            what: &'static str,
            cost_usd: Option<f64>,
        }
        let reason = self.0;
        let mut shown = serializer.serialize_map(None)?;
        shown.serialize_entry("code", reason.code.as_str())?;
        if let Some(since) = reason.since {
            shown.serialize_entry("since_unix_ms", &since.0)?;
        }
        if !reason.evidence.is_empty() {
            shown.serialize_entry("evidence", &AllEvidence(&reason.evidence))?;
        }
        if let Some(next) = &reason.next {
            shown.serialize_entry("next", &Next { what: next.what, at_unix_ms: next.at.map(|at| at.0) })?;
        }
        if let Some(remedy) = &reason.remedy {
            let remedy = Remedy { what: remedy.what, cost_usd: remedy.cost.map(|cost| cost.usd()) };
            shown.serialize_entry("remedy", &remedy)?;
        }
        shown.end()
    }
}

struct AllEvidence<'a>(&'a [(&'static str, Evidence)]);

impl Serialize for AllEvidence<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            // The unit goes last in the name.
            match value {
                Evidence::Time(time) => shown.serialize_entry(&format_args!("{name}_ms"), &time.0)?,
                Evidence::At(at) => shown.serialize_entry(&format_args!("{name}_unix_ms"), &at.0)?,
                Evidence::Cost(cost) => shown.serialize_entry(&format_args!("{name}_usd"), &cost.usd())?,
                Evidence::Tokens(tokens) => shown.serialize_entry(name, &tokens.0)?,
                Evidence::Count(count) => shown.serialize_entry(name, count)?,
                Evidence::Name(text) => shown.serialize_entry(name, text)?,
            }
        }
        shown.end()
    }
}

/// A place with its numbers.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a>(pub &'a policy::estimate::Choice);

impl Serialize for Choice<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let choice = self.0;
        let wait = match choice.wait {
            Wait::None => "none",
            Wait::Slot => "slot",
            Wait::Start => "start",
        };
        let mut shown = serializer.serialize_struct("Choice", 7)?;
        shown.serialize_field("lane", lane(choice.lane))?;
        shown.serialize_field("place", &choice.place)?;
        shown.serialize_field("wait", wait)?;
        shown.serialize_field("eta_p50_ms", &choice.eta.p50.0)?;
        shown.serialize_field("eta_p95_ms", &choice.eta.p95.0)?;
        shown.serialize_field("cost_usd", &choice.cost.usd())?;
        shown.serialize_field("barred", &choice.barred.map(|code| code.as_str()))?;
        shown.end()
    }
}

/// What would be possible instead: `{earliest, cheapest}`.
#[derive(Clone, Copy, Debug)]
pub struct Alternatives<'a>(pub &'a policy::route::Alternatives);

impl Serialize for Alternatives<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Finish {
            lane: &'static str,
            finish_unix_ms: u64,
            eta_p50_ms: u64,
            cost_usd: f64,
        }
        let finish = |option: &Option<(policy::estimate::Choice, UnixMs)>| {
            option.as_ref().map(|(found, at)| Finish {
                lane: lane(found.lane),
                finish_unix_ms: at.0,
                eta_p50_ms: found.eta.p50.0,
                cost_usd: found.cost.usd(),
            })
        };
        let mut shown = serializer.serialize_struct("Alternatives", 2)?;
        shown.serialize_field("earliest", &finish(&self.0.earliest))?;
        shown.serialize_field("cheapest", &finish(&self.0.cheapest))?;
        shown.end()
    }
}

/// What was decided, why, and every place that was looked at.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a>(pub &'a policy::Decision);

impl Serialize for Decision<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Refused<'a> {
            refused: &'static str,
            retry_after_ms: Option<u64>,
            alternatives: Alternatives<'a>,
        }
        let decision = self.0;
        let mut shown = serializer.serialize_struct("Decision", 3)?;
        match &decision.verdict {
            Verdict::Realtime(taken) | Verdict::Deferred(taken) => {
                shown.serialize_field("verdict", &Choice(taken))?
            }
            Verdict::Refuse(refusal) => {
                let refused = Refused {
                    refused: refusal_kind(refusal.kind),
                    retry_after_ms: refusal.retry_after.map(|wait| wait.0),
                    alternatives: Alternatives(&refusal.alternatives),
                };
                shown.serialize_field("verdict", &refused)?;
            }
        }
        shown.serialize_field("reasons", &Each(&decision.reasons, Reason))?;
        shown.serialize_field("choices", &Each(&decision.choices, Choice))?;
        shown.end()
    }
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

/// A list whose elements are wrapped one by one.
struct Each<'a, T, F>(&'a [T], F);

impl<'a, T, W: Serialize, F: Fn(&'a T) -> W> Serialize for Each<'a, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(&self.1))
    }
}

/// What was asked, as far as the decision looked at it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a>(pub &'a policy::Request);

impl Serialize for Request<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let request = self.0;
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
        let mut shown = serializer.serialize_struct("Request", 11)?;
        shown.serialize_field("model", &request.model)?;
        shown.serialize_field("operation", operation(request.operation))?;
        shown.serialize_field("items", &request.items)?;
        shown.serialize_field("tokens_in", &request.tokens_in.0)?;
        shown.serialize_field("tokens_out", &request.tokens_out.0)?;
        shown.serialize_field("deadline_unix_ms", &request.deadline.map(|deadline| deadline.0))?;
        shown.serialize_field("lane", wish)?;
        shown.serialize_field("tier", tier)?;
        shown.serialize_field("answer_within_ms", &within)?;
        shown.serialize_field("max_cost_usd", &request.max_cost.map(|cost| cost.usd()))?;
        shown.serialize_field("residency", &request.residency)?;
        shown.end()
    }
}

/// What was seen besides the places' own estimates.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a>(pub &'a policy::Snapshot);

impl Serialize for Seen<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Backend<'a> {
            name: &'a str,
            ready_replicas: u32,
            starting_replicas: u32,
            in_flight: u32,
        }
        #[derive(Serialize)]
        struct Pool<'a> {
            name: &'a str,
            ready_nodes: u32,
            backlog_ms: u64,
            accepting: bool,
        }
        let snapshot = self.0;
        let backends: Vec<Backend<'_>> = snapshot
            .backends
            .iter()
            .map(|found| Backend {
                name: &found.name,
                ready_replicas: found.ready_replicas,
                starting_replicas: found.starting_replicas,
                in_flight: found.in_flight,
            })
            .collect();
        let pools: Vec<Pool<'_>> = snapshot
            .pools
            .iter()
            .map(|found| Pool {
                name: &found.name,
                ready_nodes: found.ready_nodes,
                backlog_ms: found.backlog.0,
                accepting: found.accepting,
            })
            .collect();
        let mut shown = serializer.serialize_struct("Seen", 5)?;
        shown.serialize_field("blind", &(snapshot.sight == Sight::Blind))?;
        shown.serialize_field("tries", &snapshot.tried.len())?;
        shown.serialize_field("spent_this_hour_usd", &snapshot.spent_this_hour.usd())?;
        shown.serialize_field("backends", &backends)?;
        shown.serialize_field("pools", &pools)?;
        shown.end()
    }
}

#[cfg(test)]
mod tests {
    use policy::reason::Code;
    use policy::request::{Answer, LaneWish, Operation, Tier};
    use policy::units::{MicroUsd, Millis, Tokens};
    use policy::{Knobs, route};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reason_shows_units_and_what_to_do() {
        let reason = policy::Reason::new(Code::ColdStart)
            .with("eta", Evidence::Time(Millis(85_000)))
            .with("cost", Evidence::Cost(MicroUsd(36_811)))
            .next("a replica is ready", Some(UnixMs(5)))
            .remedy("raise min-aca-replicas", Some(MicroUsd(1_500_000)));
        let expected = json!({
            "code": "cold_start",
            "evidence": { "eta_ms": 85_000, "cost_usd": 0.036811 },
            "next": { "what": "a replica is ready", "at_unix_ms": 5 },
            "remedy": { "what": "raise min-aca-replicas", "cost_usd": 1.5 },
        });
        assert_eq!(serde_json::to_value(Reason(&reason)).expect("a map"), expected);
    }

    #[test]
    fn a_line_is_one_line_and_reads_back() {
        let request = policy::Request {
            model: "minilm".into(),
            operation: Operation::Embeddings,
            items: 1,
            tokens_in: Tokens(3),
            tokens_out: Tokens(0),
            arrived: UnixMs(7),
            deadline: None,
            lane: LaneWish::Auto,
            answer: Answer::LaterWelcome,
            tier: Tier::Default,
            max_cost: None,
            residency: None,
        };
        let snapshot = policy::Snapshot { now: UnixMs(7), ..Default::default() };
        let decision = route(&Knobs::default(), &request, &snapshot);
        let facts = Facts {
            tenant: "dev",
            request_id: "a\nb",
            request: &request,
            snapshot: &snapshot,
            decision: &decision,
        };
        let text = line(&facts);
        assert!(!text.contains('\n'));
        let read: Line = serde_json::from_str(&text).expect("it reads back");
        assert_eq!((read.v, read.at, read.request_id.as_str()), (1, 7, "a\nb"));
        assert_eq!(read.decision["verdict"]["refused"], "not_served");
        assert_eq!(read.request["tokens_in"], 3);
        assert_eq!(Entry::read(&text).expect("it reads back"), Entry::Decision(read));
    }
}
