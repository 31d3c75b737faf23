//! What the accepted work needs to be done by its deadlines: the fewest nodes, spot before dedicated.
//!
//! Work is a fluid on slots, served in the order of its deadlines. Nodes that are usable serve from now
//! on, those that start from half the lead time on, those yet to be bought from the whole lead time on.

use super::bounds::Bounds;
use super::{Demand, Nodes, Observed, SETBACK_FRESH, SetbackKind};
use crate::rescue::RESCUE_WITHIN;
use crate::shards::{CHUNK_WORK, SHARD_WORK};
use crate::units::{MicroUsd, Millis};

/// No deadline is farther away than this; sums stay within their type.
const AHEAD_MAX: Millis = Millis::from_secs(30 * 24 * 3_600);
/// One in twenty: what a p95 counts with.
const CHANCE_COUNTS_PERMILLE: u128 = 50;
/// Shares are counted in thousandths.
const WHOLE: u128 = 1_000;
const HOUR_MS: u128 = 3_600_000;

/// What the work needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Need {
    /// Spot nodes to ask for.
    pub spot: u32,
    /// Dedicated nodes.
    pub dedicated: u32,
    /// Nodes beyond this would have nothing to do.
    pub useful: u32,
    /// Of `spot`, those that cannot be counted on now.
    pub spot_missing: u32,
    /// What keeps spot nodes from coming, if that is fresh.
    pub setback: Option<SetbackKind>,
    /// Whether dedicated nodes are taken first.
    pub dedicated_first: bool,
    /// Work that these nodes do not do in time; the rescue takes it to realtime where that serves it.
    pub late: Millis,
}

/// Nodes that the work in `observed` needs within the bounds.
pub(super) fn need(bounds: &Bounds<'_>, observed: &Observed) -> Need {
    let outlook = Outlook::of(bounds, observed);
    let useful = outlook.useful();
    let mut need = Need { useful, dedicated_first: outlook.dedicated_first(), ..Need::default() };
    let useful = useful.min(bounds.ceiling);
    let late = if need.dedicated_first {
        let dues = outlook.dues(Buying::DedicatedForAll);
        need.dedicated = fewest(bounds.max_dedicated.min(useful), |n| outlook.in_time(&dues, 0, n));
        let most_spot = if outlook.buys_spot() { useful - need.dedicated } else { 0 };
        need.spot = fewest(most_spot, |n| outlook.in_time(&dues, n, need.dedicated));
        outlook.late(&dues, need.spot, need.dedicated)
    } else {
        let dues = outlook.dues(Buying::Spot);
        need.spot = fewest(useful, |n| outlook.in_time(&dues, n, 0));
        let late = outlook.late(&dues, need.spot, 0);
        beside_spot(bounds, &outlook, &mut need).unwrap_or(late)
    };
    need.late = late.all();
    if observed.work() && need.spot + need.dedicated == 0 {
        need.spot = u32::from(outlook.buys_spot()).min(bounds.ceiling);
        need.dedicated = u32::from(need.spot == 0).min(bounds.max_dedicated);
    }
    need
}

/// Adds the dedicated nodes that deadlines need beside the spot nodes. Gives what is late all the same,
/// where spot nodes are missing.
fn beside_spot(bounds: &Bounds<'_>, outlook: &Outlook<'_>, need: &mut Need) -> Option<Late> {
    let sure = outlook.sure_spot(need.spot);
    let most = bounds.max_dedicated.min(need.useful).min(bounds.ceiling - sure);
    need.spot_missing = need.spot - sure;
    need.setback = outlook.observed.setback(true).map(|setback| setback.kind);
    if need.spot_missing == 0 {
        let dues = outlook.dues(Buying::DedicatedForTight);
        need.dedicated = fewest(most, |n| outlook.in_time(&dues, 0, n));
        return None;
    }
    let dues = outlook.dues(Buying::DedicatedForAll);
    let urgent = outlook.cannot_wait(&dues, sure, most);
    need.dedicated = fewest(most, |n| outlook.in_time(urgent, sure, n));
    let late = outlook.late(urgent, sure, need.dedicated);
    Some(Late { unbought: outlook.late(&dues, sure, need.dedicated).unbought, ..late })
}

/// The smallest number up to `most` that is enough; `most` where none is. More is never worse.
fn fewest(most: u32, enough: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low) / 2;
        if enough(middle) { high = middle } else { low = middle + 1 }
    }
    high
}

/// For which nodes a demand is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Buying {
    Spot,
    /// Dedicated ones, for all that spot cannot be counted on for.
    DedicatedForAll,
    /// Dedicated ones, only for what an eviction would make late.
    DedicatedForTight,
}

/// Work, as the sizing looks at it.
#[derive(Clone, Copy)]
struct Due {
    /// From now.
    within: Millis,
    /// Thousandths of milliseconds on one slot.
    work: u128,
    /// Whether nodes are bought for it; else it uses spot nodes that are there and is not waited for.
    bought: bool,
}

/// Work that is not done in time, in thousandths of milliseconds on one slot.
#[derive(Clone, Copy, Default)]
struct Late {
    bought: u128,
    unbought: u128,
    /// How many of the first ones hold all that is late and bought for.
    until: usize,
}

impl Late {
    fn all(self) -> Millis {
        Millis(u64::try_from((self.bought + self.unbought) / WHOLE).unwrap_or(u64::MAX))
    }
}

struct Outlook<'a> {
    observed: &'a Observed,
    slots: u128,
    lead: Millis,
    /// How much later than now nodes are bought.
    wait: Millis,
    cooldown: Millis,
    /// What evictions leave of a spot node's time, in thousandths.
    spot_share: u128,
}

impl<'a> Outlook<'a> {
    fn of(bounds: &Bounds<'_>, observed: &'a Observed) -> Outlook<'a> {
        let lost = u128::from((bounds.lead + CHUNK_WORK).0);
        let whole = HOUR_MS * WHOLE;
        let evictions = u128::from(observed.evictions_per_node_hour_milli);
        let spot_share = (whole * WHOLE / evictions.saturating_mul(lost).saturating_add(whole)).max(1);
        let slots = u128::from(observed.slots_per_node.max(1));
        let wait = Millis(0);
        Outlook { observed, slots, lead: bounds.lead, wait, cooldown: bounds.cooldown, spot_share }
    }

    fn buys_spot(&self) -> bool {
        self.observed.spot.price_per_hour.is_some()
    }

    /// Spot is dearer where evictions cost more time than its price saves.
    fn dedicated_first(&self) -> bool {
        match (self.observed.spot.price_per_hour, self.observed.dedicated.price_per_hour) {
            (Some(spot), Some(dedicated)) => {
                u128::from(spot.0) * WHOLE > u128::from(dedicated.0) * self.spot_share
            }
            (spot, _) => spot.is_none(),
        }
    }

    fn open(&self) -> impl Iterator<Item = &'a Demand> {
        let now = self.observed.now;
        self.observed.demand.iter().filter(move |demand| demand.work.0 > 0 && demand.deadline > now)
    }

    /// Nodes that all pieces of all work could keep busy at once.
    fn useful(&self) -> u32 {
        let pieces: u64 = self.open().map(|demand| u64::from(demand.parallel.max(1))).sum();
        let pieces = u128::from(pieces.max(self.observed.tasks()));
        u32::try_from(pieces.div_ceil(self.slots)).unwrap_or(u32::MAX)
    }

    /// Spot nodes, of those asked for, that can be counted on. Lost ones may come back, or not; after a
    /// fresh setback, and where an order is overdue, nothing more is on its way.
    fn sure_spot(&self, asked: u32) -> u32 {
        let spot = &self.observed.spot;
        let overdue = self
            .observed
            .previous
            .is_some_and(|plan| spot.ordered() > 0 && self.observed.now.since(plan.changed) > self.lead);
        if self.observed.setback(true).is_some() || overdue {
            asked.min(spot.present())
        } else {
            // A target counts preempted nodes, and Azure Batch tries to restore them by itself.
            asked.min(asked.saturating_sub(spot.preempted).max(spot.present()))
        }
    }

    /// What is looked at, the nearest deadline first.
    fn dues(&self, buying: Buying) -> Vec<Due> {
        let due = |demand: &Demand| {
            let within = self.within(demand);
            let bought = self.worth(demand, within, buying);
            Due { within, work: u128::from(demand.work.0) * WHOLE, bought }
        };
        let tight_only = buying == Buying::DedicatedForTight;
        let open = self.open().filter(|demand| !tight_only || self.tight(demand, self.within(demand)));
        let mut dues: Vec<Due> = open.map(due).collect();
        dues.sort_by_key(|due| due.within);
        dues
    }

    /// From now until the pool must be done with it: before the rescue would begin, and one piece
    /// earlier, because pieces end one after another.
    fn within(&self, demand: &Demand) -> Millis {
        let rescue = if demand.realtime_cost.is_some() { RESCUE_WITHIN } else { Millis(0) };
        let margin = rescue + piece(demand).min(SHARD_WORK);
        (demand.deadline - margin).since(self.observed.now).min(AHEAD_MAX)
    }

    /// Whether a node that is bought now can work for it, and is cheaper than the realtime lane: a boot,
    /// the time until it is due, and the idle tail, against what its slots do in that time; for what only an
    /// eviction would send to realtime, against the chance of one.
    fn worth(&self, demand: &Demand, within: Millis, buying: Buying) -> bool {
        let run = Millis(within.0.saturating_sub(self.lead.0));
        let piece_left = Millis(piece(demand).0.saturating_sub(SHARD_WORK.0));
        let node = match buying {
            Buying::Spot => &self.observed.spot,
            Buying::DedicatedForAll | Buying::DedicatedForTight => &self.observed.dedicated,
        };
        let Some(price) = node.price_per_hour.filter(|_| run.0 > 0 && run >= piece_left) else {
            return false;
        };
        let Some(MicroUsd(realtime)) = demand.realtime_cost else { return true };
        let chance = match buying {
            Buying::DedicatedForTight => self.eviction_permille(within),
            Buying::Spot | Buying::DedicatedForAll => WHOLE,
        };
        let paid = u128::from(price.0) * u128::from((self.lead + run + self.cooldown).0);
        let saved = u128::from(realtime).saturating_mul(self.slots * u128::from(run.0));
        paid.saturating_mul(u128::from(demand.work.0)).saturating_mul(WHOLE)
            <= saved.saturating_mul(HOUR_MS).saturating_mul(chance)
    }

    /// Whether a spot node that is evicted could not boot again in time, and that is likely enough.
    fn tight(&self, demand: &Demand, within: Millis) -> bool {
        let again = self.lead + self.lead + piece(demand) + CHUNK_WORK;
        self.buys_spot() && within < again && self.eviction_permille(within) >= CHANCE_COUNTS_PERMILLE
    }

    /// How probable it is that a spot node is evicted within that time, at most; in thousandths.
    fn eviction_permille(&self, within: Millis) -> u128 {
        let rate = u128::from(self.observed.evictions_per_node_hour_milli);
        (rate.saturating_mul(u128::from(within.0)) / HOUR_MS).min(WHOLE)
    }

    /// The work that cannot wait for spot to come back: bought when the setback is stale, half of the
    /// dedicated nodes would be too few.
    fn cannot_wait<'d>(&self, dues: &'d [Due], spot: u32, most: u32) -> &'d [Due] {
        let later = Outlook { wait: SETBACK_FRESH, ..*self };
        &dues[..later.late(dues, spot, most.div_ceil(2)).until]
    }

    /// Whether so many nodes do all in time that nodes are bought for.
    fn in_time(&self, dues: &[Due], spot: u32, dedicated: u32) -> bool {
        self.late(dues, spot, dedicated).bought == 0
    }

    /// What so many nodes do not do in time. It leaves the pool when it is due.
    fn late(&self, dues: &[Due], spot: u32, dedicated: u32) -> Late {
        let nodes = self.observed;
        let mut late = Late::default();
        let (mut spot_before, mut dedicated_before) = (0, 0);
        let (mut spot_spare, mut dedicated_spare) = (0, 0);
        for (n, due) in dues.iter().enumerate() {
            let by_spot = self.capacity(&nodes.spot, spot, due.within) * self.spot_share;
            let by_dedicated = self.capacity(&nodes.dedicated, dedicated, due.within) * WHOLE;
            spot_spare += by_spot - spot_before;
            dedicated_spare += by_dedicated - dedicated_before;
            (spot_before, dedicated_before) = (by_spot, by_dedicated);
            let on_spot = due.work.min(spot_spare);
            spot_spare -= on_spot;
            if due.bought {
                let on_dedicated = (due.work - on_spot).min(dedicated_spare);
                dedicated_spare -= on_dedicated;
                let short = due.work - on_spot - on_dedicated;
                late.bought += short;
                late.until = if short > 0 { n + 1 } else { late.until };
            } else {
                late.unbought += due.work - on_spot;
            }
        }
        late
    }

    /// What `wanted` nodes of a kind do within that time, in milliseconds on one slot.
    fn capacity(&self, nodes: &Nodes, wanted: u32, within: Millis) -> u128 {
        let usable = wanted.min(nodes.usable);
        let starting = (wanted - usable).min(nodes.starting);
        let bought = wanted - usable - starting;
        let after = |wait: u64| u128::from(within.0.saturating_sub(wait));
        let each = u128::from(usable) * after(0)
            + u128::from(starting) * after(self.lead.0 / 2)
            + u128::from(bought) * after((self.lead + self.wait).0);
        each * self.slots
    }
}

/// The longest that one slot works on a part of it.
fn piece(demand: &Demand) -> Millis {
    demand.work.scaled(1, u64::from(demand.parallel.max(1)))
}
