//! What this process counted: requests, refusals, money, and per backend what is under way, how
//! long it took and whether its breaker is open. Everything under way is a guard that is dropped
//! with its request, so no count can leak.
//!
//! What leaves the process as a metric is in [`names`]; it is measured where it happens, and once a minute
//! what is so at the moment is published.

mod backend;
pub mod names;
pub mod pace;
mod publish;
mod tenants;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, RwLock};

use facts::view::TenantState;
use policy::admit::{Ask, Limited, Limits, Work};
use policy::dispatch::Class;
use policy::reason::Code;
use policy::units::{MicroUsd, UnixMs};

pub use backend::{Backend, Observed, UnderWay};
pub use publish::{shared as publish_shared, team};
use tenants::Tenants;
pub use tenants::{Elsewhere, Left, Spent};

use crate::catalogue::Catalogue;
use crate::telemetry::measure;

/// All counts.
#[derive(Debug)]
pub struct Metrics {
    backends: RwLock<HashMap<String, Arc<Backend>>>,
    tenants: Tenants,
    by_status: [AtomicU64; 6],
    by_reason: Vec<AtomicU64>,
    retries: AtomicU64,
    marked_repeats: AtomicU64,
    spend: Mutex<Spend>,
}

#[derive(Debug, Default)]
struct Spend {
    hour: u64,
    cost: MicroUsd,
    all: MicroUsd,
    /// Since it was told last, and when that was. Bounded by the teams that [`team`] knows.
    by_team: BTreeMap<String, MicroUsd>,
    told: Option<UnixMs>,
}

/// Totals since start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Answers by the first digit of their status, from 1xx.
    pub by_status: [u64; 6],
    /// Decisions by the reason that settled them; only those that occurred.
    pub by_reason: Vec<(&'static str, u64)>,
    /// Tries after a failed one.
    pub retries: u64,
    /// Requests that an SDK marked as repeats.
    pub marked_repeats: u64,
    /// Money: what tries of requests came to.
    pub cost: MicroUsd,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            backends: RwLock::default(),
            tenants: Tenants::default(),
            by_status: Default::default(),
            by_reason: Code::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            retries: AtomicU64::new(0),
            marked_repeats: AtomicU64::new(0),
            spend: Mutex::default(),
        }
    }
}

impl Metrics {
    /// The counts of a backend.
    pub fn backend(&self, name: &str) -> Arc<Backend> {
        let known = self.backends.read().expect("no holder of this lock panics").get(name).cloned();
        known.unwrap_or_else(|| {
            let mut backends = self.backends.write().expect("no holder of this lock panics");
            Arc::clone(backends.entry(name.to_owned()).or_default())
        })
    }

    /// Books a request on what its tenant used, as estimated; see [`Metrics::settle`].
    ///
    /// # Errors
    /// [`Limited`] when a limit is reached.
    pub fn let_in(
        &self,
        limited: (&str, &Limits),
        view: Option<Elsewhere>,
        ask: &Ask,
        now: UnixMs,
    ) -> Result<(), Limited> {
        self.tenants.let_in(limited, view, ask, now)
    }

    /// Puts the bill of a request that was let in in the place of its estimate.
    pub fn settle(&self, tenant: &str, request: Work, now: UnixMs) {
        self.tenants.settle(tenant, request, now);
    }

    /// What counts today for a tenant's limit of a day's spend.
    pub fn spent_today(&self, tenant: &str, view: Option<Elsewhere>, now: UnixMs) -> Spent {
        self.tenants.spent(tenant, view, now)
    }

    /// What is left of a tenant's limits.
    pub fn left(&self, limited: (&str, &Limits), view: Option<Elsewhere>, now: UnixMs) -> Left {
        self.tenants.left(limited, view, now)
    }

    /// What this process let in of each tenant, for the others.
    pub fn tenant_states(&self, now: UnixMs) -> BTreeMap<String, TenantState> {
        self.tenants.states(now)
    }

    /// Forgets backends and tenants that the catalogue no longer names: the maps stay bounded by it.
    pub fn keep_only(&self, catalogue: &Catalogue) {
        let mut backends = self.backends.write().expect("no holder of this lock panics");
        backends.retain(|name, _| catalogue.backend(name).is_some());
        self.tenants.keep_only(|name| catalogue.tenant(name).is_some());
    }

    /// Counts an answer.
    pub fn answered(&self, status: u16) {
        let class = usize::from(status / 100).min(self.by_status.len() - 1);
        self.by_status[class].fetch_add(1, Relaxed);
        measure(&names::ANSWERS, 1.0, &[["", "1xx", "2xx", "3xx", "4xx", "5xx"][class]]);
    }

    /// Counts a decision about a job or request of this class on a model, by where it goes (`refused`:
    /// nowhere) and the reason that settled it.
    pub fn decided(&self, lane: &str, model: &str, class: Class, code: Code) {
        if let Some(at) = Code::ALL.iter().position(|known| *known == code) {
            self.by_reason[at].fetch_add(1, Relaxed);
        }
        measure(&names::DECISIONS, 1.0, &[lane, model, class.as_str(), code.as_str()]);
    }

    /// Counts a try after a failed one.
    pub fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
        measure(&names::RETRIES, 1.0, &[]);
    }

    /// Counts a request that an SDK marked as a repeat.
    pub fn marked_repeat(&self) {
        self.marked_repeats.fetch_add(1, Relaxed);
    }

    /// Books what a try came to that was made for this [`team`].
    pub fn spent(&self, now: UnixMs, team: &str, cost: MicroUsd) {
        measure(&names::COST, cost.usd(), &["realtime", team]);
        let mut spend = self.spend.lock().expect("no holder of this lock panics");
        spend.turn(now);
        spend.cost += cost;
        spend.all += cost;
        match spend.by_team.get_mut(team) {
            Some(sum) => *sum += cost,
            None => drop(spend.by_team.insert(team.to_owned(), cost)),
        }
    }

    /// What was spent since the last call, by team, in US dollars an hour. Teams that spent nothing since are
    /// told once more, as 0.
    fn rates(&self, now: UnixMs) -> BTreeMap<String, f64> {
        let mut spend = self.spend.lock().expect("no holder of this lock panics");
        let hours = spend.told.replace(now).map_or(0.0, |told| now.since(told).0 as f64 / 3_600_000.0);
        let sums = std::mem::take(&mut spend.by_team);
        let quiet = sums.iter().filter(|(_, sum)| sum.0 > 0).map(|(team, _)| (team.clone(), MicroUsd(0)));
        spend.by_team = quiet.collect();
        if hours == 0.0 {
            return BTreeMap::new();
        }
        sums.into_iter().map(|(team, sum)| (team, sum.usd() / hours)).collect()
    }

    /// Money of the current hour.
    pub fn spent_this_hour(&self, now: UnixMs) -> MicroUsd {
        let mut spend = self.spend.lock().expect("no holder of this lock panics");
        spend.turn(now);
        spend.cost
    }

    /// Totals since start.
    pub fn totals(&self) -> Totals {
        let counts = Code::ALL.iter().zip(&self.by_reason);
        Totals {
            by_status: std::array::from_fn(|class| self.by_status[class].load(Relaxed)),
            by_reason: counts
                .map(|(code, count)| (code.as_str(), count.load(Relaxed)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            retries: self.retries.load(Relaxed),
            marked_repeats: self.marked_repeats.load(Relaxed),
            cost: self.spend.lock().expect("no holder of this lock panics").all,
        }
    }
}

impl Spend {
    fn turn(&mut self, now: UnixMs) {
        const HOUR_MS: u64 = 3_600_000;
        let hour = now.0 / HOUR_MS;
        if hour != self.hour {
            (self.hour, self.cost) = (hour, MicroUsd(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_counted_by_the_hour() {
        let metrics = Metrics::default();
        metrics.spent(UnixMs(10), "a", MicroUsd(5));
        metrics.spent(UnixMs(20), "b", MicroUsd(6));
        assert_eq!(metrics.spent_this_hour(UnixMs(30)), MicroUsd(11));
        assert_eq!(metrics.spent_this_hour(UnixMs(3_600_000)), MicroUsd(0));
        assert_eq!(metrics.totals().cost, MicroUsd(11));
    }

    #[test]
    fn a_rate_is_of_the_time_since_it_was_told_last() {
        let metrics = Metrics::default();
        assert!(metrics.rates(UnixMs(0)).is_empty(), "nothing to compare with");
        metrics.spent(UnixMs(10), "a", MicroUsd(1_000_000));
        let told = |now| metrics.rates(UnixMs(now)).into_iter().collect::<Vec<_>>();
        assert_eq!(told(360_000), [("a".to_owned(), 10.0)], "a dollar in six minutes");
        assert_eq!(told(720_000), [("a".to_owned(), 0.0)]);
        assert!(told(1_080_000).is_empty());
    }

    #[test]
    fn answers_and_decisions_are_counted() {
        let metrics = Metrics::default();
        metrics.answered(200);
        metrics.answered(503);
        metrics.answered(999);
        metrics.decided("realtime", "m", Class::Standard, Code::WarmReplica);
        let totals = metrics.totals();
        assert_eq!(totals.by_status, [0, 0, 1, 0, 0, 2]);
        assert_eq!(totals.by_reason, [("warm_replica", 1)]);
    }
}
