//! Webhooks over real HTTP: jobs end by the handler's own triggers in one process, endpoints are
//! scripted, time runs fast, and a process dies where its fault says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clock::Clock;
use facts::fault::{Act, Fault};
use facts::file::Block;
use facts::hook::{Attempt, Outcome, Problem};
use facts::job::{Counts, End, Estimate, Kind, Status, StopWhy};
use facts::key::{self, JobKeys};
use facts::{Job, JobId, Store};
use handler::act::jobs::accept::{Accepted, New, NewLines};
use handler::act::webhooks;
use handler::app::{self, App};
use handler::settings::Settings;
use handler::triggers::sweep;
use hmac::{Hmac, KeyInit as _, Mac as _};
use policy::units::Millis;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::mpsc;

use crate::deferred::rig::{FAST, TENANT, tick, until_killed};
use crate::handler_stage::*;

const SECRET: &[u8] = b"012345678901234567890123";
/// So long after a job's end nobody is told of it again.
const WITHIN_MS: u64 = 72 * 3_600_000;
/// No pass over one event writes or sends as often.
const ACTS_MAX: u64 = 20;

/// A tenant with endpoints, and a store.
struct World {
    stage: Stage,
    clock: Clock,
    store: Store,
    may_be_private: bool,
}

impl World {
    /// A tenant whose webhooks these are.
    fn new(webhooks: &[Value]) -> World {
        let clock = Clock::scaled(Clock::REAL.now_ms(), FAST).unwrap();
        let mut written = catalogue(&[]);
        written["pools"] = json!([{
            "name": "pool", "region": "local", "models": ["m"], "usd_per_node_hour": 0.5,
            "price_date": "2026-11-01", "max_nodes": 1, "slots_per_node": 1,
            "speed": { "base_ms": 1, "per_item_us": 100, "p95_percent": 150 },
            "boot_ms": { "p50": 1_000, "p95": 2_000 },
        }]);
        written["tenants"][0]["webhooks"] = webhooks.into();
        let stage = Stage::new(&written);
        let store = Store::folder(&stage.folder.join("blob")).unwrap();
        World { stage, clock, store, may_be_private: true }
    }

    fn change_webhooks(&self, webhooks: &[Value]) {
        let file = self.stage.folder.join("blob/config/catalogue.json");
        let mut written: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        written["tenants"][0]["webhooks"] = webhooks.into();
        std::fs::write(file, written.to_string()).unwrap();
    }

    /// A handler's process, which meets this fault.
    async fn process_with(&self, fault: Option<Arc<Fault>>) -> Arc<App> {
        let path = |name: &str| self.stage.folder.join(name).display().to_string();
        let private = if self.may_be_private { "1" } else { "0" };
        let mut given = BTreeMap::from([
            ("FUNCTIONS_CUSTOMHANDLER_PORT", "1".to_owned()),
            ("BLOB_URL", format!("file://{}", path("blob"))),
            ("KNOBS_FILE", path("knobs.json")),
            ("WEBHOOKS_ALLOW_PRIVATE", private.to_owned()),
            ("TEST_WEBHOOK_SECRET", secret()),
        ]);
        given.extend(self.clock.settings().into_iter().flatten());
        let settings = Settings::read(None, move |name| given.get(name).cloned()).unwrap();
        let (app, _) = app::build(Settings { fault, ..settings }).unwrap();
        app.refresh().await;
        app
    }

    async fn process(&self) -> Arc<App> {
        self.process_with(None).await
    }

    /// A batch that its owner has asked to stop: the next look ends it.
    async fn stopped_batch(&self) -> Arc<Job> {
        let app = self.process().await;
        let text = "{\"custom_id\":\"a\"}\n";
        let block = Block { bytes: text.len() as u64, lines: 1, items: 1, ..Block::default() };
        let new = New {
            id: JobId::random(),
            tenant: TENANT.to_owned(),
            kind: Kind::OpenaiBatch {
                file: "f".to_owned(),
                completion_window: "24h".to_owned(),
                output_expires_s: None,
            },
            url: "/v1/embeddings".to_owned(),
            model: ("m".to_owned(), None),
            class: facts::job::Class::default(),
            body_hash: "hash".to_owned(),
            deadline: app.now() + Millis(100 * 24 * 3_600_000),
            max_cost: None,
            labels: BTreeMap::new(),
            traceparent: None,
            pool: "pool".to_owned(),
            speed: app.catalogue().await.unwrap().pool("pool").unwrap().facts.speed,
            bytes_per_line: 100,
            estimate: Estimate::default(),
            lines: NewLines::Here(text.to_owned(), block),
        };
        let Accepted::Job(job) = app.jobs.accept(new).await.unwrap() else { panic!("a random id") };
        app.jobs.stop(&job, StopWhy::Cancelled, "enough").await.unwrap();
        job
    }

    /// Sweeps until nobody is left to be told.
    async fn until_told(&self, app: &App) {
        let began = Instant::now();
        loop {
            sweep::run(app, &tick()).await.unwrap();
            if self.markers().await.is_empty() {
                return;
            }
            assert!(began.elapsed() < BOUND, "still to be told: {:?}", self.markers().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Markers of jobs and of webhooks.
    async fn markers(&self) -> Vec<String> {
        let mut markers = self.store.list(key::DUE).await.unwrap();
        markers.extend(self.store.list(key::HOOKS).await.unwrap());
        markers.into_iter().map(|found| found.key).collect()
    }

    /// All attempts to tell of a job's end.
    async fn attempts(&self, job: &Job) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        for found in self.store.list(&JobKeys::new(TENANT, &job.job).attempts()).await.unwrap() {
            let text = self.store.get(&found.key).await.unwrap().content;
            attempts.push(serde_json::from_slice(&text).unwrap());
        }
        attempts
    }

    /// A job that ended so long ago, and of which its webhooks are to be told.
    async fn ended_batch(&self, ago_ms: u64) -> Arc<Job> {
        let job = self.stopped_batch().await;
        let at_ms = self.clock.now_ms() - ago_ms;
        let end = End {
            v: facts::VERSION,
            status: Status::Expired,
            counts: Counts { unfinished: 1, ..Counts::default() },
            chunks: Vec::new(),
            finished_ms: at_ms,
            at_ms,
            cost_micro_usd: 0,
            compute_ms: 0,
            retries: 0,
            labels: BTreeMap::new(),
            spent: Vec::new(),
        };
        let text = serde_json::to_string(&end).unwrap();
        self.store.create(&JobKeys::new(TENANT, &job.job).end(), text).await.unwrap();
        job
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.stage.folder);
    }
}

fn secret() -> String {
    format!("whsec_{}", BASE64.encode(SECRET))
}

fn hook(url: &str) -> Value {
    json!({ "url": url, "secret_setting": "TEST_WEBHOOK_SECRET" })
}

fn answer(status: u16, headers: &[(&'static str, &str)]) -> Step {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Step::Answer(status, headers, String::new())
}

fn statuses(attempts: &[Attempt]) -> Vec<Option<u16>> {
    attempts.iter().map(|attempt| attempt.status).collect()
}

/// That a request is the event of this batch, and signed.
fn assert_event(seen: &Seen, job: &Job, kind: &str) {
    let header = |name| seen.header(name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!((seen.method.as_str(), header("content-type")), ("POST", "application/json"));
    let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
    assert!(at.parse::<u64>().unwrap().abs_diff(Clock::REAL.now_ms() / 1_000) < 300, "{at}");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).unwrap();
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(&seen.body);
    let signature = format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()));
    assert_eq!(header("webhook-signature"), signature);
    let event: Value = serde_json::from_slice(&seen.body).unwrap();
    assert!(event["created_at"].is_u64());
    let told = [&event["id"], &event["object"], &event["type"], &event["data"]["id"]];
    let batch = format!("batch_{}", job.job);
    assert_eq!(told, [id, "event", kind, &batch].map(|text| json!(text)).each_ref());
}

#[tokio::test]
async fn the_end_of_a_batch_is_told_once() {
    let endpoint = Upstream::start([]).await;
    let other = Upstream::start([]).await;
    let mut deaf = hook(&other.url);
    deaf["events"] = json!(["batch.completed", "batch.expired"]);
    let world = World::new(&[hook(&format!("{}/ends?key=1", endpoint.url)), deaf]);
    let job = world.stopped_batch().await;
    let app = world.process().await;
    world.until_told(&app).await;
    // A late hint of a worker has the job looked at again.
    world.store.create(&key::due(key::NOW, TENANT, &job.job), "").await.unwrap();
    world.until_told(&app).await;

    let seen = endpoint.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].path, "/ends?key=1");
    assert_event(&seen[0], &job, "batch.cancelled");
    assert!(other.seen().is_empty(), "it did not ask for this event");
    let attempts = world.attempts(&job).await;
    assert_eq!((statuses(&attempts), attempts[0].outcome), (vec![Some(200)], Outcome::Delivered));
}

#[tokio::test]
async fn what_fails_is_sent_again_under_the_same_id() {
    let elsewhere = Upstream::start([]).await;
    let steps = [
        answer(500, &[]),
        answer(429, &[("retry-after", "45")]),
        Step::Close,
        answer(302, &[("location", &elsewhere.url)]),
        answer(404, &[]),
        answer(204, &[]),
    ];
    let endpoint = Upstream::start(steps).await;
    let world = World::new(&[hook(&endpoint.url)]);
    let job = world.stopped_batch().await;
    world.until_told(&*world.process().await).await;

    let attempts = world.attempts(&job).await;
    assert_eq!(statuses(&attempts), [Some(500), Some(429), None, Some(302), Some(404), Some(204)]);
    assert_eq!(attempts[2].problem, Some(Problem::Broken));
    assert!(attempts[1].next_ms.unwrap() >= attempts[1].at_ms + 45_000, "{:?}", attempts[1]);
    for (attempt, next) in attempts.iter().zip(&attempts[1..]) {
        assert!(next.at_ms >= attempt.next_ms.unwrap(), "too early: {attempt:?}, {next:?}");
    }
    let seen = endpoint.seen();
    assert_eq!(seen.len(), 6);
    for seen in &seen {
        assert_event(seen, &job, "batch.cancelled");
        assert_eq!(seen.body, endpoint.seen()[0].body);
    }
    assert!(elsewhere.seen().is_empty(), "a redirect was followed");
}

#[tokio::test]
async fn some_answers_and_too_much_time_end_it() {
    let endpoint = Upstream::start([answer(410, &[]), answer(503, &[])]).await;
    let world = World::new(&[hook(&endpoint.url)]);
    let gone = world.ended_batch(0).await;
    world.until_told(&*world.process().await).await;
    let late = world.ended_batch(WITHIN_MS - 5_000).await;
    world.until_told(&*world.process().await).await;
    for (job, outcome) in [(&gone, Outcome::Gone), (&late, Outcome::GaveUp)] {
        let attempts = world.attempts(job).await;
        assert_eq!((attempts.len(), attempts[0].outcome), (1, outcome));
    }
    assert_event(&endpoint.seen()[1], &late, "batch.expired");
}

#[tokio::test]
async fn an_endpoint_that_hangs_holds_up_nobody() {
    let (held, mut dropped) = mpsc::channel(1);
    let hanging = Upstream::start([Step::Hang(held)]).await;
    let other = Upstream::start([]).await;
    let world = World::new(&[hook(&hanging.url), hook(&other.url)]);
    let first = world.stopped_batch().await;
    let app = world.process().await;
    until("both are asked", async || {
        sweep::run(&app, &tick()).await.unwrap();
        hanging.seen().len() == 1 && other.seen().len() == 1
    })
    .await;
    assert!(matches!(dropped.try_recv(), Err(mpsc::error::TryRecvError::Empty)), "it is still being asked");
    assert_event(&other.seen()[0], &first, "batch.cancelled");
    // Sweeps go on meanwhile, and do not ask it twice.
    sweep::run(&app, &tick()).await.unwrap();
    assert_eq!(hanging.seen().len(), 1);
    // What is under way ends with its process.
    drop(app);
    assert!(tokio::time::timeout(BOUND, dropped.recv()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_may_die_at_any_instant() {
    let mut met = 0;
    for (act, after) in [(Act::Put, false), (Act::Put, true), (Act::Send, false), (Act::Send, true)] {
        for n in 1..ACTS_MAX {
            if told_under(Arc::new(Fault::of_task(act, after, n))).await {
                break;
            }
            met += 1;
            assert!(n + 1 < ACTS_MAX, "{act:?} goes on for ever");
        }
    }
    assert!(met >= 12, "only {met} faults were met");
}

/// Whether a process told of a batch's end undisturbed. Whatever it did, the next one comes to the end.
async fn told_under(fault: Arc<Fault>) -> bool {
    let endpoint = Upstream::start([]).await;
    let world = World::new(&[hook(&endpoint.url)]);
    let job = world.stopped_batch().await;
    let app = world.process_with(Some(Arc::clone(&fault))).await;
    let done = until_killed(&fault, world.until_told(&app)).await.is_some();
    drop(app);
    world.until_told(&*world.process().await).await;
    let seen = endpoint.seen();
    assert!((1..=2).contains(&seen.len()), "{} requests", seen.len());
    for seen in &seen {
        assert_event(seen, &job, "batch.cancelled");
    }
    let attempts = world.attempts(&job).await;
    assert_eq!((attempts.len(), attempts[0].outcome), (1, Outcome::Delivered));
    done
}

#[tokio::test]
async fn what_was_sent_and_not_written_down_is_sent_again() {
    let endpoint = Upstream::start([]).await;
    let world = World::new(&[hook(&endpoint.url)]);
    let job = world.stopped_batch().await;
    let fault = Arc::new(Fault::of_task(Act::Send, true, 1));
    let app = world.process_with(Some(Arc::clone(&fault))).await;
    assert!(until_killed(&fault, world.until_told(&app)).await.is_none());
    drop(app);
    world.until_told(&*world.process().await).await;
    let ids: Vec<_> =
        endpoint.seen().iter().map(|seen| seen.header("webhook-id").unwrap().to_owned()).collect();
    assert_eq!(ids, vec![format!("evt_{}", job.job); 2]);
}

#[tokio::test]
async fn nothing_is_sent_into_this_machine_unless_it_may_be() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut world = World::new(&[hook(&format!("https://localhost:{port}/"))]);
    let job = world.ended_batch(WITHIN_MS - 5_000).await;
    world.may_be_private = false;
    world.until_told(&*world.process().await).await;
    let attempts = world.attempts(&job).await;
    assert_eq!(attempts[0].problem, Some(Problem::AddressRefused));
    assert!(listener.accept().is_err(), "somebody connected");
}

#[tokio::test]
async fn what_an_endpoint_missed_goes_to_the_one_instead_of_it() {
    let (broken, mended) = (Upstream::start([answer(500, &[])]).await, Upstream::start([]).await);
    let world = World::new(&[hook(&broken.url)]);
    let job = world.ended_batch(0).await;
    let app = world.process().await;
    until("it failed", async || {
        sweep::run(&app, &tick()).await.unwrap();
        !world.attempts(&job).await.is_empty()
    })
    .await;
    drop(app);
    world.change_webhooks(&[hook(&mended.url)]);
    world.until_told(&*world.process().await).await;
    assert_eq!((broken.seen().len(), mended.seen().len()), (1, 1));
    assert_event(&mended.seen()[0], &job, "batch.expired");
}

#[tokio::test]
async fn a_job_that_its_owner_deleted_is_not_told_of() {
    let endpoint = Upstream::start([]).await;
    let world = World::new(&[hook(&endpoint.url)]);
    let job = world.ended_batch(0).await;
    let app = world.process().await;
    let catalogue = app.catalogue().await.unwrap();
    webhooks::announce(&world.store, &catalogue, &job).await.unwrap();
    app.jobs.erase(TENANT, &job.job).await.unwrap();
    world.until_told(&app).await;
    assert!(endpoint.seen().is_empty());
}

#[tokio::test]
async fn its_tenant_sees_what_came_of_it() {
    let endpoint = Upstream::start([]).await;
    let url = format!("{}/ends", endpoint.url);
    let world = World::new(&[hook(&format!("{url}?key=hidden"))]);
    let job = world.ended_batch(0).await;
    let keys = JobKeys::new(TENANT, &job.job);
    let app = world.process().await;
    let known = app.catalogue().await.unwrap();
    let webhook = &known.tenant(TENANT).unwrap().webhooks[0];
    let attempt = Attempt {
        v: facts::VERSION,
        at_ms: 1_000,
        took_ms: 5,
        status: Some(500),
        problem: None,
        outcome: Outcome::Retrying,
        next_ms: Some(31_000),
    };
    for n in 1..=2 {
        let text = serde_json::to_string(&attempt).unwrap();
        world.store.create(&keys.attempt(&webhook.endpoint, n), text).await.unwrap();
    }
    let stage = Stage { folder: world.stage.folder.clone(), env: Vec::new() };
    let stage = stage.with("TEST_WEBHOOK_SECRET", secret()).with("WEBHOOKS_ALLOW_PRIVATE", "1");
    let handler = stage.listen();
    let path = format!("/api/jobs/{}/webhooks", job.job);
    let list: Value = handler.get(&path, KEY).send().await.unwrap().json().await.unwrap();
    let expected = json!({ "object": "list", "data": [{
        "url": url, "event_id": format!("evt_{}", job.job), "event": "batch.expired", "status": "retrying",
        "attempts": 2, "last_attempt": "1970-01-01T00:00:01Z", "last_status": 500, "last_problem": null,
        "next_attempt": "1970-01-01T00:00:31Z",
    }]});
    assert_eq!(list, expected);
    // Another tenant, another method.
    assert_eq!(handler.get(&path, READER).send().await.unwrap().status(), 404);
    assert_eq!(handler.post(&path, KEY, "").send().await.unwrap().status(), 405);
}

#[test]
fn the_sample_in_the_documents_is_one() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with("Webhooks")).unwrap();
    let sample = section.split("```json").nth(1).unwrap().split("```").next().unwrap();
    let webhook: wire::catalogue::Webhook = serde_json::from_str(sample).unwrap();
    assert!(webhook.secret_setting.ends_with("_WEBHOOK_SECRET"));
}
