//! The work of open jobs, by pool and deadline. Every open job has a marker of its next look: one
//! listing finds them all, and each then costs a read of its `job.json` (once a process) and one
//! listing of its folder, however many shards it has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use facts::fold::Phase;
use facts::key::{self, JobKeys};
use facts::{Job, JobId, fold};
use futures_util::{StreamExt as _, stream};
use policy::rebalance::Demand;
use policy::units::{MicroUsd, Millis, UnixMs};

use crate::act::jobs::look::{World, serves};
use crate::act::jobs::{Jobs, Trouble};

/// Open jobs that are read. More than an account ever had; the rest is planned for as they end.
pub const JOBS_MAX: usize = 2_000;
/// Of these, the nearest deadlines are folded, this many; the others count as if nothing of them were
/// done, which makes no difference to the nodes that are wanted now.
pub const FOLDED_MAX: usize = 256;
/// Reads beside each other.
const AT_ONCE: usize = 16;

/// What open jobs ask of pools.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    by_pool: BTreeMap<String, Vec<Demand>>,
}

impl Demands {
    /// The work of one pool, the nearest deadline first.
    pub fn of(&self, pool: &str) -> &[Demand] {
        self.by_pool.get(pool).map_or(&[], Vec::as_slice)
    }
}

/// Adds up what is open. At most 1 + 2 × jobs calls of the store, and no more than 1 +
/// [`JOBS_MAX`] + [`FOLDED_MAX`].
///
/// # Errors
/// [`Trouble`] when something could not be read now: a part of the work is no ground to plan on. A
/// job that this version cannot read at all is left out, and said.
pub async fn demands(jobs: &Jobs, world: World<'_>) -> Result<Demands, Trouble> {
    let open = open_jobs(jobs).await?;
    let folds: Vec<_> = open.iter().take(FOLDED_MAX).map(|job| left(jobs, world, job)).collect();
    let folded: Vec<Result<Option<Demand>, Trouble>> = stream::iter(folds).buffered(AT_ONCE).collect().await;
    let mut demands = Demands::default();
    let whole = open.iter().skip(FOLDED_MAX).map(|job| Ok(Some(untouched(world, job))));
    for (job, demand) in open.iter().zip(folded.into_iter().chain(whole)) {
        if let Some(demand) = demand? {
            // Its own pool keeps it in mind, or it would never get a node to come back to.
            let elsewhere = jobs.taken_by(world, job, false);
            if elsewhere != job.pool {
                demands.by_pool.entry(elsewhere.to_owned()).or_default().push(demand);
            }
            demands.by_pool.entry(job.pool.clone()).or_default().push(demand);
        }
    }
    Ok(demands)
}

/// Open jobs, the nearest deadline first; those with one deadline in the order of their ids.
async fn open_jobs(jobs: &Jobs) -> Result<Vec<Arc<Job>>, Trouble> {
    let mut owners: BTreeSet<(String, JobId)> = BTreeSet::new();
    for found in jobs.store().list(key::DUE).await? {
        if let Some((_, tenant, id)) = key::read_due(&found.key) {
            owners.insert((tenant.to_owned(), id));
        }
    }
    if owners.len() > JOBS_MAX {
        tracing::warn!(open = owners.len(), planned = JOBS_MAX, "more jobs are open than are planned for");
    }
    let reads: Vec<_> = owners.iter().take(JOBS_MAX).map(|(tenant, id)| jobs.job(tenant, id)).collect();
    let read: Vec<Result<Option<Arc<Job>>, Trouble>> = stream::iter(reads).buffered(AT_ONCE).collect().await;
    let mut open = Vec::with_capacity(read.len());
    for job in read {
        match job {
            // A marker comes before its job, and may outlive it.
            Ok(job) => open.extend(job),
            Err(error @ Trouble::Unreadable { .. }) => {
                tracing::error!(%error, "no nodes are planned for a job that cannot be read");
            }
            Err(error) => return Err(error),
        }
    }
    open.sort_by(|a, b| (a.deadline_ms, &a.job).cmp(&(b.deadline_ms, &b.job)));
    Ok(open)
}

/// What is left of a job for its pool; none: nothing, or not there.
async fn left(jobs: &Jobs, world: World<'_>, job: &Job) -> Result<Option<Demand>, Trouble> {
    let keys = JobKeys::new(&job.tenant, &job.job);
    let listing = jobs.store().list(keys.folder()).await?;
    let state = fold(job, &listing);
    let promoted = listing.iter().any(|found| found.key == keys.promote());
    if !matches!(state.phase(), Phase::Waiting | Phase::Running) || (promoted && serves(world, job)) {
        return Ok(None);
    }
    let open = state.shards.iter().filter(|shard| !shard.is_done()).count();
    Ok(Some(demand(world, job, state.work_left_ms(job), open)))
}

fn untouched(world: World<'_>, job: &Job) -> Demand {
    demand(world, job, all(job), job.shards.len())
}

fn demand(world: World<'_>, job: &Job, left: u64, shards: usize) -> Demand {
    let realtime = job.estimate.realtime_cost_micro_usd.filter(|_| serves(world, job));
    Demand {
        deadline: UnixMs(job.deadline_ms),
        work: Millis(left),
        parallel: u32::try_from(shards).unwrap_or(u32::MAX),
        realtime_cost: realtime.map(|whole| MicroUsd(whole).scaled(left, all(job).max(1))),
    }
}

fn all(job: &Job) -> u64 {
    job.shards.iter().map(|shard| shard.work_ms).sum()
}
