//! Function `Rebalance`: the timer that would buy nodes. This version has no pool to buy for.

use wire::envelope::{Done, Envelope};

use crate::failure::Failure;

/// Does nothing, and says so.
///
/// # Errors
/// Never.
pub async fn run(envelope: &Envelope) -> Result<Done, Failure> {
    let past_due = envelope.timer("timer").is_some_and(|timer| timer.is_past_due);
    tracing::debug!(past_due, "rebalance: no pool in this version");
    super::done()
}
