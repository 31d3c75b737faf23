//! The whole stack: host stand-in, real handler, front, real server with the synthetic model.
#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "starts the program under test")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Every wait ends with a failure after this; debug builds on a busy machine are slow.
const PATIENCE: Duration = Duration::from_secs(120);

struct Up {
    process: Child,
    folder: PathBuf,
}

impl Up {
    fn start() -> Up {
        let folder = std::env::temp_dir().join(format!("switchyard-whole-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let model = local::cargo::workspace_root().join("crates/engine/testdata/synthetic-bert");
        let process = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(["up", "--port", "0", "--cold-start", "0.1", "--model"])
            .arg(model)
            .arg("--state")
            .arg(&folder)
            .arg("--ready-file")
            .arg(folder.join("asked.json"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Up { process, folder }
    }

    fn ready(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.folder.join("asked.json")).ok()?).ok()
    }

    fn pid(&self, name: &str) -> Option<i32> {
        self.ready()?["pids"][name].as_i64().and_then(|pid| i32::try_from(pid).ok())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

fn is_alive(pid: i32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

async fn embed(ready: &Value) -> Option<reqwest::Response> {
    let url = format!("{}/embeddings", ready["base_url"].as_str().unwrap());
    let request = reqwest::Client::new().post(url).bearer_auth(ready["api_key"].as_str().unwrap());
    let answer = request.json(&json!({"model": "minilm", "input": "hello"})).send().await.ok()?;
    // Refusals that say retry are how a cold start and a killed process look from outside.
    let may_retry = matches!(answer.status().as_u16(), 429 | 500 | 502 | 503 | 504);
    if may_retry { None } else { Some(answer) }
}

#[tokio::test]
async fn an_embedding_comes_through_all_of_it_and_nothing_is_left() {
    let mut up = Up::start();
    let ready = until("the ready file", async || up.ready()).await;

    let answer = until("an answer", async || embed(&ready).await).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["switchyard-lane"], "realtime");
    assert!(answer.headers().contains_key("switchyard-reason"));
    let body: Value = answer.json().await.unwrap();
    assert!(!body["data"][0]["embedding"].as_array().unwrap().is_empty(), "{body}");

    // The ready file in the state folder tells the commands where it is.
    let jobs = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(["jobs", "--state"])
        .arg(&up.folder)
        .output()
        .unwrap();
    assert!(jobs.status.success(), "{}", String::from_utf8_lossy(&jobs.stderr));
    assert!(String::from_utf8_lossy(&jobs.stdout).starts_with("no jobs"));

    // So do the settings with which its handler looks at itself.
    let doctor = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(["doctor", "--json", "--state"])
        .arg(&up.folder)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&doctor.stdout);
    let report: Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{doctor:?}"));
    let findings = report["findings"].as_array().unwrap();
    let broken: Vec<_> = findings.iter().filter(|finding| finding["outcome"] == "broken").collect();
    assert!(broken.is_empty() && doctor.status.code() != Some(2), "{broken:#?}");
    for check in ["queue", "batch", "pool", "backend", "parity", "health"] {
        let is_ok = |finding: &&Value| finding["check"] == check && finding["outcome"] == "ok";
        assert!(findings.iter().any(|finding| is_ok(&finding)), "{check}: {findings:#?}");
    }

    let handler = until("the handler's pid", async || up.pid("handler")).await;
    signal(handler, rustix::process::Signal::KILL);
    until("another handler", async || up.pid("handler").filter(|pid| *pid != handler)).await;
    assert_eq!(until("an answer", async || embed(&ready).await).await.status(), 200);

    let left: Vec<i32> = up.ready().unwrap()["pids"]
        .as_object()
        .unwrap()
        .values()
        .map(|pid| pid.as_i64().unwrap() as i32)
        .collect();
    assert!(left.len() >= 2, "handler and a replica: {left:?}");
    signal(up.process.id().try_into().unwrap(), rustix::process::Signal::INT);
    let status = until("the end", async || up.process.try_wait().unwrap()).await;
    assert!(status.success(), "{status}");
    assert!(up.ready().is_none() && !up.folder.join("ready.json").exists(), "the ready files are gone");
    until("the processes to be gone", async || (!left.iter().any(|pid| is_alive(*pid))).then_some(())).await;
}
