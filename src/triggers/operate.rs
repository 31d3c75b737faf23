//! Function `Operate`: what operators do by hand, here with knobs, in [`dead`] with dead letters. Whatever
//! changes something is written into the audit log.

mod dead;

use audit::action::Did;
use policy::Knobs;
use policy::units::UnixMs;
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::{self, Actor};
use crate::failure::{Failure, Kind};
use crate::http::{self, Method, Request, Response};
use crate::knobs::{self, ChangeError};
use crate::triggers::acted;

/// A change names each of the 16 knobs once.
const CHANGE_BYTES_MAX: usize = 64 * 1024;

/// Answers `/api/operate/{what}`.
///
/// # Errors
/// Without an operator's key; 404 for what this version cannot do; what [`ChangeError`] says.
pub async fn answer(app: &App, mut request: Request, what: &[&str]) -> Result<Response, Failure> {
    let catalogue = app.catalogue().await?;
    let actor = auth::admin(&catalogue, &request.headers)?;
    let before = given(app);
    match (what, &request.method) {
        (["knobs"], &Method::PATCH) => {
            change(app, &mut request).await?;
            Ok(knobs_are(app, &request, &actor, (Did::KnobsChanged, before)).await)
        }
        (["knobs"], _) => Ok(http::json(200, &list(app))),
        (["knobs", "refresh"], _) => {
            let refreshed = refresh(app).await;
            record(app, &request, &actor, (Did::Refreshed, before)).await;
            Ok(refreshed)
        }
        (["knobs", "rollback"], _) => {
            app.knobs.roll_back(&app.store, app.clock.now_ms()).await.map_err(refused)?;
            Ok(knobs_are(app, &request, &actor, (Did::KnobsRolledBack, before)).await)
        }
        (["dead", what @ ..], _) => dead::answer(app, &catalogue, &mut request, &actor, what).await,
        _ => Err(Failure::not_found("nothing is here; see /api/openapi.json")),
    }
}

/// Reads knobs, catalogue and view now; says what is in force afterwards.
async fn refresh(app: &App) -> Response {
    app.refresh().await;
    let knobs = app.knobs.now();
    let status = if knobs.refused.is_some() { 409 } else { 200 };
    let shown = json!({ "refused": knobs.refused, "read_unix_ms": knobs.read_ms, "knobs": knobs::shown(&knobs.knobs) });
    http::json(status, &shown)
}

/// Sets knobs from a JSON object of them (a merge patch: null returns one to its default).
async fn change(app: &App, request: &mut Request) -> Result<(), Failure> {
    let body = request.body(CHANGE_BYTES_MAX).await?;
    let changes: knobs::Given = serde_json::from_slice(&body).map_err(|error| {
        let message = format!("the body is no JSON object of knobs: {error}");
        Failure::new(Kind::Invalid, "invalid_knobs", message)
    })?;
    app.knobs.change(&app.store, app.clock.now_ms(), &changes).await.map_err(refused)
}

/// Every knob as it is now, once it is written down who made it so.
async fn knobs_are(app: &App, request: &Request, actor: &Actor, did: (Did, Value)) -> Response {
    record(app, request, actor, did).await;
    http::json(200, &list(app))
}

/// Writes down what was done with knobs: those that were given before, and those that are now.
async fn record(app: &App, request: &Request, actor: &Actor, (did, before): (Did, Value)) {
    acted(app, (request, actor), did, "knobs", (before, given(app))).await;
}

/// The knobs that are given; the others have their defaults.
fn given(app: &App) -> Value {
    json!(*app.knobs.now().given)
}

fn refused(error: ChangeError) -> Failure {
    let (kind, code) = match &error {
        ChangeError::Invalid(_) => (Kind::Invalid, "invalid_knobs"),
        ChangeError::NoPrevious => (Kind::Conflict, "no_previous_knobs"),
        ChangeError::Failed(_) => (Kind::Conflict, "knobs_not_changed"),
    };
    Failure::new(kind, code, error.to_string())
}

/// Every knob: what it is, what it may be, and whether it was given.
fn list(app: &App) -> Value {
    let in_force = app.knobs.now();
    let (values, defaults) = (knobs::shown(&in_force.knobs), knobs::shown(&Knobs::default()));
    let row = |known: &knobs::Known| {
        json!({
            "name": known.name,
            "value": values[known.name],
            "default": defaults[known.name],
            "is_given": in_force.given.contains_key(known.name),
            "may_be": known.wanted,
        })
    };
    json!({
        "from": app.knobs.origin().kind(),
        "age_s": in_force.read_ms.map(|read| app.now().since(UnixMs(read)).0 / 1_000),
        "is_kept": in_force.is_kept,
        "refused": in_force.refused,
        "knobs": knobs::known().iter().map(row).collect::<Vec<_>>(),
    })
}
