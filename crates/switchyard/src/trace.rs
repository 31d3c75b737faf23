//! `switchyard why JOB --trace`: everything that was told under a job's trace id, in the order of time: the
//! client's request, calls and log lines of the handler, lines of the workers.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use wire::jobs::JobView;

use local::stack::{READY_FILE, Ready};

use crate::Failure;
use crate::cli::Why;
use crate::client::Client;
use crate::place::Place;
use crate::print::Printer;
use crate::render::instant_ms;

/// One thing that was told.
#[derive(Debug, PartialEq, Serialize)]
struct Line {
    object: &'static str,
    #[serde(skip)]
    at_ms: u64,
    /// To the millisecond, whoever told it, so that lines stand below each other.
    at: String,
    by: &'static str,
    what: String,
}

/// Shows the trace of a job. Of a stack on this machine its receiver is asked; of a deployment the query is
/// shown that finds the same in Application Insights.
///
/// # Errors
/// When the stack does not answer.
pub(crate) async fn show(
    job: &JobView,
    (flags, client): (&Why, &Client),
    place: &Place,
    printer: &Printer,
) -> Result<(), Failure> {
    let Some(trace) = &job.trace_id else {
        printer.record(&json!({ "object": "trace_query", "query": null }));
        printer.say("it was sent without a trace");
        return Ok(());
    };
    printer.say("");
    let mut lines = match stack(flags, place) {
        Some(ready) => told(&ready, trace).await?,
        None => {
            printer.say("in the logs of Application Insights:");
            printer.record(&json!({ "object": "trace_query", "query": query(trace) }));
            printer.say(&format!("  {}", query(trace)));
            Vec::new()
        }
    };
    lines.extend(client.logs(&flags.job).await?.lines().filter_map(|line| worker(line, trace)));
    lines.sort_by_key(|line| line.at_ms);
    printer.say(&format!("trace {trace}"));
    for line in &lines {
        printer.record(line);
        printer.say(&format!("  {}  {:<8} {}", line.at, line.by, line.what));
    }
    Ok(())
}

/// The stack on this machine, if that is the one that was asked for the job.
fn stack(flags: &Why, place: &Place) -> Option<Ready> {
    let target = &flags.target;
    let is_elsewhere = target.url.is_some() || (place.url().is_some() && target.state.is_none());
    let state = target.state.clone().unwrap_or_else(|| place.state());
    if is_elsewhere { None } else { Ready::read(&state.join(READY_FILE)).ok() }
}

/// What finds the same in Application Insights.
fn query(trace: &str) -> String {
    format!(
        "union requests, dependencies, traces | where operation_Id == \"{trace}\" or message has \"{trace}\" | order by timestamp asc"
    )
}

async fn told(ready: &Ready, trace: &str) -> Result<Vec<Line>, Failure> {
    let url = format!("{}/traces/{trace}", ready.telemetry_url);
    let asking = reqwest::Client::builder().no_proxy().build().map_err(Failure::of)?;
    let answer = asking.get(url).send().await.and_then(reqwest::Response::error_for_status);
    let found: Vec<Value> = answer.map_err(Failure::of)?.json().await.map_err(Failure::of)?;
    Ok(found.iter().filter_map(envelope).collect())
}

/// An envelope of Application Insights as a line.
fn envelope(envelope: &Value) -> Option<Line> {
    let data = &envelope["data"]["baseData"];
    let at = envelope["time"].as_str()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (by, what) = match envelope["data"]["baseType"].as_str()? {
        "RequestData" => {
            ("handler", format!("request {} -> {}", text(&data["name"]), text(&data["responseCode"])))
        }
        "RemoteDependencyData" => {
            let (name, target) = (text(&data["name"]), text(&data["target"]));
            if target.is_empty() {
                ("handler", format!("step {name}"))
            } else {
                ("handler", format!("call {name} at {target} -> {}", text(&data["resultCode"])))
            }
        }
        "MessageData" => ("handler", format!("log {}", logged(data["message"].as_str()?))),
        _ => return None,
    };
    Line::new(instant_ms(at)?, by, what)
}

impl Line {
    fn new(at_ms: u64, by: &'static str, what: String) -> Option<Line> {
        Some(Line { object: "trace_line", at_ms, at: stamp(at_ms)?, by, what })
    }
}

/// `2026-11-21T09:00:00.500Z`
fn stamp(at_ms: u64) -> Option<String> {
    let at = Timestamp::from_millisecond(i64::try_from(at_ms).ok()?).ok()?;
    Some(at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// A line that a task wrote, as people read it; as it is where it is no line of a log.
pub(crate) fn readable(line: &str) -> String {
    let at = |read: Value| instant_ms(read["timestamp"].as_str()?).and_then(stamp);
    let at = serde_json::from_str(line).ok().and_then(at);
    at.map_or_else(|| line.to_owned(), |at| format!("{at}  {}", logged(line)))
}

fn worker(line: &str, trace: &str) -> Option<Line> {
    if !line.contains(trace) {
        return None;
    }
    let read: Value = serde_json::from_str(line).ok()?;
    Line::new(instant_ms(read["timestamp"].as_str()?)?, "worker", format!("log {}", logged(line)))
}

/// A line of a log as people read it: its message, then what stands beside it.
fn logged(line: &str) -> String {
    let Ok(Value::Object(read)) = serde_json::from_str::<Value>(line) else { return line.to_owned() };
    let message = read.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
    let beside = read
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "timestamp" | "level" | "target" | "message" | "span"));
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    beside.fold(message, |text, (name, value)| format!("{text} {name}={}", plain(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn envelopes_and_log_lines_become_lines() {
        let time = "2026-11-21T09:00:00.5Z";
        let of = |kind: &str, data: Value| {
            envelope(&json!({"time": time, "data": {"baseType": kind, "baseData": data}}))
                .map(|line| line.what)
        };
        let log = json!({"timestamp": time, "level": "INFO", "message": "a shard is sent", "shard": 0,
            "span": {"trace_id": "t"}})
        .to_string();
        let cases = [
            (
                of("RequestData", json!({"name": "POST /api/v1/batches", "responseCode": "200"})),
                "request POST /api/v1/batches -> 200",
            ),
            (
                of(
                    "RemoteDependencyData",
                    json!({"name": "POST queue messages", "target": "h:1", "resultCode": "201"}),
                ),
                "call POST queue messages at h:1 -> 201",
            ),
            (of("RemoteDependencyData", json!({"name": "task added"})), "step task added"),
            (of("MessageData", json!({"message": log})), "log a shard is sent shard=0"),
            (worker(&log, "t").map(|line| line.what), "log a shard is sent shard=0"),
        ];
        for (told, wanted) in cases {
            assert_eq!(told.as_deref(), Some(wanted));
        }
        assert_eq!(of("MetricData", json!({})), None);
        assert_eq!(worker(&log, "other"), None);
        assert_eq!(readable(&log), "2026-11-21T09:00:00.500Z  a shard is sent shard=0");
        assert_eq!(readable("== task a"), "== task a");
    }
}
