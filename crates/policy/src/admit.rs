//! Whether a tenant may ask at all: limits. State is plain data that the caller keeps. What other
//! processes let in is known from the merged view, so limits are soft by one period of it. What work counts
//! on which day, before and after its bill is known, is said by [`Work`].

use crate::reason::{Code, Evidence, Reason};
use crate::units::{MicroUsd, Millis, Tokens, UnixMs};

const MINUTE_US: u64 = 60_000_000;
const DAY_MS: u64 = 86_400_000;
/// What waits is counted anew by every sweep: no earlier is there news of it.
const QUEUE_NEWS: Millis = Millis::from_secs(30);

/// What a tenant may use. None: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute, in and out.
    pub tokens_per_minute: Option<u64>,
    /// Items of jobs that have not ended.
    pub queued_items: Option<u64>,
    /// Spend a UTC day, see [`Work`].
    pub usd_per_day: Option<MicroUsd>,
}

/// What is known beyond this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What counts on this UTC day: all work of all processes, this one's included.
    pub spent_today: MicroUsd,
    /// Items of jobs that have not ended.
    pub queued_items: u64,
    /// Requests that other processes let in within a minute.
    pub requests_elsewhere: u64,
    /// Tokens of these.
    pub tokens_elsewhere: u64,
    /// Processes that let requests in, this one included; 0 counts as 1.
    pub processes: u64,
}

/// What a tenant has used, as far as this process knows. Starts as the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    requests: Meter,
    tokens: Meter,
}

/// Work that was let in, as it counts in [`Limits::usd_per_day`].
///
/// It counts on the day on which it was let in: as estimated while it goes on, and as billed once it has
/// ended that day. Of a bill that comes on a later day the estimate has been counted and its day is over: what
/// it is above that counts on the day of the bill, and nothing is given back. So all days together never count
/// less than was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// When it was let in.
    pub let_in: UnixMs,
    /// What it was expected to cost.
    pub estimate: MicroUsd,
    /// When it ended, and what it came to; none: it goes on.
    pub bill: Option<(UnixMs, MicroUsd)>,
}

/// A rate as the time up to which it is used up (generic cell rate algorithm): one number, and a
/// minute's worth may come at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Meter {
    used_until_us: u64,
}

/// What is left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The limit, a minute.
    pub limit: u64,
    /// What may come now.
    pub remaining: u64,
    /// When all of it may come again.
    pub reset: Millis,
}

impl Meter {
    /// The meter after `amount` more, or how long to wait first.
    fn take(self, amount: u64, per_minute: u64, now: UnixMs) -> Result<Meter, Millis> {
        let now_us = now.0.saturating_mul(1_000);
        let per_minute = per_minute.max(1);
        // One request larger than a minute's worth may pass when nothing else is used.
        let amount = amount.min(per_minute);
        let cost_us = u64::try_from(u128::from(amount) * u128::from(MINUTE_US) / u128::from(per_minute))
            .expect("amount is at most per_minute");
        let used_until_us = self.used_until_us.max(now_us) + cost_us;
        match used_until_us.checked_sub(now_us + MINUTE_US) {
            None | Some(0) => Ok(Meter { used_until_us }),
            Some(over_us) => Err(Millis(over_us.div_ceil(1_000))),
        }
    }

    fn room(self, limit: u64, share: u64, now: UnixMs) -> Room {
        let used_us = self.used_until_us.saturating_sub(now.0.saturating_mul(1_000));
        let free_us = MINUTE_US.saturating_sub(used_us);
        let remaining = u128::from(share) * u128::from(free_us) / u128::from(MINUTE_US);
        let remaining = u64::try_from(remaining).expect("at most share");
        Room { limit, remaining, reset: Millis(used_us.div_ceil(1_000)) }
    }
}

/// What is left of a rate for this process: all that others leave, and an equal part at least, so that
/// processes that see each other late neither starve nor add up beyond it for longer than a view.
fn share(limit: u64, elsewhere: u64, processes: u64) -> u64 {
    limit.saturating_sub(elsewhere).max(limit / processes.max(1)).max(1)
}

/// What one request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Tokens in and out.
    pub tokens: Tokens,
    /// What it is expected to cost.
    pub cost: MicroUsd,
    /// Items that it adds to those that wait; none of a request that is answered now.
    pub queued_items: u64,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// Requests a minute.
    Requests,
    /// Tokens a minute.
    Tokens,
    /// Items that wait.
    QueuedItems,
    /// Spend a day.
    UsdPerDay,
}

impl Limit {
    /// Its name in the catalogue.
    pub fn as_str(self) -> &'static str {
        match self {
            Limit::Requests => "requests_per_minute",
            Limit::Tokens => "tokens_per_minute",
            Limit::QueuedItems => "queued_items",
            Limit::UsdPerDay => "usd_per_day",
        }
    }
}

/// Why a tenant must wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Which limit.
    pub limit: Limit,
    /// How long, at least.
    pub retry_after: Millis,
    /// The same, with its numbers. Boxed: a refusal is rare, and every answer has room for it.
    pub reason: Box<Reason>,
}

/// Books `ask` on `usage`; its money is for the caller to add to what [`Seen`] says.
///
/// # Errors
/// [`Limited`] with the limit that is reached; `usage` is then as it was.
pub fn admit(limits: &Limits, usage: &Usage, seen: &Seen, ask: &Ask, now: UnixMs) -> Result<Usage, Limited> {
    let mut after = *usage;
    if let Some(most) = limits.usd_per_day.filter(|most| seen.spent_today + ask.cost > *most) {
        let tomorrow = UnixMs((day(now) + 1) * DAY_MS);
        return Err(limited(Limit::UsdPerDay, tomorrow.since(now), Evidence::Cost(most), now));
    }
    let queued = seen.queued_items.saturating_add(ask.queued_items);
    if let Some(most) = limits.queued_items.filter(|most| ask.queued_items > 0 && queued > *most) {
        return Err(limited(Limit::QueuedItems, QUEUE_NEWS, Evidence::Count(most), now));
    }
    if let Some(most) = limits.requests_per_minute {
        let taken = after.requests.take(1, share(most, seen.requests_elsewhere, seen.processes), now);
        after.requests = taken.map_err(|wait| limited(Limit::Requests, wait, Evidence::Count(most), now))?;
    }
    if let Some(most) = limits.tokens_per_minute {
        let taken = after.tokens.take(ask.tokens.0, share(most, seen.tokens_elsewhere, seen.processes), now);
        let told = Evidence::Tokens(Tokens(most));
        after.tokens = taken.map_err(|wait| limited(Limit::Tokens, wait, told, now))?;
    }
    Ok(after)
}

fn limited(limit: Limit, retry_after: Millis, most: Evidence, now: UnixMs) -> Limited {
    let reason = Reason::new(Code::TenantLimit)
        .with(limit.as_str(), most)
        .next("the limit has room again", Some(now + retry_after))
        .remedy("raise the tenant's limits in the catalogue", None);
    Limited { limit, retry_after, reason: Box::new(reason) }
}

/// What is left of the limits of requests and of tokens; none where there is no such limit.
pub fn left(limits: &Limits, usage: &Usage, seen: &Seen, now: UnixMs) -> (Option<Room>, Option<Room>) {
    let room = |meter: Meter, limit: Option<u64>, elsewhere| {
        limit.map(|limit| meter.room(limit, share(limit, elsewhere, seen.processes), now))
    };
    (
        room(usage.requests, limits.requests_per_minute, seen.requests_elsewhere),
        room(usage.tokens, limits.tokens_per_minute, seen.tokens_elsewhere),
    )
}

impl Work {
    /// What it counts on this Unix day.
    pub fn counts_on(&self, unix_day: u64) -> MicroUsd {
        let is_let_in = day(self.let_in) == unix_day;
        match self.bill {
            Some((ended, spent)) if day(ended) == unix_day && is_let_in => spent,
            Some((ended, spent)) if day(ended) == unix_day => {
                MicroUsd(spent.0.saturating_sub(self.estimate.0))
            }
            _ if is_let_in => self.estimate,
            _ => MicroUsd(0),
        }
    }
}

/// The Unix day, in UTC: what [`Limits::usd_per_day`] counts.
pub fn day(at: UnixMs) -> u64 {
    at.0 / DAY_MS
}
