//! What this process knows of one backend by its own requests.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use policy::breaker::{self, Breaker};
use policy::pace::Measured;
use policy::replicas::COOLDOWN;
use policy::snapshot::Spread;
use policy::units::{Millis, UnixMs};

/// Latencies that quantiles are taken of: the newest ones.
const LATENCIES_KEPT: usize = 64;

/// Counts of one backend.
#[derive(Debug, Default)]
pub struct Backend {
    in_flight: AtomicU32,
    sent: AtomicU64,
    failed: AtomicU64,
    last_used_ms: AtomicU64,
    last_good_ms: AtomicU64,
    last_failed_ms: AtomicU64,
    latencies: Mutex<Latencies>,
    breaker: Mutex<Breaker>,
    turned_away: Mutex<TurnedAway>,
    pace: Mutex<Measured>,
    planned: AtomicU32,
    starts: AtomicU32,
    gpu: Mutex<Option<(UnixMs, u32)>>,
}

/// Requests that found no replica, in the current window of time and the one before it.
#[derive(Debug, Default)]
struct TurnedAway {
    window: u64,
    now: u32,
    before: u32,
}

/// A client that was turned away comes back within this: SDKs wait 8 s at most by themselves.
const TURNED_AWAY_WINDOW_MS: u64 = 10_000;

#[derive(Debug, Default)]
struct Latencies {
    newest: Vec<u32>,
    next: usize,
}

/// One look at the counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Requests under way.
    pub in_flight: u32,
    /// Tries since start.
    pub sent: u64,
    /// Tries that failed before their first byte.
    pub failed: u64,
    /// When the last try began.
    pub last_used: Option<UnixMs>,
    /// When the last good answer began.
    pub last_good: Option<UnixMs>,
    /// When the last try failed.
    pub last_failed: Option<UnixMs>,
    /// Time to the headers of recent good answers; none before there was one.
    pub latency: Option<Spread>,
    /// Whether it may be tried.
    pub breaker: breaker::State,
    /// Replicas that the scaler was told to have.
    pub planned: u32,
    /// What answers took against what was expected.
    pub pace: Measured,
}

/// A try that is under way; counted until it is dropped.
#[derive(Debug)]
pub struct UnderWay {
    backend: Arc<Backend>,
    settled: bool,
    expects_start: bool,
}

impl Backend {
    /// Begins a try; none when the breaker does not let it pass.
    pub fn begin(self: &Arc<Backend>, now: UnixMs) -> Option<UnderWay> {
        if !self.breaker.lock().expect("no holder of this lock panics").acquire(now) {
            return None;
        }
        self.in_flight.fetch_add(1, Relaxed);
        self.sent.fetch_add(1, Relaxed);
        self.last_used_ms.store(now.0, Relaxed);
        Some(UnderWay { backend: Arc::clone(self), settled: false, expects_start: false })
    }

    /// Counts a request that found no replica: demand that nothing in flight shows.
    pub fn turn_away(&self, now: UnixMs) {
        self.last_used_ms.store(now.0, Relaxed);
        let mut turned_away = self.turned_away.lock().expect("no holder of this lock panics");
        turned_away.turn(now);
        turned_away.now = turned_away.now.saturating_add(1);
    }

    /// Requests that lately found no replica: the larger of this window and the one before, because
    /// the same clients come back.
    pub fn turned_away(&self, now: UnixMs) -> u32 {
        let mut turned_away = self.turned_away.lock().expect("no holder of this lock panics");
        turned_away.turn(now);
        turned_away.now.max(turned_away.before)
    }

    /// Keeps how many replicas the scaler was told to have.
    pub fn plan(&self, replicas: u32) {
        self.planned.store(replicas, Relaxed);
    }

    /// Replicas that had to start since the last call: good answers that were expected to need one, the first
    /// after a time in which the scaler takes every replica away.
    pub fn take_starts(&self) -> u32 {
        self.starts.swap(0, Relaxed)
    }

    /// How much its GPU was used, as its newest answer since then said.
    pub fn gpu_since(&self, since: UnixMs) -> Option<u32> {
        let gpu = self.gpu.lock().expect("no holder of this lock panics");
        gpu.filter(|(at, _)| *at >= since).map(|(_, percent)| percent)
    }

    /// One look at everything.
    pub fn observed(&self, now: UnixMs) -> Observed {
        let instant = |ms: &AtomicU64| Some(ms.load(Relaxed)).filter(|ms| *ms > 0).map(UnixMs);
        Observed {
            in_flight: self.in_flight.load(Relaxed),
            sent: self.sent.load(Relaxed),
            failed: self.failed.load(Relaxed),
            last_used: instant(&self.last_used_ms),
            last_good: instant(&self.last_good_ms),
            last_failed: instant(&self.last_failed_ms),
            latency: self.latencies.lock().expect("no holder of this lock panics").spread(),
            breaker: self.breaker.lock().expect("no holder of this lock panics").state(now),
            planned: self.planned.load(Relaxed),
            pace: *self.pace.lock().expect("no holder of this lock panics"),
        }
    }

    /// As [`Backend::observed`], without what only people look at: for the path of a request.
    pub fn at_a_glance(&self, now: UnixMs) -> Observed {
        let instant = |ms: &AtomicU64| Some(ms.load(Relaxed)).filter(|ms| *ms > 0).map(UnixMs);
        Observed {
            in_flight: self.in_flight.load(Relaxed),
            last_used: instant(&self.last_used_ms),
            last_good: instant(&self.last_good_ms),
            last_failed: instant(&self.last_failed_ms),
            breaker: self.breaker.lock().expect("no holder of this lock panics").state(now),
            planned: self.planned.load(Relaxed),
            pace: *self.pace.lock().expect("no holder of this lock panics"),
            ..Observed::default()
        }
    }
}

impl UnderWay {
    /// The decision foresaw that a replica must start first.
    pub fn expect_start(&mut self) {
        self.expects_start = true;
    }

    /// The try's headers came, after `took`.
    pub fn answered(&mut self, now: UnixMs, took: Millis) {
        self.settled = true;
        let last_good = UnixMs(self.backend.last_good_ms.swap(now.0, Relaxed));
        if self.expects_start && now.since(last_good) >= COOLDOWN {
            self.backend.starts.fetch_add(1, Relaxed);
        }
        let took = u32::try_from(took.0).unwrap_or(u32::MAX);
        self.backend.latencies.lock().expect("no holder of this lock panics").push(took);
        self.backend.breaker.lock().expect("no holder of this lock panics").succeeded();
    }

    /// The whole answer took so long, where `expected` was expected of a backend that was ready.
    pub fn paced(&self, now: UnixMs, took: Millis, expected: Millis) {
        let mut pace = self.backend.pace.lock().expect("no holder of this lock panics");
        *pace = pace.with(took, expected, now);
    }

    /// What the answer said of the GPU's use, in percent.
    pub fn gpu(&self, now: UnixMs, percent: Option<u32>) {
        if let Some(percent) = percent {
            *self.backend.gpu.lock().expect("no holder of this lock panics") = Some((now, percent));
        }
    }

    /// The backend answered, but the request was at fault: that says nothing about the backend's
    /// speed, and that it lives.
    pub fn refused_by_content(&mut self, now: UnixMs) {
        self.settled = true;
        self.backend.last_good_ms.store(now.0, Relaxed);
        self.backend.breaker.lock().expect("no holder of this lock panics").succeeded();
    }

    /// The try failed before its first byte.
    pub fn failed(&mut self, now: UnixMs, failure: policy::snapshot::Failure) {
        self.settled = true;
        self.backend.failed.fetch_add(1, Relaxed);
        self.backend.last_failed_ms.store(now.0, Relaxed);
        self.backend.breaker.lock().expect("no holder of this lock panics").failed(failure, now);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.backend.in_flight.fetch_sub(1, Relaxed);
        if !self.settled {
            self.backend.breaker.lock().expect("no holder of this lock panics").abandoned();
        }
    }
}

impl TurnedAway {
    fn turn(&mut self, now: UnixMs) {
        let window = now.0 / TURNED_AWAY_WINDOW_MS;
        if window != self.window {
            let before = if window == self.window + 1 { self.now } else { 0 };
            *self = TurnedAway { window, now: 0, before };
        }
    }
}

impl Latencies {
    fn push(&mut self, took_ms: u32) {
        if self.newest.len() < LATENCIES_KEPT {
            self.newest.push(took_ms);
        } else {
            self.newest[self.next] = took_ms;
            self.next = (self.next + 1) % LATENCIES_KEPT;
        }
    }

    fn spread(&self) -> Option<Spread> {
        let mut sorted = self.newest.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let found = sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)));
            found.map(|ms| Millis(u64::from(*ms)))
        };
        Some(Spread { p50: at(50)?, p95: at(95)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::snapshot::Failure;

    #[test]
    fn what_is_under_way_is_counted_until_it_is_dropped() {
        let backend = Arc::new(Backend::default());
        let mut good = backend.begin(UnixMs(1)).unwrap();
        good.answered(UnixMs(4), Millis(3));
        let abandoned = backend.begin(UnixMs(2)).unwrap();
        let mut bad = backend.begin(UnixMs(3)).unwrap();
        bad.failed(UnixMs(5), Failure::Unreachable);
        assert_eq!(backend.observed(UnixMs(6)).in_flight, 3);
        drop((good, abandoned, bad));
        let seen = backend.observed(UnixMs(6));
        assert_eq!((seen.in_flight, seen.sent, seen.failed), (0, 3, 1));
        assert_eq!(
            (seen.last_used, seen.last_good, seen.last_failed),
            (Some(UnixMs(3)), Some(UnixMs(4)), Some(UnixMs(5)))
        );
        assert_eq!(seen.latency, Some(Spread { p50: Millis(3), p95: Millis(3) }));
    }

    #[test]
    fn a_good_answer_after_the_cooldown_is_a_start() {
        let backend = Arc::new(Backend::default());
        let answer = |at: u64| {
            let mut under_way = backend.begin(UnixMs(at)).unwrap();
            under_way.expect_start();
            under_way.answered(UnixMs(at), Millis(1));
            under_way.gpu(UnixMs(at), Some(40));
            backend.take_starts()
        };
        let cooldown = COOLDOWN.0;
        let starts = [cooldown, cooldown + 5, 2 * cooldown + 4, 3 * cooldown + 4].map(answer);
        assert_eq!(starts, [1, 0, 0, 1]);
        assert_eq!(backend.gpu_since(UnixMs(3 * cooldown)), Some(40));
        assert_eq!(backend.gpu_since(UnixMs(4 * cooldown)), None);
    }

    #[test]
    fn those_turned_away_count_for_two_windows() {
        let backend = Backend::default();
        (0..3).for_each(|_| backend.turn_away(UnixMs(1)));
        assert_eq!(backend.turned_away(UnixMs(2)), 3);
        assert_eq!(backend.turned_away(UnixMs(TURNED_AWAY_WINDOW_MS)), 3);
        assert_eq!(backend.turned_away(UnixMs(3 * TURNED_AWAY_WINDOW_MS)), 0);
    }

    #[test]
    fn only_recent_latencies_count() {
        let mut latencies = Latencies::default();
        (0..1_000).for_each(|ms| latencies.push(ms));
        assert_eq!(latencies.newest.len(), LATENCIES_KEPT);
        assert_eq!(latencies.spread(), Some(Spread { p50: Millis(968), p95: Millis(996) }));
    }
}
