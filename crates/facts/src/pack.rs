//! One Azure Batch task: shards of one or many jobs that run on the same model in the same pool.

use serde::{Deserialize, Serialize};

use crate::JobId;

/// `packs/{pack}.json`, written before its members are claimed. The task's id is the pack's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Pack {
    /// [`crate::VERSION`].
    pub v: u32,
    /// Its id, and the task's.
    pub pack: String,
    /// The pool.
    pub pool: String,
    /// The Azure Batch job that the task is added to.
    pub batch_job: String,
    /// The catalogue's id of the model.
    pub model: String,
    /// `sha256:…` of the weights that the members were promised; none where nobody knows.
    #[serde(default)]
    pub digest: Option<String>,
    /// Shards in it; a worker runs those whose newest try names this pack.
    pub members: Vec<Member>,
    /// Expected time on one slot.
    pub work_ms: u64,
    /// Nobody needs its results after this.
    pub deadline_ms: u64,
    /// When it was packed.
    pub created_ms: u64,
    /// W3C trace context that the worker continues.
    #[serde(default)]
    pub traceparent: Option<String>,
}

/// A shard in a pack.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Member {
    /// Whose job.
    pub tenant: String,
    /// The job.
    pub job: JobId,
    /// Its shard.
    pub shard: u32,
    /// The try that was claimed for it.
    pub k: u32,
}
