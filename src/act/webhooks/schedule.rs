//! What an attempt came to and when the next one is made: pure.

use facts::hook::{Outcome, Problem};

/// From the end of a job to the last attempt to tell of it. The vendor gives its own as long.
pub const WITHIN_MS: u64 = 72 * 3_600_000;
/// Before the second attempt; twice as long before each further one. Sweep looks this often.
const PAUSE_MS: u64 = 30_000;
/// Before any attempt, at most: an endpoint that is mended hears of it within half a working day.
const PAUSE_MAX_MS: u64 = 6 * 3_600_000;
/// A pause is this many thousandths longer or shorter, at most: events that failed together come apart.
const JITTER_PERMILLE: u64 = 200;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this status, and the pause that the endpoint asked for.
    Answered {
        /// HTTP's.
        status: u16,
        /// `Retry-After`, in ms.
        retry_after_ms: Option<u64>,
    },
    /// Without an answer.
    Unanswered(Problem),
}

/// When an attempt was made.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// Which one it was, from 1.
    pub n: u32,
    /// When the job ended.
    pub event_ms: u64,
    /// Now.
    pub now_ms: u64,
    /// Anything random.
    pub random: u64,
}

/// What follows an attempt, and when the next one is due.
pub fn after(ended: Ended, made: Made) -> (Outcome, Option<u64>) {
    let asked_ms = match ended {
        Ended::Answered { status: 200..=299, .. } => return (Outcome::Delivered, None),
        Ended::Answered { status: 410, .. } => return (Outcome::Gone, None),
        Ended::Answered { retry_after_ms, .. } => retry_after_ms.unwrap_or(0),
        Ended::Unanswered(_) => 0,
    };
    let pause_ms = pause_ms(made.n, made.random).max(asked_ms.min(PAUSE_MAX_MS));
    let next_ms = made.now_ms.saturating_add(pause_ms);
    if next_ms > made.event_ms.saturating_add(WITHIN_MS) {
        return (Outcome::GaveUp, None);
    }
    (Outcome::Retrying, Some(next_ms))
}

fn pause_ms(n: u32, random: u64) -> u64 {
    let doubled =
        1_u64.checked_shl(n.saturating_sub(1)).map_or(u64::MAX, |times| PAUSE_MS.saturating_mul(times));
    let permille = 1_000 - JITTER_PERMILLE + random % (2 * JITTER_PERMILLE + 1);
    doubled.min(PAUSE_MAX_MS) * permille / 1_000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answered(status: u16) -> Ended {
        Ended::Answered { status, retry_after_ms: None }
    }

    fn first(now_ms: u64) -> Made {
        Made { n: 1, event_ms: 0, now_ms, random: JITTER_PERMILLE }
    }

    #[test]
    fn only_2xx_is_delivered_and_only_410_is_gone() {
        for status in 200..300 {
            assert_eq!(after(answered(status), first(0)), (Outcome::Delivered, None));
        }
        assert_eq!(after(answered(410), first(0)), (Outcome::Gone, None));
        for status in [100, 301, 302, 307, 400, 401, 404, 408, 409, 422, 429, 500, 502, 503] {
            assert_eq!(after(answered(status), first(0)), (Outcome::Retrying, Some(PAUSE_MS)), "{status}");
        }
        assert_eq!(after(Ended::Unanswered(Problem::TimedOut), first(5)), (Outcome::Retrying, Some(30_005)));
    }

    #[test]
    fn an_endpoint_may_ask_for_more_time_but_not_for_ever() {
        let asked = |ms| Ended::Answered { status: 429, retry_after_ms: Some(ms) };
        assert_eq!(after(asked(1), first(0)).1, Some(PAUSE_MS));
        assert_eq!(after(asked(90_000), first(0)).1, Some(90_000));
        assert_eq!(after(asked(u64::MAX), first(0)).1, Some(PAUSE_MAX_MS));
    }

    proptest! {
        #[test]
        fn retries_fill_three_days_and_end(random: u64) {
            let (mut n, mut now_ms) = (0, 0);
            loop {
                n += 1;
                let made = Made { n, event_ms: 0, now_ms, random: random.rotate_left(n) };
                match after(answered(500), made) {
                    (Outcome::Retrying, Some(next)) => {
                        prop_assert!(next - now_ms >= PAUSE_MS * 8 / 10 && next <= WITHIN_MS);
                        now_ms = next;
                    }
                    ended => {
                        prop_assert_eq!(ended, (Outcome::GaveUp, None));
                        break;
                    }
                }
            }
            prop_assert!((18..=26).contains(&n), "{} attempts", n);
            prop_assert!(now_ms > WITHIN_MS - PAUSE_MAX_MS * 12 / 10);
        }

        #[test]
        fn nothing_overflows(n: u32, event_ms: u64, now_ms: u64, random: u64, asked: Option<u64>) {
            let ended = Ended::Answered { status: 503, retry_after_ms: asked };
            let (outcome, next) = after(ended, Made { n, event_ms, now_ms, random });
            prop_assert_eq!(outcome == Outcome::Retrying, next.is_some());
        }
    }
}
