//! Waiting shards become tasks of the pool. Pack file first, then each member claims its try, then the
//! task is added under the pack's name: whoever dies in between is finished by whoever looks next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use facts::fault::{Act, Fault};
use facts::job::{Place, Try};
use facts::key::{self, JobKeys};
use facts::pack::{Member, Pack};
use facts::store::Claim;
use facts::{JobId, id};
use futures_util::{StreamExt as _, stream};
use policy::dispatch::{self, Waiting};
use policy::units::UnixMs;
use tracing::Instrument as _;

use super::accept::ready_marker;
use super::batch_job;
use super::look::{World, is_for_pool};
use super::survey::{Pass, Survey};
use super::{Jobs, Trouble, text, trace};
use crate::azure::batch::job::CreateJobError;
use crate::azure::batch::{AddError, Added, NewJob, NewTask};
use crate::catalogue::Pool;

/// Jobs that one pass looks at for a pool: those with the nearest deadlines.
const JOBS_MAX: usize = 64;
/// Members of a pack that are claimed beside each other.
const CLAIMS_AT_ONCE: usize = 8;
/// Exit codes other than 0 that the service answers by another run of the same task.
const TASK_RETRIES: u32 = 3;
/// A task that takes this many times its expected time is stuck.
const WALL_CLOCK_FACTOR: u64 = 5;
/// And no task is ended before it had this long.
const WALL_CLOCK_MIN: Duration = Duration::from_secs(1_800);

/// What adding a task again came to.
pub(super) enum Again {
    /// It is there.
    Added,
    /// Its Azure Batch job takes no tasks: it cannot run any more.
    JobOver,
    /// Not known.
    Unknown,
}

/// A waiting shard, with what is needed to claim it.
struct Ready<'a> {
    survey: &'a Survey,
    shard: u32,
    k: u32,
    waiting: Waiting,
}

impl Jobs {
    /// Sends waiting shards to a pool while it has room; `only` one job's, or all in the order of their
    /// deadlines. Says how many tasks were added.
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
        let surveys = self.ready_jobs(pool, only, &offer, pass).await?;
        let mut by_model: BTreeMap<(&str, Option<&str>), Vec<Ready<'_>>> = BTreeMap::new();
        for survey in surveys.iter().filter(|survey| is_for_pool(world, survey)) {
            let model = (survey.job.model.as_str(), survey.job.digest.as_deref());
            for ready in ready_shards(survey) {
                by_model.entry(model).or_default().push(ready);
            }
        }
        let mut added = 0;
        for ((model, _), shards) in &by_model {
            if !runs(pool, model) {
                tracing::error!(
                    pool = pool.facts.name,
                    model,
                    "the pool's worker has no folder of this model"
                );
                continue;
            }
            let model = world.catalogue.model(model);
            let load = model.map(|model| model.facts.load).unwrap_or_default();
            let offer = dispatch::Pool { load, tasks: offer.tasks + added as u64, ..offer };
            let waiting: Vec<Waiting> = shards.iter().map(|ready| ready.waiting).collect();
            let packs = dispatch::packs(&waiting, &offer, self.now());
            let members: Vec<Vec<&Ready<'_>>> =
                packs.iter().map(|pack| pack.iter().map(|n| &shards[*n]).collect()).collect();
            added += self.send(pool, &members).await?;
        }
        for survey in &surveys {
            self.unmark_if_sent(survey).await?;
        }
        Ok(added)
    }

    /// What the pool of this name offers; none while it takes no work or is not in the catalogue.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn offer_of(&self, world: World<'_>, pool: &str) -> Result<Option<dispatch::Pool>, Trouble> {
        match world.catalogue.pools.iter().find(|found| found.facts.name == pool) {
            Some(pool) => self.offer(world, pool).await,
            None => Ok(None),
        }
    }

    /// What a pool offers; none while it takes no work.
    async fn offer(&self, world: World<'_>, pool: &Pool) -> Result<Option<dispatch::Pool>, Trouble> {
        let (Some(batch), Some(_)) = (self.batch(), &pool.worker) else { return Ok(None) };
        let nodes = pool.facts.max_nodes.min(world.knobs.max_nodes);
        let per_node = u64::from(pool.facts.slots_per_node.max(1));
        let mut tasks = 0;
        let prefix = batch_job::prefix(&pool.facts.name);
        let jobs = batch.jobs(&prefix).await?.jobs;
        for job in jobs.iter().filter(|job| batch_job::day_of(&prefix, &job.id).is_some()) {
            if let Ok(counts) = batch.task_counts(&job.id).await {
                tasks += counts.tasks.active + counts.tasks.running;
            }
        }
        // A pool that cannot be counted has work sent to it all the same: nodes come for tasks.
        let nodes_now = batch.node_counts(&pool.facts.name).await.unwrap_or_default();
        let kinds = [nodes_now.dedicated, nodes_now.low_priority];
        let idle: u64 = kinds.iter().map(|counts| u64::from(counts.idle)).sum();
        let ready: u64 = kinds.iter().map(|counts| u64::from(counts.idle + counts.running)).sum();
        Ok(Some(dispatch::Pool {
            slots: u64::from(nodes) * per_node,
            ready_slots: ready * per_node,
            idle_slots: idle * per_node,
            tasks,
            boot: pool.facts.boot,
            ..dispatch::Pool::default()
        }))
    }

    /// Jobs with shards to send, the nearest deadline first, as many as fill the room.
    async fn ready_jobs(
        &self,
        pool: &Pool,
        only: Option<(&str, &JobId)>,
        offer: &dispatch::Pool,
        pass: &Pass,
    ) -> Result<Vec<Survey>, Trouble> {
        let owners = match only {
            Some((tenant, job)) => vec![(tenant.to_owned(), job.clone(), None)],
            None => self.ready_owners(pool).await?,
        };
        let enough = offer.room().saturating_mul(offer.pack_size().0);
        let (mut surveys, mut work) = (Vec::new(), 0);
        for (tenant, job, marker) in owners {
            if work >= enough || surveys.len() == JOBS_MAX {
                break;
            }
            match self.survey(&tenant, &job, pass).instrument(trace::span(&tenant, &job)).await {
                Ok(Some(survey)) => {
                    work += survey.may_leave().map(|open| open.left.0).sum::<u64>();
                    surveys.push(survey);
                }
                // Its marker is younger than its `job.json`: the job was there and is gone.
                Ok(None) => {
                    if let Some(marker) = marker {
                        self.store().delete(&marker).await?;
                    }
                }
                // One job that nobody can read must not hold up the others.
                Err(error @ Trouble::Unreadable { .. }) => {
                    tracing::error!(%error, %tenant, %job, "a job waits for a version that can read it");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(surveys)
    }

    /// Jobs with a ready marker of this pool, the nearest deadline first, each with its marker.
    async fn ready_owners(&self, pool: &Pool) -> Result<Vec<(String, JobId, Option<String>)>, Trouble> {
        let found = self.store().list(&key::ready_of(&pool.facts.name)).await?;
        let mut owners: Vec<(u64, String, JobId, String)> = Vec::with_capacity(found.len());
        for found in found {
            if let Some((at, tenant, job)) = key::read_ready(&found.key) {
                owners.push((at, tenant.to_owned(), job, found.key));
            }
        }
        owners.sort();
        Ok(owners.into_iter().map(|(_, tenant, job, marker)| (tenant, job, Some(marker))).collect())
    }

    /// Writes packs, claims their members and adds their tasks.
    async fn send(&self, pool: &Pool, packs: &[Vec<&Ready<'_>>]) -> Result<usize, Trouble> {
        let mut by_job: BTreeMap<String, Vec<Pack>> = BTreeMap::new();
        for members in packs {
            let batch_job = self.batch_job(pool, members).await?;
            let Some(batch_job) = batch_job else { break };
            let pack = self.pack_of(pool, members, &batch_job);
            self.store().create(&key::pack(&pack.pack), text(&pack)).await?;
            let claims: Vec<_> = pack.members.iter().map(|member| self.claim(member, &pack.pack)).collect();
            let claims: Vec<_> = stream::iter(claims).buffered(CLAIMS_AT_ONCE).collect().await;
            let claimed = claims.into_iter().filter(|won| matches!(won, Ok(true))).count();
            if claimed > 0 {
                by_job.entry(batch_job).or_default().push(pack);
            }
        }
        let mut added = 0;
        for (batch_job, packs) in by_job {
            added += self.add(pool, &batch_job, &packs).await;
        }
        Ok(added)
    }

    fn pack_of(&self, pool: &Pool, members: &[&Ready<'_>], batch_job: &str) -> Pack {
        let first = &members[0].survey.job;
        let member = |ready: &&Ready<'_>| Member {
            tenant: ready.survey.job.tenant.clone(),
            job: ready.survey.job.job.clone(),
            shard: ready.shard,
            k: ready.k,
        };
        Pack {
            v: facts::VERSION,
            pack: id::random(),
            pool: pool.facts.name.clone(),
            batch_job: batch_job.to_owned(),
            model: first.model.clone(),
            digest: first.digest.clone(),
            members: members.iter().map(member).collect(),
            work_ms: members.iter().map(|ready| ready.waiting.work.0).sum(),
            deadline_ms: members.iter().map(|ready| ready.waiting.deadline.0).max().unwrap_or(0),
            created_ms: self.now().0,
            traceparent: first.traceparent.clone(),
        }
    }

    async fn claim(&self, member: &Member, pack: &str) -> Result<bool, Trouble> {
        let why = if member.k == 1 { "first" } else { "again" };
        let tried = Try {
            v: facts::VERSION,
            by: id::random(),
            place: Place::Deferred { pack: pack.to_owned() },
            why: why.to_owned(),
            at_ms: self.now().0,
        };
        let key = JobKeys::new(&member.tenant, &member.job).try_(member.shard, member.k);
        let is_won = self.store().claim(&key, text(&tried)).await? == Claim::Won;
        if is_won && let Some(job) = self.job(&member.tenant, &member.job).await? {
            let Member { shard, k, .. } = *member;
            trace::span_of(&job).in_scope(|| tracing::info!(shard, k, pack, "a shard is sent"));
        }
        Ok(is_won)
    }

    /// Adds the tasks of packs. One that fails is added again by the next sweep.
    async fn add(&self, pool: &Pool, batch_job: &str, packs: &[Pack]) -> usize {
        let Some(batch) = self.batch() else { return 0 };
        let tasks: Vec<NewTask> = packs.iter().filter_map(|pack| self.task(pool, pack)).collect();
        let outcomes = self.sent(batch.add_tasks(batch_job, &tasks)).await;
        let mut added = 0;
        for (task, outcome) in tasks.iter().zip(outcomes) {
            match outcome {
                Ok(Added::Added | Added::Existed) => {
                    added += 1;
                    tracing::info!(batch_job, task = task.id, "a task was added");
                    continue;
                }
                Err(AddError::JobNotActive { code }) => {
                    tracing::info!(
                        batch_job,
                        code,
                        "an azure batch job is over; the next one takes the work"
                    );
                    self.next_round(batch_job);
                }
                Err(error) => {
                    tracing::warn!(%error, batch_job, task = task.id, "a task was not added; the next sweep adds it");
                }
            }
            if let Some(pack) = packs.iter().find(|pack| pack.pack == task.id) {
                self.look_soon(pack).await;
            }
        }
        added
    }

    /// Has the jobs of a pack looked at by the next sweep: their own next looks may be far away.
    async fn look_soon(&self, pack: &Pack) {
        for member in &pack.members {
            let marker = key::due(key::NOW, &member.tenant, &member.job);
            if let Err(error) = self.store().create(&marker, "").await {
                tracing::warn!(%error, job = %member.job, "no marker for the next sweep; its own next look is later");
            }
        }
    }

    /// Adds a pack's task again, as its intent says.
    pub(super) async fn add_again(&self, pack: &Pack, pools: &[Arc<Pool>]) -> Again {
        let pool = pools.iter().find(|pool| pool.facts.name == pack.pool);
        let (Some(batch), Some(pool)) = (self.batch(), pool) else { return Again::Unknown };
        let Some(task) = self.task(pool, pack) else { return Again::JobOver };
        let mut outcome = self.sent(batch.add_task(&pack.batch_job, &task)).await;
        if outcome == Err(AddError::JobNotFound) {
            let Ok(()) = self.create_batch_job(&pack.batch_job, &pack.pool, 0).await else {
                return Again::Unknown;
            };
            outcome = self.sent(batch.add_task(&pack.batch_job, &task)).await;
        }
        match outcome {
            Ok(_) => Again::Added,
            Err(AddError::JobNotActive { .. }) => {
                self.next_round(&pack.batch_job);
                Again::JobOver
            }
            Err(error) => {
                tracing::warn!(%error, pack = pack.pack, "a task could not be added again; trying later");
                Again::Unknown
            }
        }
    }

    fn task(&self, pool: &Pool, pack: &Pack) -> Option<NewTask> {
        let worker = pool.worker.as_ref()?;
        let mut arguments =
            vec!["--pack".to_owned(), format!("{}{}", self.store_url(), key::pack(&pack.pack))];
        match (&worker.backend_url, worker.folders.get(&pack.model)) {
            (Some(url), _) => {
                arguments.extend(["--backend".to_owned(), url.clone()]);
                // What that server runs is the catalogue's word: the worker cannot look.
                arguments.extend(pack.digest.iter().flat_map(|known| ["--digest".to_owned(), known.clone()]));
            }
            (None, Some(folder)) => arguments.extend(["--model".to_owned(), folder.clone()]),
            (None, None) => return None,
        }
        let expected = Duration::from_millis(pack.work_ms.saturating_mul(WALL_CLOCK_FACTOR));
        Some(NewTask {
            id: pack.pack.clone(),
            program: worker.program.clone(),
            arguments,
            environment: Vec::new(),
            container_image: worker.image.clone(),
            max_wall_clock: expected.max(WALL_CLOCK_MIN),
            max_retries: TASK_RETRIES,
            required_slots: 1,
            outputs: Vec::new(),
        })
    }

    /// The Azure Batch job of today for what these members need; none where it could not be made.
    async fn batch_job(&self, pool: &Pool, members: &[&Ready<'_>]) -> Result<Option<String>, Trouble> {
        let now = self.now();
        let nearest = members.iter().map(|ready| ready.waiting.deadline).min().unwrap_or(now);
        let left = nearest.since(now);
        let (series, priority) = batch_job::series(&pool.facts.name, left, now);
        let (round, is_made) = self.round(&series);
        let name = format!("{series}-{round}");
        if is_made {
            return Ok(Some(name));
        }
        match self.create_batch_job(&name, &pool.facts.name, priority).await {
            Ok(()) => {
                self.set_round(&series, round);
                Ok(Some(name))
            }
            Err(error) => {
                tracing::warn!(%error, batch_job = name, "no azure batch job; work waits in the store");
                Ok(None)
            }
        }
    }

    async fn create_batch_job(&self, name: &str, pool: &str, priority: i16) -> Result<(), CreateJobError> {
        let Some(batch) = self.batch() else { return Ok(()) };
        let job = NewJob { id: name.to_owned(), pool: pool.to_owned(), priority, environment: Vec::new() };
        self.sent(batch.create_job(&job)).await.map(drop)
    }

    /// A call that Azure Batch acts on.
    async fn sent<T>(&self, call: impl Future<Output = T>) -> T {
        Fault::around(self.store().fault(), Act::Send, call).await
    }

    /// Takes the ready marker of a job away whose shards all have a try.
    async fn unmark_if_sent(&self, survey: &Survey) -> Result<(), Trouble> {
        let keys = JobKeys::new(&survey.job.tenant, &survey.job.job);
        for open in survey.waiting() {
            if !self.store().exists(&keys.try_(open.shard, open.k + 1)).await? {
                return Ok(());
            }
        }
        Ok(self.store().delete(&ready_marker(&survey.job)).await?)
    }
}

/// Whether a pool's worker has what it takes for a model: nothing is claimed for one that has not.
fn runs(pool: &Pool, model: &str) -> bool {
    let worker = pool.worker.as_ref();
    worker.is_some_and(|worker| worker.backend_url.is_some() || worker.folders.contains_key(model))
}

fn ready_shards(survey: &Survey) -> impl Iterator<Item = Ready<'_>> {
    let all = survey.state.work_left_ms(&survey.job).max(1);
    let realtime = survey.realtime_left().unwrap_or_default();
    survey.may_leave().map(move |open| Ready {
        survey,
        shard: open.shard,
        k: open.k + 1,
        waiting: Waiting {
            work: open.left,
            since: UnixMs(survey.job.created_ms),
            deadline: UnixMs(survey.job.deadline_ms),
            realtime: realtime.scaled(open.left.0, all),
        },
    })
}
