//! HTTP functions in the three modes: `proxy-`, `forward-` and `envelope-` cases.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use local::host::app::{App, AuthLevel, Function, Http, MessageEncoding, Output, Queues, Trigger};
use local::host::{self, Handler, Keys, Options};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::raw::{Message, Script, Then, ask};
use crate::{assert_all, family};

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
pub(crate) fn start(app: App, port: u16, keys: Keys) -> (u16, oneshot::Sender<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let host_port = listener.local_addr().expect("a bound port").port();
    let (stop, stopped) = oneshot::channel::<()>();
    let options = Options {
        app_root: PathBuf::new(),
        listener,
        storage: None,
        keys,
        settings: Vec::new(),
        clock: clock::Clock::REAL,
    };
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

async fn check(mode: &str, case: &Value) -> Result<(), String> {
    let script = match script(case)? {
        Some((answer, then)) => Script::start(answer, then).await,
        None => Script::absent(),
    };
    let output =
        if case["id"].as_str().is_some_and(|id| id.contains("$-return")) { "$return" } else { "res" };
    let (port, _stop) = start(app(mode == "proxy", mode != "envelope", output), script.port, Keys::Off);
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

fn same_request(ours: &[u8], theirs: &str, port: u16) -> Result<(), String> {
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

async fn check_family(mode: &str, left_out: &[(&str, &str)]) {
    let cases = family(&format!("{mode}-"), left_out).into_iter().map(|(id, case)| async move {
        let result = tokio::time::timeout(Duration::from_secs(30), check(mode, &case)).await;
        (id, result.unwrap_or_else(|_| Err("no end within 30 s".into())))
    });
    assert_all(futures_util::future::join_all(cases).await);
}

const LISTENER: &str = "the host's own telemetry is configured, which makes a traceparent";
const TIMING: &str =
    "tells when bytes flow; tests/it/under_host.rs has streams, disconnects and late handlers";
const DESCRIBED: &str = "the stimulus is described, not recorded";
const UPGRADE: &str = "protocol switches are not offered here (501)";
const ROUTES: &str = "the recorder called the class with route values of its own, without the host's routing";
const ODD: &str = "a conversion that only other apps meet";

#[tokio::test(flavor = "multi_thread")]
async fn proxying() {
    let left_out = [
        ("proxy-get-notraceparent-withlistener", LISTENER),
        ("proxy-sse-client-disconnect", TIMING),
        ("proxy-work-client-disconnect", TIMING),
        ("proxy-upload-timing-chunked", TIMING),
        ("proxy-upload-timing-bigchunks", TIMING),
        ("proxy-late-get-400", TIMING),
        ("proxy-late-get-1200", TIMING),
        ("proxy-late-post-400", TIMING),
        ("proxy-late-post-1200", TIMING),
        ("proxy-late-postchunked-400", TIMING),
        ("proxy-late-postchunked-1200", TIMING),
        ("proxy-reuse-read-whole-request-then-close", DESCRIBED),
        ("proxy-keepalive-after-204", DESCRIBED),
        ("proxy-early-response", DESCRIBED),
        ("proxy-sse-post", DESCRIBED),
        ("proxy-limit-chunked", DESCRIBED),
        ("proxy-websocket", UPGRADE),
    ];
    check_family("proxy", &left_out).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarding() {
    let left_out = [
        ("forward-get-notraceparent-withlistener", LISTENER),
        ("forward-sse-client-disconnect", TIMING),
        ("forward-work-client-disconnect", TIMING),
        ("forward-upload-timing-cl", TIMING),
        ("forward-upload-timing-bigchunks", TIMING),
        ("forward-late-get-400", TIMING),
        ("forward-late-get-1200", TIMING),
        ("forward-late-post-400", TIMING),
        ("forward-late-postchunked-400", TIMING),
        ("forward-late-postchunked-1200", TIMING),
        ("forward-reuse-read-whole-request-then-close", DESCRIBED),
        ("forward-reuse-close-idle-before", DESCRIBED),
        ("forward-keepalive-after-204", DESCRIBED),
        ("forward-sse-post", DESCRIBED),
        ("forward-limit-cl", DESCRIBED),
        ("forward-limit-chunked", DESCRIBED),
        ("forward-websocket", UPGRADE),
    ];
    check_family("forward", &left_out).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envelopes() {
    let silent = "an answer that never comes; the `env-` cases have it";
    let left_out = [
        ("envelope-get-traceparent-withlistener", LISTENER),
        ("envelope-get-notraceparent-withlistener", LISTENER),
        ("envelope-get-path /api/Route//x/./y/../z;p=1", ROUTES),
        ("envelope-get-path /api/route/%25zz/%41?q=%41%7e", ROUTES),
        ("envelope-method-HEAD", silent),
        ("envelope-resp-204", silent),
        ("envelope-resp-nullbody-json", silent),
        ("envelope-out-http-body-date", ODD),
        ("envelope-out-http-headers-various", ODD),
        ("envelope-out-http-status-99999", ODD),
        ("envelope-out-http-headers-contentlength", ODD),
        ("envelope-out-http$-return-done", ODD),
    ];
    check_family("envelope", &left_out).await;
}
