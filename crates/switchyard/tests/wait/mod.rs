//! Waiting for what is on its way, with a bound. Shared by the tests of whole stacks.

use std::time::{Duration, Instant};

/// Every wait ends with a failure after this; debug builds on a busy machine are slow.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks: a look is a read of a file or a call on this machine.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What `look` finds.
///
/// # Panics
/// When it has found nothing for [`PATIENCE`].
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
