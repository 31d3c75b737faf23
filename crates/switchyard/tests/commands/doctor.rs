//! `switchyard doctor` in front of a handler that says what a test wrote down.

use std::process::Command;

use serde_json::{Value, json};

use super::{Done, Folder, command};

const FINDINGS: [&str; 3] = [
    r#"{"check":"settings","outcome":"ok","found":"all can be read"}"#,
    r#"{"check":"queue","outcome":"broken","found":"it does not exist","remedy":"make it"}"#,
    r#"{"check":"knobs","subject":"x","outcome":"not_checked","found":"needs vault"}"#,
];

/// A program that notes its arguments and settings, and then says these findings and this report.
fn handler(folder: &Folder, findings: &[&str], report: &str) -> String {
    let noted = folder.path("noted");
    let said: String = findings.iter().map(|finding| format!("echo '{finding}' >&2\n")).collect();
    let script = format!(
        "#!/bin/sh\n(echo \"$@\"; echo \"A=$A HERE=$HERE\") > {noted}\n{said}echo '{report}'\nexit 7\n"
    );
    let (text, path) = (folder.write("handler.txt", &script), folder.path("handler"));
    // Copied by a child: a file that this process has just written may still be open in a fork of another test.
    let copied = Command::new("install").args(["-m", "755", &text, &path]).status().unwrap();
    assert!(copied.success());
    path
}

fn report(findings: &[&str]) -> String {
    let findings: Vec<Value> =
        findings.iter().map(|finding| serde_json::from_str(finding).unwrap()).collect();
    json!({ "v": 1, "handler": "0.1.0", "findings": findings }).to_string()
}

fn doctor(folder: &Folder, handler: &str, further: &[&str]) -> Done {
    let settings = folder.write("settings.json", r#"{"Values": {"A": "hunter2"}}"#);
    let mut arguments = vec!["doctor", "--settings", &settings, "--handler", handler];
    arguments.extend(further);
    let mut command = command(&arguments);
    Done::of(command.env("HERE", "and nowhere else").output().unwrap())
}

#[test]
fn findings_are_shown_in_lines_and_the_exit_code_is_the_worst() {
    let folder = Folder::new("doctor-lines");
    let done =
        doctor(&folder, &handler(&folder, &FINDINGS, &report(&FINDINGS)), &["--url", "http://127.0.0.1:7"]);
    assert_eq!(done.code, 2, "{}{}", done.out, done.err);
    for line in [
        "ok           settings      all can be read",
        "broken       queue         it does not exist → make it",
        "not checked  knobs         x: needs vault",
        "1 broken, 0 warnings, 1 ok, 1 not checked",
    ] {
        assert!(done.out.lines().any(|found| found == line), "{line} in {}", done.out);
    }
    let noted = folder.read("noted");
    assert!(noted.starts_with("--doctor --json --url http://127.0.0.1:7\n"), "{noted}");
    assert!(
        noted.contains("A=hunter2 HERE=\n"),
        "settings come by the environment, and nothing of this one: {noted}"
    );

    let fine = &FINDINGS[..1];
    let done = doctor(&folder, &handler(&folder, fine, &report(fine)), &["--json"]);
    assert_eq!((done.code, done.records().len()), (0, 1));
    assert_eq!(done.records()[0]["findings"][0]["check"], "settings");
}

#[test]
fn a_handler_that_says_something_else_is_told() {
    let folder = Folder::new("doctor-else");
    let done = doctor(&folder, &handler(&folder, &["usage: handler"], "nothing"), &[]);
    assert!(
        done.code == 1 && done.err.contains("no report") && done.err.contains("usage: handler"),
        "{}",
        done.err
    );
    let done = doctor(&folder, &handler(&folder, &[], r#"{"v": 2, "handler": "9", "findings": []}"#), &[]);
    assert!(done.code == 1 && done.err.contains("version 2"), "{}", done.err);
    let done = doctor(&folder, &folder.path("missing"), &[]);
    assert!(done.code == 1 && done.err.contains("cannot run"), "{}", done.err);
}

#[test]
fn files_that_are_not_deployed_yet_are_judged_here() {
    let folder = Folder::new("doctor-files");
    let pool = json!({ "id": "p", "vmSize": "Standard_NC6s_v3", "virtualMachineConfiguration": {
        "imageReference": { "publisher": "microsoft-dsvm", "offer": "ubuntu-hpc", "sku": "2404" },
        "nodeAgentSKUId": "batch.node.ubuntu 24.04" } });
    let (pool, formula) =
        (folder.write("pool.json", &pool.to_string()), folder.write("formula", "$TargetDedicatedNodes = 4;"));
    let fine = &FINDINGS[..1];
    let further = ["--before-deploy", "--pool", &pool, "--formula", &formula];
    let done = doctor(&folder, &handler(&folder, fine, &report(fine)), &further);
    assert_eq!(done.code, 2, "{}{}", done.out, done.err);
    for words in ["size_retired", "kills_running_tasks"] {
        let line = done
            .out
            .lines()
            .find(|line| line.contains(words))
            .unwrap_or_else(|| panic!("{words} in {}", done.out));
        assert!(line.starts_with("broken") && line.contains(" → "), "{line}");
    }
    assert!(folder.read("noted").starts_with("--doctor --json --before-deploy --vm-size Standard_NC6s_v3\n"));
}

#[test]
fn without_a_stack_or_a_file_the_environment_counts_and_a_named_stack_must_run() {
    let folder = Folder::new("doctor-none");
    let done = Done::of(command(&["doctor", "--state", &folder.path("")]).output().unwrap());
    assert!(done.code == 1 && done.err.contains("switchyard up"), "{}", done.err);
}
