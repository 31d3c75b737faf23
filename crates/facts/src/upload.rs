//! What the facts of an upload in parts say. Its parts are objects of their own beside them.

use serde::{Deserialize, Serialize};

use crate::file::FileMeta;

/// `upload.json`: an upload that parts may be added to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct UploadMeta {
    /// [`crate::VERSION`].
    pub v: u32,
    /// Its id, without the `upload_` that clients see.
    pub upload: String,
    /// Whose it is.
    pub tenant: String,
    /// As the client gave it.
    pub filename: String,
    /// As the client gave it: `batch`.
    pub purpose: String,
    /// Length of the whole, as the client announced it.
    pub bytes: u64,
    /// When it began, Unix ms.
    pub created_ms: u64,
    /// Until when it may be completed, Unix ms.
    pub expires_ms: u64,
    /// How long its file lives, in seconds; none: as long as files do.
    #[serde(default)]
    pub file_expires_after_s: Option<u64>,
}

/// `end.json`: how an upload ended. It is claimed once, and whoever claims it decides; everything after
/// it can be done again by anybody who reads it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct UploadEnd {
    /// [`crate::VERSION`].
    pub v: u32,
    /// Something random: whose claim it is.
    pub by: String,
    /// When, Unix ms.
    pub at_ms: u64,
    /// How.
    #[serde(flatten)]
    pub how: Ended,
}

/// How an upload ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Ended {
    /// By a file.
    Completed {
        /// Its parts, in order: what a repeat must name.
        parts: Vec<String>,
        /// The file, whose content was written before. Its `meta.json` is a copy of this.
        file: FileMeta,
    },
    /// By its owner's wish.
    Cancelled,
    /// Nobody completed it in time.
    Expired,
}
