//! Function `DeadLetter`: keeps what the host gave up on, once, with the reason. A message is
//! answered with 200 only when it is kept: nothing is lost.

use serde_json::json;
use wire::envelope::{Done, Envelope};

use crate::app::App;
use crate::facts;
use crate::failure::{Failure, Kind};

/// What is kept of a body: enough to see what it was.
const BODY_BYTES_MAX: usize = 4 * 1024;

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
    let cut = text.floor_char_boundary(BODY_BYTES_MAX);
    let letter = json!({
        "v": 1,
        "at_unix_ms": app.now().0,
        "reason": reason,
        "body": text[..cut],
        "body_bytes": text.len(),
    });
    let key = facts::dead_letter(text.as_bytes());
    let kept = app.store.create(&key, letter.to_string()).await;
    kept.map_err(|error| Failure::new(Kind::Bug, "not_kept", format!("dead letter not kept: {error}")))?;
    tracing::warn!(reason, key, "dead letter kept");
    Ok(Done { logs: vec![format!("kept as {key}: {reason}")] })
}
