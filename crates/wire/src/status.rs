//! The status page as operators and `switchyard status` read it. Times are Unix milliseconds, money is
//! US dollars. Readers ignore what they do not know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The page, in the parts that a reader of another version may count on.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Status {
    /// What is broken, at risk and wasted.
    pub lines: Vec<String>,
    /// Now, by the handler's clock.
    pub now_unix_ms: u64,
    /// Realtime backends.
    pub backends: Vec<Backend>,
    /// Pools of the deferred lane.
    pub pools: Vec<Pool>,
    /// Spend of the current hour, over all lanes: machines with their boots and idle time, as the ledger has
    /// them.
    pub spent_this_hour_usd: f64,
    /// Tenants, as this process knows of them.
    pub tenants: Vec<Tenant>,
}

/// One tenant. A limit of a day counts work on the UTC day on which it was let in: as estimated while it goes on,
/// as billed once it has ended.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Its limit; none: it has none.
    pub usd_per_day: Option<f64>,
    /// What counts today.
    pub spent_today_usd: f64,
    /// Of this, requests.
    pub requests_today_usd: f64,
    /// Of this, jobs.
    pub jobs_today_usd: f64,
    /// Items of jobs that have not ended.
    pub queued_items: u64,
}

/// One backend.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Replicas that answer.
    pub ready_replicas: u32,
    /// Replicas that start.
    pub starting_replicas: u32,
    /// Requests under way.
    pub in_flight: u32,
    /// Whether it may be tried.
    pub breaker: Breaker,
    /// How long it takes, in percent of what the catalogue says: measured by answers of the last minutes, 100
    /// without.
    pub pace_percent: u32,
    /// Answers that this was measured by; older ones count less.
    pub pace_answers: u64,
    /// When its price was read.
    pub price_date: String,
    /// Days since then; none where the date says nothing.
    pub price_age_days: Option<u64>,
}

/// Whether a backend may be tried.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Breaker {
    /// `closed`, `open` or `half_open`.
    pub state: String,
}

/// One pool.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Pool {
    /// The Azure Batch pool's id.
    pub name: String,
    /// How long ago Azure Batch answered; none: it never did.
    pub age_s: Option<u64>,
    /// Why it did not answer the last time that it was asked.
    pub error: Option<String>,
    /// Spot nodes.
    pub spot: Nodes,
    /// Nodes that are not taken away.
    pub dedicated: Nodes,
    /// Of the usable nodes, those that run something; none: there are none.
    pub utilization_percent: Option<u64>,
    /// Tasks that wait for a slot.
    pub queued_tasks: u64,
    /// Tasks that run.
    pub running_tasks: u64,
    /// Jobs with shards that no task has.
    pub waiting_jobs: u64,
    /// Work that is accepted and not done, as time on one slot.
    pub backlog_s: u64,
    /// Evictions of a spot node an hour: measured, else the catalogue's.
    pub evictions_per_node_hour: f64,
    /// Evictions of the last hour.
    pub evictions: u64,
    /// How long boots take, the wait for the formula's evaluation included: measured, else the
    /// catalogue's.
    pub boot_ms: Spread,
    /// Boots that were measured.
    pub boots_measured: u64,
    /// Boots in a row that ended unusable.
    pub unusable_boots: u32,
    /// What stops its size.
    pub resize_errors: Vec<ResizeError>,
    /// What its nodes cost in the current hour.
    pub spent_this_hour_usd: f64,
    /// When its price was read.
    pub price_date: String,
    /// Days since then; none where the date says nothing.
    pub price_age_days: Option<u64>,
    /// What the rebalancer made of it; none: it has not run.
    pub planned: Option<Planned>,
    /// The formula that sets its size now.
    pub formula: Formula,
}

/// Nodes of one kind.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Nodes {
    /// Wanted.
    pub target: u32,
    /// Idle or running.
    pub usable: u32,
    /// Running.
    pub busy: u32,
    /// On their way.
    pub starting: u32,
    /// Taken away by the platform.
    pub preempted: u32,
    /// Unusable or with a failed start task.
    pub broken: u32,
}

/// Two quantiles.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Spread {
    /// Half are at most this.
    pub p50: u64,
    /// 19 of 20 are at most this.
    pub p95: u64,
}

/// Why a pool stopped short of its target.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct ResizeError {
    /// As `AllocationFailed`.
    pub code: String,
    /// The service's words.
    pub message: String,
    /// When it was first seen.
    pub since_unix_ms: u64,
    /// Whether it is of an older target than the present.
    pub stale: bool,
}

/// What the rebalancer made of a pool.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Planned {
    /// How long ago.
    pub age_s: u64,
    /// `observe`, `recommend` or `act`.
    pub mode: String,
    /// Spot nodes wanted; none: there was no plan.
    pub spot: Option<u32>,
    /// Dedicated nodes wanted.
    pub dedicated: Option<u32>,
    /// Nodes of both kinds at most.
    pub max_nodes: Option<u32>,
    /// Why, the first settled it.
    pub reasons: Vec<Reason>,
    /// What became of it.
    pub outcome: String,
    /// What went wrong.
    pub error: Option<String>,
    /// From a plan to the first task on a node that it buys.
    pub lead_ms: Spread,
    /// Open jobs that it looked at.
    pub jobs: u64,
    /// The formula that says so; empty: none was written.
    pub formula: String,
}

/// A reason.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Reason {
    /// From the closed list of reasons.
    pub code: String,
    /// Numbers that were looked at.
    pub evidence: BTreeMap<String, String>,
    /// What happens by itself.
    pub next: Option<String>,
    /// What one can do.
    pub remedy: Option<String>,
}

/// The formula that sets a pool's size.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Formula {
    /// Whether one does.
    pub enabled: bool,
    /// Whether it is one of ours.
    pub ours: bool,
    /// How often it is to be evaluated.
    pub interval_s: u64,
    /// When it was evaluated last.
    pub evaluated_unix_ms: Option<u64>,
    /// Why that changed nothing.
    pub error: Option<String>,
    /// What is unwise in one that is not ours, the worst first; nine at most.
    pub findings: Vec<String>,
}
