//! The process: settings, start, knobs, catalogue, end.

use std::io::Read;
use std::process::Child;

use serde_json::Value;

use crate::handler_stage::*;

/// Asks a process to end.
pub fn terminate(child: &Child) {
    #[expect(clippy::disallowed_methods, reason = "tests send signals to their own children")]
    let killed = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
}

#[test]
fn wrong_settings_are_all_told_and_the_exit_code_is_not_zero() {
    let stage = Stage::new(&catalogue(&[]));
    let mut command = stage.command();
    command.env("BLOB_URL", "ftp://x").env("ACA_ENDPOINT", "nonsense").env_remove("KNOBS_FILE");
    let output = command.output().unwrap();
    assert_ne!(output.status.code(), Some(0));
    let told = String::from_utf8(output.stderr).unwrap();
    for name in ["FUNCTIONS_CUSTOMHANDLER_PORT", "BLOB_URL", "KNOBS_FILE", "ACA_ENDPOINT"] {
        assert!(told.contains(name), "{name} in {told}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stage = Stage::new(&catalogue(&[]));
    let output =
        stage.command().args(["--listen", &taken.local_addr().unwrap().to_string()]).output().unwrap();
    assert_ne!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot listen"));
}

#[tokio::test]
async fn without_a_catalogue_nobody_is_let_in_and_a_later_one_is_found() {
    let stage = Stage::new(&catalogue(&[]));
    let file = stage.folder.join("blob/config/catalogue.json");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, "{").unwrap();
    let handler = stage.listen();
    let answer = handler.get("/api/v1/models", KEY).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["code"], "no_catalogue");
    let health: Value = handler.get("/api/health", "").send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (health["status"].as_str(), health["catalogue"].as_str()),
        (Some("degraded"), Some("missing"))
    );
    std::fs::write(&file, good).unwrap();
    let open = async || handler.get("/api/v1/models", KEY).send().await.unwrap().status() == 200;
    until("the mended catalogue is found", open).await;
}

#[tokio::test]
async fn knobs_are_refreshed_by_hand_and_bad_ones_refused() {
    let handler = Stage::new(&catalogue(&[])).listen();
    let refresh = async |text: &str| {
        handler.set_knobs(text);
        let answer = handler.post("/api/operate/knobs/refresh", ADMIN, "").send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, shown) = refresh(r#"{"max-aca-replicas":7}"#).await;
    assert_eq!((status, &shown["knobs"]["max-aca-replicas"]), (200, &Value::from(7)));
    let (status, shown) = refresh(r#"{"max-aca-replicas":"many"}"#).await;
    assert_eq!((status, &shown["knobs"]["max-aca-replicas"]), (409, &Value::from(7)));
    assert!(shown["refused"].as_str().unwrap().contains("max-aca-replicas"));
    let status: Value = handler.get("/api/status", ADMIN).send().await.unwrap().json().await.unwrap();
    assert!(status["lines"][1].as_str().unwrap().contains("newest knobs refused"), "{status}");
}

#[tokio::test]
async fn replicas_follow_demand() {
    let upstream = Upstream::start([]).await;
    let handler = Stage::new(&catalogue(&[backend("one", &upstream.url)])).listen();
    let plan = async || -> Value {
        handler.get("/api/status/replicas/one", ADMIN).send().await.unwrap().json().await.unwrap()
    };
    let idle = plan().await;
    assert_eq!((idle["backend"].as_str(), idle["replicas"].as_u64()), (Some("one"), Some(0)));
    let warming = || Step::Answer(503, vec![("retry-after-ms", "100".to_owned())], "{}".into());
    upstream.then(warming());
    assert_eq!(handler.embed().send().await.unwrap().status(), 503);
    assert_eq!(plan().await["replicas"], 1, "a refused request is demand");
    assert_eq!(handler.embed().send().await.unwrap().status(), 200);
    assert_eq!(plan().await["replicas"], 1, "kept through the cooldown");
}

#[tokio::test]
async fn alone_it_drains_and_ends_with_zero() {
    let (held, gone) = tokio::sync::mpsc::channel(1);
    let upstream = Upstream::start([Step::Stream(gone)]).await;
    let mut handler = Stage::new(&catalogue(&[backend("one", &upstream.url)])).listen();
    let answer = handler.embed().send().await.unwrap();
    terminate(&handler.child);
    let address = handler.url.trim_start_matches("http://").to_owned();
    until("no new connection is taken", async || std::net::TcpStream::connect(&address).is_err()).await;
    held.send("late".into()).await.unwrap();
    drop(held);
    assert!(answer.text().await.unwrap().ends_with("late"), "what was under way is answered");
    assert_eq!(handler.child.wait().unwrap().code(), Some(0));
}

#[test]
fn it_ends_when_its_host_is_gone() {
    // Recorded as H.sigkill-host: the host cannot take its handler along. A shell plays the host: it
    // starts the handler, says its pid, and is killed.
    let stage = Stage::new(&catalogue(&[]));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = stage.command();
    let program = command.get_program().to_owned();
    let env: Vec<_> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    #[expect(clippy::disallowed_methods, reason = "the shell plays the host")]
    let mut shell = std::process::Command::new("/bin/sh");
    shell.arg("-c").arg("\"$0\" >/dev/null 2>&1 & echo $!; wait").arg(program);
    shell.env_clear().envs(env.into_iter().filter_map(|(name, value)| Some((name, value?))));
    shell.env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string()).stdout(std::process::Stdio::piped());
    command = shell;
    let mut host = command.spawn().unwrap();
    let mut said = String::new();
    let mut stdout = host.stdout.take().unwrap();
    while !said.ends_with('\n') {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        said.push(char::from(byte[0]));
    }
    let answers = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    let wait = |wanted: bool| {
        let began = std::time::Instant::now();
        while answers() != wanted {
            assert!(began.elapsed() < BOUND, "handler {} listening={wanted}", said.trim());
            // Not faster: every look opens a connection.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    wait(true);
    host.kill().unwrap();
    host.wait().unwrap();
    wait(false);
    std::fs::remove_dir_all(&stage.folder).unwrap();
}

#[tokio::test]
async fn it_describes_itself() {
    let handler = Stage::new(&catalogue(&[])).listen();
    let described: Value = handler.get("/api/openapi.json", "").send().await.unwrap().json().await.unwrap();
    assert!(described["openapi"].as_str().unwrap().starts_with("3.1"), "{}", described["openapi"]);
    let paths = described["paths"].as_object().unwrap();
    for served in [
        "/api/v1/embeddings",
        "/api/v1/uploads/{id}/parts",
        "/api/v1/files/{id}/content",
        "/api/v1/batches/{id}/cancel",
    ] {
        assert!(paths.contains_key(served), "{served}");
    }
}

#[test]
fn the_sample_of_local_settings_starts_the_handler() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("local.settings.sample.json");
    let sample: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let values = sample["Values"].as_object().unwrap().clone();
    // What Core Tools and the host read themselves.
    let of_the_host = ["FUNCTIONS_WORKER_RUNTIME", "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"];
    for name in values.keys().filter(|name| !of_the_host.contains(&name.as_str())) {
        assert!(handler::settings::ALL.iter().any(|setting| setting.name == name), "{name} is no setting");
    }
    let read = handler::settings::Settings::read(None, move |name| match name {
        "FUNCTIONS_CUSTOMHANDLER_PORT" => Some("8080".to_owned()),
        _ => values.get(name).and_then(Value::as_str).map(str::to_owned),
    });
    assert!(read.unwrap().telemetry.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_is_sent_and_a_dead_endpoint_hurts_nobody() {
    let receiver = Upstream::start([]).await;
    let dead = "http://127.0.0.1:1".to_owned();
    for endpoint in [receiver.url.clone(), dead] {
        let key = "InstrumentationKey=00000000-0000-0000-0000-000000000001";
        let stage = Stage::new(&catalogue(&[]));
        let stage = stage
            .with("APPLICATIONINSIGHTS_CONNECTION_STRING", format!("{key};IngestionEndpoint={endpoint}/"));
        let mut handler = stage.listen();
        // The host begins a trace for each request and marks it as not sampled (recorded).
        let trace = "00-b6a627c451d74ba95fb16416cd25b7cc-b374e9076e35142b-00";
        let request = handler.get("/api/v1/models", KEY).header("traceparent", trace);
        assert_eq!(request.send().await.unwrap().status(), 200);
        terminate(&handler.child);
        let ended = tokio::task::block_in_place(|| handler.child.wait().unwrap());
        assert_eq!(ended.code(), Some(0));
    }
    let sent = receiver.seen();
    assert!(sent.iter().any(|seen| seen.path.ends_with("/track")), "{sent:?}");
}
