//! Function `Alerts`: takes Azure Monitor's common alert schema and keeps it for the rebalancer. The
//! host checks the key of this function; without a host it does not exist.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::act;
use crate::app::App;
use crate::failure::{Failure, Kind};
use crate::http::{self, Method, Request, Response};

/// Alerts are small; the vendor's largest carry a table of results.
const ALERT_BYTES_MAX: usize = 1024 * 1024;
/// What `schemaId` says in the common schema.
const COMMON_SCHEMA: &str = "azureMonitorCommonAlertSchema";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert<'a> {
    schema_id: String,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    essentials: Essentials,
    #[serde(borrow, rename = "alertContext", default)]
    _context: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Essentials {
    alert_rule: String,
    severity: String,
    monitor_condition: String,
}

/// Keeps one alert; the same alert twice is one.
///
/// # Errors
/// 400 for anything but the common schema.
pub async fn answer(app: &App, mut request: Request) -> Result<Response, Failure> {
    if request.method != Method::POST {
        return Err(Failure::method("POST"));
    }
    let body = request.body(ALERT_BYTES_MAX).await?;
    let alert: Alert<'_> = serde_json::from_slice(&body).map_err(|error| {
        let message = format!(
            "no alert in the common schema ({error}); switch the action group to the common alert schema"
        );
        Failure::invalid("schemaId", "classic_alert", message)
    })?;
    if alert.schema_id != COMMON_SCHEMA {
        let message =
            format!("schemaId must be {COMMON_SCHEMA}; switch the action group to the common alert schema");
        return Err(Failure::invalid("schemaId", "classic_alert", message));
    }
    let essentials = alert.data.essentials;
    let kept = act::keep::alert(&app.store, body.clone()).await;
    kept.map_err(|error| {
        tracing::error!(%error, "alert not kept");
        Failure::new(Kind::Unavailable, "not_kept", "the alert could not be kept; send it again")
            .retry_after(5_000)
    })?;
    tracing::warn!(
        rule = essentials.alert_rule,
        severity = essentials.severity,
        condition = essentials.monitor_condition,
        "alert"
    );
    Ok(http::json(200, &serde_json::json!({ "kept": true })))
}
