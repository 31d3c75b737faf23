//! Decisions as tables and as properties.

use policy::breaker::{self, Breaker, FAILURES_TO_OPEN, OPEN_MAX};
use policy::estimate;
use policy::knobs::Knobs;
use policy::pace::Pace;
use policy::reason::Code;
use policy::replicas::{COOLDOWN, replicas};
use policy::request::{Answer, Lane, LaneWish, Operation, Request, Tier};
use policy::route::{Decision, RETRY_AFTER_MAX, RETRY_AFTER_MIN, RefusalKind, Verdict, route};
use policy::snapshot::{Attempt, Backend, Failure, Model, Pool, Sight, Snapshot, Speed, Spread};
use policy::units::{MicroUsd, Millis, Tokens, UnixMs};
use proptest::prelude::*;

const NOW: UnixMs = UnixMs(1_760_000_000_000);
const HTTP: Answer = Answer::Now { within: Millis::from_secs(220) };

fn request() -> Request {
    Request {
        model: "minilm".into(),
        operation: Operation::Embeddings,
        items: 1,
        tokens_in: Tokens(12),
        tokens_out: Tokens(0),
        arrived: NOW,
        deadline: None,
        lane: LaneWish::Auto,
        answer: HTTP,
        tier: Tier::Default,
        max_cost: None,
        residency: None,
    }
}

/// A job of `items` texts that may be answered later.
fn job(items: u64, deadline_s: Option<u64>) -> Request {
    let deadline = deadline_s.map(|seconds| NOW + Millis::from_secs(seconds));
    Request { items, tokens_in: Tokens(items * 20), answer: Answer::LaterWelcome, deadline, ..request() }
}

fn backend(name: &str) -> Backend {
    Backend {
        name: name.into(),
        region: "westeurope".into(),
        price_per_replica_hour: MicroUsd(1_559_000),
        slots_per_replica: 4,
        max_replicas: 10,
        ready_replicas: 1,
        starting_replicas: 0,
        in_flight: 0,
        speed: Speed {
            base: Millis(5),
            per_item_us: 1_000,
            per_token_in_us: 50,
            per_token_out_us: 0,
            p95_percent: 150,
        },
        pace: Pace::CATALOGUE,
        cold_start: Spread { p50: Millis::from_secs(85), p95: Millis::from_secs(120) },
        breaker: breaker::State::Closed,
        last_used: None,
    }
}

fn pool() -> Pool {
    Pool {
        name: "spot".into(),
        region: "westeurope".into(),
        price_per_node_hour: MicroUsd(158_000),
        ready_nodes: 1,
        max_nodes: 4,
        slots_per_node: 1,
        speed: Speed {
            base: Millis(5),
            per_item_us: 1_000,
            per_token_in_us: 50,
            per_token_out_us: 0,
            p95_percent: 150,
        },
        backlog: Millis(0),
        boot: Spread { p50: Millis::from_secs(300), p95: Millis::from_secs(480) },
        evictions_per_node_hour_milli: 50,
        write_cost: MicroUsd(20),
        accepting: true,
        starved: false,
    }
}

fn world() -> Snapshot {
    Snapshot {
        now: NOW,
        sight: Sight::Fresh,
        model: Model {
            footprint_mib: 512,
            load: Spread { p50: Millis::from_secs(5), p95: Millis::from_secs(9) },
        },
        backends: vec![backend("aca")],
        pools: vec![pool()],
        tried: Vec::new(),
        spent_this_hour: MicroUsd(0),
    }
}

/// `realtime:NAME`, `deferred:NAME` or `refuse:KIND`, and the first reason.
fn told(decision: &Decision) -> (String, Code) {
    let verdict = match &decision.verdict {
        Verdict::Realtime(choice) => format!("realtime:{}", choice.place),
        Verdict::Deferred(choice) => format!("deferred:{}", choice.place),
        Verdict::Refuse(refusal) => format!("refuse:{:?}", refusal.kind),
    };
    (verdict, decision.reasons[0].code)
}

fn check(what: &str, request: &Request, world: &Snapshot, verdict: &str, code: Code) {
    let decision = route(&Knobs::default(), request, world);
    assert_eq!(told(&decision), (verdict.to_owned(), code), "{what}: {decision:#?}");
}

#[test]
fn a_pool_that_gets_no_node_yields_to_one_that_does() {
    let named = |name: &str, starved, price| Pool {
        name: name.into(),
        starved,
        ready_nodes: 0,
        price_per_node_hour: MicroUsd(price),
        ..pool()
    };
    let taken = |pools: Vec<Pool>| match route(
        &Knobs::default(),
        &job(1_000, Some(36_000)),
        &Snapshot { pools, backends: vec![], ..world() },
    )
    .verdict
    {
        Verdict::Deferred(choice) => choice.place,
        other => panic!("{other:?}"),
    };
    let (cheap, dear) =
        (|starved| named("cheap", starved, 100_000), |starved| named("dear", starved, 200_000));
    assert_eq!(taken(vec![cheap(false), dear(false)]), "cheap");
    assert_eq!(taken(vec![cheap(true), dear(false)]), "dear");
    assert_eq!(taken(vec![cheap(true), dear(true)]), "cheap", "none can: the cheapest waits least");
    assert_eq!(taken(vec![cheap(true)]), "cheap");
}

#[test]
fn a_lane_is_chosen() {
    let deadline = |ms| Request { deadline: Some(NOW + Millis(ms)), ..request() };
    let later = |ms| Request { answer: Answer::LaterWelcome, ..deadline(ms) };
    let cold = || Snapshot { backends: vec![Backend { ready_replicas: 0, ..backend("aca") }], ..world() };
    let soon = || {
        let start = Spread { p50: Millis(100), p95: Millis(200) };
        let backends = vec![Backend { ready_replicas: 0, cold_start: start, ..backend("aca") }];
        Snapshot { backends, ..world() }
    };
    let big = |deadline_s| job(4_000_000, deadline_s);
    let cases: &[(&str, Request, Snapshot, &str, Code)] = &[
        ("no deadline, warm", request(), world(), "realtime:aca", Code::WarmReplica),
        ("no deadline, cold", request(), cold(), "realtime:aca", Code::ColdStart),
        ("no deadline, cold, but soon there", request(), soon(), "realtime:aca", Code::ColdStart),
        ("500 ms", later(500), world(), "realtime:aca", Code::DeadlineWithinThreshold),
        ("exactly the threshold", later(2_000), world(), "realtime:aca", Code::DeadlineWithinThreshold),
        ("within the threshold, cold", later(2_000), cold(), "refuse:Infeasible", Code::DeadlineInfeasible),
        ("a minute, one text", later(60_000), world(), "realtime:aca", Code::NotWorthDeferring),
        ("an hour, many texts", big(Some(36_000)), world(), "deferred:spot", Code::AboveCostThreshold),
        ("passed", deadline(0), world(), "refuse:Expired", Code::DeadlinePassed),
        ("1 ms", deadline(1), world(), "refuse:Infeasible", Code::DeadlineInfeasible),
    ];
    for (what, request, world, verdict, code) in cases {
        check(what, request, world, verdict, *code);
    }
}

#[test]
fn wishes_are_honoured() {
    let lane = |lane| Request { lane, ..job(10, None) };
    let closed = || Snapshot { pools: vec![Pool { accepting: false, ..pool() }], ..world() };
    let tier = |tier| Request { tier, ..job(4_000, None) };
    let cost = |usd| Request { max_cost: Some(MicroUsd(usd)), ..request() };
    let resident = |region: &str| Request { residency: Some(region.into()), ..request() };
    let cases: &[(&str, Request, Snapshot, &str, Code)] = &[
        ("realtime", lane(LaneWish::Realtime), world(), "realtime:aca", Code::LaneRequested),
        ("priority", tier(Tier::Priority), world(), "realtime:aca", Code::TierRequested),
        ("flex takes the cheapest", tier(Tier::Flex), world(), "deferred:spot", Code::TierRequested),
        (
            "deferred is closed",
            lane(LaneWish::Deferred),
            closed(),
            "refuse:Unavailable",
            Code::DeferredUnavailable,
        ),
        ("too expensive", cost(0), world(), "refuse:Infeasible", Code::OverMaxCost),
        ("stays in Europe", resident("west"), world(), "realtime:aca", Code::WarmReplica),
        ("nothing in the US", resident("us"), world(), "refuse:Infeasible", Code::ResidencyUnmet),
        (
            "no place",
            request(),
            Snapshot { backends: vec![], pools: vec![], ..world() },
            "refuse:NotServed",
            Code::NotServed,
        ),
        (
            "only pools",
            request(),
            Snapshot { backends: vec![], ..world() },
            "refuse:Infeasible",
            Code::CannotAnswerLater,
        ),
    ];
    for (what, request, world, verdict, code) in cases {
        check(what, request, world, verdict, *code);
    }
    let knobs = Knobs { gpu_memory_limit_mib: 511, ..Knobs::default() };
    assert_eq!(route(&knobs, &request(), &world()).reasons[0].code, Code::TooLargeForGpu);
    let knobs = Knobs { max_usd_per_hour: Some(MicroUsd(5)), ..Knobs::default() };
    let spent = Snapshot { spent_this_hour: MicroUsd(5), ..world() };
    assert_eq!(route(&knobs, &request(), &spent).reasons[0].code, Code::BudgetSpent);
}

#[test]
fn trouble_is_told_and_routed_around() {
    let two = |first: Backend| Snapshot { backends: vec![first, backend("other")], ..world() };
    let tried = |failures: &[Failure]| {
        let tried =
            failures.iter().map(|failure| Attempt { backend: "aca".into(), failure: *failure }).collect();
        Snapshot { tried, ..world() }
    };
    let open = Backend { breaker: breaker::State::Open { until: NOW + Millis(700) }, ..backend("aca") };
    let busy = Backend { in_flight: 4_000_000, max_replicas: 1, ..backend("aca") };
    let warming = Failure::Warming { retry_after: Millis(900) };
    let overloaded = Failure::Overloaded { retry_after: Millis(250) };
    let only = |backend: Backend| Snapshot { backends: vec![backend], ..world() };
    let cases: &[(&str, Snapshot, &str, Code)] = &[
        ("open breaker, another backend", two(open.clone()), "realtime:other", Code::WarmReplica),
        ("open breaker", only(open), "refuse:Unavailable", Code::BackendsDown),
        ("one broken try", tried(&[Failure::Broken]), "realtime:aca", Code::WarmReplica),
        (
            "two broken tries",
            tried(&[Failure::Broken, Failure::Unreachable]),
            "refuse:Unavailable",
            Code::BackendsDown,
        ),
        ("a 429", tried(&[overloaded]), "refuse:Overloaded", Code::Overloaded),
        ("a 503 warming", tried(&[warming]), "refuse:Unavailable", Code::Warming),
        ("a queue beyond HTTP", only(busy), "refuse:Overloaded", Code::Overloaded),
    ];
    for (what, world, verdict, code) in cases {
        check(what, &request(), world, verdict, *code);
    }
    let broken_here = Snapshot { tried: tried(&[Failure::Broken]).tried, ..two(backend("aca")) };
    check("a failed backend comes last", &request(), &broken_here, "realtime:other", Code::WarmReplica);
    let Verdict::Refuse(refusal) = route(&Knobs::default(), &request(), &tried(&[overloaded])).verdict else {
        panic!("a 429 is passed on");
    };
    assert_eq!(refusal.retry_after, Some(Millis(250)), "the upstream's own wait");
}

#[test]
fn nothing_is_deferred_below_the_lead_time() {
    let model =
        Model { load: Spread { p50: Millis::from_secs(10), p95: Millis::from_secs(20) }, ..world().model };
    let placed = |ready_nodes, confidence_percent, left_s| {
        let pools = vec![Pool { ready_nodes, ..pool() }];
        let snapshot = Snapshot { model: model.clone(), backends: vec![], pools, ..world() };
        let knobs = Knobs { confidence_percent, ..Knobs::default() };
        matches!(route(&knobs, &job(1, Some(left_s)), &snapshot).verdict, Verdict::Deferred(_))
    };
    // 480 s until a node is there in 19 of 20 cases, 20 s to load: half of all would take 310 s.
    for confidence in [50, 95] {
        assert!(!placed(0, confidence, 499), "{confidence}: no node, and none in time");
        assert!(placed(0, confidence, 501), "{confidence}: in time");
        assert!(placed(1, confidence, 60), "{confidence}: a node is ready");
    }
}

#[test]
fn a_reason_reads_like_a_header() {
    let cold = Snapshot { backends: vec![Backend { ready_replicas: 0, ..backend("aca") }], ..world() };
    let decision = route(&Knobs::default(), &request(), &cold);
    assert_eq!(decision.reasons[0].to_string(), "cold_start; eta=85s; cost=0.036811; target=2s");
}

#[test]
fn replicas_follow_the_work_and_do_not_flap() {
    let at = |in_flight, waiting, ready, used_s: Option<u64>| {
        let last_used = used_s.map(|ago| NOW - Millis::from_secs(ago));
        let backend = Backend { in_flight, ready_replicas: ready, last_used, ..backend("aca") };
        let plan = replicas(&Knobs::default(), &backend, waiting, NOW);
        (plan.replicas, plan.reason.code)
    };
    assert_eq!(at(0, 0, 0, None), (0, Code::Idle));
    assert_eq!(at(0, 1, 0, None), (1, Code::Demand));
    assert_eq!(at(4, 0, 1, Some(0)), (1, Code::Demand));
    assert_eq!(at(5, 0, 1, Some(0)), (2, Code::Demand));
    assert_eq!(at(400, 0, 2, Some(0)), (10, Code::Ceiling));
    assert_eq!(at(0, 0, 3, Some(10)), (3, Code::Cooldown));
    assert_eq!(at(0, 0, 3, Some(COOLDOWN.0 / 1_000)), (0, Code::Idle));
    let knobs = Knobs { min_replicas: 2, max_replicas: 1, ..Knobs::default() };
    assert_eq!(replicas(&knobs, &backend("aca"), 0, NOW).replicas, 1, "the ceiling wins over the floor");
}

#[test]
fn a_breaker_opens_probes_and_closes() {
    let mut breaker = Breaker::default();
    for _ in 0..FAILURES_TO_OPEN {
        assert!(breaker.acquire(NOW));
        breaker.failed(Failure::Broken, NOW);
    }
    assert!(!breaker.acquire(NOW), "open");
    let later = NOW + Millis(1_000);
    assert!(breaker.acquire(later), "one probe");
    assert!(!breaker.acquire(later), "only one");
    breaker.failed(Failure::Unreachable, later);
    assert!(!breaker.acquire(later + Millis(1_999)), "open for twice as long");
    assert!(breaker.acquire(later + Millis(2_000)));
    breaker.abandoned();
    assert!(breaker.acquire(later + Millis(2_000)), "a probe whose client left does not block the next");
    breaker.succeeded();
    assert_eq!(breaker.state(later), breaker::State::Closed);
}

fn any_request() -> impl Strategy<Value = Request> {
    let lane = prop_oneof![Just(LaneWish::Auto), Just(LaneWish::Realtime), Just(LaneWish::Deferred)];
    let answer = prop_oneof![
        Just(Answer::LaterWelcome),
        (0..300_000u64).prop_map(|ms| Answer::Now { within: Millis(ms) })
    ];
    let tier = prop_oneof![Just(Tier::Default), Just(Tier::Priority), Just(Tier::Flex)];
    let deadline = prop::option::of(0..20_000_000u64);
    let cost = prop::option::of(0..5_000_000u64);
    (1..10_000u64, 0..500_000u64, lane, answer, tier, deadline, cost).prop_map(
        |(items, tokens, lane, answer, tier, deadline, cost)| Request {
            items,
            tokens_in: Tokens(tokens),
            lane,
            answer,
            tier,
            // Some lie in the past.
            deadline: deadline.map(|ms| UnixMs(NOW.0 - 2_000_000 + ms)),
            max_cost: cost.map(MicroUsd),
            ..request()
        },
    )
}

fn any_backend(name: &'static str) -> impl Strategy<Value = Backend> {
    let breaker = prop_oneof![
        3 => Just(breaker::State::Closed),
        1 => Just(breaker::State::HalfOpen),
        1 => (0..60_000u64).prop_map(|ms| breaker::State::Open { until: UnixMs(NOW.0 - 10_000 + ms) }),
    ];
    (0..5u32, 0..3u32, 0..200u32, 1..9u32, 1..9_000_000u64, breaker).prop_map(
        move |(ready_replicas, starting_replicas, in_flight, slots_per_replica, price, breaker)| Backend {
            ready_replicas,
            starting_replicas,
            in_flight,
            slots_per_replica,
            price_per_replica_hour: MicroUsd(price),
            breaker,
            ..backend(name)
        },
    )
}

fn any_world() -> impl Strategy<Value = Snapshot> {
    let failure = prop_oneof![
        Just(Failure::Broken),
        Just(Failure::TimedOut),
        (0..5_000u64).prop_map(|ms| Failure::Overloaded { retry_after: Millis(ms) }),
        (0..5_000u64).prop_map(|ms| Failure::Warming { retry_after: Millis(ms) }),
    ];
    let attempt = (prop_oneof![Just("a"), Just("b")], failure)
        .prop_map(|(backend, failure)| Attempt { backend: backend.into(), failure });
    let tried = prop::collection::vec(attempt, 0..3);
    let pool = (0..3u32, 0..4_000_000u64, any::<bool>()).prop_map(|(ready_nodes, backlog, accepting)| Pool {
        ready_nodes,
        backlog: Millis(backlog),
        accepting,
        ..pool()
    });
    (any_backend("a"), any_backend("b"), prop::collection::vec(pool, 0..2), tried)
        .prop_map(|(a, b, pools, tried)| Snapshot { backends: vec![a, b], pools, tried, ..world() })
}

proptest! {
    #[test]
    fn a_decision_is_sound(request in any_request(), world in any_world()) {
        let knobs = Knobs::default();
        let decision = route(&knobs, &request, &world);
        prop_assert_eq!(&decision, &route(&knobs, &request, &world), "the same twice");
        prop_assert!(!decision.reasons.is_empty());
        match &decision.verdict {
            Verdict::Realtime(choice) | Verdict::Deferred(choice) => {
                prop_assert_eq!(choice.barred, None, "a barred place was taken");
                if let Some(deadline) = request.deadline {
                    prop_assert!(deadline > NOW, "a passed deadline ran");
                    prop_assert!(NOW + choice.eta.p95 <= deadline, "an infeasible place was taken");
                }
                prop_assert!(request.max_cost.is_none_or(|max| choice.cost <= max));
                prop_assert!(choice.lane == Lane::Realtime || request.answer == Answer::LaterWelcome
                    || request.lane == LaneWish::Deferred, "a 202 for a client that cannot read it");
                prop_assert!(!(request.lane == LaneWish::Realtime && choice.lane == Lane::Deferred));
                prop_assert!(!(request.lane == LaneWish::Deferred && choice.lane == Lane::Realtime));
            }
            Verdict::Refuse(refusal) => {
                let expected_wait = matches!(refusal.kind, RefusalKind::Overloaded);
                prop_assert!(!expected_wait || refusal.retry_after.is_some(), "a 429 without a wait");
                prop_assert!(refusal.retry_after.is_none_or(|wait| (RETRY_AFTER_MIN..=RETRY_AFTER_MAX).contains(&wait)));
            }
        }
    }

    #[test]
    fn more_work_never_takes_less(request in any_request(), world in any_world(), more in 1..1_000_000u64) {
        let larger = Request { tokens_in: Tokens(request.tokens_in.0 + more), items: request.items + 1, ..request.clone() };
        let (small, large) = (
            estimate::work(&world.backends[0].speed, &request),
            estimate::work(&world.backends[0].speed, &larger),
        );
        prop_assert!(large.p50 >= small.p50 && large.p95 >= small.p95);
    }

    #[test]
    fn more_replicas_are_never_later(request in any_request(), world in any_world()) {
        let mut richer = world.clone();
        richer.backends[0].ready_replicas += 1;
        let eta = |world: &Snapshot| estimate::choices(&Knobs::default(), &request, world)[0].eta.p50;
        prop_assert!(eta(&richer) <= eta(&world));
    }

    #[test]
    fn an_open_breaker_gets_nothing(steps in prop::collection::vec((0..3u8, 0..5_000u64), 1..200)) {
        let (mut breaker, mut now) = (Breaker::default(), NOW);
        for (step, wait) in steps {
            now = now + Millis(wait);
            let state = breaker.state(now);
            let passed = breaker.acquire(now);
            match state {
                breaker::State::Closed => prop_assert!(passed),
                breaker::State::HalfOpen => prop_assert!(!passed),
                breaker::State::Open { until } => {
                    prop_assert_eq!(passed, until <= now);
                    prop_assert!(until.since(now) <= OPEN_MAX);
                }
            }
            match step {
                _ if !passed => {}
                0 => breaker.succeeded(),
                1 => breaker.failed(Failure::Broken, now),
                _ => breaker.abandoned(),
            }
        }
    }
}
