//! The timer trigger: due, past due, never overlapping.

use super::app::Function;
use super::invocation::Envelope;
use std::sync::Arc;
/// x
pub fn manual_envelope(_function: &Arc<Function>, _now_ms: u64) -> Envelope {
    todo!()
}
