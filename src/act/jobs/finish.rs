//! The end of a job: asked to stop, what is missing is filled with error lines; complete, its summary
//! is written. Every step may be done by many processes at once, and each ends the same.

use bytes::Bytes;
use facts::job::{ChunkSizes, Counts, End, Status, Stop, StopWhy};
use facts::key::{self, JobKeys};
use facts::{Job, Put, State, line};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use policy::reason::Code;
use serde::Deserialize;

use super::accept::ready_marker;
use super::lines::custom_id;
use super::look::World;
use super::survey::Survey;
use super::{Jobs, Trouble, text};

const DAY_MS: u64 = 24 * 3_600_000;
/// Chunks read or written at once.
const AT_ONCE: usize = 4;

impl Jobs {
    /// Asks a job to stop. The first reason stays.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn stop(&self, job: &Job, why: StopWhy, reason: &str) -> Result<(), Trouble> {
        self.stop_with(job, why, None, reason).await
    }

    /// The same, for a reason that has a code of its own.
    pub(super) async fn stop_with(
        &self,
        job: &Job,
        why: StopWhy,
        code: Option<Code>,
        reason: &str,
    ) -> Result<(), Trouble> {
        let (code, reason) = (code.map(|code| code.as_str().to_owned()), reason.to_owned());
        let stop = Stop { v: facts::VERSION, why, code, reason, at_ms: self.now().0 };
        self.store().create(&JobKeys::new(&job.tenant, &job.job).stop(), text(&stop)).await?;
        Ok(())
    }

    /// Fills every missing chunk of a job that was asked to stop.
    ///
    /// # Errors
    /// [`Trouble`]; the next look goes on.
    pub(super) async fn seal(&self, job: &Job, state: &State) -> Result<(), Trouble> {
        let keys = JobKeys::new(&job.tenant, &job.job);
        let Some(stop) = self.stop_of(&keys).await? else { return Ok(()) };
        let code = stop.why.item_code();
        for (n, (shard, seen)) in (0..).zip(job.shards.iter().zip(&state.shards)) {
            if seen.is_done() {
                continue;
            }
            let lines = self.lines(job, shard).await?;
            for c in seen.missing() {
                let range = shard.chunk_range(job.chunk_lines, c);
                let filled: String = lines
                    .numbered(range)
                    .map(|(number, text)| line::error(number, &custom_id(text), code, &stop.reason))
                    .collect();
                self.store().create(&keys.chunk(n, c), filled).await?;
            }
        }
        Ok(())
    }

    /// Writes the summary of a job whose chunks all exist, and takes its markers away. Returns when it began,
    /// and the summary, where this call was the one that wrote it.
    ///
    /// # Errors
    /// [`Trouble`]; the next look goes on.
    pub(super) async fn finish(
        &self,
        survey: &Survey,
        world: World<'_>,
    ) -> Result<Option<(Option<u64>, End)>, Trouble> {
        let (job, state) = (&survey.job, &survey.state);
        let keys = JobKeys::new(&job.tenant, &job.job);
        let chunks = (0..)
            .zip(&job.shards)
            .flat_map(|(n, shard)| (0..shard.chunks(job.chunk_lines)).map(move |c| (n, c)));
        let reads: Vec<_> = chunks.clone().map(|(shard, c)| self.summary(keys.chunk(shard, c))).collect();
        let read: Vec<(Counts, ChunkSizes)> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let counts = read.iter().fold(Counts::default(), |sum, (counts, _)| Counts {
            completed: sum.completed + counts.completed,
            failed: sum.failed + counts.failed,
            unfinished: sum.unfinished + counts.unfinished,
        });
        let mut unfinished = vec![0; job.shards.len()];
        for ((shard, _), (counts, _)) in chunks.zip(&read) {
            unfinished[shard as usize] += counts.unfinished;
        }
        let spent = self.spent(survey, world.catalogue, &unfinished).await;
        let status = match self.stop_of(&keys).await? {
            Some(stop) if counts.unfinished > 0 => match stop.why {
                StopWhy::Cancelled => Status::Cancelled,
                StopWhy::Expired => Status::Expired,
                StopWhy::Failed => Status::Failed,
            },
            _ => Status::Completed,
        };
        let last = state.shards.iter().filter_map(|shard| shard.last_chunk_ms).max().unwrap_or(0);
        let end = End {
            v: facts::VERSION,
            status,
            counts,
            chunks: read.into_iter().map(|(_, sizes)| sizes).collect(),
            finished_ms: self.at_store_time(last).0,
            at_ms: self.now().0,
            cost_micro_usd: spent.parts.iter().map(|part| part.micro_usd).sum(),
            compute_ms: spent.compute_ms,
            retries: state.shards.iter().map(|shard| shard.tries.saturating_sub(1)).sum(),
            labels: job.cost_labels(),
            spent: spent.parts,
        };
        let written = self.store().create(&keys.end(), text(&end)).await?;
        self.forget_sums(&keys);
        tracing::info!(
            status = ?end.status,
            completed = counts.completed,
            failed = counts.failed,
            unfinished = counts.unfinished,
            "job ended"
        );
        // Another look's summary may differ in what tasks came to: the one that is there counts.
        let is_ours = written == Put::Created;
        let end = if is_ours { Some(end) } else { self.fact(&keys.end()).await? };
        if let Some(end) = &end {
            self.charge(world.catalogue, job, end).await?;
        }
        self.clear(job, world.knobs.retention_days).await?;
        Ok(end.filter(|_| is_ours).map(|end| (spent.began_ms, end)))
    }

    async fn summary(&self, chunk: String) -> Result<(Counts, ChunkSizes), Trouble> {
        if let Some(known) = self.summed(&chunk) {
            return Ok(known);
        }
        let sum = summary(&self.store().get(&chunk).await?.content);
        self.keep_sum(chunk, sum);
        Ok(sum)
    }

    /// Takes the markers of an ended job away, but for the one that ends its retention.
    pub(super) async fn clear(&self, job: &Job, retention_days: u32) -> Result<(), Trouble> {
        self.store().delete(&ready_marker(job, &job.pool)).await?;
        // No job ends after its deadline by more than a sweep, and the day is the same whoever asks.
        let day = job.deadline_ms / DAY_MS + u64::from(retention_days) + 1;
        self.store().create(&key::old(day, &job.tenant, &job.job), "").await?;
        Ok(())
    }
}

/// Counts and sizes of a chunk's lines.
fn summary(chunk: &Bytes) -> (Counts, ChunkSizes) {
    #[derive(Deserialize)]
    struct Line {
        response: Option<Answer>,
        error: Option<Code>,
    }
    #[derive(Deserialize)]
    struct Answer {
        status_code: u16,
    }
    #[derive(Deserialize)]
    struct Code {
        code: String,
    }
    let unfinished = [StopWhy::Cancelled, StopWhy::Expired, StopWhy::Failed].map(StopWhy::item_code);
    let (mut counts, mut sizes) = (Counts::default(), ChunkSizes::default());
    for text in line::split(chunk) {
        let bytes = text.len() as u64 + 1;
        match serde_json::from_slice::<Line>(text) {
            Ok(Line { response: Some(answer), .. }) if answer.status_code == 200 => {
                counts.completed += 1;
                sizes.output += bytes;
                continue;
            }
            Ok(Line { error: Some(error), .. }) if unfinished.contains(&error.code.as_str()) => {
                counts.unfinished += 1;
            }
            _ => counts.failed += 1,
        }
        sizes.errors += bytes;
    }
    (counts, sizes)
}
