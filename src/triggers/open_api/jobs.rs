//! Jobs of the deferred lane.

#![expect(dead_code, reason = "utoipa reads the attributes, nobody calls or makes these")]
#![expect(unused_qualifications, reason = "utoipa qualifies what it is given")]

use utoipa::{IntoParams, OpenApi, ToSchema};
use wire::jobs::{JobList, JobView, WebhookList};

#[derive(OpenApi)]
#[openapi(paths(
    list_jobs,
    show_job,
    job_result,
    job_logs,
    job_webhooks,
    cancel_job,
    promote_job,
    delete_job
))]
pub struct Paths;

/// Which part of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// How many at most.
    #[param(minimum = 1, maximum = 100, nullable = false)]
    limit: Option<u32>,
    /// Id of the job that the page follows.
    #[param(pattern = "^[a-z2-7]{26}$", nullable = false)]
    after: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct Id {
    /// Of a job.
    #[param(pattern = "^[a-z2-7]{26}$")]
    id: String,
}

/// What is left of a job that was deleted.
#[derive(ToSchema)]
pub struct JobDeleted {
    /// Its id.
    id: String,
    /// Always `job`.
    object: String,
    /// Always true.
    deleted: bool,
}

#[utoipa::path(get, path = "/api/jobs", params(Page),
    responses((status = 200, body = JobList, description = "a page, the newest first")))]
fn list_jobs() {}

#[utoipa::path(get, path = "/api/jobs/{id}", params(Id),
    responses((status = 200, body = JobView, description = "the job, with the reason for waiting"),
        (status = 404, description = "no such job")))]
fn show_job() {}

#[utoipa::path(get, path = "/api/jobs/{id}/result", params(Id),
    responses(
        (status = 200, description = "the answer of one request, or the lines of many",
            content((Object = "application/json"), (String = "application/jsonl"))),
        (status = 404, description = "no such job"),
        (status = 409, description = "not done yet"),
        (status = 410, description = "there was no result, or it has expired"),
        (status = "4XX", description = "the answer of one request, where the model refused it", body = Object),
    ))]
fn job_result() {}

#[utoipa::path(get, path = "/api/jobs/{id}/logs", params(Id),
    responses((status = 200, body = String, content_type = "text/plain", description = "what its last tasks wrote"),
        (status = 404, description = "no such job")))]
fn job_logs() {}

#[utoipa::path(get, path = "/api/jobs/{id}/webhooks", params(Id),
    responses((status = 200, body = WebhookList, description = "what came of telling them that it ended"),
        (status = 404, description = "no such job")))]
fn job_webhooks() {}

#[utoipa::path(post, path = "/api/jobs/{id}/cancel", params(Id),
    responses((status = 200, body = JobView, description = "it stops, or had ended"), (status = 404, description = "no such job")))]
fn cancel_job() {}

#[utoipa::path(post, path = "/api/jobs/{id}/promote", params(Id),
    description = "Runs what waits in the realtime lane",
    responses((status = 200, body = JobView, description = "it is asked for, or nothing waits"),
        (status = 404, description = "no such job"), (status = 422, description = "no realtime backend serves its model")))]
fn promote_job() {}

#[utoipa::path(delete, path = "/api/jobs/{id}", params(Id),
    responses((status = 200, body = JobDeleted, description = "nothing of this name is left"),
        (status = 404, description = "what is no job's id"), (status = 409, description = "it has not ended")))]
fn delete_job() {}
