//! What goes wrong on request, in virtual time.

use super::*;

#[test]
fn a_storm_takes_nodes_in_waves_and_they_come_back() {
    let mut world = World::with_pool(4, 1);
    world.task("j", "a", json!({}));
    let busy = world.live.values().next().unwrap().node.clone();
    let storm = Storm { nodes: 2, waves: 2, every: Duration::from_secs(60) };
    let taken = world.account.storm("P", storm, world.now_ms).unwrap();
    world.see();
    let preempted =
        |world: &World| world.node_states().iter().filter(|state| **state == NodeState::Preempted).count();
    assert_eq!((taken.len(), &taken[0], preempted(&world)), (2, &busy, 2), "those that run most go first");
    assert_eq!(world.running(), ["a"], "it runs again elsewhere");
    world.wait(60_000);
    assert_eq!((preempted(&world), world.running().len()), (4, 0));
    world.wait(PACE.restore_ms + PACE.boot_ms);
    assert_eq!((preempted(&world), world.running()), (0, vec!["a"]));
    world.wait(HOUR_MS);
    assert_eq!(preempted(&world), 0, "the storm is over");
    let nowhere = world.account.storm("q", storm, world.now_ms);
    assert_eq!(nowhere, Err(NodeRefusal::NoSuchNode));
}

#[test]
fn a_storm_can_be_ended_and_ends_with_its_pool() {
    let mut world = World::with_pool(1, 1);
    let storm = Storm { nodes: 1, waves: 1000, every: Duration::from_secs(60) };
    let raging = |world: &World| {
        world.account.timers.iter().filter(|(_, timer)| matches!(timer, Timer::Storm(_))).count()
    };
    world.account.storm("p", storm, world.now_ms).unwrap();
    assert_eq!(raging(&world), 1);
    world.account.storm("p", Storm { waves: 0, ..storm }, world.now_ms).unwrap();
    assert_eq!(raging(&world), 0);
    world.account.storm("p", storm, world.now_ms).unwrap();
    world.account.delete_pool("p", world.now_ms).unwrap();
    assert_eq!(raging(&world), 0);
}

#[test]
fn boots_end_badly_or_take_long_as_often_as_asked() {
    let cases =
        [(BootEnd::Unusable, NodeState::Unusable), (BootEnd::StartTaskFailed, NodeState::StartTaskFailed)];
    for (end, state) in cases {
        let mut world = World::new();
        world.account.set_boots(Boots { end, times: Some(1), ..Boots::default() });
        world.pool(json!({"targetLowPriorityNodes": 2}));
        world.job("j", json!({}));
        world.task("j", "a", json!({}));
        world.task("j", "b", json!({}));
        world.wait(BOOTED_MS);
        assert_eq!(world.node_states(), [state, NodeState::Up]);
        assert_eq!(world.running(), ["a"], "a bad node takes no task");
        world.wait(HOUR_MS);
        assert_eq!(world.node_states(), [state, NodeState::Up], "and never gets better");
        world.resize(json!({"targetLowPriorityNodes": 1})).unwrap();
        assert_eq!(world.node_states(), [NodeState::Up], "but it is the first to go");
    }
    let mut world = World::new();
    let slow =
        Boots { pool: Some("P".to_owned()), boot: Some(Duration::from_secs(3600)), ..Boots::default() };
    world.account.set_boots(slow);
    world.pool(json!({"targetDedicatedNodes": 1}));
    world.wait(HOUR_MS);
    assert_eq!(world.node_states(), [NodeState::Starting]);
    world.wait(PACE.arrival_ms);
    assert_eq!(world.node_states(), [NodeState::Up]);
}

#[test]
fn quotas_count_cores_by_the_name_of_the_size() {
    let cases = [
        ("Standard_NC4as_T4_v3", 4),
        ("standard_nc40ads_h100_v5", 40),
        ("STANDARD_A1_v2", 1),
        ("Standard_D2s_v3", 2),
        ("Standard_NC6s_v3", 6),
        ("size", 1),
    ];
    for (size, cores) in cases {
        let mut world = World::new();
        world.pool(json!({"vmSize": size}));
        assert_eq!(world.found_pool().cores(), cores, "{size}");
    }
}

#[test]
fn kept_errors_stay_whatever_resizes_do() {
    let mut world = World::with_pool(0, 1);
    let kept = vec![ResizeError::QuotaReached(Kind::Spot)];
    world.account.keep_resize_errors("p", kept.clone()).unwrap();
    world.resize(json!({"targetLowPriorityNodes": 1})).unwrap();
    world.wait(HOUR_MS);
    let pool = world.found_pool();
    assert_eq!((&pool.stale_errors, pool.resize_errors.len(), pool.current().spot), (&kept, 0, 1));
    assert_eq!(world.account.keep_resize_errors("q", kept).unwrap_err().code, Code::PoolNotFound);
}
