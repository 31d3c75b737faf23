//! The real host's queue trigger, replayed (`E.`, `bytes-queue-`, `backoff-`): the stand-in host on
//! the queue stand-in, with a scripted handler in the place of the recording one.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use clock::Clock;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use local::host::app::App;
use local::host::keys::KeyRing;
use local::host::queue::Backoff;
use local::host::{self, Handler, Keys, Options};
use local::queue::Server;
use local::queue::client::{Account, Queue};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cases::{PARTS, WHOLE};
use crate::raw::{Script, Then};

/// The host on a staged folder, before a handler that somebody else runs.
pub(crate) struct Host {
    folder: PathBuf,
    queues: Server,
    pub(crate) port: u16,
    pub(crate) account: Account,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Host {
    /// `queues` as host.json has them; `keys` when they are asked for.
    pub(crate) async fn start(name: &str, queues: Value, handler: u16, with_keys: bool) -> Host {
        Host::start_on(name, queues, handler, with_keys, &[]).await
    }

    /// As [`Host::start`], with messages in `jobs` before it polls.
    async fn start_on(name: &str, queues: Value, handler: u16, with_keys: bool, messages: &[String]) -> Host {
        let folder = std::env::temp_dir().join(format!("triggers-{name}-{}", std::process::id()));
        stage(&folder, queues);
        let clock = Clock::REAL;
        let queues = Server::start(listener(), clock).unwrap();
        let account = Account::parse(&queues.connection_string()).unwrap();
        for name in ["jobs", "ret", "out"] {
            account.queue(name).create().await.unwrap();
        }
        for text in messages {
            account.queue("jobs").put(text).await.unwrap();
        }
        let app = App::load(&folder, &|_| None).unwrap();
        let listener = listener();
        let port = listener.local_addr().unwrap().port();
        let options = Options {
            app_root: folder.clone(),
            listener,
            storage: Some(account.clone()),
            keys: if with_keys { Keys::KeptIn(folder.clone()) } else { Keys::Off },
            settings: Vec::new(),
            clock,
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            host::run_app(app, options, Handler::At(handler), stopped).await.expect("the folder is right");
        });
        Host { folder, queues, port, account, stop, task }
    }

    pub(crate) fn keys(&self) -> KeyRing {
        KeyRing::open(&self.folder, &[]).unwrap()
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
        self.queues.stop().await;
        std::fs::remove_dir_all(self.folder).unwrap();
    }

    /// Puts a text and waits until its queue is empty.
    async fn put(&self, queue: &str, text: &str) {
        self.account.queue(queue).put(text).await.unwrap();
        self.until_empty(queue).await;
    }

    async fn until_empty(&self, queue: &str) {
        let queue = self.account.queue(queue);
        let empty = async {
            while queue.count().await.unwrap() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), empty).await.expect("the messages are dealt with");
    }

    async fn drain(&self, queue: &str) -> Vec<String> {
        let queue: Queue = self.account.queue(queue);
        let messages = queue.peek(32).await.unwrap_or_default();
        let _ = queue.clear().await;
        messages.into_iter().map(|message| message.text).collect()
    }
}

fn listener() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port")
}

type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// A host with a handler that answers by a list; its last entry is for all that follow.
pub(crate) struct Bench {
    pub(crate) host: Host,
    received: Seen,
    answers: Arc<Mutex<VecDeque<Value>>>,
    handler: JoinHandle<()>,
}

impl Bench {
    pub(crate) async fn start(name: &str, encoding: &str, with_keys: bool) -> Bench {
        let received: Seen = Arc::default();
        let answers = Arc::new(Mutex::new(VecDeque::from([Value::Null])));
        let (seen, told) = (received.clone(), answers.clone());
        let (port, handler) = serve(listener(), move |path, body| {
            seen.lock().unwrap().push((path, body));
            let mut told = told.lock().unwrap();
            let answer = if told.len() > 1 { told.pop_front() } else { told.front().cloned() };
            std::future::ready(response(&answer.expect("it is never empty"))).boxed()
        });
        let queues = json!({ "messageEncoding": encoding, "maxPollingInterval": "00:00:00.1" });
        let host = Host::start(name, queues, port, with_keys).await;
        Bench { host, received, answers, handler }
    }

    pub(crate) async fn end(self) {
        self.host.end().await;
        self.handler.abort();
    }

    /// Puts a text, waits until its queue is empty, and gives what the handler saw.
    async fn replay(&self, queue: &str, text: &str, answers: &[Value]) -> Vec<(String, Value)> {
        self.answer(answers);
        self.host.put(queue, text).await;
        self.received()
    }

    /// Forgets what was received.
    pub(crate) fn answer(&self, answers: &[Value]) {
        self.received.lock().unwrap().clear();
        *self.answers.lock().unwrap() = answers.iter().cloned().collect();
    }

    pub(crate) fn received(&self) -> Vec<(String, Value)> {
        self.received.lock().unwrap().clone()
    }
}

/// The recorded app: `DispatchQueue` on `jobs` with an output `next`, and `RetQueue`, binary, with
/// `$return`.
fn stage(folder: &Path, queues: Value) {
    let function = |name: &str, bindings: Value| {
        std::fs::create_dir_all(folder.join(name)).unwrap();
        let text = json!({ "bindings": bindings }).to_string();
        std::fs::write(folder.join(name).join("function.json"), text).unwrap();
    };
    function(
        "DispatchQueue",
        json!([
            { "type": "queueTrigger", "direction": "in", "name": "item", "queueName": "jobs" },
            { "type": "queue", "direction": "out", "name": "next", "queueName": "out" }
        ]),
    );
    function(
        "RetQueue",
        json!([
            { "type": "queueTrigger", "direction": "in", "name": "item", "queueName": "ret", "dataType": "binary" },
            { "type": "queue", "direction": "out", "name": "$return", "queueName": "out" }
        ]),
    );
    // Its recorded schedule is every minute: a test in which one turns would see an invocation more.
    let on_leap_day = "0 0 0 29 2 *";
    function(
        "Minute",
        json!([{ "type": "timerTrigger", "direction": "in", "name": "timer", "schedule": on_leap_day }]),
    );
    let host = json!({
        "version": "2.0",
        "customHandler": {
            "description": { "defaultExecutablePath": "handler" },
            "enableForwardingHttpRequest": true
        },
        "extensions": { "queues": queues }
    });
    std::fs::write(folder.join("host.json"), host.to_string()).unwrap();
    // Never run, but the host looks for it.
    std::fs::write(folder.join("handler"), "").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.join("handler"), executable).unwrap();
}

type Answer = BoxFuture<'static, Response<Full<Bytes>>>;

/// A handler that answers each envelope by what `answer` makes of its path and body.
fn serve(
    listener: std::net::TcpListener,
    answer: impl Fn(String, Value) -> Answer + Send + Sync + 'static,
) -> (u16, JoinHandle<()>) {
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let answer = Arc::new(answer);
    let accept = async move {
        loop {
            let (stream, _) = listener.accept().await.expect("loopback accepts");
            let answer = answer.clone();
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await?.to_bytes();
                    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                    Ok::<_, hyper::Error>(answer(path, body).await)
                }
            });
            let connection = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(connection, service));
        }
    };
    (port, tokio::spawn(accept))
}

fn ok() -> Response<Full<Bytes>> {
    let ok = json!({ "status": 200, "headers": [["Content-Type", "application/json"]], "body": "{}" });
    response(&ok)
}

/// `"200 application/json {}"`, or status, headers and body.
fn response(told: &Value) -> Response<Full<Bytes>> {
    if !told.is_object() {
        assert!(told.is_null() || *told == "200 application/json {}", "no answer: {told}");
        return ok();
    }
    let mut response = Response::builder().status(told["status"].as_u64().unwrap() as u16);
    for header in told["headers"].as_array().unwrap() {
        response = response.header(header[0].as_str().unwrap(), header[1].as_str().unwrap());
    }
    response.body(Full::new(Bytes::from(told["body"].as_str().unwrap().to_owned()))).unwrap()
}

/// A recorded text, made whole again where the recording cut it: `xxx...(61440 chars)`.
fn whole(text: &str) -> String {
    let Some((start, length)) = text.strip_suffix(" chars)").and_then(|cut| cut.rsplit_once("...(")) else {
        return text.to_owned();
    };
    let length: usize = length.parse().unwrap();
    let (filler, end) = if start.starts_with('{') { ("y", "\"}") } else { ("x", "") };
    let missing = length - start.len() - end.len();
    format!("{start}{}{end}", filler.repeat(missing))
}

/// What differs from run to run gets a name: ids, receipts, times.
pub(crate) fn settled(body: &Value) -> Value {
    let mut body = body.clone();
    let Some(metadata) = body["Metadata"].as_object_mut() else { return body };
    for (name, value) in metadata.iter_mut() {
        let text = value.as_str().unwrap_or_default();
        let settled = match name.as_str() {
            "Id" if text.len() == 38 => json!("<id>"),
            "PopReceipt" if text.len() > 20 => json!("<receipt>"),
            "ExpirationTime" | "InsertionTime" | "NextVisibleTime" if text.len() == 25 => json!("<time>"),
            "sys" if value.is_object() => json!({ "MethodName": value["MethodName"] }),
            _ => continue,
        };
        *value = settled;
    }
    body
}

/// Members in order: the host writes them in one, and readers may depend on it.
fn assert_same(actual: &Value, expected: &Value, name: &str) {
    assert_eq!(settled(actual).to_string(), settled(expected).to_string(), "{name}");
}

fn dequeue_counts(tries: &Value) -> Vec<Value> {
    tries.as_array().unwrap().iter().map(|attempt| attempt[1].clone()).collect()
}

#[tokio::test]
async fn messages_without_encoding() {
    replay_cases("none", "queue::messages_without_encoding").await;
}

#[tokio::test]
async fn messages_in_base64() {
    replay_cases("base64", "queue::messages_in_base64").await;
}

async fn replay_cases(encoding: &str, test: &str) {
    let bench = Bench::start(encoding, encoding, false).await;
    for (name, case) in WHOLE.replayed_by(test) {
        let text = whole(case["message_text"].as_str().unwrap());
        let raw = case["raw_put"] == true;
        let put = if encoding == "base64" && !raw { BASE64.encode(&text) } else { text.clone() };
        let first = &case["handler_first_request"];
        let queue = if first["url"] == "/RetQueue" { "ret" } else { "jobs" };
        let received = bench.replay(queue, &put, &[case["handler_answer"].clone()]).await;

        match first["body"].as_str() {
            None => assert_eq!(received, [], "{name}"),
            Some(body) => {
                assert_eq!(received[0].0, first["url"].as_str().unwrap(), "{name}");
                match serde_json::from_str(body) {
                    Ok(body) => assert_same(&received[0].1, &body, &name),
                    // The recording cut it; the text in it is what counts.
                    Err(_) => {
                        assert_eq!(received[0].1["Data"]["item"], json!(json!(text).to_string()), "{name}")
                    }
                }
            }
        }
        let counts: Vec<Value> =
            received.iter().filter_map(|(_, body)| body["Metadata"].get("DequeueCount").cloned()).collect();
        assert_eq!(counts, dequeue_counts(&case["tries"]), "{name}: tries");
        let listed = |value: &Value| value.as_array().cloned().unwrap_or_default();
        assert_eq!(
            json!(bench.host.drain("jobs-poison").await),
            json!(listed(&case["poison_queue_raw"])),
            "{name}: poison"
        );
        assert_eq!(
            json!(bench.host.drain("out").await),
            json!(listed(&case["output_queue_raw"])),
            "{name}: output"
        );
    }
    bench.end().await;
}

#[tokio::test]
async fn envelopes_of_the_hosts_own_classes() {
    let bench = Bench::start("classes", "None", false).await;
    for (name, case) in PARTS.replayed_by("queue::envelopes_of_the_hosts_own_classes") {
        let raw = case["received"].as_str().unwrap();
        let chunk = raw.split("\r\n\r\n").nth(1).unwrap().split("\r\n").nth(1).unwrap();
        let expected: Value = serde_json::from_str(chunk).unwrap();
        let text: String = serde_json::from_str(expected["Data"]["item"].as_str().unwrap()).unwrap();
        // The text holds control characters that no XML can carry.
        let text = if name == "bytes-queue-ctl" { text.replace(['\u{1}', '\u{1f}'], "") } else { text };
        let received = bench.replay("jobs", &text, &[Value::Null]).await;
        let mut got = received[0].1.clone();
        // These requests were made without the context that adds `sys`.
        got["Metadata"].as_object_mut().unwrap().shift_remove("sys");
        if name == "bytes-queue-ctl" {
            let data =
                expected["Data"]["item"].as_str().unwrap().replace("\\u0001", "").replace("\\u001f", "");
            assert_eq!(got["Data"]["item"], data, "{name}");
        } else {
            assert_same(&got, &expected, &name);
        }
    }
    bench.end().await;
}

#[test]
fn pauses_between_polls() {
    for (name, case) in PARTS.replayed_by("queue::pauses_between_polls") {
        let longest = if name.contains("max2s") { 2 } else { 60 };
        let recorded: Vec<f64> =
            case["outcome"]["delays_ms"].as_array().unwrap().iter().map(|ms| ms.as_f64().unwrap()).collect();
        let pauses = |jitter: f64| -> Vec<f64> {
            let mut backoff = Backoff::new(Duration::from_secs(longest));
            recorded.iter().map(|_| backoff.next(false, jitter).as_secs_f64() * 1_000.0).collect()
        };
        let (least, most) = (pauses(0.8), pauses(1.2));
        for (at, &ms) in recorded.iter().enumerate() {
            let within = (least[at] - 1.0..=most[at] + 1.0).contains(&ms);
            assert!(within, "{name}: pause {at} of {ms} ms, ours {}..{}", least[at], most[at]);
        }
    }
}

#[tokio::test]
async fn a_failed_try_is_followed_by_another() {
    let bench = Bench::start("tries", "none", false).await;
    let status = |code: u16, name: &str, value: &str| json!({ "status": code, "headers": [[name, value]], "body": "" });
    let tries = [
        ("E.ans.302.forwarding-on", vec![status(302, "Location", "/redirected")]),
        ("E.ans.404-503", vec![status(404, "X-None", "0"), status(503, "Retry-After", "60")]),
    ];
    for (name, mut answers) in tries {
        let case = WHOLE.case(name);
        answers.push(Value::Null);
        let received = bench.replay("jobs", name, &answers).await;
        let ours: Vec<Value> =
            received.iter().map(|(path, body)| json!([path, body["Metadata"]["DequeueCount"]])).collect();
        let timeline = case["timeline"].as_array().unwrap().iter();
        let theirs: Vec<Value> = timeline
            .filter(|event| event["ev"] == "/DispatchQueue")
            .map(|event| json!([event["ev"], event["dq"]]))
            .collect();
        assert_eq!(ours, theirs, "{name}");
    }
    assert_eq!(bench.host.drain("jobs-poison").await, [""; 0]);
    bench.end().await;
}

#[tokio::test]
async fn a_broken_answer_fails_the_invocation() {
    for (name, case) in PARTS.replayed_by("queue::a_broken_answer_fails_the_invocation") {
        let answer = case["answered"].as_str().unwrap().replace(" [connection closed]", "");
        let script = Script::start(answer.into_bytes(), Then::Close).await;
        let once =
            json!({ "messageEncoding": "none", "maxDequeueCount": 1, "maxPollingInterval": "00:00:00.1" });
        let host = Host::start(&name, once, script.port, false).await;
        host.put("jobs", "hello").await;
        assert_eq!(host.drain("jobs-poison").await, ["hello"], "{name}: it failed");
        let received = script.received.lock().unwrap().clone();
        let firsts: Vec<String> = received.iter().map(|request| first_line(request)).collect();
        assert_eq!(json!(firsts), case["received"], "{name}: one request an invocation");
        host.end().await;
    }
}

fn first_line(request: &[u8]) -> String {
    String::from_utf8_lossy(request).lines().next().unwrap_or_default().to_owned()
}

/// The connection breaks under the second message: its invocation fails, and the queue gives it again.
#[tokio::test]
async fn an_envelope_is_not_sent_twice() {
    for (name, case) in PARTS.replayed_by("queue::an_envelope_is_not_sent_twice") {
        let idle = name.contains("close-idle");
        let ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        let script = Script::start(ok.into(), if idle { Then::Close } else { Then::CloseSecond }).await;
        let queues = json!({ "messageEncoding": "none", "maxPollingInterval": "00:00:00.1" });
        let host = Host::start(&name[..28], queues, script.port, false).await;
        host.put("jobs", "first").await;
        host.put("jobs", "second").await;
        let received = script.received.lock().unwrap().clone();
        let counts: Vec<bool> = received
            .iter()
            .map(|request| String::from_utf8_lossy(request).contains(r#""DequeueCount":"2""#))
            .collect();
        // A connection that was closed while idle is not used; one that breaks costs a try.
        let expected: &[bool] = if idle { &[false, false] } else { &[false, false, true] };
        assert_eq!(counts, expected, "{name}");
        assert_eq!(case["received"].as_array().unwrap().len(), 2, "{name}: the recorder gave it once");
        host.end().await;
    }
}

#[tokio::test]
async fn as_many_run_at_once_as_the_settings_say() {
    let case = WHOLE.case("E.concurrency.default");
    let most = usize::try_from(case["max_parallel"].as_u64().unwrap()).unwrap();
    let all = usize::try_from(case["handled"].as_u64().unwrap()).unwrap();
    // How many run, and the most that ever did; none ends before that is what was recorded.
    let (counts, watched) = tokio::sync::watch::channel((0, 0, 0));
    let counts = Arc::new(counts);
    let seen = counts.clone();
    let (port, handler) = serve(listener(), move |_, _| {
        let (counts, mut watched) = (seen.clone(), watched.clone());
        async move {
            counts.send_modify(|(now, peak, _)| {
                *now += 1;
                *peak = (*peak).max(*now);
            });
            let _ = watched.wait_for(|(_, peak, _)| *peak >= most).await;
            counts.send_modify(|(now, _, done)| {
                *now -= 1;
                *done += 1;
            });
            ok()
        }
        .boxed()
    });
    // The recording's two cores make 16 of the default; ours is that of one core.
    let queues =
        json!({ "messageEncoding": "none", "newBatchThreshold": 16, "maxPollingInterval": "00:00:00.1" });
    let messages: Vec<String> = (0..all).map(|n| format!("m{n}")).collect();
    let host = Host::start_on("concurrency", queues, port, false, &messages).await;
    host.until_empty("jobs").await;
    assert_eq!(*counts.borrow(), (0, most, all));
    host.end().await;
    handler.abort();
}
