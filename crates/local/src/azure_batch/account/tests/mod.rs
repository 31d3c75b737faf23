//! The account in virtual time: growth, placement, retries, limits, evictions; in `random`, a
//! property over random calls; in `autoscale` and `trouble`, formulas and what goes wrong on request.

mod autoscale;
mod random;
mod trouble;

use serde_json::{Value, json};

use super::pool::{Allocation, Kind, NodeState, Resize, ResizeError};
use super::task::State;
use super::*;
use crate::azure_batch::body::Object;
use crate::azure_batch::fault::{Code, Fault};
use crate::azure_batch::version::Version;

const PACE: Pace = Pace { arrival_ms: 30_000, boot_ms: 120_000, restore_ms: 300_000 };
/// When the first machines have booted.
const BOOTED_MS: u64 = PACE.arrival_ms + PACE.boot_ms;
const HOUR_MS: u64 = 3_600_000;

/// An account, its time, and the processes that its effects have left running.
struct World {
    account: Account,
    now_ms: u64,
    live: BTreeMap<RunId, Start>,
    /// The tasks whose processes were killed, and when that was seen.
    killed: Vec<(u64, String)>,
}

fn object(value: Value) -> Object {
    value.as_object().expect("the test writes an object").clone()
}

impl World {
    fn new() -> World {
        World {
            account: Account::new(PACE, Capacity::UNLIMITED),
            now_ms: 0,
            live: BTreeMap::new(),
            killed: Vec::new(),
        }
    }

    /// A world with a booted pool `p` and a job `j`.
    fn with_pool(spot: usize, slots: u32) -> World {
        let mut world = World::new();
        world.pool(json!({"targetLowPriorityNodes": spot, "taskSlotsPerNode": slots}));
        world.job("j", json!({}));
        world.wait(BOOTED_MS);
        world
    }

    fn pool(&mut self, with: Value) {
        let mut pool = object(json!({"id": "p", "vmSize": "Standard_NC4as_T4_v3",
            "virtualMachineConfiguration": {"imageReference": {}, "nodeAgentSKUId": "batch.node.ubuntu 24.04"}}));
        pool.extend(object(with));
        self.account.add_pool(pool, Version::V2025_06_01, self.now_ms).expect("the test's pool is fine");
    }

    fn job(&mut self, id: &str, with: Value) {
        let mut job = object(json!({"id": id, "poolInfo": {"poolId": "p"}}));
        job.extend(object(with));
        self.account.add_job(job, self.now_ms).expect("the test's job is fine");
    }

    fn task(&mut self, job: &str, id: &str, with: Value) {
        let mut task = object(json!({"id": id, "commandLine": "work"}));
        task.extend(object(with));
        self.account.add_task(job, task, self.now_ms).expect("the test's task is fine");
        self.see();
    }

    fn wait(&mut self, time_ms: u64) {
        self.now_ms += time_ms;
        self.account.advance(self.now_ms);
        self.see();
    }

    fn see(&mut self) {
        for effect in self.account.take_effects() {
            match effect {
                Effect::Start(start) => assert!(self.live.insert(start.run, *start).is_none()),
                Effect::Kill(run) => {
                    let killed = self.live.remove(&run).expect("killed twice or never started");
                    self.killed.push((self.now_ms, killed.task));
                }
                Effect::RemoveNode { node, .. } => {
                    assert!(
                        self.live.values().all(|start| start.node != node),
                        "a process without a machine"
                    );
                }
                Effect::RemoveTask { .. } => {}
            }
        }
    }

    /// The process of a task ends.
    fn exit(&mut self, task: &str, code: i32) {
        let run = *self.live.iter().find(|(_, start)| start.task == task).expect("it runs").0;
        self.live.remove(&run);
        self.account.ended(run, End::Exited(code), self.now_ms);
        self.see();
    }

    fn running(&self) -> Vec<&str> {
        self.live.values().map(|start| start.task.as_str()).collect()
    }

    fn found(&self, task: &str) -> &task::Task {
        self.account.task("j", task).expect("the task is there")
    }

    fn node_states(&self) -> Vec<NodeState> {
        self.account.pool("p").expect("the pool is there").nodes.values().map(|node| node.state).collect()
    }

    fn resize(&mut self, with: Value) -> Result<(), Fault> {
        self.account.resize("p", Resize::read(&object(with), Version::V2025_06_01)?, self.now_ms)?;
        self.see();
        Ok(())
    }

    fn found_pool(&self) -> &Pool {
        self.account.pool("p").expect("the pool is there")
    }

    fn evict_first(&mut self) {
        let node =
            self.account.pool("p").expect("the pool is there").nodes.keys().next().expect("a node").clone();
        self.account.evict("p", &node, self.now_ms).expect("it is a spot node that is there");
        self.see();
    }
}

fn code(result: Result<(), Fault>) -> Code {
    result.expect_err("it must be refused").code
}

#[test]
fn machines_arrive_boot_and_take_what_waits() {
    let mut world = World::new();
    world.pool(json!({"targetLowPriorityNodes": 2}));
    world.job("j", json!({}));
    for task in ["a", "b", "c"] {
        world.task("j", task, json!({}));
    }
    let allocation = |world: &World| world.account.pool("p").unwrap().allocation;
    assert_eq!((world.node_states().len(), allocation(&world)), (0, Allocation::Resizing));
    assert_eq!(code(world.resize(json!({"targetLowPriorityNodes": 5}))), Code::PoolBeingResized);
    world.wait(PACE.arrival_ms);
    assert_eq!(world.node_states(), [NodeState::Starting; 2]);
    assert_eq!(allocation(&world), Allocation::Steady);
    world.wait(PACE.boot_ms - 1);
    assert!(world.running().is_empty());
    world.wait(1);
    assert_eq!(world.running(), ["a", "b"]);
    world.exit("a", 0);
    assert_eq!(world.running(), ["b", "c"]);
    assert!(world.found("a").succeeded());
}

#[test]
fn one_long_wait_is_the_same_as_many_short_ones() {
    let mut whole = World::with_pool(1, 1);
    whole.task("j", "a", json!({"constraints": {"maxWallClockTime": "PT1H"}}));
    whole.task("j", "b", json!({"constraints": {"maxWallClockTime": "PT1H"}}));
    whole.wait(3 * HOUR_MS);
    // The second began when the first was over, not when somebody looked.
    let ended = |task| whole.found(task).ended_ms;
    assert_eq!((ended("a"), ended("b")), (Some(BOOTED_MS + HOUR_MS), Some(BOOTED_MS + 2 * HOUR_MS)));
}

#[test]
fn priority_comes_before_age_and_slots_are_kept() {
    let mut world = World::with_pool(1, 4);
    world.task("j", "fills", json!({"requiredSlots": 4}));
    world.job("urgent", json!({"priority": 100}));
    world.task("j", "old", json!({}));
    world.task("j", "wide", json!({"requiredSlots": 3}));
    world.task("j", "behind", json!({}));
    world.task("urgent", "new", json!({"requiredSlots": 2}));
    world.exit("fills", 0);
    // `wide` finds no room beside the two and holds `behind`.
    assert_eq!(world.running(), ["new", "old"]);
    world.exit("new", 0);
    assert_eq!(world.running(), ["old", "wide"]);
}

#[test]
fn a_multi_instance_task_has_all_its_nodes_or_none() {
    let mut world = World::with_pool(2, 1);
    world.task("j", "one", json!({}));
    world.task("j", "two", json!({"multiInstanceSettings": {"numberOfInstances": 2}}));
    world.task("j", "behind", json!({}));
    assert_eq!(world.running(), ["one"], "one free node is not enough, and the task behind it waits");
    assert_eq!(world.account.job("j").unwrap().ready.instances(), 3);
    world.exit("one", 0);
    assert_eq!(world.running(), ["two"]);
    let nodes = &world.live.values().next().unwrap().nodes;
    assert_eq!(nodes.iter().collect::<Vec<_>>(), world.found_pool().nodes.keys().collect::<Vec<_>>());
    // Whichever of its nodes goes, all of it is queued again.
    let second = nodes[1].clone();
    world.account.evict("p", &second, world.now_ms).unwrap();
    world.see();
    assert_eq!((world.running().len(), world.found("two").requeues), (0, 1));
    world.wait(HOUR_MS);
    world.exit("two", 0);
    assert_eq!(world.running(), ["behind"]);
}

#[test]
fn nodes_are_removed_by_name_and_the_target_with_them() {
    let mut world = World::with_pool(3, 1);
    world.task("j", "a", json!({}));
    let busy = world.live.values().next().unwrap().node.clone();
    let remove = |world: &mut World, node: &str| {
        let body = object(json!({"nodeList": [node], "nodeDeallocationOption": "taskcompletion"}));
        let removal = pool::Removal::read(&body, Version::V2025_06_01).unwrap();
        world.account.remove_nodes("p", removal, world.now_ms)
    };
    assert_eq!(code(remove(&mut world, "other")), Code::NodeNotFound);
    remove(&mut world, &busy).unwrap();
    assert_eq!((world.found_pool().target.spot, world.found_pool().nodes.len()), (2, 3), "it drains");
    assert_eq!(code(remove(&mut world, &busy)), Code::PoolBeingResized);
    world.exit("a", 0);
    assert_eq!((world.found_pool().nodes.len(), world.found_pool().allocation), (2, Allocation::Steady));
    assert!(!world.found_pool().nodes.contains_key(&busy));
}

#[test]
fn tasks_are_spread_or_packed() {
    for (fill, nodes) in [("spread", 2), ("pack", 1)] {
        let mut world = World::new();
        world.pool(json!({"targetLowPriorityNodes": 2, "taskSlotsPerNode": 2,
            "taskSchedulingPolicy": {"nodeFillType": fill}}));
        world.job("j", json!({}));
        world.wait(BOOTED_MS);
        world.task("j", "a", json!({}));
        world.task("j", "b", json!({}));
        let used: BTreeSet<&str> = world.live.values().map(|start| start.node.as_str()).collect();
        assert_eq!(used.len(), nodes, "{fill}");
    }
}

#[test]
fn only_a_nonzero_exit_is_retried_and_as_often_as_allowed() {
    let mut world = World::with_pool(1, 1);
    world.task("j", "a", json!({"constraints": {"maxTaskRetryCount": 2}}));
    for retries in 0..2 {
        assert_eq!(world.found("a").retries, retries);
        world.exit("a", 3);
    }
    assert_eq!(world.found("a").state, State::Running);
    world.exit("a", 3);
    let task = world.found("a");
    assert_eq!(
        (task.state, task.retries, task.outcome.as_ref().unwrap().exit_code),
        (State::Completed, 2, Some(3))
    );
    world.task("j", "b", json!({"constraints": {"maxTaskRetryCount": 2}}));
    world.exit("b", 0);
    assert_eq!((world.found("b").retries, world.found("b").succeeded()), (0, true));
    world.account.reactivate_task("j", "a", world.now_ms).unwrap();
    world.see();
    assert_eq!((world.found("a").state, world.found("a").retries), (State::Running, 0));
}

#[test]
fn limits_end_tasks_and_jobs() {
    let mut world = World::with_pool(2, 1);
    world.task("j", "a", json!({"constraints": {"maxWallClockTime": "PT10M", "maxTaskRetryCount": -1}}));
    world.job("short", json!({"constraints": {"maxWallClockTime": "PT20M"}}));
    world.task("short", "b", json!({}));
    world.wait(10 * 60_000);
    assert_eq!(world.running(), ["b"]);
    let failure = world.found("a").outcome.clone().unwrap().failure.unwrap();
    assert_eq!((failure.code, world.found("a").retries), ("TaskEnded", 0));
    world.wait(10 * 60_000);
    assert!(world.running().is_empty());
    let job = world.account.job("short").unwrap();
    assert_eq!(
        (job.state, job.end_reason.as_deref()),
        (job::State::Completed, Some("MaxWallClockTimeExpiry"))
    );
}

#[test]
fn an_evicted_task_runs_again_on_nobodys_account() {
    let mut world = World::with_pool(1, 1);
    world.task("j", "a", json!({}));
    let stale = *world.live.keys().next().unwrap();
    world.evict_first();
    assert_eq!((world.running().len(), world.node_states()), (0, vec![NodeState::Preempted]));
    let task = world.found("a");
    assert_eq!((task.state, task.retries, task.requeues), (State::Active, 0, 1));
    // The end of a killed process comes late and means nothing.
    world.account.ended(stale, End::Exited(137), world.now_ms);
    assert_eq!(world.found("a").state, State::Active);
    assert_eq!(world.account.pool("p").unwrap().current().spot, 1, "preempted nodes are counted");
    world.wait(PACE.restore_ms + PACE.boot_ms);
    assert_eq!((world.running(), world.node_states()), (vec!["a"], vec![NodeState::Up]));
}

#[test]
fn a_machine_comes_back_only_while_there_is_capacity_and_not_after_two_days() {
    let mut world = World::with_pool(1, 1);
    world.account.set_capacity(Capacity { spot: 0, ..Capacity::UNLIMITED });
    world.evict_first();
    world.wait(10 * PACE.restore_ms);
    assert_eq!(world.node_states(), [NodeState::Preempted]);
    world.wait(RESTORE_LIMIT_MS);
    let tries = world.account.timers.iter().filter(|(_, timer)| matches!(timer, Timer::Node(..)));
    assert_eq!(tries.count(), 0, "nobody tries any more");
    let node = world.account.pool("p").unwrap().nodes.keys().next().unwrap().clone();
    assert_eq!(world.account.evict("p", &node, world.now_ms), Err(NodeRefusal::Preempted));
    assert_eq!(world.account.evict("p", "other", world.now_ms), Err(NodeRefusal::NoSuchNode));
}

#[test]
fn a_shortage_leaves_the_pool_below_its_target_and_says_so() {
    let mut world = World::with_pool(1, 1);
    world.account.set_capacity(Capacity { spot: 2, dedicated: 0 });
    world.resize(json!({"targetLowPriorityNodes": 4, "targetDedicatedNodes": 1})).unwrap();
    world.wait(PACE.arrival_ms);
    let pool = world.account.pool("p").unwrap();
    assert_eq!(
        (pool.allocation, pool.current()),
        (Allocation::Steady, pool::Nodes { dedicated: 0, spot: 2 })
    );
    let errors = [ResizeError::AllocationFailed(Kind::Dedicated), ResizeError::AllocationFailed(Kind::Spot)];
    assert_eq!(pool.resize_errors, errors);
    world.account.set_capacity(Capacity::UNLIMITED);
    world.resize(json!({"targetDedicatedNodes": 1})).unwrap();
    world.wait(PACE.arrival_ms);
    let pool = world.account.pool("p").unwrap();
    assert_eq!((pool.resize_errors.len(), pool.current()), (0, pool::Nodes { dedicated: 1, spot: 4 }));
    world.resize(json!({"targetLowPriorityNodes": 9})).unwrap();
    world.account.stop_resize("p", world.now_ms).unwrap();
    let pool = world.account.pool("p").unwrap();
    assert_eq!(
        (pool.allocation, pool.resize_errors.as_slice()),
        (Allocation::Steady, &[ResizeError::ResizeStopped][..])
    );
}

#[test]
fn leaving_nodes_requeue_end_or_wait_for_their_tasks() {
    let cases = [
        ("requeue", State::Active, 0, Allocation::Steady),
        ("terminate", State::Completed, 0, Allocation::Steady),
        ("taskcompletion", State::Running, 1, Allocation::Resizing),
    ];
    for (option, state, nodes, allocation) in cases {
        let mut world = World::with_pool(1, 1);
        world.task("j", "a", json!({}));
        world.resize(json!({"targetLowPriorityNodes": 0, "nodeDeallocationOption": option})).unwrap();
        let pool = world.account.pool("p").unwrap();
        assert_eq!(
            (world.found("a").state, pool.nodes.len(), pool.allocation),
            (state, nodes, allocation),
            "{option}"
        );
        if option == "taskcompletion" {
            world.exit("a", 0);
            let pool = world.account.pool("p").unwrap();
            assert_eq!((pool.nodes.len(), pool.allocation), (0, Allocation::Steady));
        }
    }
}

#[test]
fn the_node_that_is_missed_least_leaves_first() {
    let mut world = World::with_pool(3, 1);
    world.task("j", "a", json!({}));
    let busy = world.live.values().next().unwrap().node.clone();
    world.resize(json!({"targetLowPriorityNodes": 1})).unwrap();
    let left: Vec<&String> = world.account.pool("p").unwrap().nodes.keys().collect();
    assert_eq!(left, [&busy]);
}

#[test]
fn a_job_ends_with_its_tasks_when_it_is_told_to() {
    let mut world = World::with_pool(1, 1);
    world.job("empty", json!({"onAllTasksComplete": "terminatejob"}));
    assert_eq!(world.account.job("empty").unwrap().state, job::State::Completed, "the trap of the service");
    world.task("j", "a", json!({}));
    let change = object(json!({"onAllTasksComplete": "terminatejob"}));
    world.account.patch_job("j", change, world.now_ms).unwrap();
    assert_eq!(world.account.job("j").unwrap().state, job::State::Active);
    world.exit("a", 0);
    assert_eq!(world.account.job("j").unwrap().end_reason.as_deref(), Some("AllTasksComplete"));
    let late = world.account.add_task("j", object(json!({"id": "b", "commandLine": "work"})), world.now_ms);
    assert_eq!(code(late), Code::JobCompleted);
}

#[test]
fn a_disabled_job_starts_nothing_and_goes_on_when_enabled() {
    for (fate, running, state) in [
        ("requeue", State::Active, job::State::Disabled),
        ("terminate", State::Completed, job::State::Disabled),
        ("wait", State::Running, job::State::Disabling),
    ] {
        let mut world = World::with_pool(1, 1);
        world.task("j", "a", json!({}));
        world.task("j", "b", json!({}));
        world.account.disable_job("j", &object(json!({"disableTasks": fate})), world.now_ms).unwrap();
        world.see();
        assert_eq!(
            (world.found("a").state, world.account.job("j").unwrap().state),
            (running, state),
            "{fate}"
        );
        if fate == "wait" {
            world.exit("a", 0);
            assert_eq!(world.account.job("j").unwrap().state, job::State::Disabled);
        }
        assert!(world.running().is_empty());
        world.account.enable_job("j", world.now_ms).unwrap();
        world.see();
        assert_eq!(world.running().len(), 1, "{fate}");
    }
}

#[test]
fn what_is_not_carried_out_is_refused_by_name() {
    let mut world = World::with_pool(1, 1);
    let mut refused = |with: Value| {
        let mut task = object(json!({"id": "x", "commandLine": "work"}));
        task.extend(object(with));
        let fault = world.account.add_task("j", task, world.now_ms).expect_err("it must be refused");
        (fault.code, fault.values.first().map(|(_, name)| name.clone()).unwrap_or_default())
    };
    let cases = [
        (json!({"resourceFiles": [{}]}), Code::UnsupportedProperty, "resourceFiles"),
        (json!({"outputFiles": [{}]}), Code::UnsupportedProperty, "outputFiles"),
        (
            json!({"multiInstanceSettings": {"coordinationCommandLine": "start"}}),
            Code::UnsupportedProperty,
            "coordinationCommandLine",
        ),
        (json!({"dependsOn": {"taskIds": ["a"]}}), Code::TaskDependenciesNotSpecifiedOnJob, ""),
        (json!({"comandLine": "work"}), Code::InvalidRequestBody, "comandLine"),
        (json!({"containerSettings": {"imageName": "i"}}), Code::InvalidPropertyValue, "containerSettings"),
        (json!({"commandLine": null}), Code::MissingRequiredProperty, "commandLine"),
        (json!({"constraints": {"maxWallClockTime": "5"}}), Code::InvalidPropertyValue, "maxWallClockTime"),
        (
            json!({"environmentSettings": [{"name": "a=b"}]}),
            Code::InvalidPropertyValue,
            "environmentSettings",
        ),
    ];
    for (with, code, name) in cases {
        assert_eq!(refused(with.clone()), (code, name.to_owned()), "{with}");
    }
}
