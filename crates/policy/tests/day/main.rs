//! Whole days of a pool in virtual time: observe, decide, render the formula, evaluate it, boot and evict.

mod cloud;

use std::ops::Range;

use autoscale::render::{self, body, read_header, render};
use cloud::{Cloud, Dice, Node, STEP_S, State};
use policy::knobs::Knobs;
use policy::rebalance::{Demand, Formula, Nodes, Observed, Plan, Setback, SetbackKind, rebalance};
use policy::rescue::RESCUE_WITHIN;
use policy::snapshot::{Sight, Spread};
use policy::units::{MicroUsd, Millis, UnixMs};

const START_S: u64 = 1_760_000_400;
const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;
const INTERVAL_S: u64 = 300;
const SPOT_HOUR: u64 = 158_000;
const DEDICATED_HOUR: u64 = 526_000;
/// A T4 of Container Apps.
const REALTIME_HOUR: u64 = 1_559_000;
const NODES_MAX: u32 = 12;

/// Work that arrives: when, how many tasks of how long, and until when, in seconds of the day.
#[derive(Clone, Debug)]
struct Job {
    at_s: u64,
    tasks: u64,
    task_s: u64,
    due_s: u64,
}

#[derive(Clone, Debug)]
struct Scenario {
    jobs: Vec<Job>,
    storms: Vec<Range<u64>>,
    evictions_per_node_hour_milli: u64,
    spot: bool,
    seed: u64,
    /// From then on nobody plans and nobody rescues.
    handler_dies_s: u64,
    ends_s: u64,
}

/// What a day came to.
#[derive(Debug, Default)]
struct Day {
    micro_usd: u64,
    late: usize,
    rescued: usize,
    killed: usize,
    enabled: usize,
    nodes_most: usize,
    dedicated_most: usize,
    nodes_left: usize,
    tasks_left: usize,
}

fn live(scenario: &Scenario) -> Day {
    let storms = scenario.storms.iter().map(|storm| START_S + storm.start..START_S + storm.end).collect();
    let mut cloud = Cloud::new(START_S, storms, scenario.evictions_per_node_hour_milli, scenario.seed);
    let mut day = Day::default();
    let (mut formula, mut evaluated_s) = (String::new(), START_S);
    while cloud.now_s < START_S + scenario.ends_s {
        let since_start = cloud.now_s - START_S;
        arrive(&mut cloud, scenario, since_start);
        if since_start < scenario.handler_dies_s {
            rescue(&mut cloud, &mut day);
            if since_start.is_multiple_of(INTERVAL_S) {
                let decision = rebalance(&knobs(scenario), &observe(&cloud, scenario, &formula, evaluated_s));
                let next = render(&to_formula(&decision.plan.expect("it is not blind")));
                if body(&next) != body(&formula) {
                    (formula, evaluated_s) = (next, 0);
                    day.enabled += 1;
                }
            }
        }
        if cloud.now_s >= evaluated_s + INTERVAL_S {
            let evaluation = cloud.evaluate(&formula);
            cloud.resize(&evaluation);
            evaluated_s = cloud.now_s;
        }
        cloud.step();
        account(&cloud, &mut day);
    }
    day.killed = cloud.killed;
    day.nodes_left = cloud.nodes.len();
    day.tasks_left = cloud.pending();
    day
}

fn arrive(cloud: &mut Cloud, scenario: &Scenario, since_start: u64) {
    for (n, job) in scenario.jobs.iter().enumerate() {
        if (since_start..since_start + STEP_S).contains(&job.at_s) {
            let task =
                cloud::Task { job: n, deadline_s: START_S + job.due_s, left_s: job.task_s, done: false };
            cloud.tasks.extend((0..job.tasks).map(|_| task.clone()));
        }
    }
}

/// Takes to the realtime lane what would be late.
fn rescue(cloud: &mut Cloud, day: &mut Day) {
    let running: Vec<usize> = cloud.nodes.iter().filter_map(|node| node.task).collect();
    for (n, task) in cloud.tasks.iter_mut().enumerate().filter(|(_, task)| !task.done) {
        let rescue_s = task.deadline_s - RESCUE_WITHIN.0 / 1_000;
        let ends_in_time = running.contains(&n) && cloud.now_s + 2 * task.left_s <= task.deadline_s;
        if cloud.now_s >= rescue_s && !ends_in_time {
            task.done = true;
            day.rescued += 1;
            day.micro_usd += REALTIME_HOUR * task.left_s / HOUR;
        }
    }
}

fn account(cloud: &Cloud, day: &mut Day) {
    let paid = |node: &&Node| !matches!(node.state, State::Preempted { .. });
    let hourly: u64 =
        cloud.nodes.iter().filter(paid).map(|node| if node.spot { SPOT_HOUR } else { DEDICATED_HOUR }).sum();
    day.micro_usd += hourly * STEP_S / HOUR;
    day.late += cloud.tasks.iter().filter(|task| !task.done && task.deadline_s == cloud.now_s).count();
    day.nodes_most = day.nodes_most.max(cloud.nodes.iter().filter(|node| !node.draining).count());
    day.dedicated_most = day.dedicated_most.max(cloud.nodes.iter().filter(|node| !node.spot).count());
}

fn knobs(scenario: &Scenario) -> Knobs {
    let max_dedicated_nodes = if scenario.spot { NODES_MAX / 2 } else { NODES_MAX };
    Knobs { max_nodes: NODES_MAX, max_dedicated_nodes, ..Knobs::default() }
}

fn observe(cloud: &Cloud, scenario: &Scenario, formula: &str, evaluated_s: u64) -> Observed {
    let ms = |seconds: u64| UnixMs(seconds * 1_000);
    let running = cloud.nodes.iter().filter(|node| node.task.is_some()).count() as u64;
    let mut demand: Vec<Demand> = (0..scenario.jobs.len()).filter_map(|job| demand_of(cloud, job)).collect();
    demand.sort_by_key(|demand| demand.deadline);
    let setback = cloud.short_since_s.map(|since| Setback {
        kind: SetbackKind::NoCapacity,
        spot: true,
        since: ms(since),
    });
    Observed {
        now: ms(cloud.now_s),
        sight: Sight::Fresh,
        slots_per_node: 1,
        max_nodes: NODES_MAX,
        spot: nodes(cloud, true, scenario.spot.then_some(SPOT_HOUR)),
        dedicated: nodes(cloud, false, Some(DEDICATED_HOUR)),
        demand,
        queued_tasks: cloud.pending() as u64 - running,
        running_tasks: running,
        lead: Spread { p50: Millis::from_secs(7 * MINUTE), p95: Millis::from_secs(9 * MINUTE) },
        evictions_per_node_hour_milli: scenario.evictions_per_node_hour_milli,
        setbacks: setback.into_iter().collect(),
        formula: Formula {
            enabled: !formula.is_empty(),
            ours: true,
            evaluated: Some(ms(evaluated_s)),
            interval: Millis::from_secs(INTERVAL_S),
            failed: false,
        },
        previous: read_header(formula).map(of_formula),
        ..Observed::default()
    }
}

fn demand_of(cloud: &Cloud, job: usize) -> Option<Demand> {
    let open = || cloud.tasks.iter().filter(|task| task.job == job && !task.done);
    let left_s: u64 = open().map(|task| task.left_s).sum();
    let deadline_s = open().next()?.deadline_s;
    Some(Demand {
        deadline: UnixMs(deadline_s * 1_000),
        work: Millis::from_secs(left_s),
        parallel: open().count() as u32,
        realtime_cost: Some(MicroUsd(REALTIME_HOUR * left_s / HOUR)),
    })
}

fn nodes(cloud: &Cloud, spot: bool, price: Option<u64>) -> Nodes {
    let count = |wanted: fn(&Node) -> bool| {
        cloud.nodes.iter().filter(|node| node.spot == spot && !node.draining && wanted(node)).count() as u32
    };
    Nodes {
        target: if spot { cloud.targets.low_priority } else { cloud.targets.dedicated },
        usable: count(|node| node.state == State::Ready),
        busy: count(|node| node.task.is_some()),
        starting: count(|node| matches!(node.state, State::Starting { .. })),
        preempted: count(|node| matches!(node.state, State::Preempted { .. })),
        broken: 0,
        price_per_hour: price.map(MicroUsd),
    }
}

fn to_formula(plan: &Plan) -> render::Plan {
    render::Plan {
        at_unix_s: plan.at.0 / 1_000,
        changed_unix_s: plan.changed.0 / 1_000,
        surplus_unix_s: plan.surplus_since.map(|since| since.0 / 1_000),
        spot: plan.spot,
        dedicated: plan.dedicated,
        min_spot: plan.min_spot,
        min_dedicated: plan.min_dedicated,
        max_nodes: plan.max_nodes,
        max_spot: plan.max_spot,
        max_dedicated: plan.max_dedicated,
        slots_per_node: plan.slots_per_node,
        tasks_per_node: plan.tasks_per_node,
        interval_s: INTERVAL_S as u32,
    }
}

fn of_formula(plan: render::Plan) -> Plan {
    let ms = |seconds: u64| UnixMs(seconds * 1_000);
    Plan {
        at: ms(plan.at_unix_s),
        changed: ms(plan.changed_unix_s),
        surplus_since: plan.surplus_unix_s.map(ms),
        spot: plan.spot,
        dedicated: plan.dedicated,
        min_spot: plan.min_spot,
        min_dedicated: plan.min_dedicated,
        max_nodes: plan.max_nodes,
        max_spot: plan.max_spot,
        max_dedicated: plan.max_dedicated,
        slots_per_node: plan.slots_per_node,
        tasks_per_node: plan.tasks_per_node,
    }
}

/// Eight hours: jobs in the first five, some urgent, some not; storms and single evictions.
fn random(seed: u64) -> Scenario {
    let mut dice = Dice(seed);
    let jobs = (0..dice.roll(1..8)).map(|_| {
        let at_s = dice.roll(0..5 * 60) * MINUTE;
        let (tasks, task_s) = (dice.roll(1..80), dice.roll(1..5) * MINUTE);
        Job { at_s, tasks, task_s, due_s: at_s + dice.roll(40..180) * MINUTE }
    });
    let jobs = jobs.collect();
    let storms = (0..dice.roll(0..3)).map(|_| {
        let start = dice.roll(0..6 * 60) * MINUTE;
        start..start + dice.roll(5..60) * MINUTE
    });
    let storms = storms.collect();
    let evictions_per_node_hour_milli = [0, 50, 500, 2_000][dice.roll(0..4) as usize];
    Scenario {
        jobs,
        storms,
        evictions_per_node_hour_milli,
        spot: true,
        seed,
        handler_dies_s: u64::MAX,
        ends_s: 9 * HOUR,
    }
}

/// The pool goes to zero, nothing is late, nothing is killed; and no day costs more than with dedicated
/// nodes alone.
#[test]
fn days_with_evictions_cost_less_than_dedicated_nodes_and_miss_no_deadline() {
    let (mut ours, mut dedicated) = (0, 0);
    for seed in 0..24 {
        let scenario = random(seed);
        let day = live(&scenario);
        assert_eq!((day.late, day.killed, day.nodes_left, day.tasks_left), (0, 0, 0, 0), "{seed}: {day:?}");
        assert!(day.nodes_most <= NODES_MAX as usize, "{seed}: {day:?}");
        let all_dedicated = live(&Scenario { spot: false, ..scenario.clone() });
        assert_eq!((all_dedicated.late, all_dedicated.nodes_left), (0, 0), "{seed}: {all_dedicated:?}");
        assert!(day.micro_usd <= all_dedicated.micro_usd, "{seed}: {day:?}\n{all_dedicated:?}\n{scenario:?}");
        ours += day.micro_usd;
        dedicated += all_dedicated.micro_usd;
    }
    assert!(ours * 2 < dedicated, "{ours} of {dedicated}: a third is the price of spot");
}

fn quiet_day(jobs: Vec<Job>) -> Scenario {
    Scenario { jobs, storms: vec![], evictions_per_node_hour_milli: 0, ..random(1) }
}

#[test]
fn a_storm_is_outlasted_where_there_is_time_and_bridged_by_dedicated_nodes_where_not() {
    let job = Job { at_s: 0, tasks: 90, task_s: 4 * MINUTE, due_s: 4 * HOUR };
    let storm = |until_s| {
        let storms = std::iter::once(20 * MINUTE..until_s).collect();
        Scenario { storms, ..quiet_day(vec![job.clone()]) }
    };
    let short = live(&storm(HOUR));
    assert_eq!((short.dedicated_most, short.rescued, short.late), (0, 0, 0), "{short:?}");
    let long = live(&storm(6 * HOUR));
    assert!(long.dedicated_most > 0, "{long:?}");
    assert_eq!((long.rescued, long.late, long.nodes_left), (0, 0, 0), "{long:?}");
}

#[test]
fn slack_is_used_before_nodes_are_bought() {
    let job = |due_s| Job { at_s: 0, tasks: 60, task_s: 4 * MINUTE, due_s };
    let most = |due_s| live(&quiet_day(vec![job(due_s)])).nodes_most;
    assert_eq!(most(8 * HOUR), 1, "four hours of work, and eight to do it");
    assert!((4..=6).contains(&most(80 * MINUTE)), "{}", most(80 * MINUTE));
}

#[test]
fn a_pool_that_nobody_plans_ends_its_tasks_and_goes() {
    let jobs = vec![Job { at_s: 0, tasks: 60, task_s: 4 * MINUTE, due_s: 8 * HOUR }];
    let day = live(&Scenario { handler_dies_s: 30 * MINUTE, ..quiet_day(jobs) });
    assert_eq!((day.killed, day.tasks_left, day.nodes_left, day.dedicated_most), (0, 0, 0, 0), "{day:?}");
}
