//! Plans for properties.

use autoscale::render::Plan;
use proptest::prelude::*;

/// A whole number of renewals after the epoch: 900 s each at the usual interval.
pub const NOW_S: u64 = 1_760_000_400;

/// A count: mostly small, sometimes more than any pool has.
pub fn number() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..30_u32, 2 => 0..12_000_u32, 1 => Just(u32::MAX)]
}

/// Any plan, also one whose numbers contradict each other.
pub fn any_plan() -> impl Strategy<Value = Plan> {
    let times = (0..u64::MAX, 0..u64::MAX, prop::option::of(0..u64::MAX));
    let near = (0..9_000_u64, 0..9_000_u64, prop::option::of(0..9_000_u64))
        .prop_map(|(at, changed, surplus)| (NOW_S - at, NOW_S - changed, surplus.map(|ago| NOW_S - ago)));
    let times = prop_oneof![1 => times, 9 => near];
    let counts = (number(), number(), number(), number(), number(), number(), number());
    (times, counts, number(), number(), 0..90_000_u32).prop_map(
        |(times, counts, slots, tasks, interval_s)| Plan {
            at_unix_s: times.0,
            changed_unix_s: times.1,
            surplus_unix_s: times.2,
            spot: counts.0,
            dedicated: counts.1,
            min_spot: counts.2,
            min_dedicated: counts.3,
            max_nodes: counts.4,
            max_spot: counts.5,
            max_dedicated: counts.6,
            slots_per_node: slots,
            tasks_per_node: tasks,
            interval_s,
        },
    )
}
