//! A report from the ledger's sums: pure. What each place cost is shared out by `policy::cost::settle`, and
//! its parts are gathered into groups: they sum to the total, to the millionth of a dollar.

use std::collections::{BTreeMap, BTreeSet};

use facts::job::COST_LABELS;
use facts::ledger::{Charge, Lane, Machine, Price, Sums, Time, Used, What};
use policy::cost::{self, settle};
use policy::units::{MicroUsd, UnixMs};
use wire::cost::{Group, Report, Seen, Unused};

use super::Asked;
use crate::act::ledger::today;
use crate::catalogue::prices;

/// Groups of a report at most: beyond it, the cheapest are one.
pub(super) const GROUPS_MAX: usize = 1_000;
const NONE: &str = "(none)";
const OTHERS: &str = "(others)";
const HOUR_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;

/// What groups are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// One of [`COST_LABELS`].
    Label(&'static str),
    Tenant,
    Lane,
    Model,
    Job,
}

impl By {
    const OTHERS: [(&'static str, By); 4] =
        [("tenant", By::Tenant), ("lane", By::Lane), ("model", By::Model), ("job", By::Job)];

    /// All of them, for messages.
    pub(super) fn names() -> String {
        let others = By::OTHERS.iter().map(|(name, _)| *name);
        COST_LABELS.into_iter().chain(others).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn parse(text: &str) -> Option<By> {
        let label = COST_LABELS.into_iter().find(|label| *label == text).map(By::Label);
        label.or_else(|| By::OTHERS.iter().find(|(name, _)| *name == text).map(|(_, by)| *by))
    }

    fn as_str(self) -> &'static str {
        let other = By::OTHERS.iter().find(|(_, by)| *by == self).map(|(name, _)| *name);
        match self {
            By::Label(label) => label,
            By::Tenant | By::Lane | By::Model | By::Job => other.unwrap_or_default(),
        }
    }

    fn name(self, charge: &Charge) -> String {
        match self {
            By::Label(label) => charge.labels.get(label).cloned(),
            By::Tenant => Some(charge.tenant.clone()),
            By::Lane => Some(charge.lane.as_str().to_owned()),
            By::Model => Some(charge.model.clone()),
            By::Job => charge.job.clone(),
        }
        .unwrap_or_else(|| NONE.to_owned())
    }
}

/// Time and use of one place.
#[derive(Default)]
struct Place<'a> {
    times: Vec<&'a Time>,
    used: Vec<&'a Used>,
}

/// Makes the report.
pub(super) fn report(sums: &Sums, asked: &Asked, now: UnixMs) -> Report {
    let mut places: BTreeMap<(Lane, &str), Place<'_>> = BTreeMap::new();
    for time in &sums.times {
        places.entry((time.of.lane, &time.of.place)).or_default().times.push(time);
    }
    for used in &sums.used {
        places.entry((used.charge.lane, &used.charge.place)).or_default().used.push(used);
    }
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut unused = Vec::new();
    let mut unseen_us = 0;
    for ((lane, name), place) in &places {
        let settled = place.settled();
        unseen_us += settled.unseen_us;
        for (used, cost) in place.used.iter().zip(&settled.used) {
            let name = asked.by.name(&used.charge);
            let group = groups.entry(name.clone()).or_insert_with(|| Group { name, ..Group::default() });
            add(group, used, *cost);
        }
        let assumed = place.times.iter().any(|time| time.of.price.assumed);
        let parts =
            [("boots", settled.boots), ("idle", settled.idle), ("unattributed", settled.unattributed)];
        unused.extend(parts.into_iter().filter(|(_, cost)| cost.0 > 0).map(|(what, cost)| Unused {
            what: what.to_owned(),
            lane: lane.as_str().to_owned(),
            place: (*name).to_owned(),
            micro_usd: cost.0,
            assumed,
        }));
    }
    let groups = bounded(groups.into_values().collect());
    let idle_realtime = unused.iter().filter(|part| part.lane == Lane::Realtime.as_str());
    let all_realtime = groups.iter().map(|group| group.all_realtime_micro_usd);
    let prices = prices(sums, now);
    let seen = seen(sums, now);
    Report {
        object: "cost_report".to_owned(),
        month: asked.month.to_string(),
        by: asked.by.as_str().to_owned(),
        now_unix_ms: now.0,
        currency: "USD".to_owned(),
        total_micro_usd: groups.iter().map(|group| group.total_micro_usd).sum::<u64>()
            + unused.iter().map(|part| part.micro_usd).sum::<u64>(),
        all_realtime_micro_usd: all_realtime.sum::<u64>()
            + idle_realtime.map(|part| part.micro_usd).sum::<u64>(),
        notes: notes(sums, &prices, seen, unseen_us),
        groups,
        unused,
        prices,
        seen,
    }
}

impl Place<'_> {
    fn settled(&self) -> cost::Settled {
        let used = |used: &&Used| cost::Used {
            us: used.amount.us,
            per_hour: MicroUsd(used.charge.price.micro_usd_per_hour),
        };
        let times: Vec<cost::Time> = self.times.iter().map(|time| today::time(time)).collect();
        let used: Vec<cost::Used> = self.used.iter().map(used).collect();
        settle(&times, &used)
    }
}

fn add(group: &mut Group, used: &Used, cost: MicroUsd) {
    let part = match used.charge.what {
        What::Useful => &mut group.useful_micro_usd,
        What::Evicted => &mut group.evicted_micro_usd,
        What::Duplicate => &mut group.duplicate_micro_usd,
    };
    *part += cost.0;
    group.total_micro_usd += cost.0;
    group.all_realtime_micro_usd += used.amount.realtime_micro_usd;
    group.requests += used.amount.requests;
    group.items += used.amount.items;
    group.tokens += used.amount.tokens;
    group.assumed |= used.charge.price.assumed;
}

/// The dearest first; beyond [`GROUPS_MAX`], the rest are one.
fn bounded(mut groups: Vec<Group>) -> Vec<Group> {
    groups.sort_by(|a, b| b.total_micro_usd.cmp(&a.total_micro_usd).then_with(|| a.name.cmp(&b.name)));
    if groups.len() <= GROUPS_MAX {
        return groups;
    }
    let mut others = Group { name: OTHERS.to_owned(), ..Group::default() };
    for group in groups.drain(GROUPS_MAX - 1..) {
        others.useful_micro_usd += group.useful_micro_usd;
        others.evicted_micro_usd += group.evicted_micro_usd;
        others.duplicate_micro_usd += group.duplicate_micro_usd;
        others.total_micro_usd += group.total_micro_usd;
        others.all_realtime_micro_usd += group.all_realtime_micro_usd;
        others.requests += group.requests;
        others.items += group.items;
        others.tokens += group.tokens;
        others.assumed |= group.assumed;
    }
    groups.push(others);
    groups
}

/// Prices of machines, and of work at places where no machine was seen.
fn prices(sums: &Sums, now: UnixMs) -> Vec<wire::cost::Price> {
    type Row<'a> = (Lane, &'a str, Option<Machine>, &'a Price);
    let machines: BTreeSet<Row<'_>> = sums
        .times
        .iter()
        .map(|time| (time.of.lane, time.of.place.as_str(), Some(time.of.machine), &time.of.price))
        .collect();
    let was_seen = |charge: &Charge| {
        machines.iter().any(|(lane, place, ..)| *lane == charge.lane && *place == charge.place)
    };
    let blind = sums.used.iter().map(|used| &used.charge).filter(|charge| !was_seen(charge));
    let blind: BTreeSet<Row<'_>> =
        blind.map(|charge| (charge.lane, charge.place.as_str(), None, &charge.price)).collect();
    let row = |(lane, place, machine, price): &Row<'_>| wire::cost::Price {
        lane: lane.as_str().to_owned(),
        place: (*place).to_owned(),
        machine: machine.map(|machine| machine.as_str().to_owned()),
        micro_usd_per_hour: price.micro_usd_per_hour,
        read_on: price.read_on.clone(),
        age_days: prices::age_days(&price.read_on, now),
        is_old: prices::is_old(&price.read_on, now),
        assumed: price.assumed,
    };
    machines.iter().chain(&blind).map(row).collect()
}

/// Minutes from the first hour in which somebody looked to the last, or to now in this one.
fn seen(sums: &Sums, now: UnixMs) -> Seen {
    let minutes = sums.minutes.values().map(|minutes| u64::from(*minutes)).sum();
    let (Some(first), Some(last)) = (sums.minutes.keys().next(), sums.minutes.keys().next_back()) else {
        return Seen::default();
    };
    let end = ((last + 1) * HOUR_MS).min(now.0 + MINUTE_MS);
    let all = end.saturating_sub(first * HOUR_MS) / MINUTE_MS;
    Seen { minutes, missing: all.saturating_sub(minutes) }
}

fn notes(sums: &Sums, prices: &[wire::cost::Price], seen: Seen, unseen_us: u64) -> Vec<String> {
    let mut notes = Vec::new();
    for price in prices.iter().filter(|price| price.is_old) {
        let age = price.age_days.map_or("of an unknown day".to_owned(), |days| format!("{days} days old"));
        notes.push(format!(
            "the price of {} ({}) is {age}: look it up again, at most {} days are sound",
            price.place,
            price.machine.as_deref().unwrap_or("work"),
            prices::PRICE_AGE_DAYS_MAX
        ));
    }
    if prices.iter().any(|price| price.assumed) {
        notes.push(
            "measured: how many nodes there were, by the minute, and how long tasks ran; assumed, and marked: \
             how many replicas there were, how long requests and rescues worked, and built-in prices"
                .to_owned(),
        );
    }
    if seen.missing > 0 {
        notes.push(format!(
            "in {} of {} minutes nobody looked at the machines",
            seen.missing,
            seen.minutes + seen.missing
        ));
    }
    if unseen_us > 0 {
        let hours = unseen_us as f64 / 3_600e6;
        notes.push(format!(
            "{hours:.1} machine-hours of work were charged without their machines having been seen"
        ));
    }
    let nowhere: u64 = sums.used.iter().map(|used| used.amount.not_in_realtime).sum();
    if nowhere > 0 {
        notes.push(format!("no backend would have served {nowhere} jobs: they are missing in all-realtime"));
    }
    notes
}
