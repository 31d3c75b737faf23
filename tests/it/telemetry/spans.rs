//! Requests and calls to other services as spans of one trace, from the client to whoever works for it.

use std::sync::Arc;
use std::time::Duration;

use facts::JobId;
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
