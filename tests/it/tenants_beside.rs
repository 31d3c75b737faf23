//! Tenants beside each other through the real handler: one that floods a pool, and one whose limit two
//! processes share.

use clock::Clock;
use facts::job::Try;
use facts::key;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::deferred::rig::{FAST, POOL, Rig};
use crate::handler_stage::*;

/// Tenants of the flood, and jobs of each.
const FLOODS: usize = 9;
const JOBS_EACH: usize = 8;

fn key_of(tenant: &str) -> String {
    format!("sy-of{tenant:0<6}-{}", "a".repeat(32))
}

fn tenant(id: &str) -> Value {
    let key = key_of(id);
    let sha256: String = Sha256::digest(&key).iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "id": id, "keys": [{ "prefix": key.split('-').nth(1), "sha256": sha256, "permissions": ["submit", "read"] }] })
}

/// Sends a single request that is answered later, and says its job.
async fn defer(handler: &Handler, tenant: &str, text: &str) -> String {
    let body = json!({ "model": "m", "input": text }).to_string();
    let request = handler.post("/api/v1/embeddings", &key_of(tenant), body);
    let answer = request.header("switchyard-lane", "deferred").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let job: Value = answer.json().await.unwrap();
    job["id"].as_str().unwrap().to_owned()
}

/// Every first try so far: whose it is, of which job, and when it was claimed.
async fn claimed(rig: &Rig) -> Vec<(String, String, u64)> {
    let mut claimed = Vec::new();
    for found in rig.store.list(key::TENANTS).await.unwrap() {
        let Some((folder, "000000-001.json")) = found.key.split_once("tries/") else { continue };
        let (tenant, job) = key::read_job_folder(folder).unwrap();
        let read: Try = serde_json::from_slice(&rig.store.get(&found.key).await.unwrap().content).unwrap();
        claimed.push((tenant.to_owned(), job.to_string(), read.at_ms));
    }
    claimed
}

/// While two tenants wait, neither is given more than a shard of each beyond the other (`docs/policy.md`,
/// "Turns of tenants"): each of those that flood has two jobs, of a shard each, before the tenth's only one.
#[tokio::test]
async fn a_flood_of_nine_tenants_delays_the_tenths_small_job_by_their_turns_alone() {
    let rig = Rig::start(FAST).await;
    let floods: Vec<String> = (0..FLOODS).map(|n| format!("f{n}")).collect();
    rig.change_catalogue(|written| {
        let tenants = written["tenants"].as_array_mut().unwrap();
        tenants.extend(floods.iter().map(|id| tenant(id)).chain([tenant("small")]));
    });
    let mut env: Vec<(String, String)> = rig.environment().into_iter().collect();
    env.retain(|(name, _)| name != "FUNCTIONS_CUSTOMHANDLER_PORT");
    let handler = Stage { folder: rig.folder.clone(), env }.listen();
    for n in 0..JOBS_EACH {
        let text = format!("text {n}");
        let each = floods.iter().map(|id| defer(&handler, id, &text));
        futures_util::future::join_all(each).await;
    }
    let app = rig.process().await;
    until("the pool is taken", async || {
        rig.sweep(&app).await;
        !claimed(&rig).await.is_empty()
    })
    .await;
    let before = claimed(&rig).await.len();
    let job = defer(&handler, "small", "mine").await;
    let own = async || claimed(&rig).await.into_iter().find(|(_, of, _)| *of == job);
    until("the small job leaves", async || {
        rig.work().await;
        rig.sweep(&app).await;
        own().await.is_some()
    })
    .await;
    let (_, _, at) = own().await.unwrap();
    let after = claimed(&rig).await;
    assert!(after.len() < FLOODS * JOBS_EACH, "the flood is not over: the small job went past it on {POOL}");
    let others = after.iter().filter(|(_, of, claimed_at)| *of != job && *claimed_at <= at).count();
    assert!(others - before <= 2 * FLOODS, "{others} shards left before it, {before} of them before it came");
}

/// A process knows what others let in from the merged view: one period of it later a limit is shared. Then
/// its part is what the others left of the last minute, and `limit / processes` at least.
#[tokio::test]
async fn two_processes_share_a_limit_of_requests_once_they_see_each_other() {
    const LIMIT: usize = 8;
    let upstream = Upstream::start([]).await;
    let mut written = catalogue(&[backend("one", &upstream.url)]);
    written["tenants"][0]["limits"] = json!({ "requests_per_minute": LIMIT });
    // A state is written every ten seconds: five here. What a busy machine takes besides refills the limit.
    let clock = Clock::scaled(Clock::REAL.now_ms(), 2.0).unwrap();
    let settings: Vec<(String, String)> =
        clock.settings().into_iter().flatten().map(|(name, value)| (name.to_owned(), value)).collect();
    let stage = Stage::new(&written);
    let folder = stage.folder.clone();
    let first = Stage { env: settings.clone(), ..stage }.under_host().await;
    let second = Stage { folder, env: settings }.under_host().await;
    let ask = async |handler: &Handler| handler.embed().send().await.unwrap().status().as_u16();
    for n in 0..LIMIT {
        assert_eq!(ask(&first).await, 200, "{n}");
    }
    assert_eq!(ask(&first).await, 429, "it knows what itself let in");

    until("the first process has told what it let in", async || {
        let told = first.kept("state/http");
        told.iter().any(|state| state.contains(&format!("\"requests\":{LIMIT}")))
    })
    .await;
    let tick = json!({ "Data": { "timer": { "IsPastDue": false } }, "Metadata": {} }).to_string();
    let swept = first.client.post(format!("{}/Sweep", first.url)).body(tick).send().await.unwrap();
    assert_eq!(swept.status(), 200);
    assert_eq!(second.post("/api/operate/knobs/refresh", ADMIN, "").send().await.unwrap().status(), 200);
    let mut let_in = 0;
    while let_in <= LIMIT && ask(&second).await == 200 {
        let_in += 1;
    }
    // One may come on top: a minute's eighth passes while the test runs on a slow machine.
    assert!((1..=LIMIT / 2 + 1).contains(&let_in), "the second let in {let_in}, of {LIMIT} in all");
}
