//! Moments and spans in ticks of 100 ns, with the calendar that formulas see. All times are UTC.
//! How moments are read from text is in [`read`].

use std::fmt;

mod read;

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

    /// The moment that a text in W3C-DTF or RFC 1123 says, as `time("…")` reads it.
    pub fn parse(text: &str) -> Option<Timestamp> {
        read::timestamp(text)
    }

    /// A part of the moment as `time().hour` and the like give it.
    pub fn field(self, field: Field) -> i64 {
        let days = self.0.div_euclid(TICKS_PER_DAY);
        let (year, month, day) = civil_from_days(days);
        let second = self.0.rem_euclid(TICKS_PER_DAY) / TICKS_PER_SECOND;
        match field {
            Field::Year => year,
            Field::Month => month,
            Field::Day => day,
            // The epoch's first day was a Thursday, the fourth of the week.
            Field::Weekday => (days + 3).rem_euclid(7) + 1,
            Field::Hour => second / 3_600,
            Field::Minute => second / 60 % 60,
            Field::Second => second % 60,
        }
    }
}

impl Interval {
    /// A span of that many milliseconds. Saturates.
    pub fn from_ms(ms: u64) -> Interval {
        Interval(ticks_of_ms(ms))
    }
}

/// The parts of a timestamp that a formula can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The year.
    Year,
    /// The month, from 1.
    Month,
    /// The day of the month, from 1.
    Day,
    /// The day of the week; 1 is Monday.
    Weekday,
    /// The hour, 0 to 23.
    Hour,
    /// The minute.
    Minute,
    /// The second, without its fraction.
    Second,
}

impl Field {
    /// Every part.
    pub const ALL: [Field; 7] =
        [Field::Year, Field::Month, Field::Day, Field::Weekday, Field::Hour, Field::Minute, Field::Second];

    /// Its name in a formula.
    pub const fn name(self) -> &'static str {
        match self {
            Field::Year => "year",
            Field::Month => "month",
            Field::Day => "day",
            Field::Weekday => "weekday",
            Field::Hour => "hour",
            Field::Minute => "minute",
            Field::Second => "second",
        }
    }

    /// The part of that name.
    pub fn named(name: &str) -> Option<Field> {
        Field::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// The interval constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Unit {
    Zero,
    HundredNanoseconds,
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Year,
}

impl Unit {
    /// Every constant.
    pub const ALL: [Unit; 10] = [
        Unit::Zero,
        Unit::HundredNanoseconds,
        Unit::Microsecond,
        Unit::Millisecond,
        Unit::Second,
        Unit::Minute,
        Unit::Hour,
        Unit::Day,
        Unit::Week,
        Unit::Year,
    ];

    /// Its name in a formula.
    pub const fn name(self) -> &'static str {
        match self {
            Unit::Zero => "TimeInterval_Zero",
            Unit::HundredNanoseconds => "TimeInterval_100ns",
            Unit::Microsecond => "TimeInterval_Microsecond",
            Unit::Millisecond => "TimeInterval_Millisecond",
            Unit::Second => "TimeInterval_Second",
            Unit::Minute => "TimeInterval_Minute",
            Unit::Hour => "TimeInterval_Hour",
            Unit::Day => "TimeInterval_Day",
            Unit::Week => "TimeInterval_Week",
            Unit::Year => "TimeInterval_Year",
        }
    }

    /// The constant of that name.
    pub fn named(name: &str) -> Option<Unit> {
        Unit::ALL.into_iter().find(|unit| unit.name() == name)
    }

    /// Its length. A year has 365 days (not documented).
    pub const fn interval(self) -> Interval {
        Interval(match self {
            Unit::Zero => 0,
            Unit::HundredNanoseconds => 1,
            Unit::Microsecond => 10,
            Unit::Millisecond => TICKS_PER_MS,
            Unit::Second => TICKS_PER_SECOND,
            Unit::Minute => 60 * TICKS_PER_SECOND,
            Unit::Hour => 3_600 * TICKS_PER_SECOND,
            Unit::Day => TICKS_PER_DAY,
            Unit::Week => 7 * TICKS_PER_DAY,
            Unit::Year => 365 * TICKS_PER_DAY,
        })
    }
}

/// `2016-10-13T19:18:47.805Z`, as the results string has it.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [year, month, day] = [Field::Year, Field::Month, Field::Day].map(|field| self.field(field));
        let [hour, minute, second] =
            [Field::Hour, Field::Minute, Field::Second].map(|field| self.field(field));
        let ms = self.0.rem_euclid(TICKS_PER_SECOND) / TICKS_PER_MS;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

/// `[-][d.]hh:mm:ss[.fffffff]`, as .NET prints a span (the service's form is not documented).
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ticks = self.0.unsigned_abs();
        let per_second = TICKS_PER_SECOND.unsigned_abs();
        let (seconds, fraction) = (ticks / per_second, ticks % per_second);
        let (days, hour) = (seconds / 86_400, seconds / 3_600 % 24);
        let (minute, second) = (seconds / 60 % 60, seconds % 60);
        if self.0 < 0 {
            f.write_str("-")?;
        }
        if days > 0 {
            write!(f, "{days}.")?;
        }
        write!(f, "{hour:02}:{minute:02}:{second:02}")?;
        if fraction > 0 { write!(f, ".{fraction:07}") } else { Ok(()) }
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

/// The reverse of [`civil_from_days`], or `None` for a date that does not exist.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    (civil_from_days(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests;
