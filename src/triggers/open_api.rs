//! Function `OpenApi`: the description of what exists here, made from the code's own types.

use std::sync::LazyLock;

use bytes::Bytes;
use utoipa::OpenApi;
use wire::jobs::{JobList, JobView, WebhookList};
use wire::openai::{
    Batch, BatchCreate, BatchList, EmbeddingsRequest, EmbeddingsResponse, ErrorBody, FileDeleted, FileList,
    FileObject, FileUpload, Model, ModelList, Upload, UploadComplete, UploadCreate, UploadPart,
    UploadPartCreate,
};

use super::health::Health;
use crate::http::{self, Response};

#[derive(OpenApi)]
#[openapi(
    info(title = "Switchyard", description = "Sends each inference request where the money is best spent"),
    paths(
        paths::embeddings,
        paths::chat_completions,
        paths::completions,
        paths::models,
        paths::model,
        paths::upload_file,
        paths::files,
        paths::file,
        paths::file_content,
        paths::delete_file,
        paths::create_upload,
        paths::upload,
        paths::add_part,
        paths::complete_upload,
        paths::cancel_upload,
        paths::create_batch,
        paths::batches,
        paths::batch,
        paths::cancel_batch,
        paths::jobs,
        paths::job,
        paths::job_result,
        paths::job_logs,
        paths::job_webhooks,
        paths::cancel_job,
        paths::promote_job,
        paths::delete_job,
        paths::explain,
        paths::status,
        paths::replicas,
        paths::refresh,
        paths::health
    ),
    components(schemas(
        Batch,
        BatchCreate,
        BatchList,
        EmbeddingsRequest,
        EmbeddingsResponse,
        ErrorBody,
        FileDeleted,
        FileList,
        FileObject,
        FileUpload,
        JobList,
        JobView,
        Model,
        ModelList,
        WebhookList,
        Upload,
        UploadComplete,
        UploadCreate,
        UploadPart,
        UploadPartCreate,
        Health
    ))
)]
struct Description;

/// The description, rendered once.
pub fn answer() -> Response {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| {
        Description::openapi().to_json().expect("the description is plain data, which serializes").into()
    });
    http::text_json(200, TEXT.clone())
}

/// One function a path: never called, only described.
#[expect(dead_code, reason = "utoipa reads the attributes, nobody calls the functions")]
mod paths {
    use super::{
        Batch, BatchCreate, BatchList, EmbeddingsRequest, EmbeddingsResponse, ErrorBody, FileDeleted,
        FileList, FileObject, FileUpload, Health, JobList, JobView, Model, ModelList, Upload, UploadComplete,
        UploadCreate, UploadPart, UploadPartCreate, WebhookList,
    };

    #[utoipa::path(post, path = "/api/v1/embeddings", request_body = EmbeddingsRequest,
        params(
            ("Switchyard-Deadline" = Option<String>, Header, description = "30s, 2h or an RFC 3339 instant; hard"),
            ("Switchyard-Lane" = Option<String>, Header, description = "auto, realtime or deferred"),
            ("Switchyard-Max-Cost" = Option<String>, Header, description = "US dollars"),
            ("Prefer" = Option<String>, Header, description = "wait=N or respond-async, RFC 7240"),
        ),
        responses(
            (status = 200, body = EmbeddingsResponse),
            (status = 202, body = JobView, description = "only with Prefer: respond-async or Switchyard-Lane: deferred"),
            (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
            (status = 404, body = ErrorBody), (status = 413, body = ErrorBody), (status = 422, body = ErrorBody),
            (status = 429, body = ErrorBody), (status = 502, body = ErrorBody), (status = 503, body = ErrorBody),
        ))]
    fn embeddings() {}

    #[utoipa::path(post, path = "/api/v1/chat/completions", request_body = Object,
        description = "Forwarded to a backend that serves the model; `stream: true` streams events",
        responses((status = 200, body = Object), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
    fn chat_completions() {}

    #[utoipa::path(post, path = "/api/v1/completions", request_body = Object,
        description = "Forwarded to a backend that serves the model; `stream: true` streams events",
        responses((status = 200, body = Object), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
    fn completions() {}

    #[utoipa::path(get, path = "/api/v1/models",
        responses((status = 200, body = ModelList), (status = 401, body = ErrorBody)))]
    fn models() {}

    #[utoipa::path(get, path = "/api/v1/models/{id}", params(("id" = String, Path, description = "`/` as %2F")),
        responses((status = 200, body = Model), (status = 404, body = ErrorBody)))]
    fn model() {}

    #[utoipa::path(post, path = "/api/v1/files",
        request_body(content = FileUpload, content_type = "multipart/form-data"),
        responses((status = 200, body = FileObject), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
            (status = 403, body = ErrorBody), (status = 413, body = ErrorBody), (status = 429, body = ErrorBody),
            (status = 503, body = ErrorBody)))]
    fn upload_file() {}

    #[utoipa::path(get, path = "/api/v1/files",
        params(
            ("purpose" = Option<String>, Query, description = "batch or batch_output"),
            ("limit" = Option<u32>, Query, description = "from 1 to 10,000; a page holds at most 1,000"),
            ("after" = Option<String>, Query, description = "id of the file that the page follows"),
            ("order" = Option<String>, Query, description = "asc or desc, by when they were uploaded"),
        ),
        responses((status = 200, body = FileList), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)))]
    fn files() {}

    #[utoipa::path(get, path = "/api/v1/files/{id}", params(("id" = String, Path)),
        responses((status = 200, body = FileObject), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
    fn file() {}

    #[utoipa::path(get, path = "/api/v1/files/{id}/content",
        params(("id" = String, Path), ("Range" = Option<String>, Header, description = "one range, RFC 9110")),
        responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
            (status = 206, body = Vec<u8>, content_type = "application/octet-stream"),
            (status = 401, body = ErrorBody), (status = 404, body = ErrorBody), (status = 416, body = ErrorBody)))]
    fn file_content() {}

    #[utoipa::path(delete, path = "/api/v1/files/{id}", params(("id" = String, Path)),
        responses((status = 200, body = FileDeleted), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
            (status = 404, body = ErrorBody)))]
    fn delete_file() {}

    #[utoipa::path(post, path = "/api/v1/uploads", request_body = UploadCreate,
        responses((status = 200, body = Upload), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
            (status = 403, body = ErrorBody), (status = 413, body = ErrorBody),
            (status = 429, body = ErrorBody, description = "too many are open"), (status = 503, body = ErrorBody)))]
    fn create_upload() {}

    #[utoipa::path(get, path = "/api/v1/uploads/{id}", params(("id" = String, Path)),
        responses((status = 200, body = Upload), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
    fn upload() {}

    #[utoipa::path(post, path = "/api/v1/uploads/{id}/parts", params(("id" = String, Path)),
        request_body(content = UploadPartCreate, content_type = "multipart/form-data"),
        responses((status = 200, body = UploadPart), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
            (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
            (status = 409, body = ErrorBody, description = "it has ended"), (status = 413, body = ErrorBody),
            (status = 429, body = ErrorBody), (status = 503, body = ErrorBody)))]
    fn add_part() {}

    #[utoipa::path(post, path = "/api/v1/uploads/{id}/complete", params(("id" = String, Path)),
        request_body = UploadComplete,
        responses((status = 200, body = Upload), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
            (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
            (status = 409, body = ErrorBody, description = "it has ended otherwise"), (status = 413, body = ErrorBody),
            (status = 429, body = ErrorBody), (status = 503, body = ErrorBody)))]
    fn complete_upload() {}

    #[utoipa::path(post, path = "/api/v1/uploads/{id}/cancel", params(("id" = String, Path)),
        responses((status = 200, body = Upload), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
            (status = 404, body = ErrorBody), (status = 409, body = ErrorBody, description = "it has ended otherwise")))]
    fn cancel_upload() {}

    #[utoipa::path(post, path = "/api/v1/batches", request_body = BatchCreate,
        params(
            ("Switchyard-Deadline" = Option<String>, Header, description = "sooner than 24h: 2h or an RFC 3339 instant; hard"),
            ("Switchyard-Max-Cost" = Option<String>, Header, description = "US dollars"),
            ("Idempotency-Key" = Option<String>, Header, description = "the same key and body name the same batch"),
        ),
        responses((status = 200, body = Batch), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
            (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
            (status = 413, body = ErrorBody), (status = 422, body = ErrorBody), (status = 429, body = ErrorBody),
            (status = 503, body = ErrorBody)))]
    fn create_batch() {}

    #[utoipa::path(get, path = "/api/v1/batches",
        params(
            ("limit" = Option<u32>, Query, description = "from 1 to 100"),
            ("after" = Option<String>, Query, description = "id of the batch that the page follows"),
        ),
        responses((status = 200, body = BatchList), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)))]
    fn batches() {}

    #[utoipa::path(get, path = "/api/v1/batches/{id}", params(("id" = String, Path)),
        responses((status = 200, body = Batch), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
    fn batch() {}

    #[utoipa::path(post, path = "/api/v1/batches/{id}/cancel", params(("id" = String, Path)),
        responses((status = 200, body = Batch), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
            (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
    fn cancel_batch() {}

    #[utoipa::path(get, path = "/api/jobs",
        params(
            ("limit" = Option<u32>, Query, description = "from 1 to 100"),
            ("after" = Option<String>, Query, description = "id of the job that the page follows"),
        ),
        responses((status = 200, body = JobList), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)))]
    fn jobs() {}

    #[utoipa::path(get, path = "/api/jobs/{id}", params(("id" = String, Path)),
        responses((status = 200, body = JobView, description = "with the reason for waiting"),
            (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
    fn job() {}

    #[utoipa::path(get, path = "/api/jobs/{id}/result", params(("id" = String, Path)),
        responses((status = 200, body = Object, description = "the answer of one request; lines of many"),
            (status = 401, body = ErrorBody), (status = 404, body = ErrorBody),
            (status = 409, body = ErrorBody, description = "not done yet"), (status = 410, body = ErrorBody)))]
    fn job_result() {}

    #[utoipa::path(get, path = "/api/jobs/{id}/logs", params(("id" = String, Path)),
        responses((status = 200, body = String, content_type = "text/plain"),
            (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
    fn job_logs() {}

    #[utoipa::path(get, path = "/api/jobs/{id}/webhooks", params(("id" = String, Path)),
        responses((status = 200, body = WebhookList, description = "what came of telling them that it ended"),
            (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
    fn job_webhooks() {}

    #[utoipa::path(post, path = "/api/jobs/{id}/cancel", params(("id" = String, Path)),
        responses((status = 200, body = JobView), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
            (status = 404, body = ErrorBody)))]
    fn cancel_job() {}

    #[utoipa::path(post, path = "/api/jobs/{id}/promote", params(("id" = String, Path)),
        responses((status = 200, body = JobView), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
            (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
    fn promote_job() {}

    #[utoipa::path(delete, path = "/api/jobs/{id}", params(("id" = String, Path)),
        responses((status = 200, body = Object), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
            (status = 409, body = ErrorBody, description = "not ended yet")))]
    fn delete_job() {}

    #[utoipa::path(post, path = "/api/explain", request_body(content = Object,
        description = "the request itself, with its own headers; or `{operation, body, headers}`"),
        responses((status = 200, body = Object, description = "the decision with every number; nothing is run"),
            (status = "4XX", body = ErrorBody)))]
    fn explain() {}

    #[utoipa::path(get, path = "/api/status",
        responses((status = 200, body = Object), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
    fn status() {}

    #[utoipa::path(get, path = "/api/status/replicas/{backend}", params(("backend" = String, Path)),
        responses((status = 200, body = Object), (status = 404, body = ErrorBody)))]
    fn replicas() {}

    #[utoipa::path(post, path = "/api/operate/knobs/refresh",
        responses((status = 200, body = Object), (status = 409, body = Object)))]
    fn refresh() {}

    #[utoipa::path(get, path = "/api/health", responses((status = 200, body = Health)))]
    fn health() {}
}
