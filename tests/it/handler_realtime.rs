//! Inference through the real handler: forwarded, retried, streamed, cancelled, explained.

use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::handler_stage::*;

#[tokio::test]
async fn embeddings_are_forwarded_and_the_decision_is_told() {
    let upstream = Upstream::start([]).await;
    let handler = Stage::new(&catalogue(&[backend("one", &upstream.url)])).listen();
    let body = r#"{ "input" : "hello",  "model" : "m", "x" : 1.50 }"#;
    let request = handler.post("/api/v1/embeddings?code=secret", KEY, body);
    let answer = request
        .header("x-request-id", "mine-1")
        .header("x-functions-key", "secret")
        .header("cookie", "secret")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .header("idempotency-key", "k")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-request-id"), "mine-1");
    assert_eq!(header("switchyard-lane"), "realtime");
    assert!(header("switchyard-cost").starts_with("estimate=0"), "{}", header("switchyard-cost"));
    assert!(header("switchyard-cost").ends_with(";currency=USD;prices=2026-11-01"));
    assert!(header("switchyard-eta").starts_with("p50="));
    assert_eq!(header("switchyard-model"), "m@sha256:ab12");
    assert_eq!(header("switchyard-idempotency"), "not-stored");
    assert!(!header("switchyard-reason").is_empty());
    assert_eq!(answer.text().await.unwrap(), VECTORS);

    let seen = &upstream.seen()[0];
    assert_eq!((seen.path.as_str(), &seen.body[..]), ("/v1/embeddings", body.as_bytes()));
    assert_eq!(seen.header("x-request-id"), Some("mine-1"));
    assert!(seen.header("traceparent").unwrap().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    let sent = format!("{:?}", seen.headers);
    assert!(!sent.contains("secret") && !sent.contains(KEY), "{sent}");
}

#[tokio::test]
async fn an_alias_is_sent_as_the_id() {
    let upstream = Upstream::start([]).await;
    let handler = Stage::new(&catalogue(&[backend("one", &upstream.url)])).listen();
    let answer =
        handler.post("/api/v1/embeddings", KEY, r#"{"model":"org/m","input":"x"}"#).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(upstream.seen()[0].body, r#"{"model":"m","input":"x"}"#);
}

#[tokio::test]
async fn azure_openai_is_spoken_to_in_its_own_way() {
    let upstream = Upstream::start([]).await;
    let mut azure = backend("aoai", &upstream.url);
    (azure["style"], azure["api_version"]) = (json!("azure_openai"), json!("2024-10-21"));
    azure["api_key_setting"] = json!("AOAI_API_KEY");
    let handler = Stage::new(&catalogue(&[azure])).with("AOAI_API_KEY", "k-1").listen();
    assert_eq!(handler.embed().send().await.unwrap().status(), 200);
    let seen = &upstream.seen()[0];
    assert_eq!(seen.path, "/openai/deployments/m/embeddings?api-version=2024-10-21");
    assert_eq!((seen.header("api-key"), seen.header("authorization")), (Some("k-1"), None));
}

#[tokio::test]
async fn the_tier_that_was_used_is_told_where_clients_look() {
    let answer = || {
        let kind = vec![("content-type", "application/json".to_owned())];
        Step::Answer(200, kind, r#"{"id":"c","choices":[]}"#.to_owned())
    };
    let upstream = Upstream::start([answer(), answer(), answer()]).await;
    let handler = Stage::new(&catalogue(&[backend("one", &upstream.url)])).listen();
    let chat = async |tier: &str| {
        let body = format!(r#"{{"model":"chat","messages":[{{"role":"user","content":"hi"}}]{tier}}}"#);
        let answer = handler.post("/api/v1/chat/completions", KEY, body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let told =
            answer.headers().get("switchyard-service-tier").map(|tier| tier.to_str().unwrap().to_owned());
        (told, answer.text().await.unwrap())
    };
    assert_eq!(chat("").await, (None, r#"{"id":"c","choices":[]}"#.to_owned()), "nobody asked");
    let told = r#"{"service_tier":"flex","id":"c","choices":[]}"#;
    assert_eq!(chat(r#","service_tier":"flex""#).await, (Some("flex".to_owned()), told.to_owned()));
    let (tier, body) = chat(r#","service_tier":"priority""#).await;
    assert!(body.contains(&format!(r#""service_tier":"{}""#, tier.unwrap())), "{body}");
    let embedded =
        handler.post("/api/v1/embeddings", KEY, r#"{"model":"m","input":"x","service_tier":"flex"}"#);
    let embedded = embedded.send().await.unwrap();
    assert_eq!(embedded.headers()["switchyard-service-tier"], "flex");
    assert_eq!(embedded.text().await.unwrap(), VECTORS, "embeddings have no such member");
}

#[tokio::test]
async fn models_tell_what_each_lane_would_take() {
    let handler = Stage::new(&catalogue(&[backend("one", "http://127.0.0.1:9")])).listen();
    let models: Value = handler.get("/api/v1/models", KEY).send().await.unwrap().json().await.unwrap();
    let shown = &models["data"][0];
    assert_eq!((shown["id"].as_str(), shown["object"].as_str()), (Some("m"), Some("model")));
    let lanes = &shown["switchyard"];
    assert_eq!((&lanes["realtime"]["place"], &lanes["realtime"]["items"]), (&json!("one"), &json!(1)));
    assert_eq!(lanes["realtime"]["queue_fraction"], 0.0);
    assert!(lanes["realtime"]["eta_p50_ms"].as_u64() <= lanes["realtime"]["eta_p95_ms"].as_u64());
    assert!(lanes["deferred"].is_null(), "there is no pool");
    assert!(models["data"][2]["switchyard"]["realtime"].is_null(), "nobody serves it");
}

#[tokio::test]
async fn a_failed_try_goes_to_another_backend() {
    let steps = [Step::Close, Step::Answer(500, vec![], "x".into()), Step::Answer(404, vec![], "{}".into())];
    for step in steps {
        let (first, second) = (Upstream::start([]).await, Upstream::start([]).await);
        let backends = [backend("a", &first.url), backend("b", &second.url)];
        let handler = Stage::new(&catalogue(&backends)).listen();
        // Whichever is tried first fails; a broken connection is tried there again at most once.
        let kind = match &step {
            Step::Answer(status, ..) => *status,
            _ => 0,
        };
        for upstream in [&first, &second] {
            upstream.then(match &step {
                Step::Answer(status, headers, body) => Step::Answer(*status, headers.clone(), body.clone()),
                _ => Step::Close,
            });
        }
        let answer = handler.embed().send().await.unwrap();
        assert_eq!(answer.status(), 200, "after {kind}");
        assert!(first.seen().len() + second.seen().len() >= 2, "after {kind}");
    }
}

#[tokio::test]
async fn overload_and_warming_say_when_to_come_back() {
    for (status, code) in [(429, "overloaded"), (503, "warming")] {
        let wait = vec![("retry-after-ms", "700".to_owned())];
        let upstream = Upstream::start([Step::Answer(status, wait, "{}".into())]).await;
        let handler = Stage::new(&catalogue(&[backend("one", &upstream.url)])).listen();
        let answer = handler.embed().send().await.unwrap();
        assert_eq!(answer.status(), status, "{code}");
        assert_eq!(answer.headers()["x-should-retry"], "true");
        let wait: u64 = answer.headers()["retry-after-ms"].to_str().unwrap().parse().unwrap();
        assert!((1..=120_000).contains(&wait), "{wait}");
        assert!(answer.headers().contains_key("retry-after"));
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"]["code"], code);
        assert_eq!(handler.embed().send().await.unwrap().status(), 200, "and then it is served");
    }
}

#[tokio::test]
async fn a_request_at_fault_keeps_the_backends_own_answer() {
    let own = r#"{"error":{"message":"too long","type":"invalid_request_error","param":"input","code":"x"}}"#;
    let upstream =
        Upstream::start([Step::Answer(400, vec![("content-type", "application/json".into())], own.into())])
            .await;
    let handler = Stage::new(&catalogue(&[backend("one", &upstream.url)])).listen();
    let answer = handler.embed().send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.text().await.unwrap(), own);
    assert_eq!(upstream.seen().len(), 1, "never tried again");
}

#[tokio::test]
async fn events_arrive_one_by_one_after_a_comment() {
    let (parts, stream) = mpsc::channel(1);
    let upstream = Upstream::start([Step::Stream(stream)]).await;
    let handler = Stage::new(&catalogue(&[backend("one", &upstream.url)])).listen();
    let body = r#"{"model":"chat","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
    let answer = handler.post("/api/v1/chat/completions", KEY, body).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut events = answer.bytes_stream();
    assert_eq!(events.next().await.unwrap().unwrap(), ": ok\n\n");
    for event in ["data: {\"a\":1}\n\n", "data: [DONE]\n\n"] {
        // The next part is sent only after the one before it has arrived: nothing is held back.
        parts.send(Bytes::from_static(event.as_bytes())).await.unwrap();
        assert_eq!(events.next().await.unwrap().unwrap(), event);
    }
    drop(parts);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_upstream() {
    // Before the headers.
    let (held, mut gone) = mpsc::channel(1);
    let upstream = Upstream::start([Step::Hang(held)]).await;
    let handler = Stage::new(&catalogue(&[backend("one", &upstream.url)])).listen();
    let request = tokio::spawn(handler.embed().send());
    until("the request reaches the upstream", async || !upstream.seen().is_empty()).await;
    request.abort();
    assert!(tokio::time::timeout(BOUND, gone.recv()).await.expect("the upstream is told").is_none());

    // In the middle of a stream.
    let (parts, stream) = mpsc::channel(1);
    upstream.then(Step::Stream(stream));
    let body = r#"{"model":"chat","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
    let answer = handler.post("/api/v1/chat/completions", KEY, body).send().await.unwrap();
    drop(answer);
    let told = async { while parts.send(Bytes::from_static(b"data: x\n\n")).await.is_ok() {} };
    tokio::time::timeout(BOUND, told).await.expect("the stream ends");
    // Nothing is counted as under way afterwards.
    let in_flight = async || {
        let status: Value = handler.get("/api/status", ADMIN).send().await.unwrap().json().await.unwrap();
        status["backends"][0]["in_flight"].as_u64().unwrap()
    };
    until("nothing is under way", async || in_flight().await == 0).await;
}

#[tokio::test]
async fn explain_shows_the_numbers_and_runs_nothing() {
    let upstream = Upstream::start([]).await;
    let handler = Stage::new(&catalogue(&[backend("one", &upstream.url)])).listen();
    let question = json!({ "operation": "embeddings", "body": { "model": "m", "input": ["a", "b"] },
        "headers": { "Switchyard-Deadline": "1h" } });
    let answer = handler.post("/api/explain", READER, question.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let shown: Value = answer.json().await.unwrap();
    assert_eq!(shown["dry_run"], true);
    assert_eq!(shown["request"]["items"], 2);
    assert_eq!(shown["decision"]["verdict"]["place"], "one");
    assert_eq!(shown["knobs"]["realtime-threshold-ms"], 2_000);
    // The request itself, sent here with its own headers, asks the same.
    let plain = handler.post("/api/explain", READER, r#"{"model":"m","input":["a","b"]}"#);
    let answer = plain.header("Switchyard-Deadline", "1h").send().await.unwrap();
    let same: Value = answer.json().await.unwrap();
    assert_eq!(same["decision"]["verdict"], shown["decision"]["verdict"]);
    assert!(same["request"]["deadline_unix_ms"].is_u64());
    // A request that names a model is one, whatever else it has.
    let more = handler.post("/api/explain", READER, r#"{"model":"m","input":"a","body":{},"color":"red"}"#);
    assert_eq!(more.send().await.unwrap().status(), 200);
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn decisions_reach_the_store_when_the_process_ends() {
    let upstream = Upstream::start([]).await;
    let mut handler = Stage::new(&catalogue(&[backend("one", &upstream.url)])).listen();
    assert_eq!(handler.embed().send().await.unwrap().status(), 200);
    end(&mut handler);
    let days = std::fs::read_dir(handler.stage.folder.join("blob/audit")).unwrap();
    let day = days.map(|day| day.unwrap().file_name().into_string().unwrap()).next().unwrap();
    let hours = std::fs::read_dir(handler.stage.folder.join("blob/audit").join(&day)).unwrap();
    let hour = hours.map(|hour| hour.unwrap().file_name().into_string().unwrap()).next().unwrap();
    let lines = handler.kept(&format!("audit/{day}/{hour}"));
    let line: Value = serde_json::from_str(lines[0].lines().next().unwrap()).unwrap();
    assert_eq!((&line["tenant"], &line["request"]["model"]), (&json!("dev"), &json!("m")));
    assert!(!lines[0].contains("hello"), "no user text");
}

/// Ends a handler as the platform would, and sees that it ends well.
fn end(handler: &mut Handler) {
    crate::handler_life::terminate(&handler.child);
    assert_eq!(handler.child.wait().unwrap().code(), Some(0));
}
