//! A large job sends its first shard alone, and the rest once that has been checked.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use facts::job::{Canary, Status, Stop};
use facts::key::{self, JobKeys};
use facts::{Job, JobId, line};
use handler::act::jobs::accept::{Accepted, NewLines};
use serde_json::json;
use serde_json::value::to_raw_value;

use super::faults::{at_every_fault, sweep_under};
use super::items::{blocks, input_line};
use super::rig::{FAST, Rig, TENANT};
use crate::handler_stage::{Step, Upstream};

/// Two lines a shard: four shards beyond those of the smallest job that is held.
const LINES: u64 = 24;
const LONG: Duration = Duration::from_secs(10 * 24 * 3_600);
/// As the rig's catalogue says of its model.
const DIMENSIONS: usize = 384;

async fn large_job(rig: &Rig, time: Duration) -> Arc<Job> {
    let app = rig.process().await;
    let id = JobId::random();
    let text: String = (0..LINES).map(input_line).collect();
    let input = format!("{}large", key::FileKeys::new(TENANT, id.as_str()).content());
    rig.store.create(&input, text.clone()).await.unwrap();
    let mut new = rig.new_job(&app, &id, time).await;
    new.lines = NewLines::Object(input, blocks(&text));
    match app.jobs.accept(new).await.unwrap() {
        Accepted::Job(job) => job,
        Accepted::OtherBody => panic!("a random id names no job"),
    }
}

/// Puts the first chunk, a line with this vector, as its worker would have.
async fn put_first_chunk(rig: &Rig, job: &Job, vector: &[f32]) {
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    let embedding = base64::engine::general_purpose::STANDARD.encode(bytes);
    let data = json!([{ "object": "embedding", "index": 0, "embedding": embedding }]);
    let usage = json!({ "prompt_tokens": 1, "total_tokens": 1 });
    let body =
        to_raw_value(&json!({ "object": "list", "data": data, "model": "m", "usage": usage })).unwrap();
    let chunk = line::result(0, "item-0", 200, "", &body);
    rig.store.create(&JobKeys::new(TENANT, &job.job).chunk(0, 0), chunk).await.unwrap();
}

async fn canary(rig: &Rig, job: &Job) -> Option<Canary> {
    let found = rig.store.get(&JobKeys::new(TENANT, &job.job).canary()).await.ok()?;
    Some(serde_json::from_slice(&found.content).unwrap())
}

fn unit(value: f32) -> Vec<f32> {
    let mut vector = vec![0.0; DIMENSIONS];
    vector[0] = value;
    vector
}

#[tokio::test]
async fn the_rest_of_a_large_job_leaves_once_its_first_chunk_is_checked() {
    let rig = Rig::start(1.0).await;
    let job = large_job(&rig, LONG).await;
    assert_eq!(job.shards.len(), 12);
    let app = rig.process().await;
    rig.sweep(&app).await;
    rig.sweep(&app).await;
    assert_eq!(rig.tries(&job.job).await, 1, "its first shard alone");
    assert_eq!(rig.packs().await[0].members.iter().map(|member| member.shard).collect::<Vec<_>>(), [0]);

    put_first_chunk(&rig, &job, &unit(1.0)).await;
    rig.store.create(&key::due(key::NOW, TENANT, &job.job), "").await.unwrap();
    rig.sweep(&app).await;
    let found = canary(&rig, &job).await.expect("it was checked");
    assert_eq!((found.wrong, found.lines, found.vectors), (None, 1, 1));
    assert!(rig.tries(&job.job).await > 1, "the rest leaves while there is room");
}

#[tokio::test]
async fn an_unsound_first_chunk_stops_its_job_and_is_kept() {
    for (vector, told) in
        [(unit(f32::NAN), "NaN"), (unit(0.0), "norm"), (vec![1.0; 3], "3 values instead of 384")]
    {
        let rig = Rig::start(FAST).await;
        let job = large_job(&rig, LONG).await;
        put_first_chunk(&rig, &job, &vector).await;
        let end = rig.recover(&job.job).await;
        assert_eq!((end.status, end.counts.completed, end.counts.unfinished), (Status::Failed, 1, LINES - 1));
        let found = canary(&rig, &job).await.expect("the finding is kept");
        assert!(found.wrong.as_deref().unwrap().contains(told), "{found:?}");
        let stop = rig.store.get(&JobKeys::new(TENANT, &job.job).stop()).await.unwrap();
        let stop: Stop = serde_json::from_slice(&stop.content).unwrap();
        assert_eq!(stop.code.as_deref(), Some("canary_failed"));
        assert!(stop.reason.contains(told), "{}", stop.reason);
    }
}

/// What was found used to be written before the stop: a process that died in between released the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsound_first_chunk_stops_its_job_whoever_dies_over_it() {
    at_every_fault(4, async |fault| {
        let rig = Rig::start(FAST).await;
        let job = large_job(&rig, LONG).await;
        put_first_chunk(&rig, &job, &unit(0.0)).await;
        let done = sweep_under(&rig, &fault).await;
        let end = rig.recover(&job.job).await;
        assert_eq!((end.status, end.counts.unfinished), (Status::Failed, LINES - 1));
        assert!(canary(&rig, &job).await.is_none_or(|found| found.wrong.is_some()));
        done
    })
    .await;
}

#[tokio::test]
async fn a_near_deadline_does_not_wait_for_the_check() {
    let rig = Rig::start(1.0).await;
    // 480 s of work on two slots, twice over, and a rescue's 240 s: more than is left.
    let job = large_job(&rig, Duration::from_secs(600)).await;
    let app = rig.process().await;
    rig.sweep(&app).await;
    assert!(rig.tries(&job.job).await > 1, "all of it leaves while there is room");
    assert_eq!(canary(&rig, &job).await, None);
}

/// What a replica answers with this vector, as often as it is asked.
async fn replica(vector: &[f32]) -> Upstream {
    let data = json!([{ "object": "embedding", "index": 0, "embedding": vector }]);
    let usage = json!({ "prompt_tokens": 1, "total_tokens": 1 });
    let body = json!({ "object": "list", "data": data, "model": "m", "usage": usage }).to_string();
    let header = ("content-type", "application/json".to_owned());
    Upstream::start((0..8).map(|_| Step::Answer(200, vec![header.clone()], body.clone()))).await
}

#[tokio::test]
async fn a_first_chunk_is_compared_with_what_a_replica_answers() {
    let mut other = vec![0.0; DIMENSIONS];
    other[1] = 1.0;
    for (answered, wrong) in [(unit(1.0), None), (other, Some("cosine")), (unit(2.0), Some("norm"))] {
        let rig = Rig::start(1.0).await;
        let replica = replica(&answered).await;
        rig.change_catalogue(|written| written["backends"][0]["url"] = json!(replica.url));
        let job = large_job(&rig, LONG).await;
        let app = rig.process().await;
        rig.sweep(&app).await;
        put_first_chunk(&rig, &job, &unit(1.0)).await;
        rig.store.create(&key::due(key::NOW, TENANT, &job.job), "").await.unwrap();
        rig.sweep(&app).await;
        let asked = replica.seen();
        assert_eq!(asked.len(), 1, "a line of the chunk is asked of the replica");
        assert_eq!(asked[0].path, "/v1/embeddings");
        let found = canary(&rig, &job).await.expect("it was checked");
        match wrong {
            None => {
                assert_eq!((found.wrong, found.compared), (None, 1));
                assert!(
                    found.least_cosine.unwrap() > 0.999_999 && rig.tries(&job.job).await > 1,
                    "the rest leaves"
                );
            }
            Some(told) => {
                assert!(found.wrong.as_deref().unwrap().contains(told), "{found:?}");
                assert_eq!(rig.tries(&job.job).await, 1, "the rest does not leave");
                let stop = rig.store.get(&JobKeys::new(TENANT, &job.job).stop()).await.unwrap();
                let stop: Stop = serde_json::from_slice(&stop.content).unwrap();
                assert_eq!(stop.code.as_deref(), Some("canary_failed"));
                assert!(stop.reason.contains(told), "{}", stop.reason);
            }
        }
    }
}
