//! Objects of the account as the service writes them.

use serde_json::{Value, json};

use super::account::autoscale::Run;
use super::account::job::Job;
use super::account::pool::{Allocation, Kind, Node, NodeState, Pool, ResizeError};
use super::account::task::{State, Task};
use super::body::Object;
use super::duration;
use crate::queue::date::iso;

/// A pool.
pub(super) fn pool(pool: &Pool, base: &str) -> Value {
    let mut shown = pool.spec.given.clone();
    let current = pool.current();
    let allocation = match pool.allocation {
        Allocation::Steady => "steady",
        Allocation::Resizing => "resizing",
    };
    fill(
        &mut shown,
        json!({
            "url": format!("{base}/pools/{}", pool.spec.id),
            "eTag": pool.stamp.etag(),
            "lastModified": iso(pool.stamp.modified_ms),
            "creationTime": iso(pool.created_ms),
            "state": "active",
            "stateTransitionTime": iso(pool.created_ms),
            "allocationState": allocation,
            "allocationStateTransitionTime": iso(pool.allocation_since_ms),
            "taskSlotsPerNode": pool.spec.slots,
            "enableAutoScale": pool.autoscale.is_some(),
            "targetDedicatedNodes": pool.target.dedicated,
            "targetLowPriorityNodes": pool.target.spot,
            "currentDedicatedNodes": current.dedicated,
            "currentLowPriorityNodes": current.spot,
        }),
    );
    if let Some(autoscale) = &pool.autoscale {
        let interval = duration::iso(autoscale.interval_ms);
        fill(
            &mut shown,
            json!({"autoScaleFormula": autoscale.text(), "autoScaleEvaluationInterval": interval}),
        );
        if let Some(run) = &autoscale.last {
            shown.insert("autoScaleRun".to_owned(), autoscale_run(run));
        }
    }
    let errors: Vec<Value> = pool.stale_errors.iter().chain(&pool.resize_errors).map(resize_error).collect();
    if !errors.is_empty() {
        shown.insert("resizeErrors".to_owned(), errors.into());
    }
    Value::Object(shown)
}

/// An evaluation of a formula. Its error comes with the results that there were until then.
pub(super) fn autoscale_run(run: &Run) -> Value {
    let mut shown = json!({"timestamp": iso(run.at_ms), "results": run.results});
    if let Some(error) = &run.error {
        shown["error"] = json!({
            "code": error.code,
            "message": error.message,
            "values": [{"name": "Message", "value": error.detail}],
        });
    }
    shown
}

fn resize_error(error: &ResizeError) -> Value {
    // The names are those of the .NET client's constants.
    let (code, message) = match error {
        ResizeError::AllocationFailed(Kind::Spot) => (
            "AllocationFailed",
            "Desired number of Spot nodes could not be allocated: the region has no capacity for this size now",
        ),
        ResizeError::AllocationFailed(Kind::Dedicated) => (
            "AllocationFailed",
            "Desired number of dedicated nodes could not be allocated: the region has no capacity for this size now",
        ),
        ResizeError::QuotaReached(Kind::Dedicated) => {
            ("AccountCoreQuotaReached", "The specified account has reached core quota")
        }
        ResizeError::QuotaReached(Kind::Spot) => (
            "AccountLowPriorityCoreQuotaReached",
            "The specified account has reached low priority core quota",
        ),
        ResizeError::ResizeStopped => {
            ("ResizeStopped", "Desired number of nodes could not be allocated due to a stop resize operation")
        }
    };
    json!({"code": code, "message": message})
}

/// A node.
pub(super) fn node(id: &str, node: &Node, pool: &Pool, base: &str) -> Value {
    let mut shown = json!({
        "id": id,
        "url": format!("{base}/pools/{}/nodes/{id}", pool.spec.id),
        "state": node.state_name(),
        "schedulingState": "enabled",
        "stateTransitionTime": iso(node.since_ms),
        "allocationTime": iso(node.allocated_ms),
        "ipAddress": "127.0.0.1",
        "affinityId": format!("TVM:{id}"),
        "vmSize": pool.spec.given.get("vmSize"),
        "totalTasksRun": node.tasks_run,
        "totalTasksSucceeded": node.tasks_succeeded,
        "runningTasksCount": node.runs.len(),
        "runningTaskSlotsCount": node.slots_taken(),
        "isDedicated": node.kind == Kind::Dedicated,
    });
    if let Some(booted_ms) = node.booted_ms {
        shown["lastBootTime"] = iso(booted_ms).into();
    }
    shown
}

/// The states of a pool's nodes, counted.
pub(super) fn node_counts(pool: &Pool) -> Value {
    const STATES: [&str; 15] = [
        "creating",
        "idle",
        "leavingPool",
        "offline",
        "preempted",
        "rebooting",
        "reimaging",
        "running",
        "starting",
        "startTaskFailed",
        "unknown",
        "unusable",
        "waitingForStartTask",
        "deallocated",
        "deallocating",
    ];
    let counts = |kind: Kind| {
        let nodes = || pool.nodes.values().filter(|node| node.kind == kind);
        let in_state =
            |state: &str| nodes().filter(|node| node.state_name().eq_ignore_ascii_case(state)).count();
        let mut counts: Object =
            STATES.iter().map(|state| ((*state).to_owned(), in_state(state).into())).collect();
        counts.insert("upgradingOS".to_owned(), 0.into());
        counts.insert("total".to_owned(), nodes().count().into());
        counts
    };
    json!({"poolId": pool.spec.id, "dedicated": counts(Kind::Dedicated), "lowPriority": counts(Kind::Spot)})
}

/// A job.
pub(super) fn job(job: &Job, base: &str) -> Value {
    let mut shown = job.spec.given.clone();
    for (name, default) in [
        ("priority", json!(0)),
        ("onAllTasksComplete", json!("noaction")),
        ("onTaskFailure", json!("noaction")),
        ("usesTaskDependencies", json!(false)),
        ("maxParallelTasks", json!(-1)),
    ] {
        shown.entry(name).or_insert(default);
    }
    let mut execution = json!({"startTime": iso(job.created_ms), "poolId": shown["poolInfo"]["poolId"]});
    if let Some(ended_ms) = job.ended_ms {
        execution["endTime"] = iso(ended_ms).into();
        execution["terminateReason"] = job.end_reason.clone().into();
    }
    fill(
        &mut shown,
        json!({
            "url": format!("{base}/jobs/{}", job.spec.id),
            "eTag": job.stamp.etag(),
            "lastModified": iso(job.stamp.modified_ms),
            "creationTime": iso(job.created_ms),
            "state": job.state.name(),
            "stateTransitionTime": iso(job.since_ms),
            "executionInfo": execution,
        }),
    );
    if let Some(previous) = job.previous {
        shown.insert("previousState".to_owned(), previous.name().into());
        shown.insert("previousStateTransitionTime".to_owned(), iso(job.since_ms).into());
    }
    Value::Object(shown)
}

/// The states of a job's tasks, counted by tasks and by slots.
pub(super) fn task_counts(job: &Job) -> Value {
    let counts = |weight: fn(&Task) -> u64| {
        let of = |wanted: fn(&Task) -> bool| {
            job.tasks.values().filter(|task| wanted(task)).map(weight).sum::<u64>()
        };
        json!({
            "active": of(|task| task.state == State::Active),
            "running": of(|task| task.state == State::Running),
            "completed": of(|task| task.state == State::Completed),
            "succeeded": of(|task| task.state == State::Completed && task.succeeded()),
            "failed": of(|task| task.state == State::Completed && !task.succeeded()),
        })
    };
    json!({"taskCounts": counts(|_| 1), "taskSlotCounts": counts(|task| task.spec.slots.into())})
}

/// A task.
pub(super) fn task(task: &Task, job: &Job, base: &str) -> Value {
    let mut shown = task.spec.given.clone();
    shown.entry("requiredSlots").or_insert(json!(1));
    fill(
        &mut shown,
        json!({
            "url": task_url(task, job, base),
            "eTag": task.stamp.etag(),
            "lastModified": iso(task.stamp.modified_ms),
            "creationTime": iso(task.created_ms),
            "state": task.state.name(),
            "stateTransitionTime": iso(task.since_ms),
            "executionInfo": execution(task),
        }),
    );
    if let Some(previous) = task.previous {
        shown.insert("previousState".to_owned(), previous.name().into());
        shown.insert("previousStateTransitionTime".to_owned(), iso(task.since_ms).into());
    }
    if let Some(place) = &task.place {
        let folder = format!("workitems/{}/job-1/{}", job.spec.id, task.spec.id);
        let node_url = format!("{base}/pools/{}/nodes/{}", place.pool, place.node);
        let shown_place = json!({
            "affinityId": format!("TVM:{}", place.node),
            "nodeUrl": node_url,
            "poolId": place.pool,
            "nodeId": place.node,
            "taskRootDirectory": folder,
            "taskRootDirectoryUrl": format!("{node_url}/files/{folder}"),
        });
        shown.insert("nodeInfo".to_owned(), shown_place);
    }
    Value::Object(shown)
}

/// The address of a task.
pub(super) fn task_url(task: &Task, job: &Job, base: &str) -> String {
    format!("{base}/jobs/{}/tasks/{}", job.spec.id, task.spec.id)
}

fn execution(task: &Task) -> Value {
    let mut shown = Object::new();
    let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    put("retryCount", task.retries.into());
    put("requeueCount", task.requeues.into());
    for (name, time) in [
        ("startTime", task.started_ms),
        ("endTime", task.ended_ms),
        ("lastRetryTime", task.retried_ms),
        ("lastRequeueTime", task.requeued_ms),
    ] {
        if let Some(time) = time {
            put(name, iso(time).into());
        }
    }
    if let Some(outcome) = &task.outcome {
        put("result", if task.succeeded() { "success" } else { "failure" }.into());
        if let Some(code) = outcome.exit_code {
            put("exitCode", code.into());
        }
        if let Some(failure) = &outcome.failure {
            put(
                "failureInfo",
                json!({"category": "usererror", "code": failure.code, "message": failure.message}),
            );
        }
    }
    Value::Object(shown)
}

/// Images that a pool may name: those that the service supports in November 2026.
pub(super) fn supported_images() -> Value {
    let image = |release: &str, sku: &str, end: Option<&str>| {
        let mut image = json!({
            "nodeAgentSKUId": format!("batch.node.ubuntu {release}"),
            "imageReference": {"publisher": "microsoft-dsvm", "offer": "ubuntu-hpc", "sku": sku, "version": "latest"},
            "osType": "linux",
            "verificationType": "verified",
            "capabilities": ["DockerCompatible", "NvidiaTeslaDriverInstalled"],
        });
        if let Some(end) = end {
            image["batchSupportEndOfLife"] = end.into();
        }
        image
    };
    json!({"value": [image("22.04", "2204", Some("2027-06-30T00:00:00Z")), image("24.04", "2404", None)]})
}

fn fill(object: &mut Object, members: Value) {
    if let Value::Object(members) = members {
        object.extend(members);
    }
}

/// Whether the files of a node can be read: an evicted machine has none.
pub(super) fn has_disk(node: &Node) -> bool {
    node.state != NodeState::Preempted
}
