//! Function `Dispatch`: looks at the job that a message names. This version makes no jobs, so every
//! message is unknown; it is kept as a dead letter and never dropped.

use wire::envelope::{Done, Envelope};

use super::dead_letter;
use crate::app::App;
use crate::failure::Failure;

/// Keeps the message for a version that knows what to do with it.
///
/// # Errors
/// When it could not be kept; the host then delivers it again.
pub async fn run(app: &App, envelope: &Envelope) -> Result<Done, Failure> {
    dead_letter::keep(app, envelope, "deferred_lane_not_in_this_build").await
}
