//! Prometheus: what was asked, how long it took, what waits.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use engine::Load;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// What a scrape reads.
#[derive(Debug)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabel, Histogram, fn() -> Histogram>,
    inputs: Counter,
    tokens: Counter,
    load_seconds: Real,
}

type Real = Gauge<f64, AtomicU64>;

/// Which handler answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Route {
    /// `/v1/embeddings`
    Embeddings,
    /// `/v1/models` and below
    Models,
    /// `/health` and `/ready`
    Probe,
    /// `/metrics`
    Metrics,
    /// Nothing.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: Route,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: Route,
}

impl Default for Metrics {
    fn default() -> Metrics {
        // 1 ms to 33 s: one short text on a good machine, to a full queue on a bad one.
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        Metrics {
            requests: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            inputs: Counter::default(),
            tokens: Counter::default(),
            load_seconds: Real::default(),
        }
    }
}

impl Metrics {
    /// A request was answered.
    pub fn answered(&self, route: Route, status: u16, took: Duration) {
        self.requests.get_or_create(&RequestLabels { route, status }).inc();
        self.seconds.get_or_create(&RouteLabel { route }).observe(took.as_secs_f64());
    }

    /// Inputs were embedded.
    pub fn embedded(&self, inputs: usize, tokens: u64) {
        self.inputs.inc_by(inputs as u64);
        self.tokens.inc_by(tokens);
    }

    /// The model came up.
    pub fn loaded(&self, took: Duration) {
        self.load_seconds.set(took.as_secs_f64());
    }

    /// What a scrape reads, with the engine's load of this moment; `None` while the model is loading.
    pub fn text(&self, load: Option<Load>) -> String {
        let mut registry = Registry::with_prefix("switchyard_server");
        registry.register("requests", "Answers by route and status", self.requests.clone());
        registry.register("request_seconds", "Time from the head to the answer", self.seconds.clone());
        registry.register("inputs", "Inputs embedded", self.inputs.clone());
        registry.register("tokens", "Tokens embedded", self.tokens.clone());
        registry.register("load_seconds", "How long the model took to come up", self.load_seconds.clone());
        register_load(&mut registry, load);
        let mut text = String::new();
        encode(&mut text, &registry).expect("writing to a string does not fail");
        text
    }
}

fn register_load(registry: &mut Registry, load: Option<Load>) {
    let mut gauge = |name: &str, help: &str, value: usize| {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    gauge("ready", "1 when the model is up", usize::from(load.is_some()));
    let load = load.unwrap_or_default();
    gauge("waiting_tokens", "Tokens in the queue", load.waiting_tokens);
    gauge("waiting_sequences", "Sequences in the queue", load.waiting_sequences);
    gauge("running_tokens", "Tokens of the batch under way", load.running_tokens);
    // Missing where there is no GPU: 0 would say that one idles.
    if let Some(percent) = engine::gpu::utilization_percent() {
        gauge("gpu_utilization_percent", "How much the GPUs worked of late", percent as usize);
    }
    let batches: Counter = Counter::default();
    batches.inc_by(load.batches);
    registry.register("batches", "Engine batches run", batches);
    let speed = Real::default();
    speed.set(load.tokens_per_second);
    registry.register("tokens_per_second", "Speed of the last batches", speed);
}
