//! The ledger over a store: two writers are one, what comes late counts, what is closed says the same.

use std::collections::BTreeMap;

use facts::ledger::{
    Amount, Came, Charge, Counted, Entry, Lane, Machine, Machines, Price, Seen, Sums, Used, What,
};
use facts::{JobId, Put, Store, key};
use policy::units::UnixMs;

use super::sums;
use super::tally::Tally;
use super::today::Today;

const HOUR_MS: u64 = 3_600_000;
const DAY: u64 = 20_000;
const FIRST: u64 = DAY * 24;

fn charge(team: &str) -> Charge {
    Charge {
        lane: Lane::Realtime,
        place: "aca".to_owned(),
        what: What::Useful,
        tenant: "t".to_owned(),
        labels: BTreeMap::from([("team".to_owned(), team.to_owned())]),
        model: "m".to_owned(),
        job: None,
        price: Price { micro_usd_per_hour: 1, read_on: "2026-11-01".to_owned(), assumed: true },
    }
}

fn amount(us: u64) -> Amount {
    Amount { us, requests: 1, items: 1, ..Amount::default() }
}

fn at(hour: u64, minute: u64) -> UnixMs {
    UnixMs((FIRST + hour) * HOUR_MS + minute * 60_000)
}

async fn put_minute(store: &Store, hour: u64, minute: u32, nodes: u32) -> Put {
    let price = charge("").price;
    let of = Machines { lane: Lane::Deferred, place: "p".to_owned(), machine: Machine::Spot, price };
    let seen = vec![Seen { of, busy: nodes, idle: 0, boots: 0, came: Came::default() }];
    let entry = Entry { v: 1, minute: Some(minute), seen, ..Entry::default() };
    let text = serde_json::to_string(&entry).unwrap();
    store.create_by_clock(&key::ledger_minute(FIRST + hour, minute), text).await.unwrap()
}

async fn day(store: &Store, now: UnixMs) -> Sums {
    sums::of_days(store, DAY..DAY + 1, now).await.unwrap()
}

fn busy_minutes(sums: &Sums) -> u64 {
    sums.times.iter().map(|time| time.spans.busy_us).sum::<u64>() / 60_000_000
}

fn used_us(sums: &Sums) -> u64 {
    sums.used.iter().map(|row| row.amount.us).sum()
}

#[tokio::test]
async fn two_sweeps_at_once_see_a_minute_once() {
    let store = Store::memory();
    let both = tokio::join!(put_minute(&store, 0, 7, 2), put_minute(&store, 0, 7, 3));
    assert!(matches!(both, (Put::Created, Put::Existed) | (Put::Existed, Put::Created)), "{both:?}");
    let seen = day(&store, at(0, 7)).await;
    let nodes = if both.0 == Put::Created { 2 } else { 3 };
    // Five minutes before it are taken to be as it is, too.
    assert_eq!(busy_minutes(&seen), 6 * nodes);
}

#[tokio::test]
async fn a_day_says_the_same_open_and_closed_and_is_read_at_once() {
    let store = Store::memory();
    let tally = Tally::default();
    for hour in [0, 5, 23] {
        put_minute(&store, hour, 10, 1).await;
        tally.book(charge("a"), amount(hour + 1), at(hour, 10));
        tally.write(&store, "p", at(hour, 11)).await.unwrap();
    }
    let open = day(&store, at(24, 30)).await;
    assert_eq!((used_us(&open), busy_minutes(&open), open.entries), (1 + 6 + 24, 3 * 11, 6));
    assert_eq!(store.list("ledger/hours/").await.unwrap().len(), 2, "the last hour is still open");
    let now = at(49, 0);
    sums::close(&store, now).await.unwrap();
    assert!(store.exists(&key::ledger_day(DAY)).await.unwrap());
    assert_eq!(day(&store, now).await, open);
    // Nothing else is asked for.
    for found in store.list("ledger/entries/").await.unwrap() {
        store.delete(&found.key).await.unwrap();
    }
    assert_eq!(day(&store, now).await, open);
}

#[tokio::test]
async fn what_comes_late_counts_too() {
    let store = Store::memory();
    let tally = Tally::default();
    tally.book(charge("a"), amount(1), at(3, 0));
    tally.write(&store, "p", at(3, 1)).await.unwrap();
    for now in [at(6, 0), at(60, 0)] {
        sums::close(&store, now).await.unwrap();
        let before = used_us(&day(&store, now).await);
        // A process that could not write for so long.
        tally.book(charge("a"), amount(10), at(3, 2));
        tally.write(&store, "p", now).await.unwrap();
        assert_eq!(used_us(&day(&store, now).await), before + 10);
    }
    // One that came while its hour was being closed, and found nothing to take away.
    let text = serde_json::to_string(&Entry {
        used: vec![Used { charge: charge("b"), amount: amount(100) }],
        ..Entry::default()
    });
    let late = key::ledger_requests(FIRST + 3, "q", 0);
    store.delete(&key::ledger_day(DAY)).await.unwrap();
    store.create(&late, text.unwrap()).await.unwrap();
    assert_eq!(used_us(&day(&store, at(60, 0)).await), 121);
}

#[tokio::test]
async fn an_entry_that_nobody_can_read_hides_no_other() {
    let store = Store::memory();
    let tally = Tally::default();
    tally.book(charge("a"), amount(1), at(0, 0));
    tally.write(&store, "p", at(0, 1)).await.unwrap();
    store.create(&key::ledger_requests(FIRST, "q", 0), "not json").await.unwrap();
    assert_eq!(used_us(&day(&store, at(60, 0)).await), 1);
}

#[tokio::test]
async fn requests_are_written_once_under_the_hour_that_they_began_in() {
    let store = Store::memory();
    let tally = Tally::default();
    tally.write(&store, "p", at(0, 0)).await.unwrap();
    assert!(store.list("ledger/").await.unwrap().is_empty(), "nothing is written where nothing was");
    for team in ["a", "b", "a"] {
        tally.book(charge(team), amount(2), at(0, 59));
    }
    tally.write(&store, "p", at(1, 0)).await.unwrap();
    tally.write(&store, "p", at(1, 1)).await.unwrap();
    let found = store.list("ledger/").await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, key::ledger_requests(FIRST, "p", 0));
    let sums = day(&store, at(1, 2)).await;
    let rows: Vec<u64> = sums.used.iter().map(|row| row.amount.us).collect();
    assert_eq!(rows, [4, 2]);
}

/// What a job of this tenant that ended in this hour counts, as whoever ends it writes it.
async fn put_job(store: &Store, hour: u64, tenant: &str, micro_usd: u64) -> JobId {
    let job = JobId::random();
    let counted = Some(Counted { tenant: tenant.to_owned(), micro_usd });
    let entry = Entry { v: 1, counted, ..Entry::default() };
    let text = serde_json::to_string(&entry).unwrap();
    store.create(&key::ledger_job(FIRST + hour, tenant, &job), text).await.unwrap();
    job
}

#[tokio::test]
async fn jobs_that_ended_today_count_once_for_whoever_looks_and_whenever_it_began() {
    let store = Store::memory();
    let today = Today::default();
    put_job(&store, 0, "a", 1).await;
    put_job(&store, 0, "b", 100).await;
    assert_eq!(today.look(&store, at(0, 30)).await.unwrap().counted, counted(&[("a", 1), ("b", 100)]));
    let ended = put_job(&store, 0, "a", 10).await;
    let told = today.look(&store, at(0, 40)).await.unwrap();
    assert_eq!(told.counted, counted(&[("a", 11), ("b", 100)]));
    assert!(told.is_whole && told.ended.contains(&("a".to_owned(), ended)));
    put_job(&store, 5, "a", 1_000).await;
    // Hours of it are over and closed by now, and nobody need have looked meanwhile.
    for looker in [&today, &Today::default()] {
        for _ in 0..2 {
            let told = looker.look(&store, at(9, 0)).await.unwrap();
            assert_eq!(told.counted, counted(&[("a", 1_011), ("b", 100)]));
        }
    }
    put_job(&store, 23, "a", 5).await;
    assert_eq!(today.look(&store, at(23, 59)).await.unwrap().counted["a"], 1_016);
    let tomorrow = today.look(&store, at(24, 0)).await.unwrap();
    assert_eq!(tomorrow.counted, counted(&[]), "another day");
    assert_eq!(tomorrow.ended.len(), 1, "of the hour before it is known still");
}

fn counted(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter().map(|(tenant, micro_usd)| ((*tenant).to_owned(), *micro_usd)).collect()
}

#[tokio::test]
async fn the_hours_spend_is_that_of_machines_and_of_work_that_no_machine_was_seen_for() {
    const HOUR_US: u64 = 3_600_000_000;
    let store = Store::memory();
    let (today, tally) = (Today::default(), Tally::default());
    let spent = async |now| today.look(&store, now).await.unwrap().this_hour.0;
    assert_eq!(spent(at(3, 0)).await, 0);
    // Two nodes at 6 USD an hour from minute 0 to 29, busy or not.
    let price = Price { micro_usd_per_hour: 6_000_000, ..charge("").price };
    for minute in 0..30 {
        let of = Machines {
            lane: Lane::Deferred,
            place: "p".into(),
            machine: Machine::Spot,
            price: price.clone(),
        };
        let seen = vec![Seen { of, busy: 1, idle: 0, boots: 1, came: Came::default() }];
        let entry = Entry { v: 1, minute: Some(minute), seen, ..Entry::default() };
        let key = key::ledger_minute(FIRST + 3, minute);
        store.create(&key, serde_json::to_string(&entry).unwrap()).await.unwrap();
    }
    assert_eq!(spent(at(3, 29)).await, 6_000_000);
    // Work on these nodes is in their time; a backend's is not, as long as nobody saw a replica of it.
    let work = |lane, place: &str| Charge { lane, place: place.into(), price: price.clone(), ..charge("a") };
    tally.book(work(Lane::Deferred, "p"), amount(HOUR_US / 4), at(3, 29));
    tally.book(work(Lane::Realtime, "aca"), amount(HOUR_US / 6), at(3, 29));
    tally.write(&store, "q", at(3, 29)).await.unwrap();
    assert_eq!(spent(at(3, 29)).await, 7_000_000);
    assert_eq!(spent(at(4, 0)).await, 0, "another hour");
}
