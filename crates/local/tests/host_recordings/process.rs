//! The handler's process under the host stand-in: environment, readiness, restarts, exit codes,
//! time-outs, the end (`A.env`, `H.`, `I.`, `process-`). Times are shorter than the recorded ones.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use local::host::{self, Ending};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::cases::{PARTS, WHOLE};
use crate::rig::{Rig, handler_command, host_json, stage, write_program};

/// `HTTP/1.1 500 Internal Server Error`, as the recorder keeps what a client got.
fn status(recorded: &Value) -> u16 {
    let text = recorded["out"].as_str().expect("what the client got is text");
    text.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line")
}

/// The events of a recorded timeline that have that name.
fn recorded(case: &Value, name: &str) -> Vec<Value> {
    let events = case["timeline"].as_array().into_iter().flatten();
    events.filter(|event| event["ev"] == name).cloned().collect()
}

/// How often a message was delivered by the handler's events; the recorder wrote texts.
fn tries(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["dq"].as_str().map_or(event["dq"].to_string(), str::to_owned)).collect()
}

/// A gate that the handler waits at: it opens when this is dropped.
struct Gate(tokio::net::TcpListener);

impl Gate {
    async fn shut() -> Gate {
        Gate(tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
    }

    fn port(&self) -> String {
        self.0.local_addr().expect("a bound port").port().to_string()
    }

    /// The next one that waits; it goes on when this is dropped.
    async fn next(&self) -> tokio::net::TcpStream {
        let accepted = tokio::time::timeout(crate::rig::PATIENCE, self.0.accept()).await;
        accepted.expect("somebody waits").expect("loopback accepts").0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_the_hosts() {
    let case = WHOLE.case("A.env");
    let rig = Rig::start("environment", &host_json(json!({})), &[("MY_APP_SETTING", "visible")]);
    let (status, said) = rig.ask("tell").await;
    assert_eq!(status, 200);
    assert_eq!(said["setting"], case["vars"]["MY_APP_SETTING"]);
    assert_eq!(said["worker"], said["twin"]);
    assert_eq!(said["ports"][0], said["ports"][1]);
    assert_eq!(said["root"].as_str(), rig.folder.to_str());
    assert_eq!(said["cwd"].as_str().map(Path::new), rig.folder.canonicalize().ok().as_deref());
    for name in ["FUNCTIONS_CUSTOMHANDLER_WORKER_ID", "FUNCTIONS_HTTPWORKER_PORT", "FUNCTIONS_APP_ROOT_PATH"]
    {
        assert!(case["vars"][name].is_string(), "{name}");
    }
    assert_eq!(rig.stopped().await, Ending::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_decide_about_restarts() {
    let (failed, asked) = (WHOLE.case("H.exit1.http"), WHOLE.case("H.exit200.http"));
    let rig = Rig::start("exit-codes", &host_json(json!({})), &[]);
    let (_, mut said) = rig.ask("tell").await;
    let port = said["ports"][0].clone();
    // 200 asks for a restart and is not counted.
    for (what, case) in
        [("exit 200", &asked), ("exit 200", &asked), ("exit 200", &asked), ("exit 1", &failed)]
    {
        assert_eq!(rig.ask(what).await.0, status(&case["client"]), "the invocation that died failed");
        said = rig.other_than(&said["worker"]).await;
        assert_eq!(said["ports"][0], port, "the same port");
    }
    let starts = recorded(&failed, "start");
    assert!(starts[0]["worker"] != starts[1]["worker"] && starts[0]["port"] == starts[1]["port"]);
    assert_eq!(status(&failed["next_client_immediately"]), 200);
    assert_eq!(rig.stopped().await, Ending::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_exit_code_0_everything_fails() {
    let case = WHOLE.case("H.exit0");
    let rig = Rig::start("exit-0", &host_json(json!({})), &[]);
    rig.ask("tell").await;
    assert_eq!(rig.ask("exit 0").await.0, status(&case["client_during"]));
    // Until the host has seen the end of the process, a request may still wait.
    assert_eq!(rig.ask("tell").await.0, status(&case["client_after"]));
    rig.put("whatever").await;
    rig.until_empty("jobs").await;
    assert_eq!(json!(rig.count("jobs-poison").await.to_string()), case["poison"]);
    assert_eq!(rig.events("start").len(), 1 + recorded(&case, "start").len(), "no restart");
    assert_eq!(case["host_alive"], true);
    assert_eq!(rig.stopped().await, Ending::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_handler_fails_what_it_had() {
    let case = WHOLE.case("H.sigkill.inflight");
    let rig = Rig::start("killed", &host_json(json!({})), &[]);
    rig.put("hang-first").await;
    let delivered = rig.until_events("/Dispatch", 1).await;
    let kill = async {
        rig.until_events("/api/run", 1).await;
        let pid = delivered[0]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw).expect("the handler tells its pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it lives");
    };
    let ((answered, _), ()) = tokio::join!(rig.ask("hang"), kill);
    assert_eq!(answered, status(&case["client"]));
    rig.until_empty("jobs").await;
    assert_eq!(json!(tries(&rig.events("/Dispatch"))), json!(tries(&recorded(&case, "/DispatchQueue"))));
    assert_eq!(rig.events("start").len(), 2);
    assert_eq!(rig.stopped().await, Ending::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_crashes_end_the_host() {
    let case = WHOLE.case("H.crashloop");
    let mut rig = Rig::start("crashes", &host_json(json!({})), &[("CRASH", "1")]);
    assert_eq!(rig.ending().await, Ending::RestartsExhausted);
    same_starts(&rig, &case);
}

/// As many starts as recorded, each a worker of its own on the same port.
fn same_starts(rig: &Rig, case: &Value) {
    let (ours, theirs) = (rig.events("start"), recorded(case, "start"));
    assert_eq!(ours.len(), theirs.len());
    for pair in ours.windows(2) {
        assert!(pair[0]["port"] == pair[1]["port"] && pair[0]["worker"] != pair[1]["worker"], "{pair:?}");
    }
    assert_eq!(case["host_exit"], 0, "the host of the recording ended as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_the_handler_ends_the_host() {
    let case = WHOLE.case("H.poisonous-message");
    let mut rig = Rig::start("poisonous", &host_json(json!({})), &[]);
    rig.put("exit 1").await;
    assert_eq!(rig.ending().await, Ending::RestartsExhausted);
    same_starts(&rig, &case);
    assert_eq!(json!(tries(&rig.events("/Dispatch"))), json!(tries(&recorded(&case, "/DispatchQueue"))));
    assert_eq!(json!(rig.count("jobs").await.to_string()), case["queue_left"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_never_listens_ends_the_host() {
    for name in ["H.neverlisten.2s", "H.listen5s.timeout2s"] {
        let case = WHOLE.case(name);
        let gate = Gate::shut().await;
        let json = host_json(json!({ "initializationTimeout": "00:00:00.2" }));
        let mut rig = Rig::start(name, &json, &[("LISTEN_AFTER", &gate.port())]);
        rig.put("whatever").await;
        let (answered, _) = rig.ask("tell").await;
        if case["client"].is_object() {
            assert_eq!(answered, status(&case["client"]), "{name}");
            assert_eq!(json!(rig.count("jobs").await.to_string()), case["queue_left"], "{name}");
        }
        assert_eq!(rig.ending().await, Ending::RestartsExhausted, "{name}");
        same_starts(&rig, &case);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn early_invocations_wait_for_a_late_listener() {
    let case = WHOLE.case("H.listen5s");
    let gate = Gate::shut().await;
    let rig = Rig::start("listens-late", &host_json(json!({})), &[("LISTEN_AFTER", &gate.port())]);
    rig.put("whatever").await;
    let listen = async {
        let _waited = gate.next().await;
        assert_eq!(rig.events("/api/run").len() + rig.events("/Dispatch").len(), 0);
    };
    let ((answered, _), ()) = tokio::join!(rig.ask("tell"), listen);
    assert_eq!(answered, status(&case["client"]));
    rig.until_empty("jobs").await;
    assert_eq!(json!(tries(&rig.events("/Dispatch"))), json!(tries(&recorded(&case, "/DispatchQueue"))));
    assert_eq!(rig.events("start").len(), recorded(&case, "start").len());
    assert_eq!(rig.stopped().await, Ending::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_host_waits_for_what_is_under_way() {
    let case = WHOLE.case("H.sigterm.inflight");
    let gate = Gate::shut().await;
    let mut rig = Rig::start("stopped", &host_json(json!({})), &[]);
    let wait = format!("wait {}", gate.port());
    rig.put(&wait).await;
    let message = gate.next().await;
    let stop = rig.stopper();
    let stopping = async {
        let request = gate.next().await;
        stop.send(()).expect("the host runs");
        drop((message, request));
    };
    let ((answered, _), ()) = tokio::join!(rig.ask(&wait), stopping);
    assert_eq!(answered, status(&case["client"]));
    assert_eq!(rig.ending().await, Ending::Stopped);
    assert_eq!(json!(rig.count("jobs").await.to_string()), case["approx_count"]);
    assert_eq!(rig.events("start").len(), recorded(&case, "start").len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_host_kills_without_a_signal() {
    let (case, kill) = (WHOLE.case("H.shutdown.sigterm"), &PARTS.case("process-kill")["outcome"]);
    let folder = std::env::temp_dir().join(format!("switchyard-kill-{}", std::process::id()));
    stage(&folder, &host_json(json!({})));
    // A shell with traps is the handler, and the one that answers its child.
    let trap = |name: &str| format!("trap 'echo {name} >>traps' {name}");
    let traps = ["TERM", "INT", "EXIT"].map(trap).join("\n");
    write_program(&folder, &format!("{traps}\necho $$ >shell\n{} &\nwait", handler_command()));
    let mut rig = Rig::over(folder, &[]);
    let (_, said) = rig.ask("tell").await;
    let shell = std::fs::read_to_string(rig.folder.join("shell")).expect("it told its pid");
    let shell = format!("/proc/{}", shell.trim());
    let group =
        |stat: String| stat.rsplit(')').next().and_then(|rest| rest.split(' ').nth(3).map(str::to_owned));
    let stat = |process: &str| std::fs::read_to_string(format!("{process}/stat")).expect("it lives");
    assert_eq!(json!(group(stat(&shell)) == group(stat("/proc/self"))), kill["sameProcessGroupAsParent"]);
    let stdin = |process: &str| std::fs::read_link(format!("{process}/fd/0")).expect("it has a stdin");
    assert_eq!(json!(stdin(&shell) == stdin("/proc/self")), kill["stdinIsParentsStdin"]);
    rig.stop();
    assert_eq!(rig.ending().await, Ending::Stopped);
    assert!(!Path::new(&shell).exists(), "it is killed");
    let seen = std::fs::read_to_string(rig.folder.join("traps")).unwrap_or_default();
    assert_eq!(json!(seen), kill["trapsSeen"]);
    assert_eq!(case["handler_events"], json!([]), "nor did the whole host's handler see a signal");
    // Its child lives on, and is told to end.
    let port = said["ports"][0].as_str().expect("the handler told its port");
    let alive = tokio::net::TcpStream::connect(format!("127.0.0.1:{port}")).await;
    assert_eq!(json!(alive.is_ok()), kill["grandchildStillAlive"]);
    let end = b"POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\nexit 0";
    alive.expect("it listens").write_all(end).await.expect("it reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_answer_never_completes() {
    let limit = || host_json(json!({ "functionTimeout": "00:00:00.3" }));
    let queued =
        [("I.queue.empty 200", "first "), ("I.queue.204", "first 204"), ("I.queue.null", "first null")];
    let by_message = queued.map(|(name, text)| async move {
        let case = WHOLE.case(name);
        let rig = Rig::start(&name.replace(' ', "-"), &limit(), &[]);
        rig.put(text).await;
        rig.until_empty("jobs").await;
        assert_eq!(
            json!(tries(&rig.events("/Dispatch"))),
            json!(tries(&recorded(&case, "/DispatchQueue"))),
            "{name}"
        );
        assert_eq!(json!(rig.count("jobs").await.to_string()), case["queue_left"], "{name}");
        rig.until_events("start", 1 + recorded(&case, "start").len()).await;
        assert_eq!(rig.stopped().await, Ending::Stopped, "{name}");
    });
    let by_request = async {
        let (case, after) = (WHOLE.case("I.http.empty-200"), WHOLE.case("I.http.empty-200.after"));
        let rig = Rig::start("empty-200", &limit(), &[("EMPTY_ENVELOPES", "1")]);
        let (answered, _) = rig.post("envl", "").await;
        assert_eq!(
            Some(answered),
            case["client_got"]["head"][0].as_str().map(|head| status(&json!({ "out": head })))
        );
        let starts =
            after["handler_processes"].as_array().into_iter().flatten().filter(|event| event[0] == "start");
        assert_eq!(rig.until_events("start", 2).await.len(), starts.count());
        assert_eq!(rig.stopped().await, Ending::Stopped);
    };
    tokio::join!(futures_util::future::join_all(by_message), by_request);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_takes_younger_invocations_with_it() {
    let case = WHOLE.case("I.queue-timeout");
    // Longer than the 2 s until the kill, or the younger ones would time out before it.
    let rig = Rig::start("younger", &host_json(json!({ "functionTimeout": "00:00:03" })), &[]);
    rig.put("hang-first slow").await;
    // The slow one is given out anew as soon as it has timed out, while its first handler still lives.
    rig.until_events("/Dispatch", 2).await;
    rig.put("hang-first young").await;
    let young = async {
        rig.until_events("/Dispatch", 3).await;
        rig.post("envl", "").await.0
    };
    let ((forwarded, _), by_envelope) = tokio::join!(rig.ask("hang"), young);
    assert_eq!(forwarded, status(&case["http_forwarded"]));
    assert_eq!(by_envelope, status(&case["http_envelope"]));
    rig.until_empty("jobs").await;
    let sorted = |mut counts: Vec<String>| {
        counts.sort();
        counts
    };
    let theirs = sorted(tries(&recorded(&case, "/DispatchQueue")));
    assert_eq!(sorted(tries(&rig.events("/Dispatch"))), theirs);
    assert_eq!(rig.events("start").len(), recorded(&case, "start").len());
    assert_eq!(rig.stopped().await, Ending::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn single_time_outs_restart_the_handler_and_are_no_crashes() {
    let (http, queue) = (WHOLE.case("I.http-timeout.forwarding"), WHOLE.case("I.repeated-single-timeouts"));
    let json = host_json(json!({
        "functionTimeout": "00:00:01", "maxDequeueCount": 3, "visibilityTimeout": "00:00:04" }));
    let rig = Rig::start("time-outs", &json, &[]);
    let (_, said) = rig.ask("tell").await;
    assert_eq!(rig.ask("hang").await.0, status(&http["client"]), "it hears of it when the handler is killed");
    rig.other_than(&said["worker"]).await;
    // Three in a row are as many as crashes would end the host; the recording has five.
    rig.put("hang").await;
    rig.until_empty("jobs").await;
    let theirs = tries(&recorded(&queue, "/DispatchQueue"));
    assert_eq!(tries(&rig.events("/Dispatch")), theirs[..3]);
    assert_eq!(json!(rig.count("jobs-poison").await.to_string()), queue["poison"]);
    rig.until_events("start", 5).await;
    assert_eq!(queue["host_alive"], true);
    assert_eq!(rig.stopped().await, Ending::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_outs_together_end_the_host() {
    let case = WHOLE.case("I.simultaneous-timeouts");
    let mut rig = Rig::start("together", &host_json(json!({ "functionTimeout": "00:00:01" })), &[]);
    rig.ask("tell").await;
    tokio::join!(rig.put("hang"), rig.put("hang"), rig.put("hang"));
    assert_eq!(rig.ending().await, Ending::TimedOutTogether);
    assert_eq!(case["host_exit"], 0);
    assert_eq!(json!(rig.count("jobs").await.to_string()), case["queue_left"]);
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
                for name in ["run", "envl", "Dispatch"] {
                    std::fs::rename(at.join(name), at.join("functions").join(name)).expect("moved");
                }
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
