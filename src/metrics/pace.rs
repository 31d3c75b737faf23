//! A pace as facts write it, for other processes, and as policy reads it.

use facts::view::PaceState;
use policy::pace::Measured;
use policy::units::UnixMs;

/// As it is shared.
pub fn shared(measured: Measured) -> PaceState {
    let Measured { took_us, expected_us, answers_milli, at } = measured;
    PaceState { took_us, expected_us, answers_milli, at: at.0 }
}

/// As it was shared.
pub fn read(state: PaceState) -> Measured {
    let PaceState { took_us, expected_us, answers_milli, at } = state;
    Measured { took_us, expected_us, answers_milli, at: UnixMs(at) }
}
