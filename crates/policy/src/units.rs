//! Quantities as types of their own, so that arguments cannot be swapped. All are integers:
//! decisions are equal on every machine.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// An instant: milliseconds since 1970-01-01 UTC by the handler's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub u64);

/// A span of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

/// Money in millionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MicroUsd(pub u64);

/// A number of model tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tokens(pub u64);

impl Millis {
    /// Whole seconds as milliseconds.
    pub const fn from_secs(seconds: u64) -> Millis {
        Millis(seconds * 1_000)
    }

    /// `self * numerator / denominator`, rounded up, saturating; zero when the denominator is.
    pub fn scaled(self, numerator: u64, denominator: u64) -> Millis {
        Millis(scale(self.0, numerator, denominator))
    }
}

impl MicroUsd {
    /// `self * numerator / denominator`, rounded up, saturating; zero when the denominator is.
    pub fn scaled(self, numerator: u64, denominator: u64) -> MicroUsd {
        MicroUsd(scale(self.0, numerator, denominator))
    }

    /// US dollars, for people.
    pub fn usd(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

fn scale(value: u64, numerator: u64, denominator: u64) -> u64 {
    if denominator == 0 {
        return 0;
    }
    let exact = (u128::from(value) * u128::from(numerator)).div_ceil(u128::from(denominator));
    u64::try_from(exact).unwrap_or(u64::MAX)
}

impl UnixMs {
    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: UnixMs) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Millis> for UnixMs {
    type Output = UnixMs;
    fn add(self, span: Millis) -> UnixMs {
        UnixMs(self.0.saturating_add(span.0))
    }
}

impl Sub<Millis> for UnixMs {
    type Output = UnixMs;
    fn sub(self, span: Millis) -> UnixMs {
        UnixMs(self.0.saturating_sub(span.0))
    }
}

impl Add for Millis {
    type Output = Millis;
    fn add(self, other: Millis) -> Millis {
        Millis(self.0.saturating_add(other.0))
    }
}

impl Add for MicroUsd {
    type Output = MicroUsd;
    fn add(self, other: MicroUsd) -> MicroUsd {
        MicroUsd(self.0.saturating_add(other.0))
    }
}

impl AddAssign for MicroUsd {
    fn add_assign(&mut self, other: MicroUsd) {
        *self = *self + other;
    }
}

impl fmt::Display for Millis {
    /// For people: `41ms`, `1.5s`, `85s`, `12m`, `3h05m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms @ 0..1_000 => write!(f, "{ms}ms"),
            ms @ 1_000..600_000 if ms % 1_000 == 0 || ms >= 60_000 => write!(f, "{}s", ms / 1_000),
            ms @ 1_000..600_000 => write!(f, "{}.{}s", ms / 1_000, ms % 1_000 / 100),
            ms @ 600_000..3_600_000 => write!(f, "{}m", ms / 60_000),
            ms => write!(f, "{}h{:02}m", ms / 3_600_000, ms % 3_600_000 / 60_000),
        }
    }
}
