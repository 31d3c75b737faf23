//! Numbers, times and money as people read them. Pure.

use jiff::Timestamp;

/// Cells of a progress bar.
const BAR_CELLS: u64 = 20;

/// `7,432`
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 shard`, `2 shards`
pub fn of(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// How much of it is done, as a bar: full only when all of it is.
pub fn bar(done: u64, total: u64) -> String {
    let filled = share(done, total, BAR_CELLS);
    (0..BAR_CELLS).map(|cell| if cell < filled { '█' } else { '░' }).collect()
}

/// How much of it is done, in percent: 100 only when all of it is.
pub fn percent(done: u64, total: u64) -> u64 {
    share(done, total, 100)
}

fn share(done: u64, total: u64, of: u64) -> u64 {
    match total {
        0 => 0,
        _ => (u128::from(done.min(total)) * u128::from(of) / u128::from(total)) as u64,
    }
}

/// A span to two units: `45s`, `3m12s`, `12m`, `3h05m`, `2d04h`.
pub fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, 1..10) => format!("{minutes}m{:02}s", seconds % 60),
        (0, 0, _) => format!("{minutes}m"),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// How an instant lies to now: `in 3h05m`, `12m ago`, `now`.
pub fn relative(at_ms: u64, now_ms: u64) -> String {
    match (at_ms / 1_000).cmp(&(now_ms / 1_000)) {
        std::cmp::Ordering::Greater => format!("in {}", span(at_ms - now_ms)),
        std::cmp::Ordering::Less => format!("{} ago", span(now_ms - at_ms)),
        std::cmp::Ordering::Equal => "now".to_owned(),
    }
}

/// Unix milliseconds of an RFC 3339 instant; none where the text is none.
pub fn instant_ms(text: &str) -> Option<u64> {
    let at: Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok()
}

/// How the instant in `text` lies to now; the text itself where it is none.
pub fn when(text: &str, now_ms: u64) -> String {
    instant_ms(text).map_or_else(|| text.to_owned(), |at| relative(at, now_ms))
}

/// `$0.031`, `$12.40`, `$0.0000012`: what counts, to a tenth of a micro-dollar.
pub fn usd(amount: f64) -> String {
    if amount == 0.0 {
        return "$0".to_owned();
    }
    if amount >= 1.0 {
        return format!("${amount:.2}");
    }
    // Digits until the first that counts; a micro-dollar is the least that is billed.
    let zeros = (-amount.log10()).floor().clamp(0.0, 6.0) as usize;
    let decimals = if amount >= 0.01 { 3 } else { (zeros + 2).min(7) };
    let text = format!("${amount:.decimals$}");
    if amount >= 0.01 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")];
        for (number, text) in cases {
            assert_eq!(count(number), text);
        }
        assert_eq!((of(1, "shard"), of(2_000, "shard")), ("1 shard".to_owned(), "2,000 shards".to_owned()));
    }

    #[test]
    fn bars_are_full_only_when_all_is_done() {
        let full = |done, total| bar(done, total).chars().filter(|cell| *cell == '█').count();
        for (done, total, cells, hundred) in [
            (0, 10, 0, 0),
            (5, 10, 10, 50),
            (11_999, 12_000, 19, 99),
            (12_000, 12_000, 20, 100),
            (0, 0, 0, 0),
        ] {
            assert_eq!((full(done, total), percent(done, total)), (cells, hundred), "{done}/{total}");
            assert_eq!(bar(done, total).chars().count(), 20);
        }
    }

    #[test]
    fn spans_have_two_units() {
        let cases = [
            (0, "0s"),
            (45_999, "45s"),
            (192_000, "3m12s"),
            (12 * 60_000, "12m"),
            (3 * 3_600_000 + 5 * 60_000, "3h05m"),
            (52 * 3_600_000, "2d04h"),
        ];
        for (ms, text) in cases {
            assert_eq!(span(ms), text, "{ms}");
        }
    }

    #[test]
    fn instants_are_told_from_now() {
        let now = instant_ms("2026-11-21T09:00:00Z").unwrap();
        let cases = [
            ("2026-11-21T12:05:00Z", "in 3h05m"),
            ("2026-11-21T08:48:00Z", "12m ago"),
            ("2026-11-21T09:00:00Z", "now"),
            ("soon", "soon"),
        ];
        for (text, expected) in cases {
            assert_eq!(when(text, now), expected);
        }
    }

    #[test]
    fn money_shows_what_counts() {
        let cases = [
            (0.0, "$0"),
            (12.4, "$12.40"),
            (0.118, "$0.118"),
            (0.5, "$0.500"),
            (0.001517, "$0.0015"),
            (0.0000012, "$0.0000012"),
            (0.000005, "$0.000005"),
            (0.00000001, "$0"),
        ];
        for (amount, text) in cases {
            assert_eq!(usd(amount), text, "{amount}");
        }
    }
}
