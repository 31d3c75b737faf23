//! Trouble of the platform in the middle of a job: nodes taken away, Azure Batch down, empty or with
//! its job over, workers that fail, owners and deadlines that stop a job.

use std::sync::Arc;
use std::time::{Duration, Instant};

use facts::Job;
use facts::fault::{Act, Fault};
use facts::job::{Status, StopWhy};
use facts::key::{self, JobKeys};
use handler::act::jobs::accept::New;
use policy::tries;
use tokio_util::sync::CancellationToken;

use super::items::LINES;
use super::rig::{POOL, Rig, SLOW, TENANT, until_killed};
use crate::handler_stage::BOUND;

const LONG: Duration = Duration::from_secs(10 * 24 * 3_600);
const TEN_MINUTES: Duration = Duration::from_secs(600);
/// Deadlines are met or not by what really runs: a rescue's 241 s are a second.
const WITH_DEADLINES: f64 = 240.0;

/// Runs a task's worker until it has put its first chunk, then it is gone.
async fn first_chunk(rig: &Rig) -> super::rig::Running {
    let task = rig.until_running().await;
    let fault = Arc::new(Fault::of_task(Act::Put, true, 1));
    let stop = CancellationToken::new();
    let worker = rig.run_worker(&task, Some(Arc::clone(&fault)), &stop);
    assert!(until_killed(&fault, worker).await.is_none(), "it has more to do than one chunk");
    task
}

/// The chunks of a job so far, with their contents.
async fn chunks(rig: &Rig, job: &Job) -> Vec<(String, bytes::Bytes)> {
    let mut chunks = Vec::new();
    let out = format!("{}out/", JobKeys::new(&job.tenant, &job.job).folder());
    for found in rig.store.list(&out).await.unwrap() {
        let content = rig.store.get(&found.key).await.unwrap().content;
        chunks.push((found.key, content));
    }
    chunks
}

#[tokio::test]
async fn two_sweeps_at_once_do_no_harm() {
    let rig = Rig::start(SLOW).await;
    let job = rig.job(LONG).await;
    rig.lose_tickets().await;
    let (one, other) = (rig.process().await, rig.process().await);
    let began = Instant::now();
    let end = loop {
        tokio::join!(rig.sweep(&one), rig.sweep(&other));
        rig.work().await;
        if let Some(end) = rig.end(&job.job).await
            && rig.markers().await.is_empty()
        {
            break end;
        }
        assert!(began.elapsed() < BOUND, "{:#?}", rig.keys().await);
    };
    rig.assert_complete(&job, &end).await;
    assert_eq!(rig.tries(&job.job).await, 3, "no part was sent twice");
}

#[tokio::test]
async fn what_waits_for_a_pool_without_nodes_goes_to_another() {
    let rig = Rig::start(SLOW).await;
    rig.change_catalogue(|catalogue| {
        let mut first = catalogue["pools"][0].clone();
        first["name"] = "first".into();
        catalogue["pools"].as_array_mut().unwrap().insert(0, first);
    });
    let app = rig.process().await;
    let id = facts::JobId::random();
    let new = New { pool: "first".to_owned(), ..rig.new_job(&app, &id, LONG).await };
    app.jobs.accept(new).await.unwrap();
    let ready = async |pool: &str| rig.store.list(&key::ready_of(pool)).await.unwrap().len();
    assert_eq!((ready("first").await, ready(POOL).await), (1, 0));

    app.jobs.keep_starved(["first".to_owned()].into());
    let end = rig.recover_by(&app, &id).await;
    let job = rig.found(&id).await.unwrap();
    assert_eq!(job.pool, "first", "what was accepted is not rewritten");
    rig.assert_complete(&job, &end).await;
    let packs = rig.packs().await;
    assert!(!packs.is_empty() && packs.iter().all(|pack| pack.pool == POOL), "{packs:?}");
}

#[tokio::test]
async fn azure_batch_may_be_down_for_ten_minutes() {
    for is_running in [false, true] {
        let rig = Rig::start(SLOW).await;
        let job = rig.job(LONG).await;
        let app = rig.process().await;
        if is_running {
            first_chunk(&rig).await.end(137);
        }
        rig.server().go_down();
        let until = app.now() + policy::units::Millis(TEN_MINUTES.as_millis() as u64);
        while app.now() < until {
            rig.deliver(&app).await;
            rig.sweep(&app).await;
        }
        assert!(!rig.store.exists(&JobKeys::new(TENANT, &job.job).stop()).await.unwrap());
        let tries = rig.tries(&job.job).await;
        rig.server().come_back();
        let end = rig.recover_by(&app, &job.job).await;
        rig.assert_complete(&job, &end).await;
        assert_eq!(rig.tries(&job.job).await, 3, "{tries} while it was down");
    }
}

#[tokio::test]
async fn answers_of_azure_batch_may_be_lost() {
    let lives = (1..16).map(async |lost| {
        let rig = Rig::start(SLOW).await;
        let job = rig.job(LONG).await;
        rig.server().lose_answers(local::azure_batch::Lost { times: lost });
        let end = rig.recover(&job.job).await;
        rig.assert_complete(&job, &end).await;
    });
    futures_util::future::join_all(lives).await;
}

#[tokio::test]
async fn a_node_may_be_taken_away_in_the_middle() {
    let rig = Rig::start(SLOW).await;
    let job = rig.job(LONG).await;
    first_chunk(&rig).await;
    let before = chunks(&rig, &job).await;
    let node = rig.server().busiest_spot_node(POOL).unwrap();
    rig.server().evict(POOL, &node).unwrap();
    let end = rig.recover(&job.job).await;
    rig.assert_complete(&job, &end).await;
    assert_eq!(before.len(), 1);
    assert!(chunks(&rig, &job).await.contains(&before[0]), "a chunk that was there has changed");
    assert_eq!(rig.tries(&job.job).await, 3, "the service runs the same tasks again");
}

#[tokio::test]
async fn a_worker_that_is_asked_to_end_is_run_again() {
    let rig = Rig::start(SLOW).await;
    let job = rig.job(LONG).await;
    let task = rig.until_running().await;
    let stop = CancellationToken::new();
    stop.cancel();
    let stopped = rig.run_worker(&task, None, &stop).await.unwrap_err();
    task.end(worker::Exit::from(&stopped) as i32);
    let end = rig.recover(&job.job).await;
    rig.assert_complete(&job, &end).await;
    assert_eq!(rig.tries(&job.job).await, 3);
}

#[tokio::test]
async fn azure_batch_may_lose_everything() {
    let mut rig = Rig::start(SLOW).await;
    let job = rig.job(LONG).await;
    first_chunk(&rig).await;
    rig.batch.take().unwrap().stop().await;
    rig.begin_batch().await;
    let end = rig.recover(&job.job).await;
    rig.assert_complete(&job, &end).await;
    assert_eq!(rig.tries(&job.job).await, 3, "the same tasks are added again");
}

#[tokio::test]
async fn work_goes_to_the_next_azure_batch_job_when_one_is_over() {
    for is_remembered in [false, true] {
        let rig = Rig::start(SLOW).await;
        let app = rig.process().await;
        let first = rig.job(LONG).await;
        rig.recover_by(&app, &first.job).await;
        let packs = rig.packs().await;
        let batch = app.jobs.batch().unwrap();
        batch.end_job_when_done(&packs[0].batch_job).await.unwrap();
        let app = if is_remembered { app } else { rig.process().await };
        let second = rig.job(LONG).await;
        rig.sweep(&app).await;
        rig.sweep(&app).await;
        let rounds: Vec<String> = rig.packs().await.into_iter().map(|pack| pack.batch_job).collect();
        assert!(rounds.iter().any(|name| *name != packs[0].batch_job), "not with the next sweep: {rounds:?}");
        let end = rig.recover_by(&app, &second.job).await;
        rig.assert_complete(&second, &end).await;
    }
}

#[tokio::test]
async fn a_job_whose_tasks_always_fail_is_ended_with_a_line_for_every_item() {
    // The pauses between all tries are nine hours, a second.
    let rig = Rig::start(36_000.0).await;
    let job = rig.job(100 * LONG).await;
    let app = rig.process().await;
    let began = Instant::now();
    let end = loop {
        for task in rig.running().await {
            task.end(69);
        }
        rig.sweep(&app).await;
        if let Some(end) = rig.end(&job.job).await {
            break end;
        }
        assert!(began.elapsed() < BOUND, "{:#?}", rig.keys().await);
    };
    rig.assert_stopped(&job, &end, Status::Failed, LINES).await;
    assert!(rig.tries(&job.job).await >= tries::TRIES_MAX as usize, "of the first shard that is given up");
}

#[tokio::test]
async fn a_job_whose_tries_fail_waits_and_says_so() {
    let rig = Rig::start(SLOW).await;
    let job = rig.job(LONG).await;
    let app = rig.process().await;
    let began = Instant::now();
    let reason = loop {
        for task in rig.running().await {
            task.end(69);
        }
        rig.sweep(&app).await;
        let why = rig.why(&app, &job).await;
        if let Some(reason) = why.into_iter().find(|reason| reason.code == "waiting_to_retry") {
            break reason;
        }
        assert!(began.elapsed() < BOUND, "{:#?}", rig.keys().await);
    };
    assert!(reason.evidence["tries"].parse::<u32>().unwrap() >= 3, "{reason:#?}");
    assert_eq!(reason.evidence["exit_code"], "69");
    assert!(reason.next_at.is_some());
    assert_eq!(reason.remedy_usd, None, "reading logs costs nothing");
    let end = rig.recover_by(&app, &job.job).await;
    rig.assert_complete(&job, &end).await;
}

#[tokio::test]
async fn a_cancelled_job_keeps_what_is_done_and_ends() {
    let rig = Rig::start(SLOW).await;
    let job = rig.job(LONG).await;
    first_chunk(&rig).await;
    let done = chunks(&rig, &job).await;
    let app = rig.process().await;
    app.jobs.stop(&job, StopWhy::Cancelled, "enough").await.unwrap();
    let end = rig.recover(&job.job).await;
    rig.assert_stopped(&job, &end, Status::Cancelled, LINES - 1).await;
    assert!(chunks(&rig, &job).await.contains(&done[0]));
}

#[tokio::test]
async fn a_worker_with_an_open_chunk_and_the_one_who_fills_it_agree() {
    for _ in 0..8 {
        let rig = Rig::start(SLOW).await;
        let job = rig.job(LONG).await;
        let task = rig.until_running().await;
        let app = rig.process().await;
        let stop = CancellationToken::new();
        let cancelled = async {
            app.jobs.stop(&job, StopWhy::Cancelled, "enough").await.unwrap();
            rig.sweep(&app).await;
        };
        let (worked, ()) = tokio::join!(rig.run_worker(&task, None, &stop), cancelled);
        worked.unwrap();
        task.end(0);
        let end = rig.recover(&job.job).await;
        // Whatever the worker put before it was filled counts.
        rig.assert_stopped(&job, &end, Status::Cancelled, LINES - end.counts.completed).await;
    }
}

#[tokio::test]
async fn a_deadline_ends_what_nobody_ran_or_rescued() {
    let rig = Rig::start(WITH_DEADLINES).await;
    let job = rig.job(TEN_MINUTES).await;
    first_chunk(&rig).await;
    let app = rig.process().await;
    let began = Instant::now();
    let end = loop {
        rig.lose_tickets().await;
        rig.sweep(&app).await;
        if let Some(end) = rig.end(&job.job).await {
            break end;
        }
        assert!(began.elapsed() < BOUND);
    };
    assert!(end.at_ms >= job.deadline_ms);
    rig.assert_stopped(&job, &end, Status::Expired, LINES - 1).await;
}

#[tokio::test]
async fn a_deadline_is_met_without_any_node_though_a_rescue_is_killed() {
    for is_killed in [false, true] {
        // Computing is not scaled: a machine that is too busy for this pace of the clock is given more time.
        let mut paces = [1.0, 4.0, 16.0].into_iter();
        loop {
            let slower = paces.next().expect("a deadline ten minutes away is met by a clock of some pace");
            if is_in_time_without_any_node(WITH_DEADLINES / slower, is_killed).await {
                break;
            }
        }
    }
}

/// Whether a job that gets no node, and whose first rescue may be killed, is complete at its deadline.
async fn is_in_time_without_any_node(speed: f64, is_killed: bool) -> bool {
    let rig = Rig::start(speed).await;
    rig.server().set_capacity(local::azure_batch::Capacity { dedicated: 0, spot: 0 });
    let node = rig.server().busiest_spot_node(POOL).unwrap();
    rig.server().evict(POOL, &node).unwrap();
    let job = rig.job(TEN_MINUTES).await;
    let fault = Arc::new(Fault::of_task(Act::Put, true, 1));
    let app = rig.process().await;
    let victim = rig.process_with(Some(Arc::clone(&fault))).await;
    let (began, mut killed) = (Instant::now(), !is_killed);
    let end = loop {
        rig.sweep(&app).await;
        let now = app.now().0 + 241_000;
        if !killed && now >= job.deadline_ms {
            killed = until_killed(&fault, rig.deliver(&victim)).await.is_none();
        } else {
            rig.deliver(&app).await;
        }
        if let Some(end) = rig.end(&job.job).await {
            break end;
        }
        assert!(began.elapsed() < BOUND);
    };
    if end.finished_ms > job.deadline_ms {
        return false;
    }
    rig.assert_complete(&job, &end).await;
    assert!(killed);
    true
}

#[tokio::test]
async fn what_its_owner_promotes_runs_in_the_realtime_lane() {
    let rig = Rig::start(WITH_DEADLINES).await;
    let job = rig.job(LONG).await;
    first_chunk(&rig).await;
    let done = chunks(&rig, &job).await;
    rig.store.create(&JobKeys::new(TENANT, &job.job).promote(), "").await.unwrap();
    let app = rig.process().await;
    let packs = rig.packs().await.len();
    let began = Instant::now();
    let end = loop {
        rig.deliver(&app).await;
        rig.sweep(&app).await;
        if let Some(end) = rig.end(&job.job).await {
            break end;
        }
        assert!(began.elapsed() < BOUND);
    };
    rig.assert_complete(&job, &end).await;
    assert!(chunks(&rig, &job).await.contains(&done[0]));
    assert_eq!(rig.packs().await.len(), packs, "nothing more went to the pool");
    let ready = rig.store.list(key::READY).await.unwrap();
    assert!(ready.is_empty(), "{ready:?}");
}
