//! Jobs of the deferred lane, carried out: every step is a fact that is written before or after an act,
//! so that any process can go on from what the store holds.
//!
//! - [`accept`]: a job comes to be
//! - [`survey`]: what a job's facts and its tasks come to now
//! - [`look`]: what is to be done about one job, and when to look again
//! - [`turns`]: whose waiting shards go to a pool now; [`queued`]: how much waits
//! - [`pack`]: shards become tasks of the pool; `batch_job`: what these are added to
//! - [`detour`]: which pool takes what waits, where a job's own gets no node
//! - [`canary`]: a large job's first chunk is checked before the rest leaves
//! - [`rescue`]: one shard run in the realtime lane, before its deadline
//! - [`finish`]: what is missing is filled, the summary written; [`spent`]: what it cost; `ended`: what
//!   telemetry is told then
//! - [`retire`]: what is old goes
//! - [`held_up`]: what a store or a service in trouble holds up
//! - `log`: what workers wrote, as a job's owner may see it
//! - [`trace`]: what log lines about a job have in common

pub mod accept;
mod batch_job;
pub mod canary;
pub mod detour;
mod ended;
pub mod finish;
pub mod held_up;
pub mod lines;
mod log;
pub mod look;
pub mod pack;
pub mod queued;
pub mod rescue;
pub mod retire;
pub mod spent;
pub mod survey;
pub mod trace;
pub mod turns;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

use clock::Clock;
use facts::job::{ChunkSizes, Counts, End, Stop, Try};
use facts::key::JobKeys;
use facts::{Job, JobId, Store, StoreError};
use policy::fair::Shares;
use policy::rescue::Condition;
use policy::units::UnixMs;
use wire::ticket::Ticket;

use crate::act::fact::{self, FactError};
use crate::act::rebalance::formula::Judged;
use crate::azure::batch;
use crate::azure::queue::Doorbell;

/// Facts that never change and are read again and again are kept here, this many of each kind.
const KEPT_MAX: usize = 4_096;

/// More than the chunks of the largest job, which has a line in each; 150 bytes apiece.
const SUMMARIES_MAX: usize = 65_536;

/// Where operators may listen for dead letters.
const DEAD_LETTER_QUEUE: &str = "batch-inference-dlq";

/// The deferred lane's hands. Copies share everything.
#[derive(Clone)]
pub struct Jobs(Arc<Hands>);

struct Hands {
    store: Store,
    clock: Clock,
    batch: Option<batch::Client>,
    doorbell: Option<Doorbell>,
    /// Where a node finds the store: its root as a URL without any secret, ending in `/`.
    store_url: String,
    kept: Kept,
    /// Shards that this process runs in the realtime lane now, each with when its newest line was answered
    /// (Unix ms). As many as it has invocations under way.
    rescuing: Mutex<HashMap<String, Arc<AtomicU64>>>,
    last_retired_ms: AtomicU64,
    /// The realtime lane as it was seen last, by the models' ids: as many as the catalogue has.
    conditions: RwLock<BTreeMap<String, Condition>>,
    /// Pools that have no node and cannot get one, as they were seen last.
    starved: RwLock<BTreeSet<String>>,
    held_up: held_up::Steps,
}

/// Facts that were read: they never change.
#[derive(Default)]
struct Kept {
    jobs: Mutex<HashMap<String, Arc<Job>>>,
    packs: Mutex<HashMap<String, Arc<facts::Pack>>>,
    /// Newest tries of open shards: a look at a large job that breaks off leaves less to read for the next.
    tries: Mutex<HashMap<String, Arc<Try>>>,
    /// What chunks hold, by their keys, of jobs that are being summed up: a sweep that is cut off goes on.
    summaries: Mutex<HashMap<String, (Counts, ChunkSizes)>>,
    /// Jobs that have not ended: these alone.
    open: Mutex<HashMap<String, queued::Open>>,
    /// What tenants were given of each pool; a process that begins knows of nothing, which costs one turn.
    shares: Mutex<HashMap<String, Shares>>,
    /// The newest Azure Batch job of a pool and band that took tasks.
    rounds: Mutex<HashMap<String, (u32, bool)>>,
    /// One formula a pool.
    judged: Judged,
}

/// Why something could not be done now. Nothing is lost: the next look does it.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The blob store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A fact cannot be read by this version.
    #[error("`{key}` cannot be read: {what}")]
    Unreadable {
        /// The fact.
        key: String,
        /// What is wrong with it.
        what: String,
    },
    /// Azure Batch failed.
    #[error(transparent)]
    Batch(#[from] batch::CallError),
    /// The pool could not be looked at.
    #[error(transparent)]
    Pool(#[from] batch::PoolError),
}

impl Trouble {
    /// What is in trouble: a word of a closed list.
    pub fn by(&self) -> &'static str {
        match self {
            Trouble::Store(_) => "blob store",
            Trouble::Unreadable { .. } => "a fact that cannot be read",
            Trouble::Batch(_) | Trouble::Pool(_) => "Azure Batch",
        }
    }
}

impl From<FactError> for Trouble {
    fn from(error: FactError) -> Trouble {
        match error {
            FactError::Store(error) => Trouble::Store(error),
            FactError::Unreadable(key, error) => Trouble::Unreadable { key, what: error.to_string() },
        }
    }
}

impl Jobs {
    /// The deferred lane over these services.
    pub fn new(
        store: Store,
        clock: Clock,
        batch: Option<batch::Client>,
        doorbell: Option<Doorbell>,
        store_url: String,
    ) -> Jobs {
        Jobs(Arc::new(Hands {
            store,
            clock,
            batch,
            doorbell,
            store_url,
            kept: Kept::default(),
            rescuing: Mutex::default(),
            last_retired_ms: AtomicU64::new(0),
            conditions: RwLock::default(),
            starved: RwLock::default(),
            held_up: held_up::Steps::default(),
        }))
    }

    /// Whether deferred work can be run at all.
    pub fn is_open(&self) -> bool {
        self.0.batch.is_some()
    }

    /// The store of the facts.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Azure Batch, where an account is set.
    pub fn batch(&self) -> Option<&batch::Client> {
        self.0.batch.as_ref()
    }

    /// Keeps in what condition the realtime lane is for each model: what is rescued there, and when, is
    /// reckoned with it.
    pub fn keep_conditions(&self, conditions: BTreeMap<String, Condition>) {
        *self.0.conditions.write().expect("no holder of this lock panics") = conditions;
    }

    /// In what condition the realtime lane is for a model; as the catalogue says before it was seen.
    fn condition(&self, model: &str) -> Condition {
        let conditions = self.0.conditions.read().expect("no holder of this lock panics");
        conditions.get(model).copied().unwrap_or_default()
    }

    /// Keeps which pools have no node and cannot get one now: what waits for them may go elsewhere.
    pub fn keep_starved(&self, pools: BTreeSet<String>) {
        *self.0.starved.write().expect("no holder of this lock panics") = pools;
    }

    fn is_starved(&self, pool: &str) -> bool {
        self.0.starved.read().expect("no holder of this lock panics").contains(pool)
    }

    /// What was found of formulas that are not ours.
    pub fn judged(&self) -> &Judged {
        &self.0.kept.judged
    }

    /// What of this process's work is held up.
    pub fn held_up(&self) -> &held_up::Steps {
        &self.0.held_up
    }

    /// Where a node finds the store.
    fn store_url(&self) -> &str {
        &self.0.store_url
    }

    /// The round of a series of Azure Batch jobs, and whether it is known to exist.
    fn round(&self, series: &str) -> (u32, bool) {
        let rounds = self.0.kept.rounds.lock().expect("no holder of this lock panics");
        rounds.get(series).copied().unwrap_or((0, false))
    }

    fn set_round(&self, series: &str, round: u32) {
        let mut rounds = self.0.kept.rounds.lock().expect("no holder of this lock panics");
        if rounds.len() >= KEPT_MAX {
            rounds.clear();
        }
        rounds.insert(series.to_owned(), (round, true));
    }

    /// An Azure Batch job takes no tasks any more: the next of its series does.
    fn next_round(&self, batch_job: &str) {
        let Some((series, round)) = batch_job.rsplit_once('-') else { return };
        let Ok(round) = round.parse::<u32>() else { return };
        let mut rounds = self.0.kept.rounds.lock().expect("no holder of this lock panics");
        let newest = rounds.entry(series.to_owned()).or_insert((round, true));
        if newest.0 <= round {
            *newest = (round + 1, false);
        }
    }

    fn summed(&self, chunk: &str) -> Option<(Counts, ChunkSizes)> {
        self.0.kept.summaries.lock().expect("no holder of this lock panics").get(chunk).copied()
    }

    fn keep_sum(&self, chunk: String, sum: (Counts, ChunkSizes)) {
        let mut summaries = self.0.kept.summaries.lock().expect("no holder of this lock panics");
        if summaries.len() >= SUMMARIES_MAX {
            summaries.clear();
        }
        summaries.insert(chunk, sum);
    }

    /// A job has its summary: those of its chunks are not needed any more.
    fn forget_sums(&self, keys: &JobKeys) {
        let mut summaries = self.0.kept.summaries.lock().expect("no holder of this lock panics");
        summaries.retain(|chunk, _| !chunk.starts_with(keys.folder()));
    }

    fn forget(&self, key: &str) {
        self.0.kept.jobs.lock().expect("no holder of this lock panics").remove(key);
    }

    /// Now, by the handler's clock.
    pub fn now(&self) -> UnixMs {
        UnixMs(self.0.clock.now_ms())
    }

    /// What the handler's clock showed when the store's showed this.
    pub(crate) fn at_store_time(&self, store_ms: u64) -> UnixMs {
        UnixMs(self.0.clock.at_ms(store_ms))
    }

    /// How old what the store wrote then is, in ms of the handler's clock.
    pub fn age_ms(&self, store_ms: u64) -> u64 {
        self.now().since(self.at_store_time(store_ms)).0
    }

    /// A job; none where there is none. Jobs that were read are kept: one that another process erased may be
    /// there still, see [`Jobs::job_now`].
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn job(&self, tenant: &str, id: &JobId) -> Result<Option<Arc<Job>>, Trouble> {
        let key = JobKeys::new(tenant, id).job();
        self.kept(&self.0.kept.jobs, key, |job: &Job| job.tenant == tenant && job.job == *id).await
    }

    /// A job, read anew: one that another process erased is none.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn job_now(&self, tenant: &str, id: &JobId) -> Result<Option<Arc<Job>>, Trouble> {
        self.forget(&JobKeys::new(tenant, id).job());
        self.job(tenant, id).await
    }

    /// A pack; none where there is none.
    async fn pack(&self, pack: &str) -> Result<Option<Arc<facts::Pack>>, Trouble> {
        self.kept(&self.0.kept.packs, facts::key::pack(pack), |read: &facts::Pack| read.pack == pack).await
    }

    /// A fact that never changes, read once. `fits` says whether it is what its key promises.
    async fn kept<T: serde::de::DeserializeOwned>(
        &self,
        kept: &Mutex<HashMap<String, Arc<T>>>,
        key: String,
        fits: impl Fn(&T) -> bool,
    ) -> Result<Option<Arc<T>>, Trouble> {
        if let Some(known) = kept.lock().expect("no holder of this lock panics").get(&key) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(read) = self.fact::<T>(&key).await? else { return Ok(None) };
        if !fits(&read) {
            return Err(Trouble::Unreadable { key, what: "it names another owner".to_owned() });
        }
        let read = Arc::new(read);
        let mut kept = kept.lock().expect("no holder of this lock panics");
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, Arc::clone(&read));
        Ok(Some(read))
    }

    /// A fact; none where there is none.
    async fn fact<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Trouble> {
        Ok(fact::read(&self.0.store, key).await?)
    }

    /// Why a job was asked to stop; none: it was not.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn stop_of(&self, keys: &JobKeys) -> Result<Option<Stop>, Trouble> {
        self.fact(&keys.stop()).await
    }

    /// How a job ended; none: it has not.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn end_of(&self, keys: &JobKeys) -> Result<Option<End>, Trouble> {
        self.fact(&keys.end()).await
    }

    /// About how many rings wait in the doorbell's queue, hidden ones included; none: it is not known.
    pub async fn rings(&self) -> Option<u64> {
        let length = self.0.doorbell.as_ref()?.length().await;
        length.inspect_err(|error| tracing::debug!(%error, "the doorbell's queue was not counted")).ok()
    }

    /// Why the doorbell could not be rung when it was tried last; none: it could.
    pub fn unrung(&self) -> Option<String> {
        self.0.doorbell.as_ref()?.trouble()
    }

    /// Tells whoever listens to the queue of dead letters. Whether it lies in the queue.
    pub async fn tell_dead_letter(&self, letter: &str) -> bool {
        let Some(doorbell) = &self.0.doorbell else { return false };
        let told = doorbell.dead_letter(DEAD_LETTER_QUEUE, letter).await;
        told.inspect_err(|error| tracing::warn!(%error, "a dead letter is not in its queue")).is_ok()
    }

    /// Somebody waits for the end of a job whose results are all there: asks for the summary, which the sweep
    /// would write within 30 s. Not while the doorbell cannot be rung: nobody shall wait for that.
    pub async fn hurry(&self, tenant: &str, job: &JobId) {
        if self.unrung().is_none() {
            self.ring(tenant, job, None).await;
        }
    }

    /// Rings for a look at a job. A ring that is lost costs 30 s: the sweep looks anyway. Whether the queue
    /// took it.
    pub(crate) async fn ring(&self, tenant: &str, job: &JobId, rescue: Option<(u32, u32)>) -> bool {
        let Some(doorbell) = &self.0.doorbell else { return false };
        let ticket = Ticket {
            v: wire::ticket::VERSION,
            tenant: tenant.to_owned(),
            job_id: job.to_string(),
            shard: rescue.map(|(shard, _)| shard),
            k: rescue.map(|(_, k)| k),
        };
        let rung = doorbell.ring(&ticket).await;
        let unheard = "the doorbell could not be rung; the sweep will look";
        rung.inspect_err(|error| tracing::warn!(%error, "{unheard}")).is_ok()
    }
}

/// A fact as it is written.
fn text(fact: &impl serde::Serialize) -> String {
    serde_json::to_string(fact).expect("facts are plain data, which always serializes")
}
