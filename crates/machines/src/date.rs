//! Days of the calendar, without a clock.

use std::fmt;

/// A day, as the services announce it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: i32,
    month: u8,
    day: u8,
}

impl Date {
    /// A day of the table. Its parts are right: a wrong day does not compile where the table is constant.
    ///
    /// # Panics
    /// When no calendar has it.
    pub const fn new(year: i32, month: u8, day: u8) -> Date {
        assert!(month >= 1 && month <= 12 && day >= 1 && day <= days_of(year, month));
        Date { year, month, day }
    }

    /// A day as `2026-11-21`, also at the head of a moment as `2026-11-21T10:00:00Z`.
    pub fn parse(text: &str) -> Option<Date> {
        let (date, rest) = text.split_at_checked(10)?;
        if !(rest.is_empty() || rest.starts_with(['T', ' '])) {
            return None;
        }
        let number = |text: &str| -> Option<u16> {
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
        };
        let mut parts = date.split('-');
        let mut part = |length: usize| number(parts.next().filter(|part| part.len() == length)?);
        let (year, month, day) =
            (i32::from(part(4)?), u8::try_from(part(2)?).ok()?, u8::try_from(part(2)?).ok()?);
        let is_sound = (1..=12).contains(&month) && day >= 1 && day <= days_of(year, month);
        is_sound.then_some(Date { year, month, day })
    }

    /// The day (UTC) of a moment in milliseconds since 1970. Moments past the year 9999 are of its end.
    pub fn of_unix_ms(ms: u64) -> Date {
        // 9999-12-31 is day 2,932,896.
        let days = i32::try_from((ms / 86_400_000).min(2_932_896)).expect("the bound fits");
        // Years begin in March, so that the leap day is their last: eras of 400 years, 146,097 days each.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + i32::from(month <= 2);
        let small = |number: i32| u8::try_from(number).expect("months and days are small");
        Date { year, month: small(month), day: small(day) }
    }

    /// The same day some months later; a day that the month does not have is its last.
    pub fn months_later(self, months: u8) -> Date {
        let months = i32::from(self.month) - 1 + i32::from(months);
        let (year, month) = (self.year + months / 12, u8::try_from(months % 12 + 1).expect("1 to 12"));
        Date { year, month, day: self.day.min(days_of(year, month)) }
    }

    /// Days since 1970-01-01.
    pub fn days(self) -> i32 {
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let from_march = (i32::from(self.month) + 9) % 12;
        let of_year = (153 * from_march + 2) / 5 + i32::from(self.day) - 1;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

const fn days_of(year: i32, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn days_are_read_and_written() {
        for text in ["2026-11-21", "2024-02-29", "1970-01-01"] {
            assert_eq!(Date::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Date::parse("2026-11-21T10:00:00Z"), Some(Date::new(2026, 11, 21)));
        for wrong in [
            "",
            "2026-11",
            "2026-13-01",
            "2026-02-29",
            "2026-1-01x",
            "+026-01-01",
            "2026-11-21x",
            "2026-11-0ä",
        ] {
            assert_eq!(Date::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn months_end_where_they_end() {
        assert_eq!(Date::new(2026, 8, 31).months_later(6), Date::new(2027, 2, 28));
        assert_eq!(Date::new(2026, 11, 21).months_later(6), Date::new(2027, 5, 21));
    }

    proptest! {
        #[test]
        fn days_count_on_without_a_gap(day in 0_u64..2_932_896) {
            let (one, next) = (Date::of_unix_ms(day * 86_400_000), Date::of_unix_ms((day + 1) * 86_400_000 - 1));
            prop_assert_eq!(one, next);
            prop_assert_eq!(u64::try_from(one.days()).unwrap(), day);
            prop_assert!(one < Date::of_unix_ms((day + 1) * 86_400_000));
            prop_assert_eq!(Date::parse(&one.to_string()), Some(one));
        }
    }
}
