//! The command as its users meet it: arguments in, text and exit code out.
#![expect(clippy::disallowed_methods, reason = "starts the program under test")]

use std::path::PathBuf;
use std::process::{Command, Output};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("switchyard-command-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn switchyard(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(arguments)
        .env_remove("SWITCHYARD_MODEL_DIR")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_names_every_command() {
    let output = switchyard(&["--help"]);
    assert!(output.status.success());
    let help = text(&output.stdout);
    for command in ["demo", "up", "host", "stage", "submit", "jobs", "why", "promote", "cancel", "model"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
        assert!(switchyard(&[command, "--help"]).status.success(), "{command}");
    }
}

#[test]
fn stage_writes_a_folder_that_the_host_can_run() {
    let folder = Folder::new("stage");
    let dist = folder.path("dist");
    let output = switchyard(&["stage", &dist]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("Openai"), "{}", text(&output.stdout));
    let staged = local::stage::check(dist.as_ref()).unwrap();
    let sources = std::fs::read_dir(local::cargo::workspace_root().join("functions")).unwrap();
    assert_eq!(staged.len(), sources.count());
}

/// A header with no segment and no section: a static program, as far as anybody can tell.
fn static_program() -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[18] = 62;
    file
}

#[test]
fn the_package_is_the_same_whenever_it_is_made() {
    let folder = Folder::new("zip");
    let (dist, program) = (folder.path("dist"), folder.path("built"));
    std::fs::write(&program, static_program()).unwrap();
    let zip = |name: &str| {
        let file = folder.path(name);
        let output = switchyard(&["stage", &dist, "--zip", &file, "--handler-program", &program, "--json"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let record: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (std::fs::read(file).unwrap(), record["zip"].clone())
    };
    let (first, record) = zip("a.zip");
    // What somebody put there to run it by hand stays there, and out of the package.
    let settings = folder.path("dist/local.settings.json");
    std::fs::write(&settings, "{}").unwrap();
    let (again, told) = zip("b.zip");
    assert!(first == again && record["sha256"] == told["sha256"], "{record} {told}");
    assert!(std::path::Path::new(&settings).exists());
    let entries = record["entries"].as_array().unwrap();
    for name in ["handler", "host.json", "Dispatch/function.json"] {
        assert!(entries.iter().any(|entry| entry == name), "{name}: {record}");
    }
    assert!(!entries.iter().any(|entry| entry == ".funcignore"), "{record}");
    assert!(record["glibc"].is_null());
}

#[test]
fn a_program_that_would_not_start_in_azure_is_refused() {
    let folder = Folder::new("unfit");
    let (dist, file) = (folder.path("dist"), folder.path("out"));
    let wrong = folder.path("program");
    let mut arm = static_program();
    arm[18] = 183;
    let cases: [(&str, &[u8], &str); 4] = [
        ("zip", b"#!/bin/sh\n", "ELF"),
        ("zip", &arm, "another processor"),
        ("worker", &static_program(), "cannot load CUDA"),
        ("worker", b"MZ", "ELF"),
    ];
    for (what, program, part) in cases {
        std::fs::write(&wrong, program).unwrap();
        let both = ["--handler-program", &wrong, "--worker-program", &wrong];
        let given = if what == "zip" { &both[..2] } else { &both[..] };
        let output = switchyard(&[&["stage", &dist, &format!("--{what}"), &file], given].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{what} {part}: {said}");
        assert!(said.contains(part) && said.contains("would not start in Azure"), "{said}");
        assert!(!std::path::Path::new(&file).exists() && !std::path::Path::new(&dist).exists());
    }
}

#[test]
fn the_worker_needs_no_newer_glibc_than_the_nodes_have() {
    let folder = Folder::new("worker");
    let file = folder.path("worker");
    let output = switchyard(&["stage", &folder.path("dist"), "--worker", &file, "--json"]);
    if !output.status.success() {
        // This machine is newer than the nodes, and then it must say by which symbol.
        let said = text(&output.stderr);
        assert!(said.contains("needs GLIBC_2.") && said.contains("ubuntu:22.04"), "{said}");
        return;
    }
    let record: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let glibc = record["worker"]["glibc"].as_str().expect("it loads CUDA, so it is dynamic");
    let minor: u32 = glibc.strip_prefix("2.").unwrap().parse().unwrap();
    assert!(minor <= 35, "{record}");
    assert_eq!(record["worker"]["bytes"], std::fs::metadata(&file).unwrap().len());
}

#[test]
fn the_pool_that_is_deployed_is_sound() {
    let pool = local::cargo::workspace_root().join("infra/pool.json");
    let output = switchyard(&["pool", "lint", &pool.display().to_string()]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn wrong_use_is_told_with_the_remedy() {
    let folder = Folder::new("wrong");
    std::fs::write(folder.0.join("thesis.txt"), "do not lose").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (here, state) = (folder.path(""), folder.path("state"));
    let model = local::cargo::workspace_root().join("crates/engine/testdata/synthetic-bert");
    let model = model.display().to_string();
    let cases: [(&[&str], i32, &str); 6] = [
        (&["host", &here], 1, "host.json"),
        (&["stage", &here], 1, "is not empty and holds no host.json"),
        (&["up", "--model", &here], 1, "config.json"),
        (&["up", "--model", &model, "--state", &state, "--port", &port], 1, "choose another by --port"),
        (&["up", "--replicas", "0"], 2, "--replicas"),
        (&["fly"], 2, "unrecognized subcommand"),
    ];
    for (arguments, code, part) in cases {
        let output = switchyard(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    assert!(folder.0.join("thesis.txt").exists());
    assert!(!folder.0.join("state").exists(), "a start that fails at once makes no state");
}
