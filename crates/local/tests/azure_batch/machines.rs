//! Machines that boot on scaled time, are taken away, are not to be had; a service that is busy,
//! loses answers, is down.

use std::time::{Duration, Instant};

use clock::Clock;
use local::azure_batch::{Capacity, Lost, NodeRefusal, Options, Throttle};
use serde_json::{Value, json};

use super::client::{Stand, at_once, pool, until};
use super::tasks::{add_family, family_pids, gone};

async fn nodes(stand: &Stand) -> Vec<Value> {
    stand.get("/pools/p/nodes").await.json()["value"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn an_eviction_kills_everything_on_the_node_and_the_task_runs_again() {
    let stand = Stand::with_pool(1).await;
    add_family(&stand, "t", json!({"constraints": {"maxTaskRetryCount": 0}})).await;
    let first = family_pids(&stand).await;
    let node = stand.server().busiest_spot_node("p").expect("one node");
    let disk = stand.folder.join("p").join(&node);
    assert!(disk.join("workitems/j/job-1/t/stdout.txt").exists());
    stand.server().set_capacity(Capacity { spot: 0, ..Capacity::UNLIMITED });

    stand.server().evict("p", &node).expect("it is a spot node");
    let task = stand.get("/jobs/j/tasks/t").await.json();
    assert_eq!(task["state"], "active");
    assert_eq!(
        (&task["executionInfo"]["requeueCount"], &task["executionInfo"]["retryCount"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(nodes(&stand).await[0]["state"], "preempted");
    let counts = stand.get("/nodecounts?$filter=poolId%20eq%20'p'").await.json();
    assert_eq!(
        (&counts["value"][0]["lowPriority"]["preempted"], &counts["value"][0]["lowPriority"]["total"]),
        (&json!(1), &json!(1))
    );
    let files = stand.get("/jobs/j/tasks/t/files/stdout.txt").await;
    assert_eq!(files.refusal(), (409, "TaskFilesUnavailable".to_owned()));
    gone(&first).await;
    until("the machine's disk is gone", || !disk.exists()).await;
    assert_eq!(stand.server().evict("p", &node), Err(NodeRefusal::Preempted));

    stand.server().set_capacity(Capacity::UNLIMITED);
    let second = family_pids(&stand).await;
    assert_ne!(first, second);
    let task = stand.task_in("t", "running").await;
    assert_eq!(task["nodeInfo"]["nodeId"], json!(node), "the node keeps its id");
}

#[tokio::test]
async fn dedicated_nodes_are_not_evicted() {
    let mut both = pool("p", 0);
    both["targetDedicatedNodes"] = json!(1);
    let stand = Stand::start(Options { pools: vec![both], ..at_once() });
    until("the node is there", || {
        stand.server().evict("p", "tvmps_00000001_d") == Err(NodeRefusal::Dedicated)
    })
    .await;
    assert_eq!(stand.server().busiest_spot_node("p"), None);
    let refused = stand.control("evict", json!({"pool": "p"})).await;
    assert_eq!(refused.status, 409);
}

#[tokio::test]
async fn boots_take_scaled_time_and_tasks_are_told_of_the_clock() {
    let epoch_ms = Clock::REAL.now_ms();
    let clock = Clock::scaled(epoch_ms, 3600.0).expect("an hour a second");
    let options = Options {
        arrival: Duration::from_secs(600),
        boot: Duration::from_secs(3600),
        pools: vec![pool("p", 1)],
        ..at_once()
    };
    let stand = Stand::start_on(options, clock);
    stand.expect(201, "POST", "/jobs", json!({"id": "j", "poolInfo": {"poolId": "p"}})).await;
    stand.task("t", "/bin/sh -c 'echo $SWITCHYARD_EPOCH_UNIX_MS $SWITCHYARD_SPEED'", json!({})).await;
    stand.task_in("t", "completed").await;
    let told = stand.get("/jobs/j/tasks/t/files/stdout.txt").await.text();
    assert_eq!(told.trim(), format!("{epoch_ms} 3600"));
    let node = &nodes(&stand).await[0];
    let time =
        |name: &str| node[name].as_str().expect("a time").parse::<jiff::Timestamp>().expect("ISO 8601");
    assert_eq!(time("lastBootTime").as_second() - time("allocationTime").as_second(), 3600);
}

#[tokio::test]
async fn a_shortage_of_spot_machines_is_told_by_the_pool() {
    let stand = Stand::with_pool(1).await;
    stand.control("capacity", json!({"lowPriority": 2})).await;
    stand.expect(202, "POST", "/pools/p/resize", json!({"targetLowPriorityNodes": 5})).await;
    let steady = || async { stand.get("/pools/p").await.json() };
    let mut found = steady().await;
    while found["allocationState"] != "steady" {
        tokio::task::yield_now().await;
        found = steady().await;
    }
    assert_eq!((&found["targetLowPriorityNodes"], &found["currentLowPriorityNodes"]), (&json!(5), &json!(2)));
    assert_eq!(found["resizeErrors"][0]["code"], "AllocationFailed");
    let again = stand.call("POST", "/pools/p/stopresize", None, &[]).await;
    assert_eq!(again.refusal(), (409, "OperationInvalidForCurrentState".to_owned()));
}

#[tokio::test]
async fn quotas_bad_boots_and_old_errors_are_told_by_the_pool() {
    let stand = Stand::with_pool(0).await;
    let pool = || async { stand.object_when("/pools/p", "allocationState", "steady").await };
    let codes = |pool: &Value| -> Vec<Value> {
        let errors = pool["resizeErrors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["code"].clone()).collect()
    };
    let both = json!({"targetLowPriorityNodes": 3, "targetDedicatedNodes": 1});
    assert_eq!(stand.control("quota", json!({"lowPriorityCores": 8, "dedicatedCores": 0})).await.status, 200);
    stand.expect(202, "POST", "/pools/p/resize", both.clone()).await;
    let found = pool().await;
    assert_eq!(codes(&found), ["AccountCoreQuotaReached", "AccountLowPriorityCoreQuotaReached"]);
    assert_eq!(found["currentLowPriorityNodes"], 2, "a machine of this size has four cores");

    stand.control("quota", json!({})).await;
    stand.control("boots", json!({"pool": "p", "end": "unusable", "times": 1})).await;
    stand.control("resizeerrors", json!({"pool": "p", "codes": ["AllocationFailed"]})).await;
    stand.expect(202, "POST", "/pools/p/resize", both).await;
    let found = pool().await;
    assert_eq!(
        (codes(&found), &found["currentLowPriorityNodes"]),
        (vec![json!("AllocationFailed")], &json!(3))
    );
    let counts = stand.get("/nodecounts").await.json();
    assert_eq!(counts["value"][0]["dedicated"]["total"], 1);
    let usable = |kind: &str, state: &str| counts["value"][0][kind][state].as_u64().expect("a number");
    let unusable = usable("dedicated", "unusable") + usable("lowPriority", "unusable");
    let starting = usable("dedicated", "starting") + usable("lowPriority", "starting");
    assert!(unusable + starting >= 1, "{counts}");
    stand.control("resizeerrors", json!({"pool": "p", "codes": []})).await;
    assert_eq!(codes(&pool().await), Vec::<Value>::new());
}

#[tokio::test]
async fn a_storm_takes_several_nodes_at_once() {
    let stand = Stand::with_pool(3).await;
    stand.object_when("/pools/p", "allocationState", "steady").await;
    stand.control("capacity", json!({"lowPriority": 0})).await;
    let taken = stand.control("evict", json!({"pool": "p", "nodes": 2})).await.json();
    assert_eq!(taken["nodes"].as_array().expect("a list").len(), 2, "{taken}");
    let states: Vec<Value> = nodes(&stand).await.iter().map(|node| node["state"].clone()).collect();
    assert_eq!(states.iter().filter(|state| **state == "preempted").count(), 2, "{states:?}");
}

#[tokio::test]
async fn a_service_may_be_down_for_a_time_on_its_clock() {
    let clock = Clock::scaled(Clock::REAL.now_ms(), 3600.0).expect("an hour a second");
    let stand = Stand::start_on(Options { pools: vec![pool("p", 0)], ..at_once() }, clock);
    stand.control("faults", json!({"downSeconds": 3600})).await;
    assert_eq!(stand.get("/pools/p").await.refusal(), (503, "ServerBusy".to_owned()));
    stand.object_when("/pools/p", "id", "p").await;
}

#[tokio::test]
async fn an_autoscale_can_be_made_to_stop() {
    let clock = Clock::scaled(Clock::REAL.now_ms(), 3600.0).expect("an hour a second");
    let stand = Stand::start_on(Options { pools: vec![pool("p", 0)], ..at_once() }, clock);
    let refused = stand.control("autoscale", json!({"pool": "p", "evaluating": false})).await;
    assert_eq!(refused.status, 409);
    let formula =
        json!({"autoScaleFormula": "$TargetDedicatedNodes=0;", "autoScaleEvaluationInterval": "PT5M"});
    stand.expect(200, "POST", "/pools/p/enableautoscale", formula).await;
    stand.control("autoscale", json!({"pool": "p", "evaluating": false})).await;
    let run = || async { stand.get("/pools/p").await.json()["autoScaleRun"]["timestamp"].clone() };
    let old = run().await;
    let begin_ms = clock.now_ms();
    while clock.now_ms() < begin_ms + 3_600_000 {
        assert_eq!(run().await, old);
    }
    stand.server().set_evaluating("p", true).expect("its autoscale is on");
    let limit = Instant::now() + Duration::from_secs(60);
    while run().await == old {
        assert!(Instant::now() < limit, "it is never evaluated again");
    }
}

#[tokio::test]
async fn a_busy_service_says_when_to_come_back_and_then_answers() {
    let stand = Stand::with_pool(0).await;
    for (status, code) in [(429, "TooManyRequests"), (503, "ServerBusy")] {
        stand.server().throttle(Throttle { status, retry_after_s: Some(7), times: 2 });
        for _ in 0..2 {
            let answer = stand.get("/jobs/j").await;
            assert_eq!(answer.refusal(), (status, code.to_owned()));
            assert_eq!(answer.headers["retry-after"], "7");
        }
        assert_eq!(stand.get("/jobs/j").await.status, 200);
    }
}

#[tokio::test]
async fn a_lost_answer_has_had_its_effect() {
    let stand = Stand::with_pool(0).await;
    stand.server().lose_answers(Lost { times: 1 });
    let task = json!({"id": "t", "commandLine": "/bin/true"});
    let lost = stand.call("POST", "/jobs/j/tasks", Some(task.clone()), &[]).await;
    assert_eq!(lost.refusal(), (500, "OperationTimedOut".to_owned()));
    let again = stand.call("POST", "/jobs/j/tasks", Some(task), &[]).await;
    assert_eq!(again.refusal(), (409, "TaskExists".to_owned()));
}

#[tokio::test]
async fn while_the_service_is_down_its_tasks_go_on() {
    let stand = Stand::with_pool(1).await;
    let file = stand.folder.join("done");
    let go = stand.folder.join("go");
    let command =
        format!("/bin/sh -c 'until [ -e {} ]; do sleep 0.02; done; touch {}'", go.display(), file.display());
    stand.task("t", &command, json!({})).await;
    stand.task_in("t", "running").await;
    stand.server().go_down();
    assert_eq!(stand.get("/jobs/j").await.refusal(), (503, "ServerBusy".to_owned()));
    std::fs::write(go, "").expect("the folder is there");
    until("the task has done its work", || file.exists()).await;
    assert_eq!(stand.get("/jobs/j/tasks/t").await.status, 503);
    stand.server().come_back();
    stand.task_in("t", "completed").await;
}

#[tokio::test]
async fn controls_that_make_no_sense_are_refused() {
    let stand = Stand::with_pool(0).await;
    for (path, body, status) in [
        ("evict", json!({"pool": "none"}), 409),
        ("faults", json!({"throttle": {"status": 200, "times": 1}}), 400),
        ("faults", json!({"down": "yes"}), 400),
        ("boots", json!({"end": "dancing"}), 400),
        ("evict", json!({"pool": "none", "nodes": 2}), 409),
        ("evict", json!({"pool": "p", "node": "none", "kind": "spot"}), 400),
        ("resizeerrors", json!({"pool": "p", "codes": ["Sunshine"]}), 400),
        ("resizeerrors", json!({"pool": "none", "codes": []}), 409),
        ("autoscale", json!({"pool": "p", "evaluating": false}), 409),
        ("everything", json!({}), 404),
    ] {
        assert_eq!(stand.control(path, body.clone()).await.status, status, "{path} {body}");
    }
    assert_eq!(stand.get("/jobs/j").await.status, 200);
}
