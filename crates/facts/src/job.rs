//! What the facts of a job say. Times are Unix milliseconds by the handler's clock, money is
//! millionths of a US dollar.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::JobId;
use crate::ledger::{Lane, Price, What};

/// `job.json`: the claim and the commit point. A job exists when this does.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Job {
    /// [`crate::VERSION`].
    pub v: u32,
    /// Its id.
    pub job: JobId,
    /// Whose it is.
    pub tenant: String,
    /// Random, of the process that wrote it: tells a lost answer from a lost race.
    pub by: String,
    /// How clients see it.
    pub kind: Kind,
    /// As `/v1/embeddings`: what every line asks for.
    pub url: String,
    /// The catalogue's id of the model.
    pub model: String,
    /// `sha256:…` of the weights that it must run on; none where the catalogue knows none.
    #[serde(default)]
    pub digest: Option<String>,
    /// Hash of what the client sent: the same `Idempotency-Key` with another is refused.
    pub body_hash: String,
    /// How pressing its owner says it is.
    #[serde(default)]
    pub class: Class,
    /// When it was accepted.
    pub created_ms: u64,
    /// Hard; results after it do not count.
    pub deadline_ms: u64,
    /// What it may cost at most.
    #[serde(default)]
    pub max_cost_micro_usd: Option<u64>,
    /// The pool that it was accepted for.
    pub pool: String,
    /// What was expected when it was accepted.
    pub estimate: Estimate,
    /// The client's own, for bills: team, project, …
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// W3C trace context that it was sent under.
    #[serde(default)]
    pub traceparent: Option<String>,
    /// Where its lines are.
    pub input: Input,
    /// Its parts, in the order of the input.
    pub shards: Vec<Shard>,
    /// Lines of a chunk: about 20 s of GPU time.
    pub chunk_lines: u32,
}

/// How clients see a job.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Kind {
    /// One request that was answered by 202.
    Request,
    /// An OpenAI batch.
    OpenaiBatch {
        /// The file of its lines.
        file: String,
        /// As the client gave it, `24h`.
        completion_window: String,
        /// Its output and errors are shown for so many seconds after its end; none: until its retention
        /// ends.
        #[serde(default)]
        output_expires_s: Option<u64>,
    },
}

/// How pressing a job's owner says it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Somebody waits for it.
    Interactive,
    /// The usual.
    #[default]
    Standard,
    /// Whenever there is room.
    Bulk,
}

/// Where a job's lines are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Here; at most 64 KiB.
    Inline(String),
    /// In this object of the store.
    Object(String),
}

/// Largest input that `job.json` holds itself.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Consecutive lines of the input that are dispatched together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Shard {
    /// Where it begins in the input.
    pub offset: u64,
    /// How long it is there.
    pub bytes: u64,
    /// Its first line, from 0.
    pub first_line: u64,
    /// Lines in it.
    pub lines: u32,
    /// Expected time on one slot of the pool.
    pub work_ms: u64,
}

impl Shard {
    /// Chunks of `chunk_lines` lines that it has.
    pub fn chunks(&self, chunk_lines: u32) -> u32 {
        self.lines.div_ceil(chunk_lines.max(1))
    }

    /// Lines of the job (from 0, end excluded) that chunk `c` holds.
    pub fn chunk_range(&self, chunk_lines: u32, c: u32) -> std::ops::Range<u64> {
        let first = self.first_line + u64::from(c) * u64::from(chunk_lines);
        first..(first + u64::from(chunk_lines)).min(self.first_line + u64::from(self.lines))
    }
}

/// What was expected of a job when it was accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Estimate {
    /// Half of such jobs end by then.
    pub p50_ms: u64,
    /// 19 of 20 end by then.
    pub p95_ms: u64,
    /// In the deferred lane.
    pub cost_micro_usd: u64,
    /// The same work in the realtime lane, where a backend serves the model.
    #[serde(default)]
    pub realtime_cost_micro_usd: Option<u64>,
    /// How long the whole of it takes in the realtime lane, were it promoted.
    #[serde(default)]
    pub realtime_ms: Option<u64>,
}

impl Job {
    /// Lines of all shards.
    pub fn lines(&self) -> u64 {
        self.shards.iter().map(|shard| u64::from(shard.lines)).sum()
    }

    /// Those of its labels that say whom it is charged to.
    pub fn cost_labels(&self) -> BTreeMap<String, String> {
        let of_costs = self.labels.iter().filter(|(name, _)| COST_LABELS.contains(&name.as_str()));
        let kept = |value: &str| value.chars().take(COST_LABEL_CHARS_MAX).collect();
        of_costs.map(|(name, value)| (name.clone(), kept(value))).collect()
    }

    /// Whether it is an OpenAI batch.
    pub fn is_batch(&self) -> bool {
        matches!(self.kind, Kind::OpenaiBatch { .. })
    }

    /// When a batch's output goes that ended then, Unix ms; none: with the job.
    pub fn output_expires_ms(&self, ended_ms: u64) -> Option<u64> {
        match self.kind {
            Kind::OpenaiBatch { output_expires_s: Some(seconds), .. } => Some(ended_ms + seconds * 1_000),
            _ => None,
        }
    }
}

/// `tries/…`: intent, written before the act. The writer whose `by` it holds may act.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Try {
    /// [`crate::VERSION`].
    pub v: u32,
    /// Random, of the writer.
    pub by: String,
    /// Where the shard runs.
    pub place: Place,
    /// Code of the reason for this try, as `first`, `task_over`, `rescue`.
    pub why: String,
    /// When it was claimed.
    pub at_ms: u64,
}

/// Where a try runs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "lane")]
pub enum Place {
    /// As a member of this pack: over when its task is completed or gone.
    Deferred {
        /// The pack's id.
        pack: String,
    },
    /// At a realtime backend: over after `not_after_ms`.
    Realtime {
        /// Nobody runs it after this.
        not_after_ms: u64,
        /// What was left of the shard then, as time on one slot of its pool: what the try costs.
        work_ms: u64,
    },
}

/// `stop.json`: asked to stop. Every chunk that is missing then becomes error lines.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Stop {
    /// [`crate::VERSION`].
    pub v: u32,
    /// What the job ends as, unless every item has a real result.
    pub why: StopWhy,
    /// Code of the reason, where there is one beyond `why`, as `canary_failed`.
    #[serde(default)]
    pub code: Option<String>,
    /// For people.
    pub reason: String,
    /// When.
    pub at_ms: u64,
}

/// `canary.json`: what the check of a large job's first chunk found, before the rest was released.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Canary {
    /// [`crate::VERSION`].
    pub v: u32,
    /// What is wrong with it; none: the rest may leave.
    pub wrong: Option<String>,
    /// Lines of the chunk.
    pub lines: u64,
    /// Vectors whose values, length and norm were looked at.
    pub vectors: u64,
    /// Vectors that were asked of the realtime lane too.
    pub compared: u64,
    /// The least cosine between the two.
    #[serde(default)]
    pub least_cosine: Option<f64>,
    /// When.
    pub at_ms: u64,
}

/// Why a job was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopWhy {
    /// By its owner.
    Cancelled,
    /// By its deadline.
    Expired,
    /// Because nothing could run it.
    Failed,
}

impl StopWhy {
    /// Code of the error lines that fill missing chunks; OpenAI's own where it has one.
    pub fn item_code(self) -> &'static str {
        match self {
            StopWhy::Cancelled => "batch_cancelled",
            StopWhy::Expired => "batch_expired",
            StopWhy::Failed => "batch_failed",
        }
    }
}

/// `end.json`: pure summary, once every chunk exists.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct End {
    /// [`crate::VERSION`].
    pub v: u32,
    /// How it ended.
    pub status: Status,
    /// Items by outcome.
    pub counts: Counts,
    /// What each chunk holds, shards and chunks in order: enough to stream output and errors
    /// with their lengths known.
    pub chunks: Vec<ChunkSizes>,
    /// When the last chunk was written, by the store's clock.
    pub finished_ms: u64,
    /// When this summary was written.
    pub at_ms: u64,
    /// What it cost: slot time of its tries at the prices of the catalogue.
    pub cost_micro_usd: u64,
    /// Time that it computed, summed over its chunks.
    pub compute_ms: u64,
    /// Tries beyond the first of each shard.
    pub retries: u32,
    /// Whom it is charged to: those of the job's labels that [`COST_LABELS`] names. The summary outlives
    /// the job, so nothing else of the client's own is kept here.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What `cost_micro_usd` is made of; empty in summaries of older versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spent: Vec<Spent>,
}

/// What a job had done in one place: a part of what it cost.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Spent {
    /// The lane.
    pub lane: Lane,
    /// The backend's or pool's name.
    pub place: String,
    /// What became of the work.
    pub what: What,
    /// Time of a whole machine, in microseconds.
    pub us: u64,
    /// What a machine cost then.
    pub price: Price,
    /// Time times price.
    pub micro_usd: u64,
}

/// Labels by which costs are told apart.
pub const COST_LABELS: [&str; 4] = ["team", "project", "cost-center", "environment"];
/// Characters of such a label that are kept: more is no name.
pub const COST_LABEL_CHARS_MAX: usize = 64;

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Every item has a result of its own.
    Completed,
    /// Stopped by its owner.
    Cancelled,
    /// Stopped by its deadline.
    Expired,
    /// Stopped because nothing could run it.
    Failed,
}

/// Items by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Counts {
    /// With a result.
    pub completed: u64,
    /// With an error of their own.
    pub failed: u64,
    /// Filled because the job stopped.
    pub unfinished: u64,
}

/// What a chunk holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct ChunkSizes {
    /// Bytes of lines with a result.
    pub output: u64,
    /// Bytes of lines with an error.
    pub errors: u64,
}
