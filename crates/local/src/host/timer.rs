//! The timer trigger: due, past due, never overlapping.
//!
//! [`listen`] is the loop around two pure steps, [`Status::on_start`] and [`Status::after_run`].
//! The real host keeps the status of monitored timers in a blob; here it is a file in a folder,
//! or lost with the process.

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clock::Clock;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::app::{Function, Trigger};
use super::dotnet;
use super::invocation::{Envelope, Outcome};
use super::schedule::Schedule;
use crate::queue::date;

/// The longest real sleep before the clock is read again: a suspended laptop or a corrected clock
/// costs at most that much.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// What is remembered of a timer; Unix milliseconds, `None` for "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// When it last ran.
    pub last_ms: Option<u64>,
    /// The occurrence that is due next.
    pub next_ms: u64,
    /// When this was written.
    pub updated_ms: Option<u64>,
}

impl Status {
    /// What a starting host makes of what it remembers: the status to go on with, and whether an
    /// occurrence was missed. A changed schedule is never past due.
    pub fn on_start(remembered: Option<Status>, schedule: &Schedule, now_ms: u64) -> (Status, bool) {
        let Some(status) = remembered else {
            let first = Status { last_ms: None, next_ms: schedule.next(now_ms), updated_ms: Some(now_ms) };
            return (first, false);
        };
        let computed_ms = status.last_ms.or(status.updated_ms);
        let expected_ms = computed_ms.map_or(status.next_ms, |from_ms| schedule.next(from_ms));
        if expected_ms == status.next_ms {
            return (status, now_ms > status.next_ms);
        }
        let changed = if now_ms > expected_ms {
            Status { last_ms: None, next_ms: schedule.next(now_ms), updated_ms: Some(now_ms) }
        } else {
            Status { last_ms: None, next_ms: expected_ms, updated_ms: computed_ms }
        };
        (changed, false)
    }

    /// The status once a run that began at `began_ms` has ended, well or not. A timer that fired
    /// a little early is taken to have fired on time.
    pub fn after_run(self, schedule: &Schedule, began_ms: u64, why: Reason) -> Status {
        let last_ms = match why {
            Reason::Due => began_ms.max(self.next_ms),
            Reason::PastDue | Reason::Startup => began_ms,
        };
        Status { last_ms: Some(last_ms), next_ms: schedule.next(last_ms), updated_ms: Some(last_ms) }
    }

    /// `{"Last":…,"Next":…,"LastUpdated":…}`, as the host writes it to its blob and its envelopes.
    pub fn to_json(self) -> Value {
        let time = |ms: Option<u64>| ms.map_or(dotnet::NEVER.to_owned(), dotnet::local_time);
        json!({
            "Last": time(self.last_ms),
            "Next": dotnet::local_time(self.next_ms),
            "LastUpdated": time(self.updated_ms),
        })
    }

    /// The reverse of [`Status::to_json`]; nothing when it is not one.
    pub fn from_json(value: &Value) -> Option<Status> {
        let time = |name: &str| {
            let civil = value.get(name)?.as_str()?.trim_end_matches("+00:00").parse().ok()?;
            Some(date::unix_ms(civil))
        };
        Some(Status { last_ms: time("Last")?, next_ms: time("Next")??, updated_ms: time("LastUpdated")? })
    }
}

/// Why a timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its time has come.
    Due,
    /// Its time came while the host was away.
    PastDue,
    /// `runOnStartup`.
    Startup,
}

/// Where statuses of monitored timers are kept.
#[derive(Clone)]
pub enum Monitor {
    /// In this process.
    Memory(Arc<Mutex<HashMap<String, Status>>>),
    /// In this folder, a file for each function.
    Folder(PathBuf),
}

impl Monitor {
    /// One that forgets when the process ends.
    pub fn in_memory() -> Monitor {
        Monitor::Memory(Arc::default())
    }

    /// The status of a function. A file that cannot be read counts as none, with a warning: the
    /// timer then starts afresh.
    pub async fn recall(&self, function: &str) -> Option<Status> {
        match self {
            Monitor::Memory(statuses) => {
                statuses.lock().unwrap_or_else(PoisonError::into_inner).get(function).copied()
            }
            Monitor::Folder(folder) => {
                let text = tokio::fs::read(folder.join(file_name(function))).await.ok()?;
                let status = serde_json::from_slice(&text).ok().as_ref().and_then(Status::from_json);
                if status.is_none() {
                    tracing::warn!(function, "the timer's status file is not one; it starts afresh");
                }
                status
            }
        }
    }

    /// Keeps the status of a function.
    pub async fn keep(&self, function: &str, status: Status) {
        match self {
            Monitor::Memory(statuses) => {
                statuses.lock().unwrap_or_else(PoisonError::into_inner).insert(function.to_owned(), status);
            }
            Monitor::Folder(folder) => {
                if let Err(error) = write_whole(folder, function, &status.to_json().to_string()).await {
                    tracing::warn!(function, %error, "the timer's status could not be kept; it will not be past due");
                }
            }
        }
    }
}

fn file_name(function: &str) -> String {
    format!("timer-{function}.json")
}

/// Writes beside and renames, so that a kill leaves the old status or the new one.
async fn write_whole(folder: &std::path::Path, function: &str, text: &str) -> std::io::Result<()> {
    tokio::fs::create_dir_all(folder).await?;
    let path = folder.join(file_name(function));
    let beside = path.with_extension("json.new");
    tokio::fs::write(&beside, text).await?;
    tokio::fs::rename(&beside, &path).await
}

/// The time that timers live in. Tests give one that follows tokio's paused clock.
#[derive(Clone)]
pub struct Time {
    now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    speed: f64,
}

impl Time {
    /// A time that shows `now_ms` and passes `speed` times as fast as tokio's.
    pub fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static, speed: f64) -> Time {
        Time { now_ms: Arc::new(now_ms), speed }
    }

    fn now_ms(&self) -> u64 {
        (self.now_ms)()
    }

    async fn until(&self, at_ms: u64) {
        loop {
            let left_ms = at_ms.saturating_sub(self.now_ms());
            if left_ms == 0 {
                return;
            }
            let real = Duration::from_secs_f64(left_ms as f64 / 1_000.0 / self.speed);
            // The tokio timer counts whole milliseconds; less would spin.
            tokio::time::sleep(real.clamp(Duration::from_millis(1), SLEEP_MAX)).await;
        }
    }
}

impl From<Clock> for Time {
    fn from(clock: Clock) -> Time {
        Time::new(move || clock.now_ms(), clock.speed())
    }
}

/// One function with a timer trigger.
pub struct Timer {
    function: Arc<Function>,
    binding: String,
    schedule: Schedule,
    run_on_startup: bool,
    monitor: Option<Monitor>,
    time: Time,
}

impl Timer {
    /// Prepares a function's timer.
    ///
    /// # Errors
    /// A text for the log when the function has no timer or its schedule is not one; the function
    /// alone is then in error.
    pub fn new(function: &Arc<Function>, monitor: &Monitor, time: Time) -> Result<Timer, String> {
        let Trigger::Timer { binding, schedule, use_monitor, run_on_startup } = &function.trigger else {
            return Err(format!("{} has no timer trigger", function.name));
        };
        let schedule = Schedule::parse(schedule).map_err(|error| error.to_string())?;
        let monitored = *use_monitor && schedule.can_be_monitored();
        Ok(Timer {
            function: function.clone(),
            binding: binding.clone(),
            run_on_startup: *run_on_startup,
            monitor: monitored.then(|| monitor.clone()),
            schedule,
            time,
        })
    }

    fn envelope(&self, status: Status, why: Reason) -> Envelope {
        let status = if self.monitor.is_some() { status.to_json() } else { Value::Null };
        let mut metadata = Map::new();
        metadata.insert("sys".to_owned(), dotnet::sys(&self.function.name, self.time.now_ms()));
        Envelope {
            data: timer_info(&self.binding, &self.schedule, &status, why == Reason::PastDue),
            metadata,
        }
    }
}

/// Fires the timer until `stop`, one run at a time; a run that is under way is finished first.
pub async fn listen<I, F>(timer: Timer, invoke: I, stop: CancellationToken)
where
    I: Fn(Envelope) -> F,
    F: Future<Output = Outcome>,
{
    let name = &timer.function.name;
    let (mut status, mut why) = start(&timer).await;
    loop {
        if why == Reason::Due {
            tokio::select! {
                () = stop.cancelled() => return,
                () = timer.time.until(status.next_ms) => {}
            }
        }
        let began_ms = timer.time.now_ms();
        // A failed run is not repeated: the status moves on all the same.
        let _ = invoke(timer.envelope(status, why)).await;
        status = status.after_run(&timer.schedule, began_ms, why);
        if let Some(monitor) = &timer.monitor {
            monitor.keep(name, status).await;
        }
        why = Reason::Due;
        if stop.is_cancelled() {
            return;
        }
    }
}

/// What to go on from, and why to run first.
async fn start(timer: &Timer) -> (Status, Reason) {
    let now_ms = timer.time.now_ms();
    let otherwise = if timer.run_on_startup { Reason::Startup } else { Reason::Due };
    let Some(monitor) = &timer.monitor else {
        return (Status { next_ms: timer.schedule.next(now_ms), ..Status::default() }, otherwise);
    };
    let remembered = monitor.recall(&timer.function.name).await;
    let (status, missed) = Status::on_start(remembered, &timer.schedule, now_ms);
    if remembered != Some(status) {
        monitor.keep(&timer.function.name, status).await;
    }
    // Its first envelopes do not show when the host began to watch.
    let shown = if remembered.is_none() { Status { updated_ms: None, ..status } } else { status };
    (shown, if missed { Reason::PastDue } else { otherwise })
}

/// The envelope of `POST /admin/functions/{name}` with that input. The monitor is not asked: the
/// status is that of a timer that never ran.
pub fn manual_envelope(function: &Arc<Function>, input: &str, now_ms: u64) -> Envelope {
    let Trigger::Timer { binding, schedule, use_monitor, .. } = &function.trigger else {
        return Envelope { data: Map::new(), metadata: Map::new() };
    };
    let mut metadata = Map::new();
    metadata.insert(binding.clone(), super::invocation::double_encoded(&Value::String(input.to_owned())));
    metadata.insert("sys".to_owned(), dotnet::sys(&function.name, now_ms));
    let data = match Schedule::parse(schedule) {
        Err(_) => Map::new(),
        Ok(schedule) => {
            let status = Status { next_ms: schedule.next(now_ms), updated_ms: Some(now_ms), last_ms: None };
            let shown =
                if *use_monitor && schedule.can_be_monitored() { status.to_json() } else { Value::Null };
            timer_info(binding, &schedule, &shown, false)
        }
    };
    Envelope { data, metadata }
}

/// `Data`: the one trigger value that travels as an object.
fn timer_info(binding: &str, schedule: &Schedule, status: &Value, past_due: bool) -> Map<String, Value> {
    let info = json!({
        "Schedule": { "AdjustForDST": schedule.adjusts_for_dst() },
        "ScheduleStatus": status,
        "IsPastDue": past_due,
    });
    Map::from_iter([(binding.to_owned(), info)])
}

#[cfg(test)]
#[path = "timer_tests.rs"]
mod tests;
