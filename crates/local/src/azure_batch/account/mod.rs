//! The account: pools, nodes, jobs and tasks, and everything that may happen to them.
//!
//! Pure: no clock, no I/O. Calls and ends of processes come in with the time, [`Effect`]s go out.
//! - `pool`, `job`, `task`: the objects and how their bodies are read
//! - `pools`, `nodes`: targets; machines that arrive, boot, leave, are evicted and come back
//! - `autoscale`, `samples`: formulas, when they are evaluated, and what they may look at
//! - `jobs`, `tasks`: their lives
//! - `placement`: which task runs where and when
//! - `trouble`: shortages, bad boots and storms on request
//!
//! Invariants (checked by a property): a node never runs more than its slots; a task runs at most
//! once at a time; `ready` holds exactly the active tasks; `open` counts those not completed.

pub(super) mod autoscale;
pub(super) mod job;
mod jobs;
mod nodes;
mod placement;
pub(super) mod pool;
mod pools;
mod samples;
pub(super) mod task;
mod tasks;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use job::Job;
use pool::Pool;
use task::Failure;
pub use trouble::{BootEnd, Boots, Capacity, Quota, Storm};

/// Pools of one account (the service's default quota is up to 100).
const POOLS_MAX: usize = 100;
/// Active jobs of one account (the service's default quota is 100 to 300).
const JOBS_ACTIVE_MAX: usize = 300;
/// Jobs of one account. The service has no bound for completed ones; memory has.
const JOBS_MAX: usize = 10_000;
/// Tasks of one account, completed ones included. The service has no bound; memory has.
const TASKS_MAX: usize = 100_000;
/// How long the platform tries to get an evicted machine back.
const RESTORE_LIMIT_MS: u64 = 48 * 60 * 60 * 1000;

/// Ids differ only in case for people; the service takes them for one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(String);

impl Key {
    pub(super) fn of(id: &str) -> Key {
        Key(id.to_ascii_lowercase())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// One start of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RunId(pub(super) u64);

/// The version of an object: behind ETag and Last-Modified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    revision: u64,
    pub(super) modified_ms: u64,
}

impl Stamp {
    /// The ETag without quotes.
    pub(super) fn etag(&self) -> String {
        format!("0x8DE{:012X}", self.revision)
    }
}

/// How long machines take, on the account's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) arrival_ms: u64,
    pub(super) boot_ms: u64,
    pub(super) restore_ms: u64,
}

impl Pace {
    pub(super) fn of(arrival: Duration, boot: Duration, restore: Duration) -> Pace {
        // A restore that takes no time would be tried for ever at one instant.
        Pace { arrival_ms: ms(arrival), boot_ms: ms(boot), restore_ms: ms(restore).max(1) }
    }
}

/// Milliseconds of a duration. What is too long for them is for ever, and may still be added to a time.
fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

/// Why a node cannot be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeRefusal {
    /// No pool or no node has this id.
    #[error("no pool has a node of this id; list the pool's nodes")]
    NoSuchNode,
    /// Only spot nodes are evicted.
    #[error("the node is dedicated; only spot nodes are evicted")]
    Dedicated,
    /// It is away already.
    #[error("the node is already preempted; wait until it is back")]
    Preempted,
}

/// What the world must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Start a process; its end is told by [`Account::ended`].
    Start(Box<Start>),
    /// Kill a process and all it started. Its end is not waited for.
    Kill(RunId),
    /// The machine is gone with everything on its disk.
    RemoveNode { pool: String, node: String },
    /// The files of a deleted task are gone.
    RemoveTask { pool: String, node: String, job: String, task: String },
}

/// A process to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) run: RunId,
    pub(super) pool: String,
    pub(super) node: String,
    pub(super) dedicated: bool,
    pub(super) job: String,
    pub(super) task: String,
    /// The nodes of a multi-instance task, this one first; otherwise this one alone.
    pub(super) nodes: Vec<String>,
    pub(super) command_line: String,
    pub(super) image: Option<String>,
    /// The job's settings, then the task's, which win.
    pub(super) environment: Vec<(String, String)>,
}

/// How a process that was not killed ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Exited(i32),
    NotStarted(Failure),
}

/// Something that happens at its time without anybody's call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The machines that a pool asked for arrive, as many as there are.
    Arrival(Key),
    /// A node has booted, or is tried to be got back.
    Node(Key, String),
    TaskLimit(RunId),
    JobLimit(Key),
    /// A pool's formula is evaluated.
    Autoscale(Key),
    /// The next wave of a storm over a pool.
    Storm(Key),
    /// Every pool is measured.
    Sample,
}

/// Where a process runs and for which task.
struct Run {
    job: Key,
    task: Key,
    pool: Key,
    /// Where it takes slots. The first one has the process; others only a multi-instance task has.
    nodes: Vec<String>,
    limit_ms: Option<u64>,
}

/// The account.
pub(super) struct Account {
    pools: BTreeMap<Key, Pool>,
    jobs: BTreeMap<Key, Job>,
    runs: BTreeMap<RunId, Run>,
    timers: BTreeSet<(u64, Timer)>,
    effects: Vec<Effect>,
    pace: Pace,
    capacity: Capacity,
    quota: Quota,
    boots: Boots,
    /// Whether the next sample is under way.
    sampling: bool,
    /// Tasks of all jobs.
    tasks: usize,
    revision: u64,
    next_run: u64,
    /// Tasks whose process was killed because their node left.
    killed_by_shrinking: u64,
    next_node: u64,
    next_job: u64,
}

impl Account {
    pub(super) fn new(pace: Pace, capacity: Capacity) -> Account {
        Account {
            pools: BTreeMap::new(),
            jobs: BTreeMap::new(),
            runs: BTreeMap::new(),
            timers: BTreeSet::new(),
            effects: Vec::new(),
            pace,
            capacity,
            quota: Quota::UNLIMITED,
            boots: Boots::default(),
            sampling: false,
            tasks: 0,
            revision: 0,
            next_run: 0,
            killed_by_shrinking: 0,
            next_node: 0,
            next_job: 0,
        }
    }

    /// Lets time pass: everything that is due happens, each at its own time.
    pub(super) fn advance(&mut self, now_ms: u64) {
        while let Some((due_ms, _)) = self.timers.first()
            && *due_ms <= now_ms
        {
            let (due_ms, timer) = self.timers.pop_first().expect("there is a first one");
            match timer {
                Timer::Sample => {
                    self.sample(due_ms);
                    // Nothing has changed.
                    continue;
                }
                Timer::Autoscale(pool) => self.autoscale_due(&pool, due_ms),
                Timer::Storm(pool) => drop(self.wave(&pool, due_ms)),
                Timer::Arrival(pool) => self.arrive(&pool, due_ms),
                Timer::Node(pool, node) => self.node_due(&pool, &node, due_ms),
                Timer::TaskLimit(run) => self.out_of_time(run, due_ms),
                Timer::JobLimit(job) => self.end_job(&job, "MaxWallClockTimeExpiry", due_ms),
            }
            self.place_tasks(due_ms);
        }
    }

    /// When something is due next.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.timers.first().map(|(due_ms, _)| *due_ms)
    }

    /// What the world must do since the last call, in this order.
    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn arm(&mut self, due_ms: u64, timer: Timer) {
        self.timers.insert((due_ms, timer));
    }

    fn disarm(&mut self, due_ms: Option<u64>, timer: Timer) {
        if let Some(due_ms) = due_ms {
            self.timers.remove(&(due_ms, timer));
        }
    }

    fn stamp(&mut self, now_ms: u64) -> Stamp {
        self.revision += 1;
        Stamp { revision: self.revision, modified_ms: now_ms }
    }
}

#[cfg(test)]
mod tests;
