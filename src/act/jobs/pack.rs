//! Shards whose turn it is become tasks of the pool. Pack file first, then each member claims its try, then the
//! task is added under the pack's name: whoever dies in between is finished by whoever looks next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use facts::fault::{Act, Fault};
use facts::id;
use facts::job::{Place, Try};
use facts::key::{self, JobKeys};
use facts::pack::{Member, Pack};
use facts::store::Claim;
use futures_util::{StreamExt as _, stream};
use policy::dispatch::{self, Band, Waiting};

use super::batch_job;
use super::look::World;
use super::survey::Survey;
use super::{Jobs, Trouble, text, trace};
use crate::azure::batch::job::CreateJobError;
use crate::azure::batch::{AddError, Added, NewJob, NewTask};
use crate::catalogue::Pool;
use crate::telemetry;

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

/// A pool's tasks that are added and not over.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::act) struct Tasks {
    /// Waiting for a slot.
    pub(in crate::act) queued: u64,
    /// On a node.
    pub(in crate::act) running: u64,
    /// Over and listed still: with exit code 0, and otherwise.
    pub(in crate::act) over: [u64; 2],
    /// Of those that are not over, those in the upper two bands.
    pub(in crate::act) above: [u64; 2],
}

impl Tasks {
    /// All of them.
    pub(in crate::act) fn all(self) -> u64 {
        self.queued + self.running
    }
}

/// A waiting shard, with what is needed to claim it.
pub(super) struct Ready<'a> {
    pub(super) survey: &'a Survey,
    pub(super) shard: u32,
    pub(super) k: u32,
    pub(super) waiting: Waiting,
}

impl Jobs {
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

    /// Counts a pool's tasks that are added and not over.
    ///
    /// # Errors
    /// When the list of our Azure Batch jobs could not be read.
    pub(in crate::act) async fn tasks_of(&self, pool: &str) -> Result<Tasks, Trouble> {
        let mut tasks = Tasks::default();
        let Some(batch) = self.batch() else { return Ok(tasks) };
        let prefix = batch_job::prefix(pool);
        let jobs = batch.jobs(&prefix).await?.jobs;
        for job in &jobs {
            let Some(band) = batch_job::band_of(&prefix, &job.id) else { continue };
            if let Ok(counts) = batch.task_counts(&job.id).await {
                tasks.queued += counts.tasks.active;
                tasks.running += counts.tasks.running;
                tasks.over[0] += counts.tasks.succeeded;
                tasks.over[1] += counts.tasks.failed;
                let open = counts.tasks.active + counts.tasks.running;
                match band {
                    Band::High => tasks.above[0] += open,
                    Band::Middle => tasks.above[1] += open,
                    Band::Low => {}
                }
            }
        }
        Ok(tasks)
    }

    /// What a pool offers; none while it takes no work.
    pub(super) async fn offer(
        &self,
        world: World<'_>,
        pool: &Pool,
    ) -> Result<Option<dispatch::Pool>, Trouble> {
        let (Some(batch), Some(_)) = (self.batch(), &pool.worker) else { return Ok(None) };
        let nodes = pool.facts.max_nodes.min(world.knobs.max_nodes);
        let per_node = u64::from(pool.facts.slots_per_node.max(1));
        let tasks = self.tasks_of(&pool.facts.name).await?;
        // A pool that cannot be counted has work sent to it all the same: nodes come for tasks.
        let nodes_now = batch.node_counts(&pool.facts.name).await.unwrap_or_default();
        let kinds = [nodes_now.dedicated, nodes_now.low_priority];
        let idle: u64 = kinds.iter().map(|counts| u64::from(counts.idle)).sum();
        let ready: u64 = kinds.iter().map(|counts| u64::from(counts.idle + counts.running)).sum();
        Ok(Some(dispatch::Pool {
            slots: u64::from(nodes) * per_node,
            ready_slots: ready * per_node,
            idle_slots: idle * per_node,
            tasks: tasks.all(),
            above: tasks.above,
            boot: pool.facts.boot,
            ..dispatch::Pool::default()
        }))
    }

    /// Writes packs, claims their members and adds their tasks.
    pub(super) async fn send(
        &self,
        pool: &Pool,
        mut offer: dispatch::Pool,
        packs: &[Vec<&Ready<'_>>],
    ) -> Result<usize, Trouble> {
        let mut by_job: BTreeMap<String, Vec<Pack>> = BTreeMap::new();
        for members in packs {
            let band = self.band(members, &offer);
            match band {
                Band::High => offer.above[0] += 1,
                Band::Middle => offer.above[1] += 1,
                Band::Low => {}
            }
            let batch_job = self.batch_job(pool, band).await?;
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
                    let of_task = packs.iter().find(|pack| pack.pack == task.id);
                    let asked_by = of_task.and_then(|pack| pack.traceparent.as_deref());
                    let facts = [("task", task.id.as_str()), ("pool", pool.facts.name.as_str())];
                    telemetry::note("task added", asked_by, &facts);
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
            let priority = batch_job::priority_of(&pack.pool, &pack.batch_job);
            let Ok(()) = self.create_batch_job(&pack.batch_job, &pack.pool, priority).await else {
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

    /// The band of a task of these members: that of the most pressing.
    fn band(&self, members: &[&Ready<'_>], offer: &dispatch::Pool) -> Band {
        let now = self.now();
        let class = members.iter().map(|ready| ready.waiting.class).min().unwrap_or_default();
        let nearest = members.iter().map(|ready| ready.waiting.deadline).min().unwrap_or(now);
        dispatch::band(class, nearest.since(now), offer)
    }

    /// The Azure Batch job of today for tasks of a band; none where it could not be made.
    async fn batch_job(&self, pool: &Pool, band: Band) -> Result<Option<String>, Trouble> {
        let (series, priority) = batch_job::series(&pool.facts.name, band, self.now());
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
}

/// Whether a pool's worker has what it takes for a model: nothing is claimed for one that has not.
pub(super) fn runs(pool: &Pool, model: &str) -> bool {
    let worker = pool.worker.as_ref();
    worker.is_some_and(|worker| worker.backend_url.is_some() || worker.folders.contains_key(model))
}
