//! HTTP functions in the three modes: `proxy-`, `forward-` and `envelope-` cases.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use local::host::app::{App, AuthLevel, Function, Http, MessageEncoding, Output, Queues, Trigger};
use local::host::{self, Handler, Keys, Options};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::assert_all;
use crate::cases::PARTS;
use crate::raw::{Message, Script, Then, ask};

/// Differ from case to case and from run to run.
const NOT_COMPARED: [&str; 6] =
    ["date", "server", "content-length", "transfer-encoding", "connection", "trailer"];
const IDS: [&str; 2] = ["x-azure-functions-invocationid", "x-ms-invocation-id"];

/// The recorded app: one function `route`. Where route values are not told, everything below it matches.
pub(crate) fn app(proxying: bool, forwarding: bool, output: &str) -> App {
    let trigger = Trigger::Http(Http {
        binding: "req".into(),
        auth_level: AuthLevel::Anonymous,
        methods: None,
        route: if proxying || forwarding { "route/{*id}" } else { "route/{id?}" }.into(),
    });
    App {
        root: PathBuf::new(),
        executable: PathBuf::new(),
        arguments: Vec::new(),
        working_directory: PathBuf::new(),
        proxying,
        forwarding,
        initialization_timeout: Duration::from_secs(30),
        function_timeout: Some(Duration::from_secs(3)),
        route_prefix: "api".into(),
        queues: Queues {
            batch_size: 16,
            new_batch_threshold: 8,
            max_dequeue_count: 5,
            max_polling_interval: Duration::from_secs(2),
            visibility_timeout: Duration::ZERO,
            message_encoding: MessageEncoding::None,
        },
        functions: vec![Function {
            name: "route".into(),
            trigger,
            outputs: vec![Output::Http { name: output.into() }],
        }],
        in_error: Vec::new(),
    }
}

/// A running host before a handler on `port`; dropping the sender stops it.
pub(crate) fn start(app: App, port: u16, adjust: impl FnOnce(&mut Options)) -> (u16, oneshot::Sender<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let host_port = listener.local_addr().expect("a bound port").port();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut options = Options {
        app_root: PathBuf::new(),
        listener,
        storage: None,
        keys: Keys::Off,
        settings: Vec::new(),
        clock: clock::Clock::REAL,
    };
    adjust(&mut options);
    tokio::spawn(host::run_app(app, options, Handler::At(port), async {
        let _ = stopped.await;
    }));
    (host_port, stop)
}

/// What the handler does in a case, as bytes and what follows them. None: nobody listens.
fn script(case: &Value) -> Result<Option<(Vec<u8>, Then)>, String> {
    let text = case["answered"].as_str().unwrap_or_default();
    let plain = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
    let events = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
    let answer = |text: String, then| Ok(Some((text.into_bytes(), then)));
    match text {
        "nobody listens" => Ok(None),
        "connection closed without an answer, every time" => answer(String::new(), Then::Close),
        "headers at once, body after 800 ms" => {
            answer(format!("{plain}Content-Length: 2\r\n\r\nok"), Then::KeepOpen)
        }
        "head + 7 of 50 bytes, then closed" => {
            answer(format!("{plain}Content-Length: 50\r\n\r\npartial"), Then::Close)
        }
        "one SSE event, then closed without the last chunk" => {
            answer(format!("{events}Transfer-Encoding: chunked\r\n\r\n9\r\ndata: x\n\n\r\n"), Then::Close)
        }
        "SSE: headers at once, then an event each 300 ms x4, then the end" => {
            let parts: String = (0..4).map(|n| format!("9\r\ndata: {n}\n\n\r\n")).collect();
            let head = format!("{events}Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n");
            answer(format!("{head}{parts}0\r\n\r\n"), Then::KeepOpen)
        }
        _ if text.starts_with("HTTP/1.") => {
            let framed = text.contains("Content-Length")
                || text.contains("Transfer-Encoding")
                || !text.contains(" 200 ");
            answer(text.to_owned(), if framed { Then::KeepOpen } else { Then::Close })
        }
        _ => Err(format!("no script for `{text}`")),
    }
}

/// What a handler answers that comes late.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";

/// When the handler of a case begins to listen, if it does so late.
fn late(case: &Value) -> Option<Duration> {
    let text = case["answered"].as_str()?.strip_prefix("handler listens after ")?;
    text.strip_suffix(" ms")?.parse().ok().map(Duration::from_millis)
}

async fn check(id: &str, case: &Value) -> Result<(), String> {
    let script = match (late(case), script(case)) {
        (Some(after), _) => Script::late(OK.into(), Then::KeepOpen, after).await,
        (None, Ok(Some((answer, then)))) => Script::start(answer, then).await,
        (None, Ok(None)) => Script::absent(),
        (None, Err(why)) => return Err(why),
    };
    let output = if id.contains("$-return") { "$return" } else { "res" };
    let (proxying, forwarding) = (id.starts_with("proxy"), id.starts_with("forward"));
    let (port, _stop) = start(app(proxying, forwarding, output), script.port, |_| {});
    let stimulus = case["stimulus"].as_str().expect("a stimulus is text");
    let got = ask(port, stimulus.as_bytes(), stimulus.starts_with("HEAD ")).await;

    let recorded = case["received"].as_array().cloned().unwrap_or_default();
    let received = script.received.lock().expect("not poisoned").clone();
    // The recorder kept four requests of a case at most; how often a try is repeated is told by `handlerConns`.
    if received.len().min(4) != recorded.len() {
        return Err(format!("the handler got {} requests instead of {}", received.len(), recorded.len()));
    }
    for (ours, theirs) in received.iter().zip(&recorded) {
        let theirs = theirs.as_str().unwrap_or_default();
        // Repetitions are recorded by their first lines only.
        if theirs.contains("\r\n\r\n") {
            same_request(ours, theirs, script.port)?;
        }
    }
    let theirs = case["outcome"]["client_got"].as_str().unwrap_or_default().replace("[ConnectionReset]", "");
    same_answer(&got, &theirs)
}

pub(crate) fn same_request(ours: &[u8], theirs: &str, port: u16) -> Result<(), String> {
    let theirs = theirs.replace("HANDLERPORT", &port.to_string());
    let ours = Message::parse(ours).ok_or("the handler got no whole request")?;
    let theirs = Message::parse(theirs.as_bytes()).ok_or("the recording holds no whole request")?;
    equal("request line", &ours.first_line, &theirs.first_line)?;
    same_headers_and_body(&ours, &theirs)
}

pub(crate) fn same_headers_and_body(ours: &Message, theirs: &Message) -> Result<(), String> {
    let (our_headers, their_headers) = (comparable(&ours.headers), comparable(&theirs.headers));
    equal("request headers", &our_headers, &their_headers)?;
    match (serde_json::from_slice::<Value>(&ours.body), serde_json::from_slice::<Value>(&theirs.body)) {
        (Ok(ours), Ok(theirs)) => equal("envelope", &masked(ours), &masked(theirs)),
        _ => equal(
            "request body",
            &String::from_utf8_lossy(&ours.body),
            &String::from_utf8_lossy(&theirs.body),
        ),
    }
}

pub(crate) fn same_answer(ours: &[u8], theirs: &str) -> Result<(), String> {
    let ours =
        Message::parse(ours).ok_or_else(|| format!("no answer: {:?}", String::from_utf8_lossy(ours)))?;
    let theirs = Message::parse(theirs.as_bytes()).ok_or("the recording holds no whole answer")?;
    equal("status", &ours.status(), &theirs.status())?;
    equal("answer headers", &comparable(&ours.headers), &comparable(&theirs.headers))?;
    equal("answer body", &String::from_utf8_lossy(&ours.body), &String::from_utf8_lossy(&theirs.body))
}

pub(crate) fn equal<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, theirs: &T) -> Result<(), String> {
    if ours == theirs {
        Ok(())
    } else {
        Err(format!("{what}\n      ours   {ours:?}\n      theirs {theirs:?}"))
    }
}

/// Ids are only compared by how many there are.
fn comparable(headers: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    let compared = headers.iter().filter(|(name, _)| !NOT_COMPARED.contains(&name.as_str()));
    let masked = |name: &str, values: &[String]| match IDS.contains(&name) {
        false => values.to_vec(),
        true => values
            .iter()
            .map(|value| value.split(", ").map(mask_guid).collect::<Vec<_>>().join(", "))
            .collect(),
    };
    compared.map(|(name, values)| (name.clone(), masked(name, values))).collect()
}

fn mask_guid(text: &str) -> String {
    let guid = text.len() == 36 && text.chars().filter(|c| *c == '-').count() == 4;
    if guid { "GUID".to_owned() } else { text.to_owned() }
}

/// An envelope without what differs every time; header names are compared without case.
fn masked(mut envelope: Value) -> Value {
    for sys in ["/Metadata/sys", "/Metadata/$sys"] {
        if let Some(sys) = envelope.pointer_mut(sys).and_then(Value::as_object_mut) {
            sys.insert("UtcNow".into(), Value::Null);
            sys.insert("RandGuid".into(), Value::Null);
        }
    }
    for headers in ["/Metadata/Headers", "/Data/req/Headers", "/Data/trig/Headers"] {
        if let Some(Value::Object(headers)) = envelope.pointer_mut(headers) {
            *headers = std::mem::take(headers)
                .into_iter()
                .map(|(name, value)| (name.to_lowercase(), value))
                .collect();
        }
    }
    envelope.sort_all_objects();
    envelope
}

async fn check_all(test: &str) {
    let cases = PARTS.replayed_by(test).into_iter().map(|(id, case)| async move {
        let result = tokio::time::timeout(Duration::from_secs(30), check(&id, &case)).await;
        (id, result.unwrap_or_else(|_| Err("no end within 30 s".into())))
    });
    assert_all(futures_util::future::join_all(cases).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxying() {
    check_all("requests::proxying").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarding() {
    check_all("requests::forwarding").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envelopes() {
    check_all("requests::envelopes").await;
}

/// On virtual time: the host's pauses and the handler's delay, one after the other.
#[tokio::test(start_paused = true)]
async fn late_handlers() {
    check_all("requests::late_handlers").await;
}
