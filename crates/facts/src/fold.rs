//! The state of a job from a listing of its keys: pure, total, and the same whatever order the facts
//! came in. Anything in the folder that is no fact of this job is ignored.

use crate::job::Job;

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written, Unix ms by the store's clock.
    pub modified_ms: u64,
}

/// What a job's facts come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Its shards, in order.
    pub shards: Vec<ShardState>,
    /// Whether `stop.json` exists.
    pub stopped: bool,
    /// Whether `end.json` exists.
    pub ended: bool,
}

/// What a shard's facts come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardState {
    /// Which of its chunks exist.
    pub chunks: Vec<bool>,
    /// Its newest try, from 1; 0: none.
    pub tries: u32,
    /// When its newest chunk was written, by the store's clock.
    pub last_chunk_ms: Option<u64>,
}

/// In which part of its life a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No shard was ever tried.
    Waiting,
    /// Some shard was tried and some chunk is missing.
    Running,
    /// Asked to stop; missing chunks are being filled.
    Stopping,
    /// Every chunk exists; the summary is missing.
    Finishing,
    /// The summary exists.
    Ended,
}

impl ShardState {
    /// Whether every chunk exists.
    pub fn is_done(&self) -> bool {
        self.chunks.iter().all(|chunk| *chunk)
    }

    /// Chunks that exist.
    pub fn chunks_done(&self) -> u32 {
        self.chunks.iter().map(|chunk| u32::from(*chunk)).sum()
    }

    /// Chunks that do not exist.
    pub fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.chunks).filter(|(_, exists)| !**exists).map(|(c, _)| c)
    }
}

impl State {
    /// Whether every chunk of every shard exists: the results are complete and frozen.
    pub fn is_done(&self) -> bool {
        self.shards.iter().all(ShardState::is_done)
    }

    /// In which part of its life the job is.
    pub fn phase(&self) -> Phase {
        match self {
            State { ended: true, .. } => Phase::Ended,
            state if state.is_done() => Phase::Finishing,
            State { stopped: true, .. } => Phase::Stopping,
            state if state.shards.iter().any(|shard| shard.tries > 0) => Phase::Running,
            _ => Phase::Waiting,
        }
    }

    /// Lines whose chunk exists.
    pub fn lines_done(&self, job: &Job) -> u64 {
        let chunk_lines = |(shard, state): (&crate::job::Shard, &ShardState)| -> u64 {
            let lines = |c: u32| {
                let range = shard.chunk_range(job.chunk_lines, c);
                range.end.saturating_sub(range.start)
            };
            (0..).zip(&state.chunks).filter(|(_, exists)| **exists).map(|(c, _)| lines(c)).sum()
        };
        job.shards.iter().zip(&self.shards).map(chunk_lines).sum()
    }

    /// Expected slot time of the chunks that are missing.
    pub fn work_left_ms(&self, job: &Job) -> u64 {
        let left = |(shard, state): (&crate::job::Shard, &ShardState)| {
            let chunks = state.chunks.len().max(1) as u64;
            shard.work_ms * (chunks - u64::from(state.chunks_done())) / chunks
        };
        job.shards.iter().zip(&self.shards).map(left).sum()
    }
}

/// Folds a listing of the job's folder.
pub fn fold(job: &Job, listing: &[Found]) -> State {
    let shard = |shard: &crate::job::Shard| ShardState {
        chunks: vec![false; shard.chunks(job.chunk_lines) as usize],
        tries: 0,
        last_chunk_ms: None,
    };
    let mut state = State { shards: job.shards.iter().map(shard).collect(), stopped: false, ended: false };
    for found in listing {
        // A job's folder ends where the kind of its fact begins: `…/jobs/{job}/tries/…`.
        let mut parts = found.key.rsplit('/');
        let (name, folder) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        match (folder, name) {
            ("tries", name) => state.see_try(name),
            ("out", name) => state.see_chunk(name, found.modified_ms),
            (_, "stop.json") => state.stopped = true,
            (_, "end.json") => state.ended = true,
            _ => {}
        }
    }
    state
}

impl State {
    fn see_try(&mut self, name: &str) {
        if let Some((shard, k)) = numbers(name, ".json")
            && let Some(shard) = self.shards.get_mut(shard as usize)
        {
            shard.tries = shard.tries.max(k);
        }
    }

    fn see_chunk(&mut self, name: &str, modified_ms: u64) {
        if let Some((shard, c)) = numbers(name, ".jsonl")
            && let Some(shard) = self.shards.get_mut(shard as usize)
            && let Some(chunk) = shard.chunks.get_mut(c as usize)
        {
            *chunk = true;
            shard.last_chunk_ms = shard.last_chunk_ms.max(Some(modified_ms));
        }
    }
}

/// `000003-0002.jsonl` → 3 and 2.
fn numbers(name: &str, extension: &str) -> Option<(u32, u32)> {
    let (shard, n) = name.strip_suffix(extension)?.split_once('-')?;
    Some((shard.parse().ok()?, n.parse().ok()?))
}
