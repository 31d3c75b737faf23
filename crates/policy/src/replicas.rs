//! How many replicas a realtime backend should have. One writer a scale decision: the KEDA rule and
//! the local front read the number that this gives.

use crate::knobs::Knobs;
use crate::reason::{Code, Evidence, Reason};
use crate::snapshot::Backend;
use crate::units::{Millis, UnixMs};

/// How long replicas stay after their last request: KEDA's default cooldown (300 s).
pub const COOLDOWN: Millis = Millis::from_secs(300);

/// How many replicas, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Replicas to have.
    pub replicas: u32,
    /// Why.
    pub reason: Reason,
}

/// The replicas that `backend` should have now. `waiting` are requests that were refused as
/// warming or are held for a replica, beside those in flight. Never shrinks within the cooldown,
/// never exceeds the catalogue's or the knob's limit.
pub fn replicas(knobs: &Knobs, backend: &Backend, waiting: u32, now: UnixMs) -> Plan {
    let ceiling = knobs.max_replicas.min(backend.max_replicas);
    let floor = knobs.min_replicas.min(ceiling);
    let work = backend.in_flight.saturating_add(waiting);
    let needed = work.div_ceil(backend.slots_per_replica.max(1));
    let current = (backend.ready_replicas + backend.starting_replicas).min(ceiling);
    let used_lately = backend.last_used.is_some_and(|used| now.since(used) < COOLDOWN);

    let (replicas, code) = if needed > ceiling {
        (ceiling, Code::Ceiling)
    } else if used_lately && current > needed.max(floor) {
        (current, Code::Cooldown)
    } else if needed > floor {
        (needed, Code::Demand)
    } else if floor > 0 {
        (floor, Code::Floor)
    } else {
        (0, Code::Idle)
    };
    let reason = Reason::new(code)
        .with("in_flight", Evidence::Count(backend.in_flight.into()))
        .with("waiting", Evidence::Count(waiting.into()))
        .with("slots_per_replica", Evidence::Count(backend.slots_per_replica.into()))
        .with("ceiling", Evidence::Count(ceiling.into()));
    let reason = match (code, backend.last_used) {
        (Code::Cooldown, Some(used)) => reason.next("replicas may go", Some(used + COOLDOWN)),
        _ => reason,
    };
    Plan { replicas, reason }
}
