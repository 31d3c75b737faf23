//! Dates as the Storage services write them: RFC 1123 in bodies and headers, ISO 8601 in SAS.
//! Civil time throughout: "never" is the last second of the year 9999, which is past the last
//! instant that a time zone could still move.

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};

const RFC_1123: &str = "%a, %d %b %Y %H:%M:%S GMT";

/// `Sat, 21 Nov 2026 04:41:07 GMT`.
pub fn rfc1123(unix_ms: u64) -> String {
    civil(unix_ms).strftime(RFC_1123).to_string()
}

/// `2026-11-21T04:41:07.1230000Z`, as the service ends its error texts.
pub fn iso(unix_ms: u64) -> String {
    civil(unix_ms).strftime("%Y-%m-%dT%H:%M:%S%.7fZ").to_string()
}

/// Unix milliseconds of an RFC 1123 date.
pub fn parse_rfc1123(text: &str) -> Option<u64> {
    unix_ms(DateTime::strptime(RFC_1123, text).ok()?)
}

/// Unix milliseconds of what SAS writes: `2026-11-21`, `2026-11-21T04:41Z`, `2026-11-21T04:41:07Z`.
pub fn parse_sas(text: &str) -> Option<u64> {
    unix_ms(text.strip_suffix('Z').unwrap_or(text).parse().ok()?)
}

/// The civil time in UTC; past the year 9999 it stays at its end.
pub fn civil(unix_ms: u64) -> DateTime {
    let ms = i64::try_from(unix_ms.min(super::store::NEVER_MS)).expect("the year 9999 fits");
    epoch().checked_add(SignedDuration::from_millis(ms)).expect("the year 9999 is in range")
}

/// Unix milliseconds of a civil time in UTC; none before 1970.
pub fn unix_ms(civil: DateTime) -> Option<u64> {
    u64::try_from(civil.duration_since(epoch()).as_millis()).ok()
}

fn epoch() -> DateTime {
    date(1970, 1, 1).at(0, 0, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_and_read() {
        assert_eq!(rfc1123(1_795_236_067_123), "Sat, 21 Nov 2026 04:41:07 GMT");
        assert_eq!(rfc1123(crate::queue::store::NEVER_MS), "Fri, 31 Dec 9999 23:59:59 GMT");
        let never = parse_rfc1123("Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(never, Some(crate::queue::store::NEVER_MS));
        assert_eq!(parse_rfc1123("Sat, 21 Nov 2026 04:41:07 GMT"), Some(1_795_236_067_000));
        assert_eq!(iso(1_795_236_067_123), "2026-11-21T04:41:07.1230000Z");
        for text in ["2026-11-21T04:41:07Z", "2026-11-21T04:41:07.0000000Z"] {
            assert_eq!(parse_sas(text), Some(1_795_236_067_000), "{text}");
        }
        assert_eq!(parse_sas("2026-11-21T04:41Z"), Some(1_795_236_060_000));
        assert_eq!(parse_sas("2026-11-21"), Some(1_795_219_200_000));
        assert_eq!(parse_sas("soon"), None);
    }
}
