//! What the service measures of every pool each 30 s, and shows about a minute later.
//!
//! Tasks of a pool are those of the jobs that name it; active are those that a job would start:
//! a disabled or ended job's are not among them. Deleted tasks are in no count. The processors'
//! share in use is the share of the slots in use: nothing is measured on this machine.

use std::collections::{BTreeMap, VecDeque};

use autoscale::{History, Interval, Metric, Timestamp};

use super::job::{self, Job};
use super::pool::{NodeState, Pool};
use super::{Account, Key, Timer};

/// The service takes a sample every 30 s.
pub(super) const PERIOD_MS: u64 = 30_000;
/// "It takes approximately one minute for samples to propagate through the system."
const LATE_MS: u64 = 60_000;
/// How long samples are kept: the longest window in official examples is an hour.
const KEPT_MS: u64 = 6 * 60 * 60 * 1000;

type Sample = [(Metric, f64); 12];

/// The samples of one pool. Bounded by [`KEPT_MS`] and [`LATE_MS`], one each [`PERIOD_MS`].
pub(in crate::azure_batch) struct Samples {
    history: History,
    /// Taken, and not visible yet.
    late: VecDeque<(u64, Sample)>,
}

impl Samples {
    pub(super) fn new() -> Samples {
        Samples { history: History::new(Interval::from_ms(PERIOD_MS)), late: VecDeque::new() }
    }

    /// What an evaluation may look at.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Shows what has waited long enough and forgets what is too old.
    pub(super) fn release(&mut self, now_ms: u64) {
        while let Some((at_ms, sample)) = self.late.front()
            && at_ms + LATE_MS <= now_ms
        {
            self.history.push(Timestamp::from_unix_ms(*at_ms), sample);
            self.late.pop_front();
        }
        self.history.forget_before(Timestamp::from_unix_ms(now_ms.saturating_sub(KEPT_MS)));
    }
}

/// The tasks of a pool.
#[derive(Clone, Copy, Default)]
struct Tasks {
    active: u64,
    running: usize,
    succeeded: usize,
    failed: usize,
}

impl Tasks {
    fn add(&mut self, job: &Job) {
        if job.state == job::State::Active {
            self.active += job.ready.instances();
        }
        self.running += job.open - job.ready.len();
        self.succeeded += job.succeeded;
        self.failed += job.tasks.len() - job.open - job.succeeded;
    }
}

impl Account {
    /// Begins to measure with the first pool.
    pub(super) fn start_sampling(&mut self, now_ms: u64) {
        if !self.sampling {
            self.sampling = true;
            self.arm(now_ms + PERIOD_MS, Timer::Sample);
        }
    }

    /// Measures every pool, and comes back as long as there is one.
    pub(super) fn sample(&mut self, now_ms: u64) {
        let mut tasks: BTreeMap<&Key, Tasks> = BTreeMap::new();
        for job in self.jobs.values() {
            tasks.entry(&job.spec.pool).or_default().add(job);
        }
        for (key, pool) in &mut self.pools {
            let sample = pool.sample(tasks.get(key).copied().unwrap_or_default());
            pool.samples.late.push_back((now_ms, sample));
            pool.samples.release(now_ms);
        }
        self.sampling = !self.pools.is_empty();
        if self.sampling {
            self.arm(now_ms + PERIOD_MS, Timer::Sample);
        }
    }
}

impl Pool {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn sample(&self, tasks: Tasks) -> Sample {
        let in_state = |state| self.nodes.values().filter(|node| node.state == state).count() as f64;
        let current = self.current();
        let up = in_state(NodeState::Up);
        let measured = up + in_state(NodeState::LeavingPool);
        let taken: u32 = self.nodes.values().map(super::pool::Node::slots_taken).sum();
        let cpu = f64::from(taken) / (measured.max(1.0) * f64::from(self.spec.slots));
        let (active, running) = (tasks.active as f64, tasks.running as f64);
        [
            (Metric::ActiveTasks, active),
            (Metric::RunningTasks, running),
            (Metric::PendingTasks, active + running),
            (Metric::SucceededTasks, tasks.succeeded as f64),
            (Metric::FailedTasks, tasks.failed as f64),
            (Metric::TaskSlotsPerNode, f64::from(self.spec.slots)),
            (Metric::CurrentDedicatedNodes, current.dedicated as f64),
            (Metric::CurrentLowPriorityNodes, current.spot as f64),
            (Metric::PreemptedNodeCount, in_state(NodeState::Preempted)),
            (Metric::UsableNodeCount, up),
            (Metric::SampleNodeCount, measured),
            (Metric::CpuPercent, cpu),
        ]
    }
}
