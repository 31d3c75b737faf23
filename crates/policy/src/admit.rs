//! Whether a tenant may ask at all: permissions and limits. State is plain data that the caller
//! keeps; budgets are soft by as long as several processes do not see each other.

use crate::reason::{Code, Evidence, Reason};
use crate::units::{MicroUsd, Millis, Tokens, UnixMs};

const MINUTE_US: u64 = 60_000_000;
const DAY_MS: u64 = 86_400_000;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Run inference, create jobs and files.
    Submit,
    /// Look at jobs, files, models.
    Read,
    /// Cancel and promote jobs.
    Cancel,
    /// Operate the installation.
    Admin,
}

/// What a tenant may use. None: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute, in and out.
    pub tokens_per_minute: Option<u64>,
    /// Spend a UTC day.
    pub usd_per_day: Option<MicroUsd>,
}

/// What a tenant has used, as far as this process knows. Starts as the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    requests: Meter,
    tokens: Meter,
    day: u64,
    spent_today: MicroUsd,
}

/// A rate as the time up to which it is used up (generic cell rate algorithm): one number, and a
/// minute's worth may come at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Meter {
    used_until_us: u64,
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
}

/// What one request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Tokens in and out.
    pub tokens: Tokens,
    /// What it is expected to cost.
    pub cost: MicroUsd,
}

/// Why a tenant must wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    /// How long, at least.
    pub retry_after: Millis,
    /// Which limit, with its numbers.
    pub reason: Reason,
}

/// Books `ask` on `usage`.
///
/// # Errors
/// [`Limited`] with the limit that is reached; `usage` is then as it was.
pub fn admit(limits: &Limits, usage: &Usage, ask: &Ask, now: UnixMs) -> Result<Usage, Limited> {
    let limited = |retry_after, name, limit: Evidence| Limited {
        retry_after,
        reason: Reason::new(Code::TenantLimit)
            .with(name, limit)
            .next("the limit has room again", Some(now + retry_after))
            .remedy("raise the tenant's limits in the catalogue", None),
    };
    let mut after = *usage;
    let day = now.0 / DAY_MS;
    if after.day != day {
        (after.day, after.spent_today) = (day, MicroUsd(0));
    }
    if let Some(limit) = limits.usd_per_day.filter(|limit| after.spent_today + ask.cost > *limit) {
        let tomorrow = UnixMs((day + 1) * DAY_MS);
        return Err(limited(tomorrow.since(now), "usd_per_day", Evidence::Cost(limit)));
    }
    if let Some(limit) = limits.requests_per_minute {
        let taken = after.requests.take(1, limit, now);
        after.requests =
            taken.map_err(|wait| limited(wait, "requests_per_minute", Evidence::Count(limit)))?;
    }
    if let Some(limit) = limits.tokens_per_minute {
        let taken = after.tokens.take(ask.tokens.0, limit, now);
        after.tokens =
            taken.map_err(|wait| limited(wait, "tokens_per_minute", Evidence::Tokens(Tokens(limit))))?;
    }
    after.spent_today += ask.cost;
    Ok(after)
}
