//! `--backend`: an OpenAI-compatible server that is slow, busy, broken or gone, and never loses a line.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use facts::Store;
use facts::job::Place;
use facts::line::OutLine;
use worker::member::Outcome;
use worker::upstream::{Patience, Server, Upstream};
use worker::{Backend, Exit};

use crate::fixture::{Fixture, line, lines, undisturbed};
use crate::scripted::{BOUND, Call, Reply, Scripted, embedding};

type Answer = fn(&Call) -> Reply;

/// Long enough never to be over in a test that ends well.
fn patient() -> Patience {
    let ms = Duration::from_millis;
    Patience { attempt: ms(1_000), total: BOUND, pause: ms(5), pause_max: ms(20) }
}

/// Over soon, for tests in which the backend stays down.
fn impatient() -> Patience {
    Patience { total: Duration::from_millis(200), ..patient() }
}

fn backend_with(server: &Scripted, items_at_once: usize, patience: Patience) -> Backend {
    let server = Server { url: server.url.clone(), key: Some("k".to_owned()), digest: None };
    Backend::Server(Upstream::new(server, items_at_once, patience).unwrap())
}

fn backend_of(server: &Scripted, items_at_once: usize) -> Backend {
    backend_with(server, items_at_once, patient())
}

#[tokio::test]
async fn what_passes_is_tried_again_and_every_line_comes_once() {
    let server = Scripted::plain(|call: &Call| match call.n % 9 {
        0 => Reply::Http(429, "retry-after-ms: 3\r\n", "{}".to_owned()),
        1 => Reply::Http(500, "", "oops".to_owned()),
        2 => Reply::Http(503, "retry-after: 0.01\r\n", String::new()),
        3 => Reply::Raw("SSH-2.0-what\r\n"),
        4 => Reply::Raw(""),
        5 if call.n == 5 => Reply::Silence,
        6 => Reply::Http(200, "", "{\"half\":".to_owned()),
        _ => embedding(call),
    })
    .await;
    let calm = Scripted::plain(embedding).await;
    let fixture = Fixture::new(&lines(30), 30, 7);
    let expected = undisturbed(&fixture, &backend_of(&calm, 4)).await;
    assert_eq!(calm.calls(), 30);
    let found = undisturbed(&fixture, &backend_of(&server, 4)).await;
    assert_eq!(found, expected);
    assert!(server.calls() > 60, "most attempts failed");
}

#[tokio::test]
async fn a_server_that_says_when_to_come_back_is_not_asked_sooner() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let times = asked.clone();
    let server = Scripted::plain(move |call: &Call| {
        times.lock().unwrap().push(Instant::now());
        match call.n {
            0 => Reply::Http(429, "retry-after-ms: 300\r\nretry-after: 60\r\n", "{}".to_owned()),
            _ => embedding(call),
        }
    })
    .await;
    undisturbed(&Fixture::new(&lines(1), 1, 1), &backend_of(&server, 1)).await;
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 2);
    assert!(asked[1] - asked[0] >= Duration::from_millis(300), "pauses of its own are 5 ms");
}

/// A server that asks for no pause at all used to be asked as fast as the network goes, for minutes.
#[tokio::test]
async fn a_server_that_is_down_is_left_alone_whatever_pause_it_asks_for() {
    for asked in ["retry-after: 0\r\n", "retry-after-ms: 0\r\n", "retry-after: 0.0001\r\n"] {
        let server = Scripted::plain(move |_| Reply::Http(503, asked, "{}".to_owned())).await;
        let pause = Duration::from_millis(40);
        let patience = Patience { pause, pause_max: pause, ..impatient() };
        let fixture = Fixture::new(&lines(1), 1, 1);
        let store = Store::memory();
        fixture.put(&store).await;
        let error = fixture.run(&store, &backend_with(&server, 1, patience)).await.expect_err(asked);
        assert_eq!(Exit::from(&error), Exit::Backend);
        assert!(server.calls() <= 9, "{asked:?}: {} calls in 200 ms", server.calls());
    }
}

#[tokio::test]
async fn requests_go_out_whole_and_never_more_than_asked_for() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let server = Scripted::new(move |call| {
        let (now, most) = (now.clone(), most.clone());
        Box::pin(async move {
            assert!(call.head.starts_with("POST /v1/embeddings HTTP/1.1\r\n"), "{}", call.head);
            assert!(call.head.contains("authorization: Bearer k\r\n"), "{}", call.head);
            assert_eq!(call.body["model"], "minilm", "the body stays as it is");
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            embedding(&call)
        })
    })
    .await;
    let fixture = Fixture::new(&lines(40), 40, 40);
    let chunks = undisturbed(&fixture, &backend_of(&server, 3)).await;
    assert_eq!(chunks.len(), 1);
    assert!((1..=3).contains(&seen.load(Ordering::SeqCst)), "{seen:?}");
}

#[tokio::test]
async fn a_refusal_that_names_the_item_is_its_answer() {
    let server = Scripted::plain(|call: &Call| match call.input() {
        "long" => {
            Reply::Http(400, "x-request-id: r-1\r\n", "{\"error\":\n{\"message\":\"too long\"}}".into())
        }
        "odd" => Reply::Http(422, "", "<html>no</html>".to_owned()),
        "huge" => Reply::Http(200, "", format!("\"{}\"", "x".repeat(17 * 1024 * 1024))),
        _ => embedding(call),
    })
    .await;
    let mut texts: Vec<String> =
        ["fine", "long", "odd", "huge"].iter().zip(0..).map(|(text, n)| line(n, text)).collect();
    texts.push(line(4, "streamed").replace("\"model\"", "\"stream\":true,\"model\""));
    let fixture = Fixture::new(&texts, 5, 5);
    let chunk: String = undisturbed(&fixture, &backend_of(&server, 2)).await.into_values().collect();
    let found: Vec<(u16, String)> = chunk
        .lines()
        .map(|line| {
            let response = serde_json::from_str::<OutLine<'_>>(line).unwrap().response.unwrap();
            (response.status_code, format!("{} {}", response.request_id, response.body))
        })
        .collect();
    for ((status, text), (expected, part)) in found.iter().zip([
        (200, "list"),
        (400, "r-1 "),
        (422, "<html>no"),
        (413, "answer_too_large"),
        (400, "stream"),
    ]) {
        assert!(*status == expected && text.contains(part), "{status} {text} instead of {expected} {part}");
    }
    assert_eq!((found.len(), server.calls()), (5, 4), "a stream is never asked for");
}

/// Each by itself fits an object, together they do not.
#[tokio::test]
async fn what_does_not_fit_a_chunk_is_an_error_of_its_item_alone() {
    let server = Scripted::plain(|call: &Call| match call.input() {
        "large" => Reply::Http(200, "", format!("\"{}\"", "x".repeat(9_000_000))),
        "huge" => Reply::Http(200, "", format!("\"{}\"", "x".repeat(10_000_000))),
        _ => embedding(call),
    })
    .await;
    let texts = ["fine", "huge", "large"].iter().zip(0..).map(|(text, n)| line(n, text));
    let fixture = Fixture::new(&texts.collect::<Vec<_>>(), 3, 3);
    let chunk: String = undisturbed(&fixture, &backend_of(&server, 2)).await.into_values().collect();
    let codes: Vec<Option<String>> = chunk
        .lines()
        .map(|line| serde_json::from_str::<OutLine<'_>>(line).unwrap().error.map(|error| error.code))
        .collect();
    assert_eq!(codes, [None, Some("answer_too_large".to_owned()), None]);
}

#[tokio::test]
async fn a_backend_that_stays_down_ends_the_run_and_loses_nothing() {
    let cases: &[(Answer, &str)] = &[
        (|_| Reply::Http(503, "", "loading".to_owned()), "down"),
        (|_| Reply::Http(401, "", "who are you".to_owned()), "refuses"),
        (|_| Reply::Http(404, "", "no such model".to_owned()), "refuses"),
        (|_| Reply::Http(500, "", "oops".to_owned()), "fails"),
    ];
    for (answer, part) in cases {
        let server = Scripted::plain(move |call: &Call| match call.n {
            0..4 => embedding(call),
            _ => answer(call),
        })
        .await;
        let fixture = Fixture::new(&lines(6), 6, 2);
        let store = Store::memory();
        fixture.put(&store).await;
        let error = fixture.run(&store, &backend_with(&server, 1, impatient())).await.expect_err(part);
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(Exit::from(&error), Exit::Backend);
        assert_eq!(fixture.chunks(&store).await.len(), 2, "two chunks were done before");
        let well = Scripted::plain(embedding).await;
        fixture.run(&store, &backend_of(&well, 1)).await.unwrap();
        fixture.assert_whole(&store).await;
        assert_eq!(well.calls(), 2, "nothing was asked twice");
    }
}

#[tokio::test]
async fn an_unknown_digest_is_no_promised_one() {
    let server = Scripted::plain(embedding).await;
    let mut fixture = Fixture::new(&lines(1), 1, 1);
    let promised = format!("sha256:{}", "a".repeat(64));
    fixture.job.digest = Some(promised.clone());
    let store = Store::memory();
    fixture.put(&store).await;
    let error = fixture.run(&store, &backend_of(&server, 1)).await.expect_err("nobody knows");
    assert_eq!(Exit::from(&error), Exit::Model, "{error}");
    let known = Server { url: server.url.clone(), key: None, digest: Some(promised) };
    let known = Backend::Server(Upstream::new(known, 1, patient()).unwrap());
    fixture.run(&store, &known).await.expect("its operator says so");
}

/// Facts that appear while the third of six items is asked for, and how the member is then left: with
/// the chunk under way written, because it was paid for, and no other begun.
#[tokio::test]
async fn facts_are_looked_at_before_each_chunk() {
    for expected in [Outcome::Stopped, Outcome::Superseded] {
        let fixture = Fixture::new(&lines(6), 6, 2);
        let store = Store::memory();
        fixture.put(&store).await;
        let facts = Arc::new((fixture.clone(), store.clone()));
        let server = Scripted::new(move |call| {
            let facts = facts.clone();
            Box::pin(async move {
                let (fixture, store) = &*facts;
                match (call.n, expected) {
                    (2, Outcome::Stopped) => fixture.stop(store).await,
                    (2, _) => {
                        fixture.claim_at(store, 0, 2, Place::Realtime { not_after_ms: 1, work_ms: 1 }).await
                    }
                    _ => {}
                }
                embedding(&call)
            })
        })
        .await;
        let summary = fixture.run(&store, &backend_of(&server, 1)).await.unwrap();
        assert_eq!((summary.members[0].outcome, summary.chunks()), (expected, 2));
        assert_eq!((fixture.chunks(&store).await.len(), server.calls()), (2, 4));
        assert!(!fixture.is_marked_due(&store).await);
    }
}

#[tokio::test]
async fn an_item_on_which_the_backend_always_fails_is_isolated_at_last() {
    let server = Scripted::plain(|call: &Call| match call.input() {
        "poison" => Reply::Http(500, "", "out of memory".to_owned()),
        _ => embedding(call),
    })
    .await;
    let mut texts = lines(6);
    texts[3] = line(3, "poison");
    let fixture = Fixture::new(&texts, 6, 2);
    let store = Store::memory();
    fixture.put(&store).await;
    let backend = backend_with(&server, 2, impatient());
    for k in 1..=4 {
        fixture.claim(&store, 0, k, "p-1").await;
        let error = fixture.run(&store, &backend).await.expect_err("it fails on the item");
        assert_eq!(Exit::from(&error), Exit::Backend, "try {k}");
    }
    fixture.claim(&store, 0, 5, "p-1").await;
    fixture.run(&store, &backend).await.expect("the item is given up");
    fixture.assert_whole(&store).await;
    let text: String = fixture.chunks(&store).await.into_values().collect();
    assert_eq!(text.matches("worker_crashed").count(), 1);
    assert_eq!(fixture.marks(&store).await, 0);
}
