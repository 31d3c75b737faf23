//! How long it takes to size a pool: 1,000 demands, spot and dedicated nodes, some of them gone.
//!
//! `cargo bench --bench rebalance`

#![allow(missing_docs, reason = "a bench has no public items")]

use criterion::{Criterion, criterion_group, criterion_main};
use policy::Knobs;
use policy::rebalance::{Demand, Nodes, Observed, Setback, SetbackKind, rebalance};
use policy::snapshot::{Sight, Spread};
use policy::units::{MicroUsd, Millis, UnixMs};

const NOW: UnixMs = UnixMs(1_760_000_000_000);

fn demand(n: u64) -> Demand {
    Demand {
        deadline: NOW + Millis::from_secs(1_200 + n * 60),
        work: Millis::from_secs(600 + n * 7 % 900),
        parallel: 20,
        realtime_cost: (!n.is_multiple_of(3)).then_some(MicroUsd(300_000)),
    }
}

fn decide(criterion: &mut Criterion) {
    let nodes = |price| Nodes {
        target: 40,
        usable: 25,
        busy: 25,
        starting: 5,
        preempted: 10,
        broken: 0,
        price_per_hour: Some(MicroUsd(price)),
    };
    let observed = Observed {
        now: NOW,
        sight: Sight::Fresh,
        slots_per_node: 1,
        max_nodes: 1_000,
        spot: nodes(158_000),
        dedicated: nodes(526_000),
        demand: (0..1_000).map(demand).collect(),
        lead: Spread { p50: Millis::from_secs(300), p95: Millis::from_secs(480) },
        evictions_per_node_hour_milli: 500,
        setbacks: vec![Setback { kind: SetbackKind::NoCapacity, spot: true, since: NOW }],
        ..Observed::default()
    };
    let knobs = Knobs { max_nodes: 1_000, max_dedicated_nodes: 500, ..Knobs::default() };
    criterion.bench_function("rebalance, 1,000 demands", |bencher| {
        bencher.iter(|| rebalance(&knobs, std::hint::black_box(&observed)));
    });
}

criterion_group!(benches, decide);
criterion_main!(benches);
