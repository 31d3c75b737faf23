//! The seam to what computes. Small on purpose: a batch goes in, a vector a sequence comes out.

use crate::tokenise::Sequence;

/// Computes vectors. One worker thread owns it; it may use threads or devices of its own.
pub trait Backend: Send {
    /// Length of the vectors.
    fn dimensions(&self) -> usize;

    /// One vector of length 1 a sequence, in order. The same sequence gives the same bits whatever
    /// else is in the batch.
    ///
    /// # Errors
    /// When the batch could not be computed. The next batch is tried all the same.
    fn encode(&mut self, batch: &[&Sequence]) -> Result<Vec<Vec<f32>>, BackendError>;
}

/// Why a batch could not be computed, for our log; a caller can only try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("inference failed: {0}")]
pub struct BackendError(pub String);
