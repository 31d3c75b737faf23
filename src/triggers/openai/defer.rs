//! A request whose answer comes later: it becomes a job of one line, and the caller a 202. Only those
//! who said that they can take one get it: SDKs cannot read it.

use std::sync::OnceLock;

use bytes::Bytes;
use facts::file::Block;
use facts::job::{Estimate, Kind as JobKind};
use facts::{Job, JobId, key};
use policy::Decision;
use policy::dispatch::Class;
use policy::estimate::{self, Choice};
use policy::request::{Answer, Lane, Operation};
use policy::units::{Millis, UnixMs};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::infer::Work;
use crate::act::jobs::accept::{Accepted, New, NewLines};
use crate::act::jobs::look::World;
use crate::act::jobs::survey::Pass;
use crate::act::realtime;
use crate::catalogue::{Backend, Model};
use crate::failure::{Failure, Kind};
use crate::http::{self, Response};
use crate::triggers::jobs::{trouble, view};

/// Deferred work without a deadline of its own has this long, as an OpenAI batch has.
pub const WINDOW: Millis = Millis::from_secs(24 * 3_600);
/// A repeat that the SDK marks joins the job that its first attempt made within this.
pub const REPEAT_WITHIN_MS: u64 = 600_000;
/// Longest wait that an answer asks for before its job is looked at.
const ASK_AGAIN_MAX_S: u64 = 60;
/// The name of a single request's one item.
const CUSTOM_ID: &str = "request";

/// What a client sent. It is hashed once that is asked for, which of most requests nobody does.
pub struct Sent {
    operation: Operation,
    body: Bytes,
    hash: OnceLock<String>,
}

impl Sent {
    /// This body, for this operation.
    pub fn new(operation: Operation, body: Bytes) -> Sent {
        Sent { operation, body, hash: OnceLock::new() }
    }

    /// The hash of both.
    fn hash(&self) -> &str {
        self.hash.get_or_init(|| {
            let operation = audit::operation(self.operation);
            let hash = Sha256::new().chain_update(operation).chain_update("\n").chain_update(&self.body);
            key::hex(&hash.finalize())
        })
    }
}

/// The answer of the job that this very request made before: by its `Idempotency-Key`, or because the
/// SDK marks it as a repeat.
///
/// # Errors
/// 409 where the key was used for another body, or for a job that this caller cannot be told of; 503 where nobody can tell.
pub async fn made_before(work: &Work<'_>, sent: &Sent) -> Result<Option<Response>, Failure> {
    let (app, tenant) = (work.app, &work.caller.tenant().id);
    if !app.jobs.is_open() {
        return Ok(None);
    }
    if let Some(key) = &work.controls.key {
        let id = JobId::of_key(tenant, audit::operation(work.wanted.operation), key);
        let found = app.jobs.accepted_before(tenant, &id, sent.hash()).await.map_err(trouble)?;
        return match found {
            Some(Accepted::Job(job)) if work.wanted.answer == Answer::LaterWelcome => {
                Ok(Some(accepted(work, &job).await?))
            }
            Some(Accepted::Job(job)) => Err(comes_later(&job)),
            Some(Accepted::OtherBody) => Err(other_body()),
            None => Ok(None),
        };
    }
    let is_repeat = work.request.header("x-stainless-retry-count").is_some_and(|count| count != "0");
    if !is_repeat || work.wanted.answer != Answer::LaterWelcome {
        return Ok(None);
    }
    let found = app.jobs.made_lately(tenant, sent.hash(), REPEAT_WITHIN_MS).await.map_err(trouble)?;
    match found {
        Some(job) => Ok(Some(accepted(work, &job).await?)),
        None => Ok(None),
    }
}

/// Makes the job and answers 202.
///
/// # Errors
/// What the caller is told instead; then nothing was promised.
pub async fn accept(
    work: &Work<'_>,
    decision: &Decision,
    choice: &Choice,
    body: &Bytes,
    sent: &Sent,
) -> Result<Response, Failure> {
    let (app, wanted, tenant) = (work.app, &work.wanted, &work.caller.tenant().id);
    let operation = wanted.operation;
    let id = match &work.controls.key {
        Some(key) => JobId::of_key(tenant, audit::operation(operation), key),
        None => JobId::random(),
    };
    let pool = work.catalogue.pool(&choice.place).ok_or_else(|| gone(&choice.place))?;
    let line = line(operation, body)?;
    let size = Block {
        bytes: line.len() as u64,
        lines: 1,
        items: wanted.items,
        tokens_in: wanted.tokens_in.0,
        tokens_out: wanted.tokens_out.0,
        ..Block::default()
    };
    let new = New {
        id,
        tenant: tenant.clone(),
        kind: JobKind::Request,
        url: realtime::url(operation).to_owned(),
        model: (work.model.spec.id.clone(), work.model.spec.digest.clone()),
        class: class(work.caller.class(work.controls.class)?),
        body_hash: sent.hash().to_owned(),
        deadline: wanted.deadline.unwrap_or(wanted.arrived + WINDOW),
        max_cost: wanted.max_cost,
        labels: std::collections::BTreeMap::new(),
        traceparent: Some(work.request.trace()),
        pool: choice.place.clone(),
        speed: pool.facts.speed,
        bytes_per_line: bytes_per_line(work.model, wanted),
        estimate: estimate(work, decision, choice, 1),
        lines: NewLines::Here(line, size),
    };
    let job = match app.jobs.accept(new).await.map_err(trouble)? {
        Accepted::Job(job) => job,
        Accepted::OtherBody => return Err(other_body()),
    };
    let response = accepted(work, &job).await?;
    Ok(work.tell(response, decision, choice))
}

/// A class as facts write it.
pub fn class(class: Class) -> facts::job::Class {
    match class {
        Class::Interactive => facts::job::Class::Interactive,
        Class::Standard => facts::job::Class::Standard,
        Class::Bulk => facts::job::Class::Bulk,
    }
}

/// 202 with the job as it is now.
async fn accepted(work: &Work<'_>, job: &Job) -> Result<Response, Failure> {
    let knobs = work.app.knobs.knobs();
    let world = World { catalogue: work.catalogue, knobs: &knobs };
    let survey = work.app.jobs.survey(&job.tenant, &job.job, &Pass::of(world)).await.map_err(trouble)?;
    let survey = survey.ok_or_else(|| trouble_gone(job))?;
    let now = work.app.now();
    let shown = view::view(&survey, &view::Beside::default(), now);
    let mut response = http::json(202, &shown);
    let wait = UnixMs(job.estimate.p50_ms).since(now).0.div_ceil(1_000).clamp(1, ASK_AGAIN_MAX_S);
    http::set(&mut response, "location", &shown.links.job);
    http::set(&mut response, "retry-after", &wait.to_string());
    http::set(&mut response, "switchyard-lane", audit::lane(Lane::Deferred));
    if work.controls.prefers_later {
        http::set(&mut response, "preference-applied", "respond-async");
    }
    Ok(response)
}

/// What is expected of a job of so many lines that `choice` was taken for.
pub fn estimate(work: &Work<'_>, decision: &Decision, choice: &Choice, lines: u64) -> Estimate {
    let now = work.app.now();
    let realtime = decision.choices.iter().filter(|other| other.lane == Lane::Realtime);
    let cheapest = realtime.min_by_key(|other| other.cost);
    let backend = cheapest.and_then(|other| work.catalogue.backend(&other.place));
    Estimate {
        p50_ms: (now + choice.eta.p50).0,
        p95_ms: (now + choice.eta.p95).0,
        cost_micro_usd: choice.cost.0,
        realtime_cost_micro_usd: cheapest.map(|other| other.cost.0),
        realtime_ms: backend.map(|backend| rescue_time(work, backend, lines).0),
    }
}

/// How long all of it takes in the realtime lane at the width of a rescue, where every line is a
/// request of its own.
fn rescue_time(work: &Work<'_>, backend: &Backend, lines: u64) -> Millis {
    let knobs = work.app.knobs.knobs();
    let slots = backend.facts.slots_per_replica * backend.facts.max_replicas.min(knobs.max_replicas);
    let width = u64::from(slots * knobs.rescue_share_percent / 100).clamp(1, lines.max(1));
    let requests = backend.facts.speed.base.scaled(lines.saturating_sub(1), 1);
    let run = estimate::work(&backend.facts.speed, &work.wanted).p95 + requests;
    backend.facts.cold_start.p95 + run.scaled(1, width)
}

/// Expected bytes of a line's result: numbers of a vector have about 13 characters, tokens about 6.
pub fn bytes_per_line(model: &Model, wanted: &policy::Request) -> u64 {
    let vector = u64::from(model.spec.dimensions.unwrap_or(0)) * 13;
    512 + wanted.items * vector + wanted.tokens_out.0 * 6
}

/// The request as a line of the OpenAI batch form. Written anew, because a client's JSON may hold line
/// feeds.
fn line(operation: Operation, body: &[u8]) -> Result<String, Failure> {
    let body: serde_json::Value = serde_json::from_slice(body).map_err(|error| {
        Failure::invalid("body", "invalid_json", format!("the body is no JSON object: {error}"))
    })?;
    if body.get("stream") == Some(&serde_json::Value::Bool(true)) {
        let message = "a deferred answer cannot be streamed; leave `stream` out or ask for the realtime lane";
        return Err(Failure::invalid("stream", "cannot_stream_later", message));
    }
    let line = json!({
        "custom_id": CUSTOM_ID,
        "method": "POST",
        "url": realtime::url(operation),
        "body": body,
    });
    Ok(format!("{line}\n"))
}

/// 409: a key names one request.
pub fn other_body() -> Failure {
    let message = "this Idempotency-Key was used for another request; send the same body or another key";
    Failure::new(Kind::Conflict, "idempotency_conflict", message).of("Idempotency-Key")
}

/// 409: the answer under this key comes later, and this caller cannot read the 202 that says so.
fn comes_later(job: &Job) -> Failure {
    let message = format!(
        "this Idempotency-Key made job {}, whose answer comes later; send `Prefer: respond-async` to be told of it, or another key",
        job.job
    );
    Failure::new(Kind::Conflict, "answer_comes_later", message).of("Idempotency-Key")
}

/// 500: the pool that was just chosen is not there.
pub fn gone(pool: &str) -> Failure {
    Failure::new(Kind::Bug, "no_pool", format!("pool `{pool}` is not in the catalogue any more; try again"))
}

fn trouble_gone(job: &Job) -> Failure {
    Failure::new(Kind::Bug, "job_gone", format!("job {} was accepted and is not there; try again", job.job))
}
