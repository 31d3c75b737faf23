//! Limits of a tenant as tables: rates that refill, money by the day, what waits, and what other
//! processes let in.

use policy::admit::{Ask, Limit, Limits, Room, Seen, Usage, Work, admit, day, left};
use policy::units::{MicroUsd, Millis, Tokens, UnixMs};
use proptest::prelude::*;

const NOW: UnixMs = UnixMs(1_760_000_000_000);
const DAY_MS: u64 = 86_400_000;
const ALONE: Seen = Seen {
    spent_today: MicroUsd(0),
    queued_items: 0,
    requests_elsewhere: 0,
    tokens_elsewhere: 0,
    processes: 1,
};
const ASK: Ask = Ask { tokens: Tokens(10), cost: MicroUsd(1), queued_items: 0 };

fn rates(requests: u64, tokens: u64) -> Limits {
    Limits { requests_per_minute: Some(requests), tokens_per_minute: Some(tokens), ..Limits::default() }
}

/// How many of these are let in at once.
fn at_once(limits: &Limits, seen: &Seen, ask: &Ask) -> usize {
    let next = |usage: &Usage| admit(limits, usage, seen, ask, NOW).ok();
    std::iter::successors(Some(Usage::default()), next).take(10_000).count() - 1
}

#[test]
fn rates_refill_with_time() {
    let limits = rates(60, 600);
    assert_eq!(at_once(&limits, &ALONE, &ASK), 60, "a minute's worth may come at once");
    let mut usage = Usage::default();
    for n in 0..60 {
        let room = |limit, used| Some(Room { limit, remaining: limit - used, reset: Millis(n * 1_000) });
        assert_eq!(left(&limits, &usage, &ALONE, NOW), (room(60, n), room(600, 10 * n)));
        usage = admit(&limits, &usage, &ALONE, &ASK, NOW).unwrap();
    }
    let limited = admit(&limits, &usage, &ALONE, &ASK, NOW).expect_err("the sixty-first waits");
    assert_eq!((limited.limit, limited.retry_after), (Limit::Requests, Millis(1_000)));
    assert!(admit(&limits, &usage, &ALONE, &ASK, NOW + limited.retry_after).is_ok());
    let large = Ask { tokens: Tokens(1_000_000), ..ASK };
    assert_eq!(at_once(&limits, &ALONE, &large), 1, "larger than a minute's worth, but alone");
    let limited = admit(&limits, &usage, &ALONE, &large, NOW + Millis(1_000)).expect_err("not beside others");
    assert_eq!(limited.limit, Limit::Tokens);
    assert_eq!(left(&Limits::default(), &usage, &ALONE, NOW), (None, None));
}

#[test]
fn money_is_limited_by_the_day() {
    let limits = Limits { usd_per_day: Some(MicroUsd(5)), ..Limits::default() };
    for (spent, cost, expected) in [(0, 5, true), (0, 6, false), (4, 1, true), (5, 0, true), (5, 1, false)] {
        let seen = Seen { spent_today: MicroUsd(spent), ..ALONE };
        let done = admit(&limits, &Usage::default(), &seen, &Ask { cost: MicroUsd(cost), ..ASK }, NOW);
        assert_eq!(done.is_ok(), expected, "{spent} and {cost}");
    }
    let all = Seen { spent_today: MicroUsd(5), ..ALONE };
    let limited = admit(&limits, &Usage::default(), &all, &ASK, NOW).expect_err("it was spent");
    assert_eq!(limited.limit, Limit::UsdPerDay);
    assert_eq!((NOW + limited.retry_after).0 % DAY_MS, 0, "UTC midnight");
}

#[test]
fn work_counts_as_estimated_until_its_bill_comes() {
    let (today, tomorrow) = (day(NOW), day(NOW) + 1);
    let next = UnixMs(NOW.0 + DAY_MS);
    let cases = [
        // It goes on.
        (None, 10, 0),
        // It cost less, the same, more, nothing.
        (Some((NOW, 4)), 4, 0),
        (Some((NOW, 10)), 10, 0),
        (Some((NOW, 25)), 25, 0),
        (Some((NOW, 0)), 0, 0),
        // The bill comes when the day is over: nothing comes back, and what is above counts then.
        (Some((next, 4)), 10, 0),
        (Some((next, 25)), 10, 15),
    ];
    for (bill, on_its_day, on_the_next) in cases {
        let bill = bill.map(|(at, spent)| (at, MicroUsd(spent)));
        let work = Work { let_in: NOW, estimate: MicroUsd(10), bill };
        let counted = [today - 1, today, tomorrow, tomorrow + 1].map(|on| work.counts_on(on).0);
        assert_eq!(counted, [0, on_its_day, on_the_next, 0], "{work:?}");
    }
}

proptest! {
    #[test]
    fn all_days_count_what_was_spent_and_no_more_than_that_or_the_estimate(
        let_in in 0..10 * DAY_MS,
        took in 0..3 * DAY_MS,
        estimate in 0..1_000_000_u64,
        spent in 0..1_000_000_u64,
    ) {
        let bill = Some((UnixMs(let_in + took), MicroUsd(spent)));
        let work = Work { let_in: UnixMs(let_in), estimate: MicroUsd(estimate), bill };
        let counted: u64 = (0..14).map(|on| work.counts_on(on).0).sum();
        prop_assert!((spent..=spent.max(estimate)).contains(&counted), "{counted}");
    }
}

#[test]
fn what_waits_is_limited_and_what_does_not_wait_is_not() {
    let limits = Limits { queued_items: Some(100), ..Limits::default() };
    let cases =
        [(0, 100, true), (0, 101, false), (60, 40, true), (60, 41, false), (500, 1, false), (500, 0, true)];
    for (waiting, more, expected) in cases {
        let seen = Seen { queued_items: waiting, ..ALONE };
        let done = admit(&limits, &Usage::default(), &seen, &Ask { queued_items: more, ..ASK }, NOW);
        assert_eq!(done.is_ok(), expected, "{waiting} and {more}");
    }
}

#[test]
fn processes_that_see_each_other_share_a_rate() {
    let limits = rates(60, 6_000);
    let seen = |requests_elsewhere, processes| Seen { requests_elsewhere, processes, ..ALONE };
    for (seen, expected) in [
        (seen(0, 1), 60),
        (seen(0, 3), 60),
        (seen(20, 2), 40),
        (seen(60, 2), 30),
        (seen(600, 4), 15),
        (seen(600, 600), 1),
        (seen(0, 0), 60),
    ] {
        assert_eq!(at_once(&limits, &seen, &ASK), expected, "{seen:?}");
        let (requests, _) = left(&limits, &Usage::default(), &seen, NOW);
        let room = requests.unwrap();
        assert_eq!((room.limit, room.remaining), (60, expected as u64), "the limit is told as it is");
    }
}

#[test]
fn what_is_refused_is_not_booked_at_all() {
    let limits = rates(60, 25);
    let usage = admit(&limits, &Usage::default(), &ALONE, &ASK, NOW).unwrap();
    let usage = admit(&limits, &usage, &ALONE, &ASK, NOW).unwrap();
    assert_eq!(admit(&limits, &usage, &ALONE, &ASK, NOW).unwrap_err().limit, Limit::Tokens);
    assert_eq!(left(&limits, &usage, &ALONE, NOW).0.unwrap().remaining, 58);
}
