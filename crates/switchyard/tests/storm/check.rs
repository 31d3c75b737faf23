//! What must hold once the job has ended, whatever was killed.

use std::path::Path;

use serde_json::Value;

use crate::client::Client;
use crate::stack::Stack;
use crate::until;

/// The job as it ended, completed.
pub async fn until_ended(client: &Client, job: &str) -> Value {
    let path = format!("/api/jobs/{job}");
    let ended = until("the job to end", async || {
        let found = client.get(&path).await;
        let goes_on = matches!(found["status"].as_str(), Some("waiting" | "running" | "finishing"));
        (!goes_on).then_some(found)
    })
    .await;
    assert_eq!(ended["status"], "completed", "{ended:#}");
    ended
}

/// Every line exactly once, in order, with the bytes of the undisturbed run.
pub async fn results(client: &Client, job: &Value, undisturbed: &str) {
    let total = undisturbed.lines().count();
    let items = &job["items"];
    assert_eq!((&items["total"], &items["done"]), (&total.into(), &total.into()), "{job:#}");
    assert_eq!((&items["failed"], &items["unfinished"]), (&0.into(), &0.into()), "{job:#}");
    let jobs = client.get("/api/jobs").await;
    assert_eq!(jobs["data"].as_array().map(Vec::len), Some(1), "the repeated accept made one job: {jobs:#}");

    let batch = client.get(&format!("/api/v1/batches/batch_{}", job["id"].as_str().unwrap())).await;
    assert_eq!(batch["error_file_id"], Value::Null, "{batch:#}");
    let file = batch["output_file_id"].as_str().unwrap();
    let output = client.text(&format!("/api/v1/files/{file}/content")).await;
    assert_eq!(output.lines().count(), total);
    for (n, (found, expected)) in output.lines().zip(undisturbed.lines()).enumerate() {
        let [found, expected] = [found, expected].map(|line| serde_json::from_str::<Value>(line).unwrap());
        assert_eq!(found["custom_id"], format!("s{n}"));
        assert_eq!(found["custom_id"], expected["custom_id"]);
        assert_eq!(found["response"]["status_code"], 200, "{found}");
        assert_eq!(found["response"]["body"], expected["response"]["body"], "line {n}");
    }
}

/// Markers of a job that has ended go with the next sweeps.
pub async fn no_markers(stack: &Stack) {
    for kind in ["due", "ready"] {
        let folder = stack.blobs().join(kind);
        until(&format!("{kind}/ to be empty"), async || files_below(&folder).is_empty().then_some(())).await;
    }
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push(path),
        }
    }
    found
}
