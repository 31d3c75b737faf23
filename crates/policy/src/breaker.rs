//! Whether a backend may be tried: closed, open after failures in a row, half open for one probe.

use crate::units::UnixMs;

/// What a breaker shows to a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Requests may pass.
    #[default]
    Closed,
    /// None may pass until then.
    Open {
        /// When one probe may pass.
        until: UnixMs,
    },
    /// One probe is under way.
    HalfOpen,
}
