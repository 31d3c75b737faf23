//! The pool that a formula is tried on: samples made up for it, and what the formula then asks for.

use crate::{Deallocation, Formula, History, Interval, Metric, Targets, Timestamp, World};

/// The service samples every 30 s.
const PERIOD_MS: i64 = 30_000;
/// A sample is seen about a minute later; the least that it may be, for what is told must hold anyway.
const LATE_MS: i64 = 30_000;
const TICKS_PER_MS: i64 = 10_000;
/// Samples of a history beside those that the longest window takes.
const ROWS_MORE: usize = 20;
/// A node's load while it has work, and while the pool has next to none.
const CPU_BUSY: f64 = 0.95;
const CPU_IDLE: f64 = 0.05;

/// What the samples say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Samples {
    /// There is none.
    None,
    /// So many tasks, all the time.
    Tasks(u32),
    /// A task runs now; until before the longest window there were so many.
    Fading(u32),
    /// Everything that is counted is so much all the time.
    All(u32),
    /// The same, but 0 in one sample, so many samples before the newest.
    Dip(u32, usize),
}

/// A pool as it is when the formula is evaluated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    /// When.
    pub now: Timestamp,
    /// What was sampled.
    pub samples: Samples,
    /// Nodes that the pool aims at and has.
    pub nodes: Targets,
    /// Spot nodes that were taken away, of those that it has.
    pub preempted: u32,
    /// Slots of a node.
    pub slots: u32,
    /// Samples that the longest window takes.
    pub window: usize,
}

/// What a formula asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Nodes of each kind; what it does not set stays.
    pub nodes: Targets,
    /// What happens to the tasks of nodes that leave.
    pub option: Deallocation,
}

impl Asked {
    /// Nodes of both kinds.
    pub fn total(&self) -> u64 {
        total(self.nodes)
    }
}

/// Nodes of both kinds.
pub(super) fn total(nodes: Targets) -> u64 {
    u64::from(nodes.dedicated) + u64::from(nodes.low_priority)
}

impl Trial {
    /// Evaluates the formula; `None` where that fails, and the pool stays as it is.
    pub fn ask(&self, formula: &Formula) -> Option<Asked> {
        let history = self.history();
        let world = World {
            now: self.now,
            history: &history,
            targets: self.nodes,
            deallocation: Deallocation::default(),
            seed: 0,
        };
        let run = formula.evaluate(&world);
        let nodes = Targets {
            dedicated: run.results.dedicated().unwrap_or(self.nodes.dedicated),
            low_priority: run.results.low_priority().unwrap_or(self.nodes.low_priority),
        };
        run.error.is_none().then_some(Asked { nodes, option: run.results.deallocation() })
    }

    fn history(&self) -> History {
        let mut history = History::new(Interval(PERIOD_MS * TICKS_PER_MS));
        let rows = self.window + ROWS_MORE;
        for age in (0..rows).rev() {
            let back_ms = LATE_MS + PERIOD_MS * i64::try_from(age).unwrap_or(i64::MAX / PERIOD_MS / 2);
            let at = Timestamp(self.now.0.saturating_sub(back_ms.saturating_mul(TICKS_PER_MS)));
            match self.samples {
                Samples::None => {}
                Samples::Tasks(tasks) => history.push(at, &self.row(tasks)),
                Samples::Fading(tasks) => {
                    history.push(at, &self.row(if age <= self.window { 1 } else { tasks }));
                }
                Samples::All(count) => history.push(at, &uniform(count)),
                Samples::Dip(count, low) => history.push(at, &uniform(if age == low { 0 } else { count })),
            }
        }
        history
    }

    fn row(&self, tasks: u32) -> Vec<(Metric, f64)> {
        let nodes = total(self.nodes);
        let usable = nodes.saturating_sub(u64::from(self.preempted));
        let running = u64::from(tasks).min(usable * u64::from(self.slots));
        let cpu = if tasks > 1 { CPU_BUSY } else { CPU_IDLE };
        // A node tells of itself; without one nobody does.
        let of_nodes = |metric| !matches!(metric, Metric::CpuPercent) || usable > 0;
        let value = |metric| match metric {
            Metric::ActiveTasks => u64::from(tasks) as f64 - running as f64,
            Metric::RunningTasks => running as f64,
            Metric::PendingTasks => f64::from(tasks),
            Metric::TaskSlotsPerNode => f64::from(self.slots),
            Metric::CurrentDedicatedNodes => f64::from(self.nodes.dedicated),
            Metric::CurrentLowPriorityNodes => f64::from(self.nodes.low_priority),
            Metric::PreemptedNodeCount => f64::from(self.preempted),
            Metric::UsableNodeCount | Metric::SampleNodeCount => usable as f64,
            Metric::CpuPercent => cpu,
            _ => 0.0,
        };
        Metric::ALL
            .into_iter()
            .filter(|metric| of_nodes(*metric))
            .map(|metric| (metric, value(metric)))
            .collect()
    }
}

fn uniform(count: u32) -> Vec<(Metric, f64)> {
    Metric::ALL.into_iter().map(|metric| (metric, f64::from(count))).collect()
}
