//! What is seen of the world when a decision is due: the catalogue's numbers, this process's own
//! counts, and the merged view of all processes where one is fresh. Nothing is awaited here but the
//! view itself. What is seen of pools becomes what their decisions take in [`pools`].

pub mod pools;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};

use policy::pace::Measured;
use policy::replicas::COOLDOWN;
use policy::rescue::Condition;
use policy::snapshot::{self, Sight, Snapshot};
use policy::units::{MicroUsd, Millis, UnixMs};

use crate::catalogue::{Backend, Catalogue, Model, Pool};
use crate::metrics::{self, Elsewhere, Metrics, Observed};
use facts::view::{BackendView, View};
use facts::{Store, StoreError, key};

/// An older view is not believed.
const VIEW_FRESH: Millis = Millis::from_secs(180);

/// Keeps the newest view.
#[derive(Debug, Default)]
pub struct Views(RwLock<Arc<View>>);

impl Views {
    /// Reads the view again; a missing one is no trouble, because the sweep may not have run.
    pub async fn refresh(&self, store: &Store) {
        let read = match store.get(key::VIEW).await {
            Ok(object) => serde_json::from_slice::<View>(&object.content).map_err(|error| error.to_string()),
            Err(StoreError::NotFound(_)) => return,
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(view) => self.accept(view),
            Err(error) => tracing::warn!(error, "the view cannot be read; deciding without it"),
        }
    }

    fn accept(&self, view: View) {
        let mut newest = self.0.write().expect("no holder of this lock panics");
        if view.seq > newest.seq {
            *newest = Arc::new(view);
        }
    }

    /// The newest view, however old; empty before the first.
    pub fn newest(&self) -> Arc<View> {
        Arc::clone(&self.0.read().expect("no holder of this lock panics"))
    }

    /// What a fresh view says of a tenant to the process of this name; none: there is none.
    pub fn tenant(&self, tenant: &str, process: &str, now: UnixMs) -> Option<Elsewhere> {
        let view = self.0.read().expect("no holder of this lock panics");
        let observed = UnixMs(view.observed_at);
        let is_fresh = view.seq > 0 && now.since(observed) <= VIEW_FRESH;
        is_fresh.then(|| Elsewhere {
            tenant: view.tenants.get(tenant).copied().unwrap_or_default(),
            observed,
            written: view.processes.get(process).copied().map(UnixMs),
            others: view.processes.keys().filter(|other| *other != process).count() as u64,
        })
    }

    /// The newest view, if it is young enough to be believed.
    pub fn fresh(&self, now: UnixMs) -> Option<Arc<View>> {
        let newest = self.newest();
        let observed = UnixMs(newest.observed_at);
        (newest.seq > 0 && now.since(observed) <= VIEW_FRESH).then_some(newest)
    }
}

/// What a decision about `model` looks at. `tried` is what happened to the request so far.
pub fn snapshot(
    catalogue: &Catalogue,
    model: Option<&Model>,
    metrics: &Metrics,
    views: &Views,
    now: UnixMs,
) -> Snapshot {
    let view = views.fresh(now);
    let serves = |models: &[String]| model.is_some_and(|model| models.contains(&model.spec.id));
    let backends = catalogue.backends.iter().filter(|backend| serves(&backend.models));
    let pools = catalogue.pools.iter().filter(|pool| serves(&pool.models));
    Snapshot {
        now,
        sight: if view.is_some() { Sight::Fresh } else { Sight::Blind },
        model: model.map(|model| model.facts.clone()).unwrap_or_default(),
        backends: backends.map(|found| backend(found, metrics, view.as_deref(), now)).collect(),
        pools: pools.map(|found| pool(found, view.as_deref())).collect(),
        tried: Vec::new(),
        spent_this_hour: spent(metrics, view.as_deref(), now),
    }
}

/// Pools that have no node and cannot get one, where that is known.
pub fn starved(views: &Views, now: UnixMs) -> BTreeSet<String> {
    let view = views.fresh(now);
    let pools = view.iter().flat_map(|view| &view.pools);
    pools.filter(|(_, seen)| pools::is_starved(seen)).map(|(name, _)| name.clone()).collect()
}

/// One pool as it was seen last.
fn pool(pool: &Pool, view: Option<&View>) -> snapshot::Pool {
    let seen = view.and_then(|view| view.pools.get(&pool.facts.name));
    snapshot::Pool {
        ready_nodes: seen.map_or(0, |seen| seen.ready_nodes),
        backlog: seen.map_or(Millis(0), |seen| Millis(seen.backlog_ms)),
        boot: seen.map_or(pool.facts.boot, |seen| pools::boot(pool, seen)),
        evictions_per_node_hour_milli: seen
            .map_or(pool.facts.evictions_per_node_hour_milli, |seen| pools::evictions(pool, seen)),
        starved: seen.is_some_and(pools::is_starved),
        ..pool.facts.clone()
    }
}

/// Spend of the current hour over all lanes, as far as this process knows.
pub fn spent_this_hour(metrics: &Metrics, views: &Views, now: UnixMs) -> MicroUsd {
    spent(metrics, views.fresh(now).as_deref(), now)
}

/// The view's, which has the ledger's, or this process's own where that is more. An hour that turned since the
/// view was made begins at nothing.
fn spent(metrics: &Metrics, view: Option<&View>, now: UnixMs) -> MicroUsd {
    let view = view.filter(|view| is_same_hour(view.observed_at, now));
    metrics.spent_this_hour(now).max(MicroUsd(view.map_or(0, |view| view.spent_this_hour_micro_usd)))
}

/// Whether this instant, Unix ms, is in the hour of now.
fn is_same_hour(at_ms: u64, now: UnixMs) -> bool {
    const HOUR_MS: u64 = 3_600_000;
    at_ms / HOUR_MS == now.0 / HOUR_MS
}

/// One backend as it is seen now.
pub fn backend(backend: &Backend, metrics: &Metrics, view: Option<&View>, now: UnixMs) -> snapshot::Backend {
    let own = metrics.backend(&backend.name).at_a_glance(now);
    let seen = view.and_then(|view| view.backends.get(&backend.name));
    let (ready, starting) = match seen {
        Some(seen) => (seen.ready_replicas, seen.starting_replicas),
        None => guess_replicas(&own, backend.facts.max_replicas, now),
    };
    snapshot::Backend {
        ready_replicas: ready,
        starting_replicas: starting,
        in_flight: own.in_flight.max(seen.map_or(0, |seen| seen.in_flight)),
        pace: measured(&own, seen, now).pace(now),
        breaker: own.breaker,
        last_used: own.last_used,
        ..backend.facts.clone()
    }
}

/// What answers took, by whoever saw more of them: the view knows all processes, this one its newest.
fn measured(own: &Observed, seen: Option<&BackendView>, now: UnixMs) -> Measured {
    let (own, all) = (own.pace.aged(now), seen.map(|seen| metrics::pace::read(seen.pace).aged(now)));
    all.filter(|all| all.answers_milli > own.answers_milli).unwrap_or(own)
}

/// What answers of a backend took, with the freshest view.
pub fn measured_now(found: &Backend, metrics: &Metrics, views: &Views, now: UnixMs) -> Measured {
    let view = views.fresh(now);
    let seen = view.as_ref().and_then(|view| view.backends.get(&found.name));
    measured(&metrics.backend(&found.name).at_a_glance(now), seen, now)
}

/// In what condition the realtime lane is for each model: that of the slowest backend that serves it, because
/// any of them may get the work.
pub fn conditions(
    catalogue: &Catalogue,
    metrics: &Metrics,
    views: &Views,
    now: UnixMs,
) -> BTreeMap<String, Condition> {
    let view = views.fresh(now);
    let mut conditions: BTreeMap<String, Condition> = BTreeMap::new();
    for found in &catalogue.backends {
        let (pace, start) = (backend(found, metrics, view.as_deref(), now).pace, found.facts.cold_start.p95);
        for model in &found.models {
            let slowest = conditions.entry(model.clone()).or_insert(Condition { start, pace });
            *slowest = Condition { start: slowest.start.max(start), pace: slowest.pace.max(pace) };
        }
    }
    conditions
}

/// The backend of this name as it is seen now, with the freshest view.
pub fn backend_now(found: &Backend, metrics: &Metrics, views: &Views, now: UnixMs) -> snapshot::Backend {
    backend(found, metrics, views.fresh(now).as_deref(), now)
}

/// Replicas of a backend that answer and that start, as this process believes.
pub fn replicas(backend: &Backend, metrics: &Metrics, now: UnixMs) -> (u32, u32) {
    let own = metrics.backend(&backend.name).at_a_glance(now);
    guess_replicas(&own, backend.facts.max_replicas, now)
}

/// Replicas that answer and that start, guessed from our own requests: a backend that gave a good
/// answer within the scaler's cooldown, and no failure since, still has the replicas that the
/// scaler was told to have, and at least one.
fn guess_replicas(own: &Observed, max: u32, now: UnixMs) -> (u32, u32) {
    let warm = own.last_good.is_some_and(|good| {
        now.since(good) < COOLDOWN && own.last_failed.is_none_or(|failed| failed <= good)
    });
    let asked = own.planned.max(1).min(max);
    let used_lately = own.last_used.is_some_and(|used| now.since(used) < COOLDOWN);
    match (warm, used_lately) {
        (true, _) => (asked, 0),
        (false, true) => (0, asked),
        (false, false) => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_guessed_from_own_requests() {
        let at = |ms| Some(UnixMs(ms));
        let now = UnixMs(1_000_000);
        let cases = [
            (Observed::default(), (0, 0)),
            (Observed { last_used: at(999_000), ..Observed::default() }, (0, 1)),
            (Observed { last_used: at(999_000), last_good: at(999_500), ..Observed::default() }, (1, 0)),
            (
                Observed {
                    last_used: at(999_000),
                    last_good: at(999_500),
                    planned: 3,
                    ..Observed::default()
                },
                (3, 0),
            ),
            (
                Observed {
                    last_used: at(999_000),
                    last_good: at(9),
                    last_failed: at(10),
                    ..Observed::default()
                },
                (0, 1),
            ),
            (Observed { last_used: at(1), last_good: at(2), ..Observed::default() }, (0, 0)),
        ];
        for (own, wanted) in cases {
            assert_eq!(guess_replicas(&own, 5, now), wanted, "{own:?}");
        }
    }

    #[test]
    fn an_hour_begins_at_nothing_although_the_view_is_of_the_one_before() {
        const HOUR_MS: u64 = 3_600_000;
        let (views, metrics) = (Views::default(), Metrics::default());
        let at = |ms| UnixMs(7 * HOUR_MS + ms);
        let observed_at = at(0).0 - 10_000;
        views.accept(View { observed_at, seq: 1, spent_this_hour_micro_usd: 5, ..View::default() });
        let spent = |now| spent_this_hour(&metrics, &views, now).0;
        assert_eq!((spent(UnixMs(at(0).0 - 1)), spent(at(0))), (5, 0));
        metrics.spent(at(1), "team", MicroUsd(3));
        assert_eq!(spent(at(2)), 3);
        views.accept(View { observed_at: at(2).0, seq: 2, spent_this_hour_micro_usd: 4, ..View::default() });
        assert_eq!(spent(at(3)), 4, "all processes together, this one included");
    }

    #[test]
    fn views_never_step_back_and_grow_old() {
        let views = Views::default();
        assert!(views.fresh(UnixMs(5)).is_none());
        views.accept(View { observed_at: 10, seq: 2, ..View::default() });
        views.accept(View { observed_at: 99, seq: 1, ..View::default() });
        assert_eq!(views.fresh(UnixMs(20)).unwrap().observed_at, 10);
        assert!(views.fresh(UnixMs(10 + VIEW_FRESH.0 + 1)).is_none());
    }
}
