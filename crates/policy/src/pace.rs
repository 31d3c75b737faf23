//! How fast a place works against what the catalogue says of it. The catalogue's line (`Speed`) tells a
//! short request from a long one; the pace says by how much all of them are off now.
//!
//! [`Measured`] sums what answers took and what they should have taken, so that long answers weigh more than
//! short ones, whose milliseconds are mostly the network's. Sums are forgotten by answers and by time: a
//! place that nothing is heard of is believed to work as the catalogue says.

use crate::units::{Millis, UnixMs};

/// Below this many answers nothing is said.
pub const ANSWERS_MIN: u64 = 5;
/// So many answers at the catalogue's pace are taken to have come before the first one: few answers that
/// were slow by chance do not move much.
const ANSWERS_BEFORE: u64 = 2;
/// An answer keeps 31/32 of its weight with each that follows: the newest 32 are what counts.
const KEPT_AN_ANSWER: (u64, u64) = (31, 32);
/// And 15/16 with each minute: half of it after 11 minutes, nothing to speak of after an hour.
const KEPT_A_MINUTE: (u64, u64) = (15, 16);
/// After so many minutes nothing is left.
const MINUTES_MAX: u64 = 128;
/// One answer counts as at most this much slower or faster than those before it: a hidden start of a replica
/// is no pace.
const STEP_MAX: u64 = 4;
/// Longest work that an answer counts with: an hour.
const EXPECTED_MAX: Millis = Millis::from_secs(3_600);

const MINUTE_MS: u64 = 60_000;

/// How long work takes, in percent of the catalogue's line: 300 takes three times as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pace(u32);

impl Pace {
    /// As the catalogue says.
    pub const CATALOGUE: Pace = Pace(100);
    /// The fastest that is believed.
    pub const FASTEST: Pace = Pace(25);
    /// The slowest that is believed.
    pub const SLOWEST: Pace = Pace(1_600);

    /// So many percent of the catalogue's time, within the bounds.
    pub fn of_percent(percent: u32) -> Pace {
        Pace(percent.clamp(Pace::FASTEST.0, Pace::SLOWEST.0))
    }

    /// In percent of the catalogue's time.
    pub fn percent(self) -> u32 {
        self.0
    }

    /// This pace, or the catalogue's where this is faster: for what must not begin too late.
    pub fn or_slower(self) -> Pace {
        self.max(Pace::CATALOGUE)
    }

    /// A time of the catalogue at this pace.
    pub fn of(self, time: Millis) -> Millis {
        time.scaled(u64::from(self.0), 100)
    }
}

impl Default for Pace {
    fn default() -> Pace {
        Pace::CATALOGUE
    }
}

/// What answers took, and what they should have taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// What they took, in microseconds.
    pub took_us: u64,
    /// What they should have taken, in microseconds.
    pub expected_us: u64,
    /// How many there were, in thousandths of an answer: old ones count less.
    pub answers_milli: u64,
    /// Up to when they were forgotten by time.
    pub at: UnixMs,
}

impl Measured {
    /// One more answer, that took `took` where `expected` was expected.
    #[must_use]
    pub fn with(self, took: Millis, expected: Millis, now: UnixMs) -> Measured {
        let before = self.aged(now);
        let expected_us = expected.min(EXPECTED_MAX).0 * 1_000;
        if expected_us == 0 {
            return before;
        }
        let usual = before.raw_percent().unwrap_or(100);
        let at_percent = |percent: u64| kept(expected_us, (percent, 100));
        let (least, most) = (at_percent(usual.div_ceil(STEP_MAX)), at_percent(usual * STEP_MAX));
        let took_us = took.0.saturating_mul(1_000).clamp(least, most);
        let kept = |sum: u64| kept(sum, KEPT_AN_ANSWER);
        Measured {
            took_us: kept(before.took_us).saturating_add(took_us),
            expected_us: kept(before.expected_us).saturating_add(expected_us),
            answers_milli: kept(before.answers_milli).saturating_add(1_000),
            at: before.at,
        }
    }

    /// What two saw of the same place.
    #[must_use]
    pub fn and(self, other: Measured) -> Measured {
        let now = self.at.max(other.at);
        let (one, other) = (self.aged(now), other.aged(now));
        Measured {
            took_us: one.took_us.saturating_add(other.took_us),
            expected_us: one.expected_us.saturating_add(other.expected_us),
            answers_milli: one.answers_milli.saturating_add(other.answers_milli),
            at: one.at.max(other.at),
        }
    }

    /// As much of it as still counts.
    #[must_use]
    pub fn aged(self, now: UnixMs) -> Measured {
        let minutes = now.since(self.at).0 / MINUTE_MS;
        if minutes > MINUTES_MAX || self.answers_milli == 0 {
            return Measured { at: now.max(self.at), ..Measured::default() };
        }
        let mut aged = Measured { at: UnixMs(self.at.0 + minutes * MINUTE_MS), ..self };
        for _ in 0..minutes {
            aged.took_us = kept(aged.took_us, KEPT_A_MINUTE);
            aged.expected_us = kept(aged.expected_us, KEPT_A_MINUTE);
            aged.answers_milli = kept(aged.answers_milli, KEPT_A_MINUTE);
        }
        aged
    }

    /// Answers that count, rounded.
    pub fn answers(self) -> u64 {
        (self.answers_milli + 500) / 1_000
    }

    /// The pace that it shows now.
    pub fn pace(self, now: UnixMs) -> Pace {
        let aged = self.aged(now);
        let Some(raw) = aged.raw_percent().filter(|_| aged.answers() >= ANSWERS_MIN) else {
            return Pace::CATALOGUE;
        };
        let (seen, before) = (aged.answers_milli, ANSWERS_BEFORE * 1_000);
        let percent = (raw.saturating_mul(seen) + 100 * before) / (seen + before);
        Pace::of_percent(u32::try_from(percent).unwrap_or(u32::MAX))
    }

    fn raw_percent(self) -> Option<u64> {
        let bounds = u64::from(Pace::FASTEST.0)..=u64::from(Pace::SLOWEST.0);
        let percent = u128::from(self.took_us) * 100 / u128::from(self.expected_us).max(1);
        let percent = u64::try_from(percent).unwrap_or(u64::MAX);
        (self.expected_us > 0).then_some(percent.clamp(*bounds.start(), *bounds.end()))
    }
}

/// `value * numerator / denominator`, rounded down.
fn kept(value: u64, (numerator, denominator): (u64, u64)) -> u64 {
    u64::try_from(u128::from(value) * u128::from(numerator) / u128::from(denominator)).unwrap_or(u64::MAX)
}
