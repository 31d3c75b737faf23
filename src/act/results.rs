//! What a job brought, as two files that nobody assembles: lines with a result, and lines with an
//! error, in the order of the input. They are streamed from the job's chunks, one at a time; the
//! summary says how long each is.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use facts::job::{ChunkSizes, End};
use facts::key::JobKeys;
use facts::{Job, JobId, Store, StoreError};
use futures_util::{StreamExt, stream};
use serde::Deserialize;

use crate::http::Content;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// Lines with a result: status 200.
    Output,
    /// All others.
    Errors,
}

/// Why a result could not be streamed to its end.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A chunk is not what the summary says.
    #[error("`{key}` has {found} bytes of what is wanted instead of {wanted}")]
    Differs {
        /// The chunk.
        key: String,
        /// What the summary says.
        wanted: u64,
        /// What is there.
        found: u64,
    },
}

impl Which {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Which::Output => "output",
            Which::Errors => "errors",
        }
    }

    fn of(self, sizes: &ChunkSizes) -> u64 {
        match self {
            Which::Output => sizes.output,
            Which::Errors => sizes.errors,
        }
    }

    /// Whether a line belongs to it. As the summary counts: what cannot be read is an error.
    fn holds(self, line: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Line {
            response: Option<Answer>,
        }
        #[derive(Deserialize)]
        struct Answer {
            status_code: u16,
        }
        let read = serde_json::from_slice::<Line>(line).ok().and_then(|line| line.response);
        let is_output = read.is_some_and(|answer| answer.status_code == 200);
        is_output == (self == Which::Output)
    }
}

/// How long it is.
pub fn bytes(end: &End, which: Which) -> u64 {
    end.chunks.iter().map(|sizes| which.of(sizes)).sum()
}

/// Whether it was deleted.
///
/// # Errors
/// [`StoreError`].
pub async fn is_deleted(store: &Store, tenant: &str, job: &JobId, which: Which) -> Result<bool, StoreError> {
    store.exists(&JobKeys::new(tenant, job).result_deleted(which.as_str())).await
}

/// Marks it as gone, which makes it so for clients. The two share their job's chunks, so the content goes
/// with the job.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(store: &Store, tenant: &str, job: &JobId, which: Which) -> Result<(), StoreError> {
    store.create(&JobKeys::new(tenant, job).result_deleted(which.as_str()), "").await.map(drop)
}

/// Part of it, read while it is sent. A chunk that is not what the summary says breaks it off.
pub fn content(
    store: &Store,
    job: &Job,
    end: &End,
    which: Which,
    range: Range<u64>,
) -> Content<ResultsError> {
    let (store, keys) = (store.clone(), JobKeys::new(&job.tenant, &job.job));
    let pieces = pieces(job, end, which, &range);
    Box::pin(stream::iter(pieces).then(move |piece| {
        let (store, key) = (store.clone(), keys.chunk(piece.shard, piece.chunk));
        async move { read(&store, key, &piece, which).await }
    }))
}

/// A chunk that has something of what is wanted.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    shard: u32,
    chunk: u32,
    sizes: ChunkSizes,
    /// Which bytes of its lines are wanted.
    part: Range<u64>,
}

fn pieces(job: &Job, end: &End, which: Which, range: &Range<u64>) -> Vec<Piece> {
    let chunks = (0..)
        .zip(&job.shards)
        .flat_map(|(shard, found)| (0..found.chunks(job.chunk_lines)).map(move |chunk| (shard, chunk)));
    let mut at = 0;
    let piece = |((shard, chunk), sizes): ((u32, u32), &ChunkSizes)| {
        let first = at;
        at += which.of(sizes);
        let (from, to) = (range.start.max(first), range.end.min(at));
        (from < to).then(|| Piece { shard, chunk, sizes: *sizes, part: from - first..to - first })
    };
    chunks.zip(&end.chunks).filter_map(piece).collect()
}

async fn read(store: &Store, key: String, piece: &Piece, which: Which) -> Result<Bytes, ResultsError> {
    let chunk = store.get(&key).await?.content;
    let (output, errors) = (piece.sizes.output, piece.sizes.errors);
    // Most chunks hold one kind alone and need not be taken apart.
    let lines = if output == 0 || errors == 0 { chunk } else { only(&chunk, which) };
    let (wanted, found) = (which.of(&piece.sizes), lines.len() as u64);
    if wanted != found {
        let error = ResultsError::Differs { key, wanted, found };
        tracing::error!(%error, "a chunk differs from its job's summary");
        return Err(error);
    }
    // A chunk fits in memory, so its length fits a usize.
    Ok(lines.slice(piece.part.start as usize..piece.part.end as usize))
}

fn only(chunk: &Bytes, which: Which) -> Bytes {
    let mut lines = BytesMut::with_capacity(chunk.len());
    for line in chunk.split_inclusive(|byte| *byte == b'\n').filter(|line| which.holds(line)) {
        lines.extend_from_slice(line);
    }
    lines.freeze()
}

#[cfg(test)]
mod tests;
