//! Uploads in parts of the OpenAI API.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ExpiresAfter, FileObject};

/// Body of `POST /v1/uploads`.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadCreate {
    /// The file's name, from 1 to 255 characters, none of them a control character.
    #[schema(pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]{1,255}$")]
    pub filename: String,
    /// `batch`
    #[schema(pattern = "^batch$")]
    pub purpose: String,
    /// Length of the whole: at most 200 MB.
    #[schema(minimum = 1, maximum = 200_000_000)]
    pub bytes: u64,
    /// As `application/jsonl`.
    #[schema(pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]{1,255}$")]
    pub mime_type: String,
    /// When the file goes by itself, from an hour to thirty days after it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_after: Option<ExpiresAfter>,
}

/// An upload in parts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct Upload {
    /// `upload_…`
    #[schema(pattern = "^upload_[a-z2-7]{26}$")]
    pub id: String,
    /// Always `upload`.
    pub object: Cow<'static, str>,
    /// Length of the whole, as it was announced.
    pub bytes: u64,
    /// Unix seconds.
    pub created_at: u64,
    /// Until when it may be completed, Unix seconds.
    pub expires_at: u64,
    /// The file's name.
    pub filename: String,
    /// `batch`
    pub purpose: String,
    /// How far it is.
    pub status: UploadStatus,
    /// What became of it, once it is completed.
    pub file: Option<FileObject>,
}

/// How far an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UploadStatus {
    /// Parts may come.
    Pending,
    /// It became a file.
    Completed,
    /// Its owner gave it up.
    Cancelled,
    /// It was not completed in time.
    Expired,
}

/// Body of `POST /v1/uploads/{id}/parts`, as `multipart/form-data`.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadPartCreate {
    /// A piece of the file, at most 64 MiB.
    #[schema(value_type = String, format = Binary, min_length = 1)]
    pub data: Vec<u8>,
}

/// A part of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct UploadPart {
    /// `part_…`
    #[schema(pattern = "^part_[a-z2-7]{26}$")]
    pub id: String,
    /// Always `upload.part`.
    pub object: Cow<'static, str>,
    /// Unix seconds.
    pub created_at: u64,
    /// `upload_…`
    #[schema(pattern = "^upload_[a-z2-7]{26}$")]
    pub upload_id: String,
}

/// Body of `POST /v1/uploads/{id}/complete`.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadComplete {
    /// Ids of parts, in the order of the content, each once.
    #[schema(min_items = 1, max_items = 1000)]
    pub part_ids: Vec<String>,
    /// MD5 of the content as hexadecimal digits, to be checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9a-fA-F]{32}$")]
    pub md5: Option<String>,
}
