//! The message of the doorbell queue: look at this job. Nothing else in a message is believed, and
//! what it names is looked up: a lost, doubled, late or forged one costs one read.

use serde::{Deserialize, Serialize};

/// The version that this code writes and reads.
pub const VERSION: u32 = 1;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// [`VERSION`].
    pub v: u32,
    /// Whose job.
    pub tenant: String,
    /// The job's id.
    pub job_id: String,
    /// The shard to rescue; none: look at the whole job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<u32>,
    /// The try to claim and run for that shard.
    #[serde(default, rename = "try", skip_serializing_if = "Option::is_none")]
    pub k: Option<u32>,
}
