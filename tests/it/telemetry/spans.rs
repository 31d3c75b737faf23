//! Requests and calls to other services as spans of one trace, from the client to whoever works for it.

use std::sync::Arc;
use std::time::Duration;

use facts::{JobId, Store};
use handler::azure::blob::Shown;
use handler::settings::Secret;
use handler::telemetry::Telemetry;
use serde_json::json;

use super::*;
use crate::deferred::rig::{Rig, SLOW};

const TRACE: &str = "b6a627c451d74ba95fb16416cd25b7cc";
const PARENT: &str = "b374e9076e35142b";

fn id(envelope: &Value, tag: &str) -> String {
    envelope["tags"][tag].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_and_its_call_stand_in_the_clients_trace() {
    let upstream = Upstream::start([]).await;
    let receiver = receiver();
    let handler =
        told(Stage::new(&catalogue(&[backend("one", &upstream.url)])), &receiver).under_host().await;
    // The host begins a trace for each request and marks it as not sampled (recorded).
    let traced = handler.embed().header("traceparent", format!("00-{TRACE}-{PARENT}-00"));
    assert_eq!(traced.send().await.unwrap().status(), 200);
    let unknown = handler.get("/api/jobs/what-a-client-wrote/color?code=s3cret", KEY);
    assert_eq!(unknown.send().await.unwrap().status(), 404);
    invoke(&handler.client, &handler.url, "Metrics", "timer", json!({})).await;

    let requests = of_type(&receiver, "RequestData");
    let request = requests.iter().find(|found| id(found, "ai.operation.id") == TRACE).expect("the request");
    assert_eq!(data(request)["name"], "POST /api/v1/embeddings");
    assert_eq!(data(request)["responseCode"], "200");
    assert_eq!(data(request)["success"], true);
    assert_eq!(id(request, "ai.operation.parentId"), PARENT);
    assert_eq!(id(request, "ai.cloud.role"), "switchyard-handler");
    let calls = of_type(&receiver, "RemoteDependencyData");
    let call = calls.iter().find(|found| id(found, "ai.operation.id") == TRACE).expect("the call");
    assert_eq!(data(call)["id"].as_str().unwrap().len(), 16);
    assert_eq!(id(call, "ai.operation.parentId"), data(request)["id"]);
    let host = upstream.url.trim_start_matches("http://");
    let told =
        ["name", "target", "data", "resultCode", "type"].map(|name| data(call)[name].as_str().unwrap());
    let url = format!("{}/v1/embeddings", upstream.url);
    assert_eq!(told, ["POST /embeddings", host, url.as_str(), "200", "HTTP"]);
    let seen = upstream.seen()[0].header("traceparent").unwrap().to_owned();
    assert_eq!(seen, format!("00-{TRACE}-{}-01", data(call)["id"].as_str().unwrap()));
    let written = requests.iter().any(|found| found.to_string().contains("what-a-client-wrote"));
    assert!(!written, "a path of the table, never the client's: {requests:?}");
}

/// Of a container that answers nothing but 404.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_the_blob_store_are_shown_by_kind_for_requests_alone() {
    let missing = "<Error><Code>BlobNotFound</Code></Error>";
    let blobs = Upstream::start((0..400).map(|_| Step::Answer(404, Vec::new(), missing.to_owned()))).await;
    let receiver = receiver();
    let stage = told(Stage::new(&catalogue(&[])), &receiver);
    let file = stage.folder.join("blob/config/catalogue.json").display().to_string();
    let url = format!("{}/account/container?sv=2025-11-05&sig=c2VjcmV0", blobs.url);
    let handler = stage.with("BLOB_URL", url).with("MODEL_CATALOG", file).under_host().await;
    let show = handler.get("/api/v1/batches/batch_aaaaaaaaaaaaaaaaaaaaaaaaaa", KEY);
    let shown = show.header("traceparent", format!("00-{TRACE}-{PARENT}-01")).send().await.unwrap();
    assert_eq!(shown.status(), 404, "{}", shown.text().await.unwrap());
    invoke(&handler.client, &handler.url, "Sweep", "timer", json!({})).await;
    invoke(&handler.client, &handler.url, "Metrics", "timer", json!({})).await;

    let mut calls = of_type(&receiver, "RemoteDependencyData");
    calls.retain(|found| data(found)["type"] == "Azure blob");
    let host = blobs.url.trim_start_matches("http://");
    let mut names: Vec<&str> = calls.iter().map(|call| data(call)["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["GET file", "GET job", "HEAD file"], "a sweep shows none");
    for call in &calls {
        assert_eq!(id(call, "ai.operation.id"), TRACE);
        assert_eq!((&data(call)["target"], &data(call)["resultCode"]), (&json!(host), &json!("404")));
        let told = call.to_string();
        assert!(!told.contains("c2VjcmV0") && !told.contains("aaaaaaaaaaaaaaaaaaaaaaaaaa"), "{told}");
    }
    assert!(blobs.seen().len() > calls.len(), "the sweep asked, too");
}

#[tokio::test]
async fn a_request_shows_its_first_calls_of_the_blob_store() {
    let receiver = receiver();
    let connection = Secret::new(receiver.connection_string());
    let telemetry = Telemetry::start(&connection, reqwest::Client::new(), "one").unwrap();
    let url = "https://acct.blob.core.windows.net/c".parse().unwrap();
    let store = Store::memory().through(|objects| Arc::new(Shown::new(objects, &url)));
    let work = async {
        store.create("due/1/t.job", "").await.unwrap();
        store.exists("due/1/t.job").await.unwrap();
        store.delete("due/1/t.job").await.unwrap();
        for _ in 0..40 {
            store.list("due/").await.unwrap();
        }
    };
    telemetry.request("GET", None).around(work).await;
    telemetry.flush().await;
    let mut calls = of_type(&receiver, "RemoteDependencyData");
    calls.retain(|found| data(found)["target"] == "acct.blob.core.windows.net");
    let count = |name| calls.iter().filter(|call| data(call)["name"] == name).count();
    assert_eq!(["PUT due", "HEAD due", "DELETE due", "LIST due"].map(count), [1, 1, 1, 29]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_for_a_job_stands_in_the_trace_that_it_was_sent_under() {
    let receiver = receiver();
    let rig = Rig::start(SLOW).await;
    let app =
        rig.process_given(&[("APPLICATIONINSIGHTS_CONNECTION_STRING", receiver.connection_string())]).await;
    let id_of_job = JobId::random();
    let work = async {
        let mut new = rig.new_job(&app, &id_of_job, Duration::from_secs(10 * 24 * 3_600)).await;
        new.traceparent = Some(format!("00-{TRACE}-{PARENT}-01"));
        app.jobs.accept(new).await.unwrap();
        rig.recover_by(&app, &id_of_job).await;
    };
    app.telemetry.unasked().around(work).await;
    Arc::clone(&app).telemetry.flush().await;

    let calls = of_type(&receiver, "RemoteDependencyData");
    let in_trace: Vec<&Value> = calls.iter().filter(|found| id(found, "ai.operation.id") == TRACE).collect();
    let named = |name: &str| in_trace.iter().find(|found| data(found)["name"] == name).copied();
    assert_eq!(data(named("task added").expect("its task"))["type"], "InProc");
    let job = data(named("job").expect("its end"));
    assert_eq!(
        (&job["properties"]["job"], &job["properties"]["outcome"]),
        (&json!(id_of_job.as_str()), &json!("completed"))
    );
    let names: Vec<&str> = calls.iter().filter_map(|found| data(found)["name"].as_str()).collect();
    assert!(names.contains(&"POST queue messages"), "{names:?}");
    for call in &calls {
        let url = data(call)["data"].as_str().unwrap_or_default();
        assert!(!url.contains('?'), "{url}");
    }
}
