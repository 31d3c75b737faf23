//! A job whose end takes longer to sum up than a sweep may take: in virtual time, so that it does not
//! matter how fast this machine is.

use std::sync::Arc;
use std::time::Duration;

use facts::file::Block;
use facts::key::JobKeys;
use facts::{JobId, Store, line};
use handler::act::jobs::Jobs;
use handler::act::jobs::accept::{Accepted, New, NewLines};
use handler::act::jobs::look::World;
use handler::act::jobs::survey::Pass;
use object_store::ObjectStore;

use super::counting::Counting;
use super::rig::Rig;

/// What the function may take.
const SWEEP: Duration = Duration::from_secs(20);
/// As a store in the same region answers.
const READ_TAKES: Duration = Duration::from_millis(20);
/// Of twenty seconds each: two days of one GPU.
const CHUNKS: u64 = 9_000;

#[tokio::test]
async fn a_sweep_that_is_cut_off_goes_on_where_the_last_one_was() {
    let rig = Rig::start(1.0).await;
    let app = rig.process().await;
    let (catalogue, knobs) = (app.catalogue().await.unwrap(), app.knobs.knobs());
    let world = World { catalogue: &catalogue, knobs: &knobs };
    let store = Arc::new(Counting { read_takes: READ_TAKES, ..Counting::default() });
    let store = Store::over(store as Arc<dyn ObjectStore>);
    let jobs = Jobs::new(store.clone(), rig.clock, None, None, "file:///nowhere/".to_owned());
    let new = rig.new_job(&app, &JobId::random(), Duration::from_secs(24 * 3_600)).await;
    let block = |n| Block { first_line: n, lines: 1, items: 1, ..Block::default() };
    let lines = NewLines::Object("input".to_owned(), (0..CHUNKS).map(block).collect());
    let Accepted::Job(job) = jobs.accept(New { lines, ..new }).await.unwrap() else { panic!("it is new") };
    let keys = JobKeys::new(&job.tenant, &job.job);
    for (n, shard) in (0..).zip(&job.shards) {
        for c in 0..shard.chunks(job.chunk_lines) {
            let line = line::error(shard.first_line + u64::from(c), "item", "test", "as good as any");
            store.create(&keys.chunk(n, c), line).await.unwrap();
        }
    }

    tokio::time::pause();
    let mut sweeps = 0;
    while !store.exists(&keys.end()).await.unwrap() {
        let pass = Pass::of(world);
        let look = jobs.look(world, &job.tenant, &job.job, &pass);
        let _ = tokio::time::timeout(SWEEP, look).await;
        sweeps += 1;
        assert!(sweeps < 10, "no sweep came to the end");
    }
    let end = jobs.end_of(&keys).await.unwrap().unwrap();
    assert_eq!((end.counts.failed, end.chunks.len() as u64), (CHUNKS, CHUNKS));
    assert!(sweeps > 1, "this job is too small for what it shall show");
}
