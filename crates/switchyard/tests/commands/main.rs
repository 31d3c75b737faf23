//! The commands for deferred work: the real program against a server that follows a script.
#![expect(clippy::disallowed_methods, reason = "starts the program under test")]

mod dead;
mod doctor;
mod formula;
mod pool;
mod report;
mod script;
mod submit;
mod tenant;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use script::{Exchange, Script, Seen, on};
use serde_json::{Value, json};

const KEY: &str = "sk-hunter2";
const JOB: &str = "kb3rdp2ktfxlq7zr6s5m4oe2ia";

/// A folder of a test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("switchyard-commands-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn write(&self, name: &str, content: &str) -> String {
        std::fs::write(self.0.join(name), content).unwrap();
        self.path(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn env_tells_where_the_stack_is() {
    let folder = Folder::new("env");
    let missing = Done::of(command(&["env", "--state", &folder.path("")]).output().unwrap());
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("switchyard up"), "{}", missing.err);
    let ready = json!({
        "base_url": "http://127.0.0.1:7071/api/v1", "api_key": "sy-a", "admin_key": "sy-b",
        "host_url": "http://127.0.0.1:7071", "queue_url": "", "batch_url": "http://127.0.0.1:9000",
        "batch_account": "acct", "batch_key": "a2V5", "blob_url": "", "realtime_url": "", "telemetry_url": "",
        "app_root": "", "pids": {},
    });
    folder.write("ready.json", &ready.to_string());
    let told = Done::of(command(&["env", "--state", &folder.path("")]).output().unwrap());
    assert_eq!(told.code, 0, "{}", told.err);
    for line in ["export OPENAI_BASE_URL=http://127.0.0.1:7071/api/v1", "export AZURE_BATCH_ACCESS_KEY=a2V5"]
    {
        assert!(told.out.lines().any(|found| found == line), "{line} in {}", told.out);
    }
    assert!(!told.out.contains("sy-b"), "the operator's key is nobody else's");
}

/// What a command did.
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Done {
    fn of(output: Output) -> Done {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert!(!format!("{out}{err}").contains("hunter2"), "the key is shown: {out}{err}");
        let code = output.status.code().unwrap_or_else(|| panic!("{}: {out}{err}", output.status));
        Done { code, out, err }
    }

    /// The JSON objects, one a line.
    fn records(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    for setting in ["SWITCHYARD_URL", "SWITCHYARD_API_KEY", "SWITCHYARD_EPOCH_UNIX_MS", "SWITCHYARD_SPEED"] {
        command.env_remove(setting);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command against a server that follows the script; what it did, and what was called.
fn play(arguments: &[&str], exchanges: Vec<Exchange>) -> (Done, Vec<Seen>) {
    let script = Script::start(exchanges);
    let mut command = command(arguments);
    let output = command.env("SWITCHYARD_URL", script.url()).env("SWITCHYARD_API_KEY", KEY).output().unwrap();
    let seen = script.end();
    for seen in &seen {
        assert_eq!(seen.header("authorization"), Some(format!("Bearer {KEY}").as_str()), "{}", seen.call);
    }
    (Done::of(output), seen)
}

/// A job as the API shows it.
fn job(status: &str, done: u64) -> Value {
    let mut job: Value = serde_json::from_str(include_str!("../data/job.json")).unwrap();
    job["status"] = json!(status);
    job["items"] = json!({ "total": 3, "done": done, "failed": 0, "unfinished": 3 - done });
    if status != "running" {
        job["finished"] = json!("2026-11-21T09:17:21Z");
        job["reasons"] = json!([]);
        job["cost"]["usd"] = json!(0.049);
    }
    job
}

fn jobs(ids: &[&str], has_more: bool) -> Value {
    let data: Vec<Value> = ids
        .iter()
        .map(|id| {
            let mut job = job("running", 1);
            job["id"] = json!(id);
            job
        })
        .collect();
    json!({ "object": "list", "data": data, "has_more": has_more })
}

fn error(code: &str, message: &str) -> Value {
    json!({ "error": { "message": message, "type": "invalid_request_error", "param": null, "code": code } })
}

#[test]
fn jobs_are_listed() {
    let (done, _) = play(&["jobs"], vec![on("GET /api/jobs?limit=20", 200, jobs(&[JOB], true))]);
    assert_eq!(done.code, 0, "{}", done.err);
    let lines: Vec<&str> = done.out.lines().collect();
    assert!(lines[0].starts_with("job") && lines[0].ends_with("cost"), "{}", done.out);
    assert!(lines[2].starts_with(&format!("{JOB}  running  1/3")), "{}", done.out);
    assert!(lines[3].contains("--all"), "{}", done.out);

    let (none, _) = play(&["jobs", "--limit", "5"], vec![on("GET /api/jobs?limit=5", 200, jobs(&[], false))]);
    assert!(none.out.contains("no jobs; `switchyard submit FILE`"), "{}", none.out);
}

#[test]
fn all_jobs_are_listed_page_by_page() {
    let script = vec![
        on("GET /api/jobs?limit=100", 200, jobs(&["a", "b"], true)),
        on("GET /api/jobs?limit=100&after=b", 200, jobs(&["c"], false)),
    ];
    let (done, _) = play(&["jobs", "--all", "--json"], script);
    let ids: Vec<Value> = done.records().iter().map(|job| job["id"].clone()).collect();
    assert_eq!((done.code, ids), (0, vec![json!("a"), json!("b"), json!("c")]), "{}", done.err);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let script = Script::start(vec![on("GET /api/jobs?limit=20", 200, jobs(&[JOB], false))]);
    let mut jobs = command(&["jobs", "--json", "--url", &script.url(), "--key", KEY]);
    let mut child = jobs.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let done = Done::of(child.wait_with_output().unwrap());
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    script.end();
}

#[test]
fn a_job_is_explained() {
    let script = || vec![on(&format!("GET /api/jobs/{JOB}"), 200, job("running", 1))];
    let (done, _) = play(&["why", &format!("batch_{JOB}")], script());
    assert_eq!(done.code, 0, "{}", done.err);
    for part in
        ["1 of 3 (33 %)", "waiting_for_node: its tasks", "next  a node takes it", "switchyard promote"]
    {
        assert!(done.out.contains(part), "{part}: {}", done.out);
    }
    let (told, _) = play(&["why", JOB, "--json"], script());
    assert_eq!(told.records(), [job("running", 1)]);

    let logs: String = (1..=30).map(|line| format!("tried {line}\n")).collect();
    let mut script = script();
    script.push(on(&format!("GET /api/jobs/{JOB}/logs"), 200, logs));
    let (done, _) = play(&["why", JOB, "--logs"], script);
    assert!(
        done.out.ends_with("  tried 29\n  tried 30\n") && !done.out.contains("tried 10\n"),
        "{}",
        done.out
    );
}

#[test]
fn jobs_are_promoted_and_cancelled() {
    for (act, status, part) in [
        ("promote", "running", "goes to the realtime lane"),
        ("cancel", "stopping", "what is done is kept"),
        ("cancel", "completed", "has ended already"),
    ] {
        let script = vec![on(&format!("POST /api/jobs/{JOB}/{act}"), 200, job(status, 1))];
        let (done, _) = play(&[act, JOB], script);
        assert_eq!(done.code, 0, "{}", done.err);
        assert!(done.out.contains(part) && done.out.contains(&format!("{JOB}  {status}")), "{}", done.out);
    }
}

#[test]
fn refusals_are_told_with_message_and_code() {
    let get = format!("GET /api/jobs/{JOB}");
    let cases = [
        (404, error("job_not_found", "there is no such job"), "there is no such job (job_not_found, 404)"),
        (401, error("invalid_api_key", "the key is unknown"), "the key is unknown (invalid_api_key, 401)"),
        (501, json!("gateway"), "\"gateway\" (no_code, 501)"),
        (200, json!("no job"), "sent an answer that is not understood"),
    ];
    for (status, body, part) in cases {
        let (done, _) = play(&["why", JOB], vec![on(&get, status, body).with("x-should-retry: false")]);
        assert_eq!((done.code, done.out.as_str()), (1, ""), "{status}");
        assert!(done.err.contains(part), "{status}: {}", done.err);
    }
}

#[test]
fn what_passes_is_asked_again() {
    let get = format!("GET /api/jobs/{JOB}");
    let busy = || on(&get, 503, error("dependency_failed", "the store")).with("retry-after-ms: 1");
    let (done, _) = play(&["why", JOB], vec![busy(), busy(), on(&get, 200, job("running", 1))]);
    assert_eq!(done.code, 0, "{}", done.err);
    let (done, _) = play(&["why", JOB], vec![busy(), busy(), busy(), busy()]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("the store (dependency_failed, 503)"), "{}", done.err);
}

#[test]
fn a_running_stack_is_found_by_its_ready_file() {
    let folder = Folder::new("ready");
    let state = folder.path("");
    let script = Script::start(vec![on("GET /api/jobs?limit=20", 200, jobs(&[JOB], false))]);
    let ready = json!({
        "base_url": "-", "api_key": KEY, "admin_key": "-", "host_url": script.url(), "queue_url": "-",
        "batch_url": "-", "blob_url": "-", "realtime_url": "-", "telemetry_url": "-", "app_root": "-", "pids": {},
    });
    folder.write("ready.json", &ready.to_string());
    // A deployment's settings are not those of the stack in this folder.
    let mut jobs = command(&["jobs", "--state", &state]);
    jobs.env("SWITCHYARD_URL", "http://127.0.0.1:1").env("SWITCHYARD_API_KEY", "another");
    let done = Done::of(jobs.output().unwrap());
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(script.end()[0].header("authorization"), Some("Bearer sk-hunter2"));

    let gone = Done::of(command(&["jobs", "--state", &state]).output().unwrap());
    assert_eq!(gone.code, 1);
    assert!(gone.err.contains("nothing answers at") && gone.err.contains("`switchyard up`"), "{}", gone.err);
}

#[test]
fn wrong_use_is_told_with_the_remedy() {
    let folder = Folder::new("wrong");
    let (here, missing) = (folder.path(""), folder.path("missing.jsonl"));
    let texts = folder.write("texts.txt", "hello\n");
    let to = ["--url", "http://127.0.0.1:1", "--key", KEY];
    let cases: [(&[&str], i32, &str); 9] = [
        (&["jobs", "--state", &here], 1, "start one by `switchyard up --state"),
        (&["jobs", "--url", "https://h"], 1, "--key or set SWITCHYARD_API_KEY"),
        (&["jobs", "--url", "https://me:hunter2@h", "--key", "k"], 1, "give the key by --key"),
        (&["jobs", "--limit", "0"], 2, "--limit"),
        (&["why", "../status"], 2, "`switchyard jobs` shows it"),
        (&["submit", &missing], 1, "missing.jsonl: No such file"),
        (&["submit", &texts], 2, "1 wrong line; nothing was sent"),
        (&["submit", &texts, "--deadline", "soon"], 2, "give a span as"),
        (&["submit", &texts, "--endpoint", "/v1/embeddings"], 2, "--model"),
    ];
    for (arguments, code, part) in cases {
        let mut all = arguments.to_vec();
        if arguments[0] == "submit" {
            all.extend(to);
        }
        let done = Done::of(command(&all).output().unwrap());
        assert_eq!(done.code, code, "{arguments:?}: {}", done.err);
        assert!(done.err.contains(part), "{arguments:?}: {}", done.err);
    }
}
