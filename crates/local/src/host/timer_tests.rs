//! Timers on virtual time, and the recorded cases of the schedule monitor.

use serde_json::json;
use tokio::time::Instant;

use super::*;

/// 2026-11-20T15:21:33Z, the instant of the recordings.
const START_MS: u64 = 1_795_188_093_000;

fn virtual_time(start_ms: u64) -> Time {
    let began = Instant::now();
    Time::new(move || start_ms + u64::try_from(began.elapsed().as_millis()).unwrap(), 1.0)
}

fn function(schedule: &str, use_monitor: bool, run_on_startup: bool) -> Arc<Function> {
    let trigger =
        Trigger::Timer { binding: "timer".into(), schedule: schedule.into(), use_monitor, run_on_startup };
    Arc::new(Function { name: "Rebalance".into(), trigger, outputs: Vec::new() })
}

/// Runs a timer until it has fired `runs` times, each run taking `takes`: seconds after
/// [`START_MS`] and the timer's data.
async fn fire(
    function: &Arc<Function>,
    monitor: &Monitor,
    start_ms: u64,
    (runs, takes): (usize, Duration),
) -> Vec<(u64, Value)> {
    let fired = Arc::new(Mutex::new(Vec::new()));
    let (stop, time) = (CancellationToken::new(), virtual_time(start_ms));
    let timer = Timer::new(function, monitor, time.clone()).unwrap();
    let invoke = |envelope: Envelope| {
        let (fired, stop, time) = (fired.clone(), stop.clone(), time.clone());
        async move {
            let count = {
                let mut fired = fired.lock().unwrap();
                fired.push(((time.now_ms() - START_MS) / 1_000, envelope.data["timer"].clone()));
                fired.len()
            };
            tokio::time::sleep(takes).await;
            if count == runs {
                stop.cancel();
            }
            Outcome::Failed("failed runs count like others".to_owned())
        }
    };
    listen(timer, invoke, stop.clone()).await;
    let fired = fired.lock().unwrap();
    fired.clone()
}

fn times(fired: &[(u64, Value)]) -> Vec<u64> {
    fired.iter().map(|(at, _)| *at).collect()
}

#[tokio::test(start_paused = true)]
async fn it_fires_when_due_and_says_what_came_before() {
    // Every run fails: none is repeated, and the status goes on (recorded as F.failing).
    let fired =
        fire(&function("0 */5 * * * *", true, false), &Monitor::in_memory(), START_MS, (2, Duration::ZERO))
            .await;
    assert_eq!(times(&fired), [207, 507]);
    let expected = json!({
        "Schedule": { "AdjustForDST": true },
        "ScheduleStatus": {
            "Last": "0001-01-01T00:00:00+00:00",
            "Next": "2026-11-20T15:25:00+00:00",
            "LastUpdated": "0001-01-01T00:00:00+00:00"
        },
        "IsPastDue": false
    });
    assert_eq!(fired[0].1, expected);
    assert_eq!(fired[1].1["ScheduleStatus"]["Last"], "2026-11-20T15:25:00+00:00");
    assert_eq!(fired[1].1["ScheduleStatus"]["Next"], "2026-11-20T15:30:00+00:00");
}

#[tokio::test(start_paused = true)]
async fn runs_longer_than_the_period_follow_each_other_without_overlap() {
    // Recorded as F.overlap, which began at another second: 6 s apart, with a period of 4 s.
    let slow = (4, Duration::from_secs(6));
    let fired = fire(&function("*/4 * * * * *", true, false), &Monitor::in_memory(), START_MS, slow).await;
    assert_eq!(times(&fired), [3, 9, 15, 21]);
    assert_eq!(fired[0].1["ScheduleStatus"], Value::Null, "too frequent to be monitored");
}

#[tokio::test(start_paused = true)]
async fn missed_runs_are_made_up_for_once() {
    let monitor = Monitor::in_memory();
    let function = function("0 */5 * * * *", true, false);
    fire(&function, &monitor, START_MS, (1, Duration::ZERO)).await;
    let hour_later = START_MS + 3_600_000;
    let fired = fire(&function, &monitor, hour_later, (2, Duration::ZERO)).await;
    assert_eq!(times(&fired), [3_600, 3_807]);
    assert_eq!(fired[0].1["IsPastDue"], true);
    assert_eq!(fired[0].1["ScheduleStatus"]["Next"], "2026-11-20T15:30:00+00:00");
    assert_eq!(fired[1].1["IsPastDue"], false);
}

#[tokio::test(start_paused = true)]
async fn without_a_monitor_nothing_is_past_due() {
    let (monitor, function) = (Monitor::in_memory(), function("0 */5 * * * *", false, false));
    fire(&function, &monitor, START_MS, (1, Duration::ZERO)).await;
    let fired = fire(&function, &monitor, START_MS + 3_600_000, (1, Duration::ZERO)).await;
    assert_eq!(times(&fired), [3_807]);
    assert_eq!(fired[0].1["ScheduleStatus"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn run_on_startup_runs_at_once() {
    let fired =
        fire(&function("0 0 3 1 1 *", true, true), &Monitor::in_memory(), START_MS, (1, Duration::ZERO))
            .await;
    assert_eq!(times(&fired), [0]);
    assert_eq!(fired[0].1["IsPastDue"], false);
}

#[tokio::test]
async fn a_status_survives_in_a_folder() {
    let folder = std::env::temp_dir().join(format!("timer-status-{}", std::process::id()));
    let monitor = Monitor::Folder(folder.clone());
    assert_eq!(monitor.recall("Rebalance").await, None);
    let status = Status { last_ms: None, next_ms: START_MS + 17, updated_ms: Some(START_MS) };
    monitor.keep("Rebalance", status).await;
    assert_eq!(Monitor::Folder(folder.clone()).recall("Rebalance").await, Some(status));
    tokio::fs::write(folder.join("timer-Rebalance.json"), "{").await.unwrap();
    assert_eq!(monitor.recall("Rebalance").await, None);
    tokio::fs::remove_dir_all(folder).await.unwrap();
}

#[test]
fn a_function_whose_schedule_is_none_is_in_error() {
    let error = Timer::new(&function("nonsense", true, false), &Monitor::in_memory(), Clock::REAL.into());
    assert!(error.is_err_and(|text| text.contains("nonsense")));
}

#[test]
fn an_envelope_by_hand_is_not_past_due() {
    // The recording G.timer.
    let envelope = manual_envelope(&function("0 */5 * * * *", true, false), "", START_MS);
    assert_eq!(envelope.data["timer"]["IsPastDue"], false);
    assert_eq!(envelope.data["timer"]["ScheduleStatus"]["Next"], "2026-11-20T15:25:00+00:00");
    assert_eq!(envelope.metadata["timer"], r#""""#);
    assert_eq!(envelope.metadata["sys"]["MethodName"], "Rebalance");
}
