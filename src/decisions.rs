//! Decisions on their way to the store: one line each, written together every 30 s or 1 MiB. What
//! a killed process had not written yet is lost: at most that much, and it is told here.
//!
//! Actions are few and matter more: each is written at once, and whoever acted waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use clock::Clock;
use tokio::sync::mpsc;

use facts::{Store, key};

use crate::metrics::names;
use crate::telemetry;

/// Lines that wait at most, about 1 MB of them; a line beyond it is dropped and counted.
const WAITING_MAX: usize = 1_024;
/// When what was collected is written.
const WRITE_EVERY: Duration = Duration::from_secs(30);
/// How much is collected before it is written at once.
const WRITE_BYTES: usize = 1024 * 1024;

/// Takes lines without ever waiting.
#[derive(Clone, Debug)]
pub struct Records {
    lines: mpsc::Sender<String>,
    dropped: Arc<AtomicU64>,
    store: Store,
    clock: Clock,
    process: String,
    acts: Arc<AtomicU64>,
}

/// Writes what [`Records`] took.
#[derive(Debug)]
pub struct Writer {
    lines: mpsc::Receiver<String>,
    store: Store,
    clock: Clock,
    process: String,
    written: u64,
    dropped: Arc<AtomicU64>,
}

/// Both ends; the writer is to be run by whoever owns the process's tasks.
pub fn records(store: Store, clock: Clock, instance: &str) -> (Records, Writer) {
    let (sender, lines) = mpsc::channel(WAITING_MAX);
    // A process that starts again under the same instance name must not meet its own old keys.
    let process = format!("{instance}-{:08x}", getrandom::u32().unwrap_or_default());
    let dropped = Arc::<AtomicU64>::default();
    let records = Records {
        lines: sender,
        dropped: Arc::clone(&dropped),
        store: store.clone(),
        clock,
        process: format!("{process}-acts"),
        acts: Arc::default(),
    };
    (records, Writer { lines, store, clock, process, written: 0, dropped })
}

impl Records {
    /// Takes one line of JSON.
    pub fn add(&self, line: String) {
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Relaxed);
            telemetry::measure(&names::UNRECORDED, 1.0, &[]);
        }
    }

    /// Writes down what somebody did, in an object of its own; the log has it too. An action that cannot be
    /// written was made all the same.
    pub async fn act(&self, action: audit::action::Action<'_>) {
        let line = audit::action::line(action);
        tracing::info!(action = line, "acted");
        let n = self.acts.fetch_add(1, Relaxed);
        let key = key::decisions(&hour(self.clock.now_ms()), &self.process, n);
        if let Err(error) = self.store.create(&key, line + "\n").await {
            tracing::error!(%error, key, "an action is in the log and not in the audit folder");
        }
    }

    /// Lines that were dropped: too many waited, or the store did not take them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

impl Writer {
    /// Collects and writes until every sender is gone, then writes the rest.
    pub async fn run(mut self) {
        while let Some(first) = self.lines.recv().await {
            let more = self.collect(first).await;
            self.write(more).await;
        }
    }

    async fn collect(&mut self, first: String) -> String {
        let mut text = first;
        text.push('\n');
        let until = tokio::time::Instant::now() + WRITE_EVERY;
        while text.len() < WRITE_BYTES {
            match tokio::time::timeout_at(until, self.lines.recv()).await {
                Ok(Some(line)) => {
                    text.push_str(&line);
                    text.push('\n');
                }
                Ok(None) | Err(_) => break,
            }
        }
        text
    }

    async fn write(&mut self, text: String) {
        let key = key::decisions(&hour(self.clock.now_ms()), &self.process, self.written);
        self.written += 1;
        let lines = text.lines().count() as u64;
        if let Err(error) = self.store.create(&key, text).await {
            self.dropped.fetch_add(lines, Relaxed);
            telemetry::measure(&names::UNRECORDED, lines as f64, &[]);
            tracing::warn!(%error, key, "decisions could not be written and are lost");
        }
    }
}

/// The folder of an hour, as `2026-11-01/12`.
fn hour(unix_ms: u64) -> String {
    let instant = jiff::Timestamp::from_millisecond(i64::try_from(unix_ms).unwrap_or(i64::MAX));
    instant.unwrap_or(jiff::Timestamp::MAX).strftime("%Y-%m-%d/%H").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_lie_in_the_folder_of_their_hour() {
        assert_eq!(hour(1_793_534_400_000), "2026-11-01/12");
    }
}
