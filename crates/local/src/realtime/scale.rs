//! How many replicas there should be: pure, on instants that are passed in.
//!
//! Two voices count, and the louder wins: the number that the status page gives (the KEDA
//! way), and activation, which asks for one replica while anything is in flight or held.
//! Shrinking is slower than growing: only an idle replica goes, and only after the cooldown.

use std::time::Duration;

use tokio::time::Instant;

/// Starts that fail in a row are repeated after this, doubled each time, as a container
/// platform backs off from a crash loop.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// The longest pause between failed starts.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// What bounds the number of replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Replicas that are kept even when idle.
    pub min: u32,
    /// Never more than this many.
    pub max: u32,
    /// How long a surplus replica must have been idle before it goes.
    pub cooldown: Duration,
}

/// What the status page last said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// It has not answered: grow by activation only, and let nothing go.
    Unknown,
    /// This many.
    Replicas(u32),
}

/// A replica as the scaling rule sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Which one; ids grow.
    pub id: u64,
    /// What it is doing.
    pub phase: Phase,
}

/// What a replica is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not yet ready.
    Starting,
    /// At least one request is in flight.
    Busy,
    /// Ready, with nothing in flight since then.
    Idle(Instant),
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// How many to start.
    pub start: u32,
    /// Which to stop.
    pub stop: Vec<u64>,
}

/// Starts that failed in a row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Failures {
    count: u32,
    last: Option<Instant>,
}

impl Failures {
    /// A replica ended before it was ready.
    pub fn note(&mut self, now: Instant) {
        self.count = self.count.saturating_add(1);
        self.last = Some(now);
    }

    /// A replica became ready.
    pub fn clear(&mut self) {
        *self = Failures::default();
    }

    /// Whether another start may be tried.
    pub fn allow(&self, now: Instant) -> bool {
        let doublings = self.count.saturating_sub(1).min(16);
        let pause = (BACKOFF_FIRST * 2u32.pow(doublings)).min(BACKOFF_MAX);
        self.last.is_none_or(|last| now.duration_since(last) >= pause)
    }
}

/// What to start and stop, given what is wanted, whether any request is held and what there is.
pub fn plan(limits: Limits, wanted: Wanted, held: usize, replicas: &[View], now: Instant) -> Plan {
    let is_active = held > 0 || replicas.iter().any(|replica| replica.phase == Phase::Busy);
    let activation = u32::from(is_active);
    let asked = match wanted {
        Wanted::Unknown => activation,
        Wanted::Replicas(count) => count.max(activation),
    };
    let target = asked.max(limits.min).min(limits.max);
    let present = u32::try_from(replicas.len()).unwrap_or(u32::MAX);
    let start = target.saturating_sub(present);

    let surplus = match wanted {
        Wanted::Unknown => 0,
        Wanted::Replicas(_) => present.saturating_sub(target),
    };
    let mut idle: Vec<(Instant, u64)> = replicas
        .iter()
        .filter_map(|replica| match replica.phase {
            Phase::Idle(since) if now.duration_since(since) >= limits.cooldown => Some((since, replica.id)),
            _ => None,
        })
        .collect();
    idle.sort_unstable();
    let stop = idle.into_iter().take(surplus as usize).map(|(_, id)| id).collect();
    Plan { start, stop }
}

#[cfg(test)]
#[path = "scale_tests.rs"]
mod tests;
