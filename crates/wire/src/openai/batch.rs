//! Batches of the OpenAI API.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::whole;

/// Body of `POST /v1/batches`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchCreate {
    /// Id of a file that was uploaded with the purpose `batch`.
    #[schema(pattern = "^file-[a-z2-7]{26}$")]
    pub input_file_id: String,
    /// As `/v1/embeddings`: the `url` of its lines.
    #[schema(pattern = "^/v1/(embeddings|chat/completions|completions)$")]
    pub endpoint: String,
    /// `24h`; a header or `metadata.deadline` may ask for less.
    #[schema(pattern = "^24h$")]
    pub completion_window: String,
    /// At most 16 pairs, names of at most 64 characters, values of at most 512.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// When output and errors go, counted from the end of the batch; where the operator's retention is
    /// shorter, it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_expires_after: Option<ExpiresAfter>,
}

/// When something goes by itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpiresAfter {
    /// `created_at`
    #[schema(pattern = "^created_at$")]
    pub anchor: String,
    /// Seconds after that: from an hour to thirty days.
    #[serde(deserialize_with = "whole::read")]
    #[schema(minimum = 3600, maximum = 2592000)]
    pub seconds: u64,
}

/// A batch. Times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct Batch {
    /// `batch_…`
    #[schema(pattern = "^batch_[a-z2-7]{26}$")]
    pub id: String,
    /// Always `batch`.
    pub object: Cow<'static, str>,
    /// As `/v1/embeddings`.
    pub endpoint: String,
    /// The model of its lines.
    pub model: String,
    /// Why it failed as a whole.
    pub errors: Option<BatchErrors>,
    /// The file of its lines.
    pub input_file_id: String,
    /// As it was asked for.
    pub completion_window: String,
    /// Where it is in its life.
    pub status: BatchStatus,
    /// The file of its results; none where there are none.
    pub output_file_id: Option<String>,
    /// The file of its errors; none where there are none.
    pub error_file_id: Option<String>,
    /// When it was accepted.
    pub created_at: u64,
    /// When it began to run.
    pub in_progress_at: Option<u64>,
    /// Its deadline.
    pub expires_at: Option<u64>,
    /// When every line had its result.
    pub finalizing_at: Option<u64>,
    /// When it was completed.
    pub completed_at: Option<u64>,
    /// When it failed.
    pub failed_at: Option<u64>,
    /// When it expired.
    pub expired_at: Option<u64>,
    /// When its owner asked to cancel it.
    pub cancelling_at: Option<u64>,
    /// When it was cancelled.
    pub cancelled_at: Option<u64>,
    /// How far it is.
    pub request_counts: RequestCounts,
    /// The client's own.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// Where a batch is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchStatus {
    /// Accepted; nothing of it has begun.
    Validating,
    /// Something is wrong with its input, or nothing could run it.
    Failed,
    /// It runs.
    InProgress,
    /// Every line is done; its files are being closed.
    Finalizing,
    /// Every line has a result of its own.
    Completed,
    /// Its deadline came first; what was done by then is in its files.
    Expired,
    /// Asked to stop; lines that are not done are being closed.
    Cancelling,
    /// Its owner stopped it; what was done by then is in its files.
    Cancelled,
}

/// Lines by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct RequestCounts {
    /// All of them.
    pub total: u64,
    /// Done; while the batch runs, whatever the outcome.
    pub completed: u64,
    /// With an error of their own; known once it has ended.
    pub failed: u64,
}

/// Why a batch failed as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct BatchErrors {
    /// Always `list`.
    pub object: Cow<'static, str>,
    /// They.
    pub data: Vec<BatchError>,
}

/// What clients see before the id of a job that is a batch.
pub const BATCH_PREFIX: &str = "batch_";

/// One error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct BatchError {
    /// For programs.
    pub code: String,
    /// The line of the input, from 1.
    pub line: Option<u64>,
    /// For people.
    pub message: String,
    /// The member of the line that is wrong.
    pub param: Option<String>,
}

/// Answer of `GET /v1/batches`.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct BatchList {
    /// Always `list`.
    pub object: Cow<'static, str>,
    /// The newest first.
    pub data: Vec<Batch>,
    /// Id of the first one here.
    pub first_id: Option<String>,
    /// Id of the last one here: what `after` takes.
    pub last_id: Option<String>,
    /// Whether others follow.
    pub has_more: bool,
}
