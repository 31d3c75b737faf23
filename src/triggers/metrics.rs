//! Function `Metrics`: once a minute, what all processes see together goes out as custom metrics. The host runs
//! it in one process at a time. What a process has itself is told by each of them beside its requests
//! (`app::upkeep`), with or without a host, this one included: told here too, its rates would be of the seconds
//! between the two.

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
    if let (Some(view), Some(catalogue)) = (app.views.fresh(now), app.catalogue.now()) {
        metrics::publish_shared(&view, &catalogue, now);
    }
    if let Some(rings) = app.jobs.rings().await {
        measure(&names::QUEUE_MESSAGES, rings as f64, &["doorbell"]);
    }
    super::done()
}
