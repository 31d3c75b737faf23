//! The whole stack: host stand-in, real handler, front, real server with the synthetic model.
#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "starts the program under test")]

mod wait;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use wait::until;

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

/// A request of the SDK's, run by a worker of the pool; `why --trace` shows what was told of it by whom.
async fn one_trace_leads_from_the_request_to_the_worker(up: &Up, ready: &Value) {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let url = format!("{}/embeddings", ready["base_url"].as_str().unwrap());
    let request = reqwest::Client::new().post(url).bearer_auth(ready["api_key"].as_str().unwrap());
    let request = request.json(&json!({"model": "minilm", "input": "hello"}));
    let request = request.header("switchyard-lane", "deferred").header("prefer", "respond-async");
    let request = request.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let sent = request.send().await.unwrap();
    assert_eq!(sent.status(), 202);
    let job = sent.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    let told = async || {
        let mut why = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        why.args(["why", &job, "--trace", "--state"]).arg(&up.folder);
        let told = String::from_utf8(why.output().unwrap().stdout).unwrap();
        let wanted = [
            format!("trace {TRACE}"),
            "handler  request POST /api/v1/embeddings -> 202".to_owned(),
            "handler  call POST queue messages at 127.0.0.1:".to_owned(),
            "handler  log job accepted".to_owned(),
            "handler  log a shard is sent".to_owned(),
            "handler  step task added".to_owned(),
            "worker   log ".to_owned(),
        ];
        wanted.iter().all(|wanted| told.contains(wanted)).then_some(())
    };
    until("the worker's line of the trace", told).await;
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

    one_trace_leads_from_the_request_to_the_worker(&up, &ready).await;
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
