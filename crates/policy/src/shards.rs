//! How a job is cut: into shards that are dispatched together, and chunks that are kept once they
//! are computed. `docs/policy.md` says why these sizes.

use std::ops::Range;

use crate::snapshot::Speed;
use crate::units::{Millis, Tokens};

/// A shard is at most about this much work on one slot, unless one block alone is more: it is what an
/// eviction can send back to the queue.
pub const SHARD_WORK: Millis = Millis::from_secs(60);
/// A chunk is about this much work: it is what an eviction can lose.
pub const CHUNK_WORK: Millis = Millis::from_secs(20);
/// No block counts for more: a client may ask for any number of tokens, and sums over all jobs of a pool
/// must stay within 64 bits. No deadline is as far away as this.
const BLOCK_WORK_MAX: Millis = Millis::from_secs(30 * 24 * 3_600);
/// A chunk's result is held in memory by whoever writes it or reads it.
pub const CHUNK_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What a block of consecutive lines holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Lines.
    pub lines: u64,
    /// Inputs.
    pub items: u64,
    /// Tokens that go in.
    pub tokens_in: Tokens,
    /// Tokens that may come out.
    pub tokens_out: Tokens,
}

/// A job, cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Shards: which blocks, and their expected time on one slot.
    pub shards: Vec<(Range<usize>, Millis)>,
    /// Lines of a chunk; at least 1.
    pub chunk_lines: u32,
}

/// Cuts consecutive blocks for a pool of this speed whose results have about `bytes_per_line`.
pub fn cut(speed: &Speed, blocks: &[Block], bytes_per_line: u64) -> Cut {
    let works: Vec<Millis> = blocks.iter().map(|block| work(speed, block)).collect();
    let mut shards: Vec<(Range<usize>, Millis)> = Vec::new();
    for (n, work) in works.iter().enumerate() {
        match shards.last_mut() {
            Some((range, sum)) if *sum + *work <= SHARD_WORK => {
                range.end = n + 1;
                *sum = *sum + *work;
            }
            _ => shards.push((n..n + 1, *work)),
        }
    }
    let lines: u64 = blocks.iter().map(|block| block.lines).sum();
    let all: u64 = works.iter().map(|work| work.0).sum();
    let by_work = CHUNK_WORK.0.saturating_mul(lines).checked_div(all).unwrap_or(lines);
    let by_bytes = CHUNK_BYTES_MAX / bytes_per_line.max(1);
    let chunk_lines = by_work.min(by_bytes).clamp(1, u64::from(u32::MAX)) as u32;
    Cut { shards, chunk_lines }
}

/// How long a block takes on one slot. The fixed part of a request counts once a chunk at most, so it
/// is left out.
fn work(speed: &Speed, block: &Block) -> Millis {
    let us = |count: u64, each_us: u64| u128::from(count) * u128::from(each_us);
    let micros = us(block.items, speed.per_item_us)
        + us(block.tokens_in.0, speed.per_token_in_us)
        + us(block.tokens_out.0, speed.per_token_out_us);
    Millis(u64::try_from(micros.div_ceil(1_000)).unwrap_or(u64::MAX)).clamp(Millis(1), BLOCK_WORK_MAX)
}
