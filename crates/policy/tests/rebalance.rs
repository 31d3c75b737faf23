//! The size of a pool as a table and as properties.

use policy::knobs::Knobs;
use policy::reason::Code;
use policy::rebalance::{
    ALERT_FRESH, Alert, Asks, Decision, Demand, Formula, Nodes, Observed, Plan, SETBACK_FRESH, STEP_NODES,
    Setback, SetbackKind, UNUSABLE_RETRY, rebalance,
};
use policy::snapshot::{Sight, Spread};
use policy::units::{MicroUsd, Millis, UnixMs};
use proptest::collection::vec;
use proptest::prelude::*;

/// Twenty minutes into an hour.
const NOW: UnixMs = UnixMs(1_760_000_400_000 - 1_760_000_400_000 % 3_600_000 + 1_200_000);
const MINUTE: u64 = 60_000;
/// A T4 of Container Apps, for an hour of one slot.
const REALTIME_HOUR: u64 = 1_559_000;

fn minutes(count: u64) -> Millis {
    Millis(count * MINUTE)
}

/// So many minutes of work in pieces, due in so many minutes, that realtime serves too.
fn job(work: u64, parallel: u32, due: u64) -> Demand {
    let realtime_cost = Some(MicroUsd(REALTIME_HOUR * work / 60));
    Demand { deadline: NOW + minutes(due), work: minutes(work), parallel, realtime_cost }
}

/// The same that nothing but the pool serves.
fn only_here(work: u64, parallel: u32, due: u64) -> Demand {
    Demand { realtime_cost: None, ..job(work, parallel, due) }
}

fn spot() -> Nodes {
    Nodes { price_per_hour: Some(MicroUsd(158_000)), ..Nodes::default() }
}

/// Nodes that are wanted, here, and busy.
fn here(nodes: Nodes, count: u32, busy: u32) -> Nodes {
    Nodes { target: count, usable: count, busy, ..nodes }
}

fn seen(demand: &[Demand]) -> Observed {
    Observed {
        now: NOW,
        sight: Sight::Fresh,
        slots_per_node: 1,
        max_nodes: 100,
        spot: spot(),
        dedicated: Nodes { price_per_hour: Some(MicroUsd(526_000)), ..Nodes::default() },
        demand: demand.to_vec(),
        lead: Spread { p50: minutes(5), p95: minutes(8) },
        formula: Formula {
            enabled: true,
            ours: true,
            evaluated: Some(NOW - minutes(4)),
            interval: minutes(5),
            failed: false,
        },
        ..Observed::default()
    }
}

fn knobs() -> Knobs {
    Knobs { max_nodes: 50, max_dedicated_nodes: 10, ..Knobs::default() }
}

fn setback(kind: SetbackKind, spot: bool, age: Millis) -> Vec<Setback> {
    vec![Setback { kind, spot, since: NOW - age }]
}

fn alert(asks: Asks, age: Millis) -> Vec<Alert> {
    vec![Alert { rule: "queue-depth".into(), asks, fired: NOW - age }]
}

/// What was planned ten minutes ago, its surplus known since then.
fn planned(spot: u32, dedicated: u32, surplus: Option<Millis>) -> Option<Plan> {
    let at = NOW - minutes(10);
    Some(Plan {
        at,
        spot,
        dedicated,
        changed: at,
        surplus_since: surplus.map(|age| NOW - age),
        ..Plan::default()
    })
}

fn sized(decision: &Decision) -> (u32, u32) {
    let plan = decision.plan.expect("a plan");
    (plan.spot, plan.dedicated)
}

fn has(decision: &Decision, code: Code) -> bool {
    decision.reasons.iter().any(|reason| reason.code == code)
}

fn check(cases: &[(&str, Knobs, Observed, (u32, u32), &[Code])]) {
    for (what, knobs, observed, size, codes) in cases {
        let decision = rebalance(knobs, observed);
        let told: Vec<Code> = decision.reasons.iter().map(|reason| reason.code).collect();
        assert_eq!(sized(&decision), *size, "{what}: {told:?}");
        assert_eq!(told, *codes, "{what}");
        assert_eq!(decision, rebalance(knobs, observed), "{what}: the same twice");
    }
}

#[test]
fn few_nodes_for_long_and_more_where_a_deadline_asks() {
    use Code::{Ceiling, Demand as Needed, Idle, LeftToRealtime, StepLimited};
    let tasks = |queued_tasks| Observed { queued_tasks, ..seen(&[]) };
    check(&[
        ("nothing", knobs(), seen(&[]), (0, 0), &[Idle]),
        (
            "what is past is nobody's",
            knobs(),
            Observed { now: NOW + minutes(5), ..seen(&[job(5, 5, 5)]) },
            (0, 0),
            &[Idle],
        ),
        ("a little", knobs(), seen(&[job(1, 1, 600)]), (1, 0), &[Needed]),
        ("a task of nobody's", knobs(), tasks(1), (1, 0), &[Needed]),
        // Due in 240 minutes: 4 for the rescue, 1 for a piece, 8 until a node works, 227 a node.
        ("slack", knobs(), seen(&[job(220, 220, 240)]), (1, 0), &[Needed]),
        ("less slack", knobs(), seen(&[job(230, 230, 240)]), (2, 0), &[Needed]),
        (
            "two slots a node",
            knobs(),
            Observed { slots_per_node: 2, ..seen(&[job(230, 230, 240)]) },
            (1, 0),
            &[Needed],
        ),
        ("the near one decides", knobs(), seen(&[job(200, 200, 80), job(60, 60, 9_000)]), (3, 0), &[Needed]),
        ("both together", knobs(), seen(&[job(130, 130, 80), job(130, 130, 90)]), (4, 0), &[Needed]),
        ("no more than pieces", knobs(), seen(&[only_here(300, 3, 70)]), (1, 0), &[LeftToRealtime, Needed]),
        ("pieces side by side", knobs(), seen(&[only_here(150, 3, 70)]), (3, 0), &[Needed]),
        ("no node is in time", knobs(), seen(&[job(60, 60, 10)]), (1, 0), &[LeftToRealtime, Needed]),
        (
            "a boot for two minutes is dearer than realtime",
            knobs(),
            seen(&[job(60, 60, 14)]),
            (1, 0),
            &[LeftToRealtime, Needed],
        ),
        (
            "at most",
            knobs(),
            seen(&[only_here(9_000, 900, 180)]),
            (10, 0),
            &[StepLimited, LeftToRealtime, Needed],
        ),
        (
            "at the ceiling",
            knobs(),
            Observed { spot: here(spot(), 50, 50), ..seen(&[only_here(20_000, 900, 180)]) },
            (50, 0),
            &[Ceiling, LeftToRealtime, Needed],
        ),
        (
            "an alert lowers it",
            knobs(),
            Observed {
                spot: here(spot(), 4, 4),
                max_nodes: 4,
                alerts: alert(Asks::Fewer, minutes(5)),
                ..seen(&[job(230, 230, 240)])
            },
            (2, 0),
            &[Code::Alert, Needed],
        ),
        (
            "a knob lowers it",
            Knobs { max_nodes: 3, ..knobs() },
            Observed { spot: here(spot(), 4, 4), ..seen(&[job(230, 230, 240)]) },
            (3, 0),
            &[Ceiling, Needed],
        ),
    ]);
}

#[test]
fn dedicated_nodes_are_for_deadlines_that_spot_cannot_promise() {
    use Code::{Demand as Needed, LeftToRealtime, QuotaReached, ScaleDeadline, SpotUnavailable};
    // Too much for five nodes that are bought when the setback is stale.
    let urgent = || seen(&[only_here(120, 120, 45)]);
    let more_urgent = || seen(&[only_here(150, 150, 45)]);
    let with = |kind, age| Observed { setbacks: setback(kind, true, age), ..urgent() };
    let evicted = |rate, demand: &[Demand]| Observed { evictions_per_node_hour_milli: rate, ..seen(demand) };
    let fresh = minutes(2);
    check(&[
        ("spot is there", knobs(), urgent(), (4, 0), &[Needed]),
        (
            "the region has none",
            knobs(),
            with(SetbackKind::NoCapacity, fresh),
            (4, 4),
            &[ScaleDeadline, SpotUnavailable, Needed],
        ),
        ("quota", knobs(), with(SetbackKind::Quota, fresh), (4, 4), &[ScaleDeadline, QuotaReached, Needed]),
        ("stale", knobs(), with(SetbackKind::Quota, SETBACK_FRESH + minutes(1)), (4, 0), &[Needed]),
        (
            "of an earlier target",
            knobs(),
            Observed { previous: planned(2, 0, None), ..with(SetbackKind::NoCapacity, minutes(12)) },
            (4, 0),
            &[Needed],
        ),
        (
            "there is time to wait for spot",
            knobs(),
            Observed { setbacks: setback(SetbackKind::NoCapacity, true, fresh), ..seen(&[job(30, 30, 900)]) },
            (1, 0),
            &[SpotUnavailable, Needed],
        ),
        (
            "realtime is cheaper than a boot for two minutes",
            knobs(),
            Observed { setbacks: setback(SetbackKind::NoCapacity, true, fresh), ..seen(&[job(10, 10, 15)]) },
            (5, 0),
            &[SpotUnavailable, LeftToRealtime, Needed],
        ),
        (
            "taken away",
            knobs(),
            Observed { spot: Nodes { target: 4, usable: 1, preempted: 3, ..spot() }, ..more_urgent() },
            (4, 3),
            &[ScaleDeadline, SpotUnavailable, Needed],
        ),
        (
            "ordered and overdue",
            knobs(),
            Observed {
                spot: Nodes { target: 4, usable: 1, ..spot() },
                previous: planned(4, 0, None),
                ..more_urgent()
            },
            (4, 3),
            &[ScaleDeadline, SpotUnavailable, Needed],
        ),
        (
            "no dedicated ones either",
            knobs(),
            Observed {
                setbacks: [
                    setback(SetbackKind::NoCapacity, true, fresh),
                    setback(SetbackKind::Quota, false, fresh),
                ]
                .concat(),
                ..urgent()
            },
            (4, 0),
            &[SpotUnavailable, LeftToRealtime, Needed],
        ),
        // An eviction 16 minutes before the end leaves no time for a boot, and comes once in four.
        (
            "no time for an eviction",
            knobs(),
            evicted(1_000, &[only_here(8, 8, 17)]),
            (2, 1),
            &[ScaleDeadline, Needed],
        ),
        ("evictions are rare", knobs(), evicted(50, &[only_here(8, 8, 17)]), (2, 0), &[Needed]),
        ("time for an eviction", knobs(), evicted(1_000, &[only_here(8, 8, 30)]), (1, 0), &[Needed]),
        (
            "spot is dearer in the end",
            knobs(),
            evicted(20_000, &[only_here(60, 60, 600)]),
            (0, 1),
            &[Code::DedicatedCheaper, Needed],
        ),
        (
            "spot is not bought",
            knobs(),
            Observed { spot: Nodes::default(), ..urgent() },
            (0, 4),
            &[Code::DedicatedCheaper, Needed],
        ),
    ]);
}

#[test]
fn nodes_are_kept_while_that_is_cheaper_than_a_boot() {
    use Code::{Cooldown, Demand as Needed, Floor, Idle};
    let idle = |surplus| Observed { spot: here(spot(), 3, 0), previous: planned(3, 0, surplus), ..seen(&[]) };
    let floors = Knobs { min_spot_nodes: 2, min_dedicated_nodes: 1, ..knobs() };
    let dedicated = Nodes { price_per_hour: Some(MicroUsd(526_000)), ..Nodes::default() };
    check(&[
        ("just idle", knobs(), idle(None), (3, 0), &[Cooldown, Idle]),
        ("a boot's time idle", knobs(), idle(Some(minutes(5))), (0, 0), &[Idle]),
        ("down to the floors", floors.clone(), idle(Some(minutes(5))), (2, 1), &[Floor, Idle]),
        ("a floor is bought", floors, seen(&[]), (2, 1), &[Floor, Idle]),
        (
            "busy nodes stay while there is work",
            knobs(),
            Observed {
                spot: here(spot(), 3, 2),
                running_tasks: 2,
                previous: planned(3, 0, Some(minutes(9))),
                ..seen(&[job(5, 5, 900)])
            },
            (2, 0),
            &[Needed],
        ),
        (
            "a busy dedicated node drains once spot works",
            knobs(),
            Observed {
                spot: here(spot(), 1, 1),
                dedicated: here(dedicated, 2, 2),
                previous: planned(1, 2, Some(minutes(5))),
                ..seen(&[job(5, 5, 900)])
            },
            (1, 0),
            &[Needed],
        ),
        (
            "and stays while nobody else works",
            knobs(),
            Observed {
                dedicated: here(dedicated, 2, 2),
                previous: planned(0, 2, Some(minutes(5))),
                ..seen(&[job(5, 5, 900)])
            },
            (1, 2),
            &[Needed],
        ),
    ]);
}

#[test]
fn caps_are_caps() {
    use Code::{Alert as Alerted, BudgetSpent, Demand as Needed, Floor, Idle, NodesNeverUsable};
    let capped = |usd: u64| Knobs { max_usd_per_hour: Some(MicroUsd(usd)), ..knobs() };
    let spent = |usd: u64, observed: Observed| Observed { spent_this_hour: MicroUsd(usd), ..observed };
    let work = || seen(&[only_here(600, 600, 189)]);
    let broken = |boots: u32, age: u64| Observed {
        spot: Nodes { target: 3, usable: 1, broken: 2, ..spot() },
        unusable_boots: boots,
        last_unusable: Some(NOW - minutes(age)),
        ..seen(&[only_here(600, 600, 189)])
    };
    let never = |age| Observed { spot: Nodes { target: 3, broken: 3, ..spot() }, ..broken(3, age) };
    let retry = UNUSABLE_RETRY.0 / MINUTE;
    check(&[
        ("no cap", knobs(), work(), (4, 0), &[Needed]),
        ("three at most", capped(480_000), work(), (3, 0), &[BudgetSpent, Needed]),
        // Two thirds of the hour are left, and so must be two thirds of the money.
        ("on pace", capped(480_000), spent(160_000, work()), (3, 0), &[BudgetSpent, Needed]),
        ("ahead of pace", capped(480_000), spent(320_000, work()), (1, 0), &[BudgetSpent, Needed]),
        ("spent", capped(480_000), spent(480_000, work()), (0, 0), &[BudgetSpent, Needed]),
        (
            "floors yield to it",
            Knobs { min_spot_nodes: 2, ..capped(160_000) },
            seen(&[]),
            (1, 0),
            &[BudgetSpent, Floor, Idle],
        ),
        (
            "an alert adds one",
            knobs(),
            Observed { alerts: alert(Asks::More, minutes(5)), ..work() },
            (5, 0),
            &[Alerted, Needed],
        ),
        (
            "an old one does not",
            knobs(),
            Observed { alerts: alert(Asks::More, ALERT_FRESH + minutes(1)), ..work() },
            (4, 0),
            &[Needed],
        ),
        (
            "nor without work",
            knobs(),
            Observed { alerts: alert(Asks::More, minutes(5)), ..seen(&[]) },
            (0, 0),
            &[Idle],
        ),
        (
            "nor one that asks nothing",
            knobs(),
            Observed { alerts: alert(Asks::Nothing, minutes(5)), ..work() },
            (4, 0),
            &[Needed],
        ),
        ("broken nodes are replaced", knobs(), broken(2, 5), (6, 0), &[Needed]),
        ("not for ever", knobs(), broken(3, 5), (3, 0), &[NodesNeverUsable, Needed]),
        ("but tried", knobs(), broken(3, retry), (4, 0), &[NodesNeverUsable, Needed]),
        ("none works: they are given back", knobs(), never(5), (0, 0), &[NodesNeverUsable, Needed]),
        ("and one is tried", knobs(), never(retry), (1, 0), &[NodesNeverUsable, Needed]),
    ]);
}

#[test]
fn blind_holds_and_a_formula_that_nobody_evaluates_is_kicked() {
    let blind = rebalance(&knobs(), &Observed { sight: Sight::Blind, ..seen(&[job(60, 60, 80)]) });
    assert_eq!((blind.plan, blind.kick, blind.reasons[0].code), (None, false, Code::Blind));
    assert!(blind.reasons[0].next.is_some());

    let formula = |enabled, ours, age| Formula {
        enabled,
        ours,
        evaluated: Some(NOW - age),
        interval: minutes(5),
        failed: false,
    };
    let cases = [
        (formula(true, true, minutes(12)), false),
        (formula(true, true, minutes(13)), true),
        (formula(true, false, minutes(13)), false),
        (formula(false, true, minutes(13)), false),
        (Formula { evaluated: None, ..formula(true, true, minutes(0)) }, false),
    ];
    for (formula, kicked) in cases {
        let decision = rebalance(&knobs(), &Observed { formula, ..seen(&[]) });
        assert_eq!((decision.kick, has(&decision, Code::AutoscaleStopped)), (kicked, kicked), "{formula:?}");
    }
}

#[test]
fn a_generation_lasts_as_long_as_its_targets() {
    let before = Plan { changed: NOW - minutes(50), ..planned(1, 0, None).unwrap() };
    let observed = Observed { previous: Some(before), ..seen(&[job(1, 1, 600)]) };
    assert_eq!(rebalance(&knobs(), &observed).plan.unwrap().changed, before.changed);
    let observed = Observed { previous: Some(Plan { spot: 2, ..before }), ..observed };
    assert_eq!(rebalance(&knobs(), &observed).plan.unwrap().changed, NOW);
}

fn any_nodes() -> impl Strategy<Value = Nodes> {
    let price = prop_oneof![1 => Just(None), 5 => (0..4_000_000_u64).prop_map(|price| Some(MicroUsd(price)))];
    (0..40_u32, 0..40_u32, 0..40_u32, 0..9_u32, 0..9_u32, 0..9_u32, price).prop_map(
        |(target, usable, busy, starting, preempted, broken, price_per_hour)| Nodes {
            target,
            usable,
            busy: busy.min(usable),
            starting,
            preempted,
            broken,
            price_per_hour,
        },
    )
}

fn any_demand() -> impl Strategy<Value = Demand> {
    let realtime = prop_oneof![Just(None), (0..90_000_000_u64).prop_map(|cost| Some(MicroUsd(cost)))];
    let work = prop_oneof![9 => 0..50_000_000_u64, 1 => Just(u64::MAX)];
    (0..900_u64, work, 0..500_u32, realtime).prop_map(|(due, work, parallel, realtime_cost)| Demand {
        deadline: NOW + minutes(due),
        work: Millis(work),
        parallel,
        realtime_cost,
    })
}

fn any_setback() -> impl Strategy<Value = Setback> {
    let kinds = [SetbackKind::Quota, SetbackKind::NoCapacity, SetbackKind::Other];
    (proptest::sample::select(kinds.to_vec()), any::<bool>(), 0..30_u64)
        .prop_map(|(kind, spot, age)| Setback { kind, spot, since: NOW - minutes(age) })
}

fn any_alert() -> impl Strategy<Value = Alert> {
    let asks = [Asks::More, Asks::Fewer, Asks::Nothing];
    (proptest::sample::select(asks.to_vec()), 0..90_u64).prop_map(|(asks, age)| Alert {
        rule: "rule".into(),
        asks,
        fired: NOW - minutes(age),
    })
}

fn any_observed() -> impl Strategy<Value = Observed> {
    let counts = (0..5_u32, 0..60_u32, 0..99_u64, 0..99_u64, 0..30_000_u64, 0..6_u32);
    let previous = (0..40_u32, 0..9_u32, prop::option::of(0..20_u64));
    let seen_of =
        (any_nodes(), any_nodes(), vec(any_demand(), 0..9), vec(any_setback(), 0..3), vec(any_alert(), 0..2));
    (counts, previous, seen_of, 0..9_000_000_u64).prop_map(|(counts, previous, parts, spent)| {
        let (
            slots_per_node,
            max_nodes,
            queued_tasks,
            running_tasks,
            evictions_per_node_hour_milli,
            unusable_boots,
        ) = counts;
        let (spot, dedicated, demand, setbacks, alerts) = parts;
        Observed {
            slots_per_node,
            max_nodes,
            queued_tasks,
            running_tasks,
            evictions_per_node_hour_milli,
            unusable_boots,
            spot,
            dedicated,
            demand,
            setbacks,
            alerts,
            previous: planned(previous.0, previous.1, previous.2.map(minutes)),
            spent_this_hour: MicroUsd(spent),
            ..seen(&[])
        }
    })
}

fn any_knobs() -> impl Strategy<Value = Knobs> {
    let budget = prop::option::of(0..9_000_000_u64);
    (0..60_u32, 0..60_u32, 0..20_u32, 0..20_u32, budget).prop_map(
        |(max, dedicated, spot_floor, floor, budget)| Knobs {
            max_nodes: max,
            max_dedicated_nodes: dedicated,
            min_spot_nodes: spot_floor,
            min_dedicated_nodes: floor,
            max_usd_per_hour: budget.map(MicroUsd),
            ..Knobs::default()
        },
    )
}

proptest! {
    #[test]
    fn a_plan_stays_within_every_cap(knobs in any_knobs(), observed in any_observed()) {
        let decision = rebalance(&knobs, &observed);
        let plan = decision.plan.unwrap();
        prop_assert_eq!(&decision, &rebalance(&knobs, &observed));
        prop_assert!(!decision.reasons.is_empty());
        prop_assert!(plan.spot + plan.dedicated <= plan.max_nodes);
        prop_assert!(plan.max_nodes <= knobs.max_nodes.min(observed.max_nodes));
        prop_assert!(plan.dedicated <= plan.max_dedicated && plan.max_dedicated <= knobs.max_dedicated_nodes);
        prop_assert!(plan.min_spot <= plan.spot && plan.min_dedicated <= plan.dedicated);
        prop_assert!(plan.tasks_per_node.is_power_of_two() && plan.slots_per_node > 0);
        let before = observed.spot.target + observed.dedicated.target;
        prop_assert!(plan.spot + plan.dedicated <= before + before.max(STEP_NODES));
        if let Some(cap) = knobs.max_usd_per_hour {
            let price = |nodes: &Nodes| nodes.price_per_hour.unwrap_or_default().0;
            let rate = u64::from(plan.spot) * price(&observed.spot)
                + u64::from(plan.dedicated) * price(&observed.dedicated);
            prop_assert!(rate <= cap.0);
            // Twenty minutes of the hour are gone.
            prop_assert!(rate * 2 / 3 <= cap.0.saturating_sub(observed.spent_this_hour.0));
        }
    }

    #[test]
    fn floors_hold_where_no_stronger_rule_speaks(knobs in any_knobs(), observed in any_observed()) {
        let knobs = Knobs { max_usd_per_hour: None, ..knobs };
        let observed = Observed { unusable_boots: 0, setbacks: vec![], ..observed };
        let plan = rebalance(&knobs, &observed).plan.unwrap();
        let total = observed.spot.target + observed.dedicated.target;
        let room = plan.max_nodes.min(total + total.max(STEP_NODES));
        if knobs.min_spot_nodes + knobs.min_dedicated_nodes <= room
            && knobs.min_dedicated_nodes <= plan.max_dedicated
            && observed.spot.price_per_hour.is_some()
        {
            prop_assert!(plan.spot + plan.dedicated >= knobs.min_spot_nodes + knobs.min_dedicated_nodes);
        }
    }

    #[test]
    fn nothing_is_bought_for_nothing(knobs in any_knobs(), observed in any_observed()) {
        let observed = Observed { demand: vec![], queued_tasks: 0, running_tasks: 0, ..observed };
        let plan = rebalance(&knobs, &observed).plan.unwrap();
        prop_assert!(plan.spot <= observed.spot.target.max(knobs.min_spot_nodes + observed.spot.broken));
        prop_assert!(plan.dedicated <= observed.dedicated.target.max(knobs.min_dedicated_nodes + observed.dedicated.broken));
        // After the cooldown nothing is left but the floors.
        let over = Plan { surplus_since: Some(NOW - minutes(15)), ..observed.previous.unwrap() };
        let knobs = Knobs { min_spot_nodes: 0, min_dedicated_nodes: 0, ..knobs };
        let plan = rebalance(&knobs, &Observed { previous: Some(over), ..observed }).plan.unwrap();
        prop_assert_eq!((plan.spot, plan.dedicated), (0, 0));
    }

    #[test]
    fn more_work_never_means_fewer_nodes(demand in vec(any_demand(), 0..9), more in any_demand(), evictions in 0..3_000_u64) {
        let size = |demand: Vec<Demand>| {
            let observed = Observed { evictions_per_node_hour_milli: evictions, ..seen(&demand) };
            let (spot, dedicated) = sized(&rebalance(&knobs(), &observed));
            spot + dedicated
        };
        let with = [demand.clone(), vec![more]].concat();
        prop_assert!(size(demand) <= size(with));
    }

    #[test]
    fn working_spot_nodes_stay_while_there_is_work(knobs in any_knobs(), observed in any_observed()) {
        let knobs = Knobs { max_usd_per_hour: None, ..knobs };
        let observed = Observed { unusable_boots: 0, queued_tasks: 1, ..observed };
        let plan = rebalance(&knobs, &observed).plan.unwrap();
        if observed.spot.price_per_hour.is_some() {
            let total = observed.spot.target + observed.dedicated.target;
            let most = plan.max_nodes.min(total + total.max(STEP_NODES));
            prop_assert!(plan.spot >= observed.spot.busy.min(most));
        }
    }
}
