//! What people and tools ask the host itself: functions fired by hand (`G.`) and the ping.

use serde_json::{Value, json};

use crate::cases::WHOLE;
use crate::queue::{Bench, settled};
use crate::raw::{Message, PATIENCE, ask};
use crate::requests::same_answer;

/// `POST {path} '{body}' with {key}`, as the recorder wrote a stimulus.
fn request(stimulus: &str, master: &str) -> String {
    let (line, rest) = stimulus.split_once(" '").expect("a stimulus has a body");
    let (body, key) = rest.rsplit_once("' with ").expect("a stimulus tells its key");
    let body = body.replace(r"\\", r"\");
    let key = if key == "no key" { String::new() } else { format!("x-functions-key: {master}\r\n") };
    let length = body.len();
    format!(
        "{line} HTTP/1.1\r\nHost: h\r\n{key}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// As `settled`, and the times of a timer's status, which have a shape alone.
fn comparable(body: &Value) -> Value {
    let mut body = settled(body);
    body["Metadata"].as_object_mut().expect("metadata").entry("InsertionTime").and_modify(|time| {
        *time = json!("<time>");
    });
    for name in ["Next", "LastUpdated"] {
        if let Some(time) = body.pointer_mut(&format!("/Data/timer/ScheduleStatus/{name}")) {
            assert!(time.as_str().is_some_and(|text| text.ends_with("+00:00")), "{name}: {time}");
            *time = json!("<time>");
        }
    }
    body
}

#[tokio::test]
async fn functions_are_fired_by_hand() {
    let bench = Bench::start("admin", "none", true).await;
    let master = bench.host.keys().master;
    for (name, case) in WHOLE.replayed_by("admin::functions_are_fired_by_hand") {
        bench.answer(&[Value::Null]);
        let stimulus = case["stimulus"].as_str().expect("a stimulus is text");
        let answer = ask(bench.host.port, request(stimulus, &master).as_bytes(), true).await;
        let answer = Message::parse(&answer).expect("a whole answer");
        let recorded = case["client_got"].as_str().expect("the answer was recorded");
        assert_eq!(Some(answer.status()), recorded.split(' ').nth(1), "{name}");
        assert_eq!(answer.body, b"", "{name}");
        let Some(theirs) = case["handler_received"].get(0) else {
            assert!(fired(&bench).is_empty(), "{name}");
            continue;
        };
        let arrives = async {
            while fired(&bench).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, arrives).await.expect("the function is fired");
        let (url, body) = fired(&bench).remove(0);
        assert_eq!(url, theirs["url"], "{name}");
        let recorded: Value = serde_json::from_str(theirs["body"].as_str().expect("text")).expect("JSON");
        assert_eq!(comparable(&body).to_string(), comparable(&recorded).to_string(), "{name}");
    }
    bench.end().await;
}

/// What was received, without a tick that came by itself.
fn fired(bench: &Bench) -> Vec<(String, Value)> {
    let by_hand =
        |body: &Value| body["Metadata"].get("timer").is_some() || body["Data"].get("item").is_some();
    bench.received().into_iter().filter(|(_, body)| by_hand(body)).collect()
}

#[tokio::test]
async fn a_ping_does_not_reach_the_handler() {
    let case = WHOLE.case("A.ping");
    let bench = Bench::start("ping", "none", true).await;
    let answer = ask(bench.host.port, b"GET /admin/host/ping HTTP/1.1\r\nHost: h\r\n\r\n", true).await;
    assert_eq!(same_answer(&answer, case["admin_ping_answer"].as_str().expect("recorded")), Ok(()));
    assert_eq!(json!(bench.received().len()), case["after_admin_host_ping"]);
    bench.end().await;
}
