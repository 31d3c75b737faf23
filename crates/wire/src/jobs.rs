//! A job as `/api/jobs` shows it. Times are RFC 3339 in UTC; money is US dollars.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One job.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct JobView {
    /// Its id.
    #[schema(pattern = "^[a-z2-7]{26}$")]
    pub id: String,
    /// Always `job`.
    pub object: String,
    /// `request` or `openai_batch`.
    pub kind: String,
    /// `waiting`, `running`, `stopping`, `finishing`, `completed`, `cancelled`, `expired` or `failed`.
    pub status: String,
    /// What it runs: as `/v1/embeddings`.
    pub url: String,
    /// The model's id.
    pub model: String,
    /// `interactive`, `standard` or `bulk`.
    #[serde(default)]
    pub class: String,
    /// When it was accepted.
    pub created: String,
    /// When it must be done.
    pub deadline: String,
    /// When its last result was written.
    pub finished: Option<String>,
    /// Items.
    pub items: Items,
    /// Parts that are dispatched together, by where they are.
    pub shards: Shards,
    /// When it was expected to be done, when it was accepted.
    pub eta: Eta,
    /// Money.
    pub cost: Cost,
    /// Why it is where it is, the most telling first.
    pub reasons: Vec<ReasonView>,
    /// The client's own.
    pub labels: BTreeMap<String, String>,
    /// The trace that it was sent under.
    pub trace_id: Option<String>,
    /// Where to ask further.
    pub links: Links,
}

/// Items by outcome.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema, PartialEq, Eq)]
pub struct Items {
    /// All of them.
    pub total: u64,
    /// With an outcome of their own: a result or an error.
    pub done: u64,
    /// With an error of their own; known once the job has ended.
    pub failed: u64,
    /// Filled because the job stopped; known once the job has ended.
    pub unfinished: u64,
}

/// Shards by where they are.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema, PartialEq, Eq)]
pub struct Shards {
    /// All of them.
    pub total: u64,
    /// Done.
    pub done: u64,
    /// In no task.
    pub waiting: u64,
    /// In a task without a node.
    pub queued: u64,
    /// Computed in the pool.
    pub running: u64,
    /// Computed in the realtime lane.
    pub rescued: u64,
    /// Tries beyond the first.
    pub retries: u64,
}

/// When a job was expected to be done.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct Eta {
    /// Half of such jobs are done by then.
    pub p50: String,
    /// 19 of 20 are done by then.
    pub p95: String,
}

/// Money of a job.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct Cost {
    /// What was expected.
    pub estimate_usd: f64,
    /// What it came to; known once the job has ended.
    pub usd: Option<f64>,
    /// The same work, all in the realtime lane; none where nothing serves it there.
    pub all_realtime_usd: Option<f64>,
    /// What `usd` is made of; known once the job has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<CostPart>,
}

/// A part of what a job cost.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct CostPart {
    /// `realtime` or `deferred`.
    pub lane: String,
    /// The backend's or pool's name.
    pub place: String,
    /// `useful`; `evicted`: lost with the try that did it; `duplicate`: another try did it too.
    pub what: String,
    /// What it came to.
    pub usd: f64,
    /// Whether the price or the time was taken and not read or measured.
    pub assumed: bool,
}

/// Why a job is where it is.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct ReasonView {
    /// From the closed list of reasons.
    pub code: String,
    /// Since when it holds, where that is known.
    #[serde(default)]
    pub since: Option<String>,
    /// Numbers that were looked at, by name, with their units.
    pub evidence: BTreeMap<String, String>,
    /// What happens by itself.
    pub next: Option<String>,
    /// When it does.
    pub next_at: Option<String>,
    /// What one can do.
    pub remedy: Option<String>,
    /// What that costs, where it is known.
    #[serde(default)]
    pub remedy_usd: Option<f64>,
}

/// Where to ask further.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct Links {
    /// This.
    pub job: String,
    /// Its result, once it has ended.
    pub result: String,
    /// What its last tasks wrote.
    pub logs: String,
}

/// A page of jobs, the newest first.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct JobList {
    /// Always `list`.
    pub object: String,
    /// The jobs.
    pub data: Vec<JobView>,
    /// Whether there are older ones: ask with `after` = the last id.
    pub has_more: bool,
}

/// Who was told, or is to be told, that a batch ended.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct WebhookList {
    /// Always `list`.
    pub object: String,
    /// Webhooks of the tenant that hear of this end; none before the job has ended.
    pub data: Vec<WebhookView>,
}

/// What came of telling one webhook that a batch ended.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct WebhookView {
    /// Where it is, without its query.
    pub url: String,
    /// The event's id, the same in every attempt: header `webhook-id`.
    pub event_id: String,
    /// As `batch.completed`.
    pub event: String,
    /// `waiting`, `retrying`, `delivered`, `gone` (it answered 410) or `gave_up` (after 72 h).
    pub status: String,
    /// Attempts so far.
    pub attempts: u32,
    /// When the newest one was made.
    pub last_attempt: Option<String>,
    /// What it was answered.
    pub last_status: Option<u16>,
    /// Why it had no answer: `address_refused`, `not_connected`, `timed_out`, `broken` or `down`.
    pub last_problem: Option<String>,
    /// When the next one is made.
    pub next_attempt: Option<String>,
}
