//! Pools that size themselves: the handler's own triggers over a folder and the stand-in of Azure Batch;
//! where the service must misbehave in a certain way, a scripted one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clock::Clock;
use facts::job::{Estimate, Kind, Shard, StopWhy};
use facts::key::{self, JobKeys};
use facts::view::{PoolState, PoolView};
use facts::{Job, JobId, Store};
use handler::act::jobs::Jobs;
use handler::act::jobs::accept::{Accepted, New, NewLines};
use handler::act::jobs::look::World;
use handler::act::rebalance::carry_out::{Outcome, carry_out};
use handler::act::rebalance::demand::demands;
use handler::act::rebalance::sight::Sight;
use handler::act::rebalance::{alerts, formula};
use handler::app::{self, App};
use handler::azure::batch;
use handler::settings::Settings;
use handler::triggers::{rebalance, sweep};
use local::azure_batch::{Options, Programs, Server};
use object_store::ObjectStore;
use policy::Knobs;
use policy::knobs::AutoscaleMode;
use policy::rebalance::{Decision, Plan};
use policy::units::{Millis, UnixMs};
use serde_json::{Value, json};

use crate::azure_batch_client::{client, ok};
use crate::deferred::counting::Counting;
use crate::deferred::items::{blocks, input_line};
use crate::deferred::rig::tick;
use crate::handler_stage::{ADMIN, BOUND, Stage, Step, Upstream, catalogue};

const POOL: &str = "spot";
const DIGEST: &str = "sha256:ab12";
/// An interval of five minutes is a second and a half, a view of three minutes just under one.
const SPEED: f64 = 200.0;

/// A store, an account with a pool of no nodes, and processes of the handler over both.
struct Scene {
    folder: PathBuf,
    clock: Clock,
    store: Store,
    batch: Server,
}

impl Scene {
    fn start(knobs: &Value) -> Scene {
        let name = format!("switchyard-rebalance-{}-{:08x}", std::process::id(), getrandom::u32().unwrap());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(folder.join("blob/config")).unwrap();
        std::fs::write(folder.join("blob/config/catalogue.json"), written().to_string()).unwrap();
        std::fs::write(folder.join("knobs.json"), knobs.to_string()).unwrap();
        let store = Store::folder(&folder.join("blob")).unwrap();
        let clock = Clock::scaled(Clock::REAL.now_ms(), SPEED).unwrap();
        let worker = BTreeMap::from([("worker".to_owned(), PathBuf::from("/bin/true"))]);
        let pool = json!({ "id": POOL, "vmSize": "standard_nc4as_t4_v3", "taskSlotsPerNode": 2,
            "targetLowPriorityNodes": 0, "virtualMachineConfiguration":
                { "imageReference": {}, "nodeAgentSKUId": "batch.node.ubuntu 24.04" } });
        let options = Options {
            programs: Programs::Named(worker),
            pools: vec![pool],
            arrival: Duration::ZERO,
            boot: Duration::from_secs(20),
            ..Options::new(folder.join("nodes"))
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let batch = Server::start(listener, options, clock).unwrap();
        Scene { folder, clock, store, batch }
    }

    /// A handler's process.
    async fn process(&self) -> Arc<App> {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let mut given = BTreeMap::from([
            ("FUNCTIONS_CUSTOMHANDLER_PORT", "1".to_owned()),
            ("BLOB_URL", format!("file://{}", path("blob"))),
            ("KNOBS_FILE", path("knobs.json")),
            ("BATCH_ENDPOINT", self.batch.url().to_owned()),
            ("BATCH_ACCOUNT_NAME", self.batch.account().to_owned()),
            ("BATCH_ACCOUNT_KEY", self.batch.key().to_owned()),
        ]);
        given.extend(self.clock.settings().into_iter().flatten());
        let settings = Settings::read(None, move |name| given.get(name).cloned()).unwrap();
        let (app, _) = app::build(settings).unwrap();
        app.refresh().await;
        app
    }

    /// What the timers do once.
    async fn turn(&self, app: &App) -> PoolState {
        sweep::run(app, &tick()).await.unwrap();
        rebalance::run(app, &tick()).await.unwrap();
        self.made().await
    }

    /// What the rebalancer made of the pool.
    async fn made(&self) -> PoolState {
        let read = self.store.get(&key::pool_state(POOL)).await.unwrap();
        serde_json::from_slice(&read.content).unwrap()
    }

    /// Turns until `check` holds.
    async fn turn_until(&self, app: &App, what: &str, check: impl AsyncFn(&PoolState) -> bool) {
        let began = Instant::now();
        loop {
            let made = self.turn(app).await;
            if check(&made).await {
                return;
            }
            assert!(began.elapsed() < BOUND, "{what}: {made:#?} {:#?}", seen(app).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn job(&self, app: &App) -> Arc<Job> {
        let text: String = (0..3).map(input_line).collect();
        let id = JobId::random();
        let input = format!("{}input", key::FileKeys::new("dev", id.as_str()).content());
        self.store.create(&input, text.clone()).await.unwrap();
        let new = New {
            id,
            tenant: "dev".to_owned(),
            kind: Kind::Request,
            class: facts::job::Class::default(),
            url: "/v1/embeddings".to_owned(),
            model: ("m".to_owned(), Some(DIGEST.to_owned())),
            body_hash: "hash".to_owned(),
            deadline: app.now() + Millis::from_secs(36_000),
            max_cost: None,
            labels: BTreeMap::new(),
            traceparent: None,
            pool: POOL.to_owned(),
            speed: app.catalogue().await.unwrap().pool(POOL).unwrap().facts.speed,
            bytes_per_line: 100,
            estimate: Estimate::default(),
            lines: NewLines::Object(input, blocks(&text)),
        };
        match app.jobs.accept(new).await.unwrap() {
            Accepted::Job(job) => job,
            Accepted::OtherBody => panic!("a random id names no job"),
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn written() -> Value {
    let mut written = catalogue(&[]);
    written["pools"] = json!([{
        "name": POOL, "region": "local", "models": ["m"], "usd_per_node_hour": 0.1,
        "price_date": "2026-11-01", "max_nodes": 3, "slots_per_node": 2,
        "speed": { "base_ms": 0, "per_item_us": 20_000_000, "p95_percent": 150 },
        "boot_ms": { "p50": 20_000, "p95": 40_000 },
        "worker": { "program": "worker", "folders": { "m": "/models/m" } },
    }]);
    written
}

async fn seen(app: &App) -> batch::Pool {
    app.jobs.batch().unwrap().pool(POOL).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_goes_from_nothing_to_nodes_and_back() {
    let scene = Scene::start(&json!({ "autoscale-mode": "act" }));
    let app = scene.process().await;
    scene.turn_until(&app, "taken over", async |_| seen(&app).await.auto_scale).await;
    assert_eq!(seen(&app).await.low_priority.target, 0, "there is nothing to do");

    let job = scene.job(&app).await;
    let has_nodes = async |_: &PoolState| {
        let counts = app.jobs.batch().unwrap().node_counts(POOL).await.unwrap();
        counts.low_priority.idle + counts.low_priority.running > 0
    };
    scene.turn_until(&app, "nodes", has_nodes).await;
    let text = seen(&app).await.formula.unwrap();
    let planned = formula::previous(&text).expect("the formula is ours");
    assert!(planned.spot > 0 && planned.dedicated == 0, "{planned:?}");

    // Another process goes on from what the formula says.
    let app = scene.process().await;
    scene.turn_until(&app, "no step back", async |made| made.planned.outcome == "unchanged").await;

    app.jobs.stop(&job, StopWhy::Cancelled, "enough").await.unwrap();
    scene.store.create(&key::due(key::NOW, "dev", &job.job), "").await.unwrap();
    let empty = async |_: &PoolState| {
        let seen = seen(&app).await;
        (seen.low_priority.target, seen.low_priority.current) == (0, 0)
    };
    scene.turn_until(&app, "back to nothing", empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_act_acts() {
    for (mode, outcome) in [("observe", "observed"), ("recommend", "recommended")] {
        let scene = Scene::start(&json!({ "autoscale-mode": mode }));
        let app = scene.process().await;
        scene.job(&app).await;
        scene.turn_until(&app, mode, async |made| made.planned.outcome == outcome).await;
        let made = scene.made().await;
        assert_eq!(made.planned.mode, mode);
        assert_eq!(made.formula.is_empty(), mode == "observe", "{}", made.formula);
        assert_eq!(made.planned.plan.is_some_and(|plan| plan.spot > 0), mode == "recommend");
        let seen = seen(&app).await;
        assert_eq!((seen.auto_scale, seen.low_priority.target), (false, 0), "nobody acted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_formula_is_kept_before_it_is_replaced() {
    const FOREIGN: &str = "$TargetLowPriorityNodes = 1;";
    let minutes = Duration::from_secs(600);
    for (mode, replaced) in [("recommend", false), ("act", true)] {
        let scene = Scene::start(&json!({ "autoscale-mode": mode }));
        let app = scene.process().await;
        app.jobs.batch().unwrap().enable_autoscale(POOL, Some(FOREIGN), Some(minutes)).await.unwrap();
        if !replaced {
            scene.turn_until(&app, mode, async |made| made.planned.outcome == "recommended").await;
            assert_eq!(seen(&app).await.formula.as_deref(), Some(FOREIGN));
            // Operators are told what is wrong with the one that they run.
            sweep::run(&app, &tick()).await.unwrap();
            let view = scene.store.get(key::VIEW).await.unwrap().content;
            let view = String::from_utf8_lossy(&view);
            assert!(
                view.contains("\"findings\":[\"kills_running_tasks (line 1, column 1): of 6 nodes"),
                "{view}"
            );
            continue;
        }
        // The service takes a formula every 30 s: the first tries may come too early.
        scene.turn_until(&app, mode, async |made| made.planned.outcome == "enabled").await;
        let now = seen(&app).await;
        assert!(formula::previous(&now.formula.unwrap()).is_some());
        assert_eq!(now.interval, Some(Duration::from_secs(300)), "that of the knob");
        let kept = scene.store.get(&key::replaced_formula(POOL)).await.unwrap();
        assert_eq!(kept.content, FOREIGN);
        let written = scene.store.list("audit/").await.unwrap().remove(0);
        let written = scene.store.get(&written.key).await.unwrap().content;
        let Ok(audit::Entry::Action(action)) = audit::Entry::read(std::str::from_utf8(&written).unwrap())
        else {
            panic!("{written:?}")
        };
        assert_eq!(
            (action.actor.as_str(), action.action.as_str()),
            ("function:Rebalance", "formula_enabled")
        );
        assert_eq!((action.target.as_str(), action.before.as_str()), (POOL, Some(FOREIGN)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_page_shows_pools() {
    let folder = {
        let scene = Scene::start(&json!({}));
        let app = scene.process().await;
        scene.job(&app).await;
        scene.turn_until(&app, "planned", async |made| made.planned.outcome == "recommended").await;
        // The sweep after it carries the plan into the view.
        sweep::run(&app, &tick()).await.unwrap();
        let stage = Stage::new(&written());
        let state = |key: &str| (scene.folder.join("blob").join(key), stage.folder.join("blob").join(key));
        std::fs::create_dir_all(stage.folder.join("blob/state/pools")).unwrap();
        for key in [key::VIEW.to_owned(), key::pool_state(POOL)] {
            let (from, to) = state(&key);
            std::fs::copy(from, to).unwrap();
        }
        stage
    };
    let handler = folder.listen();
    let page: Value = handler.get("/api/status", ADMIN).send().await.unwrap().json().await.unwrap();
    let pool = &page["pools"][0];
    assert_eq!(pool["name"], POOL, "{page:#}");
    assert_eq!(
        (&pool["planned"]["mode"], &pool["planned"]["outcome"]),
        (&json!("recommend"), &json!("recommended"))
    );
    assert!(pool["planned"]["spot"].as_u64() > Some(0), "{pool:#}");
    assert!(pool["planned"]["formula"].as_str().unwrap().starts_with("// switchyard v1 at="));
    assert!(pool["planned"]["reasons"][0]["code"].is_string(), "{pool:#}");
    let at_risk = page["lines"][1].as_str().unwrap();
    assert!(at_risk.contains("nobody buys nodes"), "{page:#}");
}

/// A pool at rest that has this formula.
async fn sight(jobs: &Jobs, service: &Upstream, formula: Option<&str>) -> Sight {
    let pool = json!({ "state": "active", "allocationState": "steady", "enableAutoScale": formula.is_some(),
        "autoScaleFormula": formula, "autoScaleEvaluationInterval": "PT5M" });
    service.then(ok(&pool.to_string()));
    let pool = Some(jobs.batch().unwrap().pool(POOL).await.unwrap());
    Sight { pool, view: PoolView::default(), state: None }
}

fn plan(at: UnixMs) -> Plan {
    Plan {
        at,
        spot: 2,
        max_nodes: 3,
        max_spot: 3,
        slots_per_node: 2,
        tasks_per_node: 8,
        changed: at,
        ..Plan::default()
    }
}

fn says(status: u16, code: &str) -> Step {
    let body = json!({ "code": code, "message": { "lang": "en-US", "value": "about it" } });
    Step::Answer(status, vec![], body.to_string())
}

/// What it is, the formula in force, whether it is kicked, what the service answers, what becomes of
/// it, and the calls that takes.
type Case<'a> = (&'a str, Option<&'a str>, bool, Vec<Step>, &'a str, usize);

#[tokio::test]
async fn what_the_service_says_is_an_outcome() {
    let scene = Scene::start(&json!({}));
    let app = scene.process().await;
    let catalogue = app.catalogue().await.unwrap();
    let knobs = Knobs { autoscale: AutoscaleMode::Act, ..Knobs::default() };
    let world = World { catalogue: &catalogue, knobs: &knobs };
    let pool = catalogue.pool(POOL).unwrap();
    let good = || ok(r#"{"timestamp":"2026-11-21T10:00:00Z","results":"$TargetLowPriorityNodes=2"}"#);
    let failed = r#"{"results":"","error":{"code":"InsufficientSampleData","message":"m"}}"#;
    let enabled = || Step::Answer(200, vec![], String::new());
    let now = app.now();
    let ours = formula::write(&plan(now), Millis::from_secs(300), &Default::default()).unwrap();
    let other = formula::write(&Plan { spot: 1, ..plan(now) }, Millis::from_secs(300), &Default::default());
    let other = other.unwrap();
    let too_soon = || says(503, "TooManyEnableAutoScaleRequests");
    let cases: Vec<Case<'_>> = vec![
        ("the same", Some(&ours), false, vec![], "unchanged", 0),
        ("the same, and nobody evaluates it", Some(&ours), true, vec![good(), enabled()], "enabled", 2),
        ("another", Some(&other), false, vec![good(), enabled()], "enabled", 2),
        ("none so far", None, false, vec![enabled()], "enabled", 1),
        ("too soon", Some(&other), false, vec![good(), too_soon()], "later", 2),
        ("fails inside 200", Some(&other), false, vec![ok(failed)], "refused", 1),
        ("too many", Some(&other), false, vec![ok(r#"{"results":"$TargetDedicatedNodes=9"}"#)], "refused", 1),
        ("syntax", None, false, vec![says(400, "AutoScalingFormulaSyntaxError")], "refused", 1),
        ("resizing", None, false, vec![says(409, "PoolBeingResized")], "later", 1),
        ("changed meanwhile", Some(&other), false, vec![says(409, "OperationNotValidOnPool")], "later", 1),
    ];
    for (what, in_force, kick, script, expected, calls) in cases {
        let service = Upstream::start([]).await;
        let jobs =
            Jobs::new(Store::memory(), app.clock, Some(client(&service.url)), None, "file:///x/".to_owned());
        let sight = sight(&jobs, &service, in_force).await;
        let before = service.seen().len();
        script.into_iter().for_each(|step| service.then(step));
        let decision = Decision { plan: Some(plan(now)), kick, reasons: vec![] };
        let done = carry_out(&jobs, world, (pool, &sight), &decision, None).await;
        assert_eq!(done.outcome.as_str(), expected, "{what}: {:?}", done.outcome);
        let seen = service.seen().split_off(before);
        assert_eq!(seen.len(), calls, "{what}: {seen:?}");
        if done.outcome == Outcome::Enabled {
            let sent: Value = serde_json::from_slice(&seen.last().unwrap().body).unwrap();
            let names_interval = sent.get("autoScaleEvaluationInterval").is_some();
            assert_eq!(names_interval, kick || in_force.is_none(), "{what}");
        }
    }
}

#[tokio::test]
async fn a_hundred_thousand_waiting_shards_cost_as_many_calls_as_they_have_jobs() {
    const JOBS: usize = 50;
    const SHARDS: u32 = 2_000;
    let scene = Scene::start(&json!({}));
    let app = scene.process().await;
    let catalogue = app.catalogue().await.unwrap();
    let knobs = Knobs::default();
    let world = World { catalogue: &catalogue, knobs: &knobs };
    let counting = Arc::new(Counting::default());
    let store = Store::over(Arc::clone(&counting) as Arc<dyn ObjectStore>);
    let jobs = Jobs::new(store.clone(), app.clock, None, None, "file:///x/".to_owned());
    let template = scene.job(&app).await;
    for n in 0..JOBS as u64 {
        let shard = |at: u32| Shard {
            offset: u64::from(at) * 100,
            bytes: 100,
            first_line: at.into(),
            lines: 1,
            work_ms: 20_000,
        };
        let id = JobId::random();
        let shards = (0..SHARDS).map(shard).collect();
        let job =
            Job { job: id.clone(), shards, deadline_ms: template.deadline_ms + n, ..(*template).clone() };
        let text = serde_json::to_string(&job).unwrap();
        store.create(&JobKeys::new("dev", &id).job(), text).await.unwrap();
        store.create(&key::due(n + 1, "dev", &id), "").await.unwrap();
    }
    for expected in [1 + 2 * JOBS as u64, 1 + JOBS as u64] {
        let before = counting.calls.load(Ordering::Relaxed);
        let found = demands(&jobs, world).await.unwrap();
        let calls = counting.calls.load(Ordering::Relaxed) - before;
        let shards: u32 = found.of(POOL).iter().map(|demand| demand.parallel).sum();
        assert_eq!((shards, found.of(POOL).len()), (JOBS as u32 * SHARDS, JOBS));
        assert_eq!(calls, expected, "`job.json` is read once a process");
        assert!(found.of(POOL).is_sorted_by_key(|demand| demand.deadline));
    }
}

#[tokio::test]
#[ignore = "a measurement: cargo test --release --test it rebalance_over -- --ignored --nocapture"]
#[expect(clippy::print_stdout, reason = "a measurement is read where it is printed")]
async fn rebalance_over_a_hundred_thousand_waiting_shards() {
    let scene = Scene::start(&json!({"autoscale-mode": "act"}));
    let app = scene.process().await;
    let template = scene.job(&app).await;
    for n in 0..50 {
        let shard =
            |at: u32| Shard { first_line: at.into(), lines: 1, work_ms: 20_000, ..template.shards[0] };
        let id = JobId::random();
        let shards = (0..2_000).map(shard).collect();
        let job =
            Job { job: id.clone(), shards, deadline_ms: template.deadline_ms + n, ..(*template).clone() };
        let text = serde_json::to_string(&job).unwrap();
        scene.store.create(&JobKeys::new("dev", &id).job(), text).await.unwrap();
        scene.store.create(&key::due(n + 1, "dev", &id), "").await.unwrap();
    }
    for what in ["the first, which reads every job", "the next one of the process"] {
        let began = Instant::now();
        rebalance::run(&app, &tick()).await.unwrap();
        println!("{what}: {:.0} ms", began.elapsed().as_secs_f64() * 1_000.0);
    }
    assert_eq!(scene.made().await.planned.jobs, 51);
}

#[tokio::test]
async fn alerts_stand_until_they_are_resolved() {
    let store = Store::memory();
    let jobs = Jobs::new(store.clone(), Clock::REAL, None, None, "file:///x/".to_owned());
    let tell = async |id: &str, condition: &str| {
        let body = json!({ "schemaId": "azureMonitorCommonAlertSchema", "data": {
            "essentials": { "alertRule": format!("switchyard-scale-up-{id}"), "severity": "Sev2",
                "monitorCondition": condition, "originAlertId": id },
            "alertContext": {} } });
        let body = bytes::Bytes::from(body.to_string());
        alerts::keep(&store, &alerts::read(&body).unwrap(), body).await.unwrap();
    };
    tell("a", "Fired").await;
    tell("a", "Fired").await;
    tell("b", "Fired").await;
    assert_eq!(alerts::standing(&jobs).await.unwrap().len(), 2, "told twice, it is one");
    tell("a", "Resolved").await;
    let standing = alerts::standing(&jobs).await.unwrap();
    assert_eq!(
        standing.iter().map(|alert| alert.rule.as_str()).collect::<Vec<_>>(),
        ["switchyard-scale-up-b"]
    );
}
