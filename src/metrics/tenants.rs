//! What this process let in of each tenant: meters and money for its limits, and the last minutes by the
//! second, for what the merged view does not know yet.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Mutex;

use facts::view::{TenantState, TenantView};
use policy::admit::{self, Ask, Limited, Limits, Seen, Usage};
use policy::units::{MicroUsd, UnixMs};

/// Seconds that are kept: a view is believed for 180 s, and a minute before it is compared with it.
const KEPT_S: u64 = 250;
/// Rates are told by the minute.
const MINUTE_MS: u64 = 60_000;

/// By tenant. Bounded by the catalogue, see [`super::Metrics::keep_only`].
#[derive(Debug, Default)]
pub(super) struct Tenants(Mutex<HashMap<String, Used>>);

/// What one tenant used.
#[derive(Debug, Default)]
struct Used {
    usage: Usage,
    /// By the second, the oldest first.
    recent: VecDeque<(u64, Sums)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    requests: u64,
    tokens: u64,
    items: u64,
    cost: MicroUsd,
}

/// What the merged view says that a process is to know about one tenant.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere {
    /// The tenant.
    pub tenant: TenantView,
    /// When it was merged.
    pub observed: UnixMs,
    /// When this process's own part of it was written; none: it has no part in it.
    pub written: Option<UnixMs>,
    /// Processes in it, besides this one.
    pub others: u64,
}

/// What is left of a tenant's limits of requests and tokens.
pub type Left = (Option<admit::Room>, Option<admit::Room>);

impl Tenants {
    pub(super) fn let_in(
        &self,
        (tenant, limits): (&str, &Limits),
        view: Option<Elsewhere>,
        ask: &Ask,
        now: UnixMs,
    ) -> Result<(), Limited> {
        let mut all = self.0.lock().expect("no holder of this lock panics");
        let used = all.entry(tenant.to_owned()).or_default();
        let seen = used.seen(view, now);
        used.usage = admit::admit(limits, &used.usage, &seen, ask, now)?;
        used.note(ask, now);
        Ok(())
    }

    pub(super) fn left(
        &self,
        (tenant, limits): (&str, &Limits),
        view: Option<Elsewhere>,
        now: UnixMs,
    ) -> Left {
        let all = self.0.lock().expect("no holder of this lock panics");
        let (usage, seen) = match all.get(tenant) {
            Some(used) => (used.usage, used.seen(view, now)),
            None => (Usage::default(), Seen::default()),
        };
        admit::left(limits, &usage, &seen, now)
    }

    pub(super) fn states(&self, now: UnixMs) -> BTreeMap<String, TenantState> {
        let all = self.0.lock().expect("no holder of this lock panics");
        let state = |used: &Used| {
            let minute = used.between(now.0.saturating_sub(MINUTE_MS), u64::MAX);
            TenantState {
                day: admit::day(now),
                spent_micro_usd: used.usage.spent_today(now).0,
                requests: minute.requests,
                tokens: minute.tokens,
            }
        };
        all.iter().map(|(tenant, used)| (tenant.clone(), state(used))).collect()
    }

    pub(super) fn keep_only(&self, is_known: impl Fn(&str) -> bool) {
        self.0.lock().expect("no holder of this lock panics").retain(|tenant, _| is_known(tenant));
    }
}

impl Used {
    fn note(&mut self, ask: &Ask, now: UnixMs) {
        let second = now.0 / 1_000;
        while self.recent.front().is_some_and(|(at, _)| at + KEPT_S < second) {
            self.recent.pop_front();
        }
        if self.recent.back().is_none_or(|(at, _)| *at < second) {
            self.recent.push_back((second, Sums::default()));
        }
        if let Some((_, sums)) = self.recent.back_mut() {
            sums.requests += 1;
            sums.tokens = sums.tokens.saturating_add(ask.tokens.0);
            sums.items = sums.items.saturating_add(ask.queued_items);
            sums.cost += ask.cost;
        }
    }

    /// What was let in in these seconds, both included.
    fn between(&self, from_ms: u64, to_ms: u64) -> Sums {
        let within = |(second, _): &&(u64, Sums)| (from_ms / 1_000..=to_ms / 1_000).contains(second);
        self.recent.iter().filter(within).fold(Sums::default(), |sum, (_, more)| Sums {
            requests: sum.requests + more.requests,
            tokens: sum.tokens.saturating_add(more.tokens),
            items: sum.items.saturating_add(more.items),
            cost: sum.cost + more.cost,
        })
    }

    /// The view, and what this process let in since. A second that lies on the border counts on both
    /// sides: limits err on the safe side.
    fn seen(&self, view: Option<Elsewhere>, now: UnixMs) -> Seen {
        let own = self.usage.spent_today(now);
        let Some(view) = view else {
            // Blind: nothing but what this process let in of late is known to wait.
            let queued_items = self.between(0, u64::MAX).items;
            return Seen { spent_today: own, queued_items, processes: 1, ..Seen::default() };
        };
        let is_today = admit::day(view.observed) == admit::day(now);
        let spent = MicroUsd(if is_today { view.tenant.spent_micro_usd } else { 0 });
        let (since_written, minute) = match view.written {
            Some(at) => {
                (self.between(at.0, u64::MAX).cost, self.between(at.0.saturating_sub(MINUTE_MS), at.0))
            }
            None => (own, Sums::default()),
        };
        Seen {
            spent_today: spent + since_written,
            queued_items: view.tenant.queued_items + self.between(view.observed.0, u64::MAX).items,
            requests_elsewhere: view.tenant.requests.saturating_sub(minute.requests),
            tokens_elsewhere: view.tenant.tokens.saturating_sub(minute.tokens),
            processes: view.others + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use policy::admit::Limit;
    use policy::units::Tokens;

    use super::*;

    const NOW: UnixMs = UnixMs(1_760_000_000_000);
    const ASK: Ask = Ask { tokens: Tokens(10), cost: MicroUsd(10), queued_items: 1 };

    fn view(tenant: TenantView, written: Option<UnixMs>) -> Option<Elsewhere> {
        Some(Elsewhere { tenant, observed: NOW, written, others: 1 })
    }

    #[test]
    fn processes_see_each_others_spend_and_their_own_once() {
        let limits = Limits { usd_per_day: Some(MicroUsd(100)), ..Limits::default() };
        let (one, other) = (Tenants::default(), Tenants::default());
        for _ in 0..4 {
            one.let_in(("t", &limits), None, &ASK, UnixMs(NOW.0 - 20_000)).unwrap();
            other.let_in(("t", &limits), None, &ASK, UnixMs(NOW.0 - 20_000)).unwrap();
        }
        let merged = TenantView { spent_micro_usd: 80, ..TenantView::default() };
        let seen = view(merged, Some(UnixMs(NOW.0 - 10_000)));
        let more = |tenants: &Tenants| tenants.let_in(("t", &limits), seen, &ASK, NOW);
        assert!(more(&one).is_ok() && more(&one).is_ok());
        assert_eq!(more(&one).unwrap_err().limit, Limit::UsdPerDay, "80 of both and 20 since");
        let tomorrow = NOW.0 - NOW.0 % 86_400_000 + 86_400_000;
        assert!(one.let_in(("t", &limits), seen, &ASK, UnixMs(tomorrow)).is_ok(), "yesterday's view");
    }

    #[test]
    fn what_waits_is_the_views_and_what_came_since() {
        let limits = Limits { queued_items: Some(10), ..Limits::default() };
        let tenants = Tenants::default();
        let before = UnixMs(NOW.0 - 20_000);
        for _ in 0..10 {
            tenants.let_in(("t", &limits), None, &ASK, before).unwrap();
        }
        assert!(tenants.let_in(("t", &limits), None, &ASK, before).is_err(), "blind, by own counts");
        let merged = TenantView { queued_items: 8, ..TenantView::default() };
        for expected in [true, true, false] {
            let done = tenants.let_in(("t", &limits), view(merged, None), &ASK, NOW);
            assert_eq!(done.is_ok(), expected, "8 by the facts, and those since");
        }
        let none = view(TenantView::default(), None);
        let later = UnixMs(NOW.0 + 300_000);
        assert!(
            tenants
                .let_in(("t", &limits), none.map(|v| Elsewhere { observed: later, ..v }), &ASK, later)
                .is_ok()
        );
    }

    #[test]
    fn a_state_tells_the_day_and_the_minute() {
        let tenants = Tenants::default();
        tenants.let_in(("t", &Limits::default()), None, &ASK, NOW).unwrap();
        let states = tenants.states(NOW);
        assert_eq!(
            states["t"],
            TenantState { day: admit::day(NOW), spent_micro_usd: 10, requests: 1, tokens: 10 }
        );
        let later = tenants.states(UnixMs(NOW.0 + 86_400_000))["t"];
        assert_eq!((later.day, later.spent_micro_usd, later.requests), (states["t"].day + 1, 0, 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let tenants = Tenants::default();
        for n in 0..2_000 {
            tenants.let_in(("t", &Limits::default()), None, &ASK, UnixMs(NOW.0 + n * 500)).unwrap();
        }
        let all = tenants.0.lock().unwrap();
        assert!(all["t"].recent.len() as u64 <= KEPT_S + 1);
    }
}
