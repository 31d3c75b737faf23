//! One shard of a pack, chunk by chunk: whether it may be run at all, what exists already, and before
//! each chunk whether that is still so.

use std::ops::Range;

use bytes::Bytes;
use facts::fold::Found;
use facts::job::{Input, Place, Shard, Try};
use facts::key::{self, JobKeys};
use facts::line;
use facts::pack::Member;
use facts::{Job, JobId, fold};
use futures_util::try_join;

use crate::error::Error;
use crate::items::{self, Done, Terms};
use crate::pack::{Run, check_digest, check_version, fact};
use crate::progress::Progress;
use crate::suspect::{self, Marks};

/// Largest shard that is held in memory: an OpenAI batch file is at most 200 MB in all.
const SHARD_BYTES_MAX: u64 = 200_000_000;
/// One read of the input: well within what the store may take for a call.
const READ_BYTES: u64 = 8 * 1024 * 1024;
/// From this try on, the first chunk that is missing is suspected: two tries died in it.
const SUSPECT_TRY: u32 = 3;

/// How a member was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every chunk of the shard exists.
    Finished,
    /// The job was asked to stop; others fill what is missing.
    Stopped,
    /// Another try is newer, or this one was never claimed for this pack.
    Superseded,
    /// The deadline has passed: nobody needs the results.
    Late,
    /// The job has ended or is gone.
    Ended,
}

/// What was done of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The job.
    pub job: JobId,
    /// Its shard.
    pub shard: u32,
    /// How it was left.
    pub outcome: Outcome,
    /// Chunks computed here, also those that somebody else wrote a moment sooner.
    pub chunks: u32,
}

/// A shard at work.
struct Work<'a> {
    run: &'a Run<'a>,
    keys: JobKeys,
    job: &'a Job,
    shard: &'a Shard,
    number: u32,
    k: u32,
    marks: Marks,
}

/// Reads a member's job; none where it is gone.
pub(crate) async fn job(run: &Run<'_>, member: &Member) -> Result<Option<Job>, Error> {
    let at = JobKeys::new(&member.tenant, &member.job).job();
    let job: Option<Job> = fact(run.store, &at).await?;
    if let Some(job) = job {
        check_version(&at, job.v)?;
        let problem = match () {
            () if job.chunk_lines == 0 => "its chunks have no lines".to_owned(),
            () if member.shard as usize >= job.shards.len() => format!("it has no shard {}", member.shard),
            () => return Ok(Some(job)),
        };
        return Err(Error::Unreadable { key: at, problem });
    }
    Ok(None)
}

/// Runs what is missing of a shard that [`job`] has found.
pub(crate) async fn run(run: &Run<'_>, member: &Member, job: Option<Job>) -> Result<Report, Error> {
    let report = |outcome, chunks| Report { job: member.job.clone(), shard: member.shard, outcome, chunks };
    let Some(job) = job else {
        tracing::warn!("the job is gone");
        return Ok(report(Outcome::Ended, 0));
    };
    check_digest(&format!("job {}", member.job), job.digest.as_deref(), run.backend)?;
    if !run.backend.serves(&job.url) {
        return Err(Error::NotServed { job: member.job.to_string(), url: job.url });
    }
    let keys = JobKeys::new(&member.tenant, &member.job);
    let listing = run.store.list(keys.folder()).await?;
    let state = fold(&job, &listing);
    let marks = Marks::read(&listing, keys.folder());
    let shard = &job.shards[member.shard as usize];
    let standing = &state.shards[member.shard as usize];
    let work = Work { run, keys, job: &job, shard, number: member.shard, k: standing.tries, marks };
    let outcome = match () {
        () if state.ended => Some(Outcome::Ended),
        () if standing.is_done() => Some(Outcome::Finished),
        () if state.stopped => Some(Outcome::Stopped),
        () if !work.is_claimed().await? => Some(Outcome::Superseded),
        () => None,
    };
    let (outcome, chunks) = match outcome {
        Some(outcome) => (outcome, 0),
        None => {
            let missing: Vec<u32> = standing.missing().collect();
            let left: u64 = missing.iter().map(|c| work.chunk_lines(*c)).sum();
            let total = u64::from(shard.lines);
            let progress = Progress::new(total, total.saturating_sub(left));
            let done = progress.told(work.chunks(&missing, &progress)).await?;
            progress.seen().tell("member summary");
            done
        }
    };
    if outcome == Outcome::Finished {
        let lines = shard.first_line..shard.first_line + u64::from(shard.lines);
        work.marks.clear(run.store, &work.keys, &lines).await?;
        // A hint for the sweep, which would look in its own time too.
        run.store.create(&key::due(key::NOW, &member.tenant, &member.job), Bytes::new()).await?;
    }
    tracing::info!(?outcome, chunks, "member left");
    Ok(report(outcome, chunks))
}

impl Work<'_> {
    /// Whether the shard's newest try is ours to run.
    async fn is_claimed(&self) -> Result<bool, Error> {
        if self.k == 0 {
            return Ok(false);
        }
        let newest: Option<Try> = fact(self.run.store, &self.keys.try_(self.number, self.k)).await?;
        let pack = &self.run.pack.pack;
        Ok(newest.is_some_and(|newest| matches!(newest.place, Place::Deferred { pack: of } if of == *pack)))
    }

    fn chunk_lines(&self, c: u32) -> u64 {
        let range = self.shard.chunk_range(self.job.chunk_lines, c);
        range.end.saturating_sub(range.start)
    }

    /// Runs the chunks that were missing at the start.
    async fn chunks(&self, missing: &[u32], progress: &Progress) -> Result<(Outcome, u32), Error> {
        let input = self.input().await?;
        let lines = self.lines(&input)?;
        let mut chunks = 0;
        for c in missing {
            match self.look(*c).await? {
                Look::Leave(outcome) => return Ok((outcome, chunks)),
                Look::Exists => {
                    progress.elsewhere(self.chunk_lines(*c));
                    continue;
                }
                Look::Missing => {}
            }
            let range = self.shard.chunk_range(self.job.chunk_lines, *c);
            let at = |line: u64| (line - self.shard.first_line) as usize;
            let own = &lines[at(range.start)..at(range.end)];
            // Tries go through chunks in order, so only the first one can have killed them.
            let is_first = Some(c) == missing.first();
            let is_suspect = (is_first && self.k >= SUSPECT_TRY) || self.marks.any_in(&range);
            let done = match is_suspect {
                true => self.alone(&range, own, progress).await?,
                false => self.together(range.start, own, progress).await?,
            };
            let content = line::chunk(done.into_iter().map(|done| done.text).collect());
            // Where it exists by now, somebody else's is as good.
            self.run.store.create(&self.keys.chunk(self.number, *c), content).await?;
            chunks += 1;
        }
        Ok((Outcome::Finished, chunks))
    }

    /// What has changed since the start.
    async fn look(&self, c: u32) -> Result<Look, Error> {
        let Run { store, stop, clock, .. } = self.run;
        if stop.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let (stopped, newer, chunk) =
            (self.keys.stop(), self.keys.try_(self.number, self.k + 1), self.keys.chunk(self.number, c));
        let (stopped, newer, chunk) =
            try_join!(store.exists(&stopped), store.exists(&newer), store.exists(&chunk))?;
        Ok(match () {
            () if stopped => Look::Leave(Outcome::Stopped),
            () if newer => Look::Leave(Outcome::Superseded),
            () if chunk => Look::Exists,
            () if clock.now_ms() >= self.job.deadline_ms => Look::Leave(Outcome::Late),
            () => Look::Missing,
        })
    }

    async fn together(&self, first: u64, lines: &[&[u8]], progress: &Progress) -> Result<Vec<Done>, Error> {
        let items = items::run(self.run.backend, self.terms(), first, lines, progress);
        tokio::select! {
            biased;
            () = self.run.stop.cancelled() => Err(Error::Interrupted),
            done = items => Ok(done?),
        }
    }

    async fn alone(
        &self,
        range: &Range<u64>,
        lines: &[&[u8]],
        progress: &Progress,
    ) -> Result<Vec<Done>, Error> {
        tracing::warn!(first = range.start, k = self.k, "tries died in this chunk; its items run one by one");
        let cell = suspect::Cell { run: self.run, keys: &self.keys, terms: self.terms(), marks: &self.marks };
        let mut order: Vec<(u64, &[u8])> = range.clone().zip(lines.iter().copied()).collect();
        // Items with a mark come last: an eviction then hardly ever strikes the same innocent one twice.
        order.sort_by_key(|(line, _)| self.marks.deaths(*line));
        let mut done = Vec::with_capacity(lines.len());
        for (line, text) in order {
            let item = suspect::run(&cell, line, text).await?;
            progress.item(item.is_output);
            done.push((line, item));
        }
        done.sort_unstable_by_key(|(line, _)| *line);
        Ok(done.into_iter().map(|(_, item)| item).collect())
    }

    fn terms(&self) -> Terms<'_> {
        Terms { url: Some(&self.job.url), model: Some(&self.job.model) }
    }

    /// The shard's part of the input.
    async fn input(&self) -> Result<Bytes, Error> {
        let Shard { offset, bytes, .. } = *self.shard;
        let range = offset..offset.saturating_add(bytes);
        if bytes > SHARD_BYTES_MAX {
            return Err(self.unreadable(format!("shard {} has {bytes} bytes", self.number)));
        }
        let key = match &self.job.input {
            Input::Inline(text) => {
                let part = text.as_bytes().get(range.start as usize..range.end as usize);
                return part.map(Bytes::copy_from_slice).ok_or_else(|| {
                    self.unreadable(format!("its input ends before shard {} does", self.number))
                });
            }
            Input::Object(key) => key,
        };
        let mut input = Vec::with_capacity(bytes as usize);
        for start in range.clone().step_by(READ_BYTES as usize) {
            let part = start..range.end.min(start + READ_BYTES);
            input.extend_from_slice(&self.run.store.get_range(key, part).await?);
        }
        Ok(input.into())
    }

    /// Its lines, as many as were accepted.
    fn lines<'i>(&self, input: &'i Bytes) -> Result<Vec<&'i [u8]>, Error> {
        let text = match self.shard.offset {
            0 => input.strip_prefix(BYTE_ORDER_MARK).unwrap_or(input),
            _ => input,
        };
        let lines: Vec<&[u8]> = line::split(text).collect();
        if lines.len() != self.shard.lines as usize {
            let (number, found, promised) = (self.number, lines.len(), self.shard.lines);
            return Err(self.unreadable(format!("shard {number} has {found} lines, not {promised}")));
        }
        Ok(lines)
    }

    fn unreadable(&self, problem: String) -> Error {
        Error::Unreadable { key: self.keys.job(), problem }
    }
}

/// Some editors put it before a file's first line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

enum Look {
    Leave(Outcome),
    Exists,
    Missing,
}

impl Marks {
    /// Reads the marks in a listing of the job's folder.
    fn read(listing: &[Found], folder: &str) -> Marks {
        let of_folder = listing.iter().filter_map(|found| found.key.strip_prefix(folder));
        of_folder.filter_map(|name| name.strip_prefix("trying/")).collect()
    }
}
