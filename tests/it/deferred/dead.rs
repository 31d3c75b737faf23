//! A replay that dies at any instant: its job ends, every item once, and the letter tells the truth.

use std::sync::Arc;
use std::time::Duration;

use facts::fault::Fault;
use facts::key;
use handler::act::dead::list::Filter;
use handler::act::dead::replay::Run;
use handler::triggers::dead_letter;
use serde_json::json;
use wire::dead::Outcome;

use super::faults::at_every_fault;
use super::rig::{FAST, Rig, ticket, until_killed};

const LONG: Duration = Duration::from_secs(10 * 24 * 3_600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_dies_loses_and_doubles_nothing() {
    at_every_fault(4, replay_under_fault).await;
}

async fn replay_under_fault(fault: Arc<Fault>) -> bool {
    let rig = Rig::start(FAST).await;
    let job = rig.job(LONG).await;
    // Nobody would look at it by itself: its markers and its ticket are gone.
    rig.lose_tickets().await;
    for marker in rig.store.list(key::DUE).await.unwrap() {
        rig.store.delete(&marker.key).await.unwrap();
    }
    let text = json!({ "v": 1, "tenant": job.tenant, "job_id": job.job }).to_string();
    let app = rig.process().await;
    dead_letter::run(&app, &ticket(&text)).await.unwrap();
    let (catalogue, letter) = (app.catalogue().await.unwrap(), key::hex_sha256(text.as_bytes()));
    let known = app.dead_letters.find(&letter).await.unwrap().expect("it was kept");
    assert_eq!(
        (known.letter.model.as_deref(), known.letter.job.as_deref()),
        (Some("m"), Some(job.job.as_str()))
    );

    let dying = rig.process_with(Some(Arc::clone(&fault))).await;
    let replay = dying.dead_letters.replay(&catalogue, &known, Run::By("operator"));
    let done = until_killed(&fault, replay).await;
    assert!(done.is_none_or(|outcome| outcome == Outcome::Rung), "{done:?}");

    let is_looked_at = !rig.markers().await.iter().all(|marker| !marker.starts_with(key::DUE));
    let waiting = Filter { waiting_only: true, ..Filter::default() };
    let waits = !app.dead_letters.list(&waiting, 1, None).await.unwrap().letters.is_empty();
    assert!(is_looked_at || waits, "what is not looked at is not called replayed");
    if waits {
        // Its operator sees that, and asks again.
        let again = app.dead_letters.find(&letter).await.unwrap().unwrap();
        assert_eq!(app.dead_letters.replay(&catalogue, &again, Run::By("operator")).await, Outcome::Rung);
    }
    let end = rig.recover(&job.job).await;
    rig.assert_complete(&job, &end).await;
    let known = app.dead_letters.find(&letter).await.unwrap().unwrap();
    let late = app.dead_letters.replay(&catalogue, &known, Run::By("operator")).await;
    assert_eq!(late, Outcome::JobEnded);
    assert!(rig.markers().await.is_empty(), "a replay of what has ended asks nobody to look");
    done.is_some()
}
