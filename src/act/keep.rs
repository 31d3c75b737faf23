//! Writes down, once, what arrived and must not be lost.

use policy::units::UnixMs;
use serde_json::json;

use facts::{Store, StoreError, key};

/// What is kept of a dead letter's body: enough to see what it was.
const BODY_BYTES_MAX: usize = 4 * 1024;

/// Keeps a message that nobody will work on; delivered twice, it is one. The key is returned.
///
/// # Errors
/// When the store failed: the message must then stay where it is.
pub async fn dead_letter(store: &Store, now: UnixMs, reason: &str, text: &str) -> Result<String, StoreError> {
    let cut = text.floor_char_boundary(BODY_BYTES_MAX);
    let letter = json!({
        "v": 1,
        "at_unix_ms": now.0,
        "reason": reason,
        "body": text[..cut],
        "body_bytes": text.len(),
    });
    let key = key::dead_letter(text.as_bytes());
    store.create(&key, letter.to_string()).await?;
    Ok(key)
}

/// Keeps an alert as it came; the same alert twice is one.
///
/// # Errors
/// When the store failed.
pub async fn alert(store: &Store, body: bytes::Bytes) -> Result<(), StoreError> {
    store.create(&key::alert(&body), body).await.map(drop)
}
