//! One rescue beside others, with a realtime lane that the test plays.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use facts::key::JobKeys;
use facts::{Job, Store};
use handler::act::jobs::look::World;
use handler::act::jobs::rescue::{Answer, Ask, Rescued};
use serde_json::Value;
use serde_json::value::RawValue;

use super::items::{echoed, output_line};
use super::rig::{Rig, TENANT};

const LONG: Duration = Duration::from_secs(10 * 24 * 3_600);

/// Answers like the echo and counts; beside its first answer somebody else writes a fact.
struct Lane {
    store: Store,
    beside: (String, String),
    asked: AtomicUsize,
}

impl Ask for Lane {
    fn at_once(&self) -> usize {
        1
    }

    async fn ask(&self, _: &Job, body: &RawValue) -> Option<Answer> {
        if self.asked.fetch_add(1, Ordering::Relaxed) == 0 {
            let (key, content) = self.beside.clone();
            self.store.create(&key, content).await.unwrap();
        }
        let body: Value = serde_json::from_str(body.get()).unwrap();
        Some(Answer { status: 200, body: echoed(body["input"].as_str().unwrap()).into() })
    }
}

/// Rescues the first shard of a promoted job, two chunks of a line, while `beside` writes a fact. Says
/// what the rescue came to, how many lines it asked for and which chunks there are.
async fn rescue_beside(beside: impl Fn(&JobKeys) -> (String, String)) -> (Rescued, usize, [bool; 2]) {
    let rig = Rig::start(1.0).await;
    let job = rig.job(LONG).await;
    let keys = JobKeys::new(TENANT, &job.job);
    rig.store.create(&keys.promote(), "").await.unwrap();
    let app = rig.process().await;
    let (catalogue, knobs) = (app.catalogue().await.unwrap(), app.knobs.knobs());
    let world = World { catalogue: &catalogue, knobs: &knobs };
    let lane = Lane { store: rig.store.clone(), beside: beside(&keys), asked: AtomicUsize::new(0) };
    let rescued = app.jobs.rescue(world, (TENANT, &job.job), (0, 1), &lane).await.unwrap();
    let exists = async |c| rig.store.exists(&keys.chunk(0, c)).await.unwrap();
    (rescued, lane.asked.into_inner(), [exists(0).await, exists(1).await])
}

#[tokio::test]
async fn a_rescue_leaves_to_others_what_they_have_done_or_taken_over() {
    let chunk = |keys: &JobKeys| (keys.chunk(0, 1), output_line(1));
    let newer = |keys: &JobKeys| (keys.try_(0, 2), "{}".to_owned());
    let stop = |keys: &JobKeys| (keys.stop(), "{}".to_owned());
    let nothing = |keys: &JobKeys| (format!("{}nothing", keys.folder()), String::new());
    assert_eq!(rescue_beside(nothing).await, (Rescued::Done, 2, [true, true]));
    assert_eq!(rescue_beside(chunk).await, (Rescued::Done, 1, [true, true]), "a chunk that is there");
    assert_eq!(rescue_beside(newer).await, (Rescued::Broke, 1, [true, false]), "a newer try");
    assert_eq!(rescue_beside(stop).await, (Rescued::Broke, 1, [true, false]), "a job that stops");
}
