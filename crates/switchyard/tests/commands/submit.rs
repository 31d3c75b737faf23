//! `switchyard submit` from the file to its results.

use serde_json::{Value, json};

use super::{Done, Folder, JOB, KEY, command, error, job, play};
use crate::script::{Exchange, Script, Seen, on};

const FILES: &str = "GET /api/v1/files?purpose=batch&limit=100";
const LOOK: &str = "GET /api/jobs/kb3rdp2ktfxlq7zr6s5m4oe2ia";
/// Long past: a batch that an earlier submit has made.
const EARLIER: u64 = 1_700_000_000;
/// Far ahead: one that this submit has made.
const NOW: u64 = 9_700_000_000;

fn files(data: &[Value]) -> Exchange {
    on(
        FILES,
        200,
        json!({ "object": "list", "data": data, "first_id": null, "last_id": null, "has_more": false }),
    )
}

fn file(name: &str, bytes: u64) -> Value {
    json!({
        "id": "file-a", "object": "file", "bytes": bytes, "created_at": 0, "expires_at": null,
        "filename": name, "purpose": "batch", "status": "processed", "status_details": null,
    })
}

fn batch(created_at: u64, output: Option<&str>, errors: Option<&str>) -> Value {
    json!({
        "id": format!("batch_{JOB}"), "object": "batch", "endpoint": "/v1/embeddings", "model": "m",
        "status": "in_progress", "errors": null, "input_file_id": "file-a", "completion_window": "24h",
        "created_at": created_at, "output_file_id": output, "error_file_id": errors,
        "request_counts": { "total": 3, "completed": 0, "failed": 0 },
    })
}

fn upload() -> Exchange {
    on("POST /api/v1/files", 200, file("-", 1))
}

fn create() -> Exchange {
    on("POST /api/v1/batches", 200, batch(NOW, None, None))
}

fn fetch(output: Option<&str>, errors: Option<&str>) -> Vec<Exchange> {
    let mut script = vec![on(&format!("GET /api/v1/batches/batch_{JOB}"), 200, batch(NOW, output, errors))];
    for (id, content) in [(output, "a result\n"), (errors, "an error\n")] {
        script.extend(id.map(|id| on(&format!("GET /api/v1/files/{id}/content"), 200, content)));
    }
    script
}

fn call<'a>(seen: &'a [Seen], call: &str) -> &'a Seen {
    seen.iter().find(|seen| seen.call == call).unwrap()
}

/// The names and contents of a form's parts.
fn parts(seen: &Seen) -> Vec<(String, String)> {
    let boundary =
        seen.header("content-type").unwrap().strip_prefix("multipart/form-data; boundary=").unwrap();
    let text = String::from_utf8(seen.body.clone()).unwrap();
    let between = format!("--{boundary}");
    let parts = text.split(&between).filter_map(|part| part.split_once("\r\n\r\n"));
    let name = |head: &str| head.split("name=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    parts.map(|(head, body)| (name(head), body.strip_suffix("\r\n").unwrap().to_owned())).collect()
}

#[test]
fn texts_become_results() {
    let folder = Folder::new("texts");
    let texts = folder.write("texts.txt", "Call me Ishmael.\n\nSome years ago\nnever mind how long\n");
    let mut script = vec![files(&[]), upload(), create()];
    script
        .extend([("running", 0), ("running", 2), ("completed", 3)].map(|(at, n)| on(LOOK, 200, job(at, n))));
    script.extend(fetch(Some("file-out-x"), Some("file-err-x")));
    let wishes = ["--deadline", "20m", "--max-cost", "0.25", "--label", "team=search", "--model", "minilm"];
    let (done, seen) = play(&[&["submit", texts.as_str()], &wishes[..]].concat(), script);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert!(done.out.contains("completed: 3 of 3 items, $0.049"), "{}", done.out);
    assert!(done.err.contains("0/3 0 %"), "progress is told: {}", done.err);
    assert_eq!(folder.read("texts.txt.results.jsonl"), "a result\n");
    assert_eq!(folder.read("texts.txt.errors.jsonl"), "an error\n");

    let sent = call(&seen, "POST /api/v1/files");
    assert_eq!(sent.header("transfer-encoding"), None);
    let [(purpose, batch), (file, lines)] = &parts(sent)[..] else { panic!("two parts") };
    assert_eq!((purpose.as_str(), batch.as_str(), file.as_str()), ("purpose", "batch", "file"));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[2]["custom_id"], "line-4");
    assert_eq!(lines[2]["body"], json!({ "model": "minilm", "input": "never mind how long" }));

    let created = call(&seen, "POST /api/v1/batches");
    assert_eq!(
        created.json(),
        json!({
            "input_file_id": "file-a", "endpoint": "/v1/embeddings", "completion_window": "24h",
            "metadata": { "deadline": "20m", "team": "search" },
        })
    );
    assert_eq!(created.header("switchyard-max-cost"), Some("0.25"));
}

#[test]
fn what_would_be_for_nothing_is_told_before_it_is_sent() {
    let folder = Folder::new("for-nothing");
    let batch = folder.write("batch.jsonl", &format!("{}\n{}\n", line("a"), line("b")));
    let texts = folder.write("texts.txt", "one\ntwo\nthree\n");
    let (nowhere, here) = (folder.path("none/out"), folder.path(""));
    let cases: [(&[&str], &str); 5] = [
        (
            &[&batch, "--model", "m"],
            "lines 1 to 2: it is in the OpenAI batch form already; leave --model out",
        ),
        (&[&texts], "lines 1 to 3: it is no JSON object; give --model MODEL"),
        (&[&batch, "--output", &nowhere], "none/out: No such file or directory (os error 2); name another"),
        (&[&batch, "--output", &here], "it is a folder"),
        (
            &[&batch, "--label", "a=1", "--label", "a=2"],
            "--label a stands there twice; give it once; nothing",
        ),
    ];
    for (arguments, part) in cases {
        let all = [&["submit", "--url", "http://127.0.0.1:1", "--key", KEY], arguments].concat();
        let done = Done::of(command(&all).output().unwrap());
        assert_eq!(done.code, 2, "{arguments:?}: {}", done.err);
        assert!(
            format!("{}{}", done.out, done.err).contains(part),
            "{arguments:?}: {}{}",
            done.out,
            done.err
        );
        assert!(done.err.ends_with("nothing was sent\n"), "{arguments:?}: {}", done.err);
    }
    assert!(!std::path::Path::new(&folder.path("batch.jsonl.results.jsonl.part")).exists());
}

/// A line in the OpenAI batch form.
fn line(id: &str) -> String {
    format!(
        r#"{{"custom_id":"{id}","method":"POST","url":"/v1/embeddings","body":{{"model":"m","input":"x"}}}}"#
    )
}

#[test]
fn a_submit_that_was_killed_doubles_nothing() {
    let folder = Folder::new("again");
    let content = format!("{}\n{}\n{}\n", line("a"), line("b"), line("c"));
    let path = folder.write("in.jsonl", &content);
    let (first, seen) = play(&["submit", &path, "--detach"], vec![files(&[]), upload(), create()]);
    assert_eq!(first.code, 0, "{}", first.err);
    assert!(first.out.contains(&format!("switchyard why {JOB}")), "{}", first.out);
    assert_eq!(parts(call(&seen, "POST /api/v1/files"))[1].1, content, "sent as it is");
    let text = String::from_utf8_lossy(&call(&seen, "POST /api/v1/files").body).into_owned();
    let name = text.split("filename=\"").nth(1).unwrap().split('"').next().unwrap();
    let key = call(&seen, "POST /api/v1/batches").header("idempotency-key").unwrap();

    let others = [file("in.jsonl", content.len() as u64), file(name, 1), file(name, content.len() as u64)];
    let mut script = vec![files(&others), on("POST /api/v1/batches", 200, batch(EARLIER, None, None))];
    script.push(on(LOOK, 200, job("completed", 3)));
    script.extend(fetch(Some("file-out-x"), None));
    let (again, seen) = play(&["submit", &path, "--output", &folder.path("out")], script);
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(again.out.contains("made by the same submit"), "{}", again.out);
    assert_eq!(folder.read("out"), "a result\n");
    assert_eq!(call(&seen, "POST /api/v1/batches").header("idempotency-key"), Some(key));

    // Another wish is another job, and so is a key of one's own.
    for wish in [["--deadline", "2h"], ["--max-cost", "1"], ["--label", "a=b"], ["--idempotency-key", "mine"]]
    {
        let (_, seen) =
            play(&["submit", &path, "--detach", wish[0], wish[1]], vec![files(&[]), upload(), create()]);
        assert_ne!(call(&seen, "POST /api/v1/batches").header("idempotency-key"), Some(key), "{wish:?}");
    }
}

#[test]
fn programs_are_told_every_step() {
    let folder = Folder::new("json");
    let path = folder.write("in.jsonl", &line("a"));
    let mut script = vec![files(&[]), upload(), create()];
    script.extend([("running", 1), ("expired", 2)].map(|(at, n)| on(LOOK, 200, job(at, n))));
    script.extend(fetch(None, Some("file-err-x")));
    let (done, _) = play(&["submit", &path, "--json"], script);
    assert_eq!(done.code, 1, "{}", done.err);
    let records = done.records();
    let events: Vec<&str> = records.iter().map(|record| record["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["checked", "uploaded", "accepted", "progress", "progress", "ended"]);
    assert_eq!((&records[2]["job"], &records[2]["joined"]), (&json!(JOB), &json!(false)));
    assert_eq!(records[5]["status"], "expired");
    assert_eq!(
        (&records[5]["results"], &records[5]["errors"]),
        (&Value::Null, &json!(folder.path("in.jsonl.errors.jsonl")))
    );
}

#[test]
fn refusals_tell_what_is_possible() {
    let folder = Folder::new("refused");
    let path = folder.write("in.jsonl", &line("a"));
    let mut infeasible = error("deadline_infeasible", "no place finishes this before its deadline");
    infeasible["error"]["alternatives"] = json!({
        "earliest": { "lane": "deferred", "finish_unix_ms": 1_795_252_260_000_u64, "eta_p50_ms": 1, "cost_usd": 0.031 },
        "cheapest": null,
    });
    let refused = on("POST /api/v1/batches", 422, &infeasible).with("x-should-retry: false");
    let (done, _) = play(&["submit", &path], vec![files(&[]), upload(), refused]);
    assert_eq!(done.code, 2, "{}", done.err);
    assert!(
        done.err.contains("no place finishes this before its deadline (deadline_infeasible, 422)"),
        "{}",
        done.err
    );
    assert!(done.out.contains("possible instead (earliest): done by 20"), "{}", done.out);
    assert!(done.out.contains("for $0.031, deferred"), "{}", done.out);

    let mut failed = batch(NOW, None, None);
    failed["status"] = json!("failed");
    failed["errors"] = json!({ "object": "list", "data": [{ "code": "x", "line": 7, "message": "no such dimension", "param": null }] });
    let (done, _) =
        play(&["submit", &path], vec![files(&[]), upload(), on("POST /api/v1/batches", 200, failed)]);
    assert_eq!(done.code, 2, "{}", done.err);
    assert!(done.out.contains("line 7: no such dimension"), "{}", done.out);

    let large = on("POST /api/v1/files", 413, error("file_too_large", "too large"));
    assert_eq!(play(&["submit", &path], vec![files(&[]), large]).0.code, 2);
    let unknown =
        on("POST /api/v1/batches", 500, error("internal_error", "a bug")).with("x-should-retry: false");
    assert_eq!(
        play(&["submit", &path], vec![files(&[]), upload(), unknown]).0.code,
        1,
        "no fault of the file"
    );
}

#[test]
fn trouble_on_the_way_is_sat_out() {
    let folder = Folder::new("trouble");
    let path = folder.write("in.jsonl", &line("a"));
    let busy = |call: &str| on(call, 503, error("dependency_failed", "the store")).with("retry-after-ms: 1");
    let mut script = vec![busy(FILES), files(&[]), busy("POST /api/v1/files"), upload()];
    script.extend([busy("POST /api/v1/batches"), create()]);
    // More than one question's retries: the following goes on.
    script.extend((0..5).map(|_| busy(LOOK)));
    script.push(on(LOOK, 200, job("completed", 3)));
    script.extend(fetch(Some("file-out-x"), None));
    let (done, seen) = play(&["submit", &path], script);
    assert_eq!(done.code, 0, "{}", done.err);
    let bodies: Vec<_> = seen.iter().filter(|seen| seen.call == "POST /api/v1/files").map(parts).collect();
    assert_eq!(bodies[0], bodies[1], "the file is sent whole again");
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_the_job_running() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    let folder = Folder::new("ctrl-c");
    let path = folder.write("in.jsonl", &line("a"));
    let script =
        Script::start(vec![files(&[]), upload(), create(), on(LOOK, 200, job("running", 1)).stays()]);
    let mut submit = command(&["submit", &path, "--url", &script.url(), "--key", KEY]);
    let mut child = submit.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The first line of progress: it follows.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().contains("1/3")).unwrap().unwrap();
    let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let done = Done::of(child.wait_with_output().unwrap());
    assert_eq!(done.code, 130);
    assert!(done.out.contains(&format!("the job goes on; look at it: switchyard why {JOB}")), "{}", done.out);
    script.end();
}
