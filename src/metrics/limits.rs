//! What a tenant used in the current minute and day, as `policy::admit` looks at it. Counted per
//! process: limits are soft by the number of processes.

use std::sync::Mutex;

use policy::units::{MicroUsd, Tokens, UnixMs};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 86_400_000;

/// A tenant's counts.
#[derive(Debug, Default)]
pub struct Usage(Mutex<Counts>);

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    minute: u64,
    day: u64,
    /// Requests of this minute.
    pub requests: u64,
    /// Tokens of this minute.
    pub tokens: Tokens,
    /// Money of this day.
    pub cost: MicroUsd,
}

impl Usage {
    /// What was used so far.
    pub fn now(&self, now: UnixMs) -> Counts {
        let mut counts = self.0.lock().expect("no holder of this lock panics");
        counts.turn(now);
        *counts
    }

    /// Books a request that was let in.
    pub fn let_in(&self, now: UnixMs, tokens: Tokens) {
        let mut counts = self.0.lock().expect("no holder of this lock panics");
        counts.turn(now);
        counts.requests += 1;
        counts.tokens = Tokens(counts.tokens.0.saturating_add(tokens.0));
    }

    /// Books the estimated cost of work that was sent.
    pub fn spent(&self, now: UnixMs, cost: MicroUsd) {
        let mut counts = self.0.lock().expect("no holder of this lock panics");
        counts.turn(now);
        counts.cost += cost;
    }
}

impl Counts {
    fn turn(&mut self, now: UnixMs) {
        let (minute, day) = (now.0 / MINUTE_MS, now.0 / DAY_MS);
        if minute != self.minute {
            (self.minute, self.requests, self.tokens) = (minute, 0, Tokens(0));
        }
        if day != self.day {
            (self.day, self.cost) = (day, MicroUsd(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_start_anew_with_their_minute_and_day() {
        let usage = Usage::default();
        usage.let_in(UnixMs(1), Tokens(10));
        usage.spent(UnixMs(1), MicroUsd(3));
        let found = usage.now(UnixMs(2));
        assert_eq!((found.requests, found.tokens, found.cost), (1, Tokens(10), MicroUsd(3)));
        let found = usage.now(UnixMs(MINUTE_MS));
        assert_eq!((found.requests, found.tokens, found.cost), (0, Tokens(0), MicroUsd(3)));
        assert_eq!(usage.now(UnixMs(DAY_MS)).cost, MicroUsd(0));
    }
}
