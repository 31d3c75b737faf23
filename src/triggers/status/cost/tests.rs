//! Reports add up.

use std::collections::BTreeMap;

use facts::ledger::{Amount, Charge, Lane, Machine, Machines, Price, Spans, Sums, Time, Used, What};
use policy::units::UnixMs;
use proptest::prelude::*;

use super::report::{By, GROUPS_MAX, report};
use super::{Asked, Month, asked};

const HOUR_US: u64 = 3_600_000_000;
/// 2026-11-21T00:00Z
const NOW: UnixMs = UnixMs(1_795_219_200_000);

fn price(micro_usd: u64, read_on: &str, assumed: bool) -> Price {
    Price { micro_usd_per_hour: micro_usd, read_on: read_on.to_owned(), assumed }
}

fn time(lane: Lane, place: &str, machine: Machine, price: Price, [busy, idle, boots]: [u64; 3]) -> Time {
    let spans = Spans { busy_us: busy, idle_us: idle, boots_us: boots };
    Time { of: Machines { lane, place: place.to_owned(), machine, price }, spans }
}

/// A part of a job of one team; of none where it is empty.
fn job(what: What, team: &str, job: &str, us: u64, realtime_micro_usd: u64) -> Used {
    let label = ("team".to_owned(), team.to_owned());
    let charge = Charge {
        lane: Lane::Deferred,
        place: "spot".to_owned(),
        what,
        tenant: "acme".to_owned(),
        labels: Some(label).filter(|_| !team.is_empty()).into_iter().collect(),
        model: "minilm".to_owned(),
        job: Some(job.to_owned()),
        price: price(158_000, "2026-08-01", true),
    };
    let requests = u64::from(realtime_micro_usd > 0);
    Used {
        charge,
        amount: Amount { us, requests, items: 1_000 * requests, realtime_micro_usd, ..Amount::default() },
    }
}

fn requests(team: &str, us: u64, requests: u64) -> Used {
    let mut used = job(What::Useful, team, "", us, 0);
    used.charge.lane = Lane::Realtime;
    used.charge.place = "aca".to_owned();
    used.charge.job = None;
    used.charge.price = price(1_559_000, "2026-11-01", true);
    let cost = us * 1_559_000 / HOUR_US;
    used.amount = Amount {
        us,
        requests,
        items: requests,
        tokens: 10 * requests,
        realtime_micro_usd: cost,
        not_in_realtime: 0,
    };
    used
}

/// A month of a pool with both kinds of nodes and a backend, for three teams.
fn month() -> Sums {
    let h = HOUR_US;
    Sums {
        v: 1,
        entries: 9,
        minutes: BTreeMap::from([(498_600, 60), (498_602, 55)]),
        times: vec![
            time(
                Lane::Realtime,
                "aca",
                Machine::Replica,
                price(1_559_000, "2026-11-01", true),
                [0, 3 * h, h / 4],
            ),
            time(
                Lane::Deferred,
                "spot",
                Machine::Spot,
                price(158_000, "2026-08-01", true),
                [9 * h, h, h / 2],
            ),
            time(Lane::Deferred, "spot", Machine::Dedicated, price(526_000, "2026-08-01", false), [h, 0, 0]),
        ],
        used: vec![
            job(What::Useful, "search", "job-a", 4 * h, 6_236_000),
            job(What::Evicted, "search", "job-a", h / 3, 0),
            job(What::Useful, "ads", "job-b", 3 * h + 7, 4_677_001),
            job(What::Duplicate, "ads", "job-b", h / 7, 0),
            job(What::Useful, "", "job-c", 11, 1),
            requests("search", h, 1_000),
            requests("ads", h / 3, 500),
        ],
        ..Sums::default()
    }
}

fn by(text: &str) -> Asked {
    asked(&format!("month=2026-11&by={text}"), NOW).unwrap()
}

#[test]
fn a_month_is_told_as_before() {
    let mut differ = Vec::new();
    for name in ["team", "lane", "job"] {
        let told = serde_json::to_string_pretty(&report(&month(), &by(name), NOW)).unwrap() + "\n";
        let golden = format!("{}/tests/fixtures/cost/{name}.json", env!("CARGO_MANIFEST_DIR"));
        if told != std::fs::read_to_string(&golden).unwrap_or_default() {
            let new = std::env::temp_dir().join(format!("switchyard-cost-{name}.json"));
            std::fs::write(&new, told).unwrap();
            differ.push(format!("{golden} differs from what is told now, {}", new.display()));
        }
    }
    assert!(differ.is_empty(), "{differ:#?}");
}

#[test]
fn what_is_asked_is_told_from_what_is_none() {
    let month = |text: &str| asked(&format!("month={text}"), NOW).map(|asked| asked.month.to_string());
    assert_eq!(month("2026-02").unwrap(), "2026-02");
    for wrong in ["2026-13", "2026-2", "1969-12", "soon", "2026-02-01", ""] {
        assert_eq!(month(wrong).unwrap_err().code, "invalid_month", "{wrong}");
    }
    assert_eq!(asked("by=colour", NOW).unwrap_err().code, "invalid_grouping");
    let default = asked("", NOW).unwrap();
    assert_eq!((default.month.to_string().as_str(), default.by), ("2026-11", By::Label("team")));
    assert_eq!(by("cost-center").by, By::Label("cost-center"));
    let days = |text: &str| Month::parse(text).unwrap().days();
    assert_eq!(days("1970-01".replace("1970", "2000").as_str()), 10_957..10_988);
    assert_eq!(days("2024-02").count(), 29);
}

#[test]
fn too_many_groups_are_one() {
    let used =
        (0..GROUPS_MAX + 10).map(|n| job(What::Useful, "t", &format!("job-{n}"), 1_000_000 + n as u64, 1));
    let sums = Sums { used: used.collect(), ..Sums::default() };
    let told = report(&sums, &by("job"), NOW);
    assert_eq!((told.groups.len(), told.groups[GROUPS_MAX - 1].requests), (GROUPS_MAX, 11));
    assert_eq!(told.groups.iter().map(|group| group.requests).sum::<u64>(), GROUPS_MAX as u64 + 10);
}

fn any_sums() -> impl Strategy<Value = Sums> {
    let us = 0..40 * HOUR_US;
    let times = (0..2_u8, us.clone(), us.clone(), us.clone(), 0..9_000_000_u64).prop_map(
        |(n, busy, idle, boots, usd)| {
            let (lane, place, machine) = if n == 0 {
                (Lane::Realtime, "aca", Machine::Replica)
            } else {
                (Lane::Deferred, "spot", Machine::Spot)
            };
            time(lane, place, machine, price(usd, "2026-11-01", false), [busy, idle, boots])
        },
    );
    let used = (0..4_u8, 0..4_u8, us).prop_map(|(kind, n, us)| match kind {
        0 => requests(&format!("team-{n}"), us, 1),
        1 => job(What::Evicted, "", &format!("job-{n}"), us, 5),
        2 => job(What::Duplicate, "", &format!("job-{n}"), us, 5),
        _ => job(What::Useful, &format!("team-{n}"), &format!("job-{n}"), us, 5),
    });
    (proptest::collection::vec(times, 0..4), proptest::collection::vec(used, 0..20))
        .prop_map(|(times, used)| Sums { times, used, ..Sums::default() })
}

proptest! {
    #[test]
    fn rows_sum_to_the_total_which_is_the_same_by_whatever_it_is_told(sums in any_sums()) {
        let names = ["team", "project", "cost-center", "environment", "tenant", "lane", "model", "job"];
        let mut totals = Vec::new();
        for name in names {
            let told = report(&sums, &by(name), NOW);
            let groups: u64 = told.groups.iter().map(|group| group.total_micro_usd).sum();
            let unused: u64 = told.unused.iter().map(|part| part.micro_usd).sum();
            prop_assert_eq!(groups + unused, told.total_micro_usd);
            for group in &told.groups {
                let parts = group.useful_micro_usd + group.evicted_micro_usd + group.duplicate_micro_usd;
                prop_assert_eq!(parts, group.total_micro_usd);
            }
            totals.push((told.total_micro_usd, told.all_realtime_micro_usd));
        }
        totals.dedup();
        prop_assert_eq!(totals.len(), 1);
    }
}
