//! Tenants in the view: what all processes let in, what those spent that are gone, what waits and what jobs
//! cost by the facts.

use std::collections::BTreeMap;

use facts::view::{Gone, ProcessState, TenantView, View};
use policy::admit;
use policy::units::UnixMs;

use crate::act::jobs::queued::Waiting;
use crate::act::ledger::today::Told;

/// A process's state that was read.
pub(super) struct Read {
    /// Which process.
    pub(super) process: String,
    /// What it wrote.
    pub(super) state: ProcessState,
    /// How it is with the process.
    pub(super) age: Age,
    /// When the store took it, Unix ms.
    pub(super) stored_at: u64,
}

/// How it is with a process, by the age of its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// It lives.
    Fresh,
    /// It may be gone.
    Stale,
    /// It is gone: its money moves to [`Gone`], then its state is deleted.
    Dead,
}

/// Fills in what the states say of tenants. The dead are added to the gone once: the state of one that
/// the view before had among them may be deleted.
pub(super) fn merge(view: &mut View, before: &View, read: &[Read], now: UnixMs) {
    let day = admit::day(now);
    let gone = &before.gone;
    view.gone = if gone.day == day { gone.clone() } else { Gone { day, ..Gone::default() } };
    for read in read {
        let of_today = read.state.tenants.iter().filter(|(_, state)| state.day == day);
        if read.age == Age::Dead {
            if view.gone.processes.insert(read.process.clone()) {
                for (tenant, state) in of_today {
                    *view.gone.spent_micro_usd.entry(tenant.clone()).or_default() += state.spent_micro_usd;
                }
            }
            continue;
        }
        view.processes.insert(read.process.clone(), read.state.written_at);
        for (tenant, state) in of_today {
            let merged = view.tenants.entry(tenant.clone()).or_default();
            merged.spent_micro_usd += state.spent_micro_usd;
            if read.age == Age::Fresh {
                merged.requests += state.requests;
                merged.tokens += state.tokens;
            }
        }
    }
    for (tenant, spent) in &view.gone.spent_micro_usd {
        view.tenants.entry(tenant.clone()).or_default().spent_micro_usd += spent;
    }
}

/// Fills in what waits.
pub(super) fn queued(tenants: &mut BTreeMap<String, TenantView>, waiting: &Waiting) {
    for job in &waiting.jobs {
        tenants.entry(job.tenant.clone()).or_default().queued_items += job.items;
    }
}

/// The same, where it is not known now.
pub(super) fn queued_before(view: &mut View, before: &View) {
    for (tenant, seen) in &before.tenants {
        view.tenants.entry(tenant.clone()).or_default().queued_items = seen.queued_items;
    }
}

/// Fills in what jobs count: those that go on, and those that have ended, each once.
pub(super) fn money_of_jobs(view: &mut View, before: &View, waiting: &Waiting, told: &Told) {
    for job in &waiting.jobs {
        if !told.ended.contains(&(job.tenant.clone(), job.job.clone())) {
            view.tenants.entry(job.tenant.clone()).or_default().jobs_micro_usd += job.cost.0;
        }
    }
    for (tenant, micro_usd) in &told.counted {
        view.tenants.entry(tenant.clone()).or_default().jobs_micro_usd += micro_usd;
    }
    if !(waiting.is_whole && told.is_whole) {
        money_of_jobs_before(view, before);
    }
}

/// What jobs count is at least what was known of this day before: for a process that has not read all yet.
pub(super) fn money_of_jobs_before(view: &mut View, before: &View) {
    if admit::day(UnixMs(before.observed_at)) != admit::day(UnixMs(view.observed_at)) {
        return;
    }
    for (tenant, seen) in &before.tenants {
        let known = &mut view.tenants.entry(tenant.clone()).or_default().jobs_micro_usd;
        *known = (*known).max(seen.jobs_micro_usd);
    }
}

#[cfg(test)]
mod tests {
    use facts::view::TenantState;

    use super::*;

    const NOW: UnixMs = UnixMs(1_760_000_000_000);

    fn read(process: &str, age: Age, spent: u64) -> Read {
        let state = TenantState { day: admit::day(NOW), spent_micro_usd: spent, requests: 5, tokens: 50 };
        let tenants = BTreeMap::from([("t".to_owned(), state)]);
        let state = ProcessState { written_at: 7, tenants, ..ProcessState::default() };
        Read { process: process.to_owned(), state, age, stored_at: 7 }
    }

    fn merged(before: &View, states: &[Read], now: UnixMs) -> View {
        let mut view = View::default();
        merge(&mut view, before, states, now);
        view
    }

    #[test]
    fn a_job_counts_once_as_it_goes_on_or_as_it_ended() {
        use crate::act::jobs::queued::Job;
        use policy::units::MicroUsd;
        let (going_on, ending) = (facts::JobId::random(), facts::JobId::random());
        let job = |job: &facts::JobId, cost| Job {
            tenant: "t".to_owned(),
            job: job.clone(),
            items: 1,
            cost: MicroUsd(cost),
        };
        let told = |counted, ended: &[&facts::JobId], is_whole| Told {
            counted: BTreeMap::from([("t".to_owned(), counted)]),
            ended: ended.iter().map(|job| ("t".to_owned(), (*job).clone())).collect(),
            is_whole,
            ..Told::default()
        };
        let both = || vec![job(&going_on, 10), job(&ending, 100)];
        let (today, yesterday) = (NOW.0 - 30_000, NOW.0 - 86_400_000);
        let cases = [
            // Both go on, beside bills of others.
            (both(), told(1_000, &[], true), today, 1_110),
            // One has ended: it is listed still, or no more.
            (both(), told(1_007, &[&ending], true), today, 1_017),
            (vec![job(&going_on, 10)], told(1_007, &[&ending], true), today, 1_017),
            // Not all could be read yet: at least what was known of this day before, here 5,000.
            (both(), told(1_000, &[], false), today, 5_000),
            (both(), told(7_000, &[], false), today, 7_110),
            (both(), told(1_000, &[], false), yesterday, 1_110),
        ];
        for (jobs, told, seen_before, expected) in cases {
            let seen = TenantView { jobs_micro_usd: 5_000, ..TenantView::default() };
            let tenants = BTreeMap::from([("t".to_owned(), seen)]);
            let before = View { observed_at: seen_before, tenants, ..View::default() };
            let mut view = View { observed_at: NOW.0, ..View::default() };
            money_of_jobs(&mut view, &before, &Waiting { jobs, is_whole: true }, &told);
            assert_eq!(view.tenants["t"].jobs_micro_usd, expected, "{told:?}");
        }
    }

    #[test]
    fn money_of_processes_that_are_gone_stays_until_the_day_ends() {
        let first = merged(
            &View::default(),
            &[read("a", Age::Fresh, 10), read("b", Age::Stale, 20), read("c", Age::Dead, 40)],
            NOW,
        );
        let t = first.tenants["t"];
        assert_eq!((t.spent_micro_usd, t.requests, t.tokens), (70, 5, 50));
        assert_eq!(first.processes.keys().collect::<Vec<_>>(), ["a", "b"]);
        // Its state lies there still, and then no more: it counts once either way.
        for states in
            [vec![read("a", Age::Fresh, 11), read("c", Age::Dead, 40)], vec![read("a", Age::Fresh, 11)]]
        {
            assert_eq!(merged(&first, &states, NOW).tenants["t"].spent_micro_usd, 51);
        }
        let tomorrow = UnixMs(NOW.0 + 86_400_000);
        let next = merged(&first, &[read("a", Age::Fresh, 11), read("c", Age::Dead, 40)], tomorrow);
        assert_eq!(next.tenants.get("t").copied().unwrap_or_default().spent_micro_usd, 0);
    }
}
