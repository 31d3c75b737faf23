//! Every recorded request of the official clients, sent again with a signature of its own: each
//! client's versions, paths, queries and bodies are understood. Each case finds a fresh account
//! with the pool `gpu-pool`, the job `job-1` and the task `t1`, unless it creates that one itself;
//! the pool has a formula where the case needs one.

use std::path::Path;

use serde_json::{Value, json};

use super::client::{Stand, at_once, pool};
use local::azure_batch::Options;

/// What the stand-in answers where it refuses, by case, for every client or one family of them.
const ANSWERS: &[(&str, u16, &str)] = &[
    // `nodeAgentSkuId`, beside much else.
    ("pool_create_seed_json", 400, "MissingRequiredProperty"),
    ("job_get_missing", 404, "JobNotFound"),
    // It depends on other tasks, in a job that has no dependencies.
    ("task_add of sdk15", 400, "TaskDependenciesNotSpecifiedOnJob"),
    ("task_reactivate", 409, "TaskNotCompleted"),
    ("task_files", 409, "TaskFilesUnavailable"),
    ("task_file_get", 409, "TaskFilesUnavailable"),
    ("task_file_get_range", 409, "TaskFilesUnavailable"),
    ("task_file_head", 409, ""),
    ("task_file_download", 409, "TaskFilesUnavailable"),
];

/// The statuses of successes, by method and the end of the path. The SDK raises on any other.
fn success(method: &str, path: &str) -> u16 {
    match (method, path.rsplit('/').next().unwrap_or_default()) {
        ("POST", "addtaskcollection" | "enableautoscale" | "evaluateautoscale" | "disableautoscale") => 200,
        ("POST", "resize") => 202,
        ("POST", "terminate") if path.contains("/tasks/") => 204,
        ("POST", "terminate") => 202,
        ("POST", _) => 201,
        ("DELETE", _) if !path.contains("/tasks/") => 202,
        _ => 200,
    }
}

fn applies(named: &str, client: &str, case: &str) -> bool {
    let (found, of) = named.split_once(" of ").unwrap_or((named, ""));
    found == case && client.starts_with(of)
}

async fn account(row: &Value) -> Stand {
    let creates = |collection: &str| {
        row["method"] == "POST" && row["path"].as_str().unwrap().starts_with(&format!("{collection}?"))
    };
    let pools = if creates("/pools") { Vec::new() } else { vec![pool("gpu-pool", 0)] };
    let stand = Stand::start(Options { pools, ..at_once() });
    let path = row["path"].as_str().expect("every recording has it");
    if ["evaluateautoscale", "disableautoscale"].iter().any(|verb| path.contains(verb)) {
        let formula = json!({"autoScaleFormula": "$TargetDedicatedNodes=0;"});
        stand.expect(200, "POST", "/pools/gpu-pool/enableautoscale", formula).await;
    }
    if !creates("/jobs") {
        stand.expect(201, "POST", "/jobs", json!({"id": "job-1", "poolInfo": {"poolId": "gpu-pool"}})).await;
        if !creates("/jobs/job-1/tasks") {
            stand
                .expect(201, "POST", "/jobs/job-1/tasks", json!({"id": "t1", "commandLine": "/bin/true"}))
                .await;
        }
    }
    stand
}

#[tokio::test]
async fn every_recorded_request_is_understood() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/wire/batch.jsonl");
    let text = std::fs::read_to_string(path).expect("the recordings are in the repository");
    let rows: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    for (case, ..) in ANSWERS {
        let case = case.split(" of ").next().expect("split gives one part");
        assert!(rows.iter().any(|row| row["case"] == case), "{case} is not a case");
    }
    let mut wrong = Vec::new();
    for row in &rows {
        let text = |name: &str| row[name].as_str().expect("every recording has it");
        let (client, case, method) = (text("client"), text("case"), text("method"));
        let target = text("path");
        let path = target.split('?').next().expect("split gives one part");
        let (status, code) = match ANSWERS.iter().find(|(named, ..)| applies(named, client, case)) {
            // The clients' waits end in reads.
            Some((_, status, code)) => (*status, *code),
            None => (success(method, path), ""),
        };
        let headers: Vec<(&str, &str)> = row["headers"]
            .as_array()
            .expect("headers are pairs")
            .iter()
            .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
            .filter(|(name, _)| name.eq_ignore_ascii_case("ocp-range"))
            .collect();
        let body = Some(row["body"].clone()).filter(|body| !body.is_null());
        let answer = account(row).await.call(method, target, body, &headers).await;
        let told = if answer.status < 400 || method == "HEAD" { String::new() } else { answer.refusal().1 };
        if (answer.status, told.as_str()) != (status, code) {
            wrong.push(format!(
                "{client} {case} {method} {target}: {} {told}, not {status} {code}",
                answer.status
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
