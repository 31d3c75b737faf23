//! Whose shards go to a pool now. Tenants take turns by their weights: first over ready markers, so that
//! one tenant's flood of jobs hides nobody's before any is read, then over the shards of the jobs that
//! were read. Within a tenant what must leave is first, then the more pressing class, then the nearer
//! deadline.

use std::collections::{BTreeMap, BTreeSet};

use facts::JobId;
use facts::key;
use policy::dispatch::{self, Class, Waiting};
use policy::fair::{Queue, Shares};
use policy::shards::SHARD_WORK;
use policy::units::UnixMs;
use tracing::Instrument as _;

use super::accept::ready_marker;
use super::look::{World, is_for_pool};
use super::pack::{Ready, runs};
use super::survey::{Pass, Survey};
use super::{Jobs, Trouble, trace};
use crate::catalogue::{Catalogue, Pool};
use facts::key::JobKeys;

/// Jobs that one pass reads for a pool.
const JOBS_MAX: usize = 64;
/// Jobs that a ring for one of them reads: thousands ring at once, and the sweep comes anyway.
const JOBS_RUNG_MAX: usize = 8;

/// Jobs that a pass fails to read before it reads no more: a store that is down takes its time for each.
const UNREAD_MAX: usize = 3;

/// A job with a ready marker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    deadline_minute: u64,
    job: JobId,
    marker: String,
}

impl Jobs {
    /// Sends waiting shards to a pool while it has room, in the order of their tenants' turns. With `only`,
    /// only if it is that job's turn, or nearly. Says how many tasks were added.
    ///
    /// # Errors
    /// [`Trouble`]; what was claimed is finished by the next look.
    pub async fn dispatch(
        &self,
        world: World<'_>,
        pool: &Pool,
        only: Option<(&str, &JobId)>,
        pass: &Pass,
    ) -> Result<usize, Trouble> {
        let Some(offer) = self.offer(world, pool).await? else { return Ok(0) };
        if offer.room() == 0 {
            return Ok(0);
        }
        let owners = self.ready_owners(pool).await?;
        let shares = self.turn(pool, owners.keys());
        let mut chosen = choose(&shares, world.catalogue, &owners);
        if let Some((tenant, job)) = only {
            chosen.truncate(JOBS_RUNG_MAX);
            if !chosen.iter().any(|(of, owner)| *of == tenant && owner.job == *job) {
                return Ok(0);
            }
        }
        let surveys = self.ready_jobs(&chosen, &offer, pass).await?;
        let waiting = by_tenant(world, pool, &surveys);
        let shards = in_turn(world, &shares, waiting, &offer, self.now());
        let packs = packed(world, pool, &shards, &offer, self.now());
        let added = self.send(pool, offer, &packs).await?;
        self.gave(pool, world.catalogue, packs.iter().flatten());
        let mut gone = BTreeSet::new();
        for survey in &surveys {
            if self.unmark_if_sent(survey, pool).await? {
                gone.insert(&survey.job.job);
            }
        }
        let waits = |jobs: &[Owner]| jobs.iter().any(|owner| !gone.contains(&owner.job));
        self.turn(pool, owners.iter().filter(|(_, jobs)| waits(jobs)).map(|(tenant, _)| tenant));
        Ok(added)
    }

    /// Says which tenants wait for a pool now.
    fn turn<'a>(&self, pool: &Pool, waiting: impl Iterator<Item = &'a String>) -> Shares {
        let mut all = self.0.kept.shares.lock().expect("no holder of this lock panics");
        let shares = all.entry(pool.facts.name.clone()).or_default();
        shares.turn(&waiting.map(String::as_str).collect::<Vec<_>>());
        shares.clone()
    }

    fn gave<'a>(&self, pool: &Pool, catalogue: &Catalogue, sent: impl Iterator<Item = &'a &'a Ready<'a>>) {
        let mut all = self.0.kept.shares.lock().expect("no holder of this lock panics");
        let shares = all.entry(pool.facts.name.clone()).or_default();
        for ready in sent {
            let tenant = &ready.survey.job.tenant;
            shares.gave(tenant, weight(catalogue, tenant), ready.waiting.work);
        }
    }

    /// Jobs with a ready marker of this pool by tenant, the nearest deadline first.
    async fn ready_owners(&self, pool: &Pool) -> Result<BTreeMap<String, Vec<Owner>>, Trouble> {
        let found = self.store().list(&key::ready_of(&pool.facts.name)).await?;
        let mut owners: BTreeMap<String, Vec<Owner>> = BTreeMap::new();
        for found in found {
            if let Some((deadline_minute, tenant, job)) = key::read_ready(&found.key) {
                let of_tenant = owners.entry(tenant.to_owned()).or_default();
                of_tenant.push(Owner { deadline_minute, job, marker: found.key });
            }
        }
        owners.values_mut().for_each(|jobs| jobs.sort());
        Ok(owners)
    }

    /// Reads jobs, of each tenant as many as would fill the room. What was read leaves, whatever was not.
    async fn ready_jobs(
        &self,
        chosen: &[(&str, &Owner)],
        offer: &dispatch::Pool,
        pass: &Pass,
    ) -> Result<Vec<Survey>, Trouble> {
        let enough = offer.room().saturating_mul(offer.pack_size().0);
        let (mut surveys, mut work) = (Vec::new(), BTreeMap::<&str, u64>::new());
        let mut unread = 0;
        for (tenant, owner) in chosen {
            if work.get(tenant).is_some_and(|work| *work >= enough) {
                continue;
            }
            match self.survey(tenant, &owner.job, pass).instrument(trace::span(tenant, &owner.job)).await {
                Ok(Some(survey)) => {
                    *work.entry(*tenant).or_default() +=
                        survey.may_leave().map(|open| open.left.0).sum::<u64>();
                    surveys.push(survey);
                }
                // Its marker is younger than its `job.json`: the job was there and is gone.
                Ok(None) => self.store().delete(&owner.marker).await?,
                // One job that nobody can read must not hold up the others.
                Err(error @ Trouble::Unreadable { .. }) => {
                    tracing::error!(%error, %tenant, job = %owner.job, "a job waits for a version that can read it");
                }
                Err(error) => {
                    tracing::warn!(%error, %tenant, job = %owner.job, "a job was not read; it waits for the next pass");
                    unread += 1;
                    if unread == UNREAD_MAX {
                        break;
                    }
                }
            }
        }
        Ok(surveys)
    }

    /// Takes the ready marker of a job in this pool away where its shards all have a try. Says whether it did.
    async fn unmark_if_sent(&self, survey: &Survey, pool: &Pool) -> Result<bool, Trouble> {
        let keys = JobKeys::new(&survey.job.tenant, &survey.job.job);
        for open in survey.waiting() {
            if !self.store().exists(&keys.try_(open.shard, open.k + 1)).await? {
                return Ok(false);
            }
        }
        self.store().delete(&ready_marker(&survey.job, &pool.facts.name)).await?;
        Ok(true)
    }
}

/// A job's class as decisions know it.
pub fn class(class: facts::job::Class) -> Class {
    match class {
        facts::job::Class::Interactive => Class::Interactive,
        facts::job::Class::Standard => Class::Standard,
        facts::job::Class::Bulk => Class::Bulk,
    }
}

/// A tenant that the catalogue does not name any more has its work done all the same.
fn weight(catalogue: &Catalogue, tenant: &str) -> u32 {
    catalogue.tenant(tenant).map_or(1, |tenant| tenant.weight)
}

/// The jobs to read, in turn: what has not been read counts as one shard.
fn choose<'a>(
    shares: &Shares,
    catalogue: &Catalogue,
    owners: &'a BTreeMap<String, Vec<Owner>>,
) -> Vec<(&'a str, &'a Owner)> {
    let queue = |(tenant, jobs): (&'a String, &Vec<Owner>)| Queue {
        tenant,
        weight: weight(catalogue, tenant),
        work: vec![SHARD_WORK; jobs.len().min(JOBS_MAX)],
    };
    let queues: Vec<Queue<'a>> = owners.iter().map(queue).collect();
    let jobs: Vec<&'a Vec<Owner>> = owners.values().collect();
    let order = shares.order(&queues).into_iter().take(JOBS_MAX);
    order.map(|(queue, item)| (queues[queue].tenant, &jobs[queue][item])).collect()
}

/// What waits of these jobs and this pool can run.
fn by_tenant<'a>(world: World<'_>, pool: &Pool, surveys: &'a [Survey]) -> BTreeMap<&'a str, Vec<Ready<'a>>> {
    let mut by_tenant: BTreeMap<&str, Vec<Ready<'a>>> = BTreeMap::new();
    for survey in surveys.iter().filter(|survey| is_for_pool(world, survey)) {
        if !runs(pool, &survey.job.model) {
            let (pool, model) = (&pool.facts.name, &survey.job.model);
            tracing::error!(pool, model, "the pool's worker has no folder of this model");
            continue;
        }
        by_tenant.entry(&survey.job.tenant).or_default().extend(ready_shards(survey));
    }
    by_tenant
}

/// What waits, each tenant's by its rank, in the tenants' turn.
fn in_turn<'a>(
    world: World<'_>,
    shares: &Shares,
    mut by_tenant: BTreeMap<&str, Vec<Ready<'a>>>,
    offer: &dispatch::Pool,
    now: UnixMs,
) -> Vec<Ready<'a>> {
    let mut queues = Vec::with_capacity(by_tenant.len());
    for (tenant, shards) in &mut by_tenant {
        shards.sort_by_cached_key(|ready| {
            let offer = with_load(world, *offer, &ready.survey.job.model);
            dispatch::rank(&ready.waiting, &offer, now)
        });
        let work = shards.iter().map(|ready| ready.waiting.work).collect();
        queues.push(Queue { tenant, weight: weight(world.catalogue, tenant), work });
    }
    let order = shares.order(&queues);
    let mut shards: Vec<_> = by_tenant.into_values().map(Vec::into_iter).collect();
    // Each queue leaves in its own order, so the next of it is the one that is meant.
    order.into_iter().filter_map(|(queue, _)| shards[queue].next()).collect()
}

/// Packs of shards of one model each, those whose first member is sooner in turn before others, as many as
/// there is room for.
fn packed<'a>(
    world: World<'_>,
    pool: &Pool,
    shards: &'a [Ready<'a>],
    offer: &dispatch::Pool,
    now: UnixMs,
) -> Vec<Vec<&'a Ready<'a>>> {
    let mut by_model: BTreeMap<(&str, Option<&str>), Vec<usize>> = BTreeMap::new();
    for (at, ready) in shards.iter().enumerate() {
        let job = &ready.survey.job;
        by_model.entry((job.model.as_str(), job.digest.as_deref())).or_default().push(at);
    }
    let mut packs: Vec<Vec<usize>> = Vec::new();
    for ((model, _), places) in by_model {
        let waiting: Vec<Waiting> = places.iter().map(|at| shards[*at].waiting).collect();
        let of_model = dispatch::packs(&waiting, &with_load(world, *offer, model), now);
        packs.extend(of_model.into_iter().map(|pack| pack.into_iter().map(|n| places[n]).collect()));
    }
    packs.sort_by_key(|pack| pack.first().copied());
    packs.truncate(usize::try_from(offer.room()).unwrap_or(usize::MAX));
    tracing::debug!(pool = pool.facts.name, packs = packs.len(), shards = shards.len(), "packed in turn");
    packs.into_iter().map(|pack| pack.into_iter().map(|at| &shards[at]).collect()).collect()
}

fn with_load(world: World<'_>, offer: dispatch::Pool, model: &str) -> dispatch::Pool {
    let load = world.catalogue.model(model).map(|model| model.facts.load).unwrap_or_default();
    dispatch::Pool { load, ..offer }
}

fn ready_shards(survey: &Survey) -> impl Iterator<Item = Ready<'_>> {
    let all = survey.state.work_left_ms(&survey.job).max(1);
    let realtime = survey.realtime_left().unwrap_or_default();
    survey.may_leave().map(move |open| Ready {
        survey,
        shard: open.shard,
        k: open.k + 1,
        waiting: Waiting {
            class: class(survey.job.class),
            work: open.left,
            since: UnixMs(survey.job.created_ms),
            deadline: UnixMs(survey.job.deadline_ms),
            realtime: realtime.scaled(open.left.0, all),
        },
    })
}
