//! What a job's tries came to, by where it was and what became of it: time of their tasks at the pool's
//! price, and the estimate for what ran in the realtime lane.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use facts::Job;
use facts::job::{Place, Spent as Part, Try};
use facts::key::JobKeys;
use facts::ledger::{Lane, Price, What};
use futures_util::{StreamExt as _, stream};
use policy::cost::{self, After, Split, Tried};
use policy::units::{MicroUsd, Millis};

use super::Jobs;
use super::survey::Survey;
use crate::act::ledger::prices;
use crate::azure::batch::task::TaskState;
use crate::catalogue::{Backend, Catalogue};

/// Facts that are read beside each other.
const AT_ONCE: usize = 8;

/// What a summary needs besides the chunks.
#[derive(Clone, Debug, Default)]
pub struct Spent {
    /// By place and by what became of it.
    pub parts: Vec<Part>,
    /// Slot time of all tries.
    pub compute_ms: u64,
    /// When the first try was claimed; none: there was none.
    pub began_ms: Option<u64>,
}

/// A try of a shard, and how long it took on one slot.
struct Ran {
    shard: usize,
    at_ms: u64,
    place: At,
    took: Millis,
    /// Whether its task said so; else it is as was expected.
    is_measured: bool,
    /// Whether it was begun although the one before might go on.
    overtakes: bool,
}

enum At {
    Pool(String),
    Realtime,
}

impl Jobs {
    /// What a job's tries came to; `unfinished` are the lines of each shard that nobody computed. A task that is
    /// not known any more counts as expected.
    pub(super) async fn spent(&self, survey: &Survey, catalogue: &Catalogue, unfinished: &[u64]) -> Spent {
        let mut ran = self.ran(survey).await;
        cut(&survey.job, &mut ran, unfinished);
        parts(&survey.job, catalogue, &ran)
    }

    /// All tries, shard by shard and in their order.
    async fn ran(&self, survey: &Survey) -> Vec<Ran> {
        let (job, state) = (&survey.job, &survey.state);
        let keys = JobKeys::new(&job.tenant, &job.job);
        let mut tasks: HashMap<String, Task> = HashMap::new();
        let tries = (0..).zip(&state.shards).flat_map(|(n, seen)| (1..=seen.tries).map(move |k| (n, k)));
        let reads: Vec<_> = tries
            .map(|(n, k)| {
                let key = keys.try_(n, k);
                async move { (n as usize, self.fact::<Try>(&key).await) }
            })
            .collect();
        let mut reads = stream::iter(reads).buffered(AT_ONCE);
        let mut ran = Vec::new();
        while let Some((shard, tried)) = reads.next().await {
            let Ok(Some(tried)) = tried else { continue };
            let overtakes = matches!(tried.why.as_str(), "rescue" | "promoted");
            let expected = job.shards[shard].work_ms;
            ran.push(match tried.place {
                Place::Realtime { work_ms, .. } => Ran {
                    shard,
                    at_ms: tried.at_ms,
                    place: At::Realtime,
                    took: Millis(work_ms),
                    is_measured: false,
                    overtakes,
                },
                Place::Deferred { pack } => {
                    if !tasks.contains_key(&pack) {
                        let task = self.task_ran(&pack, &job.pool).await;
                        tasks.insert(pack.clone(), task);
                    }
                    let Task { pool, ran } = &tasks[&pack];
                    let took = ran.map_or(expected, |(ran, work)| ran * expected / work.max(1));
                    let place = At::Pool(pool.clone());
                    Ran {
                        shard,
                        at_ms: tried.at_ms,
                        place,
                        took: Millis(took),
                        is_measured: ran.is_some(),
                        overtakes,
                    }
                }
            });
        }
        ran
    }

    /// How long a pack's task ran.
    async fn task_ran(&self, pack: &str, pool: &str) -> Task {
        let unknown = || Task { pool: pool.to_owned(), ran: None };
        let Ok(Some((pack, task))) = self.task_of(pack).await else { return unknown() };
        let ran = match (task.state, task.started) {
            // It waited in vain.
            (TaskState::Active, None) => Some(0),
            // One that was sent back to the queue shows when it began there, not how long it ran.
            (TaskState::Active, Some(_)) | (_, None) => None,
            (_, Some(started)) => Some(task.ended.unwrap_or_else(|| self.now()).since(started).0),
        };
        Task { pool: pack.pool.clone(), ran: ran.map(|ran| (ran, pack.work_ms)) }
    }
}

/// A pack's task: its pool, and how long it ran (none: nobody knows) for how much expected work.
struct Task {
    pool: String,
    ran: Option<(u64, u64)>,
}

/// A job that was stopped did not do all that was expected of the last try of each shard: where nobody
/// measured it, it counts as far as its lines were computed.
fn cut(job: &Job, ran: &mut [Ran], unfinished: &[u64]) {
    for tries in ran.chunk_by_mut(|one, next| one.shard == next.shard) {
        let Some(last) = tries.last_mut().filter(|last| !last.is_measured) else { continue };
        let shard = &job.shards[last.shard];
        // What it was to do when it began.
        let lines = (u64::from(shard.lines) * last.took.0).div_ceil(shard.work_ms.max(1)).max(1);
        last.took = last.took.scaled(lines.saturating_sub(unfinished[last.shard]), lines);
    }
}

/// Tries as rows of a bill: pure.
fn parts(job: &Job, catalogue: &Catalogue, ran: &[Ran]) -> Spent {
    let realtime = catalogue.backends.iter().find(|backend| backend.models.contains(&job.model));
    let mut rows: BTreeMap<(Lane, String, What, Price), u64> = BTreeMap::new();
    for (tries, splits) in split(job, ran) {
        for (tried, split) in tries.iter().zip(splits) {
            let whats = [
                (What::Useful, split.useful),
                (What::Evicted, split.evicted),
                (What::Duplicate, split.duplicate),
            ];
            for (what, time) in whats.into_iter().filter(|(_, time)| time.0 > 0) {
                let (lane, place, mut price, us) = match &tried.place {
                    At::Pool(pool) => pool_time(catalogue, pool, time),
                    At::Realtime => realtime_time(job, realtime, time),
                };
                price.assumed |= !tried.is_measured;
                *rows.entry((lane, place, what, price)).or_default() += us;
            }
        }
    }
    let part = |((lane, place, what, price), us): ((Lane, String, What, Price), u64)| Part {
        micro_usd: cost::of_time(us, MicroUsd(price.micro_usd_per_hour)).0,
        lane,
        place,
        what,
        us,
        price,
    };
    let compute_ms = ran.iter().map(|tried| tried.took.0).sum();
    let began_ms = ran.iter().map(|tried| tried.at_ms).min();
    Spent { parts: rows.into_iter().map(part).collect(), compute_ms, began_ms }
}

/// The tries of each shard, and what became of their time. How long a shard takes by itself is told by
/// those that were tried once.
fn split<'a>(job: &Job, ran: &'a [Ran]) -> Vec<(&'a [Ran], Vec<Split>)> {
    let shards = || ran.chunk_by(|one, next| one.shard == next.shard);
    let once = shards().filter(|tries| tries.len() == 1 && tries[0].is_measured);
    let (took, expected) = once.fold((0, 0), |(took, expected), tries| {
        (took + tries[0].took.0, expected + job.shards[tries[0].shard].work_ms)
    });
    shards()
        .map(|tries| {
            let own = Millis(job.shards[tries[0].shard].work_ms);
            let own = if expected > 0 { own.scaled(took, expected) } else { own };
            let after = |at: usize| match tries.get(at + 1) {
                None => After::Nothing,
                Some(next) if next.overtakes => After::Overtaken,
                Some(_) => After::Died,
            };
            let tried: Vec<Tried> = tries
                .iter()
                .enumerate()
                .map(|(at, one)| Tried { took: one.took, after: after(at) })
                .collect();
            (tries, cost::split(own, &tried))
        })
        .collect()
}

/// Slot time in a pool, as time of a node at its price.
fn pool_time(catalogue: &Catalogue, pool: &str, time: Millis) -> (Lane, String, Price, u64) {
    let found = catalogue.pool(pool);
    let slots = found.map_or(1, |pool| u64::from(pool.facts.slots_per_node.max(1)));
    let price = found.map_or_else(prices::unknown, |pool| prices::of_work(pool));
    (Lane::Deferred, pool.to_owned(), price, time.0.saturating_mul(1_000) / slots)
}

/// Slot time of the job's pool that was done in the realtime lane: as much of a replica as the job's
/// estimate there has for it.
fn realtime_time(job: &Job, backend: Option<&Arc<Backend>>, time: Millis) -> (Lane, String, Price, u64) {
    let all: u64 = job.shards.iter().map(|shard| shard.work_ms).sum();
    let whole = MicroUsd(job.estimate.realtime_cost_micro_usd.unwrap_or(0));
    let cost = whole.scaled(time.0, all.max(1));
    let price = backend.map_or_else(prices::unknown, |backend| prices::of_replica(backend));
    let place = backend.map_or_else(|| "unknown".to_owned(), |backend| backend.name.clone());
    let us = cost::time_for(cost, MicroUsd(price.micro_usd_per_hour));
    (Lane::Realtime, place, price, us)
}

#[cfg(test)]
mod tests;
