//! The worker as a process of its own: killed, asked to end, evicted, and what it says at its end.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use facts::id;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::fixture::{Fixture, Folder, encoder, line, lines, model_folder, undisturbed};
use crate::scripted::{BOUND, Call, Reply, Scripted, embedding};

#[expect(clippy::disallowed_methods, reason = "the tests' one home of child processes; Running ends them")]
fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A worker that runs; killed when the test is done with it.
struct Running(Option<Child>);

impl Running {
    fn start(command: &mut Command) -> Running {
        Running(Some(command.spawn().expect("the worker starts")))
    }

    fn signal(&self, signal: Signal) {
        let child = self.0.as_ref().expect("it has not been waited for");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child has a pid");
        kill_process(pid, signal).expect("our own child can be signalled");
    }

    async fn ended(mut self) -> (Option<i32>, String) {
        let child = self.0.take().expect("it is waited for once");
        let waited = tokio::task::spawn_blocking(move || child.wait_with_output());
        let output: Output = tokio::time::timeout(BOUND, waited).await.expect("it ends").unwrap().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn pack_in(folder: &Path) -> String {
    format!("file://{}/packs/p-1.json", folder.display())
}

async fn ended(arguments: &[&str]) -> (Option<i32>, String) {
    Running::start(command().args(arguments)).ended().await
}

/// A server that says when it is asked for `held` and never answers it.
async fn holding(held: &'static str) -> (Scripted, mpsc::UnboundedReceiver<()>) {
    let (tell, told) = mpsc::unbounded_channel();
    let server = Scripted::plain(move |call: &Call| {
        if call.input() == held {
            // The test may be over already.
            let _ = tell.send(());
            return Reply::Silence;
        }
        embedding(call)
    })
    .await;
    (server, told)
}

async fn heard(told: &mut mpsc::UnboundedReceiver<()>) {
    tokio::time::timeout(BOUND, told.recv()).await.expect("it is asked").expect("the server lives");
}

fn with_one(text: &str) -> Vec<String> {
    let mut texts = lines(8);
    texts[5] = line(5, text);
    texts
}

#[tokio::test]
async fn a_pack_is_run_by_its_address_and_logged_under_its_trace() {
    let folder = Folder::new();
    let store = folder.store();
    let fixture = Fixture::new(&lines(5), 5, 2).with_object(&store).await;
    fixture.put(&store).await;
    let model = model_folder().display().to_string();
    let (code, log) =
        ended(&["--pack", &pack_in(&folder.0), "--model", &model, "--threads", "1", "--json-log"]).await;
    assert_eq!(code, Some(0), "{log}");
    fixture.assert_whole(&store).await;
    let logged: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of_member: Vec<&Value> = logged.iter().filter(|line| line["span"]["name"] == "member").collect();
    assert!(of_member.len() >= 2, "{log}");
    assert!(of_member.iter().all(|line| line["span"]["trace_id"] == "0af7651916cd43dd8448eb211c80319c"));
    assert!(of_member.iter().any(|line| line["done"] == 5 && line["total"] == 5), "{log}");
}

#[tokio::test]
async fn a_kill_loses_nothing_and_doubles_nothing() {
    let folder = Folder::new();
    let store = folder.store();
    let fixture = Fixture::new(&with_one("held"), 8, 2);
    fixture.put(&store).await;
    let pack = pack_in(&folder.0);
    let (server, mut told) = holding("held").await;
    let running = Running::start(command().args(["--pack", &pack, "--backend", server.url.as_str()]));
    heard(&mut told).await;
    running.signal(Signal::KILL);
    assert_eq!(running.ended().await.0, None, "killed");
    let before = fixture.chunks(&store).await;
    assert_eq!(before.len(), 2, "the chunk under way is lost, the others are not");

    let calm = Scripted::plain(embedding).await;
    let (code, log) = ended(&["--pack", &pack, "--backend", calm.url.as_str()]).await;
    assert_eq!(code, Some(0), "{log}");
    fixture.assert_whole(&store).await;
    assert_eq!(calm.calls(), 4, "only what was missing is asked for");
    let after = fixture.chunks(&store).await;
    assert!(before.iter().all(|(key, content)| after[key] == *content), "results never change");
}

#[tokio::test]
async fn signals_abandon_the_open_chunk_and_ask_for_another_run() {
    for (signal, k) in [(Signal::TERM, 1), (Signal::INT, 1), (Signal::TERM, 3)] {
        let folder = Folder::new();
        let store = folder.store();
        let fixture = Fixture::new(&with_one("held"), 8, 2);
        fixture.put(&store).await;
        for (key, content) in undisturbed(&fixture, &encoder()).await.into_iter().take(2) {
            store.create(&key, content).await.unwrap();
        }
        for k in 2..=k {
            fixture.claim(&store, 0, k, "p-1").await;
        }
        let (server, mut told) = holding("held").await;
        let pack = pack_in(&folder.0);
        let running = Running::start(command().args(["--pack", &pack, "--backend", server.url.as_str()]));
        heard(&mut told).await;
        running.signal(signal);
        let (code, log) = running.ended().await;
        assert_eq!(code, Some(75), "{log}");
        assert_eq!(fixture.chunks(&store).await.len(), 2);
        assert_eq!(fixture.marks(&store).await, 0, "an interrupted item is not to blame");
    }
}

#[tokio::test]
async fn a_notice_of_eviction_ends_a_spot_nodes_worker() {
    let folder = Folder::new();
    let store = folder.store();
    let fixture = Fixture::new(&with_one("held"), 8, 2);
    fixture.put(&store).await;
    let (server, mut told) = holding("held").await;
    let evicted = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let platform = Scripted::plain({
        let evicted = evicted.clone();
        move |call: &Call| {
            assert!(call.head.to_lowercase().contains("metadata: true\r\n"), "{}", call.head);
            let event = r#"{"EventType":"Preempt","Resources":["vm_7"]}"#;
            match (call.head.contains("compute/name"), evicted.load(std::sync::atomic::Ordering::SeqCst)) {
                (true, _) => Reply::Http(200, "", "vm_7".to_owned()),
                (false, false) => Reply::Http(200, "", r#"{"Events":[]}"#.to_owned()),
                (false, true) => Reply::Http(200, "", format!(r#"{{"Events":[{event}]}}"#)),
            }
        }
    })
    .await;
    let mut command = command();
    command
        .args(["--pack", &pack_in(&folder.0), "--backend", server.url.as_str()])
        .env("AZ_BATCH_NODE_IS_DEDICATED", "false")
        .env("SWITCHYARD_IMDS_URL", platform.url.as_str());
    let running = Running::start(&mut command);
    heard(&mut told).await;
    evicted.store(true, std::sync::atomic::Ordering::SeqCst);
    let (code, log) = running.ended().await;
    assert_eq!(code, Some(75), "{log}");
    assert!(log.contains("evicted"), "{log}");
}

#[tokio::test]
async fn an_item_that_kills_its_worker_is_isolated_at_last() {
    let folder = Folder::new();
    let store = folder.store();
    let fixture = Fixture::new(&with_one("poison"), 8, 4);
    fixture.put(&store).await;
    let pack = pack_in(&folder.0);
    let (server, mut told) = holding("poison").await;
    // Twice in company, twice alone behind its mark.
    for k in 1..=4 {
        fixture.claim(&store, 0, k, "p-1").await;
        let running = Running::start(command().args(["--pack", &pack, "--backend", server.url.as_str()]));
        heard(&mut told).await;
        running.signal(Signal::KILL);
        running.ended().await;
    }
    fixture.claim(&store, 0, 5, "p-1").await;
    let (code, log) = ended(&["--pack", &pack, "--backend", server.url.as_str()]).await;
    assert_eq!(code, Some(0), "{log}");
    fixture.assert_whole(&store).await;
    let text: String = fixture.chunks(&store).await.into_values().collect();
    assert_eq!(text.matches("worker_crashed").count(), 1, "{text}");
    assert_eq!(fixture.marks(&store).await, 0);
}

#[tokio::test]
async fn a_fault_of_the_environment_kills_once() {
    let folder = Folder::new();
    let store = folder.store();
    let fixture = Fixture::new(&lines(4), 4, 2);
    fixture.put(&store).await;
    let fired = folder.0.join(format!("fired-{}", id::random()));
    let model = model_folder().display().to_string();
    let mut codes = Vec::new();
    for _ in 0..2 {
        let mut command = command();
        command
            .args(["--pack", &pack_in(&folder.0), "--model", &model])
            .env("SWITCHYARD_FAULT", format!("kill-after-put:1@{}", fired.display()));
        codes.push(Running::start(&mut command).ended().await.0);
    }
    assert_eq!(codes, [None, Some(0)]);
    fixture.assert_whole(&store).await;
}

#[tokio::test]
async fn every_end_has_its_code() {
    let folder = Folder::new();
    let store = folder.store();
    let mut fixture = Fixture::new(&lines(2), 2, 2);
    fixture.pack.digest = Some(format!("sha256:{}", "0".repeat(64)));
    fixture.put(&store).await;
    store.create("packs/broken.json", "{").await.unwrap();
    let at = |pack: &str| format!("{}/packs/{pack}.json", folder.0.display());
    let (pack, model) = (at("p-1"), model_folder().display().to_string());
    let nowhere = folder.0.join("nowhere").display().to_string();
    let input = folder.0.join("in.jsonl");
    std::fs::write(&input, lines(2).join("\n")).unwrap();
    let (input, output) = (input.display().to_string(), folder.0.join("out.jsonl").display().to_string());
    let cases: &[(&[&str], i32, &str)] = &[
        (&[], 2, "required"),
        (&["--pack", "nonsense", "--model", &model], 2, "packs/PACK.json"),
        (&["--pack", &at("p-2"), "--model", &model], 66, "p-2"),
        (&["--pack", "/no/such/folder/packs/p-1.json", "--model", &model], 66, "p-1"),
        (&["--pack", &at("broken"), "--model", &model], 65, "broken"),
        (&["--pack", &pack, "--model", &model], 78, "weights"),
        (&["--pack", &pack, "--model", &nowhere], 78, "config.json"),
        (&["--input", &nowhere, "--output", &output, "--model", &model], 66, "nowhere"),
        (&["--input", &input, "--output", &input, "--model", &model], 73, "in.jsonl"),
        (
            &["--input", &input, "--output", &output, "--backend", "http://127.0.0.1:1", "--patience", "0"],
            69,
            "down",
        ),
        (&["--input", &input, "--output", &output, "--model", &model], 0, "done"),
        (&["--help"], 0, ""),
    ];
    for (arguments, expected, part) in cases {
        let (code, log) = ended(arguments).await;
        assert_eq!(code, Some(*expected), "{arguments:?}: {log}");
        assert!(log.contains(part), "{arguments:?}: {log}");
    }
    assert_eq!(std::fs::read_to_string(&output).unwrap().lines().count(), 2);
}
