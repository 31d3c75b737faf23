//! Dead letters, for operators.

#![expect(dead_code, reason = "utoipa reads the attributes, nobody calls or makes these")]
#![expect(unused_qualifications, reason = "utoipa qualifies what it is given")]

use utoipa::{IntoParams, OpenApi, ToSchema};
use wire::dead::{DeadLetterDetail, DeadLetterList, ReplayReport, ReplayWish};

#[derive(OpenApi)]
#[openapi(paths(list_dead_letters, show_dead_letter, replay_dead_letters, delete_dead_letter))]
pub struct Paths;

/// Which letters.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Given up for this reason.
    #[param(
        nullable = false,
        pattern = "^(tries_used_up|no_ticket|empty_message|base64_no_ticket|base64_no_text|ticket_version|unknown_owner)$"
    )]
    reason: Option<String>,
    /// Of jobs with this model.
    #[param(min_length = 1, max_length = 256, nullable = false)]
    model: Option<String>,
    /// Of this tenant's jobs.
    #[param(min_length = 1, max_length = 256, nullable = false)]
    tenant: Option<String>,
    /// Kept then or later.
    #[param(minimum = 0, maximum = 9_999_999_999_999_u64, nullable = false)]
    since_unix_ms: Option<u64>,
    /// Kept before.
    #[param(minimum = 0, maximum = 9_999_999_999_999_u64, nullable = false)]
    until_unix_ms: Option<u64>,
    /// `waiting`: only those that somebody has to look at; `all`.
    #[param(nullable = false, pattern = "^(waiting|all)$")]
    state: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 100, nullable = false)]
    limit: Option<u32>,
    /// `next` of the page before.
    #[param(pattern = "^[0-9]{13}-[0-9a-f]{64}$", nullable = false)]
    after: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct Id {
    /// Of a letter.
    #[param(pattern = "^[0-9a-f]{64}$")]
    id: String,
}

/// What is left of a letter that was deleted.
#[derive(ToSchema)]
pub struct DeadLetterDeleted {
    /// Its id.
    id: String,
    /// Always `dead_letter`.
    object: String,
    /// Always true.
    deleted: bool,
}

#[utoipa::path(get, path = "/api/operate/dead", params(Wanted),
    responses((status = 200, body = DeadLetterList, description = "a page, the newest first")))]
fn list_dead_letters() {}

#[utoipa::path(get, path = "/api/operate/dead/{id}", params(Id),
    responses((status = 200, body = DeadLetterDetail, description = "the letter, and what a replay would do"),
        (status = 404, description = "no such letter")))]
fn show_dead_letter() {}

#[utoipa::path(post, path = "/api/operate/dead/replay", request_body = ReplayWish,
    description = "Has the jobs that letters name looked at again; a second replay doubles nothing",
    responses((status = 200, body = ReplayReport, description = "letter by letter what came of it")))]
fn replay_dead_letters() {}

#[utoipa::path(delete, path = "/api/operate/dead/{id}", params(Id),
    responses((status = 200, body = DeadLetterDeleted, description = "nothing of this name is left"),
        (status = 404, description = "what is no letter's id")))]
fn delete_dead_letter() {}
