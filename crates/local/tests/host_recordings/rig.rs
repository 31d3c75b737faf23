//! A host over a staged folder with a real handler process: this test binary, run again as the
//! ignored test `recording_handler`. What it does is told by its environment and by what it gets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use local::host::{self, Ending, Keys, Options, StartError};
use local::queue::Server;
use local::queue::client::{Account, Queue};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long any condition may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a condition: the handlers that it is about need the processor.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
/// Where the handler writes what happens to it, in its folder.
const EVENTS: &str = "events";

/// A host over a staged folder whose handler is [`recording_handler`].
pub(crate) struct Rig {
    pub(crate) folder: PathBuf,
    url: String,
    client: reqwest::Client,
    account: Account,
    _queues: Server,
    host: JoinHandle<Result<Ending, StartError>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Rig {
    pub(crate) fn start(name: &str, host_json: &Value, settings: &[(&str, &str)]) -> Rig {
        let folder = std::env::temp_dir().join(format!("switchyard-process-{name}-{}", std::process::id()));
        stage(&folder, host_json);
        Rig::over(folder, settings)
    }

    /// As [`Rig::start`], over a folder that is staged already.
    pub(crate) fn over(folder: PathBuf, settings: &[(&str, &str)]) -> Rig {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listener = listen();
        let url = format!("http://{}", listener.local_addr().expect("a bound port"));
        let queues = Server::start(listen(), clock::Clock::REAL).expect("the queue stand-in starts");
        let account = Account::parse(&queues.connection_string()).expect("our own connection string");
        let (stop, stopped) = oneshot::channel::<()>();
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = Options {
            app_root: folder.clone(),
            listener,
            storage: Some(account.clone()),
            keys: Keys::Off,
            settings,
            clock: clock::Clock::REAL,
        };
        let host = tokio::spawn(host::run(options, async {
            let _ = stopped.await;
        }));
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        Rig { folder, url, client, account, _queues: queues, host, stop: Some(stop) }
    }

    /// Asks the handler to do something; the status and what it said.
    pub(crate) async fn ask(&self, what: &str) -> (u16, Value) {
        self.post("run", what).await
    }

    /// As [`Rig::ask`], at a function by name. Status 0: the host ended without an answer.
    pub(crate) async fn post(&self, function: &str, what: &str) -> (u16, Value) {
        let request = self.client.post(format!("{}/api/{function}", self.url)).body(what.to_owned());
        match request.send().await {
            Ok(answer) => (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null)),
            Err(_) => (0, Value::Null),
        }
    }

    /// Asks until the handler answers with something new.
    pub(crate) async fn other_than(&self, worker: &Value) -> Value {
        let began = Instant::now();
        loop {
            let (status, said) = self.ask("tell").await;
            if status == 200 && said["worker"] != *worker {
                return said;
            }
            assert!(began.elapsed() < PATIENCE, "no new handler");
        }
    }

    /// Puts a message that says what its deliveries do.
    pub(crate) async fn put(&self, text: &str) {
        self.queue("jobs").create().await.expect("the stand-in runs");
        self.queue("jobs").put(text).await.expect("the queue takes it");
    }

    pub(crate) fn queue(&self, name: &str) -> Queue {
        self.account.queue(name)
    }

    /// Messages in a queue, hidden ones too.
    pub(crate) async fn count(&self, queue: &str) -> u64 {
        self.queue(queue).count().await.unwrap_or(0)
    }

    pub(crate) async fn until_empty(&self, queue: &str) {
        self.until(async || self.count(queue).await == 0, "the queue is not empty").await;
    }

    /// What happened to the handlers, by the name of the event: `start`, or a request's path.
    pub(crate) fn events(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.join(EVENTS)).unwrap_or_default();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["ev"] == name).collect()
    }

    pub(crate) async fn until_events(&self, name: &str, count: usize) -> Vec<Value> {
        self.until(async || self.events(name).len() >= count, name).await;
        self.events(name)
    }

    async fn until(&self, holds: impl AsyncFn() -> bool, what: &str) {
        let began = Instant::now();
        while !holds().await {
            assert!(began.elapsed() < PATIENCE, "{what}: {:?}", self.events(what));
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    pub(crate) async fn ending(&mut self) -> Ending {
        let ending = tokio::time::timeout(PATIENCE, &mut self.host).await.expect("the host ends by itself");
        ending.expect("no panic").expect("it had started")
    }

    /// What asks the host to stop.
    pub(crate) fn stopper(&mut self) -> oneshot::Sender<()> {
        self.stop.take().expect("it is asked once")
    }

    /// Asks the host to stop.
    pub(crate) fn stop(&mut self) {
        let _ = self.stopper().send(());
    }

    pub(crate) async fn stopped(mut self) -> Ending {
        self.stop();
        self.ending().await
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn host_json(more: Value) -> Value {
    let mut json = json!({ "version": "2.0",
        "customHandler": {
            "description": { "defaultExecutablePath": "run.sh" }, "enableForwardingHttpRequest": true },
        "extensions": { "queues": { "messageEncoding": "none", "maxPollingInterval": "00:00:00.1" } } });
    for (name, value) in more.as_object().expect("an object") {
        match name.as_str() {
            "initializationTimeout" => json["customHandler"][name] = value.clone(),
            "maxDequeueCount" | "visibilityTimeout" => json["extensions"]["queues"][name] = value.clone(),
            _ => json[name] = value.clone(),
        }
    }
    json
}

/// The command line that runs [`recording_handler`].
pub(crate) fn handler_command() -> String {
    let this = std::env::current_exe().expect("this test has a path");
    format!("{} --exact rig::recording_handler --ignored --nocapture", this.display())
}

/// `run` is forwarded, `envl` is called by envelope, `Dispatch` watches `jobs`.
pub(crate) fn stage(folder: &Path, host_json: &Value) {
    std::fs::create_dir_all(folder).expect("a temporary folder");
    std::fs::write(folder.join("host.json"), host_json.to_string()).expect("our own folder");
    let req = json!({ "type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous" });
    let res = json!({ "type": "http", "direction": "out", "name": "res" });
    let next = json!({ "type": "queue", "direction": "out", "name": "next", "queueName": "out" });
    let item = json!({ "type": "queueTrigger", "direction": "in", "name": "item", "queueName": "jobs" });
    let functions =
        [("run", json!([req, res])), ("envl", json!([req, res, next])), ("Dispatch", json!([item]))];
    for (name, bindings) in functions {
        std::fs::create_dir_all(folder.join(name)).expect("our own folder");
        let function = json!({ "bindings": bindings }).to_string();
        std::fs::write(folder.join(name).join("function.json"), function).expect("our own folder");
    }
    write_program(folder, &format!("exec {}", handler_command()));
}

/// The handler that the host starts, as a shell's commands.
pub(crate) fn write_program(folder: &Path, commands: &str) {
    let program = folder.join("run.sh");
    std::fs::write(&program, format!("#!/bin/sh\n{commands}\n")).expect("our own folder");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("our own file");
}

/// Not a test: the handler that the host starts.
#[test]
#[ignore = "run by the host stand-in as its handler"]
fn recording_handler() {
    let Some(port) = env("FUNCTIONS_CUSTOMHANDLER_PORT") else { return };
    note(json!({ "ev": "start", "worker": env("FUNCTIONS_CUSTOMHANDLER_WORKER_ID"), "port": port }));
    if let Some(gate) = env("LISTEN_AFTER") {
        wait_at(&gate);
    }
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("the host's port is free");
    for stream in listener.incoming() {
        std::thread::spawn(move || answer(stream.expect("a connection")));
    }
}

/// Waits until the test closes the connection that is made to its port.
fn wait_at(port: &str) {
    if let Ok(mut gate) = TcpStream::connect(format!("127.0.0.1:{port}")) {
        let _ = gate.read(&mut [0]);
    }
}

fn note(event: Value) {
    let folder = env("FUNCTIONS_APP_ROOT_PATH").expect("the host tells its folder");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(Path::new(&folder).join(EVENTS));
    // A folder that is gone belongs to a test that is over.
    if let Ok(mut file) = file {
        let _ = file.write_all(format!("{event}\n").as_bytes());
    }
}

fn answer(mut stream: TcpStream) {
    let Some((path, body)) = read_request(&mut stream) else { return };
    let (what, count) = match path.as_str() {
        "/Dispatch" => delivery(&body),
        "/envl" => (String::new(), Value::Null),
        _ => (body, Value::Null),
    };
    note(json!({ "ev": path, "dq": count, "pid": std::process::id() }));
    if path == "/" && env("CRASH").is_some() {
        std::process::exit(1);
    }
    let first = count.as_u64().is_none_or(|count| count == 1);
    let mut answer = match path.as_str() {
        "/api/run" => told().to_string(),
        "/envl" if env("EMPTY_ENVELOPES").is_some() => String::new(),
        _ => "{}".to_owned(),
    };
    match what.split_once(' ').unwrap_or((&what, "")) {
        ("exit", code) => std::process::exit(code.parse().expect("an exit code")),
        ("hang", _) => std::thread::park(),
        ("hang-first", _) if first => std::thread::park(),
        ("wait", gate) => wait_at(gate),
        ("first", text) if first => answer = text.to_owned(),
        _ => {}
    }
    let status = if answer == "204" { "204 No Content" } else { "200 OK" };
    let answer = answer.trim_start_matches("204");
    let length = answer.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n");
    let _ = stream.write_all(format!("{head}connection: close\r\n\r\n{answer}").as_bytes());
}

/// The text of a message, and how often it was delivered.
fn delivery(envelope: &str) -> (String, Value) {
    let envelope: Value = serde_json::from_str(envelope).expect("the host sends JSON");
    let decoded = |value: &Value| -> Value {
        value.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    };
    let text = decoded(&envelope["Data"]["item"]);
    (text.as_str().unwrap_or_default().to_owned(), decoded(&envelope["Metadata"]["DequeueCount"]))
}

fn told() -> Value {
    json!({
        "worker": env("FUNCTIONS_CUSTOMHANDLER_WORKER_ID"),
        "twin": env("FUNCTIONS_HTTPWORKER_ID"),
        "ports": [env("FUNCTIONS_CUSTOMHANDLER_PORT"), env("FUNCTIONS_HTTPWORKER_PORT")],
        "root": env("FUNCTIONS_APP_ROOT_PATH"),
        "setting": env("MY_APP_SETTING"),
        "cwd": std::env::current_dir().expect("a folder"),
    })
}

/// Path and body, whether it has a length or comes in chunks; an envelope is one chunk.
fn read_request(stream: &mut TcpStream) -> Option<(String, String)> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let lower = head.to_lowercase();
        if lower.contains("transfer-encoding: chunked") {
            if body.ends_with("0\r\n\r\n") {
                let chunk = body.split_once("\r\n").map(|(_, rest)| rest)?;
                return Some((path, chunk.trim_end_matches("\r\n0\r\n\r\n").to_owned()));
            }
            continue;
        }
        let length = lower
            .split_once("content-length: ")
            .map_or(0, |(_, rest)| rest.split("\r\n").next().and_then(|text| text.parse().ok()).unwrap_or(0));
        if body.len() >= length {
            return Some((path, body.to_owned()));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a handler is told everything by its environment")]
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
