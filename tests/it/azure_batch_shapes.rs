//! What the Azure Batch client sends, beside what the official clients were recorded to send.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use handler::azure::batch::{NewJob, NewTask, Output, UploadWhen};
use handler::settings::Secret;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::azure_batch_client::{KEY, client, ok};
use crate::handler_stage::{Seen, Step, Upstream};

/// Headers in which HTTP libraries may differ.
const LIBRARYS_OWN: &[&str] = &["host", "user-agent", "accept", "accept-encoding", "connection"];

fn recordings() -> Vec<Value> {
    let both = [
        include_str!("../fixtures/wire/batch.jsonl"),
        include_str!("../fixtures/wire/batch-shared-key.jsonl"),
    ];
    let rows = both.iter().flat_map(|file| file.lines()).map(|line| serde_json::from_str(line).unwrap());
    rows.filter(|row: &Value| row["client"] == "sdk15-sharedkey").collect()
}

/// The job of the recordings.
fn job() -> NewJob {
    NewJob {
        id: "job-1".into(),
        pool: "gpu-pool".into(),
        priority: 100,
        environment: vec![("A".into(), "B".into())],
    }
}

/// A task with everything that one may have.
fn task(id: &str) -> NewTask {
    NewTask {
        id: id.into(),
        program: "/opt/worker".into(),
        arguments: vec!["--pack".into(), "https://a.blob.core.windows.net/c/packs/p1.json".into()],
        environment: vec![("A".into(), "B".into())],
        container_image: Some("acct.azurecr.io/worker:1".into()),
        max_wall_clock: Duration::from_secs(3_600),
        max_retries: 3,
        required_slots: 1,
        outputs: Vec::new(),
    }
}

fn log_upload() -> Output {
    Output {
        pattern: "../std*.txt".into(),
        container: Secret::new("https://a.blob.core.windows.net/out".into()),
        path: "t1".into(),
        identity: Some("/s/i".into()),
        when: UploadWhen::Completion,
    }
}

#[tokio::test]
async fn requests_are_shaped_and_signed_as_the_official_clients_are() {
    let counts = r#"{"active":1,"running":0,"completed":0,"succeeded":0,"failed":0}"#;
    let items = r#"{"value":[{"status":"success","taskId":"a"},{"status":"success","taskId":"b"}]}"#;
    let upstream = Upstream::start([
        ok(r#"{"id":"gpu-pool","state":"active","allocationState":"steady"}"#),
        ok(r#"{"value":[{"poolId":"gpu-pool"}]}"#),
        Step::Answer(201, vec![], String::new()),
        ok(r#"{"value":[]}"#),
        ok(""),
        ok(&format!(r#"{{"taskCounts":{counts},"taskSlotCounts":{counts}}}"#)),
        Step::Answer(201, vec![], String::new()),
        Step::Answer(201, vec![], String::new()),
        ok(items),
        ok(r#"{"state":"active"}"#),
        Step::Answer(204, vec![], String::new()),
        ok(""),
        ok(&"x".repeat(1_024)),
        ok("tail"),
    ])
    .await;
    let batch = client(&upstream.url);
    batch.pool("gpu-pool").await.unwrap();
    batch.node_counts("gpu-pool").await.unwrap();
    batch.create_job(&job()).await.unwrap();
    batch.jobs("").await.unwrap();
    batch.end_job_when_done("job-1").await.unwrap();
    batch.task_counts("job-1").await.unwrap();
    batch.add_task("job-1", &task("t1")).await.unwrap();
    let logged = NewTask { outputs: vec![log_upload()], ..task("t1") };
    batch.add_task("job-1", &logged).await.unwrap();
    let added = batch.add_tasks("job-1", &[task("a"), task("b")]).await;
    assert!(added.iter().all(Result::is_ok), "{added:?}");
    batch.task("job-1", "t1").await.unwrap();
    batch.terminate_task("job-1", "t1").await.unwrap();
    batch.delete_task("job-1", "t1").await.unwrap();
    batch.task_file_tail("job-1", "t1", "stderr.txt", 2_048).await.unwrap();

    let cases = [
        "pool_get_select",
        "pool_node_counts_filter",
        "job_create",
        "job_list_filter",
        "job_patch",
        "job_task_counts",
        "task_add",
        "task_add",
        "task_add_collection",
        "task_get",
        "task_terminate",
        "task_delete",
        "task_file_head",
        "task_file_get_range",
    ];
    let seen = upstream.seen();
    assert_eq!(seen.len(), cases.len());
    let recordings = recordings();
    for (seen, case) in seen.iter().zip(cases) {
        let rows: Vec<&Value> = recordings.iter().filter(|row| row["case"] == case).collect();
        assert!(!rows.is_empty(), "{case} is recorded");
        let differences: Vec<String> = rows
            .iter()
            .filter_map(|row| difference(seen, row).map(|what| format!("{what}: {row}")))
            .collect();
        assert!(differences.len() < rows.len(), "{case}: {seen:?} fits none of {differences:#?}");
        assert_eq!(seen.header("authorization").unwrap(), signature(seen), "{case}");
    }
}

/// A path without what we choose otherwise than the recordings: which files of a task are read, which members
/// of a pool, and that nobody asks for its statistics.
fn plain(path: &str) -> String {
    let path =
        path.replace("wd%2Fout.json", "FILE").replace("stdout.txt", "FILE").replace("stderr.txt", "FILE");
    match path.split_once("&$select=") {
        Some((pool, _)) if pool.starts_with("/pools/") => format!("{pool}&$select=MEMBERS"),
        _ => path,
    }
}

/// What a request does otherwise than a recorded one.
fn difference(seen: &Seen, row: &Value) -> Option<String> {
    if seen.method != row["method"] || plain(&seen.path) != plain(row["path"].as_str().unwrap()) {
        return Some("method or path".to_owned());
    }
    let theirs =
        row["headers"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap().to_lowercase());
    let theirs: BTreeSet<String> = theirs.filter(|name| !LIBRARYS_OWN.contains(&name.as_str())).collect();
    let ours = seen.headers.iter().map(|(name, _)| name.clone());
    let ours: BTreeSet<String> = ours.filter(|name| !LIBRARYS_OWN.contains(&name.as_str())).collect();
    if ours != theirs {
        return Some(format!("headers {ours:?}"));
    }
    let recorded = |name: &str| {
        let mut pairs = row["headers"].as_array().unwrap().iter();
        pairs.find(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap().to_owned())
    };
    for name in ["content-type", "ocp-range"] {
        if seen.header(name) != recorded(name).as_deref() {
            return Some(name.to_owned());
        }
    }
    let body = match &row["body"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        other => other.clone(),
    };
    let ours = if seen.body.is_empty() { Value::Null } else { serde_json::from_slice(&seen.body).unwrap() };
    let mut strange = Vec::new();
    strangers("", &ours, &body, &mut strange);
    (!strange.is_empty()).then(|| format!("body {strange:?}"))
}

/// Members of ours that theirs does not have, or has with another type.
fn strangers(at: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (name, value) in ours {
                let at = format!("{at}/{name}");
                match theirs.get(name) {
                    Some(their) => strangers(&at, value, their, found),
                    None => found.push(at),
                }
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if !theirs.is_empty() => {
            ours.iter().for_each(|value| strangers(at, value, &theirs[0], found));
        }
        (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Null, Value::Null) => {}
        _ => found.push(at.to_owned()),
    }
}

/// The signature of what really arrived, worked out on its own.
fn signature(seen: &Seen) -> String {
    let header = |name: &str| seen.header(name).unwrap_or_default();
    let (path, query) = seen.path.split_once('?').unwrap();
    let mut text = format!("{}\n\n\n{}\n\n", seen.method, header("content-length"));
    text += &format!("{}\n\n\n\n\n\n\nocp-date:{}\n", header("content-type"), header("ocp-date"));
    if let Some(range) = seen.header("ocp-range") {
        text += &format!("ocp-range:{range}\n");
    }
    text += &format!("/acct{path}");
    let mut pairs: Vec<(String, String)> =
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    pairs.sort();
    for (name, value) in pairs {
        text += &format!("\n{name}:{value}");
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(&BASE64.decode(KEY).unwrap()).unwrap();
    mac.update(text.as_bytes());
    format!("SharedKey acct:{}", BASE64.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_task_is_sent_with_exactly_what_it_has() {
    let upstream =
        Upstream::start([201, 201].map(|status| Step::Answer(status, vec![], String::new()))).await;
    let batch = client(&upstream.url);
    let plain = NewTask { container_image: None, environment: vec![], ..task("t1") };
    batch.add_task("job-1", &plain).await.unwrap();
    batch.add_task("job-1", &NewTask { outputs: vec![log_upload()], ..task("t1") }).await.unwrap();
    let bodies: Vec<Value> =
        upstream.seen().iter().map(|seen| serde_json::from_slice(&seen.body).unwrap()).collect();
    let line = "/opt/worker --pack https://a.blob.core.windows.net/c/packs/p1.json";
    let constraints = json!({ "maxWallClockTime": "PT1H0M0S", "maxTaskRetryCount": 3 });
    assert_eq!(
        bodies[0],
        json!({ "id": "t1", "commandLine": line, "constraints": constraints, "requiredSlots": 1 })
    );
    assert_eq!(
        bodies[1],
        json!({
            "id": "t1",
            "commandLine": line,
            "containerSettings": { "imageName": "acct.azurecr.io/worker:1" },
            "environmentSettings": [{ "name": "A", "value": "B" }],
            "constraints": constraints,
            "requiredSlots": 1,
            "outputFiles": [{
                "filePattern": "../std*.txt",
                "destination": { "container": {
                    "containerUrl": "https://a.blob.core.windows.net/out",
                    "path": "t1",
                    "identityReference": { "resourceId": "/s/i" },
                } },
                "uploadOptions": { "uploadCondition": "taskcompletion" },
            }],
        })
    );
}
