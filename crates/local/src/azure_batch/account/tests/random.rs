//! Random calls, ends and waits: the account keeps its invariants, and left alone it finishes.

use proptest::prelude::*;
use serde_json::json;

use super::super::pool::{Allocation, Kind, NodeState, Resize};
use super::super::task::State;
use super::super::*;
use super::{HOUR_MS, World, object};
use crate::azure_batch::version::Version;

/// One random event.
#[derive(Clone, Debug)]
enum Event {
    Add(u8, u32),
    AddWide(u8, u32),
    AddEndless(u8, u32),
    Formula(u8, u8, u8),
    Fixed,
    Boots(u8, u8),
    Storm(u8, u8),
    Wait(u64),
    Exit(u8, i32),
    Evict(u8),
    Resize(u8, u8),
    Capacity(u8),
    Terminate(u8),
    Delete(u8),
    Reactivate(u8),
    Disable(u8),
    Enable,
    DeletePool,
    AddPool,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..20_u8, 1..3_u32).prop_map(|(id, slots)| Event::Add(id, slots)),
        1 => (0..20_u8, 1..4_u32).prop_map(|(id, nodes)| Event::AddWide(id, nodes)),
        2 => (0..4_u8, 0..3_u8, 0..3_u8).prop_map(|(spot, dedicated, option)| {
            Event::Formula(spot, dedicated, option)
        }),
        1 => Just(Event::Fixed),
        1 => (0..3_u8, 0..3_u8).prop_map(|(end, times)| Event::Boots(end, times)),
        1 => (0..3_u8, 0..3_u8).prop_map(|(nodes, waves)| Event::Storm(nodes, waves)),
        3 => (0..400_000_u64).prop_map(Event::Wait),
        4 => (any::<u8>(), 0..2).prop_map(|(which, code)| Event::Exit(which, code)),
        2 => any::<u8>().prop_map(Event::Evict),
        2 => (0..4_u8, 0..3_u8).prop_map(|(target, option)| Event::Resize(target, option)),
        1 => (0..4_u8).prop_map(Event::Capacity),
        1 => (0..20_u8).prop_map(Event::Terminate),
        1 => (0..20_u8).prop_map(Event::Delete),
        1 => (0..20_u8).prop_map(Event::Reactivate),
        1 => (0..3_u8).prop_map(Event::Disable),
        2 => Just(Event::Enable),
        1 => Just(Event::DeletePool),
        1 => Just(Event::AddPool),
    ]
}

/// Events among which only the end of a process ends a task: growth, shrinking that drains, time
/// without limits.
fn draining() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..20_u8, 1..3_u32).prop_map(|(id, slots)| Event::AddEndless(id, slots)),
        3 => (0..400_000_u64).prop_map(Event::Wait),
        3 => (any::<u8>(), Just(0)).prop_map(|(which, code)| Event::Exit(which, code)),
        3 => (0..4_u8, 0..3_u8).prop_map(|(spot, dedicated)| Event::Formula(spot, dedicated, 2)),
        1 => (0..4_u8).prop_map(|target| Event::Resize(target, 2)),
        1 => Just(Event::Fixed),
        1 => (0..4_u8).prop_map(Event::Capacity),
        1 => (0..3_u8, 0..3_u8).prop_map(|(end, times)| Event::Boots(end, times)),
    ]
}

const OPTIONS: [&str; 3] = ["requeue", "terminate", "taskcompletion"];

fn asked(spot: u8, dedicated: u8, option: u8) -> autoscale::Asked {
    let formula = format!(
        "$TargetLowPriorityNodes={spot};$TargetDedicatedNodes={dedicated};$NodeDeallocationOption={};",
        OPTIONS[usize::from(option)]
    );
    let body = json!({"autoScaleFormula": formula, "autoScaleEvaluationInterval": "PT5M"});
    autoscale::Asked::read(&object(body), Version::V2025_06_01).expect("the formula is fine")
}

impl World {
    /// A random event; what the account refuses is as if it had not been asked.
    fn happen(&mut self, event: &Event) {
        let now_ms = self.now_ms;
        let id = |id: &u8| format!("t{id}");
        let account = &mut self.account;
        match event {
            Event::Add(number, slots) => {
                let task = json!({"id": id(number), "commandLine": "work", "requiredSlots": slots,
                    "constraints": {"maxTaskRetryCount": 1, "maxWallClockTime": "PT5M"}});
                let _ = account.add_task("j", object(task), now_ms);
            }
            Event::AddWide(number, nodes) => {
                let task = json!({"id": id(number), "commandLine": "work",
                    "multiInstanceSettings": {"numberOfInstances": nodes},
                    "constraints": {"maxWallClockTime": "PT5M"}});
                let _ = account.add_task("j", object(task), now_ms);
            }
            Event::AddEndless(number, slots) => {
                let task = json!({"id": id(number), "commandLine": "work", "requiredSlots": slots});
                let _ = account.add_task("j", object(task), now_ms);
            }
            Event::Formula(spot, dedicated, option) => {
                let _ = account.enable_autoscale("p", asked(*spot, *dedicated, *option), now_ms);
            }
            Event::Fixed => drop(account.disable_autoscale("p", now_ms)),
            Event::Boots(end, times) => {
                let end = [BootEnd::Usable, BootEnd::Unusable, BootEnd::StartTaskFailed][usize::from(*end)];
                let times = Some(u32::from(*times));
                account.set_boots(Boots { pool: None, end, boot: None, times });
            }
            Event::Storm(nodes, waves) => {
                let every = Duration::from_secs(40);
                let storm = Storm { nodes: usize::from(*nodes), waves: u32::from(*waves), every };
                let _ = account.storm("p", storm, now_ms);
            }
            Event::Wait(time_ms) => self.wait(*time_ms),
            Event::Exit(which, code) => {
                if let Some(run) = self.live.keys().nth(usize::from(*which) % self.live.len().max(1)).copied()
                {
                    self.live.remove(&run);
                    self.account.ended(run, End::Exited(*code), now_ms);
                }
            }
            Event::Evict(which) => {
                let nodes: Vec<String> =
                    account.pool("p").map(|pool| pool.nodes.keys().cloned().collect()).unwrap_or_default();
                if let Some(node) = nodes.get(usize::from(*which) % nodes.len().max(1)) {
                    let _ = account.evict("p", node, now_ms);
                }
            }
            Event::Resize(target, option) => {
                let option = OPTIONS[usize::from(*option)];
                let body = json!({"targetLowPriorityNodes": target, "nodeDeallocationOption": option});
                let resize = Resize::read(&object(body), Version::V2025_06_01).unwrap();
                let _ = account.resize("p", resize, now_ms);
            }
            Event::Capacity(spot) => {
                account.set_capacity(Capacity { dedicated: 0, spot: usize::from(*spot) })
            }
            Event::Terminate(number) => drop(account.terminate_task("j", &id(number), now_ms)),
            Event::Delete(number) => drop(account.delete_task("j", &id(number), now_ms)),
            Event::Reactivate(number) => drop(account.reactivate_task("j", &id(number), now_ms)),
            Event::Disable(option) => {
                let option = ["requeue", "terminate", "wait"][usize::from(*option)];
                let _ = account.disable_job("j", &object(json!({"disableTasks": option})), now_ms);
            }
            Event::Enable => drop(account.enable_job("j", now_ms)),
            Event::DeletePool => drop(account.delete_pool("p", now_ms)),
            Event::AddPool if account.pool("p").is_err() => {
                self.pool(json!({"targetLowPriorityNodes": 1, "taskSlotsPerNode": 2}));
            }
            Event::AddPool => {}
        }
        self.see();
    }

    fn check(&self) {
        let account = &self.account;
        let live: Vec<&RunId> = self.live.keys().collect();
        assert_eq!(
            live,
            account.runs.keys().collect::<Vec<_>>(),
            "effects and account disagree on what runs"
        );
        for run in account.runs.values() {
            let wanted = account.jobs[&run.job].tasks[&run.task].spec.instances;
            assert_eq!(run.nodes.iter().collect::<BTreeSet<_>>().len(), usize::try_from(wanted).unwrap());
        }
        for pool in account.pools.values() {
            for (id, node) in &pool.nodes {
                assert!(node.slots_taken() <= pool.spec.slots, "{id} runs more than its slots");
                assert!(node.runs.is_empty() || matches!(node.state, NodeState::Up | NodeState::LeavingPool));
                assert!(node.runs.keys().all(|run| account.runs[run].nodes.contains(id)));
            }
        }
        for job in account.jobs.values() {
            let in_state = |state| job.tasks.values().filter(move |task| task.state == state);
            let active: BTreeSet<u64> = in_state(State::Active).map(|task| task.number).collect();
            assert_eq!(active, job.ready.numbers());
            let instances = in_state(State::Active).map(|task| u64::from(task.spec.instances)).sum::<u64>();
            assert_eq!(instances, job.ready.instances());
            assert_eq!(job.succeeded, in_state(State::Completed).filter(|task| task.succeeded()).count());
            assert_eq!(job.open, job.tasks.len() - in_state(State::Completed).count());
            assert!(
                in_state(State::Running).all(|task| account.runs.contains_key(&task.run.expect("it runs")))
            );
            assert!(in_state(State::Completed).all(|task| task.outcome.is_some() && task.ended_ms.is_some()));
            assert!(job.state != job::State::Disabled || in_state(State::Running).next().is_none());
        }
        assert_eq!(account.tasks, account.jobs.values().map(|job| job.tasks.len()).sum::<usize>());
        let bound = account.runs.len()
            + account.jobs.len()
            // The samples' one; arrival, formula and storm of each pool.
            + 1
            + account.pools.values().map(|pool| 3 + pool.nodes.len()).sum::<usize>();
        assert!(account.timers.len() <= bound, "a timer outlived its object");
    }
}

proptest! {
    #[test]
    fn whatever_happens_nothing_is_lost_or_run_twice(events in prop::collection::vec(event(), 1..120)) {
        let mut world = World::new();
        world.pool(json!({"targetLowPriorityNodes": 2, "taskSlotsPerNode": 2}));
        world.job("j", json!({}));
        for event in &events {
            world.happen(event);
            world.check();
        }
        // Left alone with machines, every task comes to its end: each run is limited in time.
        world.account.set_capacity(Capacity::UNLIMITED);
        world.account.set_boots(Boots::default());
        world.happen(&Event::AddPool);
        world.happen(&Event::Fixed);
        // Any resize is over by then, also one that waits for running tasks.
        world.wait(HOUR_MS);
        // Nodes that booted badly never come back by themselves.
        world.resize(json!({"targetLowPriorityNodes": 0})).unwrap();
        world.wait(HOUR_MS);
        world.resize(json!({"targetLowPriorityNodes": 3})).unwrap();
        world.happen(&Event::Enable);
        world.wait(24 * HOUR_MS);
        world.check();
        prop_assert_eq!(world.account.job("j").unwrap().open, 0);
    }

    #[test]
    fn no_shrink_by_taskcompletion_ever_kills_a_running_task(
        events in prop::collection::vec(draining(), 1..80),
    ) {
        let mut world = World::new();
        world.pool(json!({"targetLowPriorityNodes": 2, "taskSlotsPerNode": 2}));
        world.job("j", json!({}));
        for event in &events {
            world.happen(event);
            world.check();
            prop_assert!(world.killed.is_empty(), "{:?} killed {:?}", event, world.killed);
        }
        // Once what drains is over, the targets of a formula are met.
        world.account.set_capacity(Capacity::UNLIMITED);
        while let Some(task) = world.running().first().map(|task| (*task).to_owned()) {
            world.exit(&task, 0);
        }
        world.wait(HOUR_MS);
        while let Some(task) = world.running().first().map(|task| (*task).to_owned()) {
            world.exit(&task, 0);
        }
        world.happen(&Event::Formula(1, 1, 2));
        world.wait(HOUR_MS);
        prop_assert!(world.killed.is_empty());
        let pool = world.found_pool();
        let kinds = [Kind::Dedicated, Kind::Spot].map(|kind| pool.staying(kind).count());
        prop_assert_eq!((pool.allocation, kinds), (Allocation::Steady, [1, 1]));
    }
}
