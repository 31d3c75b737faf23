//! ISO 8601 durations, as the official clients write them: `PT5M`, `PT05M00S`, `P1DT2H`, and the
//! service's "for ever", `P10675199DT2H48M5.4775807S`.

/// Milliseconds of a duration; none when the text is not one. Years and months have no fixed
/// length and are refused.
pub(super) fn parse_ms(text: &str) -> Option<u64> {
    let (date, time) = match text.strip_prefix('P')?.split_once('T') {
        Some((_, "")) => return None,
        Some(both) => both,
        None => (text.strip_prefix('P')?, ""),
    };
    if date.is_empty() && time.is_empty() {
        return None;
    }
    let days = sum(date, &[('D', 86_400_000)])?;
    days.checked_add(sum(time, &[('H', 3_600_000), ('M', 60_000), ('S', 1_000)])?)
}

/// A duration as the service writes it: `PT15M`, `P7D`, `P1DT30M`.
pub(super) fn iso(duration_ms: u64) -> String {
    let (days, rest_ms) = (duration_ms / 86_400_000, duration_ms % 86_400_000);
    let (hours, minutes) = (rest_ms / 3_600_000, rest_ms / 60_000 % 60);
    let (seconds, thousandths) = (rest_ms / 1_000 % 60, rest_ms % 1_000);
    let part = |number: u64, unit: &str| if number > 0 { format!("{number}{unit}") } else { String::new() };
    let fraction = format!(".{thousandths:03}");
    let fraction = if thousandths > 0 { fraction.trim_end_matches('0') } else { "" };
    let seconds = match (seconds, thousandths) {
        (0, 0) => String::new(),
        _ => format!("{seconds}{fraction}S"),
    };
    let time = part(hours, "H") + &part(minutes, "M") + &seconds;
    match (days, time.as_str()) {
        (0, "") => "PT0S".to_owned(),
        (_, "") => format!("P{days}D"),
        _ => format!("P{}T{time}", part(days, "D")),
    }
}

/// The sum of numbers with units, which come in the given order and at most once each.
fn sum(mut text: &str, units: &[(char, u64)]) -> Option<u64> {
    let mut total = 0_u64;
    for (unit, unit_ms) in units {
        let Some((number, rest)) = text.split_once(*unit) else { continue };
        total = total.checked_add(part(number, *unit_ms)?)?;
        text = rest;
    }
    text.is_empty().then_some(total)
}

/// `number` units in milliseconds. Only seconds may have a fraction; what is under a millisecond
/// is dropped.
fn part(number: &str, unit_ms: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (number.contains('.') && unit_ms != 1_000) {
        return None;
    }
    let thousandths: u64 = format!("{fraction:0<3}")[..3].parse().ok()?;
    let whole_ms = whole.parse::<u64>().ok()?.checked_mul(unit_ms)?;
    whole_ms.checked_add(if unit_ms == 1_000 { thousandths } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_the_official_clients_are_read() {
        let cases = [
            ("PT5M", Some(300_000)),
            ("PT05M00S", Some(300_000)),
            ("PT01H00M00S", Some(3_600_000)),
            ("P1D", Some(86_400_000)),
            ("P1DT2H", Some(93_600_000)),
            ("PT0.25S", Some(250)),
            ("PT0S", Some(0)),
            ("P10675199DT2H48M5.4775807S", Some(922_337_203_685_477)),
            ("", None),
            ("P", None),
            ("PT", None),
            ("P1DT", None),
            ("5M", None),
            ("PT5", None),
            ("PT-5M", None),
            ("PT5M1H", None),
            ("PT5.5M", None),
            ("PT.5S", None),
            ("P1M", None),
            ("P1W", None),
            ("PT99999999999999999999H", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_ms(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_the_service_does_and_read_again() {
        let cases = [
            (0, "PT0S"),
            (250, "PT0.25S"),
            (300_000, "PT5M"),
            (900_000, "PT15M"),
            (5_400_000, "PT1H30M"),
            (88_200_000, "P1DT30M"),
            (604_800_000, "P7D"),
            (86_401_500, "P1DT1.5S"),
        ];
        for (ms, text) in cases {
            assert_eq!((iso(ms).as_str(), parse_ms(text)), (text, Some(ms)));
        }
    }
}
