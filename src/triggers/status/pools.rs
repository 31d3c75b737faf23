//! Pools on the status page: what is seen of each, what was planned, and what of it belongs in the
//! three lines.

use facts::view::pool::{KindView, Planned, SizeError};
use facts::view::{PoolView, View};
use policy::Knobs;
use policy::knobs::AutoscaleMode;
use policy::rebalance::UNUSABLE_BOOTS_MAX;
use policy::units::UnixMs;
use wire::status;

use crate::act::rebalance::state;
use crate::app::App;
use crate::catalogue::{Catalogue, Pool, prices};
use crate::observe::pools;

/// Below this share of busy nodes a pool is paid for rather than used.
const UTILIZATION_LOW_PERCENT: u64 = 40;

/// Every pool that takes work, as it was seen last.
pub async fn shown(app: &App, catalogue: &Catalogue, view: &View, now: UnixMs) -> Vec<status::Pool> {
    let mut all = Vec::new();
    for pool in working(catalogue) {
        let seen = view.pools.get(&pool.facts.name).cloned().unwrap_or_default();
        // The formula is long, and the view is read often: it stands elsewhere.
        let written = state::read(&app.store, &pool.facts.name).await.ok().flatten();
        let formula = written.map(|written| written.formula).unwrap_or_default();
        all.push(one(pool, &seen, formula, now));
    }
    all
}

fn working(catalogue: &Catalogue) -> impl Iterator<Item = &Pool> {
    catalogue.pools.iter().map(AsRef::as_ref).filter(|pool| pool.worker.is_some())
}

fn one(pool: &Pool, seen: &PoolView, formula: String, now: UnixMs) -> status::Pool {
    let boot = pools::boot(pool, seen);
    status::Pool {
        name: pool.facts.name.clone(),
        age_s: (seen.seen_at > 0).then(|| age_s(seen.seen_at, now)),
        error: seen.error.clone(),
        spot: nodes(seen.spot),
        dedicated: nodes(seen.dedicated),
        utilization_percent: seen.utilization_percent(),
        queued_tasks: seen.queued_tasks,
        running_tasks: seen.tasks.saturating_sub(seen.queued_tasks),
        waiting_jobs: seen.waiting_jobs,
        backlog_s: seen.backlog_ms / 1_000,
        evictions_per_node_hour: pools::evictions(pool, seen) as f64 / 1_000.0,
        evictions: seen.nodes.evictions.len() as u64,
        boot_ms: status::Spread { p50: boot.p50.0, p95: boot.p95.0 },
        boots_measured: seen.nodes.boots_ms.len() as u64,
        unusable_boots: seen.nodes.unusable_boots,
        resize_errors: seen.size.errors.iter().map(|error| resize_error(seen, error)).collect(),
        spent_this_hour_usd: seen.spend.of_hour(now.0) as f64 / 1e6,
        planned: seen.planned.as_ref().map(|made| planned(made, formula, now)),
        price_date: pool.price_date.clone(),
        price_age_days: prices::age_days(&pool.price_date, now),
        formula: status::Formula {
            enabled: seen.formula.enabled,
            ours: seen.formula.ours,
            interval_s: seen.formula.interval_ms / 1_000,
            evaluated_unix_ms: seen.formula.evaluated_at,
            error: seen.formula.error.clone(),
            findings: seen.formula.findings.clone(),
        },
    }
}

fn nodes(seen: KindView) -> status::Nodes {
    let KindView { target, usable, busy, starting, preempted, broken, came: _ } = seen;
    status::Nodes { target, usable, busy, starting, preempted, broken }
}

fn resize_error(seen: &PoolView, error: &SizeError) -> status::ResizeError {
    status::ResizeError {
        code: error.code.clone(),
        message: error.message.clone(),
        since_unix_ms: error.since,
        stale: error.generation != seen.size.generation,
    }
}

fn planned(made: &Planned, formula: String, now: UnixMs) -> status::Planned {
    let reason = |why: &facts::view::pool::Why| status::Reason {
        code: why.code.clone(),
        evidence: why.evidence.clone(),
        next: why.next.clone(),
        remedy: why.remedy.clone(),
    };
    status::Planned {
        age_s: age_s(made.at, now),
        mode: made.mode.clone(),
        spot: made.plan.map(|plan| plan.spot),
        dedicated: made.plan.map(|plan| plan.dedicated),
        max_nodes: made.plan.map(|plan| plan.max_nodes),
        reasons: made.reasons.iter().map(reason).collect(),
        outcome: made.outcome.clone(),
        error: made.error.clone(),
        lead_ms: status::Spread { p50: made.lead_ms.p50, p95: made.lead_ms.p95 },
        jobs: made.jobs,
        formula,
    }
}

fn age_s(at: u64, now: UnixMs) -> u64 {
    now.since(UnixMs(at)).0 / 1_000
}

/// What of pools does not work.
pub fn broken(catalogue: &Catalogue, view: &View) -> Vec<String> {
    each(catalogue, view, |name, seen| {
        let mut found = Vec::new();
        found.extend(seen.error.as_ref().map(|error| format!("pool {name} cannot be seen ({error})")));
        if seen.nodes.unusable_boots >= UNUSABLE_BOOTS_MAX {
            found.push(format!(
                "the last {} nodes of pool {name} never became usable",
                seen.nodes.unusable_boots
            ));
        }
        let refused = seen.planned.as_ref().filter(|made| made.outcome == "refused");
        found.extend(refused.map(|made| {
            format!("the plan of pool {name} is refused ({})", made.error.as_deref().unwrap_or("no cause"))
        }));
        let failed = seen.formula.error.as_ref();
        found.extend(failed.map(|error| format!("the formula of pool {name} fails ({error})")));
        found
    })
}

/// What of pools may go wrong.
pub fn at_risk(catalogue: &Catalogue, view: &View, knobs: &Knobs) -> Vec<String> {
    each(catalogue, view, |name, seen| {
        let stopped =
            seen.size.fresh().map(|error| format!("pool {name} stops short of its target ({})", error.code));
        let mut found: Vec<String> = stopped.collect();
        let waits = seen.queued_tasks + seen.waiting_jobs > 0;
        let coming = seen.spot.target + seen.dedicated.target > 0;
        if waits && !coming && !seen.formula.enabled && knobs.autoscale != AutoscaleMode::Act {
            found.push(format!(
                "work waits for pool {name}, and nobody buys nodes: autoscale-mode is not act"
            ));
        }
        found
    })
}

/// What is paid for and not used.
pub fn wasted(catalogue: &Catalogue, view: &View) -> Vec<String> {
    let price = |name: &str| catalogue.pool(name).map(|pool| pool.facts.price_per_node_hour);
    each(catalogue, view, |name, seen| {
        let usable = seen.spot.usable + seen.dedicated.usable;
        let idle = usable - (seen.spot.busy + seen.dedicated.busy).min(usable);
        let low = seen.utilization_percent().filter(|percent| *percent < UTILIZATION_LOW_PERCENT);
        // Nodes that wait for a task that is there are about to have it.
        let Some(percent) = low.filter(|_| seen.queued_tasks == 0) else { return Vec::new() };
        let usd = price(name).map_or(0.0, |price| price.usd()) * f64::from(idle);
        vec![format!("{usd:.2} USD an hour for {idle} idle node(s) of pool {name}, used to {percent} %")]
    })
}

fn each(catalogue: &Catalogue, view: &View, found: impl Fn(&str, &PoolView) -> Vec<String>) -> Vec<String> {
    let seen = working(catalogue).filter_map(|pool| {
        let name = pool.facts.name.as_str();
        Some((name, view.pools.get(name)?))
    });
    seen.flat_map(|(name, seen)| found(name, seen)).collect()
}
