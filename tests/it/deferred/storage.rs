//! The storage account in trouble: a queue that takes nothing, and a store that fails, or does what it was
//! asked and does not say so. Nothing is lost or doubled, and status tells what one sees of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use facts::file::Block;
use facts::job::{Place, Try};
use facts::key::{self, JobKeys};
use facts::view::ProcessState;
use facts::{Job, JobId, Store};
use handler::act::jobs::Jobs;
use handler::act::jobs::accept::{Accepted, New, NewLines};
use handler::act::jobs::look::World;
use handler::act::jobs::survey::Pass;
use handler::app::App;
use handler::azure::identity::Chain;
use handler::azure::queue::Doorbell;
use handler::settings::storage::Storage;
use handler::triggers::{status, sweep};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

use super::rig::{Rig, SLOW, tick};
use super::troubled::{Fails, Troubled};
use crate::handler_stage::{BOUND, Step, Upstream};

const LONG: Duration = Duration::from_secs(10 * 24 * 3_600);

/// A process with another store, or with another doorbell.
async fn process_with(rig: &Rig, store: &Store, doorbell: Option<Doorbell>) -> Arc<App> {
    let mut app = rig.process().await;
    let within = Arc::get_mut(&mut app).expect("nobody else has it");
    let batch = within.jobs.batch().cloned();
    let url = format!("file://{}/", rig.folder.join("blob").display());
    within.store = store.clone();
    within.jobs = Jobs::new(store.clone(), rig.clock, batch, doorbell, url);
    app
}

/// The rig's store in trouble.
fn troubled(rig: &Rig, fails: Fails) -> (Arc<Troubled>, Store) {
    let objects = LocalFileSystem::new_with_prefix(rig.folder.join("blob")).unwrap();
    let objects = Troubled::over(Arc::new(objects.with_automatic_cleanup(true)), fails);
    (Arc::clone(&objects), Store::over(objects))
}

/// Handler and workers over a store of whose calls one in so many fails, until the job has ended.
async fn one_call_in(one_in: u64) -> u64 {
    let mut rig = Rig::start(SLOW).await;
    let job = rig.job(LONG).await;
    let (objects, store) = troubled(&rig, Fails::OneIn(one_in));
    let app = process_with(&rig, &store, None).await;
    rig.worker_store = Some(store);
    let began = Instant::now();
    while rig.end(&job.job).await.is_none() {
        // A pass that breaks off is made again by the next tick.
        let _ = sweep::run(&app, &tick()).await;
        rig.work().await;
        assert!(began.elapsed() < BOUND, "no end, one in {one_in}: {:#?}", rig.keys().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.worker_store = None;
    let end = rig.recover(&job.job).await;
    // A worker's mark that it could not take away stays until the job's retention is over.
    rig.assert_done(&job, &end).await;
    objects.failed.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_or_does_not_say_what_it_did_loses_and_doubles_nothing() {
    let lives = [5, 8, 12, 24].map(one_call_in);
    let failed: u64 = futures_util::future::join_all(lives).await.into_iter().sum();
    assert!(failed >= 20, "only {failed} calls failed");
}

#[tokio::test]
async fn a_look_that_breaks_off_anywhere_is_made_again_by_the_next_sweep() {
    let rig = Rig::start(SLOW).await;
    let job = rig.job(LONG).await;
    // The worker's hint asks for the look.
    rig.until_computed(&job).await;
    let hint = key::due(key::NOW, &job.tenant, &job.job);
    for number in 1.. {
        assert!(
            rig.store.exists(&hint).await.unwrap(),
            "call {} failed: {:#?}",
            number - 1,
            rig.markers().await
        );
        let (_, store) = troubled(&rig, Fails::Call(AtomicU64::new(number)));
        let _ = sweep::run(&*process_with(&rig, &store, None).await, &tick()).await;
        if rig.end(&job.job).await.is_some() {
            assert!(number > 4, "only {number} passes");
            break;
        }
    }
    let end = rig.recover(&job.job).await;
    rig.assert_complete(&job, &end).await;
}

#[tokio::test]
async fn a_job_whose_facts_the_store_does_not_give_holds_up_no_other() {
    let rig = Rig::start(SLOW).await;
    // Nearer, so its turn is first.
    let odd = rig.job(LONG / 2).await;
    let job = rig.job(LONG).await;
    rig.lose_tickets().await;
    let (_, store) = troubled(&rig, Fails::Of(format!("{}/", odd.job)));
    let app = process_with(&rig, &store, None).await;
    let end = rig.swept_to_its_end(&app, &job.job).await;
    rig.assert_complete(&job, &end).await;
    assert_eq!(rig.tries(&odd.job).await, 0);
    let end = rig.recover(&odd.job).await;
    rig.assert_complete(&odd, &end).await;
}

#[tokio::test]
async fn a_look_that_broke_off_is_told_until_one_goes_well() {
    let rig = Rig::start(1.0).await;
    let job = rig.job(LONG).await;
    // The sweep lists what is due, takes the hint away and reads the job.
    let (_, store) = troubled(&rig, Fails::Call(AtomicU64::new(3)));
    let app = process_with(&rig, &store, None).await;
    for is_held_up in [true, false] {
        rig.sweep(&app).await;
        let why = rig.why(&app, &job).await;
        let reason = why.iter().find(|reason| reason.code == "look_broke_off");
        assert_eq!(reason.is_some(), is_held_up, "{why:#?}");
        assert!(reason.is_none_or(|reason| reason.evidence["failed"] == "blob store"), "{reason:#?}");
        let (broken, _) = told(&app).await;
        assert_eq!(broken.contains("the look at 1 job broke off (the store failed"), is_held_up, "{broken}");
    }
}

/// A job of 200 shards, each with a rescue behind it that was over long ago.
async fn large_job(rig: &Rig, jobs: &Jobs, new: New) -> Arc<Job> {
    let block = |n| Block { first_line: n, lines: 1, items: 1, ..Block::default() };
    let lines = NewLines::Object("input".to_owned(), (0..400).map(block).collect());
    let Accepted::Job(job) = jobs.accept(New { lines, ..new }).await.unwrap() else { panic!("it is new") };
    let at_ms = rig.clock.now_ms() - 3_600_000;
    let tried = Try {
        v: facts::VERSION,
        by: "somebody".to_owned(),
        place: Place::Realtime { not_after_ms: at_ms, work_ms: 1 },
        why: "rescue".to_owned(),
        at_ms,
    };
    let keys = JobKeys::new(&job.tenant, &job.job);
    for shard in 0..u32::try_from(job.shards.len()).unwrap() {
        jobs.store().create(&keys.try_(shard, 1), serde_json::to_string(&tried).unwrap()).await.unwrap();
    }
    job
}

#[tokio::test]
async fn looks_at_a_large_job_come_to_an_end_though_no_look_has_all_its_reads_answered() {
    let rig = Rig::start(1.0).await;
    let app = rig.process().await;
    let (catalogue, knobs) = (app.catalogue().await.unwrap(), app.knobs.knobs());
    let world = World { catalogue: &catalogue, knobs: &knobs };
    let objects = Arc::new(InMemory::new());
    let jobs_over = |store| Jobs::new(store, rig.clock, None, None, "file:///nowhere/".to_owned());
    let new = rig.new_job(&app, &JobId::random(), LONG).await;
    let well = Store::over(Arc::clone(&objects) as Arc<dyn object_store::ObjectStore>);
    let job = large_job(&rig, &jobs_over(well), new).await;
    assert!(job.shards.len() >= 100, "{} shards", job.shards.len());

    let jobs = jobs_over(Store::over(Troubled::over(objects, Fails::OneIn(20))));
    let mut looks = 1;
    while jobs.look(world, &job.tenant, &job.job, &Pass::of(world)).await.is_err() {
        looks += 1;
        assert!(looks < 200, "no look came to its end");
    }
    assert!(looks > 1, "this job is too small for what it shall show");
}

/// What the status page says is broken, and at risk.
async fn told(app: &App) -> (String, String) {
    let [broken, at_risk, _] = status::lines(app, &app.catalogue().await.unwrap());
    (broken, at_risk)
}

fn doorbell(url: &str) -> Doorbell {
    let account =
        format!("AccountName=devstoreaccount1;AccountKey=aGk=;QueueEndpoint={url}/devstoreaccount1");
    let http = handler::azure::http().unwrap();
    let chain = Chain::new(http.clone());
    Doorbell::open(&Storage::parse(&account).unwrap(), "batch-inference-queue", http, &chain).unwrap()
}

#[tokio::test]
async fn a_throttled_queue_costs_time_and_is_told() {
    let busy = |status, code: &str| {
        let headers = vec![("x-ms-error-code", code.to_owned()), ("retry-after", "0".to_owned())];
        Step::Answer(status, headers, String::new())
    };
    for (status, code) in [(503, "ServerBusy"), (429, "TooManyRequests")] {
        let rig = Rig::start(SLOW).await;
        // One ring of three tries; afterwards it hears.
        let taken = Step::Answer(201, Vec::new(), "<?xml version=\"1.0\"?><QueueMessagesList/>".to_owned());
        let script = (0..3).map(|_| busy(status, code)).chain([taken]);
        let upstream = Upstream::start(script).await;
        let app = process_with(&rig, &rig.store, Some(doorbell(&upstream.url))).await;
        assert_eq!(told(&app).await.0, "broken: nothing");

        let new = rig.new_job(&app, &JobId::random(), LONG).await;
        let Accepted::Job(job) = app.jobs.accept(new).await.unwrap() else { panic!("a random id") };
        assert_eq!(upstream.seen().len(), 3, "a ring is tried three times");
        let (broken, _) = told(&app).await;
        let seen = format!("{status} {code}");
        assert!(broken.contains("the doorbell cannot be rung") && broken.contains(&seen), "{broken}");
        let why = rig.why(&app, &job).await;
        assert!(why.iter().any(|reason| reason.code == "doorbell_unheard"), "{why:#?}");
        let end = rig.recover_by(&app, &job.job).await;
        rig.assert_complete(&job, &end).await;

        let new = rig.new_job(&app, &JobId::random(), LONG).await;
        app.jobs.accept(new).await.unwrap();
        assert_eq!(told(&app).await.0, "broken: nothing", "it is heard again");
    }
}

#[tokio::test]
async fn clocks_that_are_apart_are_told() {
    let rig = Rig::start(1.0).await;
    let app = rig.process().await;
    let written_at = app.now().0 - 30_000;
    let state = serde_json::to_string(&ProcessState { written_at, ..ProcessState::default() }).unwrap();
    rig.store.overwrite(&key::process_state("behind-1"), state).await.unwrap();
    rig.sweep(&app).await;
    app.refresh().await;
    let (_, at_risk) = told(&app).await;
    assert!(
        at_risk.contains("the clock of behind-1 is ") && at_risk.contains("behind the store's"),
        "{at_risk}"
    );
}
