//! A pool in the view: what Azure Batch says of it, what was measured of its nodes, and what was
//! planned. An older version that reads it ignores what it does not know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Quantiles;
use crate::ledger::Came;

/// One pool in the view. Times are Unix ms.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default)]
pub struct PoolView {
    /// When Azure Batch answered last; 0: never.
    pub seen_at: u64,
    /// Why it did not answer the last time that it was asked; none: it did.
    pub error: Option<String>,
    /// Nodes that run or could run tasks.
    pub ready_nodes: u32,
    /// Tasks that are added and not over.
    pub tasks: u64,
    /// Of these, waiting for a slot.
    pub queued_tasks: u64,
    /// Jobs with shards that no task has.
    pub waiting_jobs: u64,
    /// Work that is accepted and not done, as time on one slot.
    pub backlog_ms: u64,
    /// Of it, that of jobs with shards that no task has.
    pub waiting_ms: u64,
    /// When the oldest of these jobs was accepted; none: none waits.
    pub oldest_waiting_at: Option<u64>,
    /// Tasks that are over and listed still, with exit code 0.
    pub succeeded_tasks: u64,
    /// The same, otherwise.
    pub failed_tasks: u64,
    /// How much the GPU of some node was used of late; none: there is none, or nobody tells.
    pub gpu_percent: Option<u32>,
    /// Spot nodes.
    pub spot: KindView,
    /// Nodes that are not taken away.
    pub dedicated: KindView,
    /// Whether the pool is changing its size.
    pub resizing: bool,
    /// What was seen of its nodes one by one.
    pub nodes: NodesView,
    /// What stopped its changes of size.
    pub size: SizeView,
    /// The formula that it has.
    pub formula: FormulaView,
    /// Node time of the current hour.
    pub spend: SpendView,
    /// What the rebalancer made of it; none: it has not run.
    pub planned: Option<Planned>,
}

/// `state/gpu/{pool}.json`: what a worker of the pool saw last of its GPU. Whoever writes last is seen: a
/// sample, and nothing is decided by it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct GpuSeen {
    /// When, Unix ms by the worker's clock.
    pub at_ms: u64,
    /// How much of the last moments it worked.
    pub percent: u32,
}

/// Nodes of one kind by what they are doing.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct KindView {
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
    /// Of those that are usable, on their way or broken, how many came when.
    pub came: Came,
}

/// Evictions seen in the last hour are kept up to this many, the newest.
pub const EVICTIONS_MAX: usize = 256;
/// Boots are measured over this many, the newest.
pub const BOOTS_MAX: usize = 32;
/// Nodes that are watched on their way, at most.
pub const STARTING_MAX: usize = 256;

/// What was seen of a pool's nodes one by one.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct NodesView {
    /// Nodes on their way, by id: since when. At most [`STARTING_MAX`].
    pub starting: BTreeMap<String, u64>,
    /// Nodes that were taken away within the last hour, and when, in the order of time. At most
    /// [`EVICTIONS_MAX`].
    pub evictions: Vec<(u64, String)>,
    /// How long the last boots took, in ms, the oldest first. At most [`BOOTS_MAX`].
    pub boots_ms: Vec<u64>,
    /// Boots in a row that ended unusable, since the last good one.
    pub unusable_boots: u32,
    /// When a boot last ended so.
    pub last_unusable: Option<u64>,
    /// Time of spot nodes over the last hour, in node-milliseconds, decaying: what evictions are
    /// measured against.
    pub spot_node_ms: u64,
}

/// What stopped a pool's changes of size.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct SizeView {
    /// Spot and dedicated nodes that were wanted last.
    pub targets: (u32, u32),
    /// Since when, at the earliest.
    pub since: u64,
    /// Grows with every new target: an error belongs to the generation that it was seen in.
    pub generation: u64,
    /// Errors that the pool shows now. At most [`ERRORS_MAX`].
    pub errors: Vec<SizeError>,
}

/// Errors of a change of size that are kept; the service shows one for each kind of node.
pub const ERRORS_MAX: usize = 8;

/// Why a pool stopped short of its target.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct SizeError {
    /// As `AllocationFailed`.
    pub code: String,
    /// The service's words.
    pub message: String,
    /// When it was first seen in its generation.
    pub since: u64,
    /// The generation of the target that it stopped.
    pub generation: u64,
}

/// What is known of the formula that sets a pool's size.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct FormulaView {
    /// Whether one does.
    pub enabled: bool,
    /// Whether it is one of ours.
    pub ours: bool,
    /// How often it is to be evaluated, in ms.
    pub interval_ms: u64,
    /// When it was evaluated last.
    pub evaluated_at: Option<u64>,
    /// Why its last evaluation changed nothing.
    pub error: Option<String>,
    /// What is unwise in one that is not ours, the worst first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
}

/// What a pool's nodes cost in the current hour.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct SpendView {
    /// The Unix hour.
    pub hour: u64,
    /// Millionths of a US dollar.
    pub micro_usd: u64,
}

impl SpendView {
    /// What was spent in the hour of this instant.
    pub fn of_hour(&self, now_ms: u64) -> u64 {
        if self.hour == now_ms / 3_600_000 { self.micro_usd } else { 0 }
    }
}

/// `state/pools/{pool}.json`: what the rebalancer made of a pool.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default)]
pub struct PoolState {
    /// [`crate::VERSION`].
    pub v: u32,
    /// What the view carries.
    pub planned: Planned,
    /// The formula that was rendered from the newest plan, which its header holds; empty: none was.
    pub formula: String,
}

/// What the rebalancer made of a pool.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default)]
pub struct Planned {
    /// When.
    pub at: u64,
    /// `observe`, `recommend` or `act`.
    pub mode: String,
    /// The newest plan; none: there was none so far.
    pub plan: Option<PlanView>,
    /// Why, the first settled it.
    pub reasons: Vec<Why>,
    /// What became of it, in a few words: `enabled`, `unchanged`, …
    pub outcome: String,
    /// What went wrong; none: nothing.
    pub error: Option<String>,
    /// When a formula was last enabled by us.
    pub enabled_at: Option<u64>,
    /// From a plan to the first task on a node that it buys, in ms.
    pub lead_ms: Quantiles,
    /// Open jobs that the plan looked at.
    pub jobs: u64,
}

/// A plan in numbers of nodes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct PlanView {
    /// When it was made.
    pub at: u64,
    /// Spot nodes wanted.
    pub spot: u32,
    /// Dedicated nodes wanted.
    pub dedicated: u32,
    /// Nodes of both kinds at most.
    pub max_nodes: u32,
}

/// A reason as others show it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default)]
pub struct Why {
    /// From the closed list of reasons.
    pub code: String,
    /// Since when.
    pub since: Option<u64>,
    /// Numbers that were looked at, by name, with their units.
    pub evidence: BTreeMap<String, String>,
    /// What happens by itself.
    pub next: Option<String>,
    /// When it does.
    pub next_at: Option<u64>,
    /// What one can do.
    pub remedy: Option<String>,
}

impl PoolView {
    /// Of its usable nodes, how many run something, in percent; none: there are none.
    pub fn utilization_percent(&self) -> Option<u64> {
        let busy = u64::from(self.spot.busy) + u64::from(self.dedicated.busy);
        (busy * 100).checked_div(u64::from(self.spot.usable) + u64::from(self.dedicated.usable))
    }
}

impl NodesView {
    /// Boots must have been measured this often before they are believed.
    pub const BOOTS_MIN: usize = 3;

    /// How long boots take; none: too few were seen.
    pub fn boots(&self) -> Option<Quantiles> {
        if self.boots_ms.len() < Self::BOOTS_MIN {
            return None;
        }
        let mut sorted = self.boots_ms.clone();
        sorted.sort_unstable();
        let at = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100) - 1];
        Some(Quantiles { p50: at(50), p95: at(95) })
    }

    /// Evictions of a spot node an hour, in thousandths; none: spot nodes were not seen for long
    /// enough (one node for half an hour) to say so.
    pub fn evictions_per_node_hour_milli(&self) -> Option<u64> {
        const HOUR_MS: u64 = 3_600_000;
        if self.spot_node_ms < HOUR_MS / 2 {
            return None;
        }
        Some(self.evictions.len() as u64 * 1_000 * HOUR_MS / self.spot_node_ms)
    }
}

impl SizeView {
    /// Errors that belong to the present target; the others are stale.
    pub fn fresh(&self) -> impl Iterator<Item = &SizeError> {
        self.errors.iter().filter(|error| error.generation == self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_of_an_older_version_is_read() {
        let old = r#"{"ready_nodes":2,"tasks":3,"waiting_jobs":1,"backlog_ms":5}"#;
        let read: PoolView = serde_json::from_str(old).unwrap();
        assert_eq!((read.ready_nodes, read.tasks, read.seen_at, read.planned), (2, 3, 0, None));
        let newer = r#"{"ready_nodes":2,"something_new":{"x":1}}"#;
        assert_eq!(serde_json::from_str::<PoolView>(newer).unwrap().ready_nodes, 2);
    }

    #[test]
    fn boots_are_told_once_enough_were_seen() {
        let of = |boots_ms: &[u64]| NodesView { boots_ms: boots_ms.to_vec(), ..NodesView::default() }.boots();
        assert_eq!(of(&[9, 9]), None);
        assert_eq!(of(&[30, 10, 20]), Some(Quantiles { p50: 20, p95: 30 }));
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(of(&hundred), Some(Quantiles { p50: 50, p95: 95 }));
    }

    #[test]
    fn evictions_are_a_rate_once_nodes_were_seen_for_a_while() {
        let of = |evictions: usize, spot_node_ms: u64| {
            let evictions = vec![(1, "n".to_owned()); evictions];
            NodesView { evictions, spot_node_ms, ..NodesView::default() }.evictions_per_node_hour_milli()
        };
        assert_eq!(of(3, 1_000_000), None);
        assert_eq!(of(0, 3_600_000), Some(0));
        assert_eq!(of(3, 7_200_000), Some(1_500));
    }
}
