//! The real host's timer trigger, replayed: schedules, statuses, what is past due (`F.`, `schedule`,
//! `pastdue-`, `bytes-timer`).

use std::collections::HashMap;

use local::host::app::{App, Trigger};
use local::host::schedule::Schedule;
use local::host::timer::{Reason, Status};
use serde_json::{Value, json};

use crate::cases::{PARTS, WHOLE};

fn unix_ms(text: &str) -> u64 {
    let civil: jiff::civil::DateTime = text.trim_end_matches("+00:00").parse().unwrap();
    u64::try_from(jiff::tz::TimeZone::UTC.to_timestamp(civil).unwrap().as_millisecond()).unwrap()
}

#[test]
fn schedules() {
    for (name, case) in PARTS.replayed_by("timers::schedules") {
        let schedule = Schedule::parse(case["stimulus"].as_str().unwrap());
        let Some(recorded) = case["outcome"].as_object() else {
            assert!(schedule.is_err(), "{name}");
            continue;
        };
        let schedule = schedule.unwrap();
        assert_eq!(schedule.adjusts_for_dst(), recorded["AdjustForDST"], "{name}");
        assert_eq!(schedule.can_be_monitored(), recorded["useMonitor_after"], "{name}");
        let mut at_ms = unix_ms("2026-11-20T15:21:33");
        for next in recorded["next3_from_152133"].as_str().unwrap().split(", ") {
            at_ms = schedule.next(at_ms);
            if next.starts_with("9999") {
                assert_eq!(at_ms, local::queue::store::NEVER_MS);
            } else {
                assert_eq!(at_ms, unix_ms(next), "{name}");
            }
        }
    }
}

/// The schedules of an app whose functions are timers with these expressions, `S` set as recorded;
/// and how many of them are in error.
fn loaded(schedules: &[&str]) -> (Vec<String>, usize) {
    let folder = std::env::temp_dir().join(format!("timers-{}-{}", schedules.len(), std::process::id()));
    for (n, schedule) in schedules.iter().enumerate() {
        std::fs::create_dir_all(folder.join(format!("T{n}"))).unwrap();
        let binding =
            json!({ "type": "timerTrigger", "direction": "in", "name": "timer", "schedule": schedule });
        let function = json!({ "bindings": [binding] }).to_string();
        std::fs::write(folder.join(format!("T{n}/function.json")), function).unwrap();
    }
    let host =
        json!({ "version": "2.0", "customHandler": { "description": { "defaultExecutablePath": "sh" } } });
    std::fs::write(folder.join("host.json"), host.to_string()).unwrap();
    let app = App::load(&folder, &|name| (name == "S").then(|| "0 0 3 * * *".to_owned())).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    let schedule = |trigger: &Trigger| match trigger {
        Trigger::Timer { schedule, .. } => Some(schedule.clone()),
        Trigger::Http(_) | Trigger::Queue { .. } => None,
    };
    (app.functions.iter().filter_map(|function| schedule(&function.trigger)).collect(), app.in_error.len())
}

#[test]
fn schedules_may_be_settings() {
    let (known, missing) = (PARTS.case("schedule %S%"), PARTS.case("schedule %MISSING%"));
    let texts = [&known, &missing].map(|case| case["stimulus"].as_str().unwrap());
    let (schedules, in_error) = loaded(&texts);
    assert_eq!((schedules.len(), in_error), (1, 1), "the one without a setting is in error alone");
    let schedule = Schedule::parse(&schedules[0]).unwrap();
    let first = schedule.next(unix_ms("2026-11-20T15:21:33"));
    let recorded = known["outcome"]["next3_from_152133"].as_str().unwrap();
    assert_eq!(first, unix_ms(recorded.split(", ").next().unwrap()));
    assert!(missing["outcome"].as_str().unwrap().contains("does not resolve"));
}

#[test]
fn a_schedule_that_is_none_is_in_error_alone() {
    let lines = WHOLE.case("F.bad-schedule")["hostlog"].to_string();
    assert!(lines.contains("The 'Bad' function is in error"), "{lines}");
    let recorded = lines.split("The schedule expression '").nth(1).unwrap().split('\'').next().unwrap();
    let (schedules, _) = loaded(&["0 * * * * *", recorded, "0 0 * * * *"]);
    let right: Vec<bool> = schedules.iter().map(|schedule| Schedule::parse(schedule).is_ok()).collect();
    assert_eq!(right, [true, false, true], "{recorded}");
}

#[test]
fn past_due() {
    let schedule = Schedule::parse("0 */5 * * * *").unwrap();
    for (name, case) in PARTS.replayed_by("timers::past_due") {
        let now_ms = unix_ms(case["stimulus"]["now"].as_str().unwrap());
        let before = Status::from_json(&case["stimulus"]["statusBefore"]);
        let (_, missed) = Status::on_start(before, &schedule, now_ms);
        assert_eq!(missed, case["outcome"]["pastDueBy"] != "00:00:00", "{name}");
    }
}

/// Statuses that the host showed one after the other follow from each other by our steps.
#[test]
fn statuses() {
    let all = WHOLE.replayed_by("timers::statuses");
    let mut runs: HashMap<String, Vec<(u64, Value)>> = HashMap::new();
    for (_, case) in &all {
        for request in case["requests"].as_array().into_iter().flatten() {
            let body: Value = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
            let name = body["Metadata"]["sys"]["MethodName"].as_str().unwrap().to_owned();
            let at_ms = unix_ms(body["Metadata"]["sys"]["UtcNow"].as_str().unwrap().trim_end_matches('Z'));
            // G.timer fired it by hand at that moment.
            if body["Metadata"].get("timer").is_none() {
                runs.entry(name).or_default().push((at_ms, body["Data"]["timer"].clone()));
            }
        }
    }
    let minute = Schedule::parse("0 * * * * *").unwrap();
    for name in ["Minute", "Minute2", "FailT"] {
        let runs = &runs[name];
        for (at_ms, info) in runs {
            let status = Status::from_json(&info["ScheduleStatus"]).expect(name);
            assert_eq!(info["Schedule"]["AdjustForDST"], true);
            assert_eq!(
                info["IsPastDue"],
                Status::on_start(Some(status), &minute, *at_ms).1 && *at_ms > status.next_ms + 1_000,
                "{name} at {at_ms}"
            );
        }
        for pair in runs.windows(2) {
            let [before, after] =
                [&pair[0].1, &pair[1].1].map(|info| Status::from_json(&info["ScheduleStatus"]).unwrap());
            let Some(began_ms) = after.last_ms else { continue };
            let why = if pair[0].1["IsPastDue"] == true { Reason::PastDue } else { Reason::Due };
            // Between two of these runs the host was started several times.
            if pair[1].0 - pair[0].0 < 120_000 {
                assert_eq!(before.after_run(&minute, began_ms, why), after, "{name}");
            }
        }
    }
    for name in ["Short", "NoMon"] {
        assert!(runs[name].iter().all(|(_, info)| info["ScheduleStatus"].is_null()), "{name}");
    }
    for (path, text) in WHOLE.case("F.status-blobs")["blobs"].as_object().unwrap() {
        let status = Status::from_json(&serde_json::from_str(text.as_str().unwrap()).unwrap()).expect(path);
        let schedule = match path {
            path if path.contains(".Five/") => "0 */5 * * * *",
            path if path.contains(".OnStart/") => "0 0 3 1 1 *",
            _ => "0 * * * * *",
        };
        let schedule = Schedule::parse(schedule).unwrap();
        assert_eq!(schedule.next(status.last_ms.or(status.updated_ms).unwrap()), status.next_ms, "{path}");
        assert_eq!(Status::from_json(&status.to_json()), Some(status), "{path}");
    }
}

#[test]
fn envelopes() {
    for (name, case) in PARTS.replayed_by("timers::envelopes") {
        let raw = case["received"].as_str().unwrap();
        let chunk = raw.split("\r\n\r\n").nth(1).unwrap().split("\r\n").nth(1).unwrap();
        let body: Value = serde_json::from_str(chunk).unwrap();
        let recorded = &body["Data"]["timer"];
        let names: Vec<&String> = recorded.as_object().unwrap().keys().collect();
        assert_eq!(names, ["Schedule", "ScheduleStatus", "IsPastDue"], "{name}");
        if !recorded["ScheduleStatus"].is_null() {
            let status = Status::from_json(&recorded["ScheduleStatus"]).expect("a recorded status is one");
            // The host counts in 100 ns, we in milliseconds.
            let cut = |value: &Value| value.to_string().replace(".0096035", ".009");
            assert_eq!(cut(&status.to_json()), cut(&recorded["ScheduleStatus"]), "{name}");
        }
    }
}
