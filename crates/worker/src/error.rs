//! Why a run ended before its pack was done. A chunk is whole or absent, so every one of these may be
//! followed by another run.

use std::path::PathBuf;

use facts::StoreError;

use crate::backend::Trouble;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Asked to end: SIGTERM, SIGINT or a notice of the platform.
    #[error("asked to end; the next run goes on behind the last chunk")]
    Interrupted,
    /// The pack is not in the store.
    #[error("pack `{0}` is not in the store; check --pack")]
    PackMissing(String),
    /// A fact or an input makes no sense.
    #[error("`{key}` cannot be used: {problem}")]
    Unreadable {
        /// Its key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The weights here are not those that were promised.
    #[error("{whose} asks for weights {wanted}, here are {found}; give the model that it names")]
    WrongModel {
        /// `the pack` or the job.
        whose: String,
        /// `sha256:…` as promised.
        wanted: String,
        /// `sha256:…` as found, or that nobody knows.
        found: String,
    },
    /// The backend cannot do what a job asks for.
    #[error("job {job} asks for `{url}`, which this backend does not serve; see --backend")]
    NotServed {
        /// The job.
        job: String,
        /// What it asks for.
        url: String,
    },
    /// The backend.
    #[error(transparent)]
    Backend(#[from] Trouble),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of a run by hand.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether it concerns one member alone, so that the others are run all the same.
    pub fn is_of_one_member(&self) -> bool {
        use Error::{NotServed, Store, Unreadable, WrongModel};
        let is_too_large = matches!(self, Store(StoreError::TooLarge(_)));
        is_too_large || matches!(self, Unreadable { .. } | WrongModel { .. } | NotServed { .. })
    }

    /// Whether a disk or a quota is full.
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            let io = error.downcast_ref::<std::io::Error>();
            if io.is_some_and(|io| matches!(io.kind(), StorageFull | QuotaExceeded)) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}
