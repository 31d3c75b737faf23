//! State that is overwritten: what processes saw, merged by the sweep. Only a hint, and only while it
//! is fresh; nothing is lost with it. Pools, of which most is to be told, stand in [`pool`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub mod pool;

pub use pool::{GpuSeen, PoolState, PoolView};

/// `state/http/{instance}.json`: what one process that calls backends saw.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ProcessState {
    /// [`crate::VERSION`].
    pub v: u32,
    /// When it was written, Unix ms.
    pub written_at: u64,
    /// By the backends' names.
    pub backends: BTreeMap<String, BackendState>,
    /// Money of the current hour, in millionths of a US dollar.
    pub spent_this_hour_micro_usd: u64,
    /// By the tenants' names.
    #[serde(default)]
    pub tenants: BTreeMap<String, TenantState>,
}

/// What one process let in of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct TenantState {
    /// The Unix day, in UTC, that the money is of.
    pub day: u64,
    /// What its requests count for the limit of that day, in millionths of a US dollar.
    pub spent_micro_usd: u64,
    /// Requests of the last minute.
    pub requests: u64,
    /// Tokens of the last minute.
    pub tokens: u64,
}

/// A backend as one process sees it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct BackendState {
    /// Requests under way.
    pub in_flight: u32,
    /// Requests sent since the process began.
    pub sent: u64,
    /// Of these, failed.
    pub failed: u64,
    /// How long answers took.
    pub latency_ms: Option<Quantiles>,
    /// When it last answered well, Unix ms.
    pub last_good_unix_ms: Option<u64>,
    /// When it last failed, Unix ms.
    pub last_failed_unix_ms: Option<u64>,
    /// Whether it may be tried.
    pub breaker_closed: bool,
    /// Replicas that this process believes to answer, and to start.
    pub replicas: (u32, u32),
    /// What answers took against what the catalogue says; older processes do not say.
    #[serde(default)]
    pub pace: PaceState,
}

/// What work took, and what it should have taken by the catalogue: sums that forget what is old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct PaceState {
    /// What it took, in microseconds.
    pub took_us: u64,
    /// What it should have taken, in microseconds.
    pub expected_us: u64,
    /// How many answers there were, in thousandths.
    pub answers_milli: u64,
    /// Up to when they were forgotten by time, Unix ms.
    pub at: u64,
}

/// Two quantiles.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Quantiles {
    /// Half are at most this.
    pub p50: u64,
    /// 19 of 20 are at most this.
    pub p95: u64,
}

/// Clocks this far apart are told: deadlines are set by a process's clock and judged by the store's.
pub const SKEW_MAX_MS: u64 = 5_000;

/// `state/view.json`: what all processes saw together.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct View {
    /// When it was merged, Unix ms.
    pub observed_at: u64,
    /// Grows with every merge, also where the view before was lost: Unix ms, or one more than before. Readers
    /// never step back.
    pub seq: u64,
    /// By the backends' names.
    #[serde(default)]
    pub backends: BTreeMap<String, BackendView>,
    /// By the pools' names.
    #[serde(default)]
    pub pools: BTreeMap<String, PoolView>,
    /// Money of the current hour, in millionths of a US dollar.
    #[serde(default)]
    pub spent_this_hour_micro_usd: u64,
    /// By the tenants' names.
    #[serde(default)]
    pub tenants: BTreeMap<String, TenantView>,
    /// Processes whose states were merged, and when each had written its own, Unix ms.
    #[serde(default)]
    pub processes: BTreeMap<String, u64>,
    /// What processes spent that are gone.
    #[serde(default)]
    pub gone: Gone,
    /// Processes whose clock is more than [`SKEW_MAX_MS`] behind the store's, or ahead of it: then negative.
    #[serde(default)]
    pub skew_ms: BTreeMap<String, i64>,
}

/// One tenant in the view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct TenantView {
    /// What requests count for the limit of the view's day, in millionths of a US dollar, of all processes of
    /// that day.
    #[serde(default)]
    pub spent_micro_usd: u64,
    /// What jobs count for it, by the facts: those that go on as estimated, those that ended by their bills.
    #[serde(default)]
    pub jobs_micro_usd: u64,
    /// Requests of a minute, of processes that live.
    #[serde(default)]
    pub requests: u64,
    /// Tokens of a minute, of processes that live.
    #[serde(default)]
    pub tokens: u64,
    /// Items of jobs that have not ended.
    #[serde(default)]
    pub queued_items: u64,
}

/// What processes spent that are gone: their money is still of the day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Gone {
    /// The Unix day, in UTC.
    pub day: u64,
    /// Which processes are in it, so that none is added twice.
    pub processes: BTreeSet<String>,
    /// By the tenants' names, in millionths of a US dollar.
    pub spent_micro_usd: BTreeMap<String, u64>,
}

/// One backend in the view.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct BackendView {
    /// Replicas that answer.
    #[serde(default)]
    pub ready_replicas: u32,
    /// Replicas that start.
    #[serde(default)]
    pub starting_replicas: u32,
    /// Requests of all processes.
    #[serde(default)]
    pub in_flight: u32,
    /// What answers of all processes took.
    #[serde(default)]
    pub pace: PaceState,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_older_processes_wrote_is_read() {
        let state = r#"{"in_flight": 1, "sent": 2, "failed": 0, "latency_ms": null, "last_good_unix_ms": null,
            "last_failed_unix_ms": null, "breaker_closed": true, "replicas": [1, 0]}"#;
        let state: BackendState = serde_json::from_str(state).unwrap();
        assert_eq!(state.pace, PaceState::default());
        let view: BackendView = serde_json::from_str(r#"{"ready_replicas": 1, "newer": true}"#).unwrap();
        assert_eq!(view.pace, PaceState::default());
    }
}
