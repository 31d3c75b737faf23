//! Function `Metrics`: once a minute, what is so at the moment goes out as custom metrics, with what was counted
//! since. The host runs it in one process at a time: only here is told what all of them see together.

use wire::envelope::Done;

use crate::app::App;
use crate::failure::Failure;
use crate::metrics::{self, names};
use crate::telemetry::measure;

/// Measures; what is measured leaves when the invocation ends.
///
/// # Errors
/// Never: a dead endpoint loses metrics, not the tick.
pub async fn run(app: &App) -> Result<Done, Failure> {
    app.views.refresh(&app.store).await;
    let now = app.now();
    app.publish();
    if let (Some(view), Some(catalogue)) = (app.views.fresh(now), app.catalogue.now()) {
        metrics::publish_shared(&view, &catalogue, now);
    }
    if let Some(rings) = app.jobs.rings().await {
        measure(&names::QUEUE_MESSAGES, rings as f64, &["doorbell"]);
    }
    super::done()
}
