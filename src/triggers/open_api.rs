//! Function `OpenApi`: the description of what exists here, made from the code's own types. A module a
//! subject says what its paths take and answer; [`complete`] adds what all have in common; [`constraints`]
//! what attributes of types cannot say; [`routes`] is the table that is served by.

mod batches;
mod complete;
mod constraints;
mod dead;
mod files;
mod inference;
mod jobs;
mod operate;
pub mod routes;
mod uploads;

use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::Value;
use utoipa::OpenApi;
use wire::openai::ErrorBody;

use crate::http::{self, Response};
use routes::ROUTES;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Switchyard",
        description = "Sends each inference request where the money is best spent: a realtime backend now, or a cheap pool later"
    ),
    components(schemas(ErrorBody))
)]
struct Description;

/// The description, rendered once. It tells of what only the Functions host lets in only under that host.
pub fn answer(under_host: bool) -> Response {
    static ALONE: LazyLock<Bytes> = LazyLock::new(|| description(false).to_string().into());
    static UNDER_HOST: LazyLock<Bytes> = LazyLock::new(|| description(true).to_string().into());
    http::text_json(200, if under_host { UNDER_HOST.clone() } else { ALONE.clone() })
}

fn description(under_host: bool) -> Value {
    let mut whole = Description::openapi();
    for part in [
        inference::Paths::openapi(),
        files::Paths::openapi(),
        uploads::Paths::openapi(),
        batches::Paths::openapi(),
        jobs::Paths::openapi(),
        operate::Paths::openapi(),
        dead::Paths::openapi(),
    ] {
        whole.merge(part);
    }
    for route in ROUTES.iter().filter(|route| route.host_only && !under_host) {
        whole.paths.paths.remove(route.path);
    }
    let mut text = serde_json::to_value(whole).expect("the description is plain data, which serializes");
    constraints::add(&mut text);
    complete::complete(&mut text);
    text
}

#[cfg(test)]
mod tests;
