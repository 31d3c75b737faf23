//! What was seen of a pool, as decisions take it: pure.

use facts::view::PoolView;
use facts::view::pool::{KindView, SizeError};
use policy::rebalance::{Alert, Demand, Formula, Nodes, Observed, Plan, Setback, SetbackKind};
use policy::snapshot::{Sight, Spread};
use policy::units::{MicroUsd, Millis, UnixMs};

use crate::catalogue::{Catalogue, Pool};

/// What is known beside the pool itself.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// Now.
    pub now: UnixMs,
    /// How far what was seen can be trusted.
    pub sight: Sight,
    /// The work for this pool.
    pub demand: &'a [Demand],
    /// Alerts that stand.
    pub alerts: &'a [Alert],
    /// What was planned last.
    pub previous: Option<Plan>,
    /// Spend of the current hour, over all lanes.
    pub spent_this_hour: MicroUsd,
}

/// Everything that the decision about a pool's size looks at.
pub fn observed(catalogue: &Catalogue, pool: &Pool, view: &PoolView, beside: Beside<'_>) -> Observed {
    let price = pool.facts.price_per_node_hour;
    Observed {
        now: beside.now,
        sight: beside.sight,
        slots_per_node: pool.facts.slots_per_node,
        max_nodes: pool.facts.max_nodes,
        spot: nodes(view.spot, pool.buys_spot.then_some(price)),
        dedicated: nodes(view.dedicated, pool.dedicated_price),
        demand: beside.demand.to_vec(),
        queued_tasks: view.queued_tasks,
        running_tasks: view.tasks - view.queued_tasks.min(view.tasks),
        lead: lead(catalogue, pool, view),
        evictions_per_node_hour_milli: evictions(pool, view),
        setbacks: setbacks(view),
        unusable_boots: view.nodes.unusable_boots,
        alerts: beside.alerts.to_vec(),
        formula: formula(view),
        previous: beside.previous,
        spent_this_hour: beside.spent_this_hour,
        last_unusable: view.nodes.last_unusable.map(UnixMs),
    }
}

/// From a plan to the first task on a node that it buys: the wait for an evaluation, the boot and the
/// model that loads longest.
pub fn lead(catalogue: &Catalogue, pool: &Pool, view: &PoolView) -> Spread {
    let loads = pool.models.iter().filter_map(|id| catalogue.model(id)).map(|model| model.facts.load);
    let load = loads.max_by_key(|load| load.p95).unwrap_or_default();
    let boot = boot(pool, view);
    Spread { p50: boot.p50 + load.p50, p95: boot.p95 + load.p95 }
}

/// From the decision to buy a node to its first task, as it was measured: half an interval until the
/// formula is evaluated, at worst a whole one, and the boot. Too few measured: the catalogue's number.
pub fn boot(pool: &Pool, view: &PoolView) -> Spread {
    let Some(measured) = view.nodes.boots() else { return pool.facts.boot };
    let wait = Millis(if view.formula.enabled { view.formula.interval_ms } else { 0 });
    Spread { p50: Millis(measured.p50) + wait.scaled(1, 2), p95: Millis(measured.p95) + wait }
}

/// Evictions of a spot node an hour, in thousandths: measured, else the catalogue's number.
pub fn evictions(pool: &Pool, view: &PoolView) -> u64 {
    view.nodes.evictions_per_node_hour_milli().unwrap_or(pool.facts.evictions_per_node_hour_milli)
}

/// Whether a pool has no node and what stopped its last change of size stands.
pub fn is_starved(view: &PoolView) -> bool {
    let has_none = |seen: KindView| seen.usable + seen.starting == 0;
    has_none(view.spot) && has_none(view.dedicated) && !setbacks(view).is_empty()
}

fn nodes(seen: KindView, price_per_hour: Option<MicroUsd>) -> Nodes {
    Nodes {
        target: seen.target,
        usable: seen.usable,
        busy: seen.busy,
        starting: seen.starting,
        preempted: seen.preempted,
        broken: seen.broken,
        price_per_hour,
    }
}

fn formula(view: &PoolView) -> Formula {
    let seen = &view.formula;
    Formula {
        enabled: seen.enabled,
        ours: seen.ours,
        evaluated: seen.evaluated_at.map(UnixMs),
        interval: Millis(seen.interval_ms),
        failed: seen.error.is_some(),
    }
}

/// Errors of the present target, for each kind of node that is short of it; the newest first.
fn setbacks(view: &PoolView) -> Vec<Setback> {
    let short = |seen: KindView| seen.usable + seen.starting < seen.target;
    let of = |error: &SizeError| {
        let kind = setback_kind(&error.code);
        let since = UnixMs(error.since);
        let kinds = [(true, view.spot), (false, view.dedicated)];
        let named = names_kind(error);
        let concerned = kinds.into_iter().filter(move |(spot, seen)| match named {
            Some(named) => named == *spot,
            None => short(*seen),
        });
        concerned.map(move |(spot, _)| Setback { kind, spot, since }).collect::<Vec<_>>()
    };
    let mut setbacks: Vec<Setback> = view.size.fresh().flat_map(of).collect();
    setbacks.sort_by_key(|setback| std::cmp::Reverse((setback.since, setback.kind)));
    setbacks
}

fn setback_kind(code: &str) -> SetbackKind {
    match code {
        code if code.contains("Quota") => SetbackKind::Quota,
        "AllocationFailed" | "AllocationTimedOut" => SetbackKind::NoCapacity,
        _ => SetbackKind::Other,
    }
}

/// Whether an error speaks of spot nodes (true) or dedicated ones; none: it does not say.
fn names_kind(error: &SizeError) -> Option<bool> {
    let text = format!("{} {}", error.code, error.message).to_ascii_lowercase();
    if ["spot", "lowpriority", "low-priority", "low priority"].iter().any(|word| text.contains(word)) {
        return Some(true);
    }
    text.contains("dedicated").then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(code: &str, message: &str) -> PoolView {
        let mut view = PoolView::default();
        view.size.generation = 3;
        view.size.errors = vec![
            SizeError { code: "Old".to_owned(), generation: 2, ..SizeError::default() },
            SizeError { code: code.to_owned(), message: message.to_owned(), since: 7, generation: 3 },
        ];
        view.spot = KindView { target: 4, usable: 1, starting: 1, ..KindView::default() };
        view.dedicated = KindView { target: 1, usable: 1, ..KindView::default() };
        view
    }

    #[test]
    fn an_error_concerns_the_kind_that_it_names_or_that_is_short() {
        use SetbackKind::{NoCapacity, Other, Quota};
        let cases = [
            ("AllocationFailed", "no capacity", NoCapacity, true),
            (
                "AllocationFailed",
                "Desired number of dedicated nodes could not be allocated",
                NoCapacity,
                false,
            ),
            ("AllocationTimedOut", "of Spot nodes", NoCapacity, true),
            ("AccountCoreQuotaReached", "dedicated cores", Quota, false),
            ("AccountLowPriorityCoreQuotaReached", "", Quota, true),
            ("ResizeStopped", "", Other, true),
        ];
        for (code, message, kind, spot) in cases {
            let expected = [Setback { kind, spot, since: UnixMs(7) }];
            assert_eq!(setbacks(&view(code, message)), expected, "{code} {message}");
        }
    }
}
