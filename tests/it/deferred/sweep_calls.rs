//! What a sweep asks of the store is a matter of the jobs that are open, not of those that ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use facts::key::{self, JobKeys};
use facts::{JobId, Store};
use handler::act::jobs::Jobs;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};

use super::counting::Counting;
use super::rig::{Rig, TENANT};

const ENDED: u64 = 100_000;
const OPEN: usize = 50;
/// Time is real: a job's next look may fall into another minute, which costs a deletion or two.
const BY_THE_CLOCK: u64 = 2 * OPEN as u64;

/// Calls, and objects in listings, of three sweeps in a world with so many ended jobs.
async fn sweeps_with(ended: u64) -> (u64, u64) {
    // Time is real, so that how long a sweep takes here does not change what it finds.
    let mut rig = Rig::start(1.0).await;
    let counting = Arc::new(Counting::default());
    rig.store = Store::over(Arc::clone(&counting) as Arc<dyn ObjectStore>);
    for n in 0..ended {
        end_a_job(&counting.objects, n).await;
    }
    let mut app = rig.process().await;
    let within = Arc::get_mut(&mut app).expect("nobody else has it");
    let batch = within.jobs.batch().cloned();
    within.store = rig.store.clone();
    within.jobs = Jobs::new(rig.store.clone(), rig.clock, batch, None, "file:///nowhere/".to_owned());
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
