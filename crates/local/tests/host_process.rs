//! The handler's process under the host stand-in: environment, readiness, restarts, exit codes,
//! time-outs. The handler is this test binary, run again as the ignored test `recording_handler`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use local::host::{self, Ending, Keys, Options, StartError};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long any condition may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A host over a staged folder whose handler is [`recording_handler`].
struct Rig {
    folder: PathBuf,
    url: String,
    client: reqwest::Client,
    host: JoinHandle<Result<Ending, StartError>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Rig {
    fn start(name: &str, host_json: &Value, settings: &[(&str, &str)]) -> Rig {
        let folder = std::env::temp_dir().join(format!("switchyard-process-{name}-{}", std::process::id()));
        stage(&folder, host_json);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound port"));
        let (stop, stopped) = oneshot::channel::<()>();
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let app_root = folder.clone();
        let options = Options {
            app_root,
            listener,
            storage: None,
            keys: Keys::Off,
            settings,
            clock: clock::Clock::REAL,
        };
        let host = tokio::spawn(host::run(options, async {
            let _ = stopped.await;
        }));
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        Rig { folder, url, client, host, stop: Some(stop) }
    }

    /// Asks the handler to do something; the status and what it said.
    async fn ask(&self, what: &str) -> (u16, Value) {
        let answer = self.client.post(format!("{}/api/run", self.url)).body(what.to_owned()).send().await;
        let answer = answer.expect("the host answers");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// Asks until the handler answers with something new.
    async fn other_than(&self, worker: &Value) -> Value {
        let began = Instant::now();
        loop {
            let (status, said) = self.ask("tell").await;
            if status == 200 && said["worker"] != *worker {
                return said;
            }
            assert!(began.elapsed() < PATIENCE, "no new handler");
        }
    }

    async fn ending(mut self) -> Ending {
        let ending = tokio::time::timeout(PATIENCE, &mut self.host).await.expect("the host ends by itself");
        ending.expect("no panic").expect("it had started")
    }

    async fn stopped(mut self) -> Ending {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        self.ending().await
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn host_json(more: Value) -> Value {
    let mut json = json!({ "version": "2.0", "customHandler": {
        "description": { "defaultExecutablePath": "run.sh" }, "enableForwardingHttpRequest": true } });
    for (name, value) in more.as_object().expect("an object") {
        match name.as_str() {
            "initializationTimeout" => json["customHandler"][name] = value.clone(),
            _ => json[name] = value.clone(),
        }
    }
    json
}

fn stage(folder: &Path, host_json: &Value) {
    std::fs::create_dir_all(folder.join("run")).expect("a temporary folder");
    std::fs::write(folder.join("host.json"), host_json.to_string()).expect("our own folder");
    let function = json!({ "bindings": [
        { "type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous" },
        { "type": "http", "direction": "out", "name": "res" }] });
    std::fs::write(folder.join("run/function.json"), function.to_string()).expect("our own folder");
    let this = std::env::current_exe().expect("this test has a path");
    let script =
        format!("#!/bin/sh\nexec {} --exact recording_handler --ignored --nocapture\n", this.display());
    let program = folder.join("run.sh");
    std::fs::write(&program, script).expect("our own folder");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("our own file");
}

/// Not a test: the handler that the host starts. What it does is told by the request's body.
#[test]
#[ignore = "run by the host stand-in as its handler"]
fn recording_handler() {
    let Some(port) = env("FUNCTIONS_CUSTOMHANDLER_PORT") else { return };
    if env("NEVER_LISTEN").is_some() {
        std::thread::park();
    }
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("the host's port is free");
    for stream in listener.incoming() {
        std::thread::spawn(move || answer(stream.expect("a connection")));
    }
}

fn answer(mut stream: TcpStream) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
    let body = loop {
        let count = stream.read(&mut buffer).unwrap_or(0);
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if count == 0 {
                return;
            }
            continue;
        };
        let length = head
            .to_lowercase()
            .split_once("content-length: ")
            .map_or(0, |(_, rest)| rest.split("\r\n").next().and_then(|text| text.parse().ok()).unwrap_or(0));
        if body.len() >= length {
            break body.to_owned();
        }
    };
    match body.split_once(' ') {
        Some(("exit", code)) => std::process::exit(code.parse().expect("an exit code")),
        _ if body == "hang" => std::thread::park(),
        _ => {}
    }
    let told = json!({
        "worker": env("FUNCTIONS_CUSTOMHANDLER_WORKER_ID"),
        "twin": env("FUNCTIONS_HTTPWORKER_ID"),
        "ports": [env("FUNCTIONS_CUSTOMHANDLER_PORT"), env("FUNCTIONS_HTTPWORKER_PORT")],
        "root": env("FUNCTIONS_APP_ROOT_PATH"),
        "setting": env("MY_APP_SETTING"),
        "cwd": std::env::current_dir().expect("a folder"),
    })
    .to_string();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", told.len());
    let _ = stream.write_all(format!("{head}connection: close\r\n\r\n{told}").as_bytes());
}

#[expect(clippy::disallowed_methods, reason = "a handler is told everything by its environment")]
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_the_hosts() {
    let rig = Rig::start("environment", &host_json(json!({})), &[("MY_APP_SETTING", "visible")]);
    let (status, said) = rig.ask("tell").await;
    assert_eq!(status, 200);
    assert_eq!(said["setting"], "visible");
    assert_eq!(said["worker"], said["twin"]);
    assert_eq!(said["ports"][0], said["ports"][1]);
    assert_eq!(said["root"].as_str(), rig.folder.to_str());
    assert_eq!(said["cwd"].as_str().map(Path::new), rig.folder.canonicalize().ok().as_deref());
    assert_eq!(rig.stopped().await, Ending::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_decide_about_restarts() {
    let rig = Rig::start("exit-codes", &host_json(json!({})), &[]);
    let (_, mut said) = rig.ask("tell").await;
    let port = said["ports"][0].clone();
    // 200 asks for a restart and is not counted.
    for code in ["exit 200", "exit 200", "exit 200", "exit 1"] {
        assert_eq!(rig.ask(code).await.0, 500, "the invocation that died failed");
        said = rig.other_than(&said["worker"]).await;
        assert_eq!(said["ports"][0], port, "the same port");
    }
    // After 0 there is no restart, and everything fails at once.
    assert_eq!(rig.ask("exit 0").await.0, 500);
    let began = Instant::now();
    while rig.ask("tell").await.0 == 200 {
        assert!(began.elapsed() < PATIENCE, "it was restarted");
    }
    assert_eq!(rig.ask("tell").await.0, 500);
    assert_eq!(rig.stopped().await, Ending::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_crashes_end_the_host() {
    let rig = Rig::start("crashes", &host_json(json!({})), &[]);
    let (_, mut said) = rig.ask("tell").await;
    for _ in 0..2 {
        rig.ask("exit 1").await;
        said = rig.other_than(&said["worker"]).await;
    }
    let last = rig.client.post(format!("{}/api/run", rig.url)).body("exit 1").send().await;
    drop(last);
    assert_eq!(rig.ending().await, Ending::RestartsExhausted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_never_listens_ends_the_host() {
    let json = host_json(json!({ "initializationTimeout": "00:00:00.2" }));
    let rig = Rig::start("never-listens", &json, &[("NEVER_LISTEN", "1")]);
    assert_eq!(rig.ending().await, Ending::RestartsExhausted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_time_out_restarts_the_handler_and_is_no_crash() {
    let rig = Rig::start("time-out", &host_json(json!({ "functionTimeout": "00:00:00.3" })), &[]);
    let (_, mut said) = rig.ask("tell").await;
    for _ in 0..3 {
        assert_eq!(rig.ask("hang").await.0, 500, "the client hears of it when the handler is killed");
        said = rig.other_than(&said["worker"]).await;
    }
    assert_eq!(rig.stopped().await, Ending::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_time_outs_together_end_the_host() {
    let rig = Rig::start("time-outs", &host_json(json!({ "functionTimeout": "00:00:00.3" })), &[]);
    rig.ask("tell").await;
    let hang = || rig.client.post(format!("{}/api/run", rig.url)).body("hang").send();
    let _ = tokio::join!(hang(), hang());
    assert_eq!(rig.ending().await, Ending::TimedOutTogether);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_folders_say_what_to_do() {
    let folder = std::env::temp_dir().join(format!("switchyard-wrong-{}", std::process::id()));
    type Spoil<'a> = &'a dyn Fn(&Path);
    let cases: &[(&str, Spoil<'_>, &str)] = &[
        ("nothing", &|_| {}, "host.json cannot be read"),
        ("no handler", &|at| std::fs::write(at.join("host.json"), "{}").expect("written"), "customHandler"),
        ("broken", &|at| std::fs::write(at.join("host.json"), "{").expect("written"), "not valid"),
        (
            "not executable",
            &|at| {
                let mode = std::fs::Permissions::from_mode(0o644);
                std::fs::set_permissions(at.join("run.sh"), mode).expect("our own file");
            },
            "chmod +x",
        ),
        (
            "nested",
            &|at| {
                std::fs::create_dir(at.join("functions")).expect("made");
                std::fs::rename(at.join("run"), at.join("functions/run")).expect("moved");
            },
            "right beside host.json",
        ),
    ];
    for (what, spoil, told) in cases {
        let _ = std::fs::remove_dir_all(&folder);
        if *what == "nothing" {
            std::fs::create_dir_all(&folder).expect("a temporary folder");
        } else {
            stage(&folder, &host_json(json!({})));
        }
        spoil(&folder);
        let read = host::app::App::load(&folder, &|_| None);
        let error = read.err().unwrap_or_else(|| panic!("{what}: the folder was accepted"));
        assert!(error.to_string().contains(told), "{what}: {error}");
    }
    let _ = std::fs::remove_dir_all(&folder);
}
