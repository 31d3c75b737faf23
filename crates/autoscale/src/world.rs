//! What an evaluation is given: the time, the samples, the pool's present targets and a seed.

use crate::{History, Timestamp};

/// Everything that a formula can see. The same world gives the same results.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The time that `time()` gives and that windows are counted back from.
    pub now: Timestamp,
    /// The samples that are visible now.
    pub history: &'a History,
    /// The pool's present targets, which a formula may read.
    pub targets: Targets,
    /// What holds as long as the formula assigns no option (the service: requeue).
    pub deallocation: Deallocation,
    /// What `rand()` draws from.
    pub seed: u64,
}

/// A pool's target node counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Dedicated nodes.
    pub dedicated: u32,
    /// Low-priority (spot) nodes.
    pub low_priority: u32,
}

/// What happens to a task whose node is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Deallocation {
    /// It is killed and runs again elsewhere.
    #[default]
    Requeue,
    /// It is killed and fails.
    Terminate,
    /// The node stays until it ends.
    TaskCompletion,
    /// The node stays until its data's retention ends. Api-versions from 2026-10-01 do not know it.
    RetainedData,
}

impl Deallocation {
    /// Every option.
    pub const ALL: [Deallocation; 4] = [
        Deallocation::Requeue,
        Deallocation::Terminate,
        Deallocation::TaskCompletion,
        Deallocation::RetainedData,
    ];

    /// The word in a formula and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Deallocation::Requeue => "requeue",
            Deallocation::Terminate => "terminate",
            Deallocation::TaskCompletion => "taskcompletion",
            Deallocation::RetainedData => "retaineddata",
        }
    }

    /// The option of that word.
    pub fn named(word: &str) -> Option<Deallocation> {
        Deallocation::ALL.into_iter().find(|option| option.as_str() == word)
    }
}
