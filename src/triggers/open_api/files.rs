//! Files.

#![expect(dead_code, reason = "utoipa reads the attributes, nobody calls or makes these")]
#![expect(unused_qualifications, reason = "utoipa qualifies what it is given")]

use utoipa::{IntoParams, OpenApi, ToSchema};
use wire::openai::{FileDeleted, FileList, FileObject, FileUpload};

#[derive(OpenApi)]
#[openapi(paths(upload_file, list_files, show_file, file_content, delete_file))]
pub struct Paths;

/// Which part of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// `batch`: what was uploaded; `batch_output`: what batches brought; nothing is listed under another.
    #[param(nullable = false)]
    purpose: Option<String>,
    /// A page holds at most 1,000, whatever is asked for.
    #[param(minimum = 1, maximum = 10_000, nullable = false)]
    limit: Option<u32>,
    /// Id of the file that the page follows.
    #[param(pattern = "^file-(out-|err-)?[a-z2-7]{26}$", nullable = false)]
    after: Option<String>,
    /// By when they were uploaded; what a batch brought stands where the batch was made.
    #[param(inline, nullable = false)]
    order: Option<Order>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Order {
    Asc,
    Desc,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct Id {
    /// Of an upload, or of what a batch brought.
    #[param(pattern = "^file-(out-|err-)?[a-z2-7]{26}$")]
    id: String,
}

#[utoipa::path(post, path = "/api/v1/files",
    request_body(content = FileUpload, content_type = "multipart/form-data"),
    responses((status = 200, body = FileObject, description = "the file; `status` says whether its lines are right"),
        (status = 429, description = "too many uploads are under way")))]
fn upload_file() {}

#[utoipa::path(get, path = "/api/v1/files", params(Page),
    responses((status = 200, body = FileList, description = "a page")))]
fn list_files() {}

#[utoipa::path(get, path = "/api/v1/files/{id}", params(Id),
    responses((status = 200, body = FileObject, description = "the file"), (status = 404, description = "no such file")))]
fn show_file() {}

#[utoipa::path(get, path = "/api/v1/files/{id}/content",
    params(Id, ("Range" = inline(Option<String>), Header, description = "one range of bytes (RFC 9110 §14); what is none is ignored", nullable = false)),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream", description = "all of it",
            headers(("ETag" = String, description = "names this content"), ("Accept-Ranges" = String, description = "`bytes`"))),
        (status = 206, body = Vec<u8>, content_type = "application/octet-stream", description = "the range",
            headers(("ETag" = String, description = "names this content"), ("Content-Range" = String, description = "which part it is"))),
        (status = 404, description = "no such file"),
        (status = 416, description = "the range lies outside"),
    ))]
fn file_content() {}

#[utoipa::path(delete, path = "/api/v1/files/{id}", params(Id),
    responses((status = 200, body = FileDeleted, description = "it is gone"), (status = 404, description = "no such file"),
        (status = 409, description = "a batch that has not ended reads it")))]
fn delete_file() {}
