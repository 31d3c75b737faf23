//! Markers are hints: old ones, ones of jobs that are not there or cannot be read, and those of jobs
//! that run elsewhere hold up nothing.

use std::sync::Arc;
use std::time::Duration;

use facts::fault::{Act, Fault};
use facts::key::{self, JobKeys};
use facts::{JobId, Store, StoreError};
use handler::act::jobs::accept::Accepted;
use handler::act::jobs::survey::Pass;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};
use serde_json::json;

use super::rig::{FAST, POOL, Rig, TENANT, until_killed};
use super::storage::process_with;

const LONG: Duration = Duration::from_secs(10 * 24 * 3_600);

/// An attempt died before its job was there, and left its marker. Ten minutes later the client repeats
/// itself under the same key, and a sweep comes by before the job is there: the old marker is taken
/// away, the new one must stay, or nobody would look at the job.
#[tokio::test]
async fn an_old_marker_does_not_take_the_new_one_along() {
    let rig = Rig::start(1.0).await;
    let id = JobId::of_key(TENANT, "embeddings", "key");
    let old = key::due(7, TENANT, &id);
    rig.store.create(&old, "").await.unwrap();
    let hour_ago = std::fs::File::open(rig.folder.join("blob").join(&old)).unwrap();
    let modified = hour_ago.metadata().unwrap().modified().unwrap() - Duration::from_secs(3_600);
    hour_ago.set_modified(modified).unwrap();

    let before_job = Arc::new(Fault::of_task(Act::Put, false, 3));
    let app = rig.process_with(Some(Arc::clone(&before_job))).await;
    let new = rig.new_job(&app, &id, LONG).await;
    assert!(until_killed(&before_job, app.jobs.accept(new)).await.is_none());
    assert!(rig.found(&id).await.is_none());
    rig.sweep(&*rig.process().await).await;

    let left = rig.markers().await;
    assert_eq!(left.len(), 1, "{left:?}");
    assert_ne!(left[0], old);
}

/// Above 200,000 objects a listing is refused. What is nearest is found all the same.
#[tokio::test]
async fn more_open_jobs_than_a_listing_holds_stop_no_sweep() {
    let mut rig = Rig::start(FAST).await;
    let objects = Arc::new(InMemory::new());
    let later = rig.clock.now_ms() / 60_000 + 10 * 24 * 60;
    for _ in 0..=200_000 {
        let marker = Path::from(key::due(later, TENANT, &JobId::random()));
        objects.put(&marker, PutPayload::new()).await.unwrap();
    }
    let store = Store::over(objects);
    assert!(matches!(store.list(key::DUE).await, Err(StoreError::TooLarge(_))));
    let app = process_with(&rig, &store, None).await;
    rig.worker_store = Some(store.clone());
    rig.store = store;
    let new = rig.new_job(&app, &JobId::random(), LONG).await;
    let Accepted::Job(job) = app.jobs.accept(new).await.unwrap() else { panic!("a random id") };
    let end = rig.swept_to_its_end(&app, &job.job).await;
    rig.assert_results(&job, &end).await;
}

#[tokio::test]
async fn a_job_that_was_erased_elsewhere_is_no_job_here() {
    let rig = Rig::start(FAST).await;
    let job = rig.job(LONG).await;
    let (here, elsewhere) = (rig.process().await, rig.process().await);
    let end = rig.recover_by(&here, &job.job).await;
    rig.assert_complete(&job, &end).await;
    assert!(here.jobs.accepted_before(TENANT, &job.job, "hash").await.unwrap().is_some());
    elsewhere.jobs.erase(TENANT, &job.job).await.unwrap();
    let pass = Pass::default();
    assert!(here.jobs.survey(TENANT, &job.job, &pass).await.unwrap().is_none());
    assert!(here.jobs.accepted_before(TENANT, &job.job, "hash").await.unwrap().is_none());
}

#[tokio::test]
async fn a_job_that_cannot_be_read_holds_up_no_other() {
    let rig = Rig::start(FAST).await;
    let odd = JobId::random();
    rig.store.create(&JobKeys::new(TENANT, &odd).job(), "{\"v\":9}").await.unwrap();
    let marked = [key::ready(POOL, "m", 0, TENANT, &odd), key::due(key::NOW, TENANT, &odd)];
    for marker in &marked {
        rig.store.create(marker, "").await.unwrap();
    }
    let job = rig.job(LONG).await;
    let app = rig.process().await;
    let end = rig.swept_to_its_end(&app, &job.job).await;
    rig.assert_complete(&job, &end).await;
}

#[tokio::test]
async fn a_marker_of_a_job_that_is_gone_goes_too() {
    let rig = Rig::start(FAST).await;
    rig.store.create(&key::ready(POOL, "m", 0, TENANT, &JobId::random()), "").await.unwrap();
    rig.sweep(&*rig.process().await).await;
    assert!(rig.store.list(key::READY).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_promoted_job_does_not_stand_in_the_way_of_those_for_the_pool() {
    let rig = Rig::start(FAST).await;
    let job = rig.job(LONG).await;
    rig.store.create(&JobKeys::new(TENANT, &job.job).promote(), "").await.unwrap();
    rig.lose_tickets().await;
    rig.sweep(&*rig.process().await).await;
    assert!(rig.store.list(key::READY).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_promoted_runs_in_the_pool_where_no_backend_serves_it_any_more() {
    let rig = Rig::start(FAST).await;
    let job = rig.job(LONG).await;
    rig.store.create(&JobKeys::new(TENANT, &job.job).promote(), "").await.unwrap();
    rig.change_catalogue(|catalogue| catalogue["backends"] = json!([]));
    let end = rig.recover(&job.job).await;
    rig.assert_complete(&job, &end).await;
}

#[tokio::test]
async fn nothing_is_claimed_for_a_pool_that_cannot_run_the_model() {
    let rig = Rig::start(FAST).await;
    let job = rig.job(LONG).await;
    let mut whole = json!(null);
    rig.change_catalogue(|catalogue| {
        let worker = &mut catalogue["pools"][0]["worker"];
        whole = std::mem::replace(worker, json!({ "program": "worker" }));
    });
    rig.sweep(&*rig.process().await).await;
    assert_eq!(rig.tries(&job.job).await, 0);
    rig.change_catalogue(|catalogue| catalogue["pools"][0]["worker"] = whole);
    let end = rig.recover(&job.job).await;
    rig.assert_complete(&job, &end).await;
}
