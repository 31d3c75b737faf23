//! Every row of the table of metrics is really measured, under its own labels and no other; and a dead
//! endpoint neither slows nor fails anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use facts::job::Kind;
use facts::key;
use facts::view::GpuSeen;
use handler::app::App;
use handler::http::server;
use handler::metrics::names::{self, Metric, OTHER, Values};
use handler::triggers;
use local::telemetry::{Receiver, Script};
use serde_json::json;

use super::*;
use crate::deferred::rig::{POOL, Rig, SLOW, TENANT, tick, ticket};
use crate::handler_stage::{ADMIN, until};

/// A job's world with a process that tells, and serves over HTTP what the host would ask of it.
struct World {
    rig: Rig,
    app: Arc<App>,
    url: String,
    client: reqwest::Client,
    receiver: Receiver,
}

impl World {
    /// Two backends that follow scripts, and a tenant with a webhook.
    async fn start(backends: [&Upstream; 2], hook: &Upstream) -> World {
        let rig = Rig::start(SLOW).await;
        rig.change_catalogue(|written| {
            written["backends"] = json!([backend("one", &backends[0].url), backend("two", &backends[1].url)]);
            let webhook =
                json!({ "url": format!("{}/hook", hook.url), "secret_setting": "TEST_WEBHOOK_SECRET" });
            written["tenants"][0]["webhooks"] = json!([webhook]);
        });
        let receiver = receiver();
        let app = rig
            .process_given(&[
                ("APPLICATIONINSIGHTS_CONNECTION_STRING", receiver.connection_string()),
                ("TEST_WEBHOOK_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz".to_owned()),
                ("WEBHOOKS_ALLOW_PRIVATE", "1".to_owned()),
            ])
            .await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = Arc::clone(&app);
        let answer = move |request| triggers::answer(Arc::clone(&serving), request);
        tokio::spawn(server::serve(listener, Arc::clone(&app.telemetry), answer, std::future::pending()));
        let client = reqwest::Client::builder().no_proxy().timeout(BOUND).build().unwrap();
        World { rig, app, url, client, receiver }
    }

    async fn embed(&self) -> u16 {
        let request = self.client.post(format!("{}/api/v1/embeddings", self.url)).bearer_auth(KEY);
        request.body(r#"{"model":"m","input":"hello"}"#).send().await.unwrap().status().as_u16()
    }

    /// What every process tells of itself once a minute, beside the view that it reads again and again.
    async fn publish(&self) {
        self.app.views.refresh(&self.app.store).await;
        self.app.telemetry.unasked().around(async { self.app.publish() }).await;
    }

    async fn tick(&self, function: &str) {
        let timer = json!({ "ScheduleStatus": null, "IsPastDue": false });
        assert_eq!(invoke(&self.client, &self.url, function, "timer", timer).await, 200, "{function}");
    }

    /// Knobs and then a catalogue that are refused, and good ones again.
    async fn refuse(&self) {
        for name in ["knobs.json", "blob/config/catalogue.json"] {
            let file = self.rig.folder.join(name);
            let good = std::fs::read(&file).unwrap();
            std::fs::write(&file, "{").unwrap();
            self.app.refresh().await;
            std::fs::write(&file, good).unwrap();
            self.app.refresh().await;
        }
    }

    /// A batch from its acceptance to the webhook that tells its end.
    async fn batch(&self, hook: &Upstream) {
        let id = facts::JobId::random();
        let mut new = self.rig.new_job(&self.app, &id, Duration::from_secs(10 * 24 * 3_600)).await;
        new.kind = Kind::OpenaiBatch {
            file: "f".to_owned(),
            completion_window: "24h".to_owned(),
            output_expires_s: None,
        };
        self.app.jobs.accept(new).await.unwrap();
        self.rig.recover_by(&self.app, &id).await;
        until("the webhook is told", async || {
            self.rig.sweep(&self.app).await;
            !hook.seen().is_empty()
        })
        .await;
    }

    /// What a worker with a GPU would have told.
    async fn gpu(&self) {
        let seen = GpuSeen { at_ms: self.app.now().0, percent: 55 };
        self.rig.store.overwrite(&key::gpu(POOL), serde_json::to_string(&seen).unwrap()).await.unwrap();
    }
}

/// Values that a label may have here.
fn allowed(values: Values) -> BTreeSet<String> {
    let listed: Vec<&str> = match values {
        Values::Listed(values) => values.to_vec(),
        Values::Reasons => policy::reason::Code::ALL.iter().map(|code| code.as_str()).collect(),
        Values::Catalogue(_) => vec!["one", "two", POOL, "m", "chat", TENANT, "reader"],
    };
    listed.into_iter().chain([OTHER]).map(str::to_owned).collect()
}

/// The labels of a value: what does not name the process.
fn labels(envelope: &Value) -> BTreeMap<String, String> {
    let properties = data(envelope)["properties"].as_object().unwrap().iter();
    let own =
        properties.filter(|(name, _)| !name.starts_with("service.") && !name.starts_with("telemetry.sdk."));
    own.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

fn assert_declared(envelope: &Value) -> &'static Metric {
    let name = data(envelope)["metrics"][0]["name"].as_str().unwrap();
    let metric = names::ALL.iter().find(|metric| metric.name == name);
    let metric = metric.unwrap_or_else(|| panic!("`{name}` is in no table"));
    let told = labels(envelope);
    let declared: BTreeSet<&str> = metric.labels.iter().map(|label| label.name).collect();
    assert_eq!(told.keys().map(String::as_str).collect::<BTreeSet<_>>(), declared, "{name}");
    for label in metric.labels {
        let value = &told[label.name];
        assert!(allowed(label.values).contains(value), "{name}: {} is `{value}`", label.name);
    }
    metric
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_is_measured_under_its_declared_labels() {
    let gpu = || {
        let headers = vec![
            ("switchyard-gpu-utilization", "40".to_owned()),
            ("content-type", "application/json".to_owned()),
        ];
        Step::Answer(200, headers, VECTORS.to_owned())
    };
    let broken = || Step::Answer(500, vec![], "{}".to_owned());
    let one = Upstream::start([broken(), gpu(), gpu()]).await;
    let two = Upstream::start([broken(), gpu(), gpu()]).await;
    let hook = Upstream::start([]).await;
    let world = World::start([&one, &two], &hook).await;
    // Both fail once, and whoever comes then is served.
    until("a request is served", async || world.embed().await == 200).await;
    world.embed().await;
    world
        .app
        .telemetry
        .unasked()
        .around(async {
            world.refuse().await;
            world.batch(&hook).await;
            triggers::dispatch::run(&world.app, &ticket("no ticket")).await.unwrap();
            world.gpu().await;
            triggers::sweep::run(&world.app, &tick()).await.unwrap();
        })
        .await;
    // A rate needs two instants.
    world.publish().await;
    world.embed().await;
    world.publish().await;
    world.tick("Metrics").await;

    let told = of_type(&world.receiver, "MetricData");
    let seen: BTreeSet<&str> = told.iter().map(|envelope| assert_declared(envelope).name).collect();
    let missing: Vec<&str> =
        names::ALL.iter().map(|metric| metric.name).filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "not measured: {missing:?}");

    let sum = |name: &str, wanted: &[(&str, &str)]| -> f64 {
        let fits = |envelope: &&Value| {
            let told = labels(envelope);
            data(envelope)["metrics"][0]["name"] == name
                && wanted.iter().all(|(label, value)| told.get(*label).is_some_and(|told| told == value))
        };
        told.iter().filter(fits).map(|envelope| data(envelope)["metrics"][0]["value"].as_f64().unwrap()).sum()
    };
    assert_eq!(sum("switchyard.jobs_ended", &[("pool", POOL), ("outcome", "completed")]), 1.0, "once");
    assert_eq!(sum("switchyard.webhooks", &[("outcome", "delivered")]), 1.0);
    assert_eq!(sum("switchyard.knobs_refused", &[]), 1.0);
    assert_eq!(sum("switchyard.catalogue_refused", &[]), 1.0);
    assert_eq!(sum("switchyard.dead_letters", &[("reason", "no_ticket")]), 1.0);
    assert!(sum("switchyard.cold_starts", &[]) >= 1.0);
    assert!(sum("switchyard.retries", &[]) >= 1.0);
    assert!(sum("switchyard.estimated_usd", &[("lane", "deferred"), ("team", TENANT)]) > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_invocation_measured_has_left_when_it_is_answered() {
    let receiver = receiver();
    let handler = told(Stage::new(&catalogue(&[])), &receiver).under_host().await;
    assert_ne!(handler.embed().send().await.unwrap().status(), 200, "nobody serves it");
    assert_eq!(invoke(&handler.client, &handler.url, "Metrics", "timer", json!({})).await, 200);
    let named = |name: &str| {
        of_type(&receiver, "MetricData").iter().any(|found| data(found)["metrics"][0]["name"] == name)
    };
    assert!(named("switchyard.decisions"), "{:?}", receiver.counts());
    let decided = of_type(&receiver, "MetricData")
        .into_iter()
        .find(|found| data(found)["metrics"][0]["name"] == "switchyard.latency_ms");
    let decided = labels(&decided.expect("deciding takes time"));
    assert_eq!((decided["stage"].as_str(), decided["lane"].as_str()), ("decide", "refused"));
    let requests = of_type(&receiver, "RequestData");
    assert!(requests.iter().any(|found| data(found)["name"] == "POST /api/v1/embeddings"), "{requests:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_hangs_throttles_or_fails_neither_slows_nor_fails_anything() {
    let upstream = Upstream::start([]).await;
    let receiver = receiver();
    let catalogue = catalogue(&[backend("one", &upstream.url)]);
    let handler = told(Stage::new(&catalogue), &receiver).under_host().await;
    let status = |code: u16| hyper::StatusCode::from_u16(code).unwrap();
    let at_risk = async || {
        let status: Value = handler.get("/api/status", ADMIN).send().await.unwrap().json().await.unwrap();
        status["lines"][1].as_str().unwrap().to_owned()
    };
    assert_eq!(at_risk().await, "at risk: nothing");
    for script in [Script::Fail(status(429)), Script::Fail(status(503)), Script::Hang] {
        receiver.script(script);
        let before = receiver.counts();
        for _ in 0..3 {
            assert_eq!(handler.embed().send().await.unwrap().status(), 200, "{script:?}");
            assert_eq!(invoke(&handler.client, &handler.url, "Metrics", "timer", json!({})).await, 200);
        }
        assert_eq!(receiver.counts().envelopes, before.envelopes, "{script:?}: nothing was taken");
        if let Script::Fail(status) = script {
            let told = format!("(status {})", status.as_u16());
            until("status tells it", async || at_risk().await.contains(&told)).await;
        }
    }
    assert!(receiver.counts().requests > 0, "it was asked");
    assert_eq!(upstream.seen().len(), 9, "each request once");
}
