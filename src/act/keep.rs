//! Writes down, once, what arrived and must not be lost.

use policy::units::UnixMs;
use serde_json::json;

use facts::{Put, Store, StoreError, key};

/// What is kept of a dead letter's body: enough to see what it was.
const BODY_BYTES_MAX: usize = 4 * 1024;

/// A dead letter that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where.
    pub key: String,
    /// What was written.
    pub letter: String,
    /// Whether it is new: delivered twice, a message is one dead letter.
    pub is_new: bool,
}

/// Keeps a message that nobody will work on.
///
/// # Errors
/// When the store failed: the message must then stay where it is.
pub async fn dead_letter(store: &Store, now: UnixMs, reason: &str, text: &str) -> Result<Kept, StoreError> {
    let cut = text.floor_char_boundary(BODY_BYTES_MAX);
    let letter = json!({
        "v": 1,
        "at_unix_ms": now.0,
        "reason": reason,
        "body": text[..cut],
        "body_bytes": text.len(),
    });
    let key = key::dead_letter(text.as_bytes());
    let letter = letter.to_string();
    let is_new = store.create(&key, letter.clone()).await? == Put::Created;
    Ok(Kept { key, letter, is_new })
}
