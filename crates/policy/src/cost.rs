//! What work cost, in whole millionths of a dollar that add up: pure. [`split`] tells the work of a shard's
//! tries that was needed from what was done for nothing; [`settle`] shares what a place cost out to those
//! who used it and to the time that nobody did; [`apportion`] makes parts that sum to their whole.

use crate::units::{MicroUsd, Millis};

/// Microseconds of an hour: prices are for an hour, time here is in microseconds, because a request on
/// one of many slots takes less than a millisecond of a whole machine.
const HOUR_US: u128 = 3_600_000_000;

/// Parts of `total` in proportion to `weights`: each is rounded down, and what is left over goes, one each,
/// to those that lost most by it, the first of equals first. They sum to `total` unless every weight is 0.
pub fn apportion(total: MicroUsd, weights: &[u128]) -> Vec<MicroUsd> {
    let weights = narrowed(weights);
    let sum: u128 = weights.iter().sum();
    if sum == 0 {
        return vec![MicroUsd(0); weights.len()];
    }
    let exact: Vec<u128> = weights.iter().map(|weight| u128::from(total.0) * weight).collect();
    let mut parts: Vec<u64> = exact.iter().map(|exact| (exact / sum) as u64).collect();
    let left = total.0 - parts.iter().sum::<u64>();
    let mut by_loss: Vec<usize> = (0..parts.len()).collect();
    by_loss.sort_by_key(|at| (std::cmp::Reverse(exact[*at] % sum), *at));
    for at in by_loss.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
        parts[at] += 1;
    }
    parts.into_iter().map(MicroUsd).collect()
}

/// Weights whose sum fits 64 bits, so that a product with money fits 128. What is lost is far below a
/// millionth of a dollar; a weight that was something stays something.
fn narrowed(weights: &[u128]) -> Vec<u128> {
    let sum = weights.iter().fold(0_u128, |sum, weight| sum.saturating_add(*weight));
    // One bit more than needed: a weight that is raised to 1 must not carry the sum over.
    let shift = (u128::BITS - sum.leading_zeros()).saturating_sub(u64::BITS - 2);
    weights.iter().map(|weight| if *weight == 0 { 0 } else { (weight >> shift).max(1) }).collect()
}

/// Time of one kind of machine of a place at one price, as it was seen: all of it is paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Running something.
    pub busy_us: u64,
    /// Ready, and running nothing.
    pub idle_us: u64,
    /// On its way.
    pub boots_us: u64,
    /// What an hour costs.
    pub per_hour: MicroUsd,
}

/// Work that somebody had done there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Time of a whole machine.
    pub us: u64,
    /// What an hour cost when it was done; taken where the machine was not seen.
    pub per_hour: MicroUsd,
}

/// What a place cost: the parts sum to [`Settled::total`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Each use, in the order given.
    pub used: Vec<MicroUsd>,
    /// Machines on their way.
    pub boots: MicroUsd,
    /// Ready machines that ran nothing.
    pub idle: MicroUsd,
    /// Busy machines beyond what is known to have been used: free slots of theirs, work that goes on,
    /// tasks of others, runs that an eviction ended and the service repeated.
    pub unattributed: MicroUsd,
    /// Used time of machines that nobody saw: it is charged at its own price.
    pub unseen_us: u64,
}

impl Settled {
    /// All of it.
    pub fn total(&self) -> MicroUsd {
        let used = self.used.iter().fold(MicroUsd(0), |sum, part| sum + *part);
        used + self.boots + self.idle + self.unattributed
    }
}

/// Shares what a place cost out to its users. Where a place has machines at several prices, nobody knows
/// which one did the work: an hour of it costs what an hour of the place did on average.
pub fn settle(times: &[Time], used: &[Used]) -> Settled {
    let sum = |of: &dyn Fn(&Time) -> u128| times.iter().map(of).sum::<u128>();
    let busy = sum(&|time| time.busy_us.into());
    let idle = sum(&|time| time.idle_us.into());
    let running_cost =
        sum(&|time| (u128::from(time.busy_us) + u128::from(time.idle_us)) * u128::from(time.per_hour.0));
    let boots_cost = sum(&|time| u128::from(time.boots_us) * u128::from(time.per_hour.0));
    let wanted: u128 = used.iter().map(|used| u128::from(used.us)).sum();
    let own_cost: u128 = used.iter().map(|used| u128::from(used.us) * u128::from(used.per_hour.0)).sum();

    let unseen = wanted.saturating_sub(busy + idle);
    let unseen_cost = if unseen == 0 { 0 } else { part(own_cost, unseen, wanted) };
    let total = whole(running_cost + unseen_cost + boots_cost);
    let of_both = apportion(total, &[running_cost + unseen_cost, boots_cost]);

    let unattributed = busy.saturating_sub(wanted);
    let idle = (busy + idle).saturating_sub(wanted).saturating_sub(unattributed);
    // Nothing was seen: what each used is all that is known, each at its own price.
    let blind = running_cost == 0;
    let weight = |used: &Used| {
        let time = u128::from(used.us);
        if blind { time * u128::from(used.per_hour.0) } else { time }
    };
    let weights: Vec<u128> = used.iter().map(weight).chain([idle, unattributed]).collect();
    let mut parts = apportion(of_both[0], &weights);
    let unattributed = parts.pop().unwrap_or_default();
    let idle = parts.pop().unwrap_or_default();
    let unseen_us = u64::try_from(unseen).unwrap_or(u64::MAX);
    Settled { used: parts, boots: of_both[1], idle, unattributed, unseen_us }
}

/// `of * share / all`, without leaving 128 bits.
fn part(of: u128, share: u128, all: u128) -> u128 {
    match of.checked_mul(share) {
        Some(product) => product / all,
        None => of / all * share,
    }
}

/// Microseconds times price an hour, as money, to the nearest.
fn whole(price_us: u128) -> MicroUsd {
    MicroUsd(u64::try_from((price_us + HOUR_US / 2) / HOUR_US).unwrap_or(u64::MAX))
}

/// What this time of one machine costs.
pub fn of_time(us: u64, per_hour: MicroUsd) -> MicroUsd {
    whole(u128::from(us) * u128::from(per_hour.0))
}

/// The time of a machine that costs this much; 0 where it costs nothing.
pub fn time_for(cost: MicroUsd, per_hour: MicroUsd) -> u64 {
    let us = (u128::from(cost.0) * HOUR_US).checked_div(u128::from(per_hour.0)).unwrap_or(0);
    u64::try_from(us).unwrap_or(u64::MAX)
}

/// How a try of a shard was followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// By none: it was the last.
    Nothing,
    /// By another, because it could not run any more.
    Died,
    /// By another while it might have gone on.
    Overtaken,
}

/// One try of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Slot time that it took.
    pub took: Millis,
    /// What came after it.
    pub after: After,
}

/// A try's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// What the results needed.
    pub useful: Millis,
    /// What was lost with the try.
    pub evicted: Millis,
    /// What another try did too.
    pub duplicate: Millis,
}

/// Tells the time of a shard's tries that its results needed from what was done for nothing. Chunks do not
/// say who put them, so it is counted: tries together took more than the `expected` time of the shard by
/// so much, and tries that were followed by another lost it, in proportion to what they took.
pub fn split(expected: Millis, tries: &[Tried]) -> Vec<Split> {
    let all: u64 = tries.iter().map(|tried| tried.took.0).sum();
    let could_lose = |tried: &Tried| if tried.after == After::Nothing { 0 } else { u128::from(tried.took.0) };
    let weights: Vec<u128> = tries.iter().map(could_lose).collect();
    let most: u64 =
        tries.iter().filter(|tried| tried.after != After::Nothing).map(|tried| tried.took.0).sum();
    let lost = all.saturating_sub(expected.0).min(most);
    let parts = apportion(MicroUsd(lost), &weights);
    let of = |(tried, part): (&Tried, MicroUsd)| {
        let lost = Millis(part.0.min(tried.took.0));
        let useful = Millis(tried.took.0 - lost.0);
        match tried.after {
            After::Died => Split { useful, evicted: lost, duplicate: Millis(0) },
            After::Nothing | After::Overtaken => Split { useful, evicted: Millis(0), duplicate: lost },
        }
    };
    tries.iter().zip(parts).map(of).collect()
}
