//! When deferred work is taken to the realtime lane so that its deadline is kept.

use crate::pace::Pace;
use crate::units::{Millis, UnixMs};

/// A rescue's own time: claimed and run within this, or it is over.
pub const RESCUE_WITHIN: Millis = Millis::from_secs(240);
/// A rescue that has put no chunk for this long, or that nobody claimed, is rung again; one whose chunks
/// take long gets the time of [`SILENT_CHUNKS`].
pub const SILENT_AFTER: Millis = Millis::from_secs(45);
/// Several rescues share the slots, and the time of a chunk is an estimate.
pub const SILENT_CHUNKS: u64 = 4;

/// Before its time and that of its work, a rescue needs this long so that one whose process is killed can
/// be rung once more.
const LAST_CALL: Millis = Millis(2 * SILENT_AFTER.0);

/// In what condition the realtime lane is for one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// The start of a replica that the catalogue's time of a job holds, p95; it is no work.
    pub start: Millis,
    /// How fast the lane works against the catalogue.
    pub pace: Pace,
}

impl Condition {
    /// How long work takes there that the catalogue gives `whole`. A lane that is faster than the catalogue
    /// says is not relied upon: it may not stay so until the deadline.
    pub fn of(self, whole: Millis) -> Millis {
        let start = self.start.min(whole);
        start + self.pace.or_slower().of(Millis(whole.0 - start.0))
    }
}

/// What is known of a shard that is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its job's deadline.
    pub deadline: UnixMs,
    /// Whether its owner asked for the realtime lane.
    pub promoted: bool,
    /// What is left of it, on one slot of its pool.
    pub left: Millis,
    /// What is left of the whole job in the realtime lane; none where no backend serves its model.
    pub realtime: Option<Millis>,
    /// How long a rescue takes for one chunk.
    pub chunk: Millis,
    /// Where it is.
    pub at: At,
    /// Not tried again before this: its tries came to nothing.
    pub again: UnixMs,
}

/// Where a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// No task has it, or none that still can run.
    Nowhere,
    /// In a task that waits for a slot.
    Queued,
    /// In a task that runs.
    Running,
    /// In a rescue that was claimed then; its newest chunk was put then, if any.
    Rescue {
        /// When it was claimed.
        claimed: UnixMs,
        /// When it last put a chunk.
        last_chunk: Option<UnixMs>,
    },
}

/// When a shard's rescue has to begin; none: it cannot be rescued.
pub fn begins(shard: &Shard) -> Option<UnixMs> {
    let realtime = shard.realtime?;
    Some(shard.deadline - (realtime + RESCUE_WITHIN))
}

/// When a rescue can wait no longer, whatever its task seems to do.
fn last_call(shard: &Shard) -> UnixMs {
    shard.deadline - (shard.realtime.unwrap_or_default() + LAST_CALL)
}

/// When a rescue counts as silent.
pub fn silent_at(shard: &Shard, claimed: UnixMs, last_chunk: Option<UnixMs>) -> UnixMs {
    let patience = SILENT_AFTER.max(shard.chunk.scaled(SILENT_CHUNKS, 1)).min(RESCUE_WITHIN);
    last_chunk.unwrap_or(claimed).max(claimed) + patience
}

/// Whether a rescue of this shard is to be rung now.
pub fn due(shard: &Shard, now: UnixMs) -> bool {
    let Some(begins) = begins(shard) else { return false };
    match shard.at {
        At::Rescue { .. } | At::Nowhere if now < shard.again => false,
        At::Rescue { claimed, last_chunk } => {
            // A killed host hides its message for minutes; an overlap costs money, never correctness.
            now >= silent_at(shard, claimed, last_chunk)
        }
        _ if shard.promoted => true,
        // A task that is about to end in time by itself is left alone, but not for longer than a rescue
        // can wait: it may hang, or run the other members of its pack first.
        At::Running if now + shard.left + shard.left <= shard.deadline => now >= last_call(shard),
        At::Running | At::Queued | At::Nowhere => now >= begins,
    }
}
