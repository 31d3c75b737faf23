//! Limits of a day's spend through real handlers: what counts is what was spent, whoever let it in and whoever
//! is still there.

use std::mem::ManuallyDrop;
use std::time::Duration;

use facts::job::{End, Estimate};
use facts::{Job, JobId};
use handler::act::jobs::accept::{Accepted, New};
use policy::admit::{Work, day};
use policy::units::{MicroUsd, UnixMs};
use serde_json::{Value, json};

use crate::deferred::rig::{Rig, TENANT};
use crate::handler_stage::*;
use crate::tenants::change_catalogue;

/// A view is believed for three minutes: 3 s here, and a day takes 24 minutes.
const SPEED: f64 = 60.0;
const DAYS: Duration = Duration::from_secs(10 * 24 * 3_600);

/// A handler's process in the rig's world.
async fn process(rig: &Rig, knobs: &str) -> Handler {
    let file = rig.folder.join(format!("knobs-{:08x}.json", getrandom::u32().unwrap()));
    std::fs::write(&file, knobs).unwrap();
    let mut env = rig.environment();
    env.insert("KNOBS_FILE".to_owned(), file.display().to_string());
    Stage { folder: rig.folder.clone(), env: env.into_iter().collect() }.under_host().await
}

/// One that sweeps and sends nothing to pools: an hour may cost nothing at all.
async fn sweeper(rig: &Rig) -> Handler {
    process(rig, r#"{"max-usd-per-hour":0}"#).await
}

/// Ends a process as the platform does, without a word. What it wrote stays.
fn kill(handler: Handler) {
    let mut handler = ManuallyDrop::new(handler);
    handler.child.kill().unwrap();
    handler.child.wait().unwrap();
}

async fn sweep(handler: &Handler) {
    let tick = json!({ "Data": { "timer": { "IsPastDue": false } }, "Metadata": {} }).to_string();
    let swept = handler.client.post(format!("{}/Sweep", handler.url)).body(tick).send().await.unwrap();
    assert_eq!(swept.status(), 200);
}

/// When it is, and what the process of `handler` counts of the tenant, in millionths of a US dollar: of requests
/// and of jobs.
async fn counted(handler: &Handler) -> (UnixMs, u64, u64) {
    assert_eq!(handler.post("/api/operate/knobs/refresh", ADMIN, "").send().await.unwrap().status(), 200);
    let status: Value = handler.get("/api/status", ADMIN).send().await.unwrap().json().await.unwrap();
    let tenant = &status["tenants"][0];
    assert_eq!(tenant["name"], TENANT, "{status}");
    let micro = |name: &str| (tenant[name].as_f64().unwrap() * 1e6).round() as u64;
    assert_eq!(micro("requests_today_usd") + micro("jobs_today_usd"), micro("spent_today_usd"));
    (UnixMs(status["now_unix_ms"].as_u64().unwrap()), micro("requests_today_usd"), micro("jobs_today_usd"))
}

async fn limit(handler: &Handler, micro_usd: u64) {
    let limits = json!({ "usd_per_day": micro_usd as f64 / 1e6 });
    change_catalogue(handler, |written| written["tenants"][0]["limits"] = limits).await;
}

/// Asks for work that is done later: its status, what it is expected to cost, its job.
async fn defer(handler: &Handler) -> (u16, u64, Value) {
    let body = json!({ "model": "m", "input": "text" }).to_string();
    let request = handler.post("/api/v1/embeddings", KEY, body).header("switchyard-lane", "deferred");
    told(request.send().await.unwrap()).await
}

async fn told(answer: reqwest::Response) -> (u16, u64, Value) {
    let status = answer.status().as_u16();
    let cost = answer.headers().get("switchyard-cost").and_then(|told| told.to_str().ok());
    let estimate =
        cost.and_then(|told| told.strip_prefix("estimate=")?.split(';').next()?.parse::<f64>().ok());
    (status, (estimate.unwrap_or(0.0) * 1e6).round() as u64, answer.json().await.unwrap())
}

fn assert_limited((status, _, body): (u16, u64, Value)) {
    assert_eq!((status, &body["error"]["code"]), (429, &json!("insufficient_quota")), "{body}");
    assert!(body["error"]["message"].as_str().unwrap().contains("usd_per_day"), "{body}");
}

/// A job whose estimate says next to nothing, and how it ended.
async fn underestimated(rig: &Rig) -> (Job, End) {
    let app = rig.process().await;
    let estimate = Estimate { cost_micro_usd: 1, ..Estimate::default() };
    let new = New { estimate, ..rig.new_job(&app, &JobId::random(), DAYS).await };
    let Accepted::Job(job) = app.jobs.accept(new).await.unwrap() else { panic!("a random id names no job") };
    let end = rig.recover_by(&app, &job.job).await;
    assert!(end.cost_micro_usd > 1, "{end:?}");
    ((*job).clone(), end)
}

#[tokio::test]
async fn a_job_counts_its_bill_and_one_that_is_cancelled_gives_its_money_back() {
    let rig = Rig::start(SPEED).await;
    let (job, end) = underestimated(&rig).await;
    let work = Work {
        let_in: UnixMs(job.created_ms),
        estimate: MicroUsd(1),
        bill: Some((UnixMs(end.at_ms), MicroUsd(end.cost_micro_usd))),
    };
    let (front, first) = (process(&rig, "{}").await, sweeper(&rig).await);
    sweep(&first).await;
    let (now, requests, jobs) = counted(&front).await;
    assert_eq!((requests, jobs), (0, work.counts_on(day(now)).0), "its bill, of {end:?}");
    limit(&front, jobs).await;
    assert_limited(defer(&front).await);

    // Another counts as estimated while it goes on, for a process that did not let it in, too.
    limit(&front, 1_000_000_000).await;
    let (status, estimate, body) = defer(&front).await;
    assert!(status == 202 && estimate > 0, "{status} {body}");
    let second = sweeper(&rig).await;
    for sweeping in [&first, &second, &first] {
        sweep(sweeping).await;
        assert_eq!(counted(&second).await.2, jobs + estimate);
    }
    // Who let it in, and who swept, are gone: nothing is lost with them, and nothing is counted twice.
    limit(&second, jobs + estimate).await;
    kill(front);
    kill(first);
    let front = process(&rig, "{}").await;
    sweep(&second).await;
    assert_eq!(counted(&front).await.2, jobs + estimate);
    assert_limited(defer(&front).await);

    let cancel = format!("/api/jobs/{}/cancel", body["id"].as_str().unwrap());
    assert!(front.post(&cancel, KEY, "").send().await.unwrap().status().is_success());
    until("nothing of it counts", async || {
        sweep(&second).await;
        counted(&front).await.2 == jobs
    })
    .await;
    assert_eq!(defer(&front).await.0, 202, "there is room again");
    assert_limited(defer(&front).await);
    kill(second);
}

#[tokio::test]
async fn a_request_counts_as_estimated_until_its_answer_says_what_it_used() {
    let answer = |status, completion_tokens: u64| {
        let body =
            json!({ "choices": [], "usage": { "prompt_tokens": 3, "completion_tokens": completion_tokens } });
        Step::Answer(status, vec![("content-type", "application/json".to_owned())], body.to_string())
    };
    let upstream = Upstream::start([]).await;
    let mut written = catalogue(&[backend("one", &upstream.url)]);
    // A token takes a millisecond of a replica.
    written["backends"][0]["speed"] = json!({ "base_ms": 1, "per_token_out_us": 1_000, "p95_percent": 150 });
    written["backends"][0]["slots_per_replica"] = json!(1);
    let handler = Stage::new(&written).listen();
    let chat = async |step: Step| {
        upstream.then(step);
        let body = json!({ "model": "chat", "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 100_000 });
        told(handler.post("/api/v1/chat/completions", KEY, body.to_string()).send().await.unwrap()).await
    };
    let requests = async || counted(&handler).await.1;
    // The books are closed once the last byte has been passed on.
    let settles_at = async |wanted: std::ops::RangeInclusive<u64>| {
        until(&format!("{wanted:?} are counted"), async || wanted.contains(&requests().await)).await;
    };
    let (status, estimate, body) = chat(answer(200, 10)).await;
    assert!(status == 200 && estimate > 20_000, "{estimate} {body}");
    settles_at(1..=100).await;
    let each = requests().await;
    limit(&handler, estimate + estimate / 2).await;
    for n in 2..6 {
        assert_eq!(chat(answer(200, 10)).await.0, 200, "{n}: those before it cost next to nothing");
        settles_at(n * each - 1..=n * each + 1).await;
    }
    assert_eq!(chat(answer(400, 0)).await.0, 400);
    settles_at(5 * each..=5 * each).await;
    // A client that goes away leaves a backend that works.
    let (gave_up, mut given_up) = tokio::sync::mpsc::channel(1);
    tokio::select! {
        _ = chat(Step::Hang(gave_up)) => panic!("there is no answer"),
        () = until("it is asked", async || upstream.seen().len() == 7) => {}
    }
    assert!(given_up.recv().await.is_none());
    settles_at(estimate - 100..=estimate + 200).await;
    limit(&handler, 3 * estimate).await;
    assert_eq!(chat(answer(200, 1_000_000)).await.0, 200, "ten times what was asked for");
    settles_at(10 * estimate..=12 * estimate).await;
    assert_limited(chat(answer(200, 10)).await);
}
