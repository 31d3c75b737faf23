//! Durations and instants as Azure Batch writes them.

use std::time::Duration;

use policy::units::UnixMs;
use serde::{Deserialize, Deserializer};

/// `PT1H0M5S`. Rounded up to whole seconds, so that no limit becomes none.
pub(super) fn duration(length: Duration) -> String {
    let seconds = length.as_secs() + u64::from(length.subsec_nanos() > 0);
    format!("PT{}H{}M{}S", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Reads `2026-11-20T15:37:11.1234567Z`. What is no instant counts as absent: none of them decides
/// whether an answer makes sense.
pub(super) fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnixMs>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| parse(&text)))
}

/// Reads `PT5M`. What is no span counts as absent.
pub(super) fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| parse_span(&text)))
}

fn parse_span(text: &str) -> Option<Duration> {
    let span: jiff::Span = text.parse().ok()?;
    // Years and months, which have no fixed length, are none that the service writes.
    let span = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
    span.try_into().ok()
}

fn parse(text: &str) -> Option<UnixMs> {
    let instant: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(instant.as_millisecond()).ok().map(UnixMs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_seconds() {
        let cases = [(0, "PT0H0M0S"), (1, "PT0H0M1S"), (3_600_000, "PT1H0M0S"), (90_061_001, "PT25H1M2S")];
        for (ms, expected) in cases {
            assert_eq!(duration(Duration::from_millis(ms)), expected);
        }
    }

    #[test]
    fn spans_are_read_however_they_are_written() {
        let cases = [
            ("PT5M", Some(300)),
            ("PT05M00S", Some(300)),
            ("PT0H5M0S", Some(300)),
            ("P1DT2H", Some(93_600)),
            ("P7D", Some(604_800)),
            ("-PT5M", None),
            ("five minutes", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_span(text), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn instants_have_up_to_seven_digits() {
        let cases = [
            ("2026-11-20T15:37:11Z", Some(1_795_189_031_000)),
            ("2026-11-20T15:37:11.1234567Z", Some(1_795_189_031_123)),
            ("1960-01-01T00:00:00Z", None),
            ("yesterday", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected.map(UnixMs), "{text}");
        }
    }
}
