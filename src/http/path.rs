//! Paths, taken apart and decoded once. A path that any decoding turns into one with dot segments is
//! refused, because someone behind us might resolve them.

use crate::failure::Failure;

/// Decodings that are looked through for dot segments: the client's, a proxy's and one more.
const DECODINGS: usize = 3;

/// The decoded segments of `path` (which starts with `/`). A segment may hold a `/`: whoever takes
/// it decides whether that can be. `proxied`: a proxy wrote `%2F` as `%252F`.
///
/// # Errors
/// 400 for dot segments, wrong percent-encoding and control characters.
pub fn segments(path: &str, proxied: bool) -> Result<Vec<String>, Failure> {
    refuse_dots(path)?;
    let rest = path.strip_prefix('/').unwrap_or(path);
    rest.split('/')
        .map(|segment| if proxied { decode(&undo_proxy(segment)) } else { decode(segment) })
        .collect()
}

fn refuse_dots(path: &str) -> Result<(), Failure> {
    let mut seen = path.to_owned();
    for _ in 0..=DECODINGS {
        if seen.split(['/', '\\']).any(|segment| segment == "." || segment == "..") {
            return Err(Failure::invalid(
                "path",
                "dot_segment",
                "the path has `.` or `..` segments; write it without them",
            ));
        }
        let Some(next) = decoded_bytes(&seen).and_then(|bytes| String::from_utf8(bytes).ok()) else { break };
        if next == seen {
            break;
        }
        seen = next;
    }
    Ok(())
}

fn undo_proxy(segment: &str) -> String {
    segment.replace("%252F", "%2F").replace("%252f", "%2f")
}

fn decode(segment: &str) -> Result<String, Failure> {
    let wrong = |what| Failure::invalid("path", "invalid_path", format!("the path {what}"));
    let bytes =
        decoded_bytes(segment).ok_or_else(|| wrong("has a `%` that two hexadecimal digits do not follow"))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8"))?;
    if text.chars().any(char::is_control) {
        return Err(wrong("has control characters"));
    }
    Ok(text)
}

fn decoded_bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let digit = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).expect("two hexadecimal digits fit a byte"));
        rest = &after[2..];
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_once() {
        let cases = [
            ("/api/v1/models", false, vec!["api", "v1", "models"]),
            ("/models/org%2Fname", false, vec!["models", "org/name"]),
            ("/models/org%252Fname", true, vec!["models", "org/name"]),
            ("/models/org%252Fname", false, vec!["models", "org%2Fname"]),
            ("/a%20b/%C3%A4", false, vec!["a b", "ä"]),
            ("/a//b/", false, vec!["a", "", "b", ""]),
            ("/a..b/...", false, vec!["a..b", "..."]),
        ];
        for (path, proxied, wanted) in cases {
            assert_eq!(segments(path, proxied).unwrap(), wanted, "{path}");
        }
    }

    #[test]
    fn dot_segments_are_refused_after_every_decoding() {
        for path in [
            "/api/v1/../x",
            "/api/./v1",
            "/api/v1/%2e%2e/x",
            "/api/v1/%2E./x",
            "/api/v1/%252e%252e/x",
            "/api/v1/x%2F..%2Fy",
            "/api/v1/x%252F..%252Fy",
            "/api/v1/%25252e%25252e",
            "/api\\..\\x",
            "/..",
        ] {
            assert_eq!(segments(path, false).unwrap_err().code, "dot_segment", "{path}");
            assert_eq!(segments(path, true).unwrap_err().code, "dot_segment", "{path}");
        }
    }

    #[test]
    fn wrong_encodings_are_refused() {
        for path in ["/a%", "/a%2", "/a%zz", "/a%ff", "/a%00"] {
            assert_eq!(segments(path, false).unwrap_err().code, "invalid_path", "{path}");
        }
    }
}
