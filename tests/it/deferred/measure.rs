//! What `docs/measurements.md` tells of dispatching.

use std::time::Instant;

use facts::job::Shard;
use facts::key::{self, JobKeys};
use facts::{Job, JobId};
use handler::act::jobs::look::World;
use handler::act::jobs::survey::Pass;
use policy::units::Millis;

use super::rig::{Rig, TENANT};

const SHARDS: u32 = 2_000;

/// Each pack is a file, a claimed try and a task of the stand-in, over a folder with fsync.
#[tokio::test]
#[ignore = "a measurement: cargo test --release --test it dispatch_throughput -- --ignored --nocapture"]
async fn dispatch_throughput() {
    let rig = Rig::start(1.0).await;
    rig.change_catalogue(|written| {
        written["pools"][0]["max_nodes"] = 1_000.into();
        written["pools"][0]["slots_per_node"] = 8.into();
    });
    std::fs::write(rig.folder.join("knobs.json"), r#"{"max-batch-nodes":1000}"#).unwrap();
    let app = rig.process().await;
    let (catalogue, knobs) = (app.catalogue().await.unwrap(), app.knobs.knobs());
    let world = World { catalogue: &catalogue, knobs: &knobs };
    let template = rig.job(std::time::Duration::from_secs(24 * 3_600)).await;
    let shard =
        |n: u32| Shard { first_line: n.into(), lines: 1, work_ms: 60_000, ..template.shards[0].clone() };
    let id = JobId::random();
    let job = Job {
        job: id.clone(),
        shards: (0..SHARDS).map(shard).collect(),
        deadline_ms: (app.now() + Millis::from_secs(24 * 3_600)).0,
        ..(*template).clone()
    };
    rig.store.create(&JobKeys::new(TENANT, &id).job(), serde_json::to_string(&job).unwrap()).await.unwrap();
    rig.store.create(&key::due(key::NOW, TENANT, &id), "").await.unwrap();
    let pass = Pass::of(world);
    app.jobs.look(world, TENANT, &id, &pass).await.unwrap();

    let began = Instant::now();
    let mut packs = 0;
    loop {
        let added = app.jobs.dispatch(world, &catalogue.pools[0], None, &Pass::of(world)).await.unwrap();
        if added == 0 {
            break;
        }
        packs += added;
    }
    let seconds = began.elapsed().as_secs_f64();
    assert!(packs > 1_000, "{packs} packs");
    println!("{packs} packs of {SHARDS} shards in {seconds:.2} s: {:.0} packs/s", packs as f64 / seconds);
}
