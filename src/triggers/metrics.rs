//! Function `Metrics`: once a minute, what was counted goes out as custom metrics.

use wire::envelope::Done;

use crate::app::App;
use crate::failure::Failure;

/// Records and sends them; without telemetry there is nothing to do.
///
/// # Errors
/// Never: a dead endpoint loses metrics, not the tick.
pub async fn run(app: &App) -> Result<Done, Failure> {
    app.metrics.publish(&app.telemetry, app.catalogue.now().as_deref(), app.now());
    app.telemetry.flush_metrics().await;
    super::done()
}
