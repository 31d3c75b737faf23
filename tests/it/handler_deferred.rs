//! A single request whose answer comes later, over real HTTP: who is told 202, and who never is.

use serde_json::Value;

use crate::handler_batches::{start_with_pool, with_pool};
use crate::handler_stage::*;

const EMBEDDINGS: &str = "/api/v1/embeddings";

/// What one request is told.
struct Told {
    status: u16,
    location: Option<String>,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

type Headers<'a> = &'a [(&'static str, &'static str)];

async fn ask(handler: &Handler, input: &str, headers: Headers<'_>) -> Told {
    let body = format!(r#"{{"model":"m","input":"{input}"}}"#);
    let mut request = handler.post(EMBEDDINGS, KEY, body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let location = headers.get("location").map(|at| at.to_str().unwrap().to_owned());
    Told { status, location, headers, body: answer.json().await.unwrap_or_default() }
}

#[tokio::test]
async fn who_can_take_a_later_answer_is_told_where_it_will_be() {
    let handler = start_with_pool();
    let cases: [&[(&str, &str)]; 2] =
        [&[("switchyard-lane", "deferred")], &[("switchyard-lane", "deferred"), ("prefer", "respond-async")]];
    for headers in cases {
        let told = ask(&handler, "x", headers).await;
        assert_eq!(told.status, 202, "{}", told.body);
        assert_eq!(told.location.as_deref(), told.body["links"]["job"].as_str());
        let applied = told.headers.get("preference-applied").map(|value| value.to_str().unwrap());
        assert_eq!(applied, (headers.len() == 2).then_some("respond-async"));
    }
}

/// A page used to leave out whatever could not be read in that moment, as if it were no more.
#[tokio::test]
async fn a_page_of_jobs_is_whole_or_none() {
    let handler = start_with_pool();
    let mut jobs = Vec::new();
    for text in ["x", "y"] {
        let told = ask(&handler, text, &[("switchyard-lane", "deferred")]).await;
        jobs.push(told.body["id"].as_str().unwrap().to_owned());
    }
    // Another process over the same store, which knows neither.
    let stage = Stage { folder: handler.stage.folder.clone(), env: handler.stage.env.clone() };
    let other = stage.listen();
    let page = async || {
        let answer = other.get("/api/jobs", KEY).send().await.unwrap();
        let (status, body) = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
        (
            status,
            body["data"].as_array().map_or(0, Vec::len),
            body["error"]["code"].as_str().map(str::to_owned),
        )
    };
    // A file where the store has a folder: neither there nor not.
    let folder = handler.stage.folder.join("blob/t/dev/jobs").join(&jobs[0]);
    let away = folder.with_extension("away");
    std::fs::rename(&folder, &away).unwrap();
    std::fs::write(&folder, "").unwrap();
    assert_eq!(page().await, (503, 0, Some("dependency_failed".to_owned())));
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    assert_eq!(page().await, (200, 2, None));
}

#[tokio::test]
async fn a_key_that_was_deferred_tells_202_only_to_those_who_can_take_it() {
    let handler = start_with_pool();
    let key = ("idempotency-key", "k");
    let first = ask(&handler, "x", &[key, ("switchyard-lane", "deferred")]).await;
    assert_eq!(first.status, 202, "{}", first.body);
    let cases: [(&str, Headers<'_>, u16, Option<&str>); 5] = [
        ("x", &[key, ("switchyard-lane", "deferred")], 202, None),
        ("x", &[key, ("prefer", "respond-async")], 202, None),
        ("x", &[key], 409, Some("answer_comes_later")),
        ("x", &[key, ("x-stainless-retry-count", "1")], 409, Some("answer_comes_later")),
        ("y", &[key], 409, Some("idempotency_conflict")),
    ];
    for (input, headers, status, code) in cases {
        let told = ask(&handler, input, headers).await;
        assert_eq!((told.status, told.body["error"]["code"].as_str()), (status, code), "{headers:?}");
        match status {
            202 => assert_eq!(told.location, first.location),
            // An SDK would try a conflict again.
            _ => assert_eq!(told.headers["x-should-retry"], "false"),
        }
    }
}

/// The sweep alone would write the summary, within 30 s.
#[tokio::test]
async fn who_looks_at_a_job_whose_results_are_there_asks_for_its_end() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let queues = local::queue::Server::start(listener, clock::Clock::REAL).unwrap();
    let queue = local::queue::client::Account::parse(&queues.connection_string()).unwrap().queue("rings");
    queue.create().await.unwrap();
    let rings = async || queue.get(32, std::time::Duration::from_secs(600)).await.unwrap().len();
    let stage = with_pool(catalogue(&[])).with("AzureWebJobsStorage", queues.connection_string());
    let handler = stage.with("STORAGE_QUEUE_NAME", "rings").listen();
    let told = ask(&handler, "x", &[("switchyard-lane", "deferred")]).await;
    let id = facts::JobId::parse(told.body["id"].as_str().unwrap()).unwrap();
    assert_eq!(rings().await, 1, "it was accepted");
    let status = async || {
        let job = handler.get(&format!("/api/jobs/{id}"), KEY).send().await.unwrap();
        job.json::<Value>().await.unwrap()["status"].as_str().unwrap().to_owned()
    };
    assert_eq!((status().await.as_str(), rings().await), ("waiting", 0));
    let store = facts::Store::folder(&handler.stage.folder.join("blob")).unwrap();
    let line = facts::line::error(0, "c", "odd", "it is odd");
    store.create(&facts::key::JobKeys::new("dev", &id).chunk(0, 0), line).await.unwrap();
    assert_eq!((status().await.as_str(), rings().await), ("finishing", 1));
}

#[tokio::test]
async fn what_no_backend_could_answer_waits_within_its_tenants_limits() {
    for (queued_items, expected) in [(0, 429), (1, 202)] {
        let failing = Upstream::start((0..8).map(|_| Step::Answer(500, Vec::new(), String::new()))).await;
        let mut catalogue = catalogue(&[backend("one", &failing.url)]);
        catalogue["tenants"][0]["limits"] = serde_json::json!({ "queued_items": queued_items });
        let handler = with_pool(catalogue).listen();
        let told = ask(&handler, "x", &[("prefer", "respond-async")]).await;
        assert_eq!(told.status, expected, "{queued_items}: {}", told.body);
        assert!(!failing.seen().is_empty(), "it was tried");
    }
}
