//! Builds the programs by a child `cargo build`, so that what is started is never stale.
//!
//! Programs are selected by `--bin` at the workspace root: `-p` would select other features and
//! compile most dependencies a second time. Nothing here may run while cargo holds its build
//! lock, so never call it from a build script.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::children;

/// The programs that a stack starts.
const NAMES: [&str; 3] = ["handler", "server", "worker"];
/// What a handler is built for that is sent to Azure, on whatever machine.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Puts glibc into the program. Given to cargo as a setting of the target, so that build scripts and
/// macros are compiled as ever. A name is still looked up without a library: glibc has `files` and `dns`
/// inside since 2.34, and tried in an empty root folder this handler finds its hosts.
const STATIC: &str = r#"target.x86_64-unknown-linux-gnu.rustflags=["-Ctarget-feature=+crt-static"]"#;

/// Where the programs lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The Azure Functions custom handler.
    pub handler: PathBuf,
    /// The inference server.
    pub server: PathBuf,
    /// The worker of the nodes.
    pub worker: PathBuf,
}

/// Where programs come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Built by this cargo in the workspace.
    Cargo {
        /// The cargo to run.
        program: PathBuf,
    },
    /// An installed tree: all programs in one folder.
    Folder(PathBuf),
}

/// Why there are no programs to start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The compiler has said why, on standard error.
    #[error("cargo build failed ({0}); its messages stand above")]
    Failed(String),
    /// Cargo could not be run at all.
    #[error("cannot run {program}: {error}")]
    Run {
        /// What was to be run.
        program: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A program of an installed tree is not there.
    #[error(
        "{0} does not exist; put handler, server and worker beside switchyard, or start it by `cargo run`"
    )]
    Missing(PathBuf),
}

/// The folder of the workspace that this program was compiled in.
pub fn workspace_root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(Path::parent);
    root.expect("this crate lies in crates/local").to_owned()
}

impl Source {
    /// Cargo when this process was started by it, which sets `CARGO`; else the folder of the
    /// running program.
    pub fn find(setting: impl Fn(&str) -> Option<OsString>) -> Source {
        match setting("CARGO") {
            Some(program) => Source::Cargo { program: program.into() },
            None => Source::Folder(running_program().parent().map(Path::to_owned).unwrap_or_default()),
        }
    }

    /// Has the programs ready and says where they lie. Cargo's progress goes to standard error.
    ///
    /// # Errors
    /// [`Error`]: the build fails, or an installed tree is not whole.
    pub async fn programs(&self) -> Result<Programs, Error> {
        match self {
            Source::Cargo { program } => {
                let found = build(program, &NAMES, &[]).await?;
                gather(|name| found_one(&found, name))
            }
            Source::Folder(folder) => gather(|name| {
                let path = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
                path.is_file().then_some(path.clone()).ok_or(Error::Missing(path))
            }),
        }
    }

    /// A handler that needs no library of the machine that it is sent to. From an installed tree it is
    /// the one that there is, whatever that needs.
    ///
    /// # Errors
    /// As [`Source::programs`].
    pub async fn static_handler(&self) -> Result<PathBuf, Error> {
        match self {
            Source::Cargo { program } => {
                let found = build(program, &NAMES[..1], &["--target", TARGET, "--config", STATIC]).await?;
                found_one(&found, NAMES[0])
            }
            Source::Folder(_) => Ok(self.programs().await?.handler),
        }
    }
}

fn running_program() -> PathBuf {
    std::env::current_exe().expect("the system knows the path of a running program")
}

fn gather(mut find: impl FnMut(&str) -> Result<PathBuf, Error>) -> Result<Programs, Error> {
    let [handler, server, worker] = NAMES;
    Ok(Programs { handler: find(handler)?, server: find(server)?, worker: find(worker)? })
}

type Found = Vec<(String, PathBuf)>;

fn found_one(found: &Found, name: &str) -> Result<PathBuf, Error> {
    let program = found.iter().find(|(of, _)| of == name).map(|(_, path)| path.clone());
    program.ok_or_else(|| Error::Failed(format!("it named no executable for {name}")))
}

async fn build(program: &Path, names: &[&str], more: &[&str]) -> Result<Found, Error> {
    let failed = |error| Error::Run { program: program.to_owned(), error };
    let mut command = children::command(program);
    command.current_dir(workspace_root()).args(["build", "--message-format=json-render-diagnostics"]);
    command.args(names.iter().flat_map(|name| ["--bin", name])).args(more);
    command.args(Layout::of(&running_program()).arguments());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;

    let stdout = child.stdout.take().expect("the line above asked for a pipe");
    let mut lines = BufReader::new(stdout).lines();
    let mut found = Found::new();
    while let Some(line) = lines.next_line().await.map_err(failed)? {
        found.extend(executable(&line));
    }
    let status = child.wait().await.map_err(failed)?;
    if !status.success() {
        return Err(Error::Failed(status.to_string()));
    }
    Ok(found)
}

/// Name and path of the program that a line of cargo's messages tells of.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_bin = message["target"]["kind"].as_array()?.iter().any(|kind| kind == "bin");
    let name = message["target"]["name"].as_str()?.to_owned();
    let path = message["executable"].as_str()?;
    is_bin.then(|| (name, path.into()))
}

/// Profile and target folder of the running program: the child uses the same, or everything
/// would be compiled a second time.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    target: Option<PathBuf>,
    profile: Option<String>,
}

impl Layout {
    /// Programs lie in `<target>/<profile>/`, tests in `<target>/<profile>/deps/`.
    fn of(program: &Path) -> Layout {
        let folder = program.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
        let target = folder.and_then(Path::parent).filter(|target| target.join("CACHEDIR.TAG").is_file());
        let name = folder.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        match (target, name) {
            (Some(target), Some(name)) => {
                // The one profile whose folder has another name.
                let profile = if name == "debug" { "dev".to_owned() } else { name };
                Layout { target: Some(target.to_owned()), profile: Some(profile) }
            }
            _ => Layout { target: None, profile: (!cfg!(debug_assertions)).then(|| "release".to_owned()) },
        }
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        if let Some(profile) = &self.profile {
            arguments.extend(["--profile".into(), profile.into()]);
        }
        if let Some(target) = &self.target {
            arguments.extend(["--target-dir".into(), target.into()]);
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_the_running_program() {
        let target = std::env::temp_dir().join(format!("switchyard-layout-{}", std::process::id()));
        std::fs::create_dir_all(&target).unwrap();
        std::fs::write(target.join("CACHEDIR.TAG"), "").unwrap();
        let cases = [
            ("debug/switchyard", Some("dev")),
            ("debug/deps/it-0123", Some("dev")),
            ("release/switchyard", Some("release")),
            ("bench-lto/deps/it-0123", Some("bench-lto")),
        ];
        for (program, profile) in cases {
            let layout = Layout::of(&target.join(program));
            let expected = Layout { target: Some(target.clone()), profile: profile.map(str::to_owned) };
            assert_eq!(layout, expected, "{program}");
        }
        std::fs::remove_dir_all(&target).unwrap();
        assert_eq!(Layout::of(Path::new("/usr/bin/switchyard")).target, None);
    }

    #[test]
    fn executables_are_read_from_cargos_messages() {
        let bin = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"server"},"executable":"/t/server"}"#;
        let lib =
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"server"},"executable":null}"#;
        let cases = [
            (bin, Some(("server".to_owned(), PathBuf::from("/t/server")))),
            (lib, None),
            (r#"{"reason":"build-finished","success":true}"#, None),
            ("text of a build script", None),
        ];
        for (line, expected) in cases {
            assert_eq!(executable(line), expected, "{line}");
        }
    }

    #[tokio::test]
    async fn an_installed_tree_names_what_is_missing() {
        let source = Source::find(|_| None);
        let Source::Folder(folder) = &source else { panic!("no cargo was named") };
        assert_eq!(Some(folder.as_path()), running_program().parent());
        let error = Source::Folder("/nowhere".into()).programs().await.unwrap_err();
        assert!(error.to_string().starts_with("/nowhere/handler does not exist"), "{error}");
    }
}
