//! Moments and spans in ticks of 100 ns, with the calendar that formulas see. All times are UTC.

use std::fmt;

/// Ticks of 100 ns in a millisecond.
const TICKS_PER_MS: i64 = 10_000;
/// Ticks of 100 ns in a second.
const TICKS_PER_SECOND: i64 = 1_000 * TICKS_PER_MS;
/// Ticks of 100 ns in a day.
const TICKS_PER_DAY: i64 = 86_400 * TICKS_PER_SECOND;

/// A moment, in ticks of 100 ns since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// A span of time, in ticks of 100 ns. May be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval(pub i64);

fn ticks_of_ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(TICKS_PER_MS)
}

impl Timestamp {
    /// The moment that many milliseconds after the Unix epoch. Saturates.
    pub fn from_unix_ms(ms: u64) -> Timestamp {
        Timestamp(ticks_of_ms(ms))
    }

    /// Milliseconds since the Unix epoch, negative before it.
    pub fn unix_ms(self) -> i64 {
        self.0.div_euclid(TICKS_PER_MS)
    }
}

impl Interval {
    /// A span of that many milliseconds. Saturates.
    pub fn from_ms(ms: u64) -> Interval {
        Interval(ticks_of_ms(ms))
    }
}

/// `2016-10-13T19:18:47.805Z`, as the results string has it.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(TICKS_PER_DAY));
        let ms = self.0.rem_euclid(TICKS_PER_DAY) / TICKS_PER_MS;
        let (second, ms) = (ms / 1_000, ms % 1_000);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

/// The proleptic Gregorian date of a day counted from 1970-01-01 (Howard Hinnant's
/// `civil_from_days`: eras of 400 years, years that begin in March).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}
