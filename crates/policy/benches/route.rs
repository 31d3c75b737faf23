//! How long a routing decision takes: four backends and two pools.
//!
//! `cargo bench --bench route`

#![allow(missing_docs, reason = "a bench has no public items")]

use criterion::{Criterion, criterion_group, criterion_main};
use policy::pace::Pace;
use policy::request::{Answer, LaneWish, Operation, Tier};
use policy::snapshot::{Backend, Model, Pool, Sight, Speed, Spread};
use policy::units::{MicroUsd, Millis, Tokens, UnixMs};
use policy::{Knobs, Request, Snapshot, breaker, route};

const NOW: UnixMs = UnixMs(1_760_000_000_000);

fn speed() -> Speed {
    Speed { base: Millis(5), per_item_us: 1_000, per_token_in_us: 50, per_token_out_us: 0, p95_percent: 150 }
}

fn backend(n: u32) -> Backend {
    Backend {
        name: format!("backend-{n}"),
        region: "westeurope".into(),
        price_per_replica_hour: MicroUsd(1_559_000 + u64::from(n)),
        slots_per_replica: 4,
        max_replicas: 10,
        ready_replicas: n % 3,
        starting_replicas: 0,
        in_flight: n,
        speed: speed(),
        pace: Pace::CATALOGUE,
        cold_start: Spread { p50: Millis(85_000), p95: Millis(120_000) },
        breaker: breaker::State::Closed,
        last_used: None,
    }
}

fn pool(n: u32) -> Pool {
    Pool {
        name: format!("pool-{n}"),
        region: "westeurope".into(),
        price_per_node_hour: MicroUsd(158_000),
        ready_nodes: n,
        max_nodes: 4,
        slots_per_node: 1,
        speed: speed(),
        backlog: Millis(60_000),
        boot: Spread { p50: Millis(300_000), p95: Millis(480_000) },
        evictions_per_node_hour_milli: 50,
        write_cost: MicroUsd(20),
        accepting: true,
        starved: false,
    }
}

fn decide(criterion: &mut Criterion) {
    let snapshot = Snapshot {
        now: NOW,
        sight: Sight::Fresh,
        model: Model { footprint_mib: 512, load: Spread { p50: Millis(5_000), p95: Millis(9_000) } },
        backends: (0..4).map(backend).collect(),
        pools: (0..2).map(pool).collect(),
        tried: Vec::new(),
        spent_this_hour: MicroUsd(0),
    };
    let request = Request {
        model: "minilm".into(),
        operation: Operation::Embeddings,
        items: 1,
        tokens_in: Tokens(12),
        tokens_out: Tokens(0),
        arrived: NOW,
        deadline: Some(NOW + Millis::from_secs(3_600)),
        lane: LaneWish::Auto,
        answer: Answer::LaterWelcome,
        tier: Tier::Default,
        max_cost: None,
        residency: None,
    };
    let knobs = Knobs::default();
    criterion.bench_function("route, 4 backends and 2 pools", |bencher| {
        bencher.iter(|| route(&knobs, std::hint::black_box(&request), std::hint::black_box(&snapshot)));
    });
    let one = Snapshot { backends: vec![backend(1)], pools: vec![], ..snapshot.clone() };
    criterion.bench_function("route, 1 backend", |bencher| {
        bencher.iter(|| route(&knobs, std::hint::black_box(&request), std::hint::black_box(&one)));
    });
}

criterion_group!(benches, decide);
criterion_main!(benches);
