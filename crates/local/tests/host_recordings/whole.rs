//! The whole real host: HTTP forwarding (`B.`) and HTTP envelopes (`C.`) of host-whole.jsonl.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use local::host::Keys;
use local::host::app::{App, AuthLevel, Function, Http, Output, Trigger};
use serde_json::Value;

use crate::raw::{Message, Script, Then, ask};
use crate::requests::{app, equal, same_answer, same_headers_and_body, start};
use crate::{assert_all, recordings};

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

async fn check(case: &Value, forwarding: bool) -> Result<(), String> {
    let (answer, then) = script(&case["handler_answer"]);
    let script = Script::start(answer, then).await;
    let keys = std::env::temp_dir().join(format!("switchyard-whole-{}-{}", std::process::id(), script.port));
    let (port, _stop) = start(recorded_app(forwarding), script.port, Keys::KeptIn(keys.clone()));
    let stimulus = case["stimulus"].as_str().ok_or("the stimulus is not text")?;
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

async fn check_all(letter: &str, forwarding: bool, left_out: &[(&str, &str)]) {
    let rows = recordings("host-whole.jsonl").into_iter();
    let cases: Vec<Value> =
        rows.filter(|row| row["case"].as_str().is_some_and(|case| case.starts_with(letter))).collect();
    for (id, reason) in left_out {
        assert!(cases.iter().any(|case| case["case"] == *id), "{id} ({reason}) is not a case");
    }
    let named = cases.into_iter().map(|case| (case["case"].as_str().unwrap_or_default().to_owned(), case));
    let run =
        named.filter(|(id, _)| !left_out.iter().any(|(out, _)| out == id)).map(|(id, case)| async move {
            let result =
                tokio::time::timeout(std::time::Duration::from_secs(30), check(&case, forwarding)).await;
            (id, result.unwrap_or_else(|_| Err("no end within 30 s".into())))
        });
    assert_all(futures_util::future::join_all(run).await);
}

const DESCRIBED: &str = "the stimulus is described, not recorded";
const ODD: &str = "a conversion that only other apps meet";

#[tokio::test(flavor = "multi_thread")]
async fn forwarding() {
    let twice = "the second answer of a connection that the recorder reused";
    let left_out = [
        (
            "B.post.short-body",
            "a client that never sends the rest: the real host gives up after 5 s, ours with the client",
        ),
        ("B.bigheader.8k", DESCRIBED),
        ("B.bigheader.40k", DESCRIBED),
        ("B.ans.201.after-keepalive", twice),
        ("B.ans.201.after", twice),
        ("B.ans.gzip", "the recording of the body is cut at the first byte that is not text"),
        ("B.ans.chunked", "three timed chunks; `forward-resp-chunked` has them"),
        ("B.keepalive-client", "the recording handler's own Keep-Alive header"),
        ("B.client-disconnect", "the client hears nothing; tests/it/under_host.rs has clients that leave"),
        ("B.root", "a start page of our own"),
        ("B.chunked.enableChunkedRequestBinding", DESCRIBED),
    ];
    check_all("B.", true, &left_out).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envelopes() {
    let left_out = [
        ("C.ans.headers multi", ODD),
        ("C.ans.status 99", ODD),
        ("C.handler-status.204", "an answer that never comes; the `env-` cases have it"),
        ("C.handler-status.302", "redirects are followed only where forwarding is off"),
        ("C.handler.logs.hostlog", DESCRIBED),
        ("C.key.function-header", DESCRIBED),
        ("C.key.host-header", DESCRIBED),
        ("C.key.master-header", DESCRIBED),
    ];
    check_all("C.", false, &left_out).await;
}

/// Cases about the host's process and tools: where each is tested, or why it is left out.
const ELSEWHERE: &[(&str, &str)] = &[
    ("A.env", "host_process.rs: the_environment_is_the_hosts"),
    ("A.probe", "left out: tells times; the probe is one GET / after the first accepted connection"),
    ("A.ping", "left out: /admin/host/ping never reaches the handler here by construction"),
    ("A.probe.normal", "left out: tells times; the probe is one GET / after the first accepted connection"),
    ("A.headers-with-app-insights", "left out: the host's own telemetry is configured"),
    ("A.nested", "host_process.rs: wrong_folders_say_what_to_do"),
    ("A.stdio", "left out: lines go to our log, whose form is our own"),
    ("A.probe.get", "left out: tells times; the probe is one GET / after the first accepted connection"),
    ("D.envelope", "conformance.rs: http_functions_answer"),
    ("D.envelope.queue", "conformance.rs: http_functions_answer"),
    (
        "D.envelope.dollar-return",
        "left out: not tested; a ReturnValue that feeds two bindings is nothing our functions do",
    ),
    (
        "D.envelope.dollar-return.queue",
        "left out: not tested; a ReturnValue that feeds two bindings is nothing our functions do",
    ),
    ("G.queue", "conformance.rs: functions_are_fired_by_hand"),
    ("G.queue json text", "src/host/queue_tests.rs: envelopes of functions fired by hand"),
    ("G.queue object", "conformance.rs: functions_are_fired_by_hand"),
    ("G.queue empty object", "conformance.rs: functions_are_fired_by_hand"),
    ("G.queue empty body", "conformance.rs: functions_are_fired_by_hand"),
    ("G.queue no key", "left out: not tested by itself; `B.admin.no-key` has the same check"),
    ("G.unknown", "conformance.rs: functions_are_fired_by_hand"),
    ("G.timer", "conformance.rs: functions_are_fired_by_hand"),
    ("G.lower-case name", "conformance.rs: functions_are_fired_by_hand"),
    ("H.shutdown.sigterm", "host_process.rs: every Rig::stopped"),
    ("H.exit1.http", "host_process.rs: exit_codes_decide_about_restarts"),
    ("H.exit200.http", "host_process.rs: exit_codes_decide_about_restarts"),
    ("H.sigkill.inflight", "tests/it/under_host.rs: a_killed_handler_gives_no_wrong_answer"),
    ("H.exit0", "host_process.rs: exit_codes_decide_about_restarts"),
    ("H.neverlisten.2s", "host_process.rs: a_handler_that_never_listens_ends_the_host"),
    (
        "H.listen5s",
        "left out: waits 5 s of real time; every test of host_process.rs asks before its handler listens",
    ),
    ("H.listen5s.timeout2s", "left out: as H.neverlisten.2s"),
    ("H.crashloop", "host_process.rs: three_crashes_end_the_host"),
    ("H.poisonous-message", "left out: as H.crashloop, by a message"),
    ("H.sigterm.inflight", "left out: waits 6 s of real time"),
    ("H.sigkill-host", "tests/it/handler_life.rs: it_ends_when_its_host_is_gone"),
    ("H.sigterm.inflight40s", "left out: waits 40 s of real time; ours waits 10 s at most"),
    ("H.neverlisten.30s", "left out: as H.neverlisten.2s, with 30 s"),
    (
        "I.http.empty-200",
        "answers.rs: answers that never complete (`env-200-empty-*`, `env-204`, `env-200-null`)",
    ),
    (
        "I.http.empty-200.after",
        "answers.rs: answers that never complete (`env-200-empty-*`, `env-204`, `env-200-null`)",
    ),
    ("I.queue-timeout", "left out: the same path as I.repeated-single-timeouts, by a message"),
    ("I.http-timeout.forwarding", "host_process.rs: a_single_time_out_restarts_the_handler_and_is_no_crash"),
    (
        "I.queue.empty 200",
        "answers.rs: answers that never complete (`env-200-empty-*`, `env-204`, `env-200-null`)",
    ),
    ("I.queue.204", "answers.rs: answers that never complete (`env-200-empty-*`, `env-204`, `env-200-null`)"),
    (
        "I.queue.null",
        "answers.rs: answers that never complete (`env-200-empty-*`, `env-204`, `env-200-null`)",
    ),
    ("I.repeated-single-timeouts", "host_process.rs: a_single_time_out_restarts_the_handler_and_is_no_crash"),
    ("I.simultaneous-timeouts", "host_process.rs: two_time_outs_together_end_the_host"),
];

#[test]
fn every_case_is_run_or_named() {
    let rows = recordings("host-whole.jsonl");
    let of_this_suite = |case: &str| ["B.", "C."].iter().any(|letter| case.starts_with(letter));
    // Queue and timer triggers have a suite of their own.
    let of_triggers = |case: &str| ["E.", "F."].iter().any(|letter| case.starts_with(letter));
    let cases = rows.iter().filter_map(|row| row["case"].as_str());
    let others: Vec<&str> = cases.filter(|case| !of_this_suite(case) && !of_triggers(case)).collect();
    let named: Vec<&str> = ELSEWHERE.iter().map(|(case, _)| *case).collect();
    assert_eq!(named, others, "ELSEWHERE must name exactly the other cases, in order");
}
