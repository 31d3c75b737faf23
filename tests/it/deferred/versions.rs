//! What earlier versions wrote is read for ever: their half-done jobs are finished.
//!
//! `tests/fixtures/facts/` holds what lay in the store when an earlier version's worker was killed after its
//! first chunk, by the day of that version. The programs of two versions take turns in the test `storm`.

use facts::Job;
use serde_json::{Map, Value};

use super::rig::{Rig, SLOW};

const DAY_MS: u64 = 24 * 3_600_000;

#[tokio::test]
async fn a_job_that_an_earlier_version_began_is_finished() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/facts");
    let versions: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!versions.is_empty());
    for version in versions {
        let left: Map<String, Value> = serde_json::from_slice(&std::fs::read(&version).unwrap()).unwrap();
        let rig = Rig::start(SLOW).await;
        let job = put(&rig, left).await;
        let chunks = format!("t/dev/jobs/{}/out/", job.job);
        let [done] = &rig.store.list(&chunks).await.unwrap()[..] else { panic!("{version:?} has one chunk") };
        let before = rig.store.get(&done.key).await.unwrap().content;

        let end = rig.recover(&job.job).await;
        rig.assert_complete(&job, &end).await;
        assert_eq!(rig.store.get(&done.key).await.unwrap().content, before);
    }
}

/// Puts the facts as they were found, with a deadline that is ahead.
async fn put(rig: &Rig, left: Map<String, Value>) -> Job {
    let mut job = None;
    for (key, mut fact) in left {
        if key.ends_with("/job.json") {
            fact["deadline_ms"] = (rig.clock.now_ms() + 10 * DAY_MS).into();
            job = Some(serde_json::from_value(fact.clone()).unwrap());
        }
        let content = fact.as_str().map_or_else(|| fact.to_string(), str::to_owned);
        rig.store.create(&key, content).await.unwrap();
    }
    job.expect("an earlier version left a job")
}
