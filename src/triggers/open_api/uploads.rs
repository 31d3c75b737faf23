//! Uploads in parts.

#![expect(dead_code, reason = "utoipa reads the attributes, nobody calls or makes these")]
#![expect(unused_qualifications, reason = "utoipa qualifies what it is given")]

use utoipa::{IntoParams, OpenApi};
use wire::openai::{Upload, UploadComplete, UploadCreate, UploadPart, UploadPartCreate};

#[derive(OpenApi)]
#[openapi(paths(create_upload, show_upload, add_part, complete_upload, cancel_upload))]
pub struct Paths;

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct Id {
    /// Of an upload.
    #[param(pattern = "^upload_[a-z2-7]{26}$")]
    id: String,
}

#[utoipa::path(post, path = "/api/v1/uploads", request_body = UploadCreate,
    responses((status = 200, body = Upload, description = "parts may come"), (status = 429, description = "too many are open")))]
fn create_upload() {}

#[utoipa::path(get, path = "/api/v1/uploads/{id}", params(Id),
    responses((status = 200, body = Upload, description = "the upload"), (status = 404, description = "no such upload")))]
fn show_upload() {}

#[utoipa::path(post, path = "/api/v1/uploads/{id}/parts", params(Id),
    request_body(content = UploadPartCreate, content_type = "multipart/form-data"),
    responses((status = 200, body = UploadPart, description = "the part is there"), (status = 404, description = "no such upload"),
        (status = 409, description = "it has ended"), (status = 429, description = "too many uploads are under way")))]
fn add_part() {}

#[utoipa::path(post, path = "/api/v1/uploads/{id}/complete", params(Id), request_body = UploadComplete,
    responses((status = 200, body = Upload, description = "it became a file"), (status = 404, description = "no such upload"),
        (status = 409, description = "it has ended otherwise"), (status = 429, description = "too many uploads are under way")))]
fn complete_upload() {}

#[utoipa::path(post, path = "/api/v1/uploads/{id}/cancel", params(Id),
    responses((status = 200, body = Upload, description = "it is given up"), (status = 404, description = "no such upload"),
        (status = 409, description = "it has ended otherwise")))]
fn cancel_upload() {}
