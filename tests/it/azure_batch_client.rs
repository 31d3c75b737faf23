//! The Azure Batch client over real HTTP against a scripted service: retries, outcomes, pages, limits
//! and answers that are none.

use std::time::Duration;

use clock::Clock;
use handler::azure;
use handler::azure::batch::task::{Category, TaskResult, TaskState};
use handler::azure::batch::{
    AddError, Added, CALL_MAX, CallError, Client, CreateJobError, Created, Credential, NewJob, NewTask,
    PoolError, SharedKey, TaskCountsError,
};
use handler::settings::Secret;
use serde_json::{Value, json};

use crate::handler_stage::{Step, Upstream, until};

/// A key that no account has.
pub const KEY: &str = "c3dpdGNoeWFyZCB0ZXN0cywgbm8gYWNjb3VudCBoYXMgdGhpcyBrZXk=";

fn client_on(url: &str, clock: Clock) -> Client {
    let key = SharedKey::new("acct", &Secret::new(KEY.to_owned())).unwrap();
    Client::new(url.parse().unwrap(), Credential::SharedKey(key), azure::http().unwrap(), clock)
}

/// A client whose waits between retries are a thousandth of the real ones.
pub fn client(url: &str) -> Client {
    client_on(url, Clock::scaled(0, 1_000.0).unwrap())
}

/// 200 with this body.
pub fn ok(body: &str) -> Step {
    Step::Answer(200, vec![], body.to_owned())
}

fn created() -> Step {
    Step::Answer(201, vec![], String::new())
}

/// A flat error as the service writes it.
fn says(status: u16, code: &str) -> Step {
    let message = json!({ "lang": "en-US", "value": format!("about {code}\nRequestId:r\nTime:t") });
    Step::Answer(
        status,
        vec![],
        json!({ "odata.metadata": "m", "code": code, "message": message }).to_string(),
    )
}

fn task(id: &str) -> NewTask {
    NewTask {
        id: id.to_owned(),
        program: "/bin/true".to_owned(),
        arguments: vec![],
        environment: vec![],
        container_image: None,
        max_wall_clock: Duration::from_secs(60),
        max_retries: 0,
        required_slots: 1,
        outputs: vec![],
    }
}

fn tasks(count: usize) -> Vec<NewTask> {
    (0..count).map(|at| task(&format!("t{at}"))).collect()
}

fn rejected(code: &str) -> CallError {
    CallError::Rejected { code: code.to_owned(), message: format!("about {code}") }
}

fn unavailable(what: &str) -> CallError {
    CallError::Unavailable { what: what.to_owned() }
}

#[tokio::test]
async fn a_retry_carries_the_same_request_id_and_a_new_call_another() {
    let upstream =
        Upstream::start([says(503, "ServerBusy"), says(500, "InternalError"), created(), created()]).await;
    let batch = client(&upstream.url);
    assert_eq!(batch.add_task("j", &task("t")).await, Ok(Added::Added));
    assert_eq!(batch.add_task("j", &task("u")).await, Ok(Added::Added));
    let seen = upstream.seen();
    let ids: Vec<&str> = seen.iter().map(|seen| seen.header("client-request-id").unwrap()).collect();
    assert_eq!(ids.len(), 4);
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3], "{ids:?}");
    assert!(seen[..3].iter().all(|again| again.body == seen[0].body));
}

#[tokio::test]
async fn a_task_that_an_earlier_attempt_added_is_a_success() {
    for first in [says(500, "OperationTimedOut"), Step::Close] {
        let upstream = Upstream::start([first, says(409, "TaskExists")]).await;
        assert_eq!(client(&upstream.url).add_task("j", &task("t")).await, Ok(Added::Existed));
        assert_eq!(upstream.seen().len(), 2);
    }
}

#[tokio::test]
async fn after_three_retries_the_last_error_is_told() {
    let cases = [
        (429, "TooManyRequests", CallError::Throttled { retry_after: None }),
        (503, "ServerBusy", CallError::Throttled { retry_after: None }),
        (500, "InternalError", unavailable("it answered 500 InternalError")),
    ];
    for (status, code, error) in cases {
        let upstream = Upstream::start((0..5).map(|_| says(status, code))).await;
        assert_eq!(client(&upstream.url).task("j", "t").await, Err(error), "{status}");
        assert_eq!(upstream.seen().len(), 4, "{status}");
    }
}

#[tokio::test]
async fn a_wait_beyond_the_bound_is_told_at_once() {
    let later = || Step::Answer(429, vec![("retry-after", "3600".to_owned())], String::new());
    let upstream = Upstream::start([later()]).await;
    let batch = client_on(&upstream.url, Clock::REAL);
    let error = CallError::Throttled { retry_after: Some(Duration::from_secs(3_600)) };
    assert_eq!(batch.add_task("j", &task("t")).await, Err(error.into()));
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_service_that_never_answers_is_given_up_at_the_bound() {
    let (given_up, _held) = tokio::sync::mpsc::channel(1);
    let upstream = Upstream::start([Step::Hang(given_up)]).await;
    let batch = client_on(&upstream.url, Clock::REAL);
    let call = tokio::spawn(async move { batch.task("j", "t").await });
    until("the call is under way", async || upstream.seen().len() == 1).await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    assert_eq!(call.await.unwrap(), Err(CallError::Timeout));
    assert!(began.elapsed() <= CALL_MAX);
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let batch = client(&format!("http://127.0.0.1:{port}"));
    assert_eq!(batch.task("j", "t").await, Err(unavailable("no connection")));
}

#[tokio::test]
async fn what_the_service_says_becomes_what_a_caller_can_act_on() {
    let over = |code: &str| Err(AddError::JobNotActive { code: code.to_owned() });
    let cases = [
        (409, "TaskExists", Ok(Added::Existed)),
        (409, "JobNotActive", over("JobNotActive")),
        (409, "JobCompleted", over("JobCompleted")),
        (409, "JobDisabled", over("JobDisabled")),
        (409, "JobBeingTerminated", over("JobBeingTerminated")),
        (409, "JobBeingDeleted", over("JobBeingDeleted")),
        (404, "JobNotFound", Err(AddError::JobNotFound)),
        (400, "InvalidPropertyValue", Err(rejected("InvalidPropertyValue").into())),
    ];
    for (status, code, expected) in cases {
        let upstream = Upstream::start([says(status, code)]).await;
        assert_eq!(client(&upstream.url).add_task("j", &task("t")).await, expected, "{code}");
        assert_eq!(upstream.seen().len(), 1, "{code}");
    }

    let job = NewJob { id: "j".into(), pool: "p".into(), priority: 0, environment: vec![] };
    let upstream = Upstream::start([
        says(409, "JobExists"),
        says(409, "ActiveJobAndScheduleQuotaReached"),
        says(404, "PoolNotFound"),
        says(404, "JobNotFound"),
        says(404, "JobNotFound"),
        says(409, "JobCompleted"),
        says(404, "TaskNotFound"),
        says(404, "TaskNotFound"),
        says(409, "TaskCompleted"),
        says(404, "JobNotFound"),
        says(409, "JobBeingDeleted"),
        says(409, "JobBeingTerminated"),
    ])
    .await;
    let batch = client(&upstream.url);
    assert_eq!(batch.create_job(&job).await, Ok(Created::Existed));
    assert_eq!(batch.create_job(&job).await, Err(CreateJobError::Quota));
    assert_eq!(batch.pool("p").await, Err(PoolError::NotFound));
    assert_eq!(batch.task_counts("j").await, Err(TaskCountsError::JobNotFound));
    assert_eq!(batch.end_job_when_done("j").await, Ok(()));
    assert_eq!(batch.end_job_when_done("j").await, Ok(()));
    assert_eq!(batch.task("j", "t").await, Ok(None));
    assert_eq!(batch.delete_task("j", "t").await, Ok(()));
    assert_eq!(batch.terminate_task("j", "t").await, Ok(()));
    assert_eq!(batch.terminate_task("j", "t").await, Ok(()));
    assert_eq!(batch.create_job(&job).await, Ok(Created::Existed));
    assert_eq!(batch.terminate_task("j", "t").await, Ok(()));
}

#[tokio::test]
async fn a_refusal_names_account_and_settings_but_no_secret() {
    let upstream = Upstream::start([says(403, "AuthenticationFailed")]).await;
    let batch = client(&upstream.url);
    let error = batch.task("j", "t").await.unwrap_err();
    let text = format!("{error} {error:?} {batch:?}");
    for part in ["`acct`", "AuthenticationFailed", "BATCH_ACCOUNT_NAME", "BATCH_ENDPOINT"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains(KEY) && !text.contains("SharedKey acct:"), "{text}");
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn only_the_services_own_words_prove_that_a_task_is_gone() {
    let page = || Step::Answer(404, vec![], "<html>Not Found</html>".to_owned());
    let upstream = Upstream::start([page(), page()]).await;
    let batch = client(&upstream.url);
    let error = CallError::Rejected { code: "http-404".into(), message: "no flat error body".into() };
    assert_eq!(batch.task("j", "t").await, Err(error.clone()));
    assert_eq!(batch.delete_task("j", "t").await, Err(error));
}

#[tokio::test]
async fn answers_that_are_none_are_refused() {
    let elsewhere = vec![("location", "http://127.0.0.1:1/".to_owned())];
    let cases = [
        ok("<html>Sign in</html>"),
        ok(""),
        ok("[]"),
        ok("{}"),
        ok(r#"{"state":7}"#),
        ok(&format!("[{}", "[".repeat(100_000))),
        ok(&format!(r#"{{"state":"active","x":"{}"}}"#, "x".repeat(5_000_000))),
        Step::Answer(302, elsewhere, String::new()),
        Step::Answer(204, vec![], String::new()),
    ];
    for (at, step) in cases.into_iter().enumerate() {
        let upstream = Upstream::start([step]).await;
        let found = client(&upstream.url).task("j", "t").await;
        assert!(matches!(found, Err(CallError::Unreadable { .. })), "{at}: {found:?}");
        assert_eq!(upstream.seen().len(), 1, "{at}");
    }
    // A page that something in between answers instead of 201 is no task added.
    let upstream = Upstream::start([ok("<html>Sign in</html>")]).await;
    let added = client(&upstream.url).add_task("j", &task("t")).await;
    assert!(matches!(added, Err(AddError::Call(CallError::Unreadable { .. }))), "{added:?}");
    // An endless error is read to a bound.
    let upstream = Upstream::start([Step::Answer(400, vec![], "x".repeat(5_000_000))]).await;
    let error = CallError::Rejected { code: "http-400".into(), message: "no flat error body".into() };
    assert_eq!(client(&upstream.url).task("j", "t").await, Err(error));
}

#[tokio::test]
async fn wrong_ids_and_arguments_are_not_sent() {
    let upstream = Upstream::start([]).await;
    let batch = client(&upstream.url);
    let not_sent = |error: &CallError| matches!(error, CallError::NotSent { .. });
    assert!(not_sent(&batch.task("../pools", "t").await.unwrap_err()));
    assert!(not_sent(&batch.delete_task("j", "").await.unwrap_err()));
    assert!(not_sent(&batch.task_file_tail("j", "t", "../../secret", 9).await.unwrap_err()));
    let spaced = NewTask { arguments: vec!["a b".into()], ..task("t") };
    let AddError::Call(error) = batch.add_task("j", &spaced).await.unwrap_err() else { panic!("not sent") };
    assert!(not_sent(&error) && error.to_string().contains("argument 1"), "{error}");
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn active_jobs_are_listed_page_by_page_to_a_bound() {
    let page = |ids: &[&str], next: Option<&str>| {
        let jobs: Vec<Value> = ids.iter().map(|id| json!({ "id": id, "state": "active" })).collect();
        ok(&json!({ "value": jobs, "odata.nextLink": next }).to_string())
    };
    let far = "http://evil.example/jobs?$skiptoken=a%20b&api-version=2025-06-01";
    let odd = r#"{"value":[{"id":"sy-c","state":"completed"},{"id":"sy-d","creationTime":"2026-11-20T15:37:11.1234567Z","onAllTasksComplete":"terminatejob"}]}"#;
    let upstream = Upstream::start([
        page(&["sy-a", "other"], Some(far)),
        page(&["sy-b"], Some("/jobs?$skiptoken=2")),
        ok(odd),
    ]);
    let upstream = upstream.await;
    let listed = client(&upstream.url).jobs("sy-").await.unwrap();
    assert!(listed.complete);
    let ids: Vec<&str> = listed.jobs.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(ids, ["sy-a", "sy-b", "sy-d"]);
    let last = listed.jobs.last().unwrap();
    assert_eq!(last.created.map(|at| at.0), Some(1_795_189_031_123));
    assert!(last.ends_when_done && !listed.jobs[0].ends_when_done);
    assert_eq!(upstream.seen()[1].path, "/jobs?api-version=2025-06-01&$skiptoken=a%20b");

    let endless = Upstream::start((0..40).map(|_| page(&["sy-a"], Some("/jobs?$skiptoken=1")))).await;
    let listed = client(&endless.url).jobs("sy-").await.unwrap();
    assert!(!listed.complete);
    assert_eq!((listed.jobs.len(), endless.seen().len()), (20, 20));
}

/// The ids that a call's body adds.
fn sent_ids(body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap();
    body["value"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
}

/// What the service answers to these tasks, in an order of its own.
fn all_added(ids: impl DoubleEndedIterator<Item = usize>) -> Step {
    let item = |at: usize| json!({ "status": "success", "taskId": format!("t{at}") });
    ok(&json!({ "value": ids.rev().map(item).collect::<Vec<_>>() }).to_string())
}

#[tokio::test]
async fn tasks_are_added_by_the_hundred() {
    let upstream = Upstream::start([all_added(0..100), all_added(100..200), all_added(200..250)]).await;
    let added = client(&upstream.url).add_tasks("j", &tasks(250)).await;
    assert_eq!(added, vec![Ok(Added::Added); 250]);
    let sizes: Vec<usize> = upstream.seen().iter().map(|seen| sent_ids(&seen.body).len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
}

#[tokio::test]
async fn bodies_stay_below_a_megabyte_and_are_halved_when_that_is_too_much() {
    let big = |at: usize| NewTask {
        environment: vec![("E".into(), "x".repeat(400_000))],
        ..task(&format!("t{at}"))
    };
    let upstream = Upstream::start([
        all_added(0..2),
        says(413, "RequestBodyTooLarge"),
        all_added(2..3),
        all_added(3..4),
    ]);
    let upstream = upstream.await;
    let added = client(&upstream.url).add_tasks("j", &(0..4).map(big).collect::<Vec<_>>()).await;
    assert_eq!(added, vec![Ok(Added::Added); 4]);
    let calls: Vec<Vec<String>> = upstream.seen().iter().map(|seen| sent_ids(&seen.body)).collect();
    assert_eq!(calls, [vec!["t0", "t1"], vec!["t2", "t3"], vec!["t2"], vec!["t3"]]);
    assert!(upstream.seen().iter().all(|seen| seen.body.len() < 1_000_000));

    let huge = NewTask { environment: vec![("E".into(), "x".repeat(1_000_000))], ..task("t0") };
    let error = client(&upstream.url).add_task("j", &huge).await.unwrap_err();
    assert!(matches!(error, AddError::Call(CallError::NotSent { .. })), "{error}");
}

#[tokio::test]
async fn each_task_of_a_collection_has_its_own_outcome() {
    let item = |id: &str, status: &str, code: &str| {
        let message = json!({ "lang": "en-US", "value": format!("about {code}\nRequestId:r") });
        json!({ "status": status, "taskId": id, "error": { "code": code, "message": message } })
    };
    let items = json!({ "value": [
        item("t4", "clienterror", "InvalidPropertyValue"),
        item("t3", "servererror", "ServerBusy"),
        item("t2", "clienterror", "JobCompleted"),
        item("t1", "clienterror", "TaskExists"),
        { "status": "success", "taskId": "t0" },
    ] });
    let upstream = Upstream::start([ok(&items.to_string())]).await;
    let mut wanted = tasks(6);
    wanted.push(NewTask { program: "sh -c".into(), ..task("t6") });
    let added = client(&upstream.url).add_tasks("j", &wanted).await;
    assert_eq!(added[0], Ok(Added::Added));
    assert_eq!(added[1], Ok(Added::Existed));
    assert_eq!(added[2], Err(AddError::JobNotActive { code: "JobCompleted".into() }));
    assert_eq!(added[3], Err(unavailable("a task failed with ServerBusy").into()));
    assert_eq!(added[4], Err(rejected("InvalidPropertyValue").into()));
    assert!(matches!(added[5], Err(AddError::Call(CallError::Unreadable { .. }))), "{:?}", added[5]);
    assert!(matches!(added[6], Err(AddError::Call(CallError::NotSent { .. }))), "{:?}", added[6]);
    assert_eq!(sent_ids(&upstream.seen()[0].body).len(), 6);
}

#[tokio::test]
async fn a_failed_collection_fails_the_rest_without_further_calls() {
    let upstream = Upstream::start([all_added(0..100), says(404, "JobNotFound")]).await;
    let added = client(&upstream.url).add_tasks("j", &tasks(250)).await;
    assert!(added[..100].iter().all(|outcome| *outcome == Ok(Added::Added)));
    assert!(added[100..].iter().all(|outcome| *outcome == Err(AddError::JobNotFound)));
    assert_eq!(upstream.seen().len(), 2);

    let nothing = Upstream::start([]).await;
    assert!(client(&nothing.url).add_tasks("j", &[]).await.is_empty());
    assert!(nothing.seen().is_empty());
}

#[tokio::test]
async fn the_end_of_a_file_is_read_and_a_missing_one_is_none() {
    let empty = Step::Answer(200, vec![("content-length", "0".to_owned())], String::new());
    let upstream = Upstream::start([ok("0123456789"), ok("6789"), empty, says(404, "FileNotFound")]).await;
    let batch = client(&upstream.url);
    let tail = async || batch.task_file_tail("j", "t", "stderr.txt", 4).await;
    assert_eq!(tail().await.unwrap().unwrap(), "6789");
    assert_eq!(upstream.seen()[1].header("ocp-range"), Some("bytes=6-9"));
    assert_eq!(tail().await.unwrap().unwrap(), "");
    assert_eq!(tail().await.unwrap(), None);
    assert_eq!(upstream.seen().len(), 4);
    // The node goes away between the two calls.
    upstream.then(ok("0123456789"));
    upstream.then(says(409, "TaskFilesUnavailable"));
    assert_eq!(tail().await.unwrap(), None);
    // A service that does not know ranges does not fill our memory.
    upstream.then(ok("0123456789"));
    upstream.then(ok("0123456789"));
    assert!(matches!(tail().await, Err(CallError::Unreadable { .. })));
}

#[tokio::test]
async fn pools_nodes_and_counts_are_read() {
    let body = json!({
        "odata.metadata": "m", "id": "p", "state": "active", "allocationState": "resizing", "vmSize": "s",
        "currentDedicatedNodes": 1, "targetDedicatedNodes": 2, "currentLowPriorityNodes": 3, "targetLowPriorityNodes": 4,
        "taskSlotsPerNode": 4, "virtualMachineConfiguration": { "containerConfiguration": { "type": "dockerCompatible" } },
        "resizeErrors": [{ "code": "AllocationFailed", "message": "no spot\nmore", "values": [] }],
        "enableAutoScale": true,
        "autoScaleRun": { "timestamp": "2026-11-20T15:37:11.1234567Z", "results": "$TargetDedicatedNodes=2",
            "error": { "code": "InsufficientSampleData", "message": "too few" } },
    });
    let row = json!({ "active": 1, "running": 2, "completed": 3, "succeeded": 2, "failed": 1 });
    let counts = json!({ "value": [
        { "poolId": "other", "dedicated": { "idle": 9 } },
        { "poolId": "P", "dedicated": { "idle": 1, "upgradingOS": 1, "total": 2 },
          "lowPriority": { "waitingForStartTask": 1, "preempted": 2, "startTaskFailed": 3 } },
    ] });
    let upstream = Upstream::start([
        ok(&body.to_string()),
        ok(r#"{"state":"someday","allocationState":"steady","virtualMachineConfiguration":{}}"#),
        ok(&counts.to_string()),
        ok(r#"{"value":[]}"#),
        ok(&json!({ "taskCounts": row, "taskSlotCounts": row }).to_string()),
    ])
    .await;
    let batch = client(&upstream.url);
    let pool = batch.pool("p").await.unwrap();
    assert_eq!((pool.dedicated.current, pool.dedicated.target), (1, 2));
    assert_eq!((pool.low_priority.current, pool.low_priority.target), (3, 4));
    assert!(pool.containers && pool.auto_scale);
    assert_eq!(pool.task_slots_per_node, 4);
    assert_eq!(
        (pool.resize_errors[0].code.as_str(), pool.resize_errors[0].message.as_str()),
        ("AllocationFailed", "no spot")
    );
    let run = pool.auto_scale_run.unwrap();
    assert_eq!(
        (run.results.as_str(), run.error.unwrap().code.as_str()),
        ("$TargetDedicatedNodes=2", "InsufficientSampleData")
    );
    let bare = batch.pool("p").await.unwrap();
    assert_eq!((bare.containers, bare.task_slots_per_node, bare.auto_scale_run), (false, 1, None));

    let nodes = batch.node_counts("p").await.unwrap();
    assert_eq!((nodes.dedicated.idle, nodes.dedicated.upgrading_os, nodes.dedicated.total), (1, 1, 2));
    let spot = nodes.low_priority;
    assert_eq!((spot.waiting_for_start_task, spot.preempted, spot.start_task_failed), (1, 2, 3));
    assert_eq!(batch.node_counts("p").await, Err(PoolError::NotFound));
    let counted = batch.task_counts("j").await.unwrap();
    assert_eq!((counted.tasks.active, counted.tasks.running, counted.slots.failed), (1, 2, 1));
}

#[tokio::test]
async fn tasks_are_read_in_every_state() {
    let failed = json!({ "id": "t", "state": "completed", "executionInfo": {
        "startTime": "2026-11-20T15:37:11Z", "endTime": "2026-11-20T15:37:12.5Z", "exitCode": 7, "retryCount": 1,
        "requeueCount": 2, "result": "failure",
        "failureInfo": { "category": "usererror", "code": "FailureExitCode", "message": "nonzero", "details": [] },
    }, "nodeInfo": { "nodeId": "tvm-1", "poolId": "p" } });
    let upstream = Upstream::start([
        ok(&failed.to_string()),
        ok(r#"{"state":"active","executionInfo":{"retryCount":0,"requeueCount":0}}"#),
        ok(r#"{"state":"somewhere new"}"#),
    ])
    .await;
    let batch = client(&upstream.url);
    let task = batch.task("j", "t").await.unwrap().unwrap();
    assert_eq!(
        (task.state, task.result, task.exit_code),
        (TaskState::Completed, Some(TaskResult::Failure), Some(7))
    );
    assert_eq!((task.retries, task.requeues, task.node.as_deref()), (1, 2, Some("tvm-1")));
    assert_eq!(task.ended.unwrap().since(task.started.unwrap()).0, 1_500);
    let failure = task.failure.unwrap();
    assert_eq!((failure.category, failure.problem.code.as_str()), (Category::UserError, "FailureExitCode"));
    let waiting = batch.task("j", "t").await.unwrap().unwrap();
    assert_eq!((waiting.state, waiting.result, waiting.node), (TaskState::Active, None, None));
    assert_eq!(batch.task("j", "t").await.unwrap().unwrap().state, TaskState::Unknown);
}
