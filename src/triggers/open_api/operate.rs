//! What operators and probes ask.

#![expect(dead_code, reason = "utoipa reads the attributes, nobody calls or makes these")]

use serde_json::Value;
use utoipa::{OpenApi, ToSchema};
use wire::cost::Report;
use wire::jobs::ReasonView;
use wire::status::Status;

use crate::triggers::health::Health;

#[derive(OpenApi)]
#[openapi(
    paths(
        status,
        cost,
        wanted_replicas,
        list_knobs,
        change_knobs,
        refresh_knobs,
        roll_back_knobs,
        health,
        open_api,
        take_alert
    ),
    components(schemas(By))
)]
pub struct Paths;

/// What a scaler reads.
#[derive(ToSchema)]
pub struct Replicas {
    /// The backend's name.
    backend: String,
    /// Replicas that are wanted now.
    replicas: u32,
    /// Why.
    #[schema(value_type = Object)]
    reason: ReasonView,
}

/// What rows of a cost report are told apart by.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum By {
    /// Label `team`.
    Team,
    /// Label `project`.
    Project,
    /// Label `cost-center`.
    CostCenter,
    /// Label `environment`.
    Environment,
    /// The tenant.
    Tenant,
    /// `realtime` or `deferred`.
    Lane,
    /// The model's id.
    Model,
    /// The job's id.
    Job,
}

/// What is in force after reading knobs and catalogue anew.
#[derive(ToSchema)]
pub struct Refreshed {
    /// Why the newest knobs are not; none where they are.
    refused: Option<String>,
    /// When knobs were read, Unix milliseconds.
    read_unix_ms: Option<u64>,
    /// Knobs in force.
    #[schema(value_type = Object)]
    knobs: Value,
}

/// Every knob.
#[derive(ToSchema)]
pub struct Knobs {
    /// `file` or `vault`.
    from: String,
    /// Seconds since the set in force was read; none where no good set was read so far.
    age_s: Option<u64>,
    /// Whether another process read it, earlier: this one could not yet.
    is_kept: bool,
    /// Why the newest set is not in force; none where it is.
    refused: Option<String>,
    /// One after the other.
    knobs: Vec<Knob>,
}

/// A knob.
#[derive(ToSchema)]
pub struct Knob {
    /// Its name.
    name: String,
    /// What is in force.
    #[schema(value_type = Value)]
    value: Value,
    /// What it is when it is not given.
    #[schema(value_type = Value)]
    default: Value,
    /// Whether it is given.
    is_given: bool,
    /// What it may be, for people.
    may_be: String,
}

/// What became of an alert.
#[derive(ToSchema)]
pub struct Kept {
    /// Always true.
    kept: bool,
}

#[utoipa::path(get, path = "/api/status",
    responses((status = 200, description = "what is broken, at risk and wasted; as text where `Accept` begins so",
        content((Status = "application/json"), (String = "text/plain")))))]
fn status() {}

#[utoipa::path(get, path = "/api/status/cost",
    params(("month" = Option<String>, Query, description = "as 2026-11, in UTC; this month where it is missing", pattern = "^20[0-9]{2}-(0[1-9]|1[0-2])$"),
        ("by" = Option<By>, Query, description = "what rows are told apart by; `team` where it is missing")),
    responses((status = 200, body = Report, description = "what the month cost: its rows sum to the total"),
        (status = 503, description = "the ledger cannot be read now")))]
fn cost() {}

#[utoipa::path(get, path = "/api/status/replicas/{backend}",
    params(("backend" = String, Path, description = "a backend's name", pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f./%]+$")),
    responses((status = 200, body = Replicas, description = "how many are wanted"), (status = 404, description = "no such backend")))]
fn wanted_replicas() {}

#[utoipa::path(post, path = "/api/operate/knobs/refresh",
    responses((status = 200, body = Refreshed, description = "knobs and catalogue were read anew"),
        (status = 409, body = Refreshed, description = "the newest knobs are refused; the older ones stay in force")))]
fn refresh_knobs() {}

#[utoipa::path(get, path = "/api/operate/knobs",
    responses((status = 200, body = Knobs, description = "every knob, as it is in force")))]
fn list_knobs() {}

#[utoipa::path(patch, path = "/api/operate/knobs",
    request_body(content = Object, description = "knobs by name; null returns one to its default"),
    responses((status = 200, body = Knobs, description = "they are written, and in force"),
        (status = 409, description = "file or vault could not be written")))]
fn change_knobs() {}

#[utoipa::path(post, path = "/api/operate/knobs/rollback",
    responses((status = 200, body = Knobs, description = "the set before the last change is in force again"),
        (status = 409, description = "there is none, or file or vault could not be written")))]
fn roll_back_knobs() {}

#[utoipa::path(get, path = "/api/health", security(()),
    responses((status = 200, body = Health, description = "whether this process can do its work")))]
fn health() {}

#[utoipa::path(get, path = "/api/openapi.json", security(()),
    responses((status = 200, body = Object, description = "this")))]
fn open_api() {}

#[utoipa::path(post, path = "/api/alerts", security(("function_key" = [])),
    request_body(content = Object, description = "an alert in Azure Monitor's common schema"),
    responses((status = 200, body = Kept, description = "it is kept; the same alert twice is one"),
        (status = 401, description = "no key of the function", content_type = "text/plain", body = String),
        (status = 503, description = "it could not be kept")))]
fn take_alert() {}
