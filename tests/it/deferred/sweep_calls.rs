//! What a sweep asks of the store is a matter of the jobs that are open, not of those that ended; what a page of
//! batches asks, of its batches, not of single requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use facts::job::Kind;
use facts::key::{self, JobKeys};
use facts::{JobId, Store};
use handler::act::jobs::Jobs;
use handler::app::App;
use handler::http::server;
use handler::triggers;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};

use super::counting::Counting;
use super::rig::{Rig, TENANT};
use crate::handler_stage::KEY;

const ENDED: u64 = 100_000;
const OPEN: usize = 50;
/// Time is real: a job's next look may fall into another minute, which costs a deletion or two.
const BY_THE_CLOCK: u64 = 2 * OPEN as u64;

/// A process over a store that counts.
async fn counted(rig: &mut Rig, counting: &Arc<Counting>) -> Arc<App> {
    rig.store = Store::over(Arc::clone(counting) as Arc<dyn ObjectStore>);
    let mut app = rig.process().await;
    let within = Arc::get_mut(&mut app).expect("nobody else has it");
    let batch = within.jobs.batch().cloned();
    within.store = rig.store.clone();
    within.jobs = Jobs::new(rig.store.clone(), rig.clock, batch, None, "file:///nowhere/".to_owned());
    app
}

/// Calls, and objects in listings, of three sweeps in a world with so many ended jobs.
async fn sweeps_with(ended: u64) -> (u64, u64) {
    // Time is real, so that how long a sweep takes here does not change what it finds.
    let mut rig = Rig::start(1.0).await;
    let counting = Arc::new(Counting::default());
    for n in 0..ended {
        end_a_job(&counting.objects, n).await;
    }
    let app = counted(&mut rig, &counting).await;
    for _ in 0..OPEN {
        let new = rig.new_job(&app, &JobId::random(), Duration::from_secs(24 * 3_600)).await;
        app.jobs.accept(new).await.unwrap();
    }
    let before = (counting.calls.load(Ordering::Relaxed), counting.listed.load(Ordering::Relaxed));
    for _ in 0..3 {
        rig.sweep(&app).await;
    }
    let after = (counting.calls.load(Ordering::Relaxed), counting.listed.load(Ordering::Relaxed));
    (after.0 - before.0, after.1 - before.1)
}

/// What is left of a job that ended: its facts, its place in the list, the marker of its retention.
async fn end_a_job(objects: &InMemory, n: u64) {
    let id = JobId::of_key(TENANT, "ended", &n.to_string());
    let keys = JobKeys::new(TENANT, &id);
    let facts = [keys.job(), keys.try_(0, 1), keys.chunk(0, 0), keys.end()];
    for at in facts.into_iter().chain([key::index(TENANT, n, &id), key::old(99_999, TENANT, &id)]) {
        objects.put(&Path::from(at), PutPayload::new()).await.unwrap();
    }
}

#[tokio::test]
async fn ended_jobs_cost_a_sweep_nothing() {
    let (fresh, aged) = tokio::join!(sweeps_with(0), sweeps_with(ENDED));
    for (what, fresh, aged) in [("calls", fresh.0, aged.0), ("objects", fresh.1, aged.1)] {
        assert!(fresh >= OPEN as u64, "{fresh} {what}: the open jobs were not looked at");
        assert!(
            aged.abs_diff(fresh) <= BY_THE_CLOCK,
            "{aged} {what} with {ENDED} ended jobs, {fresh} without"
        );
    }
}

/// Calls of the store for a page of a tenant's three batches, and how many it shows.
async fn page_beside(singles: usize) -> (u64, usize) {
    let mut rig = Rig::start(1.0).await;
    let counting = Arc::new(Counting::default());
    let app = counted(&mut rig, &counting).await;
    for n in 0..3 + singles {
        let mut new = rig.new_job(&app, &JobId::random(), Duration::from_secs(24 * 3_600)).await;
        // Single requests lie before the batches and between them.
        if n % (1 + singles / 3) == 0 && n / (1 + singles / 3) < 3 {
            let (file, completion_window) = ("f".to_owned(), "24h".to_owned());
            new.kind = Kind::OpenaiBatch { file, completion_window, output_expires_s: None };
        }
        app.jobs.accept(new).await.unwrap();
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v1/batches", listener.local_addr().unwrap());
    let serving = Arc::clone(&app);
    let answer = move |request| triggers::answer(Arc::clone(&serving), request);
    tokio::spawn(server::serve(listener, Arc::clone(&app.telemetry), answer, std::future::pending()));
    let before = counting.calls.load(Ordering::Relaxed);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let page = client.get(url).bearer_auth(KEY).send().await.unwrap();
    let page: serde_json::Value = page.json().await.unwrap();
    (counting.calls.load(Ordering::Relaxed) - before, page["data"].as_array().expect("a page").len())
}

#[tokio::test]
async fn a_page_of_batches_reads_nothing_of_single_requests() {
    let (alone, beside) = tokio::join!(page_beside(0), page_beside(60));
    assert_eq!((alone.1, beside.1), (3, 3));
    assert_eq!(alone.0, beside.0, "calls of the store");
}
