//! Rendered formulas, run by the crate's own evaluator.

mod plans;

use autoscale::render::{HEADER_CHARS_MAX, Plan, body, read_header, render};
use autoscale::{Deallocation, History, Interval, Metric, Targets, Timestamp, World, parse};
use plans::{NOW_S, any_plan, number};
use proptest::collection::vec;
use proptest::prelude::*;

fn plan(spot: u32, dedicated: u32) -> Plan {
    Plan {
        at_unix_s: NOW_S,
        changed_unix_s: NOW_S,
        surplus_unix_s: None,
        spot,
        dedicated,
        min_spot: 0,
        min_dedicated: 0,
        max_nodes: 10,
        max_spot: 10,
        max_dedicated: 3,
        slots_per_node: 2,
        tasks_per_node: 8,
        interval_s: 300,
    }
}

/// Samples of pending tasks, the oldest first, the newest a minute old, 30 s apart; none is a gap.
fn history(now_s: u64, pending: &[Option<u32>]) -> History {
    let mut history = History::new(Interval::from_ms(30_000));
    for (n, tasks) in pending.iter().rev().enumerate() {
        let at = Timestamp::from_unix_ms((now_s - 60 - 30 * n as u64) * 1_000);
        if let Some(tasks) = tasks {
            history.push(at, &[(Metric::PendingTasks, f64::from(*tasks))]);
        }
    }
    history
}

/// What the service would set: spot, dedicated.
fn evaluated(formula: &str, now_s: u64, pending: &[Option<u32>]) -> (u32, u32) {
    let history = history(now_s, pending);
    let world = World {
        now: Timestamp::from_unix_ms(now_s * 1_000),
        history: &history,
        targets: Targets::default(),
        deallocation: Deallocation::Requeue,
        seed: 1,
    };
    let evaluation =
        parse(formula).unwrap_or_else(|error| panic!("{error:?} in\n{formula}")).evaluate(&world);
    assert_eq!(evaluation.error, None, "{formula}");
    let results = evaluation.results;
    assert_eq!(results.deallocation(), Deallocation::TaskCompletion);
    (results.low_priority().expect("spot is set"), results.dedicated().expect("dedicated is set"))
}

#[test]
fn a_plan_holds_grows_decays_and_ends() {
    let full = |tasks: u32| vec![Some(tasks); 40];
    let gaps = vec![None; 40];
    let sparse: Vec<_> = (0..40).map(|n| (n % 4 == 0).then_some(80)).collect();
    let ended = [vec![Some(9); 20], vec![Some(0); 20]].concat();
    let floors = Plan { min_spot: 1, min_dedicated: 1, ..plan(3, 1) };
    let minutes = |count: u64| count * 60;
    type Case<'a> = (&'a str, Plan, u64, &'a [Option<u32>], (u32, u32));
    let cases: &[Case<'_>] = &[
        ("no samples", plan(3, 1), minutes(1), &gaps, (3, 1)),
        ("too few of them", plan(3, 1), minutes(1), &sparse, (3, 1)),
        ("nothing yet, for the plan is new", plan(3, 1), minutes(1), &full(0), (3, 1)),
        ("nothing for long", plan(3, 1), minutes(16), &full(0), (0, 0)),
        ("but the floors", floors, minutes(16), &full(0), (1, 1)),
        ("ended ten minutes ago", plan(3, 1), minutes(16), &ended, (3, 1)),
        ("as planned", plan(3, 1), minutes(5), &full(20), (3, 1)),
        // A node for each of eight tasks, rounded up; one of them is dedicated.
        ("one task more than four nodes are for", plan(3, 1), minutes(5), &full(33), (4, 1)),
        ("to the cap", plan(3, 1), minutes(5), &full(9_000), (9, 1)),
        ("never over what may be spot", Plan { max_spot: 4, ..plan(3, 1) }, minutes(5), &full(9_000), (4, 1)),
        ("from nothing", plan(0, 0), minutes(5), &full(1), (1, 0)),
        // Nobody renews it: at least fifteen minutes, at most thirty.
        ("still fresh", plan(3, 1), minutes(29), &full(20), (3, 1)),
        ("old: no dedicated node", plan(3, 1), minutes(30), &full(20), (3, 0)),
        ("old: as the tasks end", plan(3, 1), minutes(30), &full(3), (2, 0)),
        ("old: to nothing", plan(3, 1), minutes(30), &full(0), (0, 0)),
        ("old: never more than planned", plan(3, 1), minutes(30), &full(9_000), (3, 0)),
        ("old: one for what came last", plan(0, 0), minutes(30), &full(9_000), (1, 0)),
        ("old and blind", plan(3, 1), minutes(30), &gaps, (3, 0)),
    ];
    for (what, plan, later_s, pending, wanted) in cases {
        assert_eq!(evaluated(&render(plan), NOW_S + later_s, pending), *wanted, "{what}");
    }
}

#[test]
fn nothing_undocumented_is_used() {
    let formula = render(&Plan { max_nodes: 10_000, max_spot: 10_000, ..plan(3, 1) });
    assert_eq!(parse(&formula).unwrap().undocumented(), &[]);
    assert!(!formula.contains("$Preempted") && !formula.contains("ceil"));
}

#[test]
fn an_unchanged_plan_has_the_same_body_until_it_is_renewed() {
    let at = |seconds| render(&Plan { at_unix_s: NOW_S + seconds, ..plan(3, 1) });
    assert_eq!(body(&at(0)), body(&at(899)));
    assert_ne!(at(0), at(899));
    assert_ne!(body(&at(899)), body(&at(900)));
    // The next plan must be able to read it.
    let surplus = Plan { surplus_unix_s: Some(NOW_S), ..plan(3, 1) };
    assert_ne!(body(&render(&surplus)), body(&at(0)));
}

#[test]
fn others_formulas_have_no_plan() {
    for formula in [
        "",
        "$TargetDedicatedNodes = 0;",
        "// switchyard v1 at=1 plan=",
        "// switchyard v1 at=x plan=spot=1\n",
    ] {
        assert_eq!(read_header(formula), None, "{formula}");
        assert!(formula.ends_with(body(formula)));
    }
    assert_eq!(body("$TargetDedicatedNodes = 0;"), "$TargetDedicatedNodes = 0;");
    let newer = render(&plan(3, 1)).replacen("spot=3", "spot=3,hue=7", 1);
    assert_eq!(read_header(&newer), Some(plan(3, 1)));
}

proptest! {
    #[test]
    fn targets_stay_within_caps_and_floors(plan in any_plan(), pending in vec(prop::option::of(number()), 0..60)) {
        let formula = render(&plan);
        let (spot, dedicated) = evaluated(&formula, NOW_S, &pending);
        let max = plan.max_nodes.min(10_000);
        prop_assert!(spot + dedicated <= max);
        prop_assert!(spot <= plan.max_spot && dedicated <= plan.max_dedicated);
        prop_assert!(dedicated >= plan.min_dedicated.min(plan.max_dedicated).min(max));
        let room = max - plan.dedicated.max(plan.min_dedicated).min(plan.max_dedicated).min(max);
        prop_assert!(spot >= plan.min_spot.min(plan.max_spot).min(room));
        // A formula never buys a dedicated node by itself.
        prop_assert!(dedicated <= plan.dedicated.max(plan.min_dedicated));
    }

    #[test]
    fn a_formula_is_within_the_services_limits_and_reads_back(plan in any_plan()) {
        let formula = render(&plan);
        prop_assert!(formula.chars().count() <= 8_192, "{} characters", formula.len());
        prop_assert!(formula.lines().next().unwrap().len() <= HEADER_CHARS_MAX);
        prop_assert!(parse(&formula).unwrap().statements().len() <= 100);
        let read = read_header(&formula).unwrap();
        prop_assert_eq!(render(&read), formula.clone());
        prop_assert_eq!(read.at_unix_s, plan.at_unix_s);
        prop_assert!(formula.ends_with(body(&formula)) && !body(&formula).contains("v1"));
    }

    #[test]
    fn nodes_are_rounded_up_exactly(tasks in 0..40_000_u32, each in 1..300_u32, max in 1..2_000_u32) {
        let plan = Plan { max_nodes: max, max_spot: max, slots_per_node: 1, tasks_per_node: each, ..plan(0, 0) };
        let (spot, _) = evaluated(&render(&plan), NOW_S, &[Some(tasks); 20]);
        prop_assert_eq!(spot, tasks.div_ceil(each).min(max));
    }
}
