//! Logs, spans and metrics. Logs are JSON lines on standard output only: the Functions host (or the
//! container platform) passes them on, so they are not sent a second time. Spans and metrics go to
//! Application Insights when a connection string is set; a dead endpoint costs nothing but them.
//!
//! Nothing is sampled: a request is one span and each of its calls another, and a busy front that finds them
//! too many sets a daily cap or ingestion sampling on the resource. Of calls of the blob store a request shows
//! its first 32, and a timer none: a sweep makes hundreds.
//!
//! - [`span`]: requests, calls to other services, and what is measured on the way
//! - `instruments`: one for each metric of [`crate::metrics::names`]
//! - `sender`: the exporter's HTTP client

mod instruments;
mod sender;
mod span;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::TracerProvider;
use opentelemetry_application_insights::Exporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Sampler, SdkTracerProvider};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::Secret;
use instruments::Instruments;
use sender::{Sender, Unsent};
use span::Home;
pub use span::{Span, blob_call, carried, dependency, lasted, measure, note, target, without_blob_calls};

/// Longest wait for the last spans and metrics at the end of the process.
pub const FLUSH_MAX: Duration = Duration::from_secs(2);
/// Longest wait after an invocation: a healthy endpoint takes 20 ms, and the flush goes on without whoever
/// waited.
const FLUSH_WITHIN: Duration = Duration::from_millis(500);
/// How often metrics leave by themselves; invocations send them sooner.
const METRICS_EVERY: Duration = Duration::from_secs(60);

/// Where telemetry goes; empty when it is off.
#[derive(Default)]
pub struct Telemetry(Option<Providers>);

struct Providers {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
    home: Home,
    unsent: Unsent,
    /// Whether a flush is under way: one that hangs is not joined by others.
    flushing: Arc<AtomicBool>,
}

/// Starts logging to standard output. `filter` is the setting SWITCHYARD_LOG.
///
/// # Errors
/// When the filter does not parse.
pub fn log_to_stdout(filter: &str) -> Result<(), String> {
    // A second start in one process (tests) keeps the first.
    let _ = lines(filter, std::io::stdout)?.try_init();
    Ok(())
}

/// What logs: one JSON object a line, with the job and the trace that it stands in as `span`.
///
/// # Errors
/// When the filter does not parse.
pub fn lines<W>(filter: &str, writer: W) -> Result<impl tracing::Subscriber + Send + Sync, String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let quiet = [
        "hyper=warn",
        "hyper_util=warn",
        "reqwest=warn",
        "h2=warn",
        "opentelemetry=warn",
        "opentelemetry_sdk=warn",
    ];
    let mut filter =
        EnvFilter::try_new(filter).map_err(|error| format!("SWITCHYARD_LOG is no filter: {error}"))?;
    for directive in quiet {
        filter = filter.add_directive(directive.parse().expect("directives written here parse"));
    }
    let lines = tracing_subscriber::fmt().json().flatten_event(true).with_span_list(false);
    Ok(lines.with_env_filter(filter).with_writer(writer).finish())
}

impl Telemetry {
    /// Telemetry to this connection string, sent by `client` on the current runtime.
    ///
    /// # Errors
    /// When the connection string is not one.
    pub fn start(connection: &Secret, client: reqwest::Client, instance: &str) -> Result<Telemetry, String> {
        let unsent = Unsent::default();
        let sender = Sender { client, runtime: tokio::runtime::Handle::current(), unsent: unsent.clone() };
        let exporter = Exporter::new_from_connection_string(connection.reveal(), sender)
            .map_err(|_| "APPLICATIONINSIGHTS_CONNECTION_STRING is no connection string".to_owned())?;
        // Nothing from the environment: names there are not ours to send.
        let resource = Resource::builder_empty()
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_attributes([
                KeyValue::new("service.name", "switchyard-handler"),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", instance.to_owned()),
            ])
            .build();
        let spans = BatchSpanProcessor::builder(exporter.clone()).build();
        // The Functions host gives each request a trace that it marks as not sampled (recorded): to
        // follow the mark would be to send nothing.
        let traces = SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOn)
            .with_span_processor(spans)
            .with_resource(resource.clone())
            .build();
        let reader = PeriodicReader::builder(exporter).with_interval(METRICS_EVERY).build();
        let metrics = SdkMeterProvider::builder().with_reader(reader).with_resource(resource).build();
        let instruments = Arc::new(Instruments::new(&metrics.meter("switchyard")));
        let home = Home { tracer: traces.tracer("switchyard"), instruments };
        Ok(Telemetry(Some(Providers { traces, metrics, home, unsent, flushing: Arc::default() })))
    }

    /// Begins the span of a request that came in, as a child of its `traceparent`.
    pub fn request(&self, method: &str, traceparent: Option<&str>) -> Span {
        let home = self.0.as_ref().map(|providers| &providers.home);
        home.map_or_else(Span::default, |home| Span::request(home, method, traceparent))
    }

    /// What is done by the process itself: calls and measurements without a request.
    pub fn unasked(&self) -> Span {
        let home = self.0.as_ref().map(|providers| providers.home.clone());
        home.map_or_else(Span::default, Span::nowhere)
    }

    /// Why telemetry does not arrive; none: it did when it was sent last, or it is off.
    pub fn unsent(&self) -> Option<String> {
        self.0.as_ref()?.unsent.told()
    }

    /// Sends what was recorded so far, and waits for it a bounded time: after an invocation, because the
    /// platform may freeze or end an instance between two. An endpoint that hangs holds up one flush at most
    /// at a time; the others go on without.
    pub async fn flush(&self) {
        let Some(providers) = &self.0 else { return };
        if providers.flushing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (traces, metrics) = (providers.traces.clone(), providers.metrics.clone());
        let flushing = Arc::clone(&providers.flushing);
        bounded(FLUSH_WITHIN, move || {
            std::thread::scope(|both| {
                both.spawn(|| drop(traces.force_flush()));
                drop(metrics.force_flush());
            });
            flushing.store(false, Ordering::Release);
        })
        .await;
    }

    /// Sends what is left, for a bounded time. Spans and metrics go side by side, because each has
    /// a time-out of its own.
    pub async fn end(&self) {
        let Some(providers) = &self.0 else { return };
        let (traces, metrics) = (providers.traces.clone(), providers.metrics.clone());
        let traces = bounded(FLUSH_MAX, move || drop(traces.shutdown_with_timeout(FLUSH_MAX)));
        let metrics = bounded(FLUSH_MAX, move || drop(metrics.shutdown_with_timeout(FLUSH_MAX)));
        tokio::join!(traces, metrics);
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Telemetry").field(&self.0.is_some()).finish()
    }
}

/// Runs blocking work elsewhere and waits for it no longer than `most`.
async fn bounded(most: Duration, work: impl FnOnce() + Send + 'static) {
    let (done, wait) = tokio::sync::oneshot::channel::<()>();
    // A thread of its own: a blocking task would hold up the end of the runtime.
    std::thread::spawn(move || {
        work();
        drop(done);
    });
    let _ = tokio::time::timeout(most, wait).await;
}
