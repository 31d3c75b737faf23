//! Names of jobs, packs and files: short, safe in keys, paths, URLs and command lines.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

/// Lower-case base32 of RFC 4648.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// 128 bits at 5 bits a character.
const ID_CHARS: usize = 26;

/// A job: 26 lower-case base32 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct JobId(String);

impl JobId {
    /// A job that nobody else names.
    pub fn random() -> JobId {
        JobId(random())
    }

    /// The job of an `Idempotency-Key`: the same tenant, operation and key always name the same job.
    pub fn of_key(tenant: &str, operation: &str, key: &str) -> JobId {
        let mut hash = Sha256::new();
        for part in [tenant, operation, key] {
            // Lengths keep ("ab", "c") and ("a", "bc") apart.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let hash: [u8; 32] = hash.finalize().into();
        JobId(base32(hash.first_chunk().expect("32 bytes hold 16")))
    }

    /// The job that `text` names; none where it is no id. Nothing else may enter a key.
    pub fn parse(text: &str) -> Option<JobId> {
        is_id(text).then(|| JobId(text.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<JobId, D::Error> {
        let text = String::deserialize(from)?;
        JobId::parse(&text).ok_or_else(|| serde::de::Error::custom("no job id"))
    }
}

/// 128 random bits as an id: of a pack, a file, or the writer of a claim.
pub fn random() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    base32(&bytes)
}

/// Whether `text` is an id of the form that [`random`] makes.
pub fn is_id(text: &str) -> bool {
    text.len() == ID_CHARS && text.bytes().all(|byte| ALPHABET.contains(&byte))
}

/// Whether a tenant's name or a pack's may stand in a key: 1 to 64 of letters, digits, `-` and `_`.
pub fn is_name(text: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(safe)
}

fn base32(bytes: &[u8; 16]) -> String {
    let mut number = u128::from_be_bytes(*bytes);
    let mut text = [0; ID_CHARS];
    for place in text.iter_mut().rev() {
        *place = ALPHABET[(number % 32) as usize];
        number /= 32;
    }
    text.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_jobs_of_their_own() {
        let id = JobId::of_key("dev", "embeddings", "k1");
        assert_eq!(id, JobId::of_key("dev", "embeddings", "k1"));
        assert_ne!(id, JobId::of_key("dev", "embeddings", "k2"));
        assert_ne!(JobId::of_key("ab", "c", "k"), JobId::of_key("a", "bc", "k"));
        assert_eq!(JobId::parse(id.as_str()), Some(id));
        assert_ne!(JobId::random(), JobId::random());
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for wrong in
            ["", "abc", "../../etc/passwd", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", &"a".repeat(27), &"1".repeat(26)]
        {
            assert!(JobId::parse(wrong).is_none(), "{wrong}");
        }
        for wrong in ["", "a/b", "..", "a.b", &"a".repeat(65)] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
