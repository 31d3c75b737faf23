//! Merges what processes saw of backends and what Azure Batch says of pools into the view that
//! decisions are made with.

mod tenants;

use facts::view::{PoolView, ProcessState, View};
use facts::{StoreError, key};
use policy::units::{Millis, UnixMs};

use super::jobs::look::World;
use super::jobs::{Jobs, Trouble};
use tenants::{Age, Read};

/// An older state is of a process that is gone.
const STATE_FRESH: Millis = Millis::from_secs(60);
/// A state this old is of a process that is gone: its money is kept and the state deleted.
const STATE_DEAD: Millis = Millis::from_secs(600);
/// What a task that is not over has left, on average.
const TASK_LEFT: Millis = Millis::from_secs(120);
/// Jobs whose waiting work is added up.
const JOBS_MAX: usize = 500;

/// Merges and writes the view.
///
/// # Errors
/// [`Trouble`]; the old view stays until it is too old to be believed.
pub async fn merge(jobs: &Jobs, world: World<'_>, now: UnixMs) -> Result<View, Trouble> {
    let store = jobs.store();
    let before: View = match store.get(key::VIEW).await {
        Ok(object) => serde_json::from_slice(&object.content).unwrap_or_default(),
        Err(StoreError::NotFound(_)) => View::default(),
        Err(error) => return Err(error.into()),
    };
    let mut view = View { observed_at: now.0, seq: before.seq + 1, ..View::default() };
    let read = states(jobs, &before, now).await?;
    tenants::merge(&mut view, &before, &read, now);
    // What waits is not known for a moment rather than wrong: what was seen last stays.
    let waiting = jobs.queued_items().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "what waits was not counted; the last count stays");
        before.tenants.iter().map(|(tenant, seen)| (tenant.clone(), seen.queued_items)).collect()
    });
    tenants::queued(&mut view.tenants, waiting);
    for state in read.into_iter().filter(|read| read.age == Age::Fresh).map(|read| read.state) {
        view.spent_this_hour_micro_usd += state.spent_this_hour_micro_usd;
        for (name, seen) in state.backends {
            let merged = view.backends.entry(name).or_default();
            merged.in_flight += seen.in_flight;
            merged.ready_replicas = merged.ready_replicas.max(seen.replicas.0);
            merged.starting_replicas = merged.starting_replicas.max(seen.replicas.1);
        }
    }
    for pool in &world.catalogue.pools {
        let name = &pool.facts.name;
        let seen = pool_view(jobs, world, name).await;
        // A pool that cannot be seen now is shown as it was seen last.
        let seen = seen.unwrap_or_else(|_| before.pools.get(name).copied().unwrap_or_default());
        view.pools.insert(name.clone(), seen);
    }
    let text = serde_json::to_string(&view).expect("a view is plain data, which always serializes");
    store.overwrite(key::VIEW, text).await?;
    Ok(view)
}

async fn states(jobs: &Jobs, before: &View, now: UnixMs) -> Result<Vec<Read>, Trouble> {
    let mut states = Vec::new();
    for found in jobs.store().list(key::PROCESS_STATES).await? {
        let Ok(object) = jobs.store().get(&found.key).await else { continue };
        let Ok(state) = serde_json::from_slice::<ProcessState>(&object.content) else { continue };
        let Some(process) = key::read_process_state(&found.key) else { continue };
        let age = match now.since(UnixMs(state.written_at)) {
            age if age <= STATE_FRESH => Age::Fresh,
            age if age <= STATE_DEAD => Age::Stale,
            _ => Age::Dead,
        };
        // Deleted only once a view that was written counts it among the gone.
        if age == Age::Dead && before.gone.processes.contains(process) {
            jobs.store().delete(&found.key).await?;
        }
        states.push(Read { process: process.to_owned(), state, age });
    }
    Ok(states)
}

async fn pool_view(jobs: &Jobs, world: World<'_>, name: &str) -> Result<PoolView, Trouble> {
    let Some(offer) = jobs.offer_of(world, name).await? else { return Ok(PoolView::default()) };
    let ready = jobs.store().list(&key::ready_of(name)).await?;
    let mut backlog = offer.tasks.saturating_mul(TASK_LEFT.0);
    for (_, tenant, id) in ready.iter().take(JOBS_MAX).filter_map(|found| key::read_ready(&found.key)) {
        // One that cannot be read hides no other.
        if let Ok(Some(job)) = jobs.job(tenant, &id).await {
            backlog += job.shards.iter().map(|shard| shard.work_ms).sum::<u64>();
        }
    }
    let per_node = world.catalogue.pools.iter().find(|pool| pool.facts.name == name);
    let per_node = per_node.map_or(1, |pool| u64::from(pool.facts.slots_per_node.max(1)));
    Ok(PoolView {
        ready_nodes: u32::try_from(offer.ready_slots / per_node).unwrap_or(u32::MAX),
        tasks: offer.tasks,
        waiting_jobs: ready.len() as u64,
        backlog_ms: backlog,
    })
}
