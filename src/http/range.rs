//! Answers of known length that may be asked for in part (RFC 9110 §14): one range, as resuming
//! downloads want it. Several at once are answered whole, which the RFC allows.

use std::ops::Range;

use super::{Content, HeaderMap, Request, Response, set};
use crate::failure::{Failure, Kind};

/// Answers with the part of a content of `bytes` bytes that the request asks for. `etag` names this
/// very content, without quotes; `open` begins to read a part of it.
pub fn answer<E>(
    request: &Request,
    bytes: u64,
    etag: &str,
    open: impl FnOnce(Range<u64>) -> Content<E>,
) -> Response
where
    E: std::error::Error + Send + Sync + 'static,
{
    let etag = format!("\"{etag}\"");
    let (status, range) = match wanted(&request.headers, bytes, &etag) {
        Wanted::Whole => (200, 0..bytes),
        Wanted::Part(range) => (206, range),
        Wanted::Nothing => return unsatisfiable(bytes),
    };
    let mut response = super::streamed(open(range.clone()));
    *response.status_mut() =
        warp::http::StatusCode::from_u16(status).expect("statuses written here are valid");
    set(&mut response, "content-length", &(range.end - range.start).to_string());
    if status == 206 {
        set(&mut response, "content-range", &format!("bytes {}-{}/{bytes}", range.start, range.end - 1));
    }
    set(&mut response, "accept-ranges", "bytes");
    set(&mut response, "etag", &etag);
    set(&mut response, "content-type", "application/octet-stream");
    set(&mut response, "x-content-type-options", "nosniff");
    response
}

fn unsatisfiable(bytes: u64) -> Response {
    let message = format!("the content has {bytes} bytes; ask for a range within them");
    let failure = Failure::new(Kind::OutOfRange, "range_not_satisfiable", message).of("Range");
    let mut response = super::failure(&failure);
    set(&mut response, "content-range", &format!("bytes */{bytes}"));
    response
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    /// Never empty.
    Part(Range<u64>),
    /// The range lies outside.
    Nothing,
}

fn wanted(headers: &HeaderMap, bytes: u64, etag: &str) -> Wanted {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let Some(range) = text("range") else { return Wanted::Whole };
    if text("if-range").is_some_and(|known| known != etag) {
        return Wanted::Whole;
    }
    // What cannot be read is ignored, as the RFC demands.
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Wanted::Whole;
    };
    let range = match (number(first), number(last)) {
        (Number::None, Number::Some(suffix)) => bytes.saturating_sub(suffix)..bytes,
        (Number::Some(first), Number::None) => first..bytes,
        (Number::Some(first), Number::Some(last)) if first <= last => {
            first..bytes.min(last.saturating_add(1))
        }
        _ => return Wanted::Whole,
    };
    if range.is_empty() { Wanted::Nothing } else { Wanted::Part(range) }
}

enum Number {
    None,
    Some(u64),
    Wrong,
}

fn number(text: &str) -> Number {
    match text.trim() {
        "" => Number::None,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map_or(Number::Wrong, Number::Some)
        }
        _ => Number::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeaderValue;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let part = Wanted::Part;
        let cases = [
            ("bytes=0-3", part(0..4)),
            ("bytes=4-", part(4..10)),
            ("bytes=-3", part(7..10)),
            ("bytes=-30", part(0..10)),
            ("bytes=8-100", part(8..10)),
            ("bytes=0-18446744073709551615", part(0..10)),
            ("bytes=9-9", part(9..10)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=5-2", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
        ];
        for (range, wanted_range) in cases {
            let mut headers = HeaderMap::new();
            headers.insert("range", HeaderValue::from_static(range));
            assert_eq!(wanted(&headers, 10, "\"e\""), wanted_range, "{range}");
            headers.insert("if-range", HeaderValue::from_static("\"other\""));
            assert_eq!(wanted(&headers, 10, "\"e\""), Wanted::Whole, "{range}");
        }
        assert_eq!(wanted(&HeaderMap::new(), 10, "\"e\""), Wanted::Whole);
    }

    #[test]
    fn an_empty_content_has_no_part() {
        let mut headers = HeaderMap::new();
        headers.insert("range", HeaderValue::from_static("bytes=0-"));
        assert_eq!(wanted(&headers, 0, "\"e\""), Wanted::Nothing);
    }
}
