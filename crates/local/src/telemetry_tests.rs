//! The telemetry receiver over HTTP.

use std::io::Write as _;

use super::*;

fn envelope(name: &str) -> Value {
    json!({"name": name, "time": "2026-11-21T00:00:00Z", "data": {"baseType": "MetricData", "baseData": {"ver": 2}}})
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(text.as_bytes()).unwrap();
    packer.finish().unwrap()
}

async fn post(receiver: &Receiver, path: &str, body: Vec<u8>, encoding: Option<&str>) -> (u16, Value) {
    let mut request = reqwest::Client::new().post(format!("{}{path}", receiver.url())).body(body);
    if let Some(encoding) = encoding {
        request = request.header("content-encoding", encoding);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn every_form_of_body_is_kept_and_counted() {
    let receiver = Receiver::start(loopback::any_port().unwrap()).unwrap();
    let array = json!([envelope("a"), envelope("b")]).to_string();
    let lines = format!("{}\n{}\n", envelope("c"), envelope("d"));
    let bodies = [
        ("/v2/track", array.clone().into_bytes(), None),
        ("/v2/track", gzip(&array), Some("gzip")),
        ("/v2.1/track", lines.clone().into_bytes(), None),
        ("/v2.1/track", gzip(&lines), Some("gzip")),
    ];
    for (path, body, encoding) in bodies {
        let (status, answer) = post(&receiver, path, body, encoding).await;
        assert_eq!(
            (status, answer),
            (200, json!({"itemsReceived": 2, "itemsAccepted": 2, "errors": []})),
            "{path}"
        );
    }
    let names: Vec<_> = receiver.envelopes().iter().map(|e| e["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["a", "b", "a", "b", "c", "d", "c", "d"]);
    assert_eq!(receiver.counts(), Counts { requests: 4, envelopes: 8, malformed: 0 });
    receiver.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_whole() {
    let receiver = Receiver::start(loopback::any_port().unwrap()).unwrap();
    let half = json!([envelope("a"), {"name": "no data"}]).to_string();
    let bodies = [
        (b"not json".to_vec(), None),
        (b"not gzip".to_vec(), Some("gzip")),
        (half.into_bytes(), None),
        (b"[{".to_vec(), None),
    ];
    for (body, encoding) in bodies {
        let (status, answer) = post(&receiver, "/v2/track", body, encoding).await;
        assert_eq!(status, 400);
        assert_eq!(answer["errors"][0]["statusCode"], 400, "{answer}");
    }
    assert_eq!(receiver.counts(), Counts { requests: 4, envelopes: 0, malformed: 4 });
    assert_eq!(receiver.envelopes(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_script_fails_or_hangs_and_can_be_lifted() {
    let receiver = Receiver::start(loopback::any_port().unwrap()).unwrap();
    let body = json!([envelope("a")]).to_string().into_bytes();

    receiver.script(Script::Fail(StatusCode::INTERNAL_SERVER_ERROR));
    assert_eq!(post(&receiver, "/v2/track", body.clone(), None).await.0, 500);

    receiver.script(Script::Hang);
    let hung = reqwest::Client::new().post(format!("{}/v2/track", receiver.url())).body(body.clone());
    let hung = hung.timeout(std::time::Duration::from_millis(100)).send().await;
    assert!(hung.unwrap_err().is_timeout());

    receiver.script(Script::Accept);
    assert_eq!(post(&receiver, "/v2/track", body, None).await.0, 200);
    assert_eq!(receiver.counts(), Counts { requests: 3, envelopes: 1, malformed: 0 });
}

#[test]
fn the_oldest_are_forgotten_beyond_the_bound() {
    let inbox = Inbox::default();
    inbox.keep((0..KEPT_ENVELOPES + 3).map(|n| json!(n)).collect());
    let state = inbox.lock();
    assert_eq!(state.envelopes.len(), KEPT_ENVELOPES);
    assert_eq!(state.envelopes.front(), Some(&json!(3)));
    assert_eq!(state.counts.envelopes, KEPT_ENVELOPES as u64 + 3);
}

#[tokio::test]
async fn what_belongs_to_a_trace_is_found() {
    let receiver = Receiver::start(loopback::any_port().unwrap()).unwrap();
    let of = |name: &str, operation: &str, message: &str| {
        let mut envelope = envelope(name);
        envelope["tags"]["ai.operation.id"] = operation.into();
        envelope["data"]["baseData"]["message"] = message.into();
        envelope
    };
    let all = json!([of("a", "t1", ""), of("b", "t2", ""), of("c", "t2", "a line of t1"), envelope("d")]);
    assert_eq!(post(&receiver, "/v2/track", all.to_string().into_bytes(), None).await.0, 200);
    for (trace, wanted) in [("t1", vec!["a", "c"]), ("t2", vec!["b", "c"]), ("t3", vec![]), ("", vec![])] {
        let asked = reqwest::get(format!("{}/traces/{trace}", receiver.url())).await.unwrap();
        let found: Vec<Value> = asked.json().await.unwrap();
        let names: Vec<&str> = found.iter().map(|found| found["name"].as_str().unwrap()).collect();
        assert_eq!(names, wanted, "{trace}");
    }
    receiver.stop().await;
}
