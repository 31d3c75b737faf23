//! The development keys: random at the first start, then kept, so that a client's settings
//! survive a restart of the stack.

use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// RFC 4648 base32 in lower case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Standard Webhooks asks for 24 to 64.
const WEBHOOK_SECRET_BYTES: usize = 32;
const PREFIX_LENGTH: usize = 8;
/// 32 characters of 5 bits: 160 random bits.
const SECRET_LENGTH: usize = 32;

/// A key, shown to the developer and to nobody else.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn random() -> std::io::Result<Key> {
        let mut bytes = [0; PREFIX_LENGTH + SECRET_LENGTH];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        let text: String = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
        let (prefix, secret) = text.split_at(PREFIX_LENGTH);
        Ok(Key(format!("sy-{prefix}-{secret}")))
    }

    /// The whole key, for the one who may use it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the catalogue holds of it.
    pub fn entry(&self) -> Value {
        let prefix = self.0.split('-').nth(1).unwrap_or_default();
        let digest = Sha256::digest(self.0.as_bytes());
        let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"prefix": prefix, "sha256": sha256})
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// The two keys of a local stack.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Keys {
    /// For clients: the tenant `dev`.
    pub api: Key,
    /// For operators.
    pub admin: Key,
}

impl Keys {
    /// Those of an earlier start, or new ones that are kept in `file`, which only its owner may read.
    ///
    /// # Errors
    /// When the file cannot be read, parsed or written.
    pub fn kept_in(file: &Path) -> std::io::Result<Keys> {
        match std::fs::read(file) {
            Ok(text) => serde_json::from_slice(&text).map_err(std::io::Error::other),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let keys = Keys { api: Key::random()?, admin: Key::random()? };
                create_private(file)?.write_all(&serde_json::to_vec_pretty(&keys)?)?;
                Ok(keys)
            }
            Err(error) => Err(error),
        }
    }
}

/// A secret for a webhook, as Standard Webhooks writes it.
pub(super) fn webhook_secret() -> std::io::Result<String> {
    let mut bytes = [0; WEBHOOK_SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(format!("whsec_{}", BASE64.encode(bytes)))
}

/// Writes a file that only its owner may read, beside and then in place, so that a reader sees all of it
/// or nothing.
///
/// # Errors
/// When it cannot be written.
pub fn write_whole(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let part = file.with_extension(format!("part-{}", std::process::id()));
    create_private(&part)?.write_all(text)?;
    std::fs::rename(&part, file)
}

/// Makes a file that only its owner may read, from its first moment on.
pub(super) fn create_private(file: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_only_their_owner_reads_them() {
        let file = std::env::temp_dir().join(format!("switchyard-keys-{}.json", std::process::id()));
        let keys = Keys::kept_in(&file).unwrap();
        assert_eq!(Keys::kept_in(&file).unwrap(), keys);
        assert_ne!(keys.api, keys.admin);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::remove_file(&file).unwrap();
        assert!(!format!("{keys:?}").contains(keys.api.reveal()));
    }

    #[test]
    fn the_catalogue_finds_a_key_by_its_prefix_and_digest() {
        let key = Key("sy-abcdefgh-abcdefghijklmnopqrstuvwxyz234567".to_owned());
        let entry = key.entry();
        assert_eq!(entry["prefix"], "abcdefgh");
        assert_eq!(entry["sha256"].as_str().unwrap().len(), 64);
        let parts: Vec<usize> = Key::random().unwrap().reveal().split('-').map(str::len).collect();
        assert_eq!(parts, [2, 8, 32]);
    }
}
