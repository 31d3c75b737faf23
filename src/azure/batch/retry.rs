//! When a call is tried again: as the official client does, with an end to it.

use std::time::Duration;

use clock::Clock;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use policy::units::UnixMs;
use tokio::time::Instant;

use super::error::CallError;

/// Longest call, its retries included. A dependency never holds up a trigger for longer; a sweep has
/// a minute for all that it does.
pub const CALL_MAX: Duration = Duration::from_secs(15);

/// Gaps before the retries when the service names none, as measured with azure-batch 15.1.0.
const GAPS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(1_600), Duration::from_millis(3_200)];

/// A service that wants to be left alone for longer than a day is down.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

const RFC_1123: &str = "%a, %d %b %Y %H:%M:%S GMT";

/// Why an attempt brought no answer.
#[derive(Debug)]
pub(super) enum Setback {
    /// Another attempt would come to the same.
    Final(CallError),
    /// Another attempt may help.
    Passing {
        /// How long the service asked us to wait.
        asked: Option<Duration>,
        /// What to tell if this was the last attempt.
        error: CallError,
    },
}

/// Attempts until one brings an answer, an error that stays, the last retry or `deadline`.
///
/// Waits are on the service's clock, which a local stack scales; the deadline is real, because so
/// are the trigger that waits and the work of the machine.
///
/// # Errors
/// The last attempt's error, and at once when the wait that the service asked for ends too late.
pub(super) async fn persist<T, F>(
    clock: Clock,
    deadline: Instant,
    mut attempt: impl FnMut() -> F,
) -> Result<T, CallError>
where
    F: Future<Output = Result<T, Setback>>,
{
    let mut gaps = GAPS.into_iter();
    loop {
        let ended = tokio::time::timeout_at(deadline, attempt()).await;
        let (asked, error) = match ended.map_err(|_| CallError::Timeout)? {
            Ok(answer) => return Ok(answer),
            Err(Setback::Final(error)) => return Err(error),
            Err(Setback::Passing { asked, error }) => (asked, error),
        };
        let Some(gap) = gaps.next() else { return Err(error) };
        let wait = clock.real(asked.unwrap_or(gap));
        if deadline.saturating_duration_since(Instant::now()) <= wait {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
    }
}

/// What `Retry-After` asks for: seconds, or a date.
pub(super) fn retry_after(value: &str, now: UnixMs) -> Option<Duration> {
    let value = value.trim();
    let asked = match value.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => {
            Duration::from_secs_f64(seconds.min(RETRY_AFTER_MAX.as_secs_f64()))
        }
        Ok(_) => return None,
        Err(_) => Duration::from_millis(parse_date(value)?.0.saturating_sub(now.0)),
    };
    Some(asked.min(RETRY_AFTER_MAX))
}

/// A date as HTTP writes it: `Fri, 20 Nov 2026 15:37:11 GMT`.
pub(super) fn date(at: UnixMs) -> String {
    let instant = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    instant.unwrap_or(jiff::Timestamp::MAX).strftime(RFC_1123).to_string()
}

fn parse_date(text: &str) -> Option<UnixMs> {
    let civil = DateTime::strptime(RFC_1123, text).ok()?;
    let instant = civil.to_zoned(TimeZone::UTC).ok()?.timestamp();
    u64::try_from(instant.as_millisecond()).ok().map(UnixMs)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn busy(asked_s: Option<u64>) -> Setback {
        let asked = asked_s.map(Duration::from_secs);
        Setback::Passing { asked, error: CallError::Throttled { retry_after: asked } }
    }

    /// Attempts, how they end, and when each begins.
    type Case = (Vec<Option<Setback>>, Result<(), CallError>, &'static [u128]);

    /// Plays a script of attempts and says how it ended and when each began, in milliseconds.
    async fn play(clock: Clock, script: Vec<Option<Setback>>) -> (Result<(), CallError>, Vec<u128>) {
        let began = Instant::now();
        let starts = RefCell::new(Vec::new());
        let mut script = script.into_iter();
        let ended = persist(clock, began + CALL_MAX, || {
            starts.borrow_mut().push(began.elapsed().as_millis());
            let step = script.next().expect("no more attempts than the script has");
            async move { step.map_or(Ok(()), Err) }
        });
        let ended = ended.await;
        assert!(script.next().is_none(), "fewer attempts than the script has");
        (ended, starts.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_come_when_the_official_client_makes_them() {
        let throttled =
            |s: Option<u64>| Err(CallError::Throttled { retry_after: s.map(Duration::from_secs) });
        let final_ = || Setback::Final(CallError::Timeout);
        let cases: Vec<Case> = vec![
            (vec![None], Ok(()), &[0]),
            (vec![Some(busy(None)), None], Ok(()), &[0, 0]),
            (
                vec![Some(busy(None)), Some(busy(None)), Some(busy(None)), Some(busy(None))],
                throttled(None),
                &[0, 0, 1_600, 4_800],
            ),
            (vec![Some(busy(Some(2))), Some(busy(Some(3))), None], Ok(()), &[0, 2_000, 5_000]),
            // A retry that would begin at the bound or later is not waited for.
            (vec![Some(busy(Some(15)))], throttled(Some(15)), &[0]),
            (vec![Some(busy(Some(14))), Some(busy(Some(1)))], throttled(Some(1)), &[0, 14_000]),
            (vec![Some(busy(Some(0))), Some(final_())], Err(CallError::Timeout), &[0, 0]),
        ];
        for (script, expected, starts) in cases {
            let shown = format!("{script:?}");
            let (ended, began) = play(Clock::REAL, script).await;
            assert_eq!((&ended, began.as_slice()), (&expected, starts), "{shown}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_scaled_stack_waits_on_its_own_clock() {
        let clock = Clock::scaled(0, 60.0).unwrap();
        let (ended, starts) = play(clock, vec![Some(busy(Some(120))), None]).await;
        assert_eq!((ended, starts), (Ok(()), vec![0, 2_000]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_without_an_end_is_cut_off_at_the_bound() {
        let began = Instant::now();
        let hang = || std::future::pending::<Result<(), Setback>>();
        let ended = persist(Clock::REAL, began + CALL_MAX, hang).await;
        assert_eq!((ended, began.elapsed()), (Err(CallError::Timeout), CALL_MAX));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UnixMs(1_795_189_031_000);
        let cases = [
            ("7", Some(7_000)),
            (" 0 ", Some(0)),
            ("0.5", Some(500)),
            ("Fri, 20 Nov 2026 15:37:21 GMT", Some(10_000)),
            ("Fri, 20 Nov 2020 15:37:21 GMT", Some(0)),
            ("99999999999999999999", Some(86_400_000)),
            ("1e300", Some(86_400_000)),
            ("inf", None),
            ("-1", None),
            ("NaN", None),
            ("soon", None),
            ("", None),
        ];
        for (value, expected) in cases {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_millis), "{value}");
        }
        assert_eq!(date(now), "Fri, 20 Nov 2026 15:37:11 GMT");
        assert_eq!(parse_date(&date(now)), Some(now));
    }
}
