//! Where knobs are kept by those who set them: a vault's secrets, or a file.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::set::{Given, known};
use crate::azure::vault::Vault;

/// A file larger than this is no knobs file.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// A vault or a file.
#[derive(Debug)]
pub enum Origin {
    /// A JSON object in a file.
    File(PathBuf),
    /// Secrets that are named as the knobs are; others are left alone, and those that are switched off
    /// count as absent.
    Vault(Vault),
}

impl Origin {
    /// For people: `file` or `vault`.
    pub fn kind(&self) -> &'static str {
        match self {
            Origin::File(_) => "file",
            Origin::Vault(_) => "vault",
        }
    }

    /// Everything that is given now.
    pub(super) async fn read(&self) -> Result<Given, String> {
        match self {
            Origin::File(file) => read_file(file).await,
            Origin::Vault(vault) => {
                let names: Vec<&'static str> = known().iter().map(|known| known.name).collect();
                let read = vault.read(&names).await.map_err(|error| error.to_string())?;
                Ok(read.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect())
            }
        }
    }

    /// Makes `after`, which is a good set, of `before`. A vault takes one secret at a time: when it fails
    /// midway the error says what was written, and the half set is judged as any other.
    pub(super) async fn write(&self, before: &Given, after: &Given) -> Result<(), String> {
        let vault = match self {
            Origin::File(file) => return write_file(file, after).await,
            Origin::Vault(vault) => vault,
        };
        let mut written = Vec::new();
        let changed =
            known().iter().map(|known| known.name).filter(|name| before.get(*name) != after.get(*name));
        for name in changed {
            let wrote = match after.get(name) {
                Some(Value::String(value)) => vault.set(name, value).await,
                Some(value) => vault.set(name, &value.to_string()).await,
                None => vault.switch_off(name).await,
            };
            wrote.map_err(|error| told(&error.to_string(), &written))?;
            written.push(name);
        }
        Ok(())
    }
}

fn told(error: &str, written: &[&str]) -> String {
    if written.is_empty() {
        return format!("{error}; nothing was written. `az keyvault secret set` does it with your own role");
    }
    format!("{error}; written until then: {}", written.join(", "))
}

async fn read_file(file: &Path) -> Result<Given, String> {
    let text = tokio::fs::read_to_string(file)
        .await
        .map_err(|error| format!("KNOBS_FILE cannot be read: {error}"))?;
    if text.len() > FILE_BYTES_MAX {
        return Err(format!("KNOBS_FILE has {} bytes; {FILE_BYTES_MAX} is the most", text.len()));
    }
    serde_json::from_str(&text).map_err(|error| format!("KNOBS_FILE is not a JSON object: {error}"))
}

/// Replaced by a rename, so that nobody reads half of it.
async fn write_file(file: &Path, given: &Given) -> Result<(), String> {
    let told = |error: std::io::Error| format!("KNOBS_FILE cannot be written: {error}");
    let mut name = file.file_name().ok_or("KNOBS_FILE names no file")?.to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    let text = format!("{:#}\n", Value::Object(given.clone()));
    tokio::fs::write(&new, text).await.map_err(told)?;
    tokio::fs::rename(&new, file).await.map_err(told)
}
