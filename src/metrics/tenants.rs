//! What this process let in of each tenant: meters and money for its limits, and the last minutes by the
//! second, for what the merged view does not know yet. Requests count as estimated until they end, then by what
//! they came to; of jobs the facts know better as soon as there is a view.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Mutex;

use facts::view::{TenantState, TenantView};
use policy::admit::{self, Ask, Limited, Limits, Seen, Usage, Work};
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
    /// The Unix day of the next two.
    day: u64,
    /// What requests count on it.
    requests: MicroUsd,
    /// What jobs were expected to cost that were let in on it.
    jobs: MicroUsd,
    /// By the second, the oldest first.
    recent: VecDeque<(u64, Sums)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    requests: u64,
    tokens: u64,
    items: u64,
    /// What requests count more since then, and what less.
    more: MicroUsd,
    less: MicroUsd,
    /// What jobs are expected to cost.
    jobs: MicroUsd,
}

/// What counts for the limit of a day's spend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Requests: those under way as estimated, the others by what they came to.
    pub requests: MicroUsd,
    /// Jobs: those that go on as estimated, those that ended by their bills.
    pub jobs: MicroUsd,
}

impl Spent {
    /// All of it.
    pub fn total(self) -> MicroUsd {
        self.requests + self.jobs
    }
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
        used.book(ask, now);
        Ok(())
    }

    /// Puts the bill of a request in the place of its estimate.
    pub(super) fn settle(&self, tenant: &str, request: Work, now: UnixMs) {
        let mut all = self.0.lock().expect("no holder of this lock panics");
        // One that the catalogue names no more has no limits.
        if let Some(used) = all.get_mut(tenant) {
            used.settle(request, now);
        }
    }

    pub(super) fn spent(&self, tenant: &str, view: Option<Elsewhere>, now: UnixMs) -> Spent {
        let all = self.0.lock().expect("no holder of this lock panics");
        all.get(tenant).map_or_else(|| Used::default().spent(view, now), |used| used.spent(view, now))
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
                spent_micro_usd: used.own(now).requests.0,
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
    fn book(&mut self, ask: &Ask, now: UnixMs) {
        self.turn(now);
        let is_job = ask.queued_items > 0;
        *(if is_job { &mut self.jobs } else { &mut self.requests }) += ask.cost;
        let sums = self.this_second(now);
        sums.requests += 1;
        sums.tokens = sums.tokens.saturating_add(ask.tokens.0);
        sums.items = sums.items.saturating_add(ask.queued_items);
        *(if is_job { &mut sums.jobs } else { &mut sums.more }) += ask.cost;
    }

    fn settle(&mut self, request: Work, now: UnixMs) {
        self.turn(now);
        let (was, is) = (Work { bill: None, ..request }.counts_on(self.day), request.counts_on(self.day));
        let (more, less) = (MicroUsd(is.0.saturating_sub(was.0)), was.0.saturating_sub(is.0));
        self.requests = MicroUsd((self.requests + more).0.saturating_sub(less));
        let sums = self.this_second(now);
        sums.more += more;
        sums.less += MicroUsd(less);
    }

    fn turn(&mut self, now: UnixMs) {
        let day = admit::day(now);
        if self.day != day {
            (self.day, self.requests, self.jobs) = (day, MicroUsd(0), MicroUsd(0));
        }
    }

    fn this_second(&mut self, now: UnixMs) -> &mut Sums {
        let second = now.0 / 1_000;
        while self.recent.front().is_some_and(|(at, _)| at + KEPT_S < second) {
            self.recent.pop_front();
        }
        if self.recent.back().is_none_or(|(at, _)| *at < second) {
            self.recent.push_back((second, Sums::default()));
        }
        &mut self.recent.back_mut().expect("there is one of this second, or of a later one").1
    }

    /// What was let in in these seconds, both included.
    fn between(&self, from_ms: u64, to_ms: u64) -> Sums {
        let within = |(second, _): &&(u64, Sums)| (from_ms / 1_000..=to_ms / 1_000).contains(second);
        self.recent.iter().filter(within).fold(Sums::default(), |sum, (_, more)| Sums {
            requests: sum.requests + more.requests,
            tokens: sum.tokens.saturating_add(more.tokens),
            items: sum.items.saturating_add(more.items),
            more: sum.more + more.more,
            less: sum.less + more.less,
            jobs: sum.jobs + more.jobs,
        })
    }

    /// What this process knows by itself.
    fn own(&self, now: UnixMs) -> Spent {
        let is_today = self.day == admit::day(now);
        if is_today { Spent { requests: self.requests, jobs: self.jobs } } else { Spent::default() }
    }

    /// What counts today: the view, and what this process let in and settled since. A second that lies on the
    /// border counts on both sides where it is more, and on neither where it is less: limits err on the safe
    /// side.
    fn spent(&self, view: Option<Elsewhere>, now: UnixMs) -> Spent {
        let own = self.own(now);
        let is_today = |view: &Elsewhere| admit::day(view.observed) == admit::day(now);
        let Some(view) = view.filter(is_today) else { return own };
        let requests = match view.written {
            Some(at) => {
                let (more, less) =
                    (self.between(at.0, u64::MAX).more, self.between(at.0 + 1_000, u64::MAX).less);
                MicroUsd((MicroUsd(view.tenant.spent_micro_usd) + more).0.saturating_sub(less.0))
            }
            None => MicroUsd(view.tenant.spent_micro_usd) + own.requests,
        };
        let since = self.between(view.observed.0, u64::MAX).jobs;
        Spent { requests: requests.max(own.requests), jobs: MicroUsd(view.tenant.jobs_micro_usd) + since }
    }

    /// The view, and what this process let in since.
    fn seen(&self, view: Option<Elsewhere>, now: UnixMs) -> Seen {
        let spent_today = self.spent(view, now).total();
        let Some(view) = view else {
            // Blind: nothing but what this process let in of late is known to wait.
            let queued_items = self.between(0, u64::MAX).items;
            return Seen { spent_today, queued_items, processes: 1, ..Seen::default() };
        };
        let minute = view.written.map(|at| self.between(at.0.saturating_sub(MINUTE_MS), at.0));
        let minute = minute.unwrap_or_default();
        Seen {
            spent_today,
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
    const REQUEST: Ask = Ask { queued_items: 0, ..ASK };

    /// A request that was let in then, as [`REQUEST`] asks.
    fn request(at: UnixMs, bill: Option<(UnixMs, u64)>) -> Work {
        let bill = bill.map(|(at, spent)| (at, MicroUsd(spent)));
        Work { let_in: at, estimate: REQUEST.cost, bill }
    }

    fn view(tenant: TenantView, written: Option<UnixMs>) -> Option<Elsewhere> {
        Some(Elsewhere { tenant, observed: NOW, written, others: 1 })
    }

    #[test]
    fn processes_see_each_others_spend_and_their_own_once() {
        let limits = Limits { usd_per_day: Some(MicroUsd(100)), ..Limits::default() };
        let (one, other) = (Tenants::default(), Tenants::default());
        for _ in 0..4 {
            one.let_in(("t", &limits), None, &REQUEST, UnixMs(NOW.0 - 20_000)).unwrap();
            other.let_in(("t", &limits), None, &REQUEST, UnixMs(NOW.0 - 20_000)).unwrap();
        }
        let merged = TenantView { spent_micro_usd: 80, ..TenantView::default() };
        let seen = view(merged, Some(UnixMs(NOW.0 - 10_000)));
        let more = |tenants: &Tenants| tenants.let_in(("t", &limits), seen, &REQUEST, NOW);
        assert!(more(&one).is_ok() && more(&one).is_ok());
        assert_eq!(more(&one).unwrap_err().limit, Limit::UsdPerDay, "80 of both and 20 since");
        let tomorrow = NOW.0 - NOW.0 % 86_400_000 + 86_400_000;
        assert!(one.let_in(("t", &limits), seen, &REQUEST, UnixMs(tomorrow)).is_ok(), "yesterday's view");
    }

    #[test]
    fn a_request_counts_as_estimated_until_it_has_ended() {
        let second = |n: u64| UnixMs(NOW.0 + n * 1_000);
        let written = |at: UnixMs, spent| {
            view(TenantView { spent_micro_usd: spent, ..TenantView::default() }, Some(at))
        };
        // What was settled when, and what is known then at second 20: blind, and with a view that says 100,
        // of which this process had written its part at second 10.
        let cases = [
            (None, 10, 110),
            (Some((15, 0)), 0, 100),
            (Some((15, 4)), 4, 104),
            (Some((15, 10)), 10, 110),
            (Some((15, 25)), 25, 125),
            // In the second of the border nothing comes back before the next view.
            (Some((10, 4)), 4, 110),
            (Some((10, 25)), 25, 125),
        ];
        for (settled, blind, seen) in cases {
            let tenants = Tenants::default();
            // In the second of the border: it may be in the view or not, and counts on both sides.
            let let_in = second(10);
            tenants.let_in(("t", &Limits::default()), None, &REQUEST, let_in).unwrap();
            if let Some((at, spent)) = settled {
                tenants.settle("t", request(let_in, Some((second(at), spent))), second(at));
            }
            let spent = |view| tenants.spent("t", view, second(20)).total().0;
            assert_eq!((spent(None), spent(written(second(10), 100))), (blind, seen), "{settled:?}");
        }
    }

    #[test]
    fn a_bill_of_another_day_takes_nothing_from_this_one() {
        let midnight = NOW.0 - NOW.0 % 86_400_000 + 86_400_000;
        let (before, after) = (UnixMs(midnight - 1_000), UnixMs(midnight + 1_000));
        for (spent, expected) in [(4, 10), (10, 10), (25, 25)] {
            let tenants = Tenants::default();
            tenants.let_in(("t", &Limits::default()), None, &REQUEST, before).unwrap();
            tenants.let_in(("t", &Limits::default()), None, &REQUEST, after).unwrap();
            tenants.settle("t", request(before, Some((after, spent))), after);
            assert_eq!(tenants.spent("t", None, after).total().0, expected, "what is above the estimate");
        }
    }

    #[test]
    fn jobs_count_by_the_facts_as_soon_as_there_is_a_view() {
        let tenants = Tenants::default();
        let spent = |view, at| tenants.spent("t", view, at).total().0;
        tenants.let_in(("t", &Limits::default()), None, &ASK, UnixMs(NOW.0 - 20_000)).unwrap();
        assert_eq!(spent(None, NOW), 10, "blind, as estimated");
        // It was cancelled since, and another one let in after the view was made.
        let merged = TenantView { jobs_micro_usd: 3, ..TenantView::default() };
        assert_eq!(spent(view(merged, None), NOW), 3);
        tenants.let_in(("t", &Limits::default()), view(merged, None), &ASK, UnixMs(NOW.0 + 5_000)).unwrap();
        assert_eq!(spent(view(merged, None), UnixMs(NOW.0 + 6_000)), 13);
        let unknown = Tenants::default().spent("t", view(merged, None), NOW);
        assert_eq!(unknown, Spent { requests: MicroUsd(0), jobs: MicroUsd(3) }, "a process that begins");
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
        tenants.let_in(("t", &Limits::default()), None, &REQUEST, NOW).unwrap();
        tenants.settle("t", request(NOW, Some((NOW, 7))), NOW);
        let states = tenants.states(NOW);
        assert_eq!(
            states["t"],
            TenantState { day: admit::day(NOW), spent_micro_usd: 7, requests: 1, tokens: 10 }
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
