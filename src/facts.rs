//! What is kept in the blob store, as far as this version keeps anything: the catalogue it reads,
//! the state it overwrites, dead letters and alerts it writes once, and decisions it appends.
//! Put-if-absent is the only concurrency primitive; keys are built here and nowhere else.

pub mod records;
pub mod store;

pub use records::Records;
pub use store::{Store, StoreError};

/// The catalogue.
pub const CATALOGUE: &str = "config/catalogue.json";
/// The last merged observation.
pub const VIEW: &str = "state/view.json";

/// State of one process that calls backends.
pub fn process_state(instance: &str) -> String {
    format!("state/http/{instance}.json")
}

/// A dead letter, by the hash of its body: delivered twice, it is one.
pub fn dead_letter(body: &[u8]) -> String {
    format!("dead/{}.json", hex_sha256(body))
}

/// An alert, by the hash of its body.
pub fn alert(body: &[u8]) -> String {
    format!("alerts/{}.json", hex_sha256(body))
}

/// Decisions of one process; `unix_ms` picks the folder of the hour.
pub fn decisions(unix_ms: u64, process: &str, n: u64) -> String {
    let instant = jiff::Timestamp::from_millisecond(i64::try_from(unix_ms).unwrap_or(i64::MAX));
    let hour = instant.unwrap_or(jiff::Timestamp::MAX).strftime("%Y-%m-%d/%H").to_string();
    format!("audit/{hour}/{process}-{n}.jsonl")
}

fn hex_sha256(body: &[u8]) -> String {
    use sha2::Digest;
    use std::fmt::Write;
    sha2::Sha256::digest(body).iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a String succeeds");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_design() {
        assert_eq!(decisions(1_793_534_400_000, "abc", 7), "audit/2026-11-01/12/abc-7.jsonl");
        assert_eq!(process_state("abc"), "state/http/abc.json");
        let empty = "dead/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.json";
        assert_eq!(dead_letter(b""), empty);
    }
}
