//! The whole real host: HTTP forwarding (`B.`) and HTTP envelopes (`C.`) of host-whole.jsonl.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use local::host::Keys;
use local::host::app::{App, AuthLevel, Function, Http, Output, Trigger};
use local::host::keys::KeyRing;
use local::queue::client::Account;
use serde_json::Value;

use crate::assert_all;
use crate::cases::WHOLE;
use crate::queue::Host;
use crate::raw::{Message, Script, Then, ask};
use crate::requests::{app, equal, same_answer, same_headers_and_body, start};

fn http(name: &str, route: &str, output: &str) -> Function {
    let binding = if name == "resx" { "trig" } else { "req" };
    let auth_level = if name == "keyed" { AuthLevel::Function } else { AuthLevel::Anonymous };
    let methods = match name {
        "getonly" => vec!["GET".into()],
        _ => ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"].map(String::from).to_vec(),
    };
    let trigger = Trigger::Http(Http {
        binding: binding.into(),
        auth_level,
        methods: Some(methods),
        route: route.into(),
    });
    Function { name: name.into(), trigger, outputs: vec![Output::Http { name: output.into() }] }
}

/// A second output, which makes the function no pure HTTP function.
fn with_queue(mut function: Function) -> Function {
    let (name, queue_name) = ("next".to_owned(), "out".to_owned());
    function.outputs.push(Output::Queue { name, queue_name, connection: None, binary: false });
    function
}

/// The functions that the recorded host had.
fn recorded_app(forwarding: bool) -> App {
    let functions = vec![
        http("route", "route", "res"),
        http("keyed", "keyed", "res"),
        http("getonly", "getonly", "res"),
        http("items", "items/{id}/{opt?}", "res"),
        http("retonly", "retonly", "$return"),
        http("ret", "ret", "$return"),
        http("resx", "resx", "Response"),
        with_queue(http("httpq", "httpq", "res")),
        with_queue(http("httpqret", "httpqret", "$return")),
    ];
    App { functions, ..app(false, forwarding, "res") }
}

/// The scripted handler's answer: `{}` unless the case says otherwise.
fn script(answer: &Value) -> (Vec<u8>, Then) {
    if answer["drop"] == true {
        return (Vec::new(), Then::Close);
    }
    let body = match (answer["body"].as_str(), answer["bodyB64"].as_str()) {
        (_, Some(encoded)) => STANDARD.decode(encoded).expect("the recorder wrote base64"),
        (Some(text), None) => text.as_bytes().to_vec(),
        (None, None) => b"{}".to_vec(),
    };
    let status = answer["status"].as_u64().unwrap_or(200);
    let mut head = format!("HTTP/1.1 {status} X\r\n");
    let default = serde_json::json!([["Content-Type", "application/json"]]);
    let headers = if answer["headers"].is_array() { &answer["headers"] } else { &default };
    for pair in headers.as_array().expect("headers are pairs") {
        let (name, value) = (pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default());
        if !matches!(name.to_lowercase().as_str(), "content-length" | "transfer-encoding" | "connection") {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if status != 204 && status != 304 {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    ([head.into_bytes(), body].concat(), Then::KeepOpen)
}

async fn check(case: &Value, forwarding: bool, account: Option<Account>) -> Result<(), String> {
    let (answer, then) = script(&case["handler_answer"]);
    let script = Script::start(answer, then).await;
    let keys = std::env::temp_dir().join(format!("switchyard-whole-{}-{}", std::process::id(), script.port));
    let (port, _stop) = start(recorded_app(forwarding), script.port, |options| {
        options.keys = Keys::KeptIn(keys.clone());
        options.storage = account;
    });
    let stimulus = whole(case["stimulus"].as_str().ok_or("the stimulus is not text")?);
    if !stimulus.contains("\r\n\r\n") {
        return Err("the stimulus is described, not recorded".into());
    }
    let got = ask(port, stimulus.as_bytes(), stimulus.starts_with("HEAD ")).await;
    let _ = std::fs::remove_dir_all(keys);

    let recorded: Vec<&Value> = case["handler_received"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| row["method"].is_string())
        .collect();
    let received = script.received.lock().expect("not poisoned").clone();
    equal("requests at the handler", &received.len(), &recorded.len())?;
    for (ours, theirs) in received.iter().zip(&recorded) {
        let ours = Message::parse(ours).ok_or("the handler got no whole request")?;
        let mut target = ours.first_line.split(' ');
        equal("method", &target.next(), &theirs["method"].as_str())?;
        equal("target", &target.next(), &theirs["url"].as_str())?;
        same_headers_and_body(&ours, &recorded_message(theirs, script.port))?;
    }
    let head = case["client_got"]["head"].as_array().ok_or("what the client got is not told in full")?;
    let head: Vec<&str> = head.iter().filter_map(Value::as_str).collect();
    let theirs =
        format!("{}\r\n\r\n{}", head.join("\r\n"), case["client_got"]["body"].as_str().unwrap_or_default());
    same_answer(&got, &theirs)
}

/// A stimulus, made whole again where the recording cut its last header: `aaa...(8077 bytes)`.
fn whole(stimulus: &str) -> String {
    let Some((start, length)) = stimulus.strip_suffix(" bytes)").and_then(|cut| cut.rsplit_once("...("))
    else {
        return stimulus.to_owned();
    };
    let length: usize = length.parse().expect("the recorder counted");
    let end = "\r\n\r\n";
    format!("{start}{}{end}", "a".repeat(length - start.len() - end.len()))
}

fn recorded_message(row: &Value, port: u16) -> Message {
    let mut message = Message {
        first_line: String::new(),
        headers: Default::default(),
        body: row["body"].as_str().unwrap_or_default().as_bytes().to_vec(),
        complete: true,
    };
    for pair in row["headers"].as_array().into_iter().flatten() {
        let name = pair[0].as_str().unwrap_or_default().to_lowercase();
        let mut value = pair[1].as_str().unwrap_or_default().to_owned();
        // An envelope goes to the handler's own port.
        if name == "host" && value != "127.0.0.1:7071" {
            value = format!("127.0.0.1:{port}");
        }
        message.headers.entry(name).or_default().push(value);
    }
    message
}

async fn check_all(test: &str, forwarding: bool) {
    let run = WHOLE.replayed_by(test).into_iter().map(|(id, case)| async move {
        let result =
            tokio::time::timeout(std::time::Duration::from_secs(30), check(&case, forwarding, None)).await;
        (id, result.unwrap_or_else(|_| Err("no end within 30 s".into())))
    });
    assert_all(futures_util::future::join_all(run).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarding() {
    check_all("whole::forwarding", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envelopes() {
    check_all("whole::envelopes", false).await;
}

#[tokio::test]
async fn functions_with_a_queue_output() {
    let nobody = Script::absent();
    // Only for its queues.
    let host =
        Host::start("http-queue", serde_json::json!({ "messageEncoding": "none" }), nobody.port, false).await;
    let cases =
        [("D.envelope", "D.envelope.queue"), ("D.envelope.dollar-return", "D.envelope.dollar-return.queue")];
    for (name, queued) in cases {
        let account = host.account.clone();
        assert_eq!(check(&WHOLE.case(name), true, Some(account)).await, Ok(()), "{name}");
        let queue = host.account.queue("out");
        let written: Vec<String> = queue
            .peek(32)
            .await
            .expect("the queue is there")
            .into_iter()
            .map(|message| message.text)
            .collect();
        queue.clear().await.expect("the queue is there");
        assert_eq!(serde_json::json!(written), WHOLE.case(queued)["queue"], "{name}");
    }
    host.end().await;
}

/// The claims of a key inside the envelope are left out; that it opens the function is not.
#[tokio::test]
async fn keys_open_functions() {
    let script = Script::start(script(&Value::Null).0, Then::KeepOpen).await;
    let folder = std::env::temp_dir().join(format!("switchyard-keys-{}", std::process::id()));
    let ring = KeyRing::open(&folder, &recorded_app(false).functions).expect("a folder of ours");
    let (port, _stop) =
        start(recorded_app(false), script.port, |options| options.keys = Keys::KeptIn(folder.clone()));
    let keys = [
        ("C.key.function-header", &ring.functions["keyed"]),
        ("C.key.host-header", &ring.host),
        ("C.key.master-header", &ring.master),
    ];
    for (name, key) in keys {
        let request = format!("GET /api/keyed HTTP/1.1\r\nHost: h\r\nx-functions-key: {key}\r\n\r\n");
        let answer = ask(port, request.as_bytes(), true).await;
        let received = WHOLE.case(name)["handler_received"].as_array().map_or(0, Vec::len);
        assert_eq!(received, 1, "{name}: the recorded one got through");
        assert_eq!(
            Message::parse(&answer).map(|answer| answer.status().to_owned()),
            Some("204".into()),
            "{name}"
        );
    }
    assert_eq!(script.received.lock().expect("not poisoned").len(), keys.len());
    std::fs::remove_dir_all(folder).expect("a folder of ours");
}
