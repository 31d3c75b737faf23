//! Embeddings, completions, models, and what would become of a request.

#![expect(dead_code, reason = "utoipa reads the attributes, nobody calls or makes these")]
#![expect(unused_qualifications, reason = "utoipa qualifies what it is given")]

use serde_json::Value;
use utoipa::{IntoParams, OpenApi, ToSchema};
use wire::jobs::JobView;
use wire::openai::{EmbeddingsRequest, EmbeddingsResponse, Model, ModelList};

#[derive(OpenApi)]
#[openapi(
    paths(embeddings, chat_completions, completions, models, model, explain),
    components(schemas(
        ChatCompletionsRequest,
        CompletionsRequest,
        Prompt,
        Question,
        Deadline,
        Class,
        LaneName
    ))
)]
pub struct Paths;

/// A span as `30s`, `5m`, `2h` or `1d`, or an RFC 3339 instant; in the future, and at most 30 days ahead.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = "^([1-9][0-9]{0,8}ms|[1-9][0-9]{0,5}s|[1-9][0-9]{0,3}m|([1-9][0-9]?|[1-6][0-9]{2}|7[01][0-9]|720)h|([1-9]|[12][0-9]|30)d|20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?Z)$")]
pub struct Deadline(String);

/// How pressing deferred work is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Class {
    Interactive,
    Standard,
    Bulk,
}

/// Where a request is to run. `batch` means `deferred`.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum LaneName {
    Auto,
    Realtime,
    Deferred,
    Batch,
}

/// When, where and for how much a request is to run.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Controls {
    /// Hard: what cannot be done by then is refused at once.
    #[param(rename = "Switchyard-Deadline", nullable = false)]
    deadline: Option<Deadline>,
    /// `deferred` is answered by 202.
    #[param(rename = "Switchyard-Lane", inline, nullable = false)]
    lane: Option<LaneName>,
    /// US dollars.
    #[param(rename = "Switchyard-Max-Cost", minimum = 0, maximum = 1_000_000, nullable = false)]
    max_cost: Option<f64>,
    /// One that the catalogue gives the tenant.
    #[param(rename = "Switchyard-Class", inline, nullable = false)]
    class: Option<Class>,
    /// `wait=N` seconds, or `respond-async`, which a 202 may answer (RFC 7240). Others are ignored.
    #[param(rename = "Prefer", nullable = false)]
    prefer: Option<String>,
    /// The same key and body name the same deferred job.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$",
        nullable = false
    )]
    key: Option<String>,
}

/// Body of `POST /v1/chat/completions`, as far as it is looked at; the rest is passed on.
#[derive(ToSchema)]
pub struct ChatCompletionsRequest {
    /// The model's id or an alias of it.
    #[schema(min_length = 1)]
    model: String,
    /// The conversation.
    #[schema(min_items = 1)]
    messages: Vec<Message>,
    /// Whether events are wanted instead of one answer.
    stream: Option<bool>,
    /// Answers that are wanted.
    #[schema(minimum = 1, maximum = 128)]
    n: Option<u64>,
    /// Longest answer, in tokens.
    #[schema(minimum = 1, maximum = 4294967295u64)]
    max_completion_tokens: Option<u64>,
    /// The same under its older name.
    #[schema(minimum = 1, maximum = 4294967295u64)]
    max_tokens: Option<u64>,
    /// Told back as the tier that was really used.
    #[schema(pattern = "^(priority|default|auto|flex|fast|scale)$")]
    service_tier: Option<String>,
}

/// One message, passed on as it is.
#[derive(ToSchema)]
#[schema(value_type = Object)]
pub struct Message(Value);

/// Body of `POST /v1/completions`, as far as it is looked at; the rest is passed on.
#[derive(ToSchema)]
pub struct CompletionsRequest {
    /// The model's id or an alias of it.
    #[schema(min_length = 1)]
    model: String,
    /// What to complete.
    prompt: Prompt,
    /// Whether events are wanted instead of one answer.
    stream: Option<bool>,
    /// Answers that are wanted.
    #[schema(minimum = 1, maximum = 128)]
    n: Option<u64>,
    /// Longest answer, in tokens.
    #[schema(minimum = 0, maximum = 4294967295u64)]
    max_tokens: Option<u64>,
    /// Told back as the tier that was really used.
    #[schema(pattern = "^(priority|default|auto|flex|fast|scale)$")]
    service_tier: Option<String>,
}

/// Described by hand.
#[derive(ToSchema)]
pub struct Prompt(String);

/// Described by hand.
#[derive(ToSchema)]
pub struct Question(String);

/// The decision with every number.
#[derive(ToSchema)]
pub struct Explanation {
    /// Always true: nothing was run.
    dry_run: bool,
    /// What was asked for, as policy reads it.
    #[schema(value_type = Object)]
    request: Value,
    /// What was seen of backends and pools.
    #[schema(value_type = Object)]
    seen: Value,
    /// The lane, the place, every choice and every reason.
    #[schema(value_type = Object)]
    decision: Value,
    /// Knobs in force.
    #[schema(value_type = Object)]
    knobs: Value,
}

#[utoipa::path(post, path = "/api/v1/embeddings", request_body = EmbeddingsRequest, params(Controls),
    responses(
        (status = 200, body = EmbeddingsResponse, description = "the vectors"),
        (status = 202, body = JobView, description = "only with `Prefer: respond-async` or `Switchyard-Lane: deferred`",
            headers(("Location" = String, description = "the job"), ("Retry-After" = u64, description = "when to look at it, seconds"))),
        (status = 404, description = "no such model"),
        (status = 409, description = "the Idempotency-Key named another request"),
        (status = 422, description = "no place finishes it in time or for the money; `alternatives` says what would"),
        (status = 429, description = "every slot is taken, or a limit of the tenant is reached"),
        (status = 502, description = "the backend failed"),
    ))]
fn embeddings() {}

#[utoipa::path(post, path = "/api/v1/chat/completions", request_body = ChatCompletionsRequest, params(Controls),
    description = "Forwarded to a backend that serves the model; `stream: true` streams events",
    responses(
        (status = 200, description = "the backend's answer", content((Object = "application/json"), (String = "text/event-stream"))),
        (status = 202, body = JobView, description = "only with `Prefer: respond-async` or `Switchyard-Lane: deferred`",
            headers(("Location" = String, description = "the job"), ("Retry-After" = u64, description = "when to look at it, seconds"))),
        (status = 404, description = "no such model"),
        (status = 409, description = "the Idempotency-Key named another request"),
        (status = 422, description = "no place finishes it in time or for the money; `alternatives` says what would"),
        (status = 429, description = "every slot is taken, or a limit of the tenant is reached"),
        (status = 502, description = "the backend failed"),
    ))]
fn chat_completions() {}

#[utoipa::path(post, path = "/api/v1/completions", request_body = CompletionsRequest, params(Controls),
    description = "Forwarded to a backend that serves the model; `stream: true` streams events",
    responses(
        (status = 200, description = "the backend's answer", content((Object = "application/json"), (String = "text/event-stream"))),
        (status = 202, body = JobView, description = "only with `Prefer: respond-async` or `Switchyard-Lane: deferred`",
            headers(("Location" = String, description = "the job"), ("Retry-After" = u64, description = "when to look at it, seconds"))),
        (status = 404, description = "no such model"),
        (status = 409, description = "the Idempotency-Key named another request"),
        (status = 422, description = "no place finishes it in time or for the money; `alternatives` says what would"),
        (status = 429, description = "every slot is taken, or a limit of the tenant is reached"),
        (status = 502, description = "the backend failed"),
    ))]
fn completions() {}

#[utoipa::path(get, path = "/api/v1/models", responses((status = 200, body = ModelList, description = "all models")))]
fn models() {}

#[utoipa::path(get, path = "/api/v1/models/{id}",
    params(("id" = String, Path, description = "a model's id or alias, with `/` as %2F", pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f./%]+([./][^\\u0000-\\u001f\\u007f-\\u009f./%]+)*$")),
    responses((status = 200, body = Model, description = "the model"), (status = 404, description = "no such model")))]
fn model() {}

#[utoipa::path(post, path = "/api/explain", request_body = Question, params(Controls),
    description = "What would become of a request",
    responses((status = 200, body = Explanation, description = "the decision with every number; nothing is run"),
        (status = 404, description = "no such model")))]
fn explain() {}
