//! What a custom handler may rely on, asked of a running host over HTTP and its queues: the rows that
//! need no control over the host's process (those stand in `host_recordings/process.rs`).
//!
//! By itself the suite runs the stand-in. To ask a real host:
//! 1. `APP_ROOT=/some/folder cargo test --test conformance -- --ignored stage_the_app`
//! 2. start the host on that folder, with `AzureWebJobsStorage` set
//! 3. `HOST_URL=http://127.0.0.1:7071 APP_ROOT=/some/folder QUEUE_CONNECTION_STRING=… cargo test --test conformance`

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use local::host::{self, Keys, Options};
use local::queue;
use local::queue::client::{Account, Queue};
use serde_json::{Value, json};

/// How long a host may take for anything here.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the recording handler keeps what it received, in the staged folder.
const RECORD: &str = "record.jsonl";

/// A host with the recording app, ours or a real one.
struct Subject {
    url: String,
    app_root: PathBuf,
    account: Account,
    client: reqwest::Client,
    /// Of our own host: ends it when dropped.
    _own: Option<(tokio::sync::oneshot::Sender<()>, queue::Server)>,
}

impl Subject {
    async fn start() -> Subject {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        let subject = match (env("HOST_URL"), env("APP_ROOT"), env("QUEUE_CONNECTION_STRING")) {
            (Some(url), Some(root), Some(connection)) => {
                let account = Account::parse(&connection).expect("a connection string");
                Subject { url, app_root: root.into(), account, client, _own: None }
            }
            (None, _, _) => Subject::own(client),
            _ => panic!("HOST_URL needs APP_ROOT and QUEUE_CONNECTION_STRING beside it"),
        };
        subject.queue("conformance").create().await.expect("the queue can be made");
        let began = Instant::now();
        while subject.get("/api/plain").await.0 != 200 {
            assert!(began.elapsed() < PATIENCE, "the host did not come up");
        }
        subject
    }

    fn own(client: reqwest::Client) -> Subject {
        let app_root = std::env::temp_dir().join(format!("switchyard-conformance-{}", std::process::id()));
        stage(&app_root);
        let port = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let storage = queue::Server::start(port(), clock::Clock::REAL).expect("the stand-in starts");
        let account = Account::parse(&storage.connection_string()).expect("our own connection string");
        let listener = port();
        let url = format!("http://{}", listener.local_addr().expect("a bound port"));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let options = Options {
            app_root: app_root.clone(),
            listener,
            storage: Some(account.clone()),
            keys: Keys::Off,
            settings: Vec::new(),
            clock: clock::Clock::REAL,
        };
        tokio::spawn(host::run(options, async {
            let _ = stopped.await;
        }));
        Subject { url, app_root, account, client, _own: Some((stop, storage)) }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await;
        match answer {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            Err(_) => (0, String::new()),
        }
    }

    /// Puts a message and waits until `count` deliveries of it are recorded.
    async fn deliveries(&self, text: &str, count: usize) -> Vec<Value> {
        self.queue("conformance").put(text).await.expect("the queue takes it");
        let wanted = json!(json!(text).to_string());
        self.recorded(count, |envelope| envelope["Data"]["item"] == wanted).await
    }

    /// Waits until `count` envelopes are recorded that match.
    async fn recorded(&self, count: usize, matches: impl Fn(&Value) -> bool) -> Vec<Value> {
        let began = Instant::now();
        loop {
            let text = std::fs::read_to_string(self.app_root.join(RECORD)).unwrap_or_default();
            let envelopes = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let found: Vec<Value> = envelopes.filter(|envelope| matches(envelope)).collect();
            if found.len() >= count {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "{} of {count} deliveries", found.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn queue(&self, name: &str) -> Queue {
        self.account.queue(name)
    }

    /// Takes messages until `count` came.
    async fn taken(&self, queue: &str, count: usize) -> Vec<String> {
        let began = Instant::now();
        let mut texts = Vec::new();
        while texts.len() < count {
            let messages = self.queue(queue).get(32, PATIENCE).await.unwrap_or_default();
            texts.extend(messages.into_iter().map(|message| message.text));
            assert!(began.elapsed() < PATIENCE, "{queue}: {texts:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        texts.sort();
        texts
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if self._own.is_some() {
            let _ = std::fs::remove_dir_all(&self.app_root);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the suite is pointed at a host by its environment")]
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn stage(root: &Path) {
    let host_json = json!({ "version": "2.0",
        "customHandler": { "description": { "defaultExecutablePath": "recorder" }, "enableForwardingHttpRequest": true },
        "extensionBundle": { "id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)" },
        "extensions": { "queues": { "messageEncoding": "none", "maxPollingInterval": "00:00:01" } } });
    let http = json!({ "type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous",
        "methods": ["get", "post"] });
    let res = json!({ "type": "http", "direction": "out", "name": "res" });
    let out = json!({ "type": "queue", "direction": "out", "name": "next", "queueName": "conformance-out" });
    let item =
        json!({ "type": "queueTrigger", "direction": "in", "name": "item", "queueName": "conformance" });
    // Once a year: it is fired by hand.
    let timer =
        json!({ "type": "timerTrigger", "direction": "in", "name": "timer", "schedule": "0 0 0 1 1 *" });
    let functions = [
        ("plain", json!([http.clone(), res.clone()])),
        ("withqueue", json!([http, res, out.clone()])),
        ("Dispatch", json!([item, out])),
        ("Yearly", json!([timer])),
    ];
    std::fs::create_dir_all(root).expect("a folder of ours");
    std::fs::write(root.join("host.json"), host_json.to_string()).expect("our own folder");
    for (name, bindings) in functions {
        std::fs::create_dir_all(root.join(name)).expect("our own folder");
        let json = json!({ "bindings": bindings });
        std::fs::write(root.join(name).join("function.json"), json.to_string()).expect("our own folder");
    }
    let this = std::env::current_exe().expect("this test has a path");
    let script = format!("#!/bin/sh\nexec {} --exact recorder --ignored --nocapture\n", this.display());
    std::fs::write(root.join("recorder"), script).expect("our own folder");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(root.join("recorder"), mode).expect("our own file");
}

/// Not a test: prepares `APP_ROOT` for a real host.
#[test]
#[ignore = "prepares APP_ROOT for a real host"]
fn stage_the_app() {
    stage(Path::new(&env("APP_ROOT").expect("APP_ROOT names a folder")));
}

/// Not a test: the handler. It keeps every envelope, and answers what the message asks for.
#[test]
#[ignore = "run by a Functions host as its handler"]
fn recorder() {
    let Some(port) = env("FUNCTIONS_CUSTOMHANDLER_PORT") else { return };
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("the host's port is free");
    for stream in listener.incoming() {
        std::thread::spawn(move || answer(stream.expect("a connection")));
    }
}

fn answer(mut stream: TcpStream) {
    let Some((head, body)) = read_request(&mut stream) else { return };
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let (status, kind, text) = if target.starts_with("/api/") {
        let status = target.split_once("status=").and_then(|(_, rest)| rest.parse().ok()).unwrap_or(200);
        (status, "text/plain", format!("{head}\n\n{body}"))
    } else {
        by_envelope(&body)
    };
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n", text.len());
    let _ = stream.write_all(format!("{head}connection: close\r\n\r\n{text}").as_bytes());
}

/// A message `{"answer": {"status", "type", "body"}}` says what its delivery is answered with.
fn by_envelope(body: &str) -> (u16, &'static str, String) {
    let json = (200, "application/json", "{}".to_owned());
    let Ok(envelope) = serde_json::from_str::<Value>(body) else { return json };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(RECORD);
    let _ = file.expect("the host's folder can be written").write_all(format!("{envelope}\n").as_bytes());
    if envelope["Data"]["req"].is_object() {
        let answer =
            json!({ "Outputs": { "res": { "statusCode": 201, "body": "made" }, "next": ["from http"] } });
        return (200, "application/json", answer.to_string());
    }
    let text = envelope["Data"]["item"].as_str().and_then(|text| serde_json::from_str::<String>(text).ok());
    let asked: Value = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let answer = &asked["answer"];
    if !answer.is_object() {
        return json;
    }
    let status = answer["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
    let kind = if answer["type"] == "text" { "text/plain" } else { "application/json" };
    (status, kind, answer["body"].as_str().unwrap_or("{}").to_owned())
}

/// Head and body, whether it has a length or comes in chunks.
fn read_request(stream: &mut TcpStream) -> Option<(String, String)> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 65_536]);
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let lower = head.to_lowercase();
        if lower.contains("transfer-encoding: chunked") {
            if body.ends_with("0\r\n\r\n") {
                return Some((head.to_owned(), without_chunks(body)));
            }
            continue;
        }
        let length = lower
            .split_once("content-length: ")
            .map_or(0, |(_, rest)| rest.split("\r\n").next().and_then(|text| text.parse().ok()).unwrap_or(0));
        if body.len() >= length {
            return Some((head.to_owned(), body.to_owned()));
        }
    }
}

fn without_chunks(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        match rest.get(..size).filter(|_| size > 0) {
            Some(part) => whole.push_str(part),
            None => break,
        }
        text = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}

/// A message that says how its delivery is answered; `n` makes it unlike the others.
fn asking(n: usize, answer: Value) -> String {
    json!({ "n": n, "answer": answer }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_keeps_its_contract() {
    let subject = Subject::start().await;
    messages_arrive_as_they_are(&subject).await;
    failures_are_tried_again_and_then_poison(&subject).await;
    outputs_become_messages(&subject).await;
    http_functions_answer(&subject).await;
    functions_are_fired_by_hand(&subject).await;
}

/// Rows 9-14 and 16: the text survives, and what a JSON object adds to the metadata.
async fn messages_arrive_as_they_are(subject: &Subject) {
    let odd = "quotes \" newline \n tab \t backslash \\ emoji 😀";
    for text in ["hello", odd, "{\"a\":", "[1,2]", "12", "null"] {
        let delivered = subject.deliveries(text, 1).await;
        assert_eq!(delivered[0]["Metadata"]["DequeueCount"], "1", "{text}");
    }
    let delivered = subject.deliveries(r#"{"job_id":"j1","n":2,"myTrigger":"x"}"#, 1).await;
    let metadata = &delivered[0]["Metadata"];
    assert_eq!((&metadata["job_id"], &metadata["n"]), (&json!("\"j1\""), &json!("\"2\"")));
    assert!(metadata.get("myTrigger").is_none() && metadata.get("QueueTrigger").is_none(), "{metadata}");
    let delivered = subject.deliveries(r#"{"Id":"mine","DequeueCount":99}"#, 1).await;
    assert_eq!(delivered[0]["Metadata"]["DequeueCount"], "\"99\"", "payloads overwrite what the host tells");
}

/// Rows 19, 21, 23 and 24: five tries, then a copy of the body alone.
async fn failures_are_tried_again_and_then_poison(subject: &Subject) {
    let answers = [
        json!({ "status": 500 }),
        json!({ "status": 429 }),
        json!({ "status": 200, "body": "{broken" }),
        json!({ "status": 200, "type": "text" }),
    ];
    let texts: Vec<String> = answers.into_iter().enumerate().map(|(n, answer)| asking(n, answer)).collect();
    for text in &texts {
        let delivered = subject.deliveries(text, 5).await;
        let counts: Vec<&str> =
            delivered.iter().filter_map(|one| one["Metadata"]["DequeueCount"].as_str()).collect();
        assert_eq!(counts, ["1", "2", "3", "4", "5"], "{text}");
    }
    assert_eq!(subject.taken("conformance-poison", texts.len()).await, texts);
}

/// Rows 27-30 and 32.
async fn outputs_become_messages(subject: &Subject) {
    let outputs = [
        json!({ "foo": 1 }),
        json!({ "Outputs": { "unknown": ["x"] } }),
        json!({ "Outputs": { "Next": ["wrong case"] } }),
        json!({ "Outputs": { "next": ["a", "{\"x\":1}"] } }),
        json!({ "Outputs": { "next": ["not base64: done"] } }),
    ];
    for (n, body) in outputs.into_iter().enumerate() {
        subject.deliveries(&asking(100 + n, json!({ "body": body.to_string() })), 1).await;
    }
    assert_eq!(subject.taken("conformance-out", 3).await, ["a", "not base64: done", "{\"x\":1}"]);
}

/// Rows 46, 47, 49, 50 and 51.
async fn http_functions_answer(subject: &Subject) {
    let (status, told) = subject.get("/api/plain?a=1&a=2").await;
    assert_eq!(status, 200);
    assert!(told.starts_with("GET /api/plain?a=1,2 "), "{told}");
    assert!(told.to_lowercase().contains("x-azure-functions-invocationid: "), "{told}");
    assert_eq!(subject.get("/api/plain?status=500").await.0, 500, "a handler's 500 is passed on");
    assert_eq!(subject.get("/api/nosuch").await.0, 404);
    let put = subject.client.put(format!("{}/api/plain", subject.url)).send().await.expect("an answer");
    assert_eq!(put.status(), 404, "an undeclared method is not found");
    let parts = futures_util::stream::iter([Ok::<_, std::io::Error>("part")]);
    let chunked =
        subject.client.post(format!("{}/api/plain", subject.url)).body(reqwest::Body::wrap_stream(parts));
    assert_eq!(
        chunked.send().await.expect("an answer").status(),
        500,
        "chunked never reaches a forwarded handler"
    );
    assert_eq!(subject.get("/api/withqueue").await, (201, "made".to_owned()));
    assert_eq!(subject.taken("conformance-out", 1).await, ["from http"]);
}

/// Rows 41, 44 and 45.
async fn functions_are_fired_by_hand(subject: &Subject) {
    let fire = |name: &str, body: &str| {
        let request = subject.client.post(format!("{}/admin/functions/{name}", subject.url));
        let request = request.header("content-type", "application/json").body(body.to_owned());
        async move { request.send().await.expect("an answer").status().as_u16() }
    };
    assert_eq!(fire("Dispatch", r#"{"input":"by hand"}"#).await, 202);
    let item = json!("\"by hand\"");
    let fired = subject.recorded(1, |envelope| envelope["Data"]["item"] == item).await;
    assert_eq!(fired[0]["Metadata"]["DequeueCount"], "0");
    assert!(fired[0]["Metadata"].get("Id").is_none());
    assert_eq!(fire("Yearly", r#"{"input":""}"#).await, 202);
    let timer = subject.recorded(1, |envelope| envelope["Data"]["timer"].is_object()).await;
    assert_eq!(timer[0]["Data"]["timer"]["IsPastDue"], false);
    assert_eq!(fire("nosuch", r#"{"input":"x"}"#).await, 404);
    assert_eq!(fire("Dispatch", "").await, 400);
    assert_eq!(fire("Dispatch", r#"{"input":{"a":1}}"#).await, 400);
    assert_eq!(fire("Dispatch", "{}").await, 202);
    assert_eq!(fire("dispatch", r#"{"input":"lower case"}"#).await, 202);
    let item = json!("\"lower case\"");
    subject.recorded(1, |envelope| envelope["Data"]["item"] == item).await;
}
