//! When a shard whose try came to nothing is tried again, and when it is given up.

use crate::units::{Millis, UnixMs};

/// Tries of a shard at most; then its job fails. With the pauses between them, that takes more than eight hours:
/// a service that is down for a night costs a job with time no result.
pub const TRIES_MAX: u32 = 24;
/// Tries up to this one are followed at once by the next: nodes are taken away and processes killed.
const AT_ONCE: u32 = 2;
/// The first pause; each is twice the one before.
const PAUSE_FIRST: Millis = Millis::from_secs(30);
/// The longest pause.
const PAUSE_MAX: Millis = Millis::from_secs(1_800);
/// A pause is at most this part of the time left, so that several tries fit before any deadline.
const OF_TIME_LEFT: u64 = 4;

/// The newest try of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Which it is, from 1.
    pub k: u32,
    /// When it was claimed.
    pub claimed: UnixMs,
    /// Whether it put a chunk. Whoever gets on is neither held back nor given up: chunks are finite.
    pub got_on: bool,
}

/// When the next try may be claimed, once this one came to nothing.
pub fn again_at(newest: &Tried, deadline: UnixMs) -> UnixMs {
    if newest.got_on || newest.k <= AT_ONCE {
        return newest.claimed;
    }
    let doubled = (newest.k - AT_ONCE - 1).min(u64::BITS - 1);
    let pause = Millis(PAUSE_FIRST.0.saturating_mul(1 << doubled)).min(PAUSE_MAX);
    newest.claimed + pause.min(Millis(deadline.since(newest.claimed).0 / OF_TIME_LEFT))
}

/// Whether a shard is not tried again, once this try came to nothing.
pub fn is_given_up(newest: &Tried) -> bool {
    newest.k >= TRIES_MAX && !newest.got_on
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_219_200_000);

    fn pause(k: u32, left: Millis) -> Millis {
        again_at(&Tried { k, claimed: NOW, got_on: false }, NOW + left).since(NOW)
    }

    #[test]
    fn pauses_double() {
        let day = Millis::from_secs(86_400);
        let seconds: Vec<u64> = (1..=10).map(|k| pause(k, day).0 / 1_000).collect();
        assert_eq!(seconds, [0, 0, 30, 60, 120, 240, 480, 960, 1_800, 1_800]);
        let all: u64 = (1..TRIES_MAX).map(|k| pause(k, day).0).sum();
        assert!(all > 8 * 3_600_000, "{all} ms");
        let got_on = Tried { k: 9, claimed: NOW, got_on: true };
        assert_eq!(again_at(&got_on, NOW + day), NOW);
        let last = Tried { k: TRIES_MAX, ..got_on };
        assert!(!is_given_up(&last) && is_given_up(&Tried { got_on: false, ..last }));
        assert!(!is_given_up(&Tried { k: TRIES_MAX - 1, got_on: false, ..last }));
    }

    proptest! {
        #[test]
        fn no_pause_takes_the_time_of_a_deadline(k in 1..u32::MAX, left in 0..u64::from(u32::MAX)) {
            let left = Millis(left);
            prop_assert!(pause(k, left).0 <= left.0 / OF_TIME_LEFT);
            prop_assert!(pause(k, left) <= pause(k.saturating_add(1), left));
        }
    }
}
