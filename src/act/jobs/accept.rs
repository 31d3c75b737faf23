//! A job comes to be: input, marker, `job.json`, marker, index, message. What is there before
//! `job.json` is harmless, what is missing after it is repaired at the first look.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Jobs, Trouble, text, trace};
use facts::file::Block;
use facts::job::{Class, Estimate, INLINE_BYTES_MAX, Input, Kind, Shard};
use facts::key::{self, JobKeys};
use facts::store::Claim;
use facts::{Job, JobId, id};
use policy::shards::{self, Cut};
use policy::snapshot::Speed;
use policy::units::{MicroUsd, Tokens, UnixMs};
use tracing::Instrument as _;

/// A job to be.
#[derive(Clone, Debug)]
pub struct New {
    /// Its id: of its `Idempotency-Key`, else random.
    pub id: JobId,
    /// Whose it is.
    pub tenant: String,
    /// How clients see it.
    pub kind: Kind,
    /// As `/v1/embeddings`.
    pub url: String,
    /// The catalogue's id of its model, and the digest of its weights.
    pub model: (String, Option<String>),
    /// How pressing its owner says it is.
    pub class: Class,
    /// Hash of what the client sent.
    pub body_hash: String,
    /// Hard.
    pub deadline: UnixMs,
    /// What it may cost at most.
    pub max_cost: Option<MicroUsd>,
    /// The client's own.
    pub labels: BTreeMap<String, String>,
    /// The trace that it was sent under.
    pub traceparent: Option<String>,
    /// The pool that it is for.
    pub pool: String,
    /// How fast that pool is.
    pub speed: Speed,
    /// Expected bytes of a line's result.
    pub bytes_per_line: u64,
    /// What is expected of it.
    pub estimate: Estimate,
    /// Its lines.
    pub lines: NewLines,
}

/// Where a new job's lines are.
#[derive(Clone, Debug)]
pub enum NewLines {
    /// Here: one line in the form of the OpenAI batch API, with its line feed, and its sizes.
    Here(String, Block),
    /// In this object, which is there already.
    Object(String, Vec<Block>),
}

/// What became of a job to be.
#[derive(Clone, Debug)]
pub enum Accepted {
    /// It is, or was already: the same key with the same body names the same job.
    Job(Arc<Job>),
    /// Its key names a job with another body.
    OtherBody,
}

impl Jobs {
    /// Makes the job, once.
    ///
    /// # Errors
    /// [`Trouble`]: then nothing was promised; a repeat under the same key is safe.
    pub async fn accept(&self, new: New) -> Result<Accepted, Trouble> {
        let keys = JobKeys::new(&new.tenant, &new.id);
        let store = self.store();
        let now = self.now();
        let (input, blocks) = match new.lines {
            NewLines::Object(key, blocks) => (Input::Object(key), blocks),
            NewLines::Here(line, block) if line.len() <= INLINE_BYTES_MAX => {
                (Input::Inline(line), vec![block])
            }
            NewLines::Here(line, block) => {
                let key = keys.input(&key::hex_sha256(line.as_bytes()));
                store.create(&key, line).await?;
                (Input::Object(key), vec![block])
            }
        };
        let cut = shards::cut(&new.speed, &sizes(&blocks), new.bytes_per_line);
        let job = Job {
            v: facts::VERSION,
            job: new.id.clone(),
            tenant: new.tenant.clone(),
            by: id::random(),
            kind: new.kind,
            url: new.url,
            model: new.model.0,
            digest: new.model.1,
            body_hash: new.body_hash,
            class: new.class,
            created_ms: now.0,
            deadline_ms: new.deadline.0,
            max_cost_micro_usd: new.max_cost.map(|cost| cost.0),
            pool: new.pool,
            estimate: new.estimate,
            labels: new.labels,
            traceparent: new.traceparent,
            input,
            shards: shards_of(&cut, &blocks),
            chunk_lines: cut.chunk_lines,
        };
        store.create(&key::due(minute(now), &job.tenant, &job.job), "").await?;
        let recent = key::recent(&job.tenant, &job.body_hash, now.0, &job.job);
        store.create(&recent, "").await?;
        if let Claim::Lost(there) = store.claim(&keys.job(), text(&job)).await? {
            return joined(&keys, &there, &job.body_hash);
        }
        store.create(&ready_marker(&job, &job.pool), "").await?;
        self.list(&job).await?;
        let ring = async {
            tracing::info!(shards = job.shards.len(), "job accepted");
            self.ring(&job.tenant, &job.job, None).await;
        };
        ring.instrument(trace::span_of(&job)).await;
        Ok(Accepted::Job(Arc::new(job)))
    }

    /// Puts a job into its tenant's listings.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) async fn list(&self, job: &Job) -> Result<(), Trouble> {
        self.store().create(&key::index(&job.tenant, job.created_ms, &job.job), "").await?;
        if job.is_batch() {
            self.store().create(&key::batch(&job.tenant, job.created_ms, &job.job), "").await?;
        }
        Ok(())
    }

    /// The job that a request's `Idempotency-Key` made before, if it did.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn accepted_before(
        &self,
        tenant: &str,
        id: &JobId,
        body_hash: &str,
    ) -> Result<Option<Accepted>, Trouble> {
        let job = self.job_now(tenant, id).await?;
        Ok(job.map(|job| if job.body_hash == body_hash { Accepted::Job(job) } else { Accepted::OtherBody }))
    }

    /// The newest job under `within_ms` old that this very request made: what a repeat joins that the
    /// client's SDK marks as one.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn made_lately(
        &self,
        tenant: &str,
        body_hash: &str,
        within_ms: u64,
    ) -> Result<Option<Arc<Job>>, Trouble> {
        let oldest = self.now().0.saturating_sub(within_ms);
        for found in self.store().list(&key::recent_of(tenant, body_hash)).await? {
            let Some((at, id)) = key::read_recent(&found.key).filter(|(at, _)| *at >= oldest) else {
                continue;
            };
            if let Some(job) = self.job_now(tenant, &id).await? {
                tracing::debug!(job = %id, at, "a marked repeat joins its job");
                return Ok(Some(job));
            }
        }
        Ok(None)
    }
}

fn joined(keys: &JobKeys, there: &[u8], body_hash: &str) -> Result<Accepted, Trouble> {
    let job: Job = serde_json::from_slice(there)
        .map_err(|error| Trouble::Unreadable { key: keys.job(), what: error.to_string() })?;
    Ok(if job.body_hash == body_hash { Accepted::Job(Arc::new(job)) } else { Accepted::OtherBody })
}

fn sizes(blocks: &[Block]) -> Vec<shards::Block> {
    let size = |block: &Block| shards::Block {
        lines: block.lines.into(),
        items: block.items,
        tokens_in: Tokens(block.tokens_in),
        tokens_out: Tokens(block.tokens_out),
    };
    blocks.iter().map(size).collect()
}

fn shards_of(cut: &Cut, blocks: &[Block]) -> Vec<Shard> {
    let shard = |(range, work): &(std::ops::Range<usize>, policy::units::Millis)| {
        let blocks = &blocks[range.clone()];
        Shard {
            offset: blocks[0].offset,
            bytes: blocks.iter().map(|block| block.bytes).sum(),
            first_line: blocks[0].first_line,
            lines: blocks.iter().map(|block| block.lines).sum(),
            work_ms: work.0,
        }
    };
    cut.shards.iter().map(shard).collect()
}

/// The marker that says that a job has shards to dispatch to this pool.
pub(super) fn ready_marker(job: &Job, pool: &str) -> String {
    key::ready(pool, &job.model, job.deadline_ms / 60_000, &job.tenant, &job.job)
}

/// The Unix minute of an instant. A marker of the present minute is due at once.
pub fn minute(at: UnixMs) -> u64 {
    at.0 / 60_000
}
