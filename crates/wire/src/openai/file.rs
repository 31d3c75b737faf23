//! Files of the OpenAI API.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct FileObject {
    /// `file-…`
    #[schema(pattern = "^file-(out-|err-)?[a-z2-7]{26}$")]
    pub id: String,
    /// Always `file`.
    pub object: Cow<'static, str>,
    /// Its length.
    pub bytes: u64,
    /// Unix seconds.
    pub created_at: u64,
    /// When it goes by itself, Unix seconds.
    pub expires_at: Option<u64>,
    /// As it was uploaded.
    pub filename: String,
    /// `batch`, or `batch_output` for what a batch brought.
    pub purpose: Cow<'static, str>,
    /// Whether it can be used.
    pub status: FileStatus,
    /// Why it cannot.
    pub status_details: Option<String>,
}

/// Whether a file can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileStatus {
    /// It can.
    Processed,
    /// Something is wrong with its lines.
    Error,
}

/// Answer of `GET /v1/files`.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct FileList {
    /// Always `list`.
    pub object: Cow<'static, str>,
    /// The newest first, unless asked for otherwise.
    pub data: Vec<FileObject>,
    /// Id of the first one here.
    pub first_id: Option<String>,
    /// Id of the last one here: what `after` takes.
    pub last_id: Option<String>,
    /// Whether others follow.
    pub has_more: bool,
}

/// Answer of `DELETE /v1/files/{id}`.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct FileDeleted {
    /// `file-…`
    #[schema(pattern = "^file-[a-z2-7]{26}$")]
    pub id: String,
    /// Always `file`.
    pub object: Cow<'static, str>,
    /// Always true.
    pub deleted: bool,
}

/// Body of `POST /v1/files`, as `multipart/form-data`.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FileUpload {
    /// `batch`
    #[schema(pattern = "^batch$")]
    pub purpose: String,
    /// Lines of JSON, one request each: at most 50,000 lines and 200 MB.
    #[schema(value_type = String, format = Binary, min_length = 1)]
    pub file: Vec<u8>,
    /// `created_at`
    #[serde(rename = "expires_after[anchor]", default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^created_at$", nullable = false)]
    pub expires_after_anchor: Option<String>,
    /// From an hour to thirty days.
    #[serde(rename = "expires_after[seconds]", default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 3600, maximum = 2592000, nullable = false)]
    pub expires_after_seconds: Option<u64>,
}
