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
