//! What may be had of the nodes that the work needs: floors, caps, steps, the cooldown, the budget. Each
//! rule changes the draft and says so; the last that did has settled it.

use super::need::Need;
use super::{Asks, Nodes, Observed, STEP_NODES, SetbackKind, UNUSABLE_BOOTS_MAX, UNUSABLE_RETRY};
use crate::knobs::Knobs;
use crate::reason::{Code, Evidence, Reason};
use crate::units::{MicroUsd, Millis, UnixMs};

/// A surplus is kept for at least a plan, so that one look at an empty queue takes no node away.
const COOLDOWN_MIN: Millis = Millis::from_secs(5 * 60);
/// And no longer than the formula itself waits before it gives idle nodes back.
const COOLDOWN_MAX: Millis = Millis::from_secs(15 * 60);
/// An alert for more adds a quarter of what is needed.
const ALERT_SHARE: u32 = 4;
const HOUR_MS: u64 = 3_600_000;

/// What holds for one plan.
pub(super) struct Bounds<'a> {
    knobs: &'a Knobs,
    /// From a plan to work on a node that it buys, at the wanted confidence.
    pub lead: Millis,
    /// How long a node that is not needed stays.
    pub cooldown: Millis,
    /// Nodes of both kinds at most.
    pub ceiling: u32,
    /// Dedicated nodes at most.
    pub max_dedicated: u32,
    /// Spot nodes that are kept.
    pub min_spot: u32,
    /// Dedicated nodes that are kept.
    pub min_dedicated: u32,
    /// What is left of the budget, as a rate an hour; none: there is no cap.
    rate: Option<MicroUsd>,
}

/// The plan in the making.
pub(super) struct Draft {
    pub spot: u32,
    pub dedicated: u32,
    pub surplus_since: Option<UnixMs>,
    /// Spot nodes that are here or on their way: the last that a cut takes.
    spot_here: u32,
    /// Oldest first.
    reasons: Vec<Reason>,
}

impl<'a> Bounds<'a> {
    pub fn of(knobs: &'a Knobs, observed: &Observed) -> Bounds<'a> {
        let all = knobs.max_nodes.min(observed.max_nodes);
        // A budget alert says that half is enough; half of one is one, so that work goes on.
        let ceiling = if observed.alert(Asks::Fewer).is_some() { all.div_ceil(2) } else { all };
        // A fresh setback says that no more dedicated nodes can be had than are here.
        let obtainable = match observed.setback(false) {
            Some(_) => observed.dedicated.present(),
            None => u32::MAX,
        };
        let bought = |nodes: &Nodes| if nodes.price_per_hour.is_some() { u32::MAX } else { 0 };
        let max_dedicated =
            knobs.max_dedicated_nodes.min(ceiling).min(obtainable).min(bought(&observed.dedicated));
        let min_dedicated = knobs.min_dedicated_nodes.min(max_dedicated);
        let min_spot = knobs.min_spot_nodes.min(ceiling - min_dedicated).min(bought(&observed.spot));
        let lead = if knobs.confidence_percent <= 50 { observed.lead.p50 } else { observed.lead.p95 };
        // Keeping a node for as long as a boot takes costs a boot: whoever waits so long and no longer
        // never pays more than twice what a clairvoyant would.
        let cooldown = observed.lead.p50.clamp(COOLDOWN_MIN, COOLDOWN_MAX);
        let rate = knobs.max_usd_per_hour.map(|cap| rate(cap, observed));
        Bounds { knobs, lead, cooldown, ceiling, max_dedicated, min_spot, min_dedicated, rate }
    }

    /// Every rule, the weakest first.
    pub fn apply(&self, draft: &mut Draft, need: &Need, observed: &Observed) {
        self.alert(draft, need, observed);
        self.floors(draft);
        replace_broken(draft, observed);
        self.keep(draft, observed);
        step(draft, observed);
        self.ceiling(draft, need, observed);
        only_usable(draft, observed);
        self.budget(draft, observed);
    }

    fn alert(&self, draft: &mut Draft, need: &Need, observed: &Observed) {
        if observed.alert(Asks::Fewer).is_some() || !observed.work() {
            return;
        }
        let Some(alert) = observed.alert(Asks::More) else { return };
        let total = draft.spot + draft.dedicated;
        let more = total.div_ceil(ALERT_SHARE).max(1).min(need.useful.saturating_sub(total));
        if more == 0 {
            return;
        }
        if observed.spot.price_per_hour.is_some() {
            draft.spot += more;
        } else {
            draft.dedicated = (draft.dedicated + more).min(self.max_dedicated);
        }
        let reason = Reason::new(Code::Alert).with("rule", Evidence::Name(alert.rule.clone()));
        draft.settle(reason.with("more", Evidence::Count(more.into())));
    }

    fn floors(&self, draft: &mut Draft) {
        if draft.spot < self.min_spot || draft.dedicated < self.min_dedicated {
            draft.spot = draft.spot.max(self.min_spot);
            draft.dedicated = draft.dedicated.max(self.min_dedicated);
            let reason = Reason::new(Code::Floor)
                .with("min_spot", Evidence::Count(self.min_spot.into()))
                .with("min_dedicated", Evidence::Count(self.min_dedicated.into()));
            draft.settle(reason.remedy("lower min-spot-nodes and min-dedicated-nodes to save money", None));
        }
    }

    /// Keeps what works, and for a while what does not.
    fn keep(&self, draft: &mut Draft, observed: &Observed) {
        let (spot, dedicated) = (&observed.spot, &observed.dedicated);
        if observed.work() {
            draft.spot = draft.spot.max(if spot.price_per_hour.is_some() { spot.busy } else { 0 });
            // A dedicated node that no deadline needs drains, unless nobody else would work.
            if spot.present() == 0 {
                draft.dedicated = draft.dedicated.max(dedicated.busy.min(self.max_dedicated));
            }
        }
        if draft.spot >= spot.target && draft.dedicated >= dedicated.target {
            return;
        }
        let since = observed.previous.and_then(|plan| plan.surplus_since).unwrap_or(observed.now);
        // Told even where the cooldown is over: a target that is not followed is no new surplus.
        draft.surplus_since = Some(since);
        if observed.now.since(since) >= self.cooldown {
            return;
        }
        draft.spot = draft.spot.max(spot.target);
        draft.dedicated = draft.dedicated.max(dedicated.target);
        let reason = Reason::new(Code::Cooldown).with("cooldown", Evidence::Time(self.cooldown));
        draft.settle(reason.next("nodes that are not needed go", Some(since + self.cooldown)));
    }

    fn ceiling(&self, draft: &mut Draft, need: &Need, observed: &Observed) {
        let (spot, dedicated) = (draft.spot, draft.dedicated);
        draft.dedicated = dedicated.min(self.max_dedicated);
        draft.trim(self.ceiling);
        let more_would_help = need.late > Millis(0) && need.useful > spot.saturating_add(dedicated);
        let full = spot.saturating_add(dedicated) >= self.ceiling;
        if (draft.spot, draft.dedicated) == (spot, dedicated) && !(full && more_would_help) {
            return;
        }
        let reason = match (observed.alert(Asks::Fewer), observed.setback(false)) {
            (Some(alert), _) => Reason::new(Code::Alert).with("rule", Evidence::Name(alert.rule.clone())),
            (None, Some(setback)) => Reason::new(of_setback(setback.kind)),
            (None, None) => Reason::new(Code::Ceiling),
        };
        let reason = reason
            .with("max_nodes", Evidence::Count(self.ceiling.into()))
            .with("max_dedicated", Evidence::Count(self.max_dedicated.into()));
        draft.settle(
            reason.remedy("raise max-batch-nodes, max-dedicated-nodes or the pool's own limit", None),
        );
    }

    /// Spends what is left of the hour: spot nodes that are here, then dedicated ones, then more spot. A
    /// floor is a wish and the budget is a cap, so floors yield. What runs ends its task all the same.
    fn budget(&self, draft: &mut Draft, observed: &Observed) {
        let (Some(rate), Some(cap)) = (self.rate, self.knobs.max_usd_per_hour) else { return };
        let mut left = rate.0;
        let mut afford = |wanted: u32, nodes: &Nodes| {
            let price = nodes.price_per_hour.unwrap_or_default().0;
            let bought = left
                .checked_div(price)
                .map_or(wanted, |most| u32::try_from(most).unwrap_or(u32::MAX).min(wanted));
            left -= price * u64::from(bought);
            bought
        };
        let here = afford(draft.spot.min(draft.spot_here), &observed.spot);
        let dedicated = afford(draft.dedicated, &observed.dedicated);
        let spot = here + afford(draft.spot - here, &observed.spot);
        if (spot, dedicated) == (draft.spot, draft.dedicated) {
            return;
        }
        (draft.spot, draft.dedicated) = (spot, dedicated);
        let next_hour = UnixMs((observed.now.0 / HOUR_MS + 1) * HOUR_MS);
        let reason = Reason::new(Code::BudgetSpent)
            .with("spent", Evidence::Cost(observed.spent_this_hour))
            .with("cap", Evidence::Cost(cap))
            .next("the next hour begins", Some(next_hour));
        draft.settle(reason.remedy("raise max-usd-per-hour", None));
    }
}

/// Dollars an hour that the pool may cost for the rest of this hour without passing the cap, and never
/// more than the cap, because the next hour has one too.
fn rate(cap: MicroUsd, observed: &Observed) -> MicroUsd {
    let left = u128::from(cap.0.saturating_sub(observed.spent_this_hour.0));
    let rest = HOUR_MS - observed.now.0 % HOUR_MS;
    let rate = left * u128::from(HOUR_MS) / u128::from(rest);
    MicroUsd(u64::try_from(rate).unwrap_or(u64::MAX).min(cap.0))
}

/// A broken node counts for the target and does nothing, so another is asked for in its place.
fn replace_broken(draft: &mut Draft, observed: &Observed) {
    let beside =
        |wanted: u32, nodes: &Nodes| if wanted == 0 { 0 } else { wanted.saturating_add(nodes.broken) };
    draft.spot = beside(draft.spot, &observed.spot);
    draft.dedicated = beside(draft.dedicated, &observed.dedicated);
}

fn step(draft: &mut Draft, observed: &Observed) {
    let now = observed.spot.target.saturating_add(observed.dedicated.target);
    let most = now.saturating_add(now.max(STEP_NODES));
    let wanted = draft.spot.saturating_add(draft.dedicated);
    if wanted > most {
        draft.trim(most);
        let reason = Reason::new(Code::StepLimited)
            .with("wanted", Evidence::Count(wanted.into()))
            .with("step", Evidence::Count(now.max(STEP_NODES).into()));
        draft.settle(reason.next("the next plan adds more", None));
    }
}

/// After three unusable boots in a row only what works stays; a single node is tried now and then.
fn only_usable(draft: &mut Draft, observed: &Observed) {
    if observed.unusable_boots < UNUSABLE_BOOTS_MAX {
        return;
    }
    let (spot, dedicated) = (&observed.spot, &observed.dedicated);
    // Which nodes a smaller target takes away is not ours to say: broken ones stay while others work.
    let some_work = spot.usable + dedicated.usable > 0;
    let stays = |nodes: &Nodes| nodes.present() + if some_work { nodes.broken + nodes.preempted } else { 0 };
    let last = observed.last_unusable.or(observed.previous.map(|plan| plan.changed)).unwrap_or_default();
    let retry_at = last + UNUSABLE_RETRY;
    let retry = u32::from(observed.now >= retry_at && spot.starting + dedicated.starting == 0);
    let by_spot = u32::from(spot.price_per_hour.is_some());
    draft.spot = draft.spot.min(stays(spot) + retry * by_spot);
    draft.dedicated = draft.dedicated.min(stays(dedicated) + retry * (1 - by_spot));
    let reason = Reason::new(Code::NodesNeverUsable)
        .with("boots", Evidence::Count(observed.unusable_boots.into()))
        .with("usable", Evidence::Count((spot.usable + dedicated.usable).into()))
        .next("one node is tried again", Some(retry_at.max(observed.now)));
    draft.settle(reason.remedy("look at the start task, the image and the node's files", None));
}

fn of_setback(kind: SetbackKind) -> Code {
    match kind {
        SetbackKind::Quota => Code::QuotaReached,
        SetbackKind::NoCapacity | SetbackKind::Other => Code::SpotUnavailable,
    }
}

impl Draft {
    pub fn of(need: &Need, observed: &Observed) -> Draft {
        let mut draft = Draft {
            spot: need.spot,
            dedicated: need.dedicated,
            surplus_since: None,
            spot_here: observed.spot.present(),
            reasons: Vec::new(),
        };
        let code = if need.spot + need.dedicated > 0 { Code::Demand } else { Code::Idle };
        let work = observed.demand.iter().fold(Millis(0), |sum, demand| sum + demand.work);
        draft.settle(
            Reason::new(code)
                .with("work", Evidence::Time(work))
                .with("spot", Evidence::Count(need.spot.into()))
                .with("dedicated", Evidence::Count(need.dedicated.into())),
        );
        if need.late > Millis(0) {
            let reason = Reason::new(Code::LeftToRealtime).with("work", Evidence::Time(need.late));
            draft.settle(
                reason
                    .next("the rescue takes it to realtime where that serves it", None)
                    .remedy("give jobs more time, or raise max-batch-nodes", None),
            );
        }
        if need.spot_missing > 0 {
            let reason = Reason::new(need.setback.map_or(Code::SpotUnavailable, of_setback))
                .with("missing", Evidence::Count(need.spot_missing.into()))
                .with("preempted", Evidence::Count(observed.spot.preempted.into()))
                .next("they stay asked for", None);
            draft.settle(reason.remedy("raise max-dedicated-nodes, or use another region or size", None));
        }
        if need.dedicated > 0 {
            let code = if need.dedicated_first { Code::DedicatedCheaper } else { Code::ScaleDeadline };
            let reason = Reason::new(code).with("dedicated", Evidence::Count(need.dedicated.into()));
            draft.settle(
                reason.with("evictions_milli", Evidence::Count(observed.evictions_per_node_hour_milli)),
            );
        }
        draft
    }

    fn settle(&mut self, reason: Reason) {
        self.reasons.push(reason);
    }

    /// Takes nodes away until `most` are left: spot nodes that are not here yet, then dedicated ones, then
    /// any.
    fn trim(&mut self, most: u32) {
        let mut over = self.spot.saturating_add(self.dedicated).saturating_sub(most);
        let absent = self.spot.saturating_sub(self.spot_here).min(over);
        self.spot -= absent;
        over -= absent;
        let dedicated = self.dedicated.min(over);
        self.dedicated -= dedicated;
        self.spot -= over - dedicated;
    }

    /// Why, the last word first.
    pub fn told(self, also: Option<Reason>) -> Vec<Reason> {
        self.reasons.into_iter().rev().chain(also).collect()
    }
}
