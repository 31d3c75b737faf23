//! What a pool measured, as JSON lines: `{"at": "2026-11-21T10:00:00Z", "ActiveTasks": 3}`. `at` is a
//! moment, or seconds before now as a negative number. A metric that is missing or null in a line
//! was not measured then.

use autoscale::{History, Interval, Metric, Timestamp};
use serde_json::{Map, Value};

/// The service samples every 30 seconds.
pub const PERIOD: Interval = Interval(30 * TICKS_PER_SECOND);

/// Ticks of 100 ns in a second.
const TICKS_PER_SECOND: i64 = 10_000_000;

/// Seconds that a sample may lie back: ten years, past every window that anybody means.
const AGE_SECONDS_MAX: f64 = 10.0 * 365.0 * 86_400.0;

/// Reads a history.
///
/// # Errors
/// The first line that is wrong, with its number.
pub fn parse(lines: &str, now: Timestamp) -> Result<History, String> {
    let mut history = History::new(PERIOD);
    for (line, number) in lines.lines().zip(1..) {
        if line.trim().is_empty() {
            continue;
        }
        let (at, samples) = row(line, now).map_err(|why| format!("line {number}: {why}"))?;
        history.push(at, &samples);
    }
    Ok(history)
}

fn row(line: &str, now: Timestamp) -> Result<(Timestamp, Vec<(Metric, f64)>), String> {
    let row: Map<String, Value> = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let at = instant(row.get("at").ok_or("at is missing: give a moment or seconds before now")?, now)?;
    let mut samples = Vec::new();
    for (name, value) in row.iter().filter(|(name, _)| *name != "at") {
        let metric = metric(name).ok_or_else(|| format!("{name} is no variable that a pool samples"))?;
        match value {
            Value::Null => {}
            Value::Number(number) => samples.push((metric, number.as_f64().ok_or("a number is too large")?)),
            _ => return Err(format!("{name} must be a number or null")),
        }
    }
    Ok((at, samples))
}

fn metric(name: &str) -> Option<Metric> {
    Metric::ALL
        .into_iter()
        .find(|metric| metric.name().trim_start_matches('$') == name.trim_start_matches('$'))
}

fn instant(at: &Value, now: Timestamp) -> Result<Timestamp, String> {
    match at {
        Value::String(text) => Timestamp::parse(text)
            .ok_or_else(|| format!("at: \"{text}\" is no moment as 2026-11-21T10:00:00Z")),
        Value::Number(seconds) => {
            let seconds = seconds.as_f64().filter(|seconds| (-AGE_SECONDS_MAX..=0.0).contains(seconds));
            let seconds = seconds.ok_or("at must be seconds before now: a negative number, or 0")?;
            Ok(Timestamp(now.0.saturating_add((seconds * TICKS_PER_SECOND as f64).round() as i64)))
        }
        _ => Err("at must be a moment or seconds before now".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-21T10:00:00Z").expect("a moment")
    }

    #[test]
    fn lines_become_rows() {
        let lines = "{\"at\": -30, \"ActiveTasks\": 3, \"$CPUPercent\": 0.5}\n\n\
                     {\"at\": \"2026-11-21T10:00:00Z\", \"ActiveTasks\": null, \"RunningTasks\": 2}";
        let history = parse(lines, now()).expect("samples");
        let values = |metric| history.samples(metric).map(|(_, value)| value).collect::<Vec<_>>();
        assert_eq!(history.len(), 2);
        assert_eq!(values(Metric::ActiveTasks), [3.0]);
        assert_eq!(values(Metric::CpuPercent), [0.5]);
        assert_eq!(values(Metric::RunningTasks), [2.0]);
        let first = history.samples(Metric::ActiveTasks).next().expect("a sample").0;
        assert_eq!(first.to_string(), "2026-11-21T09:59:30.000Z");
    }

    #[test]
    fn wrong_lines_are_named() {
        for (line, why) in [
            ("{}", "line 1: at is missing: give a moment or seconds before now"),
            ("{\"at\": 5}", "line 1: at must be seconds before now: a negative number, or 0"),
            ("{\"at\": \"noon\"}", "line 1: at: \"noon\" is no moment as 2026-11-21T10:00:00Z"),
            ("{\"at\": 0, \"Tasks\": 1}", "line 1: Tasks is no variable that a pool samples"),
            (
                "{\"at\": 0}\n{\"at\": 0, \"ActiveTasks\": \"3\"}",
                "line 2: ActiveTasks must be a number or null",
            ),
        ] {
            assert_eq!(parse(line, now()).err().as_deref(), Some(why), "{line}");
        }
        assert!(parse("no JSON", now()).is_err());
    }
}
