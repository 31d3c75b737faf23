//! What a job's facts and its tasks come to now. Facts come from the store; whether a task can still
//! run is asked of Azure Batch, once a pass.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use facts::fold::Phase;
use facts::job::{Place, Try};
use facts::key::JobKeys;
use facts::{Job, JobId, Pack, State, fold};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use policy::canary::{self, Gate};
use policy::request::Operation;
use policy::rescue::{At, Condition};
use policy::tries::{self, Tried};
use policy::units::{Millis, UnixMs};

use super::look::World;
use super::{Jobs, Trouble, trace};
use crate::act::realtime;
use crate::azure::batch::Task;
use crate::azure::batch::task::TaskState;
use crate::catalogue::{Backend, Pool};

/// Facts and tasks that are looked at beside each other.
const AT_ONCE: usize = 8;

/// One job, as it is now.
#[derive(Debug)]
pub struct Survey {
    /// What it is.
    pub job: Arc<Job>,
    /// What its facts come to.
    pub state: State,
    /// Where each shard is that is not done, while the job runs.
    pub open: Vec<Open>,
    /// Whether its owner asked for the realtime lane.
    pub promoted: bool,
    /// What of it may leave for its pool.
    pub gate: Gate,
    /// In what condition the realtime lane is for its model.
    pub realtime: Condition,
}

/// A shard that is not done.
#[derive(Clone, Debug)]
pub struct Open {
    /// Which.
    pub shard: u32,
    /// Its newest try, from 1; 0: none.
    pub k: u32,
    /// Where it is.
    pub at: At,
    /// The pack of its newest try, if that was deferred.
    pub pack: Option<String>,
    /// Whether that pack's state is not known, because Azure Batch did not answer.
    pub unknown: bool,
    /// With what its task ended, if it has and Azure Batch still knows.
    pub exit: Option<i32>,
    /// Its newest try, if there is one.
    pub tried: Option<Tried>,
    /// Not tried again before this, because its tries came to nothing; none: it need not wait.
    pub pauses_until: Option<UnixMs>,
    /// What is left of it, on one slot.
    pub left: Millis,
}

/// What one pass has asked already.
#[derive(Debug, Default)]
pub struct Pass {
    tasks: Mutex<HashMap<String, TaskAt>>,
    /// Rescues that may still be rung.
    pub rescues_left: AtomicU32,
    /// Times that a pack was added again.
    pub added_again: AtomicU32,
    pools: Vec<Arc<Pool>>,
}

impl Pass {
    /// A pass in this world. It may ring as many rescues as knob `rescue-share` leaves of all slots of
    /// realtime replicas, and at least one.
    pub fn of(world: World<'_>) -> Pass {
        let slots = |backend: &Arc<Backend>| {
            backend.facts.slots_per_replica * backend.facts.max_replicas.min(world.knobs.max_replicas)
        };
        let slots: u32 = world.catalogue.backends.iter().map(slots).sum();
        let rescues = (slots * world.knobs.rescue_share_percent / 100).max(1);
        Pass { rescues_left: rescues.into(), pools: world.catalogue.pools.clone(), ..Pass::default() }
    }
}

/// What became of a pack's task.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TaskAt {
    Queued,
    Running,
    /// It cannot run any more, and ended with this: what it left undone may be tried again.
    Over(Option<i32>),
    /// Azure Batch does not say.
    Unknown,
}

impl Survey {
    /// Where it is in its life.
    pub fn phase(&self) -> Phase {
        self.state.phase()
    }

    /// Shards that no task can run and nobody rescues.
    pub fn waiting(&self) -> impl Iterator<Item = &Open> {
        self.open.iter().filter(|open| open.at == At::Nowhere && !open.unknown)
    }

    /// Those of them that may leave for the pool now: before its first part is checked, only that.
    pub fn may_leave(&self) -> impl Iterator<Item = &Open> {
        let is_held = matches!(self.gate, Gate::Held { .. });
        self.waiting().filter(move |open| open.pauses_until.is_none() && (!is_held || open.shard == 0))
    }

    /// What is left of the whole job in the realtime lane; none where nothing serves it there.
    pub fn realtime_left(&self) -> Option<Millis> {
        let all: u64 = self.job.shards.iter().map(|shard| shard.work_ms).sum();
        let left = self.state.work_left_ms(&self.job);
        let whole = self.job.estimate.realtime_ms.map(Millis)?;
        Some(self.realtime.of(whole).scaled(left, all.max(1)))
    }

    /// How long one chunk takes in the realtime lane.
    pub fn realtime_chunk(&self) -> Millis {
        let whole = self.realtime.of(Millis(self.job.estimate.realtime_ms.unwrap_or(0)));
        whole.scaled(u64::from(self.job.chunk_lines), self.job.lines().max(1))
    }
}

impl Jobs {
    /// Looks at a job; none where there is none.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn survey(&self, tenant: &str, id: &JobId, pass: &Pass) -> Result<Option<Survey>, Trouble> {
        let Some(job) = self.job(tenant, id).await? else { return Ok(None) };
        trace::found(&job);
        let keys = JobKeys::new(tenant, id);
        let listing = self.store().list(keys.folder()).await?;
        let state = fold(&job, &listing);
        let promoted = listing.iter().any(|found| found.key == keys.promote());
        let mut open = Vec::new();
        if matches!(state.phase(), Phase::Waiting | Phase::Running) {
            let shards = (0..).zip(&state.shards).filter(|(_, seen)| !seen.is_done());
            let looks: Vec<_> = shards.map(|(shard, _)| self.open_shard(&job, &state, shard, pass)).collect();
            open = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
        }
        let checked = listing.iter().any(|found| found.key == keys.canary());
        let realtime = self.condition(&job.model);
        let mut survey = Survey { job, state, open, promoted, gate: Gate::Open, realtime };
        survey.gate = self.gate(&survey, checked, pass);
        Ok(Some(survey))
    }

    fn gate(&self, survey: &Survey, checked: bool, pass: &Pass) -> Gate {
        let job = &survey.job;
        let pool = pass.pools.iter().find(|pool| pool.facts.name == job.pool).map(|pool| &pool.facts);
        let slots = pool.map_or(1, |pool| u64::from(pool.max_nodes) * u64::from(pool.slots_per_node));
        let known = canary::Job {
            shards: job.shards.len(),
            has_vectors: job.url == realtime::url(Operation::Embeddings),
            checked,
            deadline: UnixMs(job.deadline_ms),
            left: Millis(survey.state.work_left_ms(job)),
            realtime: survey.realtime_left().unwrap_or_default(),
            slots,
            boot: pool.map_or(Millis(0), |pool| pool.boot.p95),
        };
        canary::gate(&known, self.now())
    }

    async fn open_shard(&self, job: &Job, state: &State, shard: u32, pass: &Pass) -> Result<Open, Trouble> {
        let seen = &state.shards[shard as usize];
        let chunks = seen.chunks.len().max(1) as u64;
        let done = u64::from(seen.chunks_done());
        let left = Millis(job.shards[shard as usize].work_ms).scaled(chunks - done, chunks);
        let none = Open {
            shard,
            k: seen.tries,
            at: At::Nowhere,
            pack: None,
            unknown: false,
            exit: None,
            tried: None,
            pauses_until: None,
            left,
        };
        if seen.tries == 0 {
            return Ok(none);
        }
        let key = JobKeys::new(&job.tenant, &job.job).try_(shard, seen.tries);
        let Some(newest) = self.kept(&self.0.kept.tries, key, |_: &Try| true).await? else { return Ok(none) };
        let last_chunk = seen.last_chunk_ms.map(|ms| self.at_store_time(ms));
        let claimed = UnixMs(newest.at_ms);
        let tried = Tried { k: seen.tries, claimed, got_on: last_chunk.is_some_and(|at| at >= claimed) };
        let again = tries::again_at(&tried, UnixMs(job.deadline_ms));
        let none = Open {
            tried: Some(tried),
            pauses_until: Some(again).filter(|again| self.now() < *again),
            ..none
        };
        Ok(match &newest.place {
            Place::Realtime { not_after_ms, .. } if self.now().0 >= *not_after_ms => none,
            Place::Realtime { .. } => Open { at: At::Rescue { claimed, last_chunk }, ..none },
            Place::Deferred { pack } => {
                let none = Open { pack: Some(pack.clone()), ..none };
                match self.task_at(pack, pass).await? {
                    TaskAt::Queued => Open { at: At::Queued, ..none },
                    TaskAt::Running => Open { at: At::Running, ..none },
                    TaskAt::Over(exit) => Open { exit, ..none },
                    TaskAt::Unknown => Open { unknown: true, ..none },
                }
            }
        })
    }

    /// What became of a pack's task, asked once a pass. A task that is not there although its pack
    /// says that it was to be added is added now: that is how an interrupted dispatch is recovered.
    async fn task_at(&self, pack: &str, pass: &Pass) -> Result<TaskAt, Trouble> {
        if let Some(known) = pass.tasks.lock().expect("no holder of this lock panics").get(pack) {
            return Ok(known.clone());
        }
        let at = match self.pack(pack).await? {
            // The intent names a pack that was never written: its writer died before.
            None => TaskAt::Over(None),
            Some(found) => self.ask_task(&found, pass).await,
        };
        pass.tasks.lock().expect("no holder of this lock panics").insert(pack.to_owned(), at.clone());
        Ok(at)
    }

    async fn ask_task(&self, pack: &Pack, pass: &Pass) -> TaskAt {
        let Some(batch) = self.batch() else { return TaskAt::Unknown };
        match batch.task(&pack.batch_job, &pack.pack).await {
            Ok(Some(task)) => match task.state {
                TaskState::Active => TaskAt::Queued,
                TaskState::Preparing | TaskState::Running => TaskAt::Running,
                TaskState::Completed => TaskAt::Over(task.exit_code),
                TaskState::Unknown => TaskAt::Unknown,
            },
            Ok(None) => {
                pass.added_again.fetch_add(1, Ordering::Relaxed);
                match self.add_again(pack, &pass.pools).await {
                    super::pack::Again::Added => TaskAt::Queued,
                    super::pack::Again::JobOver => TaskAt::Over(None),
                    super::pack::Again::Unknown => TaskAt::Unknown,
                }
            }
            Err(error) => {
                tracing::warn!(%error, pack = pack.pack, "a task cannot be looked at; looking again later");
                TaskAt::Unknown
            }
        }
    }

    /// The task of a pack, where Azure Batch still knows it.
    pub(crate) async fn task_of(&self, pack: &str) -> Result<Option<(Arc<Pack>, Task)>, Trouble> {
        let (Some(batch), Some(pack)) = (self.batch(), self.pack(pack).await?) else { return Ok(None) };
        Ok(batch.task(&pack.batch_job, &pack.pack).await?.map(|task| (pack, task)))
    }

    /// The packs that a job's shards were tried in last, the newest shards first, at most `most`.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn newest_packs(&self, survey: &Survey, most: usize) -> Result<Vec<String>, Trouble> {
        let keys = JobKeys::new(&survey.job.tenant, &survey.job.job);
        let mut packs: Vec<String> = Vec::new();
        let tried = (0..).zip(&survey.state.shards).filter(|(_, seen)| seen.tries > 0);
        let mut tried: Vec<(u32, u32)> = tried.map(|(shard, seen)| (shard, seen.tries)).collect();
        tried.reverse();
        for (shard, k) in tried {
            if packs.len() == most {
                break;
            }
            if let Some(Try { place: Place::Deferred { pack }, .. }) = self.fact(&keys.try_(shard, k)).await?
                && !packs.contains(&pack)
            {
                packs.push(pack);
            }
        }
        Ok(packs)
    }

    /// The end of what a pack's worker wrote; none: its node is gone, or it has not begun.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn log_of(&self, pack: &str, bytes_max: usize) -> Result<Option<bytes::Bytes>, Trouble> {
        let (Some(batch), Some(pack)) = (self.batch(), self.pack(pack).await?) else { return Ok(None) };
        Ok(batch.task_file_tail(&pack.batch_job, &pack.pack, "stderr.txt", bytes_max).await?)
    }
}
