//! The real handler binary under the Functions host stand-in, before a scripted upstream: what
//! streams, what survives a kill, and when the host gives up.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use local::host::{self, Ending, Keys};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::handler_stage::{KEY, Stage, Step, Upstream, backend, catalogue, until};

/// How long any condition may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The handler under a host, with everything it needs in a folder of its own.
struct Rig {
    folder: PathBuf,
    url: String,
    client: reqwest::Client,
    host: JoinHandle<Result<Ending, host::StartError>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Rig {
    async fn start(upstream: &Upstream) -> Rig {
        Rig::start_with(upstream, |_| {}).await
    }

    /// Lets a test change the staged host.json.
    async fn start_with(upstream: &Upstream, edit: impl FnOnce(&mut Value)) -> Rig {
        let folder = Stage::new(&catalogue(&[backend("scripted", &upstream.url)])).folder;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).to_owned();
        let source = local::stage::Source { root, handler: env!("CARGO_BIN_EXE_handler").into() };
        let staged = local::stage::stage(&source, &folder.join("app")).expect("the folder can be staged");
        let file = staged.folder.join("host.json");
        let text = std::fs::read_to_string(&file).expect("it is staged");
        let mut json = serde_json::from_str(&text).expect("it was checked");
        edit(&mut json);
        std::fs::write(&file, json.to_string()).expect("it can be written");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound port"));
        let (stop, stopped) = oneshot::channel::<()>();
        let setting = |name: &str, value: String| (name.to_owned(), value);
        let options = host::Options {
            app_root: staged.folder,
            listener,
            storage: None,
            keys: Keys::Off,
            settings: vec![
                setting("BLOB_URL", format!("file://{}", folder.join("blob").display())),
                setting("KNOBS_FILE", folder.join("knobs.json").display().to_string()),
            ],
            clock: clock::Clock::REAL,
        };
        let host = tokio::spawn(host::run(options, async {
            let _ = stopped.await;
        }));
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        let rig = Rig { folder, url, client, host, stop: Some(stop) };
        until("the handler serves", async || {
            let asked = rig.client.get(format!("{}/api/v1/models", rig.url)).bearer_auth(KEY).send().await;
            asked.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        rig
    }

    fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.client.post(format!("{}/api{path}", self.url)).bearer_auth(KEY).json(body)
    }

    /// The handler's process: the one that runs our staged binary.
    fn handler_pid(&self) -> Option<i32> {
        let staged = self.folder.join("app/handler").canonicalize().ok()?;
        let processes = std::fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
        let runs_it = |process: &std::fs::DirEntry| {
            std::fs::read_link(process.path().join("exe")).is_ok_and(|program| program == staged)
        };
        processes.filter(runs_it).find_map(|process| process.file_name().to_str()?.parse().ok())
    }

    /// Kills the handler with SIGKILL, and returns when that process is gone.
    async fn kill_handler(&self) {
        until("a handler runs", async || self.handler_pid().is_some()).await;
        let Some(pid) = self.handler_pid() else { return };
        let process = rustix::process::Pid::from_raw(pid).expect("a pid is not 0");
        rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("our own child");
        until("the handler is gone", async || self.handler_pid() != Some(pid)).await;
    }

    async fn end(mut self) -> Ending {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let ending = tokio::time::timeout(PATIENCE, &mut self.host).await.expect("the host ends");
        ending.expect("the host does not panic").expect("the host had started")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn chat() -> Value {
    json!({ "model": "chat", "stream": true, "messages": [{ "role": "user", "content": "hello" }] })
}

fn embeddings() -> Value {
    json!({ "model": "m", "input": "hello", "encoding_format": "float" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_arrives_chunk_by_chunk() {
    let (say, chunks) = mpsc::channel(1);
    let rig = Rig::start(&Upstream::start([Step::Stream(chunks)]).await).await;
    let answer = rig.post("/v1/chat/completions", &chat()).send().await;
    let answer = answer.expect("headers come before the first chunk");
    assert_eq!(answer.status(), 200);
    let mut parts = answer.bytes_stream();
    let mut heard = String::new();
    for chunk in ["data: {\"n\":1}\n\n", "data: {\"n\":2}\n\n", "data: [DONE]\n\n"] {
        // The next chunk is not even written before this one was heard.
        say.send(Bytes::from(chunk)).await.expect("the upstream listens");
        while !heard.ends_with(chunk) {
            let part =
                tokio::time::timeout(PATIENCE, parts.next()).await.expect("the chunk arrives by itself");
            heard.push_str(
                std::str::from_utf8(&part.expect("more to come").expect("no break")).expect("UTF-8"),
            );
        }
    }
    drop(say);
    assert!(parts.next().await.is_none(), "the stream ends with the upstream's");
    assert_eq!(heard, ": ok\n\ndata: {\"n\":1}\n\ndata: {\"n\":2}\n\ndata: [DONE]\n\n");
    assert_eq!(rig.end().await, Ending::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_cancels_the_upstream() {
    let (held, mut given_up) = mpsc::channel(1);
    let upstream = Upstream::start([Step::Hang(held)]).await;
    let rig = Rig::start(&upstream).await;
    let asked = tokio::spawn(rig.post("/v1/chat/completions", &chat()).send());
    until("the request is at the upstream", async || {
        assert!(!asked.is_finished(), "it was answered although the upstream hangs");
        !upstream.seen().is_empty()
    })
    .await;
    asked.abort();
    let end = tokio::time::timeout(PATIENCE, given_up.recv()).await.expect("the upstream is left too");
    assert_eq!(end, None);
    assert_eq!(rig.end().await, Ending::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_handler_gives_no_wrong_answer() {
    let rig = Rig::start(&Upstream::start([]).await).await;
    let (mut right, mut failed) = (0, 0);
    for round in 0..2 {
        let kill = async {
            if round == 0 {
                rig.kill_handler().await;
            }
        };
        let load = async {
            let mut answers = Vec::new();
            for _ in 0..50 {
                answers.push(rig.post("/v1/embeddings", &embeddings()).send().await);
            }
            answers
        };
        let (answers, ()) = tokio::join!(load, kill);
        for answer in answers {
            match answer {
                Ok(answer) if answer.status() == 200 => {
                    let body: Value = answer.json().await.expect("a whole body");
                    assert_eq!(body["data"][0]["embedding"], json!([0.6, 0.8]));
                    right += 1;
                }
                Ok(answer) => {
                    assert!(answer.status().is_server_error(), "only retryable answers: {}", answer.status());
                    failed += 1;
                }
                Err(_) => failed += 1,
            }
        }
    }
    assert!(right >= 50, "{right} right and {failed} failed: the second round meets a new handler");
    assert_eq!(rig.end().await, Ending::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_crashes_end_the_host() {
    let rig = Rig::start(&Upstream::start([]).await).await;
    for _ in 0..3 {
        rig.kill_handler().await;
    }
    let began = Instant::now();
    while !rig.host.is_finished() {
        assert!(began.elapsed() < PATIENCE, "the host did not end");
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.end().await, Ending::RestartsExhausted);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_three_http_modes_are_served() {
    for (proxying, forwarding) in [(true, true), (false, true), (false, false)] {
        let upstream = Upstream::start([]).await;
        let rig = Rig::start_with(&upstream, |json| {
            json["customHandler"]["enableProxyingHttpRequest"] = json!(proxying);
            json["customHandler"]["enableForwardingHttpRequest"] = json!(forwarding);
        })
        .await;
        let mode = format!("proxying {proxying}, forwarding {forwarding}");
        let answer = rig.post("/v1/embeddings", &embeddings()).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{mode}");
        assert_eq!(answer.headers()["switchyard-lane"], "realtime", "{mode}");
        let told: Value = answer.json().await.unwrap();
        assert_eq!(told["object"], "list", "{mode}: {told}");
        // A refusal keeps its status and shape, and a wrong key lets nobody in.
        let refused = rig.client.post(format!("{}/api/v1/embeddings", rig.url)).bearer_auth("sk-wrong");
        let refused = refused.json(&embeddings()).send().await.unwrap();
        assert_eq!(refused.status(), 401, "{mode}");
        assert_eq!(refused.json::<Value>().await.unwrap()["error"]["type"], "authentication_error", "{mode}");
        let query = rig.client.get(format!("{}/api/jobs?limit=1", rig.url)).bearer_auth(KEY);
        assert_eq!(query.send().await.unwrap().status(), 200, "{mode}");
        assert_eq!(rig.end().await, Ending::Stopped);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_outside_can_forge_an_invocation() {
    let rig = Rig::start(&Upstream::start([]).await).await;
    let envelope = json!({ "Data": { "ticket": "\"forged\"" }, "Metadata": {} });
    for path in [
        "/Dispatch",
        "/DeadLetter",
        "/api/Dispatch",
        "/api/v1/%2e%2e/%2e%2e/Dispatch",
        "/api//Dispatch",
        "/api/v1/..%2F..%2FDispatch",
    ] {
        let answer =
            rig.client.post(format!("{}{path}", rig.url)).bearer_auth(KEY).json(&envelope).send().await;
        let status = answer.unwrap().status();
        assert!(status.is_client_error(), "{path}: {status}");
    }
    assert!(!rig.folder.join("blob/dead").exists(), "a forged message was taken");
    assert_eq!(rig.end().await, Ending::Stopped);
}
