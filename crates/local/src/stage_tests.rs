//! Staging: what is written, what is refused, what is left alone.

use super::*;

struct Folder(PathBuf);

impl Folder {
    /// A source that can be staged: our own `host.json` and two functions.
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("switchyard-stage-{}-{name}", std::process::id()));
        let source = Folder(folder);
        source.write(
            "source/host.json",
            r#"{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"handler"}}}"#,
        );
        let http = r#"{"bindings":[{"type":"httpTrigger","direction":"in","name":"req"},{"type":"http","direction":"out","name":"res"}]}"#;
        source.write("source/functions/Health/function.json", http);
        let timer =
            r#"{"bindings":[{"type":"timerTrigger","direction":"in","name":"t","schedule":"0 * * * * *"}]}"#;
        source.write("source/functions/Sweep/function.json", timer);
        source.write("source/functions/README.md", "not a function");
        source.write("handler-0123", "#!/bin/sh\n");
        source
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn stage(&self) -> Result<Staged, Error> {
        let source = Source { root: self.0.join("source"), handler: self.0.join("handler-0123") };
        stage(&source, &self.0.join("out/dist"))
    }

    fn entries(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.0.join(folder)) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn functions_are_flattened_beside_an_executable_handler() {
    let folder = Folder::new("flat");
    let staged = folder.stage().unwrap();
    assert_eq!(staged.functions, ["Health", "Sweep"]);
    assert_eq!(folder.entries("out"), ["dist"], "nothing is left beside it");
    assert_eq!(folder.entries("out/dist"), ["Health", "Sweep", "handler", "host.json"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(staged.folder.join("handler")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}

#[test]
fn staging_again_replaces_all_of_it() {
    let folder = Folder::new("again");
    folder.stage().unwrap();
    std::fs::remove_dir_all(folder.0.join("source/functions/Sweep")).unwrap();
    assert_eq!(folder.stage().unwrap().functions, ["Health"]);
    assert_eq!(folder.entries("out/dist"), ["Health", "handler", "host.json"]);
    assert_eq!(folder.entries("out"), ["dist"]);
}

#[test]
fn what_is_wrong_is_named_and_the_old_folder_stays() {
    let cases = [
        ("source/host.json", Some("{"), "host.json"),
        ("source/host.json", Some(r#"{"version":"2.0"}"#), "customHandler"),
        (
            "source/host.json",
            Some(
                r#"{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"bin/other"}}}"#,
            ),
            "bin/other",
        ),
        ("source/functions/Sweep/function.json", Some(r#"{"bindings":[]}"#), "Sweep"),
        ("source/functions/Sweep/function.json", Some("not json"), "Sweep"),
        ("source/host.json", None, "host.json does not exist"),
        ("handler-0123", None, "handler-0123 does not exist"),
    ];
    for (n, (path, text, part)) in cases.into_iter().enumerate() {
        let folder = Folder::new(&format!("wrong-{n}"));
        folder.stage().unwrap();
        let before = folder.entries("out/dist");
        match text {
            Some(text) => folder.write(path, text),
            None => std::fs::remove_file(folder.0.join(path)).unwrap(),
        }
        let error = folder.stage().unwrap_err().to_string();
        assert!(error.contains(part), "{path} {text:?}: {error}");
        assert_eq!(folder.entries("out/dist"), before, "{path} {text:?}");
        assert_eq!(folder.entries("out"), ["dist"], "{path} {text:?}");
    }
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let folder = Folder::new("foreign");
    folder.write("out/dist/thesis.txt", "do not lose");
    assert!(matches!(folder.stage(), Err(Error::Taken(_))));
    assert_eq!(folder.entries("out/dist"), ["thesis.txt"]);
    std::fs::remove_file(folder.0.join("out/dist/thesis.txt")).unwrap();
    folder.stage().unwrap();
}

#[test]
fn our_own_functions_can_be_staged() {
    let folder = Folder::new("own");
    let source = Source { root: crate::cargo::workspace_root(), handler: folder.0.join("handler-0123") };
    let staged = stage(&source, &folder.0.join("out/dist")).unwrap();
    assert!(staged.functions.contains(&"Openai".to_owned()), "{:?}", staged.functions);
}
