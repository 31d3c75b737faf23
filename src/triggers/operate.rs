//! Function `Operate`: what operators do by hand.

use serde_json::json;

use crate::app::App;
use crate::auth;
use crate::failure::{Failure, Kind};
use crate::http::{self, Method, Request, Response};

/// Answers `/api/operate/{what}`.
///
/// # Errors
/// Without an operator's key; 404 for what this version cannot do.
pub async fn answer(app: &App, request: &Request, what: &[&str]) -> Result<Response, Failure> {
    let catalogue = app.catalogue().await?;
    auth::admin(&catalogue, &request.headers)?;
    match (what, &request.method) {
        (["knobs", "refresh"], &Method::POST) => Ok(refresh(app).await),
        (["knobs", "refresh"], _) => Err(Failure::method("POST")),
        _ => {
            let message = "this version can only `POST /api/operate/knobs/refresh`";
            Err(Failure::new(Kind::NotFound, "unsupported_operation", message))
        }
    }
}

/// Reads knobs, catalogue and view now; says what is in force afterwards.
async fn refresh(app: &App) -> Response {
    app.refresh().await;
    let knobs = app.knobs.now();
    let status = if knobs.refused.is_some() { 409 } else { 200 };
    let shown = json!({ "refused": knobs.refused, "read_unix_ms": knobs.read_ms, "knobs": super::status::knobs(&knobs.knobs) });
    http::json(status, &shown)
}
