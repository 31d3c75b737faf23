//! Stages the folder that the Functions host runs: `host.json`, one folder a function and the
//! handler's binary side by side. The host does not look into a nested `functions/` folder.
//!
//! The folder is written beside its place and renamed, so that nobody ever sees half of one.
//!
//! - [`package`][]: the folder as the zip that is deployed
//! - [`elf`][]: whether a program would start where it is sent
//! - [`ignore`][]: `.funcignore`, the files that stay behind
//! - [`rules`][]: what the host demands of host.json and function.json, or takes in silence and drops

pub mod elf;
pub mod ignore;
pub mod package;
pub mod rules;

use std::path::{Path, PathBuf};

use self::elf::{Image, Needs};
use crate::host::StartError;
use crate::host::app::App;

/// The binary's name in the staged folder. Core Tools give the execute bit to the zip entry whose
/// name equals `defaultExecutablePath` to the letter, and to no other.
pub const HANDLER: &str = "handler";
/// What people put into a staged folder to run it there; staging again leaves it.
const KEPT: [&str; 3] = ["local.settings.json", "knobs.json", ".keys"];

/// What a staged folder is made of.
#[derive(Debug, Clone)]
pub struct Source {
    /// The folder with `host.json` and `functions/`.
    pub root: PathBuf,
    /// The handler's binary.
    pub handler: PathBuf,
}

/// What was staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// The folder.
    pub folder: PathBuf,
    /// Its functions, sorted.
    pub functions: Vec<String>,
}

/// Why nothing was staged; what lay there before is untouched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A part of the source is missing.
    #[error("{path} does not exist; a staged folder needs {what}")]
    Missing {
        /// What was looked for.
        path: PathBuf,
        /// What it would have been.
        what: &'static str,
    },
    /// The place is taken by something that was not staged.
    #[error("{0} is not empty and holds no host.json; name another folder, or empty it")]
    Taken(PathBuf),
    /// The host could not run it.
    #[error(transparent)]
    Host(StartError),
    /// The host would run the others without this function.
    #[error("function {name} is wrong: {why}")]
    Function {
        /// The function's folder.
        name: String,
        /// What the host would say.
        why: String,
    },
    /// The host would refuse or drop something.
    #[error(transparent)]
    Rule(#[from] rules::Broken),
    /// The executable would lose its execute bit in a zip.
    #[error("host.json names {0} as customHandler.description.defaultExecutablePath; it must be `{HANDLER}`")]
    Executable(String),
    /// The program would not start where it is sent.
    #[error("{path} would not start in Azure: {why}; {remedy}")]
    Unfit {
        /// The program.
        path: PathBuf,
        /// What it needs and the image has not.
        why: String,
        /// How to build one that starts.
        remedy: &'static str,
    },
    /// A line that is not understood, or one that leaves out too much.
    #[error("{0}")]
    Ignore(String),
    /// The disk failed.
    #[error("cannot write {path}: {error}")]
    Disk {
        /// What was to be written.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// Stages `source` as `target`, replacing what was staged there before.
///
/// # Errors
/// [`Error`]; `target` is then as it was.
pub fn stage(source: &Source, target: &Path) -> Result<Staged, Error> {
    let functions_folder = source.root.join("functions");
    for (path, what) in [
        (source.root.join("host.json"), "the settings of the host"),
        (functions_folder.clone(), "a folder for every function"),
        (source.handler.clone(), "the handler's binary"),
    ] {
        if !path.exists() {
            return Err(Error::Missing { path, what });
        }
    }
    refuse_foreign(target)?;

    let target = absolute(target)?;
    let next = sibling(&target, "next");
    let staged = fill(source, &functions_folder, &next).and_then(|()| check(&next)).and_then(|functions| {
        keep(&target, &next)?;
        swap(&next, &target)?;
        Ok(Staged { folder: target.clone(), functions })
    });
    let _ = std::fs::remove_dir_all(&next);
    staged
}

/// Whether the host could run every function of a staged folder; returns their names.
///
/// # Errors
/// [`Error`] with the first thing that is wrong.
pub fn check(folder: &Path) -> Result<Vec<String>, Error> {
    // Only settings that every installation has may be named in the folder's files.
    let app = App::load(folder, &|_| None).map_err(Error::Host)?;
    if app.executable != folder.join(HANDLER) {
        let named = app.executable.strip_prefix(folder).unwrap_or(&app.executable);
        return Err(Error::Executable(named.display().to_string()));
    }
    if let Some((name, why)) = app.in_error.into_iter().next() {
        return Err(Error::Function { name, why });
    }
    rules::check(folder)?;
    let mut names: Vec<String> = app.functions.into_iter().map(|function| function.name).collect();
    names.sort_unstable();
    Ok(names)
}

/// A program that is sent to Azure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The handler, for the Functions host.
    Handler,
    /// The worker, for the nodes of a pool.
    Worker,
}

impl Program {
    fn image(self) -> Image {
        match self {
            Program::Handler => elf::FUNCTIONS,
            Program::Worker => elf::NODE,
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Program::Handler => {
                "`cargo stage --zip FILE` builds a static one; by hand: cargo build --release --bin handler \
                 --target x86_64-unknown-linux-gnu --config \
                 'target.x86_64-unknown-linux-gnu.rustflags=[\"-Ctarget-feature=+crt-static\"]'"
            }
            Program::Worker => {
                "build it where glibc is 2.35 or older, as in a container of ubuntu:22.04, not static, and give it by \
                 --worker-program"
            }
        }
    }

    /// Whether the program at `path` starts where it is sent.
    ///
    /// # Errors
    /// [`Error::Unfit`] names what is missing and how to build a program without that need.
    pub fn check(self, path: &Path) -> Result<Needs, Error> {
        let file = std::fs::read(path)
            .map_err(|_| Error::Missing { path: path.to_owned(), what: "the program that is sent" })?;
        let unfit = |why: String| Error::Unfit { path: path.to_owned(), why, remedy: self.remedy() };
        let needs = Needs::read(&file).map_err(|error| unfit(error.to_string()))?;
        if self == Program::Worker && needs == Needs::Nothing {
            return Err(unfit("it is static, and a static program cannot load CUDA when it runs".to_owned()));
        }
        needs.fit(self.image()).map_err(|error| unfit(error.to_string()))?;
        Ok(needs)
    }
}

fn refuse_foreign(target: &Path) -> Result<(), Error> {
    let mut entries = match std::fs::read_dir(target) {
        Ok(entries) => entries,
        Err(_) if !target.exists() => return Ok(()),
        Err(error) => return Err(Error::Disk { path: target.to_owned(), error }),
    };
    let is_ours = target.join("host.json").is_file() || entries.next().is_none();
    if is_ours { Ok(()) } else { Err(Error::Taken(target.to_owned())) }
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| Error::Disk { path: path.to_owned(), error })
}

/// A name beside the target: renaming works only within one file system.
fn sibling(target: &Path, what: &str) -> PathBuf {
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    target.with_file_name(format!(".{name}.{what}-{}", std::process::id()))
}

fn fill(source: &Source, functions: &Path, next: &Path) -> Result<(), Error> {
    let disk = |path: &Path| {
        let path = path.to_owned();
        move |error| Error::Disk { path, error }
    };
    let _ = std::fs::remove_dir_all(next);
    std::fs::create_dir_all(next).map_err(disk(next))?;
    copy(&source.root.join("host.json"), &next.join("host.json"))?;
    for entry in std::fs::read_dir(functions).map_err(disk(functions))? {
        let folder = entry.map_err(disk(functions))?.path();
        if folder.is_dir() {
            copy_tree(&folder, &next.join(folder.file_name().expect("an entry has a name")))?;
        }
    }
    let ignore = source.root.join(package::IGNORE);
    if ignore.is_file() {
        copy(&ignore, &next.join(package::IGNORE))?;
    }
    let handler = next.join(HANDLER);
    copy(&source.handler, &handler)?;
    let program = std::fs::File::open(&handler).map_err(disk(&handler))?;
    make_executable(&program).map_err(disk(&handler))
}

/// Takes over what the folder before held and staging does not write.
fn keep(target: &Path, next: &Path) -> Result<(), Error> {
    for name in KEPT {
        let (before, after) = (target.join(name), next.join(name));
        if before.is_dir() {
            copy_tree(&before, &after)?;
        } else if before.is_file() {
            copy(&before, &after)?;
        }
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), Error> {
    let disk = |error| Error::Disk { path: to.to_owned(), error };
    std::fs::create_dir_all(to).map_err(disk)?;
    for entry in std::fs::read_dir(from).map_err(disk)? {
        let entry = entry.map_err(disk)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() { copy_tree(&source, &target)? } else { copy(&source, &target)? }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    match std::fs::copy(from, to) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::Disk { path: to.to_owned(), error }),
    }
}

#[cfg(unix)]
fn make_executable(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_executable(_: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}

/// The old folder is set aside first: a folder cannot be renamed onto one that is not empty.
fn swap(next: &Path, target: &Path) -> Result<(), Error> {
    let disk = |error| Error::Disk { path: target.to_owned(), error };
    let old = sibling(target, "old");
    let had_one = target.exists();
    if had_one {
        std::fs::rename(target, &old).map_err(disk)?;
    }
    if let Err(error) = std::fs::rename(next, target) {
        if had_one {
            let _ = std::fs::rename(&old, target);
        }
        return Err(disk(error));
    }
    let _ = std::fs::remove_dir_all(&old);
    Ok(())
}

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;
