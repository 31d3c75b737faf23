//! Function `Sweep`: the timer that would look at due jobs. This version makes no jobs, so nothing
//! is ever due.

use wire::envelope::{Done, Envelope};

use crate::failure::Failure;

/// Does nothing, and says so.
///
/// # Errors
/// Never.
pub async fn run(envelope: &Envelope) -> Result<Done, Failure> {
    let past_due = envelope.timer("timer").is_some_and(|timer| timer.is_past_due);
    tracing::debug!(past_due, "sweep: no jobs in this version");
    super::done()
}
