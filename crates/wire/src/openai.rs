//! The part of the OpenAI API that we speak: embeddings, models, errors, and in modules of their own
//! files, uploads, batches and events.

mod batch;
mod event;
mod file;
mod upload;

pub use batch::{
    BATCH_PREFIX, Batch, BatchCreate, BatchError, BatchErrors, BatchList, BatchStatus, ExpiresAfter,
    RequestCounts,
};
pub use event::{Event, EventData, EventKind};
pub use file::{FileDeleted, FileList, FileObject, FileStatus, FileUpload};
pub use upload::{Upload, UploadComplete, UploadCreate, UploadPart, UploadPartCreate, UploadStatus};

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Inputs of one embeddings request, at most (the vendor's own limit).
pub const INPUTS_MAX: usize = 2_048;

/// Body of `POST /v1/embeddings`.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct EmbeddingsRequest {
    /// The model's id or an alias of it.
    #[schema(min_length = 1)]
    pub model: String,
    /// What to embed: at most 2,048 inputs, none of them empty.
    pub input: EmbeddingsInput,
    /// `float` or `base64` (little-endian 32-bit floats).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding_format: Option<EncodingFormat>,
    /// Shortens the vectors.
    #[schema(minimum = 1, maximum = 4294967295u64)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
    /// `priority`, `default`, `auto` or `flex`; `fast` and `scale` are the vendor's further names.
    #[schema(pattern = "^(priority|default|auto|flex|fast|scale)$")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// The client's own name of its user; not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// The four shapes of `input`.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum EmbeddingsInput {
    /// One text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// One text as token ids.
    Tokens(Vec<u32>),
    /// Several texts as token ids.
    TokenLists(Vec<Vec<u32>>),
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EncodingFormat {
    /// A list of numbers.
    #[default]
    Float,
    /// Base64 of little-endian 32-bit floats.
    Base64,
}

/// Answer of `POST /v1/embeddings`.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct EmbeddingsResponse {
    /// Always `list`.
    pub object: Cow<'static, str>,
    /// One an input, in order.
    pub data: Vec<Embedding>,
    /// The model's id.
    pub model: String,
    /// What was counted.
    pub usage: Usage,
}

/// One vector.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct Embedding {
    /// Always `embedding`.
    pub object: Cow<'static, str>,
    /// Which input it belongs to.
    pub index: usize,
    /// The vector.
    pub embedding: Vector,
}

/// A vector in either encoding.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Vector {
    /// `float`
    Float(Vec<f32>),
    /// `base64`
    Base64(String),
}

impl Vector {
    /// Its numbers; none where base64 holds no whole 32-bit floats.
    pub fn values(&self) -> Option<Vec<f32>> {
        let text = match self {
            Vector::Float(values) => return Some(values.clone()),
            Vector::Base64(text) => text,
        };
        let bytes = STANDARD.decode(text).ok()?;
        let (values, rest) = bytes.as_chunks::<4>();
        rest.is_empty().then(|| values.iter().map(|value| f32::from_le_bytes(*value)).collect())
    }
}

/// Tokens that were used.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
pub struct Usage {
    /// Tokens that went in.
    pub prompt_tokens: u64,
    /// All tokens.
    pub total_tokens: u64,
}

/// Answer of `GET /v1/models`.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct ModelList {
    /// Always `list`.
    pub object: Cow<'static, str>,
    /// All of them.
    pub data: Vec<Model>,
}

/// One model.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct Model {
    /// Its name in requests.
    pub id: String,
    /// Always `model`.
    pub object: Cow<'static, str>,
    /// Unix seconds.
    pub created: u64,
    /// Who owns it.
    pub owned_by: String,
    /// What it would take to ask it now. A member of ours; OpenAI's clients ignore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switchyard: Option<ModelLanes>,
}

/// What a model takes in each lane, as it is seen now.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct ModelLanes {
    /// `sha256:…` of the weights that new work runs on.
    pub digest: Option<String>,
    /// One item now; none: no backend may be tried.
    pub realtime: Option<LaneEstimate>,
    /// 1,000 items later; none: no pool takes work.
    pub deferred: Option<LaneEstimate>,
}

/// What a lane would take for items of a usual length.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct LaneEstimate {
    /// The backend or pool.
    pub place: String,
    /// Items that the numbers are for.
    pub items: u64,
    /// Tokens of each, in and out.
    pub tokens_per_item: u64,
    /// Half of such work is done within this, milliseconds.
    pub eta_p50_ms: u64,
    /// 19 of 20 are done within this.
    pub eta_p95_ms: u64,
    /// US dollars, all of it.
    pub cost_usd: f64,
    /// How much of it is taken, from 0 to 1: of a backend's slots at its most replicas; of a pool, the share
    /// of its next 24 hours that accepted work fills.
    pub queue_fraction: f64,
}

/// Body of every answer outside 2xx.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// For people: the cause and the remedy.
    pub message: String,
    /// As `invalid_request_error`.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// The field or header that caused it.
    pub param: Option<Cow<'static, str>>,
    /// For programs, as `model_not_found`.
    pub code: Option<Cow<'static, str>>,
    /// What would be possible instead, on `deadline_infeasible`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub alternatives: Option<serde_json::Value>,
}
