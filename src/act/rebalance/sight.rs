//! One look at a pool: what Azure Batch says of it, folded into what was seen before.

use facts::fold::Found;
use facts::key;
use facts::ledger::Came;
use facts::view::pool::{FormulaView, KindView};
use facts::view::{GpuSeen, PoolState, PoolView};
use policy::rebalance::Plan;
use policy::units::{MicroUsd, Millis, UnixMs};

use super::formula::Judged;
use super::watch::{self, Looks};
use super::{formula, state};
use crate::act::fact;
use crate::act::jobs::{Jobs, Trouble};
use crate::azure::batch::pool::{Allocation, Counts, Nodes, PoolState as Life};
use crate::azure::batch::{self, NodeCounts};
use crate::catalogue::Pool;

/// What a task that is not over has left, on average.
const TASK_LEFT: Millis = Millis::from_secs(120);
/// A worker tells every 30 s; older words are of nodes that may be gone.
const GPU_FRESH: Millis = Millis::from_secs(120);
/// Jobs whose waiting work is added up.
const JOBS_MAX: usize = 500;

/// A pool as it is now.
#[derive(Clone, Debug)]
pub struct Sight {
    /// What everybody may know of it.
    pub view: PoolView,
    /// What was made of it last; none: nothing so far.
    pub state: Option<PoolState>,
    /// What the service says; none: there is no account, or no worker that would use the pool.
    pub pool: Option<batch::Pool>,
}

impl Sight {
    /// What was planned last: the formula in force says it, where it is ours, else what was written
    /// beside. Either outlives this process.
    pub fn previous(&self) -> Option<Plan> {
        let in_force = self.pool.as_ref().and_then(|pool| pool.formula.as_deref());
        let written = self.state.as_ref().map(|state| state.formula.as_str());
        in_force.and_then(formula::previous).or_else(|| written.and_then(formula::previous))
    }
}

/// Looks at a pool, which was seen as `before` says. Calls that Azure Batch is asked: the pool, the
/// counts of nodes, the list of our jobs and the counts of each, and the nodes where there are any.
///
/// # Errors
/// [`Trouble`]: then nothing new is known.
pub async fn look(jobs: &Jobs, pool: &Pool, before: &PoolView) -> Result<Sight, Trouble> {
    let (Some(batch), Some(_)) = (jobs.batch(), &pool.worker) else {
        return Ok(Sight { view: PoolView::default(), state: None, pool: None });
    };
    let name = &pool.facts.name;
    let now = jobs.now();
    let looks = Looks { last: before.seen_at, now: now.0 };
    let (seen, counts, tasks) = tokio::join!(batch.pool(name), batch.node_counts(name), jobs.tasks_of(name));
    let (seen, tasks) = (seen?, tasks?);
    // A pool that was made a moment ago is not counted yet.
    let counts = counts.unwrap_or_default();

    let (mut spot, mut dedicated) =
        (kind(&counts.low_priority, seen.low_priority), kind(&counts.dedicated, seen.dedicated));
    let any = counts.low_priority.total + counts.dedicated.total > 0;
    let nodes = match if any { batch.nodes(name).await.ok() } else { None } {
        Some((nodes, _)) => {
            (spot.came, dedicated.came) = watch::came(&nodes, now.0);
            watch::nodes(&before.nodes, &nodes, spot.usable, looks)
        }
        None => watch::idle(&before.nodes, spot.usable, looks),
    };
    let settled = seen.allocation_since.filter(|_| seen.allocation == Allocation::Steady);
    let targets = (seen.low_priority.target, seen.dedicated.target);
    let waiting = jobs.store().list(&key::ready_of(name)).await?;
    let backlog = backlog(jobs, &waiting).await;
    let state = state::read(jobs.store(), name).await?;
    let view = PoolView {
        seen_at: now.0,
        error: None,
        ready_nodes: spot.usable + dedicated.usable,
        tasks: tasks.all(),
        queued_tasks: tasks.queued,
        waiting_jobs: waiting.len() as u64,
        backlog_ms: backlog.ms + tasks.all() * TASK_LEFT.0,
        waiting_ms: backlog.ms,
        oldest_waiting_at: backlog.oldest_at,
        succeeded_tasks: tasks.over[0],
        failed_tasks: tasks.over[1],
        gpu_percent: gpu(jobs, name).await,
        spot,
        dedicated,
        resizing: seen.allocation != Allocation::Steady,
        nodes,
        size: watch::size(&before.size, targets, &seen.resize_errors, settled, looks),
        formula: formula_view(name, &seen, jobs.judged()),
        spend: watch::spend(before.spend, &paid(pool, &counts), looks),
        planned: state.as_ref().map(|state| state.planned.clone()),
    };
    log_changes(name, before, &view);
    let pool = Some(seen).filter(|seen| seen.state == Life::Active);
    Ok(Sight { view, state, pool })
}

/// Nodes of one kind, from their counts and the pool's own word.
fn kind(counts: &Counts, wanted: Nodes) -> KindView {
    KindView {
        target: wanted.target,
        usable: counts.idle + counts.running,
        busy: counts.running,
        starting: counts.creating
            + counts.starting
            + counts.waiting_for_start_task
            + counts.rebooting
            + counts.reimaging
            + counts.upgrading_os,
        preempted: counts.preempted,
        broken: counts.unusable + counts.start_task_failed,
        came: Came::default(),
    }
}

fn formula_view(pool: &str, seen: &batch::Pool, judged: &Judged) -> FormulaView {
    let run = seen.auto_scale_run.as_ref().filter(|_| seen.auto_scale);
    let error = run.and_then(|run| run.error.as_ref());
    let text = seen.formula.as_deref().filter(|_| seen.auto_scale);
    let foreign = text.filter(|text| formula::previous(text).is_none());
    let findings = |text| judged.findings(pool, (text, seen.task_slots_per_node), formula::findings);
    FormulaView {
        enabled: seen.auto_scale,
        ours: seen.formula.as_deref().is_some_and(|text| formula::previous(text).is_some()),
        findings: foreign.map(findings).unwrap_or_default(),
        interval_ms: seen.interval.map_or(0, |every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX)),
        evaluated_at: run.and_then(|run| run.at).map(|at| at.0),
        error: error.map(|error| format!("{}: {}", error.code, error.message)),
    }
}

/// Nodes that cost money, and what one of them costs for an hour: all that exist but the preempted.
fn paid(pool: &Pool, counts: &NodeCounts) -> [(u32, MicroUsd); 2] {
    let exist = |counts: &Counts| counts.total.saturating_sub(counts.preempted + counts.deallocated);
    [
        (exist(&counts.low_priority), pool.facts.price_per_node_hour),
        (exist(&counts.dedicated), pool.dedicated_node_hour()),
    ]
}

/// Jobs with shards that no task has.
#[derive(Default)]
struct Backlog {
    /// Their expected slot time.
    ms: u64,
    /// When the oldest of them was accepted.
    oldest_at: Option<u64>,
}

async fn backlog(jobs: &Jobs, waiting: &[Found]) -> Backlog {
    let mut backlog = Backlog::default();
    for (_, tenant, id) in waiting.iter().take(JOBS_MAX).filter_map(|found| key::read_ready(&found.key)) {
        // One that cannot be read hides no other.
        if let Ok(Some(job)) = jobs.job(tenant, &id).await {
            backlog.ms += job.shards.iter().map(|shard| shard.work_ms).sum::<u64>();
            let oldest = backlog.oldest_at.unwrap_or(u64::MAX);
            backlog.oldest_at = Some(oldest.min(job.created_ms));
        }
    }
    backlog
}

/// What a worker of the pool said last of its GPU; none: nothing lately.
async fn gpu(jobs: &Jobs, pool: &str) -> Option<u32> {
    let said = fact::read::<GpuSeen>(jobs.store(), &key::gpu(pool)).await.ok()??;
    (jobs.now().since(UnixMs(said.at_ms)) <= GPU_FRESH).then_some(said.percent)
}

/// Says once what somebody may want to know.
fn log_changes(pool: &str, before: &PoolView, now: &PoolView) {
    for error in now.size.fresh().filter(|error| !before.size.errors.contains(error)) {
        tracing::warn!(pool, code = error.code, what = error.message, "the pool stops short of its target");
    }
    let known = |eviction: &(u64, String)| before.nodes.evictions.contains(eviction);
    for (_, node) in now.nodes.evictions.iter().filter(|eviction| !known(eviction)) {
        tracing::info!(pool, node, "a spot node was taken away");
    }
    if now.nodes.unusable_boots > before.nodes.unusable_boots {
        tracing::warn!(pool, in_a_row = now.nodes.unusable_boots, "a node did not become usable");
    }
}
