//! Pools and the nodes in them.

use std::time::Duration;

use policy::units::UnixMs;
use reqwest::Method;
use serde::Deserialize;

use super::call::Call;
use super::client::{Client, checked, escaped};
use super::error::{CallError, ErrorBody, Problem};
use super::iso8601;

/// A pool as the scheduler sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Whether it takes work at all.
    pub state: PoolState,
    /// Whether it is changing its size.
    pub allocation: Allocation,
    /// Since when.
    pub allocation_since: Option<UnixMs>,
    /// Nodes that are not taken away.
    pub dedicated: Nodes,
    /// Spot nodes, the preempted ones included.
    pub low_priority: Nodes,
    /// Tasks of one slot that a node runs at a time.
    pub task_slots_per_node: u32,
    /// Whether tasks run in containers: then each must name its image, and otherwise none may.
    pub containers: bool,
    /// Why the last change of size came to less than was asked for.
    pub resize_errors: Vec<Problem>,
    /// Whether a formula sets its size.
    pub auto_scale: bool,
    /// That formula.
    pub formula: Option<String>,
    /// How often it is evaluated.
    pub interval: Option<Duration>,
    /// The formula's last run.
    pub auto_scale_run: Option<AutoScaleRun>,
}

/// How many nodes there are and shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nodes {
    /// Now.
    pub current: u32,
    /// Wanted.
    pub target: u32,
}

/// Whether a pool takes work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolState {
    /// It does.
    Active,
    /// It is going away.
    Deleting,
    /// Something newer than this client.
    #[serde(other)]
    Unknown,
}

/// Whether a pool is changing its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Allocation {
    /// No.
    Steady,
    /// Yes.
    Resizing,
    /// A change is being given up.
    Stopping,
    /// Something newer than this client.
    #[serde(other)]
    Unknown,
}

/// One evaluation of a pool's formula.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoScaleRun {
    /// When.
    pub at: Option<UnixMs>,
    /// The variables after it, as `$TargetDedicatedNodes=1;…`.
    pub results: String,
    /// Why it changed nothing.
    pub error: Option<Problem>,
}

/// Nodes by what they are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// Nodes that are not taken away.
    pub dedicated: Counts,
    /// Spot nodes.
    pub low_priority: Counts,
}

/// Nodes of one kind by what they are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the service's own names of node states")]
pub struct Counts {
    pub creating: u32,
    pub deallocated: u32,
    pub deallocating: u32,
    pub idle: u32,
    pub leaving_pool: u32,
    pub offline: u32,
    pub preempted: u32,
    pub rebooting: u32,
    pub reimaging: u32,
    pub running: u32,
    pub start_task_failed: u32,
    pub starting: u32,
    pub unknown: u32,
    pub unusable: u32,
    #[serde(rename = "upgradingOS")]
    pub upgrading_os: u32,
    pub waiting_for_start_task: u32,
    pub total: u32,
}

/// Why a pool is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The account has no pool of this id.
    #[error("azure batch has no such pool; check BATCH_POOL_ID or the catalogue")]
    NotFound,
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// What is asked of a pool: it also describes its machines, which can be long.
const SELECT: &str = "id,state,allocationState,allocationStateTransitionTime,currentDedicatedNodes,\
     targetDedicatedNodes,currentLowPriorityNodes,targetLowPriorityNodes,taskSlotsPerNode,\
     virtualMachineConfiguration,resizeErrors,enableAutoScale,autoScaleFormula,\
     autoScaleEvaluationInterval,autoScaleRun";

impl Client {
    /// Looks at a pool.
    ///
    /// # Errors
    /// When there is none, or the call failed.
    pub async fn pool(&self, pool: &str) -> Result<Pool, PoolError> {
        let url = self.url(&format!("/pools/{}", checked("pool", pool)?), &format!("&$select={SELECT}"));
        match self.send(Call::new("get pool", Method::GET, url, 200)).await {
            Ok(answer) => Ok(answer.decode::<PoolBody>()?.into()),
            Err(error) if error.is_one_of(&["PoolNotFound"]) => Err(PoolError::NotFound),
            Err(error) => Err(error.into()),
        }
    }

    /// Counts a pool's nodes.
    ///
    /// # Errors
    /// When the account does not count this pool, or the call failed.
    pub async fn node_counts(&self, pool: &str) -> Result<NodeCounts, PoolError> {
        let filter = format!("&$filter={}", escaped(&format!("poolId eq '{}'", checked("pool", pool)?)));
        let call = Call::new("count nodes", Method::GET, self.url("/nodecounts", &filter), 200);
        let counted: CountsPage = self.send(call).await?.decode()?;
        // Ids of pools are the same whatever their case.
        let ours = counted.value.into_iter().find(|counts| counts.pool_id.eq_ignore_ascii_case(pool));
        let ours = ours.ok_or(PoolError::NotFound)?;
        Ok(NodeCounts { dedicated: ours.dedicated, low_priority: ours.low_priority })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PoolBody {
    state: PoolState,
    allocation_state: Allocation,
    #[serde(default, deserialize_with = "iso8601::instant")]
    allocation_state_transition_time: Option<UnixMs>,
    #[serde(default)]
    current_dedicated_nodes: u32,
    #[serde(default)]
    target_dedicated_nodes: u32,
    #[serde(default)]
    current_low_priority_nodes: u32,
    #[serde(default)]
    target_low_priority_nodes: u32,
    task_slots_per_node: Option<u32>,
    virtual_machine_configuration: Option<MachineBody>,
    #[serde(default)]
    resize_errors: Vec<ErrorBody>,
    #[serde(default)]
    enable_auto_scale: bool,
    auto_scale_formula: Option<String>,
    #[serde(default, deserialize_with = "iso8601::span")]
    auto_scale_evaluation_interval: Option<Duration>,
    auto_scale_run: Option<RunBody>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MachineBody {
    container_configuration: Option<serde::de::IgnoredAny>,
}

/// A run of a formula as the service writes it.
#[derive(Deserialize)]
pub(super) struct RunBody {
    #[serde(default, deserialize_with = "iso8601::instant")]
    timestamp: Option<UnixMs>,
    #[serde(default)]
    results: String,
    error: Option<ErrorBody>,
}

#[derive(Deserialize)]
struct CountsPage {
    value: Vec<CountsBody>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CountsBody {
    pool_id: String,
    #[serde(default)]
    dedicated: Counts,
    #[serde(default)]
    low_priority: Counts,
}

impl From<RunBody> for AutoScaleRun {
    fn from(run: RunBody) -> AutoScaleRun {
        AutoScaleRun { at: run.timestamp, results: run.results, error: run.error.map(Problem::from) }
    }
}

impl From<PoolBody> for Pool {
    fn from(body: PoolBody) -> Pool {
        let machine = body.virtual_machine_configuration;
        Pool {
            state: body.state,
            allocation: body.allocation_state,
            allocation_since: body.allocation_state_transition_time,
            dedicated: Nodes { current: body.current_dedicated_nodes, target: body.target_dedicated_nodes },
            low_priority: Nodes {
                current: body.current_low_priority_nodes,
                target: body.target_low_priority_nodes,
            },
            task_slots_per_node: body.task_slots_per_node.unwrap_or(1),
            containers: machine.is_some_and(|machine| machine.container_configuration.is_some()),
            resize_errors: body.resize_errors.into_iter().map(Problem::from).collect(),
            auto_scale: body.enable_auto_scale,
            formula: body.auto_scale_formula,
            interval: body.auto_scale_evaluation_interval,
            auto_scale_run: body.auto_scale_run.map(AutoScaleRun::from),
        }
    }
}
