//! A job's results as files: written beside and renamed, so that a file with its name is whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::api;
use crate::Failure;
use crate::client::{Client, Error};

/// Tries beyond the first for a file whose content breaks off.
const RETRIES_MAX: usize = 3;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// How the default names end.
const RESULTS: &str = ".results.jsonl";
const ERRORS: &str = ".errors.jsonl";
/// And those of files that are not whole.
const PART: &str = ".part";

/// Where results and errors go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Paths {
    results: PathBuf,
    errors: PathBuf,
}

impl Paths {
    /// `FILE.results.jsonl` and `FILE.errors.jsonl`; or where the user says, and the errors beside.
    pub(super) fn of(file: &Path, output: Option<&Path>) -> Paths {
        let Some(output) = output else {
            return Paths { results: with_end(file, RESULTS), errors: with_end(file, ERRORS) };
        };
        let text = output.to_string_lossy();
        let stem = text.strip_suffix(RESULTS).or_else(|| text.strip_suffix(".jsonl")).map(Path::new);
        Paths { results: output.to_owned(), errors: with_end(stem.unwrap_or(output), ERRORS) }
    }
}

impl Paths {
    /// Whether results can be written there: a job that ran for hours must not end with nowhere to go.
    ///
    /// # Errors
    /// Why they cannot.
    pub(super) fn check(&self) -> Result<(), String> {
        let at = self.results.display();
        if self.results.is_dir() {
            return Err(format!(
                "results cannot be written to {at}: it is a folder; name a file by --output"
            ));
        }
        let part = with_end(&self.results, PART);
        // One that is there is of a submit that was killed, or that still writes.
        let tried = std::fs::OpenOptions::new().create_new(true).write(true).open(&part);
        match tried {
            Ok(_) => drop(std::fs::remove_file(&part)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(format!(
                    "results cannot be written to {at}: {error}; name another place by --output"
                ));
            }
        }
        Ok(())
    }
}

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) results: Option<PathBuf>,
    pub(super) errors: Option<PathBuf>,
}

/// Fetches what an ended batch has.
///
/// # Errors
/// When it cannot be fetched or written; run again, it is fetched again.
pub(super) async fn fetch(client: &Client, batch: &str, paths: &Paths) -> Result<Written, Failure> {
    let batch = api::batch(client, batch).await?;
    let mut written = Written::default();
    if let Some(id) = &batch.output_file_id {
        file(client, id, &paths.results).await?;
        written.results = Some(paths.results.clone());
    }
    if let Some(id) = &batch.error_file_id {
        file(client, id, &paths.errors).await?;
        written.errors = Some(paths.errors.clone());
    }
    Ok(written)
}

/// Why a file is not there yet.
enum Broke {
    /// On the way here.
    Off(Error),
    /// On this machine.
    Here(std::io::Error),
}

impl From<std::io::Error> for Broke {
    fn from(error: std::io::Error) -> Broke {
        Broke::Here(error)
    }
}

async fn file(client: &Client, id: &str, path: &Path) -> Result<(), Failure> {
    let part = with_end(path, PART);
    let mut tries = 0;
    loop {
        let failure = match take(client, id, &part).await {
            Ok(()) => {
                let named = tokio::fs::rename(&part, path).await;
                return named.map_err(|error| Failure(format!("{}: {error}", path.display())));
            }
            Err(Broke::Off(error)) if error.may_pass() && tries < RETRIES_MAX => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(Broke::Off(error)) => error.into(),
            Err(Broke::Here(error)) => Failure(format!("{}: {error}", part.display())),
        };
        let _ = tokio::fs::remove_file(&part).await;
        return Err(failure);
    }
}

async fn take(client: &Client, id: &str, part: &Path) -> Result<(), Broke> {
    let mut answer = api::content(client, id).await.map_err(Broke::Off)?;
    let mut file = File::create(part).await?;
    while let Some(piece) = answer.chunk().await.map_err(|error| Broke::Off(client.unreachable(error)))? {
        file.write_all(&piece).await?;
    }
    Ok(file.flush().await?)
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(end);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_errors_lie_side_by_side() {
        let cases = [
            (None, "a/in.jsonl.results.jsonl", "a/in.jsonl.errors.jsonl"),
            (Some("out.results.jsonl"), "out.results.jsonl", "out.errors.jsonl"),
            (Some("out.jsonl"), "out.jsonl", "out.errors.jsonl"),
            (Some("out"), "out", "out.errors.jsonl"),
        ];
        for (output, results, errors) in cases {
            let paths = Paths::of(Path::new("a/in.jsonl"), output.map(Path::new));
            assert_eq!(paths, Paths { results: results.into(), errors: errors.into() }, "{output:?}");
        }
    }
}
