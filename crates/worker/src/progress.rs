//! How far it is: counted by whoever finishes items, told every few seconds while the work goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often progress is told: often enough for a person, and a few hundred lines an hour.
const EVERY: Duration = Duration::from_secs(3);

/// Items counted since a start.
#[derive(Debug)]
pub struct Progress {
    total: u64,
    /// Done before the start, or elsewhere.
    others: AtomicU64,
    done: AtomicU64,
    errors: AtomicU64,
    since: Instant,
}

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Items with a result, also those that were done before the start or elsewhere.
    pub done: u64,
    /// All items.
    pub total: u64,
    /// Items that ended with an error of their own since the start.
    pub errors: u64,
    /// Items finished since the start, a second.
    pub per_second: f64,
    /// Until the rest is done at that rate; none before the first item.
    pub left: Option<Duration>,
}

impl Progress {
    /// Of `total` items, `before` are done already.
    pub fn new(total: u64, before: u64) -> Progress {
        let [done, errors] = [0, 0].map(AtomicU64::new);
        Progress { total, others: before.into(), done, errors, since: Instant::now() }
    }

    /// Somebody else has done these.
    pub fn elsewhere(&self, items: u64) {
        self.others.fetch_add(items, Ordering::Relaxed);
    }

    /// An item is done.
    pub fn item(&self, is_output: bool) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(u64::from(!is_output), Ordering::Relaxed);
    }

    /// What was counted so far. Items of a chunk that is abandoned later count here.
    pub fn seen(&self) -> Seen {
        let [others, done, errors] =
            [&self.others, &self.done, &self.errors].map(|count| count.load(Ordering::Relaxed));
        seen((others, done, self.total), errors, self.since.elapsed())
    }

    /// Does the work and tells progress meanwhile.
    pub async fn told<T>(&self, work: impl Future<Output = T>) -> T {
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = tick.tick() => self.seen().tell("progress"),
            }
        }
    }
}

fn seen((others, done, total): (u64, u64, u64), errors: u64, took: Duration) -> Seen {
    let per_second = done as f64 / took.as_secs_f64().max(1e-3);
    let missing = total.saturating_sub(others + done);
    let left = (done > 0).then(|| Duration::from_secs_f64((missing as f64 / per_second).min(1e9)));
    Seen { done: others + done, total, errors, per_second, left }
}

impl Seen {
    /// Logs it under this heading.
    pub fn tell(&self, heading: &str) {
        let Seen { done, total, errors, .. } = *self;
        let items_per_s = (self.per_second * 10.0).round() / 10.0;
        let eta_s = self.left.map(|left| left.as_secs());
        // Left out of the line where there is no GPU.
        let gpu_percent = engine::gpu::utilization_percent();
        tracing::info!(done, total, errors, items_per_s, eta_s, gpu_percent, "{heading}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_counts_only_what_was_done_here() {
        let found = seen((100, 50, 200), 1, Duration::from_secs(5));
        assert_eq!((found.done, found.total, found.per_second), (150, 200, 10.0));
        assert_eq!(found.left, Some(Duration::from_secs(5)));
        assert_eq!(seen((0, 0, 10), 0, Duration::ZERO).left, None);
    }
}
