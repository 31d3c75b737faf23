//! Tasks as processes: environment, files, exit codes, limits, retries, and that none survives.

use std::collections::BTreeMap;
use std::path::PathBuf;

use local::azure_batch::{Options, Programs};
use serde_json::{Value, json};

use super::client::{Stand, alive, at_once, pool, until};

/// Starts a child that sleeps, writes both process ids and waits. The files lie outside the task's
/// folder, which an eviction removes.
fn family(folder: &std::path::Path) -> String {
    let file = folder.join("pids");
    format!("/bin/sh -c 'sleep 600 & echo $$ $! > {0}.tmp; mv {0}.tmp {0}; wait'", file.display())
}

/// The ids that [`family`] wrote, once it has.
pub async fn family_pids(stand: &Stand) -> Vec<String> {
    let file = stand.folder.join("pids");
    until("the task has started its child", || file.exists()).await;
    let pids = std::fs::read_to_string(&file).expect("it was just there");
    std::fs::remove_file(&file).expect("it was just there");
    pids.split_whitespace().map(str::to_owned).collect()
}

/// Adds the task of [`family`].
pub async fn add_family(stand: &Stand, id: &str, with: Value) {
    stand.task(id, &family(&stand.folder), with).await;
}

/// Waits until none of the processes is there.
pub async fn gone(pids: &[String]) {
    assert_eq!(pids.len(), 2, "a process and its child");
    until("all processes of the task are gone", || !pids.iter().any(|pid| alive(pid))).await;
}

#[tokio::test]
async fn a_task_is_a_process_in_a_folder_with_the_services_environment() {
    let stand = Stand::start(Options { pools: vec![pool("p", 1)], ..at_once() });
    let shared = json!([{"name": "FROM_JOB", "value": "job"}, {"name": "BOTH", "value": "job"}]);
    let job = json!({"id": "j", "poolInfo": {"poolId": "p"}, "commonEnvironmentSettings": shared});
    stand.expect(201, "POST", "/jobs", job).await;
    let settings = json!({"environmentSettings": [{"name": "BOTH", "value": "task"}]});
    stand.task("t", "/bin/sh -c 'env; pwd >&2; exit 0'", settings).await;
    let task = stand.task_in("t", "completed").await;
    assert_eq!(
        (&task["executionInfo"]["exitCode"], &task["executionInfo"]["result"]),
        (&json!(0), &json!("success"))
    );

    let printed = stand.get("/jobs/j/tasks/t/files/stdout.txt").await.text();
    let found: BTreeMap<&str, &str> = printed.lines().filter_map(|line| line.split_once('=')).collect();
    let node = task["nodeInfo"]["nodeId"].as_str().expect("it ran on a node");
    let root = stand.folder.join("p").join(node);
    let folder = root.join("workitems/j/job-1/t");
    let text = |path: PathBuf| path.display().to_string();
    let expected = [
        ("AZ_BATCH_ACCOUNT_NAME", "devbatch".to_owned()),
        ("AZ_BATCH_ACCOUNT_URL", format!("{}/", stand.server().url())),
        ("AZ_BATCH_POOL_ID", "p".to_owned()),
        ("AZ_BATCH_NODE_ID", node.to_owned()),
        ("AZ_BATCH_NODE_IS_DEDICATED", "false".to_owned()),
        ("AZ_BATCH_JOB_ID", "j".to_owned()),
        ("AZ_BATCH_TASK_ID", "t".to_owned()),
        ("AZ_BATCH_NODE_ROOT_DIR", text(root.clone())),
        ("AZ_BATCH_NODE_SHARED_DIR", text(root.join("shared"))),
        ("AZ_BATCH_NODE_STARTUP_DIR", text(root.join("startup"))),
        ("AZ_BATCH_NODE_MOUNTS_DIR", text(root.join("mounts"))),
        ("AZ_BATCH_TASK_DIR", text(folder.clone())),
        ("AZ_BATCH_TASK_WORKING_DIR", text(folder.join("wd"))),
        ("FROM_JOB", "job".to_owned()),
        ("BOTH", "task".to_owned()),
    ];
    for (name, value) in expected {
        assert_eq!(found.get(name), Some(&value.as_str()), "{name}");
    }
    assert!(!found.contains_key("CARGO_MANIFEST_DIR"), "nothing is inherited from the stand-in");
    let working = stand.get("/jobs/j/tasks/t/files/stderr.txt").await.text();
    assert_eq!(PathBuf::from(working.trim()), folder.join("wd"));
}

#[tokio::test]
async fn files_are_listed_read_in_parts_and_never_outside_the_task() {
    let stand = Stand::with_pool(1).await;
    let command =
        "/bin/sh -c 'mkdir -p deep; echo 0123456789 > deep/out.txt; ln -s /etc/hostname link; echo x'";
    stand.task("t", command, json!({})).await;
    stand.task_in("t", "completed").await;
    let names = |answer: Value| {
        let items = answer["value"].as_array().expect("a list").clone();
        items.iter().map(|item| item["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    let top = names(stand.get("/jobs/j/tasks/t/files").await.json());
    assert_eq!(top, ["stderr.txt", "stdout.txt", "wd"]);
    let all = names(stand.get("/jobs/j/tasks/t/files?recursive=true").await.json());
    assert_eq!(all, ["stderr.txt", "stdout.txt", "wd", "wd/deep", "wd/deep/out.txt"], "links are left out");

    let file = "/jobs/j/tasks/t/files/wd%2Fdeep%2Fout.txt";
    for (range, part) in [("bytes=2-4", "234"), ("bytes=8-", "89\n"), ("bytes=0-999", "0123456789\n")] {
        let answer = stand.call("GET", file, None, &[("ocp-range", range)]).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, part), "{range}");
    }
    let outside = stand.call("GET", file, None, &[("ocp-range", "bytes=99-100")]).await;
    assert_eq!(outside.refusal(), (400, "OutOfRangeInput".to_owned()));
    let head = stand.call("HEAD", file, None, &[]).await;
    assert_eq!((head.status, &head.headers["content-length"]), (200, &"11".parse().unwrap()));
    assert_eq!(head.headers["ocp-batch-file-isdirectory"], "false");
    for hidden in ["..%2F..%2Fx", "wd%2Flink", "wd%2F..%2F..%2F..%2Fsecret", "nothing", "%2Fetc%2Fhostname"] {
        let answer = stand.get(&format!("/jobs/j/tasks/t/files/{hidden}")).await;
        assert_eq!(answer.refusal(), (404, "FileNotFound".to_owned()), "{hidden}");
    }
}

#[tokio::test]
async fn exit_codes_retries_and_missing_programs_are_told() {
    let stand = Stand::with_pool(1).await;
    let count = stand.folder.join("count");
    let fails = format!("/bin/sh -c 'echo . >> {}; exit 3'", count.display());
    stand.task("fails", &fails, json!({"constraints": {"maxTaskRetryCount": 2}})).await;
    stand.task("killed", "/bin/sh -c 'kill -9 $$'", json!({})).await;
    stand
        .task("missing", "/no/such/program --at all", json!({"constraints": {"maxTaskRetryCount": 2}}))
        .await;
    stand.task("quote", "/bin/echo it's", json!({})).await;
    let info = |task: Value| task["executionInfo"].clone();
    let fails = info(stand.task_in("fails", "completed").await);
    assert_eq!((&fails["exitCode"], &fails["retryCount"]), (&json!(3), &json!(2)));
    assert_eq!(fails["failureInfo"]["code"], "FailureExitCode");
    assert_eq!(std::fs::read_to_string(count).unwrap().lines().count(), 3, "one run and two retries");
    assert_eq!(info(stand.task_in("killed", "completed").await)["exitCode"], 137);
    for (task, code) in [("missing", "CommandProgramNotFound"), ("quote", "CommandLaunchFailed")] {
        let info = info(stand.task_in(task, "completed").await);
        assert_eq!(info["failureInfo"]["code"], code, "{task}");
        assert_eq!((info.get("exitCode"), &info["retryCount"]), (None, &json!(0)), "{task}");
    }
}

#[tokio::test]
async fn a_time_limit_a_call_and_a_deletion_kill_the_whole_family() {
    let stand = Stand::with_pool(1).await;
    add_family(&stand, "limited", json!({"constraints": {"maxWallClockTime": "PT1S"}})).await;
    gone(&family_pids(&stand).await).await;
    let ended = stand.task_in("limited", "completed").await;
    assert_eq!(ended["executionInfo"]["failureInfo"]["code"], "TaskEnded");
    assert_eq!(ended["executionInfo"].get("exitCode"), None);

    add_family(&stand, "called", json!({})).await;
    let pids = family_pids(&stand).await;
    assert_eq!(stand.call("POST", "/jobs/j/tasks/called/terminate", None, &[]).await.status, 204);
    gone(&pids).await;

    add_family(&stand, "deleted", json!({})).await;
    let pids = family_pids(&stand).await;
    assert_eq!(stand.call("DELETE", "/jobs/j/tasks/deleted", None, &[]).await.status, 200);
    gone(&pids).await;
    assert_eq!(stand.get("/jobs/j/tasks/deleted").await.refusal(), (404, "TaskNotFound".to_owned()));
}

#[tokio::test]
async fn what_a_task_leaves_behind_ends_with_it() {
    let stand = Stand::with_pool(1).await;
    let file = stand.folder.join("orphan");
    stand.task("t", &format!("/bin/sh -c 'sleep 600 & echo $! > {}'", file.display()), json!({})).await;
    stand.task_in("t", "completed").await;
    let pid = std::fs::read_to_string(file).expect("the task wrote it before it ended");
    until("the orphan is gone", || !alive(&pid)).await;
}

#[tokio::test]
async fn neither_stop_nor_drop_leaves_a_process() {
    let mut stand = Stand::with_pool(1).await;
    add_family(&stand, "t", json!({})).await;
    let pids = family_pids(&stand).await;
    stand.server.take().expect("it runs").stop().await;
    // The leader is gone for certain; its child is, as soon as the kernel has seen to it.
    assert!(!alive(&pids[0]), "stop waits for the processes");
    gone(&pids).await;

    let mut stand = Stand::with_pool(1).await;
    add_family(&stand, "t", json!({})).await;
    let pids = family_pids(&stand).await;
    drop(stand.server.take());
    gone(&pids).await;
}

#[tokio::test]
async fn the_next_stand_in_ends_what_a_killed_one_left() {
    let mut stand = Stand::with_pool(1).await;
    add_family(&stand, "t", json!({})).await;
    let pids = family_pids(&stand).await;
    // As after kill -9, nothing of the first one is ever dropped.
    std::mem::forget(stand.server.take());
    let next = Stand::start(Options { folder: stand.folder.clone(), ..at_once() });
    gone(&pids).await;
    assert_eq!(next.get("/jobs/j").await.status, 404, "a restart loses every job");
}

#[tokio::test]
async fn only_named_programs_run_and_an_image_is_an_entry_point() {
    let named = [("worker", "/bin/echo"), ("registry.example/worker:1", "/bin/echo")];
    let programs = named.map(|(name, path)| (name.to_owned(), PathBuf::from(path))).into();
    let mut containers = pool("containers", 1);
    let image = json!({"type": "dockerCompatible", "containerImageNames": ["registry.example/worker:1"]});
    containers["virtualMachineConfiguration"]["containerConfiguration"] = image;
    let stand = Stand::start(Options {
        programs: Programs::Named(programs),
        pools: vec![pool("p", 1), containers],
        ..at_once()
    });
    stand.expect(201, "POST", "/jobs", json!({"id": "j", "poolInfo": {"poolId": "p"}})).await;
    stand.task("named", "worker --pack 'a b'", json!({})).await;
    stand.task_in("named", "completed").await;
    assert_eq!(stand.get("/jobs/j/tasks/named/files/stdout.txt").await.text(), "--pack a b\n");
    stand.task("other", "/bin/sh -c 'echo no'", json!({})).await;
    let refused = stand.task_in("other", "completed").await;
    assert_eq!(refused["executionInfo"]["failureInfo"]["code"], "CommandProgramNotFound");

    stand.expect(200, "PATCH", "/jobs/j", json!({"poolInfo": {"poolId": "containers"}})).await;
    let bare = json!({"id": "bare", "commandLine": "worker"});
    stand.expect(400, "POST", "/jobs/j/tasks", bare).await;
    let settings = json!({"containerSettings": {"imageName": "registry.example/worker:1"}});
    stand.task("image", "--pack c", settings.clone()).await;
    stand.task("empty", "", settings).await;
    stand.task_in("image", "completed").await;
    stand.task_in("empty", "completed").await;
    assert_eq!(stand.get("/jobs/j/tasks/image/files/stdout.txt").await.text(), "--pack c\n");
    assert_eq!(stand.get("/jobs/j/tasks/empty/files/stdout.txt").await.text(), "\n");
}
