//! Function `Alerts`: takes Azure Monitor's common alert schema and keeps it for the rebalancer. The
//! host checks the key of this function; without a host it does not exist.

use crate::act::rebalance::alerts;
use crate::app::App;
use crate::failure::{Failure, Kind};
use crate::http::{self, Method, Request, Response};

/// Alerts are small; the vendor's largest carry a table of results.
const ALERT_BYTES_MAX: usize = 1024 * 1024;
/// Keeps one alert; the same alert twice is one.
///
/// # Errors
/// 400 for anything but the common schema.
pub async fn answer(app: &App, mut request: Request) -> Result<Response, Failure> {
    if request.method != Method::POST {
        return Err(Failure::method("POST"));
    }
    let body = request.body(ALERT_BYTES_MAX).await?;
    let told = alerts::read(&body).map_err(|problem| {
        let message = format!("{problem}; switch the action group to the common alert schema");
        Failure::invalid("schemaId", "classic_alert", message)
    })?;
    let kept = alerts::keep(&app.store, &told, body).await;
    kept.map_err(|error| {
        tracing::error!(%error, "alert not kept");
        Failure::new(Kind::Unavailable, "not_kept", "the alert could not be kept; send it again")
            .retry_after(5_000)
    })?;
    tracing::warn!(
        rule = told.rule,
        severity = told.severity,
        over = told.is_over,
        asks = ?told.asks,
        "alert"
    );
    Ok(http::json(200, &serde_json::json!({ "kept": true })))
}
