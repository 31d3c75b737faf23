//! The recordings of the real host's queue and timer triggers, replayed: the stand-in host on the
//! queue stand-in, with a scripted handler in the place of the recording one. Every recorded case
//! of the two triggers runs here or stands in [`LEFT_OUT`] with its reason.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use clock::Clock;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use local::host::app::App;
use local::host::queue::Backoff;
use local::host::schedule::Schedule;
use local::host::timer::Status;
use local::host::{self, Handler, Keys, Options};
use local::queue::Server;
use local::queue::client::{Account, Queue};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Cases that are not replayed, by name.
const LEFT_OUT: &[(&str, &str)] = &[
    ("E.none.control chars", "Azurite takes a text that no XML can carry; our stand-in refuses it"),
    ("E.concurrency.default", "two cores' default of newBatchThreshold; ours is that of one core"),
    (
        "E.none.ans.302",
        "the real host follows redirects of a handler; ours does not, and fails the invocation",
    ),
    ("E.none.ans.307", "as above"),
    ("E.ans.302.forwarding-on", "a timeline; that a redirect fails there is what ours always does"),
    ("E.ans.302.forwarding-off", "as E.none.ans.302"),
    ("E.ans.404-503", "a timeline; E.none.ans.400 and .429 are the same contract"),
    ("E.none.out.array date", "an output that is a bare date: only other apps send such messages"),
    ("E.base64.out.array date", "as above"),
    ("E.none.out.date string", "as above"),
    ("E.base64.out.date string", "as above"),
    ("E.base64.out.object date offset", "offsets of dates inside an output object, as above"),
    ("F.bad-schedule", "log lines; `what_is_no_schedule_is_refused` and `Timer::new` hold the contract"),
    ("F.failing", "log lines; the timer's unit tests answer every run with a failure"),
    ("F.overlap", "times of arrival; `runs_longer_than_the_period…` holds them on virtual time"),
    ("bytes-queue-json-comment", "Newtonsoft reads comments in JSON; only other apps send such messages"),
    ("bytes-queue-json-single", "Newtonsoft reads single quotes as well"),
    ("bytes-queue-lone-surrogate", "no UTF-8 text has one"),
    ("bytes-queue-hello-activity-w3c", "traceparent needs telemetry inside the host, which ours has not"),
    ("bytes-queue-hello-activity-recorded", "as above"),
    ("bytes-queue-hello-activity-hier", "as above"),
    ("bytes-queue-coretools", "`func start` alone sends Content-Length"),
    ("bytes-queue-big", "sizes of chunks are not the contract; 60 KiB run as E.none.big"),
    ("bytes-value-encodings", "CLR types that no queue or timer trigger gives"),
    ("bytes-binary-nodatatype", "a value that the queue extension never gives"),
    ("bytes-null-trigger", "as above"),
    ("bytes-timer-first", "an unspecified offset, which a host in UTC does not write"),
    ("queue-envelope-reuse-read-whole-request-then-close", "the connection to the handler, not the trigger"),
    ("queue-envelope-reuse-close-idle-before", "as above"),
    ("singleton-defaults", "one host a machine: there is nobody to hold the lock against"),
    ("schedule %S%", "settings are replaced where function.json is read"),
    ("schedule %MISSING%", "as above"),
    ("timer-first-status-roundtrip", "the file monitor's local offset, which is UTC here"),
];

fn recordings(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/wire").join(file);
    let text = std::fs::read_to_string(path).expect("the recordings are in the repository");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn named<'a>(all: &'a [Value], name: &str) -> &'a Value {
    all.iter().find(|case| id(case) == name).unwrap_or_else(|| panic!("no recording `{name}`"))
}

fn id(case: &Value) -> &str {
    case.get("case").or(case.get("id")).and_then(Value::as_str).expect("each recording has a name")
}

fn left_out(name: &str) -> bool {
    LEFT_OUT.iter().any(|(left_out, _)| *left_out == name)
}

#[test]
fn what_is_left_out_exists() {
    let all = [recordings("host-whole.jsonl"), recordings("host-parts.jsonl")].concat();
    for (name, _) in LEFT_OUT {
        named(&all, name);
    }
}

/// The host on a staged folder, with the test as its handler.
struct Bench {
    folder: PathBuf,
    queues: Server,
    account: Account,
    received: Arc<Mutex<Vec<(String, Value)>>>,
    answer: Arc<Mutex<Value>>,
    stop: CancellationToken,
    host: JoinHandle<()>,
    handler: JoinHandle<()>,
}

impl Bench {
    async fn start(encoding: &str) -> Bench {
        let folder = std::env::temp_dir().join(format!("triggers-{encoding}-{}", std::process::id()));
        stage(&folder, encoding);
        let clock = Clock::REAL;
        let listen = || std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let queues = Server::start(listen(), clock).unwrap();
        let account = Account::parse(&queues.connection_string()).unwrap();
        for name in ["jobs", "ret", "out"] {
            account.queue(name).create().await.unwrap();
        }
        let (received, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Value::Null)));
        let (port, handler) = serve(listen(), received.clone(), answer.clone());
        let app = App::load(&folder, &|_| None).unwrap();
        let options = Options {
            app_root: folder.clone(),
            listener: listen(),
            storage: Some(account.clone()),
            keys: Keys::Off,
            settings: Vec::new(),
            clock,
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let host = tokio::spawn(async move {
            host::run_app(app, options, Handler::At(port), stopped).await.expect("the folder is right");
        });
        Bench { folder, queues, account, received, answer, stop, host, handler }
    }

    async fn end(self) {
        self.stop.cancel();
        self.host.await.unwrap();
        self.handler.abort();
        self.queues.stop().await;
        std::fs::remove_dir_all(self.folder).unwrap();
    }

    /// Puts a text, waits until its queue is empty, and gives what the handler saw.
    async fn replay(&self, queue: &str, text: &str, answer: Value) -> Vec<(String, Value)> {
        self.received.lock().unwrap().clear();
        *self.answer.lock().unwrap() = answer;
        let queue = self.account.queue(queue);
        queue.put(text).await.unwrap();
        let empty = async {
            while queue.count().await.unwrap() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), empty).await.expect("the message is dealt with");
        self.received.lock().unwrap().clone()
    }

    async fn drain(&self, queue: &str) -> Vec<String> {
        let queue: Queue = self.account.queue(queue);
        let messages = queue.peek(32).await.unwrap_or_default();
        let _ = queue.clear().await;
        messages.into_iter().map(|message| message.text).collect()
    }
}

/// The recorded app: `DispatchQueue` on `jobs` with an output `next`, and `RetQueue`, binary, with
/// `$return`.
fn stage(folder: &Path, encoding: &str) {
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
    let host = json!({
        "version": "2.0",
        "customHandler": { "description": { "defaultExecutablePath": "handler" } },
        "extensions": { "queues": { "messageEncoding": encoding, "maxPollingInterval": "00:00:00.1" } }
    });
    std::fs::write(folder.join("host.json"), host.to_string()).unwrap();
    // Never run, but the host looks for it.
    std::fs::write(folder.join("handler"), "").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.join("handler"), executable).unwrap();
}

type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// Answers everything as told; after a redirect with `200 {}`.
fn serve(listener: std::net::TcpListener, seen: Seen, answer: Arc<Mutex<Value>>) -> (u16, JoinHandle<()>) {
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let accept = async move {
        loop {
            let (stream, _) = listener.accept().await.expect("loopback accepts");
            let (seen, answer) = (seen.clone(), answer.clone());
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let (seen, answer) = (seen.clone(), answer.clone());
                async move {
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await?.to_bytes();
                    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                    seen.lock().unwrap().push((path.clone(), body));
                    let told = answer.lock().unwrap().clone();
                    Ok::<_, hyper::Error>(if path == "/redirected" { ok() } else { response(&told) })
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
    if told.is_string() {
        assert_eq!(told, "200 application/json {}");
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
fn settled(body: &Value) -> Value {
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
async fn queue_messages_without_encoding() {
    replay_queue_cases("none").await;
}

#[tokio::test]
async fn queue_messages_in_base64() {
    replay_queue_cases("base64").await;
}

async fn replay_queue_cases(encoding: &str) {
    let bench = Bench::start(encoding).await;
    let prefix = format!("E.{encoding}.");
    let mut replayed = 0;
    for case in recordings("host-whole.jsonl") {
        let name = id(&case);
        if !name.starts_with(&prefix) || left_out(name) {
            continue;
        }
        let text = whole(case["message_text"].as_str().unwrap());
        let raw = case["raw_put"] == true;
        let put = if encoding == "base64" && !raw { BASE64.encode(&text) } else { text.clone() };
        let first = &case["handler_first_request"];
        let queue = if first["url"] == "/RetQueue" { "ret" } else { "jobs" };
        let received = bench.replay(queue, &put, case["handler_answer"].clone()).await;

        match first["body"].as_str() {
            None => assert_eq!(received, [], "{name}"),
            Some(body) => {
                assert_eq!(received[0].0, first["url"].as_str().unwrap(), "{name}");
                match serde_json::from_str(body) {
                    Ok(body) => assert_same(&received[0].1, &body, name),
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
            json!(bench.drain("jobs-poison").await),
            json!(listed(&case["poison_queue_raw"])),
            "{name}: poison"
        );
        assert_eq!(
            json!(bench.drain("out").await),
            json!(listed(&case["output_queue_raw"])),
            "{name}: output"
        );
        replayed += 1;
    }
    assert!(replayed > 40, "only {replayed} cases of {encoding} were found");
    bench.end().await;
}

#[tokio::test]
async fn envelopes_of_the_hosts_own_classes() {
    let bench = Bench::start("None").await;
    let mut replayed = 0;
    for case in recordings("host-parts.jsonl") {
        let name = id(&case);
        if !name.starts_with("bytes-queue") || left_out(name) {
            continue;
        }
        let raw = case["received"].as_str().unwrap();
        let chunk = raw.split("\r\n\r\n").nth(1).unwrap().split("\r\n").nth(1).unwrap();
        let expected: Value = serde_json::from_str(chunk).unwrap();
        let text: String = serde_json::from_str(expected["Data"]["item"].as_str().unwrap()).unwrap();
        // The text holds control characters that no XML can carry.
        let text = if name == "bytes-queue-ctl" { text.replace(['\u{1}', '\u{1f}'], "") } else { text };
        let received = bench.replay("jobs", &text, json!("200 application/json {}")).await;
        let mut got = received[0].1.clone();
        // These requests were made without the context that adds `sys`.
        got["Metadata"].as_object_mut().unwrap().shift_remove("sys");
        if name == "bytes-queue-ctl" {
            let data =
                expected["Data"]["item"].as_str().unwrap().replace("\\u0001", "").replace("\\u001f", "");
            assert_eq!(got["Data"]["item"], data, "{name}");
        } else {
            assert_same(&got, &expected, name);
        }
        replayed += 1;
    }
    assert_eq!(replayed, 12);
    bench.end().await;
}

#[test]
fn pauses_between_polls() {
    let mut replayed = 0;
    for case in recordings("host-parts.jsonl").iter().filter(|case| id(case).starts_with("backoff-")) {
        let longest = if id(case).contains("max2s") { 2 } else { 60 };
        let recorded: Vec<f64> =
            case["outcome"]["delays_ms"].as_array().unwrap().iter().map(|ms| ms.as_f64().unwrap()).collect();
        let pauses = |jitter: f64| -> Vec<f64> {
            let mut backoff = Backoff::new(Duration::from_secs(longest));
            recorded.iter().map(|_| backoff.next(false, jitter).as_secs_f64() * 1_000.0).collect()
        };
        let (least, most) = (pauses(0.8), pauses(1.2));
        for (at, &ms) in recorded.iter().enumerate() {
            let within = (least[at] - 1.0..=most[at] + 1.0).contains(&ms);
            assert!(within, "{}: pause {at} of {ms} ms, ours {}..{}", id(case), least[at], most[at]);
        }
        replayed += 1;
    }
    assert_eq!(replayed, 6);
}

fn unix_ms(text: &str) -> u64 {
    let civil: jiff::civil::DateTime = text.trim_end_matches("+00:00").parse().unwrap();
    u64::try_from(jiff::tz::TimeZone::UTC.to_timestamp(civil).unwrap().as_millisecond()).unwrap()
}

#[test]
fn schedules() {
    for case in recordings("host-parts.jsonl").iter().filter(|case| id(case).starts_with("schedule")) {
        if left_out(id(case)) {
            continue;
        }
        let schedule = Schedule::parse(case["stimulus"].as_str().unwrap());
        let Some(recorded) = case["outcome"].as_object() else {
            assert!(schedule.is_err(), "{}", id(case));
            continue;
        };
        let schedule = schedule.unwrap();
        assert_eq!(schedule.adjusts_for_dst(), recorded["AdjustForDST"], "{}", id(case));
        assert_eq!(schedule.can_be_monitored(), recorded["useMonitor_after"], "{}", id(case));
        let mut at_ms = unix_ms("2026-11-20T15:21:33");
        for next in recorded["next3_from_152133"].as_str().unwrap().split(", ") {
            at_ms = schedule.next(at_ms);
            if next.starts_with("9999") {
                assert_eq!(at_ms, local::queue::store::NEVER_MS);
            } else {
                assert_eq!(at_ms, unix_ms(next), "{}", id(case));
            }
        }
    }
}

#[test]
fn past_due() {
    let schedule = Schedule::parse("0 */5 * * * *").unwrap();
    let mut replayed = 0;
    for case in recordings("host-parts.jsonl").iter().filter(|case| id(case).starts_with("pastdue-")) {
        let now_ms = unix_ms(case["stimulus"]["now"].as_str().unwrap());
        let before = Status::from_json(&case["stimulus"]["statusBefore"]);
        let (_, missed) = Status::on_start(before, &schedule, now_ms);
        assert_eq!(missed, case["outcome"]["pastDueBy"] != "00:00:00", "{}", id(case));
        replayed += 1;
    }
    assert_eq!(replayed, 6);
}

/// Statuses that the host showed one after the other follow from each other by our steps.
#[test]
fn timer_statuses() {
    use local::host::timer::Reason;
    let all = recordings("host-whole.jsonl");
    let mut runs: HashMap<String, Vec<(u64, Value)>> = HashMap::new();
    for case in all.iter().filter(|case| id(case).starts_with("F.") && !left_out(id(case))) {
        for request in case["requests"].as_array().into_iter().flatten() {
            let body: Value = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
            let name = body["Metadata"]["sys"]["MethodName"].as_str().unwrap().to_owned();
            let at_ms = unix_ms(body["Metadata"]["sys"]["UtcNow"].as_str().unwrap().trim_end_matches('Z'));
            // G.timer fired it by hand at that moment.
            if body["Metadata"].get("timer").is_none() {
                runs.entry(name).or_default().push((at_ms, body["Data"]["timer"].clone()));
            }
        }
    }
    let minute = Schedule::parse("0 * * * * *").unwrap();
    for name in ["Minute", "Minute2", "FailT"] {
        let runs = &runs[name];
        for (at_ms, info) in runs {
            let status = Status::from_json(&info["ScheduleStatus"]).expect(name);
            assert_eq!(info["Schedule"]["AdjustForDST"], true);
            assert_eq!(
                info["IsPastDue"],
                Status::on_start(Some(status), &minute, *at_ms).1 && *at_ms > status.next_ms + 1_000,
                "{name} at {at_ms}"
            );
        }
        for pair in runs.windows(2) {
            let [before, after] =
                [&pair[0].1, &pair[1].1].map(|info| Status::from_json(&info["ScheduleStatus"]).unwrap());
            let Some(began_ms) = after.last_ms else { continue };
            let why = if pair[0].1["IsPastDue"] == true { Reason::PastDue } else { Reason::Due };
            // Between two of these runs the host was started several times.
            if pair[1].0 - pair[0].0 < 120_000 {
                assert_eq!(before.after_run(&minute, began_ms, why), after, "{name}");
            }
        }
    }
    for name in ["Short", "NoMon"] {
        assert!(runs[name].iter().all(|(_, info)| info["ScheduleStatus"].is_null()), "{name}");
    }
    for (path, text) in named(&all, "F.status-blobs")["blobs"].as_object().unwrap() {
        let status = Status::from_json(&serde_json::from_str(text.as_str().unwrap()).unwrap()).expect(path);
        let schedule = match path {
            path if path.contains(".Five/") => "0 */5 * * * *",
            path if path.contains(".OnStart/") => "0 0 3 1 1 *",
            _ => "0 * * * * *",
        };
        let schedule = Schedule::parse(schedule).unwrap();
        assert_eq!(schedule.next(status.last_ms.or(status.updated_ms).unwrap()), status.next_ms, "{path}");
        assert_eq!(Status::from_json(&status.to_json()), Some(status), "{path}");
    }
}

#[test]
fn timer_envelopes() {
    for case in recordings("host-parts.jsonl").iter().filter(|case| id(case).starts_with("bytes-timer")) {
        if left_out(id(case)) {
            continue;
        }
        let raw = case["received"].as_str().unwrap();
        let chunk = raw.split("\r\n\r\n").nth(1).unwrap().split("\r\n").nth(1).unwrap();
        let body: Value = serde_json::from_str(chunk).unwrap();
        let recorded = &body["Data"]["timer"];
        let names: Vec<&String> = recorded.as_object().unwrap().keys().collect();
        assert_eq!(names, ["Schedule", "ScheduleStatus", "IsPastDue"], "{}", id(case));
        if !recorded["ScheduleStatus"].is_null() {
            let status = Status::from_json(&recorded["ScheduleStatus"]).expect("a recorded status is one");
            // The host counts in 100 ns, we in milliseconds.
            let cut = |value: &Value| value.to_string().replace(".0096035", ".009");
            assert_eq!(cut(&status.to_json()), cut(&recorded["ScheduleStatus"]), "{}", id(case));
        }
    }
}
