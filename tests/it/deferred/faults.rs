//! Every instant at which an actor of a small job may die: before and after each of its writes and
//! each of its calls. What is there after an instant is all that the others have to go on with.

use std::sync::Arc;
use std::time::Duration;

use facts::fault::{Act, Fault};
use facts::job::{Status, StopWhy};
use facts::key::{self, JobKeys};
use facts::{Job, JobId};
use futures_util::future::join_all;
use handler::act::jobs::accept::Accepted;
use handler::triggers::{dispatch, sweep};
use tokio_util::sync::CancellationToken;

use wire::ticket::Ticket;

use super::items::LINES;
use super::rig::{FAST, Rig, SLOW, TENANT, tick, ticket, until_killed};

/// No run of these ends by its deadline.
const LONG: Duration = Duration::from_secs(10 * 24 * 3_600);
/// No actor of a small job writes or calls as often.
const ACTS_MAX: u64 = 60;

/// Runs `life` once for every fault of one actor, until that actor is done undisturbed. `life` says
/// whether it was.
pub async fn at_every_fault(least: u64, life: impl AsyncFn(Arc<Fault>) -> bool) {
    let kinds = [(Act::Put, false), (Act::Put, true), (Act::Send, false), (Act::Send, true)];
    let enumerate = async |(act, after): (Act, bool)| {
        for n in 1..ACTS_MAX {
            if life(Arc::new(Fault::of_task(act, after, n))).await {
                return n - 1;
            }
        }
        panic!("{act:?} goes on for ever");
    };
    let found = join_all(kinds.map(enumerate)).await;
    let met: u64 = found.iter().sum();
    assert!(met >= least, "only {met} faults were met");
}

#[tokio::test]
async fn a_job_without_disturbance() {
    let rig = Rig::start(FAST).await;
    let job = rig.job(LONG).await;
    assert_eq!((job.shards.len(), job.chunk_lines, job.lines()), (3, 1, LINES));
    let end = rig.recover(&job.job).await;
    rig.assert_complete(&job, &end).await;
    assert_eq!((rig.tries(&job.job).await, end.retries), (3, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepting_is_finished_or_was_never_promised() {
    at_every_fault(12, accept_under_fault).await;
}

async fn accept_under_fault(fault: Arc<Fault>) -> bool {
    let rig = Rig::start(FAST).await;
    let app = rig.process_with(Some(Arc::clone(&fault))).await;
    let new = rig.new_job(&app, &JobId::random(), LONG).await;
    let id = new.id.clone();
    let done = until_killed(&fault, app.jobs.accept(new)).await;
    match rig.found(&id).await {
        Some(job) => {
            let end = rig.recover(&id).await;
            rig.assert_complete(&job, &end).await;
        }
        // Nothing was promised, and nothing is left that asks somebody to look.
        None => {
            assert!(done.is_none(), "202 without a job");
            rig.settle().await;
        }
    }
    done.is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_repeats_itself_under_its_key_gets_one_job() {
    at_every_fault(12, async |fault| {
        let rig = Rig::start(FAST).await;
        let app = rig.process_with(Some(Arc::clone(&fault))).await;
        let new = rig.new_job(&app, &JobId::of_key(TENANT, "embeddings", "key"), LONG).await;
        let done = until_killed(&fault, app.jobs.accept(new.clone())).await;
        let again = rig.process().await.jobs.accept(new).await.unwrap();
        let Accepted::Job(job) = again else { panic!("the same body is the same job") };
        let end = rig.recover(&job.job).await;
        rig.assert_complete(&job, &end).await;
        done.is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_may_die_with_its_process() {
    at_every_fault(20, async |fault| {
        let rig = Rig::start(FAST).await;
        let job = rig.job(LONG).await;
        rig.lose_tickets().await;
        let app = rig.process_with(Some(Arc::clone(&fault))).await;
        let text = ticket_of(&job, None);
        let done = until_killed(&fault, dispatch::run(&app, &ticket(&text))).await;
        let end = rig.recover(&job.job).await;
        rig.assert_complete(&job, &end).await;
        done.is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_may_die_over_a_new_job() {
    at_every_fault(20, async |fault| {
        let rig = Rig::start(FAST).await;
        let job = rig.job(LONG).await;
        rig.lose_tickets().await;
        let done = sweep_under(&rig, &fault).await;
        let end = rig.recover(&job.job).await;
        rig.assert_complete(&job, &end).await;
        done
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_may_die_over_a_job_whose_chunks_exist() {
    at_every_fault(8, async |fault| {
        let rig = Rig::start(FAST).await;
        let job = rig.job(LONG).await;
        rig.until_computed(&job).await;
        let done = sweep_under(&rig, &fault).await;
        let end = rig.recover(&job.job).await;
        rig.assert_complete(&job, &end).await;
        done
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_may_die_over_a_job_that_is_to_stop() {
    at_every_fault(20, async |fault| {
        let rig = Rig::start(FAST).await;
        let job = rig.job(LONG).await;
        rig.process().await.jobs.stop(&job, StopWhy::Cancelled, "enough").await.unwrap();
        let done = sweep_under(&rig, &fault).await;
        let end = rig.recover(&job.job).await;
        rig.assert_stopped(&job, &end, Status::Cancelled, LINES).await;
        done
    })
    .await;
}

pub async fn sweep_under(rig: &Rig, fault: &Arc<Fault>) -> bool {
    let app = rig.process_with(Some(Arc::clone(fault))).await;
    until_killed(fault, sweep::run(&app, &tick())).await.is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_may_die() {
    at_every_fault(6, async |fault| {
        let rig = Rig::start(FAST).await;
        let job = rig.job(LONG).await;
        rig.sweep(&*rig.process().await).await;
        let task = rig.until_running().await;
        let stop = CancellationToken::new();
        let worker = rig.run_worker(&task, Some(Arc::clone(&fault)), &stop);
        let done = until_killed(&fault, worker).await.map(Result::unwrap);
        // As a shell counts kill -9; the service runs the task again.
        task.end(if done.is_some() { 0 } else { 137 });
        let end = rig.recover(&job.job).await;
        rig.assert_complete(&job, &end).await;
        done.is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rescue_may_die() {
    at_every_fault(10, async |fault| {
        let rig = Rig::start(SLOW).await;
        let job = rig.job(LONG).await;
        rig.store.create(&JobKeys::new(TENANT, &job.job).promote(), "").await.unwrap();
        let app = rig.process_with(Some(Arc::clone(&fault))).await;
        let text = ticket_of(&job, Some((0, 1)));
        let done = until_killed(&fault, dispatch::run(&app, &ticket(&text))).await;
        let end = rig.recover(&job.job).await;
        rig.assert_complete(&job, &end).await;
        let packs = rig.store.list(key::PACKS).await.unwrap();
        assert!(packs.is_empty(), "what was promoted went to the pool: {packs:?}");
        done.is_some()
    })
    .await;
}

fn ticket_of(job: &Job, rescue: Option<(u32, u32)>) -> String {
    let (shard, k) = rescue.unzip();
    let ticket = Ticket { v: 1, tenant: job.tenant.clone(), job_id: job.job.to_string(), shard, k };
    serde_json::to_string(&ticket).unwrap()
}
