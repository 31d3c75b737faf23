//! The read-only service variables: what a pool samples every 30 seconds.

use std::fmt;

/// A sampled quantity of a pool or of its tasks. None of the task counts is in slots: a task that
/// needs two slots counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Tasks that are ready to run; a multi-instance task counts its instances.
    ActiveTasks,
    /// Tasks that run.
    RunningTasks,
    /// Active and running tasks together.
    PendingTasks,
    /// Tasks that ended well.
    SucceededTasks,
    /// Tasks that failed.
    FailedTasks,
    /// Tasks that one node runs side by side.
    TaskSlotsPerNode,
    /// Dedicated nodes that the pool has now.
    CurrentDedicatedNodes,
    /// Low-priority (spot) nodes that the pool has now, preempted ones included.
    CurrentLowPriorityNodes,
    /// Nodes in the state `preempted`.
    PreemptedNodeCount,
    /// Nodes that can take a task.
    UsableNodeCount,
    /// Nodes that the samples come from.
    SampleNodeCount,
    /// The average share of the processors in use (official examples compare it with 0.7).
    CpuPercent,
    /// Seconds of wall clock consumed.
    WallClockSeconds,
    /// The average of the memory in use, in bytes.
    MemoryBytes,
    /// The average of the local disk in use, in bytes.
    DiskBytes,
    /// Bytes read from the local disk.
    DiskReadBytes,
    /// Bytes written to the local disk.
    DiskWriteBytes,
    /// Reads of the local disk.
    DiskReadOps,
    /// Writes to the local disk.
    DiskWriteOps,
    /// Bytes that came in.
    NetworkInBytes,
    /// Bytes that went out.
    NetworkOutBytes,
}

impl Metric {
    /// Every metric, in the order of its declaration.
    pub const ALL: [Metric; 21] = [
        Metric::ActiveTasks,
        Metric::RunningTasks,
        Metric::PendingTasks,
        Metric::SucceededTasks,
        Metric::FailedTasks,
        Metric::TaskSlotsPerNode,
        Metric::CurrentDedicatedNodes,
        Metric::CurrentLowPriorityNodes,
        Metric::PreemptedNodeCount,
        Metric::UsableNodeCount,
        Metric::SampleNodeCount,
        Metric::CpuPercent,
        Metric::WallClockSeconds,
        Metric::MemoryBytes,
        Metric::DiskBytes,
        Metric::DiskReadBytes,
        Metric::DiskWriteBytes,
        Metric::DiskReadOps,
        Metric::DiskWriteOps,
        Metric::NetworkInBytes,
        Metric::NetworkOutBytes,
    ];

    /// The variable's name in a formula, with its `$`.
    pub const fn name(self) -> &'static str {
        match self {
            Metric::ActiveTasks => "$ActiveTasks",
            Metric::RunningTasks => "$RunningTasks",
            Metric::PendingTasks => "$PendingTasks",
            Metric::SucceededTasks => "$SucceededTasks",
            Metric::FailedTasks => "$FailedTasks",
            Metric::TaskSlotsPerNode => "$TaskSlotsPerNode",
            Metric::CurrentDedicatedNodes => "$CurrentDedicatedNodes",
            Metric::CurrentLowPriorityNodes => "$CurrentLowPriorityNodes",
            Metric::PreemptedNodeCount => "$PreemptedNodeCount",
            Metric::UsableNodeCount => "$UsableNodeCount",
            Metric::SampleNodeCount => "$SampleNodeCount",
            Metric::CpuPercent => "$CPUPercent",
            Metric::WallClockSeconds => "$WallClockSeconds",
            Metric::MemoryBytes => "$MemoryBytes",
            Metric::DiskBytes => "$DiskBytes",
            Metric::DiskReadBytes => "$DiskReadBytes",
            Metric::DiskWriteBytes => "$DiskWriteBytes",
            Metric::DiskReadOps => "$DiskReadOps",
            Metric::DiskWriteOps => "$DiskWriteOps",
            Metric::NetworkInBytes => "$NetworkInBytes",
            Metric::NetworkOutBytes => "$NetworkOutBytes",
        }
    }

    /// The metric of that name, with its `$`.
    pub fn named(name: &str) -> Option<Metric> {
        Metric::ALL.into_iter().find(|metric| metric.name() == name)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
