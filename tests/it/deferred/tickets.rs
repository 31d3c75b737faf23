//! Tickets that are lost, doubled, late, forged or no tickets at all: a job ends the same.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use facts::key::{self, JobKeys};
use facts::{Job, JobId};
use handler::app::App;
use handler::triggers::dispatch;
use serde_json::json;

use super::rig::{Rig, SLOW, TENANT, ticket};
use crate::handler_stage::BOUND;

const LONG: Duration = Duration::from_secs(10 * 24 * 3_600);

async fn deliver(app: &App, text: &str) {
    dispatch::run(app, &ticket(text)).await.expect("whatever it says, it need not come again");
}

fn look_at(job: &Job) -> String {
    json!({ "v": 1, "tenant": job.tenant, "job_id": job.job }).to_string()
}

/// Keys of a job's facts.
async fn facts_of(rig: &Rig, job: &Job) -> Vec<String> {
    let folder = JobKeys::new(&job.tenant, &job.job);
    rig.store.list(folder.folder()).await.unwrap().into_iter().map(|found| found.key).collect()
}

#[tokio::test]
async fn the_sweep_alone_finishes_a_job() {
    let rig = Rig::start(SLOW).await;
    let job = rig.job(LONG).await;
    let app = rig.process().await;
    let began = Instant::now();
    let end = loop {
        rig.lose_tickets().await;
        rig.work().await;
        rig.sweep(&app).await;
        if let Some(end) = rig.end(&job.job).await {
            break end;
        }
        assert!(began.elapsed() < BOUND);
    };
    rig.assert_complete(&job, &end).await;
}

#[tokio::test]
async fn tickets_may_come_twice_and_at_once() {
    let rig = Rig::start(SLOW).await;
    let job = rig.job(LONG).await;
    let (one, other) = (rig.process().await, rig.process().await);
    let text = look_at(&job);
    let began = Instant::now();
    let end = loop {
        tokio::join!(deliver(&one, &text), deliver(&other, &text), deliver(&one, &text), rig.work());
        if let Some(end) = rig.end(&job.job).await {
            break end;
        }
        assert!(began.elapsed() < BOUND);
    };
    rig.assert_complete(&job, &end).await;
    assert_eq!(rig.tries(&job.job).await, 3, "no part was sent twice");
}

#[tokio::test]
async fn tickets_in_base64_alone_finish_a_job() {
    let rig = Rig::start(SLOW).await;
    let job = rig.job(LONG).await;
    let app = rig.process().await;
    let text = STANDARD.encode(look_at(&job));
    let began = Instant::now();
    let end = loop {
        deliver(&app, &text).await;
        rig.work().await;
        if let Some(end) = rig.end(&job.job).await {
            break end;
        }
        assert!(began.elapsed() < BOUND);
    };
    rig.assert_complete(&job, &end).await;
    assert_eq!(rig.store.list(key::DEAD).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_forged_changes_nothing() {
    let rig = Rig::start(SLOW).await;
    let job = rig.job(LONG).await;
    let app = rig.process().await;
    let id = job.job.as_str();
    let before = facts_of(&rig, &job).await;
    let rescue = |shard: u64, k: u64| {
        json!({ "v": 1, "tenant": TENANT, "job_id": id, "shard": shard, "try": k }).to_string()
    };
    let nobodys = [
        json!({ "v": 1, "tenant": "reader", "job_id": id }).to_string(),
        json!({ "v": 1, "tenant": TENANT, "job_id": JobId::random() }).to_string(),
        rescue(0, 0),
        rescue(0, 1),
        rescue(0, 7),
        rescue(0, u64::from(u32::MAX)),
        rescue(99, 1),
        rescue(u64::from(u32::MAX), 1),
    ];
    for text in &nobodys {
        deliver(&app, text).await;
    }
    assert!(rig.store.list(key::DEAD).await.unwrap().is_empty(), "these are tickets");
    let nonsense = [
        String::new(),
        "look at this".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        json!({ "v": 1, "tenant": TENANT }).to_string(),
        json!({ "v": 2, "tenant": TENANT, "job_id": id }).to_string(),
        json!({ "v": 1, "tenant": TENANT, "job_id": id, "more": 1 }).to_string(),
        json!({ "v": 1, "tenant": "nobody", "job_id": id }).to_string(),
        json!({ "v": 1, "tenant": "../dev", "job_id": id }).to_string(),
        json!({ "v": 1, "tenant": TENANT, "job_id": "../../config/catalogue" }).to_string(),
        json!({ "v": 1, "tenant": TENANT, "job_id": id.to_uppercase() }).to_string(),
        json!({ "v": 1, "tenant": TENANT, "job_id": id, "shard": -1, "try": 1 }).to_string(),
        json!({ "v": 1, "tenant": TENANT, "job_id": id, "shard": 1_u64 << 40, "try": 1 }).to_string(),
        "x".repeat(60_000),
    ];
    for text in nonsense.iter().chain(&nonsense) {
        deliver(&app, text).await;
    }
    let kept = rig.store.list(key::DEAD).await.unwrap();
    assert_eq!(kept.len(), nonsense.len(), "each is kept once: {kept:?}");
    let told = rig.dead_letters().await;
    assert_eq!(told.len(), nonsense.len(), "and told once");
    let reasons: Vec<serde_json::Value> =
        told.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    assert!(reasons.iter().all(|letter| letter["reason"].is_string() && letter["body"].is_string()));
    assert_eq!(facts_of(&rig, &job).await, before);
    let foreign = rig.keys().await.into_iter().filter(|key| key.contains("reader")).collect::<Vec<_>>();
    assert!(foreign.is_empty(), "{foreign:?}");
    let end = rig.recover(&job.job).await;
    rig.assert_complete(&job, &end).await;
}

#[tokio::test]
async fn what_is_late_changes_nothing() {
    let rig = Rig::start(SLOW).await;
    let job = rig.job(LONG).await;
    let end = rig.recover(&job.job).await;
    let (before, result) = (facts_of(&rig, &job).await, rig.result(&job).await);
    let app = rig.process().await;
    deliver(&app, &look_at(&job)).await;
    for k in 1..4 {
        let late = json!({ "v": 1, "tenant": TENANT, "job_id": job.job, "shard": 0, "try": k });
        deliver(&app, &late.to_string()).await;
    }
    rig.sweep(&app).await;
    assert_eq!(facts_of(&rig, &job).await, before);
    assert_eq!(rig.result(&job).await, result);
    assert_eq!(rig.end(&job.job).await, Some(end));
    assert!(rig.markers().await.is_empty());
}
