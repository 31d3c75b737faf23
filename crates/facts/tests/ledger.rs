//! An hour's sums are the same whoever makes them, in whatever order, and lose nothing.

use std::collections::BTreeMap;

use facts::ledger::{
    Amount, Came, Charge, Counted, Entry, Lane, Machine, Machines, Price, Seen, Sums, Used, What,
};
use proptest::prelude::*;

const MINUTE_US: u64 = 60_000_000;

fn price(usd: u64) -> Price {
    Price { micro_usd_per_hour: usd, read_on: "2026-11-01".to_owned(), assumed: false }
}

fn seen(place: &str, usd: u64, [busy, idle, boots]: [u32; 3]) -> Seen {
    let of =
        Machines { lane: Lane::Deferred, place: place.to_owned(), machine: Machine::Spot, price: price(usd) };
    Seen { of, busy, idle, boots, came: Came::default() }
}

fn minute(minute: u32, seen: Vec<Seen>) -> Entry {
    Entry { v: 1, minute: Some(minute), seen, ..Entry::default() }
}

fn row(job: u32, team: u32, us: u64) -> Used {
    let charge = Charge {
        lane: Lane::Deferred,
        place: "p".to_owned(),
        what: What::Useful,
        tenant: "t".to_owned(),
        labels: BTreeMap::from([("team".to_owned(), format!("team-{team}"))]),
        model: "m".to_owned(),
        job: Some(format!("job-{job}")),
        price: price(1),
    };
    Used { charge, amount: Amount { us, requests: 1, items: 2, ..Amount::default() } }
}

/// Busy, idle and booting minutes of a place.
fn minutes(sums: &Sums, place: &str) -> [u64; 3] {
    let of = sums.times.iter().filter(|time| time.of.place == place);
    of.fold([0; 3], |sum, time| {
        let more = [time.spans.busy_us, time.spans.idle_us, time.spans.boots_us];
        std::array::from_fn(|at| sum[at] + more[at] / MINUTE_US)
    })
}

#[test]
fn a_minute_that_nobody_saw_is_as_the_nearest_and_a_long_gap_is_nothing() {
    let two = || vec![seen("p", 1, [1, 1, 0])];
    let cases: [(&[u32], u32, u64); 7] = [
        (&[0, 1, 2, 3], 4, 4),
        (&[0, 3], 4, 4),
        // Five after the last, and five before the first.
        (&[10], 60, 11),
        (&[0, 30], 60, 6 + 11),
        // The hour goes on: what comes is not known.
        (&[0, 1], 2, 2),
        // Its newest minute is counted even where the reader's clock is behind.
        (&[0, 1, 2], 1, 3),
        (&[], 60, 0),
    ];
    for (looked, until, busy) in cases {
        let entries: Vec<Entry> = looked.iter().map(|at| minute(*at, two())).collect();
        let sums = Sums::of_hour(7, &entries, until);
        assert_eq!(minutes(&sums, "p"), [busy, busy, 0], "{looked:?} until {until}");
        assert_eq!(sums.minutes.get(&7).copied().unwrap_or(0), looked.len() as u32);
    }
}

#[test]
fn nodes_are_not_carried_to_minutes_before_they_came() {
    // Looked at in minute 7 for the first time: what was there in minutes 2 to 6 is carried from it.
    let came = |ages_min: &[u64]| {
        let mut came = Came::default();
        ages_min.iter().for_each(|age| came.note((5_000 - age) * 60_000, 5_000 * 60_000 + 59_999));
        came
    };
    let cases = [
        // Nobody knows: all were there.
        (came(&[]), [1, 1, 1], [6, 6, 6]),
        // All came in this minute.
        (came(&[0, 0, 0]), [1, 1, 1], [1, 1, 1]),
        // One boots since two minutes, the others were there.
        (came(&[2]), [1, 1, 1], [6, 6, 3]),
        // The youngest boot, older ones are idle, the oldest have work.
        (came(&[0, 1, 4]), [1, 1, 1], [5, 2, 1]),
        (came(&[0, 0]), [2, 0, 0], [2, 0, 0]),
        // What is older than what is carried needs no note.
        (came(&[5, 9, 4_000]), [1, 1, 1], [6, 6, 6]),
    ];
    for (came, now, expected) in cases {
        let first = Seen { came, ..seen("p", 1, now) };
        let sums = Sums::of_hour(7, &[minute(7, vec![first])], 8);
        assert_eq!(minutes(&sums, "p"), expected, "{came:?} of {now:?}");
    }
    // Forwards all are carried: a node that came stays.
    let young = Seen { came: came(&[0]), ..seen("p", 1, [1, 0, 0]) };
    assert_eq!(minutes(&Sums::of_hour(7, &[minute(0, vec![young])], 4), "p"), [4, 0, 0]);
}

#[test]
fn entries_of_older_versions_are_read() {
    let price = r#""price":{"micro_usd_per_hour":1,"read_on":"2026-11-01"}"#;
    let seen =
        format!(r#"{{"lane":"deferred","place":"p","machine":"spot",{price},"busy":1,"idle":0,"boots":0}}"#);
    let entry: Entry =
        serde_json::from_str(&format!(r#"{{"v":1,"minute":3,"seen":[{seen}],"used":[]}}"#)).unwrap();
    assert_eq!((entry.seen[0].came, entry.counted), (Came::default(), None));
}

#[test]
fn a_place_that_could_not_be_seen_is_carried_and_one_without_machines_is_not() {
    let both = vec![seen("p", 1, [1, 0, 0]), seen("q", 1, [1, 0, 0])];
    let blind = vec![seen("p", 1, [0, 0, 0])];
    let sums = Sums::of_hour(0, &[minute(0, both), minute(1, blind.clone()), minute(2, blind)], 3);
    assert_eq!((minutes(&sums, "p"), minutes(&sums, "q")), ([1, 0, 0], [3, 0, 0]));
}

#[test]
fn what_is_too_much_loses_its_names_and_nothing_else() {
    let used: Vec<Used> = (0..400).map(|n| row(n, n % 40, 1_000 + u64::from(n))).collect();
    let all = || Sums { used: used.clone(), ..Sums::default() };
    let us = |sums: &Sums| sums.used.iter().map(|row| row.amount.us).sum::<u64>();
    for most in [1, 10, 100, 399, 400] {
        let mut fitted = all();
        fitted.fit(most);
        assert!(fitted.used.len() <= most.max(2), "{} rows of {most}", fitted.used.len());
        assert_eq!(us(&fitted), us(&all()));
    }
    let mut fitted = all();
    fitted.fit(200);
    assert!(fitted.used.iter().any(|row| row.charge.job.as_deref() == Some("job-399")), "the largest stay");
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let seen = (0..2_u32, 1..3_u64, 0..4_u32, 0..4_u32, 0..4_u32)
        .prop_map(|(place, usd, busy, idle, boots)| seen(&format!("p{place}"), usd, [busy, idle, boots]));
    let used = (0..3_u32, 0..3_u32, 0..1_000_000_u64).prop_map(|(job, team, us)| row(job, team, us));
    (
        proptest::option::of(0..60_u32),
        proptest::collection::vec(seen, 0..3),
        proptest::collection::vec(used, 0..4),
        proptest::option::of((0..3_u32, 0..1_000_u64)),
    )
        .prop_map(|(minute, seen, used, counted)| {
            let counted =
                counted.map(|(tenant, micro_usd)| Counted { tenant: format!("t{tenant}"), micro_usd });
            Entry { v: 1, minute, seen, used, counted }
        })
}

/// Entries with their keys: two writers of one minute are one entry.
fn any_entries() -> impl Strategy<Value = Vec<Entry>> {
    proptest::collection::vec(any_entry(), 0..30).prop_map(|entries| {
        let mut kept: BTreeMap<u32, Entry> = BTreeMap::new();
        for (n, entry) in (100..).zip(entries) {
            kept.entry(entry.minute.unwrap_or(n)).or_insert(entry);
        }
        kept.into_values().collect()
    })
}

proptest! {
    #[test]
    fn order_does_not_matter(entries in any_entries(), seed in any::<u64>()) {
        let mut shuffled = entries.clone();
        let len = shuffled.len().max(1);
        for at in 0..shuffled.len() {
            shuffled.swap(at, (seed as usize).wrapping_mul(31).wrapping_add(at * 7) % len);
        }
        prop_assert_eq!(Sums::of_hour(5, &entries, 60), Sums::of_hour(5, &shuffled, 60));
    }

    #[test]
    fn hours_merge_in_any_order_and_are_read_as_they_were_written(a in any_entries(), b in any_entries(), c in any_entries()) {
        let [a, b, c] = [(1, a), (2, b), (3, c)].map(|(hour, entries)| Sums::of_hour(hour, &entries, 60));
        let left = a.clone().and(&b).and(&c);
        prop_assert_eq!(&left, &c.clone().and(&b.clone().and(&a)));
        let text = serde_json::to_string(&left).unwrap();
        prop_assert_eq!(&left, &serde_json::from_str::<Sums>(&text).unwrap());
        let us = |sums: &Sums| sums.used.iter().map(|row| row.amount.us).sum::<u64>();
        prop_assert_eq!(us(&left), us(&a) + us(&b) + us(&c));
    }
}
