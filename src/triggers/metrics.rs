//! Function `Metrics`: once a minute, what was counted goes out as custom metrics.

use wire::envelope::Done;

use crate::app::App;
use crate::failure::Failure;
use crate::metrics;

/// Records and sends them; without telemetry there is nothing to do.
///
/// # Errors
/// Never: a dead endpoint loses metrics, not the tick.
pub async fn run(app: &App) -> Result<Done, Failure> {
    app.metrics.publish(&app.telemetry, app.catalogue.now().as_deref(), app.now());
    if let Some(view) = app.views.fresh(app.now()) {
        metrics::publish_pools(&app.telemetry, &view);
    }
    app.telemetry.flush_metrics().await;
    super::done()
}
