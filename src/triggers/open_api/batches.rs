//! Batches.

#![expect(dead_code, reason = "utoipa reads the attributes, nobody calls or makes these")]
#![expect(unused_qualifications, reason = "utoipa qualifies what it is given")]

use utoipa::{IntoParams, OpenApi};
use wire::openai::{Batch, BatchCreate, BatchList};

use super::inference::{Class, Deadline};

#[derive(OpenApi)]
#[openapi(paths(create_batch, list_batches, show_batch, cancel_batch))]
pub struct Paths;

/// When and for how much a batch is to run.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Controls {
    /// Sooner than 24h; hard.
    #[param(rename = "Switchyard-Deadline", nullable = false)]
    deadline: Option<Deadline>,
    /// US dollars.
    #[param(rename = "Switchyard-Max-Cost", minimum = 0, maximum = 1_000_000, nullable = false)]
    max_cost: Option<f64>,
    /// One that the catalogue gives the tenant.
    #[param(rename = "Switchyard-Class", inline, nullable = false)]
    class: Option<Class>,
    /// The same key and body name the same batch.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$",
        nullable = false
    )]
    key: Option<String>,
}

/// Which part of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// How many at most.
    #[param(minimum = 1, maximum = 100, nullable = false)]
    limit: Option<u32>,
    /// Id of the batch that the page follows.
    #[param(pattern = "^batch_[a-z2-7]{26}$", nullable = false)]
    after: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct Id {
    /// Of a batch.
    #[param(pattern = "^batch_[a-z2-7]{26}$")]
    id: String,
}

#[utoipa::path(post, path = "/api/v1/batches", request_body = BatchCreate, params(Controls),
    responses((status = 200, body = Batch, description = "it is accepted; or failed from the start, where its file is wrong"),
        (status = 404, description = "no such file, or the model of its lines is not here"),
        (status = 409, description = "the Idempotency-Key named another batch"),
        (status = 422, description = "no place finishes it in time or for the money; `alternatives` says what would"),
        (status = 429, description = "a limit of the tenant is reached")))]
fn create_batch() {}

#[utoipa::path(get, path = "/api/v1/batches", params(Page),
    responses((status = 200, body = BatchList, description = "a page")))]
fn list_batches() {}

#[utoipa::path(get, path = "/api/v1/batches/{id}", params(Id),
    responses((status = 200, body = Batch, description = "the batch"), (status = 404, description = "no such batch")))]
fn show_batch() {}

#[utoipa::path(post, path = "/api/v1/batches/{id}/cancel", params(Id),
    responses((status = 200, body = Batch, description = "it stops"), (status = 404, description = "no such batch"),
        (status = 409, description = "it has ended, or is about to")))]
fn cancel_batch() {}
