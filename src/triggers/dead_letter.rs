//! Function `DeadLetter`: keeps what the host gave up on, once, with the reason. A message is
//! answered with 200 only when it is kept: nothing is lost.

use wire::envelope::{Done, Envelope};

use crate::act;
use crate::app::App;
use crate::failure::{Failure, Kind};
use crate::metrics::names;
use crate::telemetry;

/// Keeps the message.
///
/// # Errors
/// When it could not be kept; the host then keeps it in its queue.
pub async fn run(app: &App, envelope: &Envelope) -> Result<Done, Failure> {
    keep(app, envelope, "tries_used_up").await
}

/// Keeps the message of `envelope` as a dead letter for `reason`.
///
/// # Errors
/// When it could not be kept.
pub async fn keep(app: &App, envelope: &Envelope, reason: &'static str) -> Result<Done, Failure> {
    let text = envelope.text("ticket").ok_or_else(|| {
        Failure::invalid("ticket", "invalid_envelope", "the envelope has no value `ticket`")
    })?;
    let kept = act::keep::dead_letter(&app.store, app.now(), reason, &text).await;
    let kept =
        kept.map_err(|error| Failure::new(Kind::Bug, "not_kept", format!("dead letter not kept: {error}")))?;
    if kept.is_new {
        telemetry::measure(&names::DEAD_LETTERS, 1.0, &[reason]);
        app.jobs.tell_dead_letter(&kept.letter).await;
    }
    let key = kept.key;
    tracing::warn!(reason, key, "dead letter kept");
    Ok(Done { logs: vec![format!("kept as {key}: {reason}")] })
}
