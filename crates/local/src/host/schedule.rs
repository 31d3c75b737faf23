//! Timer schedules: NCRONTAB expressions of six or five fields, and time spans. Pure; all times
//! are UTC, as they are in Azure.

use jiff::civil::{Date, DateTime, Weekday};

use super::app::time_span;
use crate::queue::date;
use crate::queue::store::NEVER_MS;

/// Months searched for the next occurrence: the calendar repeats after 400 years, so a date that
/// does not come by then never does.
const MONTHS_SEARCHED_MAX: u32 = 400 * 12;
/// Schedules that run more often than this are not monitored.
const MONITORED_PERIOD_MS: u64 = 60_000;

/// When a timer runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// An NCRONTAB expression.
    Cron(Box<Cron>),
    /// Every so many milliseconds from the start on.
    Every(u64),
}

/// The fields of an expression, each a set of the values that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    seconds: Set,
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
}

/// The expression is neither; the text repeats it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the schedule `{0}` is neither a cron expression of six or five fields nor a time span such as 1.00:00:00"
)]
pub struct Unrecognised(String);

impl Schedule {
    /// Reads an expression whose `%SETTING%`s have been replaced.
    ///
    /// # Errors
    /// [`Unrecognised`].
    pub fn parse(text: &str) -> Result<Schedule, Unrecognised> {
        let unrecognised = || Unrecognised(text.to_owned());
        let fields: Vec<&str> = text.split_whitespace().collect();
        let fields: [&str; 6] = match fields[..] {
            [span] => {
                let period = time_span(span).filter(|period| !period.is_zero()).ok_or_else(unrecognised)?;
                return Ok(Schedule::Every(u64::try_from(period.as_millis()).map_err(|_| unrecognised())?));
            }
            // Five fields run at second 0.
            [minutes, hours, days, months, weekdays] => ["0", minutes, hours, days, months, weekdays],
            [seconds, minutes, hours, days, months, weekdays] => {
                [seconds, minutes, hours, days, months, weekdays]
            }
            _ => return Err(unrecognised()),
        };
        Cron::parse(fields).map(|cron| Schedule::Cron(Box::new(cron))).ok_or_else(unrecognised)
    }

    /// The first occurrence after an instant, both in Unix milliseconds; the end of the year 9999
    /// when there is none.
    pub fn next(&self, after_ms: u64) -> u64 {
        match self {
            Schedule::Every(period_ms) => after_ms.saturating_add(*period_ms).min(NEVER_MS),
            Schedule::Cron(cron) => {
                cron.next(date::civil(after_ms)).and_then(date::unix_ms).unwrap_or(NEVER_MS)
            }
        }
    }

    /// `Schedule.AdjustForDST` of the envelope: expressions follow the time zone, spans do not.
    pub fn adjusts_for_dst(&self) -> bool {
        matches!(self, Schedule::Cron(_))
    }

    /// Whether its status is kept, if the function asks for it: the host gives up on schedules
    /// that run more than once a minute.
    pub fn can_be_monitored(&self) -> bool {
        match self {
            Schedule::Every(period_ms) => *period_ms >= MONITORED_PERIOD_MS,
            Schedule::Cron(cron) => cron.seconds.count() == 1,
        }
    }
}

impl Cron {
    fn parse([seconds, minutes, hours, days, months, weekdays]: [&str; 6]) -> Option<Cron> {
        const MONTHS: [&str; 12] =
            ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
        const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
        Some(Cron {
            seconds: Set::parse(seconds, (0, 59), &[])?,
            minutes: Set::parse(minutes, (0, 59), &[])?,
            hours: Set::parse(hours, (0, 23), &[])?,
            days: Set::parse(days, (1, 31), &[])?,
            months: Set::parse(months, (1, 12), &MONTHS)?,
            weekdays: Set::parse(weekdays, (0, 6), &WEEKDAYS)?,
        })
    }

    fn next(&self, after: DateTime) -> Option<DateTime> {
        let mut day = after.date();
        let mut months = 0;
        if self.matches(day) {
            let second = after.hour() as u32 * 3600 + after.minute() as u32 * 60 + after.second() as u32;
            if let Some(found) = self.first_from(day, second + 1) {
                return Some(found);
            }
        }
        while months < MONTHS_SEARCHED_MAX {
            let before = day;
            day = if self.months.holds(day.month()) {
                day.tomorrow().ok()?
            } else {
                day.last_of_month().tomorrow().ok()?
            };
            months += u32::from(day.month() != before.month());
            if self.matches(day) {
                return self.first_from(day, 0);
            }
        }
        None
    }

    /// Day of the month and day of the week must both match, unlike in Unix cron.
    fn matches(&self, day: Date) -> bool {
        self.months.holds(day.month())
            && self.days.holds(day.day())
            && self.weekdays.holds(day.weekday().since(Weekday::Sunday))
    }

    /// The first matching time of a day from that second of the day on.
    fn first_from(&self, day: Date, second: u32) -> Option<DateTime> {
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        for h in self.hours.from(hour) {
            let minute = if h == hour { minute } else { 0 };
            for m in self.minutes.from(minute) {
                let second = if (h, m) == (hour, minute) { second } else { 0 };
                if let Some(s) = self.seconds.from(second).next() {
                    return Some(day.at(h as i8, m as i8, s as i8, 0));
                }
            }
        }
        None
    }
}

/// Small numbers as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Set(u64);

impl Set {
    /// A list of `*`, `a`, `a-b`, each with an optional `/step`. Names stand for the numbers from
    /// the lowest on.
    fn parse(field: &str, (lowest, highest): (u32, u32), names: &[&str]) -> Option<Set> {
        let number = |text: &str| {
            let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
            let number = named.map_or_else(|| text.parse().ok(), |at| Some(lowest + at as u32))?;
            (lowest..=highest).contains(&number).then_some(number)
        };
        let mut bits = 0;
        for part in field.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|&step| step > 0)?)),
                None => (part, None),
            };
            let (from, to) = match (range, range.split_once('-')) {
                ("*", _) => (lowest, highest),
                (_, Some((from, to))) => (number(from)?, number(to)?),
                // `5/15` counts on to the end.
                (from, None) if step.is_some() => (number(from)?, highest),
                (only, None) => (number(only)?, number(only)?),
            };
            if from > to {
                return None;
            }
            (from..=to).step_by(step.unwrap_or(1) as usize).for_each(|value| bits |= 1 << value);
        }
        Some(Set(bits))
    }

    fn holds(self, value: i8) -> bool {
        self.0 & (1 << value) != 0
    }

    fn from(self, lowest: u32) -> impl Iterator<Item = u32> {
        (lowest..64).filter(move |value| self.0 & (1 << value) != 0)
    }

    fn count(self) -> u32 {
        self.0.count_ones()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> u64 {
        date::parse_sas(text).unwrap()
    }

    #[test]
    fn occurrences_follow_the_expression() {
        let cases = [
            ("*/30 * * * * *", "2026-11-20T15:21:33Z", "2026-11-20T15:22:00Z"),
            ("0 */5 * * * *", "2026-11-20T15:25:00Z", "2026-11-20T15:30:00Z"),
            ("59 59 23 31 12 *", "2026-12-31T23:59:59Z", "2027-12-31T23:59:59Z"),
            ("0 0 0 29 2 *", "2026-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 12 1 JAN,Jul Mon", "2026-01-01T00:00:00Z", "2029-01-01T12:00:00Z"),
            ("10-20/5 0 0 * * *", "2026-01-01T00:00:10Z", "2026-01-01T00:00:15Z"),
            ("0 50/5 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:50:00Z"),
            ("00:01:30", "2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z"),
        ];
        for (text, after, next) in cases {
            assert_eq!(Schedule::parse(text).unwrap().next(at(after)), at(next), "{text} after {after}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in [
            "",
            "bad",
            "60 * * * * *",
            "* * * 0 * *",
            "* * * * * 7",
            "5-1 * * * * *",
            "*/0 * * * * *",
            "* * * *",
            "* * * * * * *",
            "00:00:00",
            "-00:00:10",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_next_occurrence_is_the_first_that_matches(
            step in 1..59u32, offset in 0..59u32, after_s in 1_700_000_000..1_800_000_000u64,
        ) {
            let schedule = Schedule::parse(&format!("{offset} */{step} * * * *")).unwrap();
            let next = schedule.next(after_s * 1_000);
            // Every second in between, asked by arithmetic alone.
            let first = (after_s + 1..).find(|s| s % 60 == u64::from(offset) && (s / 60 % 60) % u64::from(step) == 0);
            prop_assert_eq!(Some(next), first.map(|s| s * 1_000));
        }

        #[test]
        fn no_expression_makes_the_parser_panic(text in "[-*/,0-9a-zA-Z: .]{0,30}") {
            if let Ok(schedule) = Schedule::parse(&text) {
                prop_assert!(schedule.next(1_700_000_000_000) > 1_700_000_000_000);
            }
        }
    }
}
