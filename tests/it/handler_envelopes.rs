//! Queue and timer functions, as the host posts them; and every envelope that was recorded.

use serde_json::{Value, json};

use crate::handler_stage::*;

fn envelope(name: &str, value: Value) -> String {
    json!({ "Data": { name: value }, "Metadata": { "DequeueCount": "1" } }).to_string()
}

/// As the host sends it: chunked, without a length.
fn chunked(body: String) -> reqwest::Body {
    reqwest::Body::wrap_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(body)]))
}

#[tokio::test]
async fn ticks_are_answered_with_a_body() {
    let handler = Stage::new(&catalogue(&[])).under_host().await;
    let tick = json!({ "Schedule": { "AdjustForDST": true }, "ScheduleStatus": null, "IsPastDue": false });
    for function in ["Sweep", "Rebalance", "Metrics"] {
        let request = handler.client.post(format!("{}/{function}", handler.url));
        let answer = request.body(chunked(envelope("timer", tick.clone()))).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{function}");
        assert_eq!(answer.headers()["content-type"], "application/json", "{function}");
        assert!(!answer.text().await.unwrap().is_empty(), "{function}");
    }
}

#[tokio::test]
async fn messages_are_kept_once_with_the_reason() {
    let handler = Stage::new(&catalogue(&[])).under_host().await;
    let long = "ä".repeat(30_000);
    let cases = [
        ("Dispatch", "{\"v\":1,\"tenant\":\"t\",\"job_id\":\"x\"}"),
        ("DeadLetter", "not json \u{1F600}"),
        ("DeadLetter", &long),
    ];
    for (function, text) in cases {
        // Delivered twice, it is one dead letter.
        for _ in 0..2 {
            let encoded = serde_json::to_string(text).unwrap();
            let request = handler.client.post(format!("{}/{function}", handler.url));
            let answer = request.body(chunked(envelope("ticket", encoded.into()))).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            assert!(answer.json::<Value>().await.unwrap()["Logs"].is_array());
        }
    }
    let mut letters: Vec<Value> =
        handler.kept("dead").iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    letters.sort_by_key(|letter| letter["body_bytes"].as_u64());
    let found: Vec<_> = letters.iter().map(|letter| letter["reason"].as_str().unwrap()).collect();
    assert_eq!(found, ["tries_used_up", "unknown_owner", "tries_used_up"]);
    assert_eq!(letters[1]["body"], cases[0].1);
    assert_eq!(letters[2]["body"].as_str().unwrap().len(), 4_096, "cut");
}

#[tokio::test]
async fn what_cannot_be_kept_fails_so_that_the_host_keeps_it() {
    let handler = Stage::new(&catalogue(&[])).under_host().await;
    let dead = handler.stage.folder.join("blob/dead");
    std::fs::write(&dead, "a file where a folder must be").unwrap();
    let request = handler.client.post(format!("{}/DeadLetter", handler.url));
    let answer = request.body(envelope("ticket", json!("\"x\""))).send().await.unwrap();
    assert_eq!(answer.status(), 500);
    let broken = handler.client.post(format!("{}/DeadLetter", handler.url)).body("{").send().await.unwrap();
    assert!(!broken.status().is_success());
}

#[tokio::test]
async fn under_the_host_http_functions_answer_and_alerts_are_kept() {
    let upstream = Upstream::start([]).await;
    let handler = Stage::new(&catalogue(&[backend("one", &upstream.url)])).under_host().await;
    assert_eq!(handler.embed().send().await.unwrap().status(), 200);
    let alert = json!({ "schemaId": "azureMonitorCommonAlertSchema", "data": { "essentials": {
        "alertRule": "r", "severity": "Sev2", "monitorCondition": "Fired" }, "alertContext": {} } });
    let kept = handler.post("/api/alerts", "", alert.to_string()).send().await.unwrap();
    assert_eq!(kept.status(), 200);
    assert_eq!(handler.kept("alerts").len(), 1);
    let classic =
        handler.post("/api/alerts", "", r#"{"status":"Activated","context":{}}"#).send().await.unwrap();
    assert_eq!(classic.status(), 400);
    let told: Value = classic.json().await.unwrap();
    assert!(told["error"]["message"].as_str().unwrap().contains("common alert schema"));
}

#[test]
fn every_recorded_envelope_gives_the_text_that_was_put() {
    let mut checked = 0;
    for file in ["host-whole.jsonl", "host-parts.jsonl"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire").join(file);
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let recording: Value = serde_json::from_str(line).unwrap();
            for body in bodies(&recording) {
                let decoded: Result<wire::envelope::Envelope, _> = serde_json::from_str(&body);
                let Ok(envelope) = decoded else { panic!("{}: {body:.200}", recording["case"]) };
                checked += 1;
                let (Some(text), Some(got)) = (recording["message_text"].as_str(), envelope.text("item"))
                else {
                    continue;
                };
                if told_by_the_text(&recording) {
                    assert_eq!(got, text, "{}", recording["case"]);
                }
            }
        }
    }
    assert!(checked > 200, "{checked} envelopes were found");
}

/// Bodies of envelopes that the handler received in this recording.
fn bodies(recording: &Value) -> Vec<String> {
    let received = ["handler_received", "handler_first_request", "received"].map(|field| &recording[field]);
    let entries = received.into_iter().flat_map(|field| match field {
        Value::Array(entries) => entries.clone(),
        Value::Object(_) => vec![field.clone()],
        _ => Vec::new(),
    });
    let body = |entry: Value| match entry {
        Value::Object(request) => request.get("body")?.as_str().map(str::to_owned),
        // Raw bytes of a chunked request: sizes and chunks take turns, and JSON holds no line ends.
        Value::String(raw) => {
            let (_, chunks) = raw.split_once("\r\n\r\n")?;
            Some(chunks.split("\r\n").skip(1).step_by(2).collect())
        }
        _ => None,
    };
    let bodies = entries.filter_map(body).filter(|body| body.starts_with(r#"{"Data":"#));
    // Long bodies were cut when they were recorded.
    bodies.filter(|body| body.ends_with("}}")).collect()
}

/// Whether the recorded text is the message itself: under base64 it is what the message decodes to
/// only in some cases, raw puts are recorded as they were sent, and bindings of binary data carry
/// base64, which ours do not ask for.
fn told_by_the_text(recording: &Value) -> bool {
    let case = recording["case"].as_str().unwrap_or_default();
    case.starts_with("E.none.") && !case.contains("binary") && recording["raw_put"] != true
}
