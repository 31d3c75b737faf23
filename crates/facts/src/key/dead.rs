//! Where dead letters lie, and what was done about them.

use super::hex_sha256;

/// Dead letters and marks beside them.
pub const DEAD: &str = "dead/";

/// A dead letter, by the hash of its body: delivered twice, it is one.
pub fn dead_letter(body: &[u8]) -> String {
    dead_letter_of(&hex_sha256(body))
}

/// A dead letter, by its id: the hash of its body.
pub fn dead_letter_of(id: &str) -> String {
    format!("{DEAD}{id}.json")
}

/// Whether this may be a dead letter's id; nothing else may enter a key.
pub fn is_dead_letter_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// What was done about a dead letter.
pub fn dead_marks(id: &str) -> String {
    format!("{DEAD}{id}/")
}

/// A replay of a dead letter; `by` is random, so that two at once are two.
pub fn dead_replayed(id: &str, at_ms: u64, by: &str) -> String {
    format!("{}replayed-{at_ms:013}-{by}.json", dead_marks(id))
}

/// After the replay of that time the same message was given up again.
pub fn dead_returned(id: &str, replayed_ms: u64) -> String {
    format!("{}returned-{replayed_ms:013}.json", dead_marks(id))
}

/// What lies under [`DEAD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead {
    /// A letter.
    Letter,
    /// A replay, and when it was.
    Replayed(u64),
    /// It came back after the replay of this time.
    Returned(u64),
}

/// The letter's id of a key under [`DEAD`], and what the key says; none where it is no such key.
pub fn read_dead(key: &str) -> Option<(&str, Dead)> {
    let rest = key.strip_prefix(DEAD)?.strip_suffix(".json")?;
    let (id, said) = match rest.split_once('/') {
        None => (rest, Dead::Letter),
        Some((id, mark)) => {
            let (what, rest) = mark.split_once('-')?;
            let at = rest.split('-').next()?.parse().ok()?;
            match what {
                "replayed" => (id, Dead::Replayed(at)),
                "returned" => (id, Dead::Returned(at)),
                _ => return None,
            }
        }
    };
    is_dead_letter_id(id).then_some((id, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back() {
        let empty = "dead/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.json";
        assert_eq!(dead_letter(b""), empty);
        let id = hex_sha256(b"");
        assert_eq!(read_dead(empty), Some((id.as_str(), Dead::Letter)));
        assert_eq!(read_dead(&dead_replayed(&id, 7, "ab")), Some((id.as_str(), Dead::Replayed(7))));
        assert_eq!(read_dead(&dead_returned(&id, 7)), Some((id.as_str(), Dead::Returned(7))));
        assert_eq!(read_dead("dead/x.json"), None);
        for wrong in ["dead/x.json", "dead/../y.json", "alerts/x.json", &format!("dead/{id}/x-1.json")] {
            assert_eq!(read_dead(wrong), None, "{wrong}");
        }
    }
}
