//! What tries came to, as rows.

use facts::job::{Class, Estimate, Input, Kind, Shard};
use serde_json::json;

use super::*;
use crate::catalogue;

/// A pool with two slots a node at 0.10, and a backend at 1.50.
fn catalogue() -> Catalogue {
    let speed = json!({ "base_ms": 1, "p95_percent": 100 });
    let text = json!({
        "v": 1,
        "models": [{ "id": "m", "operations": ["embeddings"], "version": "1", "owned_by": "us" }],
        "backends": [{ "name": "aca", "url": "http://127.0.0.1:9", "region": "r", "models": ["m"], "style": "openai",
            "usd_per_replica_hour": 1.5, "price_date": "2026-11-01", "slots_per_replica": 4, "max_replicas": 1,
            "speed": speed, "cold_start_ms": { "p50": 1, "p95": 1 } }],
        "pools": [{ "name": "spot", "region": "r", "models": ["m"], "usd_per_node_hour": 0.1, "price_date": "2026-11-01",
            "max_nodes": 1, "slots_per_node": 2, "speed": speed, "boot_ms": { "p50": 1, "p95": 1 } }],
    });
    catalogue::parse(text.to_string().as_bytes(), &catalogue::tests::context()).unwrap()
}

/// Two shards of 10 s; all of it costs 20,000 in the realtime lane.
fn job() -> Job {
    let shard = Shard { offset: 0, bytes: 1, first_line: 0, lines: 1, work_ms: 10_000 };
    Job {
        v: facts::VERSION,
        job: facts::JobId::random(),
        tenant: "t".to_owned(),
        by: String::new(),
        kind: Kind::Request,
        url: "/v1/embeddings".to_owned(),
        model: "m".to_owned(),
        digest: None,
        body_hash: String::new(),
        class: Class::default(),
        created_ms: 0,
        deadline_ms: 1,
        max_cost_micro_usd: None,
        pool: "spot".to_owned(),
        estimate: Estimate { realtime_cost_micro_usd: Some(20_000), ..Estimate::default() },
        labels: BTreeMap::new(),
        traceparent: None,
        input: Input::Inline(String::new()),
        shards: vec![shard, shard],
        chunk_lines: 1,
    }
}

fn deferred(shard: usize, took: u64) -> Ran {
    let place = At::Pool("spot".to_owned());
    Ran { shard, at_ms: 0, place, took: Millis(took), is_measured: true, overtakes: false }
}

fn rescue(shard: usize, took: u64) -> Ran {
    Ran { shard, at_ms: 0, place: At::Realtime, took: Millis(took), is_measured: false, overtakes: true }
}

/// Place, what became of it, time of a machine in ms, money, whether it is assumed.
type Row = (&'static str, What, u64, u64, bool);

#[test]
fn a_try_that_was_stopped_counts_as_far_as_it_came() {
    let shard = Shard { lines: 100, ..job().shards[0] };
    let job = Job { shards: vec![shard, shard], ..job() };
    let done = |tries: &[Ran], unfinished: [u64; 2]| -> Vec<u64> {
        let mut ran: Vec<Ran> = tries.iter().map(|ran| Ran { place: At::Realtime, ..*ran }).collect();
        cut(&job, &mut ran, &unfinished);
        ran.iter().map(|ran| ran.took.0).collect()
    };
    let whole = [rescue(0, 10_000), rescue(1, 10_000)];
    assert_eq!(done(&whole, [0, 0]), [10_000, 10_000]);
    assert_eq!(done(&whole, [100, 40]), [0, 6_000], "cancelled at once, and on the way");
    let rest = [deferred(0, 5_000), rescue(0, 2_000)];
    assert_eq!(done(&rest, [5, 0]), [5_000, 1_500], "20 lines were left to the rescue");
    assert_eq!(done(&rest[..1], [100, 0]), [5_000], "what was measured stays");
}

#[test]
fn tries_become_rows_by_place_and_by_what_became_of_them() {
    use What::{Duplicate, Evicted, Useful};
    let cases: [(Vec<Ran>, Vec<Row>); 5] = [
        (vec![], vec![]),
        // 30 s on one of two slots.
        (vec![deferred(0, 20_000), deferred(1, 10_000)], vec![("spot", Useful, 15_000, 417, false)]),
        // A shard takes 20 s here, as the first one shows; 15 s of the second were lost.
        (
            vec![deferred(0, 20_000), deferred(1, 15_000), deferred(1, 20_000)],
            vec![("spot", Useful, 20_000, 556, false), ("spot", Evicted, 7_500, 208, false)],
        ),
        // Rescued at three quarters, and the task went on to its end.
        (
            vec![deferred(0, 10_000), deferred(1, 10_000), rescue(1, 2_500)],
            vec![
                ("aca", Useful, 6_000, 2_500, true),
                ("spot", Useful, 8_750, 243, false),
                ("spot", Duplicate, 1_250, 35, false),
            ],
        ),
        // A task that nobody knows any more is taken to be as expected.
        (vec![Ran { is_measured: false, ..deferred(0, 10_000) }], vec![("spot", Useful, 5_000, 139, true)]),
    ];
    for (ran, rows) in cases {
        let spent = parts(&job(), &catalogue(), &ran);
        let row = |part: &Part| {
            (part.place.clone(), part.what, part.us / 1_000, part.micro_usd, part.price.assumed)
        };
        let found: Vec<_> = spent.parts.iter().map(row).collect();
        let expected: Vec<_> = rows
            .into_iter()
            .map(|(place, what, ms, usd, assumed)| (place.to_owned(), what, ms, usd, assumed))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(spent.compute_ms, ran.iter().map(|tried| tried.took.0).sum::<u64>());
    }
}

#[test]
fn a_pool_that_is_gone_costs_nothing_and_says_so() {
    let ran = [Ran { place: At::Pool("gone".to_owned()), ..deferred(0, 10_000) }];
    let spent = parts(&job(), &catalogue(), &ran);
    assert_eq!((spent.parts[0].micro_usd, spent.parts[0].price.assumed), (0, true));
}
