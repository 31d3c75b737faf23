//! A backend for tests of what stands around it: made-up vectors, deterministic, as slow as asked.

use std::time::Duration;

use crate::backend::{Backend, BackendError};
use crate::maths::normalise;
use crate::tokenise::Sequence;

/// Gives every sequence a vector that depends on its token ids alone.
pub struct Test {
    /// Length of the vectors.
    pub dimensions: usize,
    /// How long each batch takes.
    pub delay: Duration,
}

impl Backend for Test {
    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn encode(&mut self, batch: &[&Sequence]) -> Result<Vec<Vec<f32>>, BackendError> {
        std::thread::sleep(self.delay);
        Ok(batch.iter().map(|sequence| vector(sequence.ids(), self.dimensions)).collect())
    }
}

fn vector(ids: &[u32], dimensions: usize) -> Vec<f32> {
    // FNV-1a over the ids seeds a Weyl sequence: cheap, and equal on every machine.
    let seed = ids.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, id| {
        (hash ^ u64::from(*id)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let value = |index: usize| {
        let mixed = seed.wrapping_add(index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    };
    let mut vector: Vec<f32> = (0..dimensions).map(value).collect();
    normalise(&mut vector);
    vector
}
