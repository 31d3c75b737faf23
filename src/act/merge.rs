//! Merges what processes saw of backends and what Azure Batch says of pools into the view that
//! decisions are made with.

mod tenants;

use std::collections::BTreeMap;

use facts::view::{PoolView, ProcessState, SKEW_MAX_MS, View};
use facts::{StoreError, key};
use policy::admit;
use policy::units::{MicroUsd, Millis, UnixMs};

use super::jobs::look::World;
use super::jobs::{Jobs, Trouble};
use super::ledger::sums;
use super::ledger::today::Today;
use super::rebalance::sight;
use crate::catalogue::Pool;
use crate::metrics::pace;
use tenants::{Age, Read};

/// An older state is of a process that is gone.
const STATE_FRESH: Millis = Millis::from_secs(60);
/// A state this old is of a process that is gone: its money is kept and the state deleted.
const STATE_DEAD: Millis = Millis::from_secs(600);

/// Merges and writes the view.
///
/// # Errors
/// [`Trouble`]; the old view stays until it is too old to be believed.
pub async fn merge(jobs: &Jobs, today: &Today, world: World<'_>, now: UnixMs) -> Result<View, Trouble> {
    let store = jobs.store();
    let before: View = match store.get(key::VIEW).await {
        Ok(object) => serde_json::from_slice(&object.content).unwrap_or_default(),
        Err(StoreError::NotFound(_)) => View::default(),
        Err(error) => return Err(error.into()),
    };
    // By the time, so that it grows even where the view before was lost: readers never step back.
    let seq = now.0.max(before.seq + 1);
    let mut view = View { observed_at: now.0, seq, ..View::default() };
    let read = states(jobs, &before, now).await?;
    view.skew_ms = skewed(&read);
    tenants::merge(&mut view, &before, &read, now);
    let this_hour = of_jobs(jobs, today, &mut view, &before, now).await;
    for state in read.into_iter().filter(|read| read.age == Age::Fresh).map(|read| read.state) {
        if sums::hour_of(UnixMs(state.written_at)) == sums::hour_of(now) {
            view.spent_this_hour_micro_usd += state.spent_this_hour_micro_usd;
        }
        for (name, seen) in state.backends {
            let merged = view.backends.entry(name).or_default();
            merged.in_flight += seen.in_flight;
            merged.ready_replicas = merged.ready_replicas.max(seen.replicas.0);
            merged.starting_replicas = merged.starting_replicas.max(seen.replicas.1);
            merged.pace = pace::shared(pace::read(merged.pace).and(pace::read(seen.pace)));
        }
    }
    for pool in &world.catalogue.pools {
        let seen = pool_view(jobs, pool, &before).await;
        view.spent_this_hour_micro_usd += seen.spend.of_hour(now.0);
        view.pools.insert(pool.facts.name.clone(), seen);
    }
    // The ledger has boots and idle time of replicas too, and what processes spent that are gone; those that
    // live know a minute more.
    view.spent_this_hour_micro_usd = view.spent_this_hour_micro_usd.max(this_hour.0);
    let text = serde_json::to_string(&view).expect("a view is plain data, which always serializes");
    store.overwrite(key::VIEW, text).await?;
    Ok(view)
}

/// Fills in what waits and what jobs cost their tenants; says what this hour has cost by the ledger. What is not
/// known for a moment is as it was seen last.
async fn of_jobs(jobs: &Jobs, today: &Today, view: &mut View, before: &View, now: UnixMs) -> MicroUsd {
    // What waits first: a job's bill is in the ledger before its markers go.
    let waiting = jobs.waiting(admit::day(now)).await;
    match waiting {
        Ok(waiting) => {
            tenants::queued(&mut view.tenants, &waiting);
            match today.look(jobs.store(), now).await {
                Ok(told) => {
                    tenants::money_of_jobs(view, before, &waiting, &told);
                    return told.this_hour;
                }
                Err(error) => tracing::warn!(%error, "the ledger was not read; what jobs cost stays"),
            }
        }
        Err(error) => {
            tracing::warn!(%error, "what waits was not counted; the last count stays");
            tenants::queued_before(view, before);
        }
    }
    tenants::money_of_jobs_before(view, before);
    MicroUsd(0)
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
        let stored_at = jobs.at_store_time(object.modified_ms).0;
        states.push(Read { process: process.to_owned(), state, age, stored_at });
    }
    Ok(states)
}

/// Processes that live and whose clock is not the store's. Who lives is told by the store's clock alone: a
/// process whose clock is wrong seems dead by its own. A slow write looks like a clock that is behind, as long
/// as the write took.
fn skewed(read: &[Read]) -> BTreeMap<String, i64> {
    let newest = read.iter().map(|read| read.stored_at).max().unwrap_or(0);
    let fresh = read.iter().filter(|read| newest - read.stored_at <= STATE_FRESH.0);
    let skew = |read: &Read| read.stored_at.checked_signed_diff(read.state.written_at).unwrap_or(i64::MAX);
    fresh
        .map(|read| (read.process.clone(), skew(read)))
        .filter(|(_, skew)| skew.unsigned_abs() > SKEW_MAX_MS)
        .collect()
}

/// A pool as it is now; one that cannot be seen now is shown as it was seen last, with the cause.
async fn pool_view(jobs: &Jobs, pool: &Pool, before: &View) -> PoolView {
    let before = before.pools.get(&pool.facts.name).cloned().unwrap_or_default();
    match sight::look(jobs, pool, &before).await {
        Ok(seen) => seen.view,
        Err(error) => PoolView { error: Some(error.to_string()), ..before },
    }
}

#[cfg(test)]
mod tests {
    use clock::Clock;
    use facts::Store;
    use policy::Knobs;

    use super::*;
    use crate::catalogue;
    use crate::observe::Views;

    /// Numbers used to begin at 1 again: whoever had seen a greater one took no view any more, for weeks.
    #[tokio::test]
    async fn a_view_that_is_lost_is_followed_by_one_that_is_taken() {
        let store = Store::memory();
        let jobs = Jobs::new(store.clone(), Clock::REAL, None, None, String::new());
        let catalogue = catalogue::parse(br#"{"v":1}"#, &catalogue::tests::context()).unwrap();
        let world = World { catalogue: &catalogue, knobs: &Knobs::default() };
        let views = Views::default();
        let mut seen = 0;
        for (n, lost) in (0..).zip([None, None, Some(""), Some("not a view")]) {
            if let Some(text) = lost {
                store.delete(key::VIEW).await.unwrap();
                if !text.is_empty() {
                    store.overwrite(key::VIEW, text).await.unwrap();
                }
            }
            merge(&jobs, &Today::default(), world, jobs.now() + Millis(n * 30_000)).await.unwrap();
            views.refresh(&store).await;
            let newest = views.newest().seq;
            assert!(newest > seen, "{lost:?}: {newest} after {seen}");
            seen = newest;
        }
    }

    #[test]
    fn clocks_that_are_apart_are_told_and_dead_ones_are_not() {
        let read = |process: &str, written_at, stored_at| Read {
            process: process.to_owned(),
            state: ProcessState { written_at, ..ProcessState::default() },
            age: Age::Dead,
            stored_at,
        };
        let read = [
            read("right", 1_000_000, 1_000_400),
            read("within", 1_000_000, 1_005_000),
            read("behind", 100_000, 1_007_000),
            read("ahead", 1_010_000, 1_000_000),
            read("gone", 100_000, 900_000),
        ];
        let told = skewed(&read);
        assert_eq!(told, BTreeMap::from([("ahead".to_owned(), -10_000), ("behind".to_owned(), 907_000)]));
    }
}
