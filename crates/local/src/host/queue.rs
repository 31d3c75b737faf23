//! The queue trigger: polling, visibility, retries, the poison queue.

use super::app::Function;
use super::invocation::Envelope;
use std::sync::Arc;
/// x
pub fn manual_envelope(_function: &Arc<Function>, _text: &str) -> Envelope {
    todo!()
}
