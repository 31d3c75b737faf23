//! What holds for every pool, whatever was seen of it.

use policy::knobs::Knobs;
use policy::rebalance::{
    Alert, Asks, Demand, Nodes, Observed, Plan, STEP_NODES, Setback, SetbackKind, rebalance,
};
use policy::units::{MicroUsd, Millis};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{NOW, knobs, minutes, planned, seen, sized};

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
        prop_assert!(plan.spot <= plan.max_spot && plan.max_spot <= plan.max_nodes);
        prop_assert!(plan.min_spot <= plan.spot && plan.min_dedicated <= plan.dedicated);
        prop_assert!(plan.tasks_per_node.is_power_of_two() && plan.slots_per_node > 0);
        let before = observed.spot.target + observed.dedicated.target;
        prop_assert!(plan.spot + plan.dedicated <= before + before.max(STEP_NODES));
        if let Some(cap) = knobs.max_usd_per_hour {
            let price = |nodes: &Nodes| nodes.price_per_hour.unwrap_or_default().0;
            let most = observed.spot.price_per_hour.map_or(plan.spot, |_| plan.max_spot.min(plan.max_nodes - plan.dedicated));
            let rate = u64::from(most) * price(&observed.spot)
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
