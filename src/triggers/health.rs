//! Function `Health`: whether this process can do its work, from what it knows already. Open to
//! all, so it tells no names.

use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::catalogue::State;
use crate::http::{self, Response};

/// Answer of `GET /api/health`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok` or `degraded`.
    pub status: &'static str,
    /// The handler's version.
    pub version: &'static str,
    /// Whether a catalogue is in force; without one nobody is let in.
    pub catalogue: &'static str,
    /// Whether the knobs in force are the newest.
    pub knobs: &'static str,
    /// Seconds since the process started, by its clock.
    pub up_s: u64,
}

/// Always 200 while the process answers at all: a restart would mend neither catalogue nor knobs.
pub fn answer(app: &App) -> Response {
    let catalogue = match app.catalogue.state() {
        State::Loading => "loading",
        State::Missing(_) => "missing",
        State::Loaded { refused: Some(_), .. } => "newest refused",
        State::Loaded { .. } => "ok",
    };
    let knobs = app.knobs.now();
    let knobs = match (knobs.refused, knobs.read_ms) {
        (Some(_), Some(_)) => "newest refused",
        (Some(_), None) => "refused, defaults in force",
        (None, None) => "loading",
        (None, Some(_)) => "ok",
    };
    let status = if catalogue == "ok" && knobs == "ok" { "ok" } else { "degraded" };
    let up_s = app.now().since(app.started).0 / 1_000;
    http::json(200, &Health { status, version: env!("CARGO_PKG_VERSION"), catalogue, knobs, up_s })
}
