//! The one clock. In production it is the system's; on a local stack it may run faster:
//! `scaled = epoch + (real - epoch) * speed`. Handler, worker, server and stand-ins all read
//! time here, so that a day of deadlines passes in a minute. Computation is not scaled.
//!
//! This is the only place that reads the system's wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Names the instant, in Unix milliseconds of real time, from which time is scaled.
pub const EPOCH_SETTING: &str = "SWITCHYARD_EPOCH_UNIX_MS";
/// Names how many scaled seconds pass in a real one. At least 1.
pub const SPEED_SETTING: &str = "SWITCHYARD_SPEED";

/// Reads the time. Copy it freely: it holds two numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    epoch_ms: u64,
    speed: f64,
}

/// Why a clock could not be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadClock(String);

impl std::fmt::Display for BadClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadClock {}

impl Clock {
    /// The system's clock.
    pub const REAL: Clock = Clock { epoch_ms: 0, speed: 1.0 };

    /// A clock that starts at `epoch_ms` (real Unix milliseconds) and runs `speed` times as fast.
    ///
    /// # Errors
    /// When `speed` is not a finite number from 1 to 100,000.
    pub fn scaled(epoch_ms: u64, speed: f64) -> Result<Clock, BadClock> {
        if speed.is_finite() && (1.0..=100_000.0).contains(&speed) {
            Ok(Clock { epoch_ms, speed })
        } else {
            Err(BadClock(format!("{SPEED_SETTING} is {speed}; give a number from 1 to 100000")))
        }
    }

    /// The clock that the settings ask for; [`Clock::REAL`] when neither is set.
    ///
    /// # Errors
    /// When only one of the two is set or one does not parse.
    pub fn from_settings(setting: impl Fn(&str) -> Option<String>) -> Result<Clock, BadClock> {
        match (setting(EPOCH_SETTING), setting(SPEED_SETTING)) {
            (None, None) => Ok(Clock::REAL),
            (Some(epoch), Some(speed)) => {
                let bad = |name: &str, value: &str| BadClock(format!("{name} is `{value}`; give a number"));
                let epoch_ms = epoch.parse().map_err(|_| bad(EPOCH_SETTING, &epoch))?;
                let speed = speed.parse().map_err(|_| bad(SPEED_SETTING, &speed))?;
                Clock::scaled(epoch_ms, speed)
            }
            _ => {
                Err(BadClock(format!("{EPOCH_SETTING} and {SPEED_SETTING} go together; set both or neither")))
            }
        }
    }

    /// The settings that give another process this clock; none for [`Clock::REAL`].
    pub fn settings(&self) -> Option<[(&'static str, String); 2]> {
        let pair = [(EPOCH_SETTING, self.epoch_ms.to_string()), (SPEED_SETTING, self.speed.to_string())];
        self.is_scaled().then_some(pair)
    }

    /// Whether time is scaled at all.
    pub fn is_scaled(&self) -> bool {
        self.speed != 1.0
    }

    /// How many scaled seconds pass in a real one.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Now, in Unix milliseconds of this clock.
    pub fn now_ms(&self) -> u64 {
        self.at_ms(real_now_ms())
    }

    /// What this clock shows at a real instant, both in Unix milliseconds. Before the epoch the
    /// two are the same.
    pub fn at_ms(&self, real_ms: u64) -> u64 {
        match real_ms.checked_sub(self.epoch_ms) {
            Some(passed) if self.is_scaled() => self.epoch_ms + (passed as f64 * self.speed) as u64,
            _ => real_ms,
        }
    }

    /// How long to really wait for `scaled` to pass on this clock.
    pub fn real(&self, scaled: Duration) -> Duration {
        if self.is_scaled() { scaled.div_f64(self.speed) } else { scaled }
    }
}

#[expect(clippy::disallowed_methods, reason = "the home of the wall clock")]
fn real_now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("the system's clock is past 1970");
    u64::try_from(since_1970.as_millis()).expect("Unix milliseconds fit 64 bits for 500 million years")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_time_runs_from_the_epoch() {
        let clock = Clock::scaled(1_000_000, 60.0).unwrap();
        let cases = [(999_000, 999_000), (1_000_000, 1_000_000), (1_001_000, 1_060_000)];
        for (real, shown) in cases {
            assert_eq!(clock.at_ms(real), shown, "at {real}");
        }
        assert_eq!(clock.real(Duration::from_secs(60)), Duration::from_secs(1));
    }

    #[test]
    fn settings_come_in_pairs_and_are_checked() {
        let read = |epoch: Option<&str>, speed: Option<&str>| {
            let (epoch, speed) = (epoch.map(str::to_owned), speed.map(str::to_owned));
            Clock::from_settings(
                move |name| if name == EPOCH_SETTING { epoch.clone() } else { speed.clone() },
            )
        };
        assert_eq!(read(None, None), Ok(Clock::REAL));
        let scaled = read(Some("5"), Some("60")).unwrap();
        assert!(scaled.is_scaled());
        assert_eq!(
            scaled.settings().unwrap(),
            [(EPOCH_SETTING, "5".to_owned()), (SPEED_SETTING, "60".to_owned())]
        );
        assert_eq!(Clock::REAL.settings(), None);
        for (epoch, speed) in
            [(Some("5"), None), (None, Some("2")), (Some("x"), Some("2")), (Some("5"), Some("0.5"))]
        {
            assert!(read(epoch, speed).is_err(), "{epoch:?} {speed:?}");
        }
    }
}
