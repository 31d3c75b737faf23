//! Money adds up, and a leap of a price is seen.

use policy::cost::{After, Settled, Split, Time, Tried, Used, apportion, of_time, settle, split, time_for};
use policy::price::{self, Unit};
use policy::units::{MicroUsd, Millis};
use proptest::prelude::*;

const HOUR_US: u64 = 3_600_000_000;

fn time(busy_us: u64, idle_us: u64, boots_us: u64, per_hour: u64) -> Time {
    Time { busy_us, idle_us, boots_us, per_hour: MicroUsd(per_hour) }
}

fn used(us: u64, per_hour: u64) -> Used {
    Used { us, per_hour: MicroUsd(per_hour) }
}

fn dollars(settled: &Settled) -> (Vec<u64>, u64, u64, u64) {
    let used = settled.used.iter().map(|part| part.0).collect();
    (used, settled.boots.0, settled.idle.0, settled.unattributed.0)
}

#[test]
fn a_place_is_shared_out_to_its_users_and_to_nobody() {
    let h = HOUR_US;
    let cases = [
        // Six hours at 0.10: two used by one, one by another, one more busy, one idle, one booting.
        (
            vec![time(4 * h, h, h, 100_000)],
            vec![used(2 * h, 9), used(h, 9)],
            (vec![200_000, 100_000], 100_000, 100_000, 100_000),
        ),
        // More was used than was seen busy: the rest was idle only by the look of it.
        (vec![time(h, 2 * h, 0, 100_000)], vec![used(2 * h, 9)], (vec![200_000], 0, 100_000, 0)),
        // Spot and dedicated: an hour costs what it does on average.
        (
            vec![time(h, 0, 0, 100_000), time(h, 0, 0, 500_000)],
            vec![used(h, 100_000)],
            (vec![300_000], 0, 0, 300_000),
        ),
        // Nothing was seen: each at its own price.
        (vec![], vec![used(h, 100_000), used(h, 300_000)], (vec![100_000, 300_000], 0, 0, 0)),
        // More than was seen: what nobody saw at its own price.
        (vec![time(h, 0, 0, 100_000)], vec![used(2 * h, 300_000)], (vec![400_000], 0, 0, 0)),
        (vec![], vec![], (vec![], 0, 0, 0)),
    ];
    for (times, uses, expected) in cases {
        assert_eq!(dollars(&settle(&times, &uses)), expected, "{times:?} {uses:?}");
    }
    assert_eq!(settle(&[time(h, 0, 0, 1)], &[used(3 * h, 1)]).unseen_us, 2 * h);
}

#[test]
fn tries_that_were_followed_lose_what_was_too_much() {
    let tried = |took, after| Tried { took: Millis(took), after };
    let split_to = |useful, evicted, duplicate| Split {
        useful: Millis(useful),
        evicted: Millis(evicted),
        duplicate: Millis(duplicate),
    };
    let cases = [
        (100, vec![tried(130, After::Nothing)], vec![split_to(130, 0, 0)]),
        // Evicted at 60 of 100, of which 40 were put as chunks.
        (
            100,
            vec![tried(60, After::Died), tried(60, After::Nothing)],
            vec![split_to(40, 20, 0), split_to(60, 0, 0)],
        ),
        (
            100,
            vec![tried(100, After::Overtaken), tried(50, After::Nothing)],
            vec![split_to(50, 0, 50), split_to(50, 0, 0)],
        ),
        // A try never loses more than it took.
        (
            100,
            vec![tried(10, After::Died), tried(500, After::Nothing)],
            vec![split_to(0, 10, 0), split_to(500, 0, 0)],
        ),
        (
            100,
            vec![tried(30, After::Died), tried(90, After::Overtaken), tried(40, After::Nothing)],
            vec![split_to(15, 15, 0), split_to(45, 0, 45), split_to(40, 0, 0)],
        ),
        (0, vec![], vec![]),
    ];
    for (expected, tries, parts) in cases {
        assert_eq!(split(Millis(expected), &tries), parts, "{tries:?}");
    }
}

#[test]
fn time_and_money_are_told_by_the_price() {
    assert_eq!(of_time(HOUR_US / 2, MicroUsd(1_559_000)), MicroUsd(779_500));
    assert_eq!(time_for(MicroUsd(779_500), MicroUsd(1_559_000)), HOUR_US / 2);
    assert_eq!(time_for(MicroUsd(1), MicroUsd(0)), 0);
}

#[test]
fn prices_are_found_by_class_and_by_size() {
    let found = |name| price::price(name, Unit::DedicatedNode).map(|price| price.per_hour.0);
    assert_eq!(found("t4"), Some(526_000));
    assert_eq!(found("Standard_NC4as_T4_v3"), Some(526_000));
    assert_eq!(found("standard_nc24ads_a100_v4"), Some(3_673_000));
    assert_eq!(found("Standard_NC96ads_A100_v4"), None, "four GPUs cost more than one");
    assert_eq!(price::price("cpu", Unit::Replica), None);
}

#[test]
fn a_leap_must_be_confirmed() {
    let leap = |before, after| price::must_be_confirmed(MicroUsd(before), MicroUsd(after));
    assert_eq!(
        [leap(10, 30), leap(10, 31), leap(30, 10), leap(31, 10), leap(10, 0), leap(0, 10)],
        [false, true, false, true, true, false]
    );
}

fn any_time() -> impl Strategy<Value = Time> {
    // A month of a thousand machines, at up to a million dollars an hour.
    let us = 0_u64..2_600_000_000_000_000;
    (us.clone(), us.clone(), us, 0_u64..1_000_000_000_000)
        .prop_map(|(busy, idle, boots, price)| time(busy, idle, boots, price))
}

fn any_used() -> impl Strategy<Value = Used> {
    (0_u64..2_600_000_000_000_000, 0_u64..1_000_000_000_000).prop_map(|(us, price)| used(us, price))
}

proptest! {
    #[test]
    fn parts_sum_to_their_whole(total in any::<u64>(), weights in proptest::collection::vec(any::<u128>(), 0..50)) {
        let parts = apportion(MicroUsd(total), &weights);
        let sum: u128 = parts.iter().map(|part| u128::from(part.0)).sum();
        let expected = if weights.iter().all(|weight| *weight == 0) { 0 } else { total.into() };
        prop_assert_eq!(sum, expected);
        for (part, weight) in parts.iter().zip(&weights) {
            prop_assert!(*weight > 0 || part.0 == 0, "who did nothing pays nothing");
        }
    }

    #[test]
    fn rows_sum_to_what_was_seen(times in proptest::collection::vec(any_time(), 0..4), uses in proptest::collection::vec(any_used(), 0..20)) {
        let settled = settle(&times, &uses);
        let hour = u128::from(HOUR_US);
        let paid: u128 = times.iter()
            .map(|time| (u128::from(time.busy_us) + u128::from(time.idle_us) + u128::from(time.boots_us)) * u128::from(time.per_hour.0))
            .sum();
        let own: u128 = uses.iter().map(|used| u128::from(used.us) * u128::from(used.per_hour.0)).sum();
        let total = u128::from(settled.total().0);
        prop_assert!(total + 1 >= paid / hour, "all that was seen is paid for");
        prop_assert!(total <= (paid + own) / hour + 1, "and at most what nobody saw besides");
        if settled.unseen_us == 0 {
            prop_assert!(total.abs_diff((paid + hour / 2) / hour) <= 1);
        } else {
            prop_assert_eq!((settled.idle, settled.unattributed), (MicroUsd(0), MicroUsd(0)));
        }
    }

    #[test]
    fn no_time_of_a_try_is_made_or_lost(expected in 0_u64..10_000_000, tries in proptest::collection::vec((0_u64..10_000_000, 0..3_u8), 0..12)) {
        let after = |n| match n { 0 => After::Nothing, 1 => After::Died, _ => After::Overtaken };
        let tries: Vec<Tried> = tries.into_iter().map(|(took, n)| Tried { took: Millis(took), after: after(n) }).collect();
        let parts = split(Millis(expected), &tries);
        for (tried, part) in tries.iter().zip(&parts) {
            prop_assert_eq!(part.useful.0 + part.evicted.0 + part.duplicate.0, tried.took.0);
        }
        let useful: u64 = parts.iter().map(|part| part.useful.0).sum();
        let all: u64 = tries.iter().map(|tried| tried.took.0).sum();
        prop_assert!(useful >= all.min(expected));
    }
}
