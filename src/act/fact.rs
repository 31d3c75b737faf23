//! Reading one fact.

use facts::{Store, StoreError};
use serde::de::DeserializeOwned;

/// Why a fact could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FactError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is none that this version reads.
    #[error("`{0}` cannot be read: {1}")]
    Unreadable(String, #[source] serde_json::Error),
}

/// The fact at `key`; none where there is none.
///
/// # Errors
/// [`FactError`].
pub async fn read<T: DeserializeOwned>(store: &Store, key: &str) -> Result<Option<T>, FactError> {
    match store.get(key).await {
        Ok(found) => serde_json::from_slice(&found.content)
            .map(Some)
            .map_err(|error| FactError::Unreadable(key.to_owned(), error)),
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
