//! What is kept of knobs in the store: the last good set, and the one before the last change.

use facts::{Store, StoreError, key};
use serde::{Deserialize, Serialize};

use super::set::Given;

/// A set of knobs in the store.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    v: u32,
    /// When it was read from its origin, by the handler's clock.
    pub(super) read_unix_ms: u64,
    /// As it was given.
    pub(super) knobs: Given,
}

/// The last good set that any process read. Whoever cannot read it goes on without.
pub(super) async fn last_good(store: &Store) -> Option<Kept> {
    read(store, key::KNOBS).await.unwrap_or_else(|problem| {
        tracing::warn!(problem, "the last good knobs could not be read from the store");
        None
    })
}

/// Keeps a set that was just read, for processes that start while the origin is away. Returns whether the
/// store has it.
pub(super) async fn keep_last_good(store: &Store, now_ms: u64, given: &Given) -> bool {
    let kept = write(store, key::KNOBS, now_ms, given).await;
    if let Err(error) = &kept {
        tracing::warn!(error, "knobs could not be kept in the store; a new process may not have them");
    }
    kept.is_ok()
}

/// The set before the last change, if there was one.
pub(super) async fn previous(store: &Store) -> Result<Option<Kept>, String> {
    read(store, key::KNOBS_PREVIOUS).await
}

/// Keeps the set before a change.
pub(super) async fn keep_previous(store: &Store, now_ms: u64, given: &Given) -> Result<(), String> {
    write(store, key::KNOBS_PREVIOUS, now_ms, given).await
}

async fn read(store: &Store, key: &str) -> Result<Option<Kept>, String> {
    match store.get(key).await {
        Ok(object) => serde_json::from_slice(&object.content)
            .map(Some)
            .map_err(|error| format!("`{key}` is not of the known shape: {error}")),
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

async fn write(store: &Store, key: &str, now_ms: u64, given: &Given) -> Result<(), String> {
    let kept = Kept { v: facts::VERSION, read_unix_ms: now_ms, knobs: given.clone() };
    let text = serde_json::to_string(&kept).expect("text and numbers always serialize");
    store.overwrite(key, text).await.map_err(|error| error.to_string())
}
