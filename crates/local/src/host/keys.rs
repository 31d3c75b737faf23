//! Keys: one a function, one for the whole host, one for its administration. Made on first use and
//! kept in a folder, as the real host keeps them in a container.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use hyper::http::request::Parts;
use serde::{Deserialize, Serialize};

use super::app::{AuthLevel, Function};

const FILE: &str = "host-keys.json";

/// The keys of an app.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyRing {
    /// Passes everywhere, `/admin` too.
    pub master: String,
    /// Passes every function of level `function`.
    pub host: String,
    /// Passes one function.
    pub functions: BTreeMap<String, String>,
}

impl KeyRing {
    /// Reads the folder's keys and makes those that are missing.
    ///
    /// # Errors
    /// When the folder cannot be written, or its file is not one of ours.
    pub fn open(folder: &Path, functions: &[Function]) -> std::io::Result<KeyRing> {
        let path = KeyRing::path(folder);
        let known: Option<KeyRing> = match std::fs::read(&path) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut ring =
            known.unwrap_or_else(|| KeyRing { master: fresh(), host: fresh(), functions: BTreeMap::new() });
        for function in functions {
            ring.functions.entry(function.name.clone()).or_insert_with(fresh);
        }
        std::fs::create_dir_all(folder)?;
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(serde_json::to_string_pretty(&ring)?.as_bytes())?;
        Ok(ring)
    }

    /// The file that holds the keys of `folder`.
    pub fn path(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// Whether the request carries a key for that level of that function. The header wins over the
    /// query.
    pub(super) fn passes(&self, level: AuthLevel, function: &str, parts: &Parts) -> bool {
        let header = parts
            .headers
            .get("x-functions-key")
            .map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
        let given = header.or_else(|| code_of(parts.uri.query()?));
        let given = given.as_deref().unwrap_or_default();
        match level {
            AuthLevel::Anonymous => true,
            AuthLevel::Admin => same(given, &self.master),
            AuthLevel::Function => {
                let own = self.functions.get(function);
                same(given, &self.master)
                    || same(given, &self.host)
                    || own.is_some_and(|own| same(given, own))
            }
        }
    }
}

fn code_of(query: &str) -> Option<String> {
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.filter(|(name, _)| name.eq_ignore_ascii_case("code")).map(|(_, value)| value.into_owned()).next()
}

/// Compares without telling by its duration how much was right.
fn same(given: &str, key: &str) -> bool {
    let differs = given.bytes().zip(key.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b));
    given.len() == key.len() && differs == 0
}

fn fresh() -> String {
    let mut bytes = [0u8; 40];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    URL_SAFE.encode(bytes)
}
