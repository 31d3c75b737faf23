//! What is so at the moment, told once a minute: by every process what it has itself, and by the one that runs
//! function `Metrics` what all of them see together.

use std::collections::BTreeMap;

use facts::view::pool::KindView;
use facts::view::{PoolView, View};
use policy::breaker;
use policy::units::{MicroUsd, UnixMs};

use super::names::{self, OTHER};
use super::{Backend, Metrics};
use crate::catalogue::{self, Catalogue};
use crate::telemetry::measure;

/// A machine that has not answered for this long has no use of its GPU to tell.
const GPU_FRESH_MS: u64 = 120_000;

impl Metrics {
    /// Tells what this process has.
    pub fn publish(&self, catalogue: &Catalogue, view: Option<&View>, now: UnixMs) {
        for backend in &catalogue.backends {
            let ready =
                view.and_then(|view| view.backends.get(&backend.name)).map(|seen| seen.ready_replicas);
            realtime(&self.backend(&backend.name), backend, ready, now);
            let starts = self.backend(&backend.name).take_starts();
            measure(&names::COLD_STARTS, f64::from(starts), &[&backend.name]);
        }
        for (team, usd_per_hour) in self.rates(now) {
            measure(&names::COST_RATE, usd_per_hour, &["realtime", &team]);
        }
    }
}

fn realtime(own: &Backend, backend: &catalogue::Backend, ready: Option<u32>, now: UnixMs) {
    let seen = own.observed(now);
    let labels = ["realtime", backend.name.as_str()];
    let (in_flight, waiting) = (f64::from(seen.in_flight), f64::from(own.turned_away(now)));
    measure(&names::IN_FLIGHT, in_flight, &labels);
    measure(&names::QUEUE_DEPTH, waiting, &[labels[0], labels[1], "waiting"]);
    measure(&names::QUEUE_DEPTH, in_flight + waiting, &[labels[0], labels[1], "total"]);
    let slots = ready.unwrap_or(0) * backend.facts.slots_per_replica;
    if slots > 0 {
        measure(&names::UTILIZATION, (in_flight * 100.0 / f64::from(slots)).min(100.0), &labels);
    }
    if let Some(percent) = own.gpu_since(UnixMs(now.0.saturating_sub(GPU_FRESH_MS))) {
        measure(&names::GPU_UTILIZATION, f64::from(percent), &labels);
    }
    let state = match seen.breaker {
        breaker::State::Closed => 0.0,
        breaker::State::HalfOpen => 1.0,
        breaker::State::Open { .. } => 2.0,
    };
    measure(&names::BREAKER, state, &[&backend.name]);
}

/// Tells what Sweep saw of pools and of tenants' work.
pub fn shared(view: &View, catalogue: &Catalogue, now: UnixMs) {
    for pool in &catalogue.pools {
        if let Some(seen) = view.pools.get(&pool.facts.name) {
            deferred(&pool.facts.name, seen, pool.facts.slots_per_node, now);
        }
    }
    for tenant in &catalogue.tenants {
        let items = view.tenants.get(&tenant.id).map_or(0, |seen| seen.queued_items);
        measure(&names::QUEUE_ITEMS, items as f64, &[&tenant.id]);
    }
    let burnt: u64 = catalogue.pools.iter().map(|pool| per_hour(pool, view)).sum();
    let items = view.tenants.iter().map(|(tenant, seen)| (team(catalogue, tenant, None), seen.queued_items));
    for (team, usd) in shares(MicroUsd(burnt), items) {
        measure(&names::COST_RATE, usd, &["deferred", &team]);
    }
}

/// What a pool's nodes cost for an hour, in millionths of a US dollar: all that exist but the preempted.
fn per_hour(pool: &catalogue::Pool, view: &View) -> u64 {
    let Some(seen) = view.pools.get(&pool.facts.name) else { return 0 };
    let exist = |kind: KindView| u64::from(kind.usable + kind.starting + kind.broken);
    exist(seen.spot) * pool.facts.price_per_node_hour.0 + exist(seen.dedicated) * pool.dedicated_node_hour().0
}

/// Money by the teams' items; all of it [`OTHER`]'s where nobody has any.
fn shares<'a>(all: MicroUsd, items: impl Iterator<Item = (&'a str, u64)>) -> BTreeMap<String, f64> {
    let mut by_team: BTreeMap<String, u64> = BTreeMap::new();
    for (team, items) in items.filter(|(_, items)| *items > 0) {
        *by_team.entry(team.to_owned()).or_default() += items;
    }
    if by_team.is_empty() {
        by_team.insert(OTHER.to_owned(), 1);
    }
    let sum: u64 = by_team.values().sum();
    by_team.into_iter().map(|(team, items)| (team, all.usd() * items as f64 / sum as f64)).collect()
}

fn deferred(pool: &str, seen: &PoolView, slots_per_node: u32, now: UnixMs) {
    let labels = ["deferred", pool];
    let running = seen.tasks.saturating_sub(seen.queued_tasks);
    measure(&names::IN_FLIGHT, running as f64, &labels);
    measure(&names::QUEUE_DEPTH, seen.queued_tasks as f64, &["deferred", pool, "waiting"]);
    measure(&names::QUEUE_DEPTH, seen.tasks as f64, &["deferred", pool, "total"]);
    measure(&names::QUEUE_JOBS, seen.waiting_jobs as f64, &[pool]);
    let age = seen.oldest_waiting_at.map_or(0, |at| now.since(UnixMs(at)).0);
    measure(&names::OLDEST_AGE, age as f64 / 1_000.0, &[pool]);
    // Slots of a node share its GPU.
    let gpu_seconds = |slot_ms: u64| slot_ms as f64 / 1_000.0 / f64::from(slots_per_node.max(1));
    measure(&names::BACKLOG, gpu_seconds(seen.waiting_ms), &[pool, "waiting"]);
    let in_tasks = seen.backlog_ms.saturating_sub(seen.waiting_ms);
    measure(&names::BACKLOG, gpu_seconds(in_tasks), &[pool, "running"]);
    // A pool without nodes is not used badly.
    if let Some(percent) = seen.utilization_percent() {
        measure(&names::UTILIZATION, percent as f64, &labels);
    }
    if let Some(percent) = seen.gpu_percent {
        measure(&names::GPU_UTILIZATION, f64::from(percent), &labels);
    }
    measure(&names::EVICTIONS, seen.nodes.evictions.len() as f64, &[pool]);
    let tasks = [
        ("waiting", seen.queued_tasks),
        ("running", running),
        ("succeeded", seen.succeeded_tasks),
        ("failed", seen.failed_tasks),
    ];
    for (outcome, count) in tasks {
        measure(&names::POOL_TASKS, count as f64, &[pool, outcome]);
    }
    for (kind, nodes) in [("spot", seen.spot), ("dedicated", seen.dedicated)] {
        let states = [
            ("target", nodes.target),
            ("busy", nodes.busy),
            ("idle", nodes.usable.saturating_sub(nodes.busy)),
            ("starting", nodes.starting),
            ("preempted", nodes.preempted),
            ("broken", nodes.broken),
        ];
        for (state, count) in states {
            measure(&names::POOL_NODES, count.into(), &[pool, kind, state]);
        }
    }
}

/// Teams that metrics tell apart: those of the catalogue's first tenants.
const TEAMS_MAX: usize = 32;

/// Whom work is charged to, as metrics tell it: the team that its job names (`label`), else its tenant's, each
/// only if the catalogue knows it; [`OTHER`] for whatever else a client wrote there. A tenant without a team is
/// one.
pub fn team<'a>(catalogue: &'a Catalogue, tenant: &str, label: Option<&str>) -> &'a str {
    let of = |tenant: &'a catalogue::Tenant| tenant.labels.get("team").unwrap_or(&tenant.id).as_str();
    let own = catalogue.tenant(tenant).map(of);
    let mut known = catalogue.tenants.iter().take(TEAMS_MAX).map(of);
    known.find(|known| Some(*known) == label.or(own)).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_cost_is_shared_by_open_items() {
        let shared = shares(MicroUsd(4_000_000), [("a", 3), ("b", 1), ("c", 0)].into_iter());
        assert_eq!(shared, BTreeMap::from([("a".to_owned(), 3.0), ("b".to_owned(), 1.0)]));
        let idle = shares(MicroUsd(4_000_000), std::iter::empty());
        assert_eq!(idle, BTreeMap::from([(OTHER.to_owned(), 4.0)]));
    }
}
