//! What this node's GPU does, told to the handler: one object a pool, overwritten by whoever comes last. It is
//! a sample for people and decides nothing; a node without a GPU writes nothing.

use std::convert::Infallible;
use std::time::Duration;

use facts::key;
use facts::view::GpuSeen;

use crate::pack::Run;

/// How often it is told, by the clock of the service.
const EVERY: Duration = Duration::from_secs(30);

/// Tells until it is dropped.
pub(crate) async fn tell(run: &Run<'_>) -> Infallible {
    loop {
        tokio::time::sleep(run.clock.real(EVERY)).await;
        let Some(percent) = engine::gpu::utilization_percent() else { return std::future::pending().await };
        let seen = GpuSeen { at_ms: run.clock.now_ms(), percent };
        let text = serde_json::to_string(&seen).expect("numbers always serialize");
        if let Err(error) = run.store.overwrite(&key::gpu(&run.pack.pool), text).await {
            tracing::debug!(%error, "the use of the GPU was not told");
        }
    }
}
