//! Logs, spans and metrics. Logs are JSON lines on standard output only: the Functions host (or the
//! container platform) passes them on, so they are not sent a second time. Spans and metrics go to
//! Application Insights when a connection string is set; a dead endpoint costs nothing but them.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_application_insights::Exporter;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span as SdkSpan};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::{Secret, is_loopback};

/// Longest wait for the last spans and metrics at the end of the process.
pub const FLUSH_MAX: Duration = Duration::from_secs(2);
/// Longest export of one batch.
const EXPORT_MAX: Duration = Duration::from_secs(10);
/// How often metrics leave by themselves; the Metrics function sends them sooner.
const METRICS_EVERY: Duration = Duration::from_secs(60);

/// Where telemetry goes; empty when it is off.
#[derive(Debug, Default)]
pub struct Telemetry(Option<Providers>);

#[derive(Debug)]
struct Providers {
    traces: SdkTracerProvider,
    tracer: SdkTracer,
    metrics: SdkMeterProvider,
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
        let sender = Sender { client, runtime: tokio::runtime::Handle::current() };
        let exporter = Exporter::new_from_connection_string(connection.reveal(), sender)
            .map_err(|_| "APPLICATIONINSIGHTS_CONNECTION_STRING is no connection string".to_owned())?;
        let resource = Resource::builder_empty()
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
        let tracer = traces.tracer("switchyard");
        Ok(Telemetry(Some(Providers { traces, tracer, metrics })))
    }

    /// Where custom metrics are recorded; none when telemetry is off.
    pub fn meter(&self) -> Option<Meter> {
        self.0.as_ref().map(|providers| providers.metrics.meter("switchyard"))
    }

    /// Begins the span of a request that came in, as a child of its `traceparent`.
    pub fn request(&self, method: &str, path: &str, traceparent: Option<&str>) -> Span {
        let Some(providers) = &self.0 else { return Span::default() };
        let parent = traceparent.and_then(parse_traceparent);
        let parent =
            parent.map_or_else(Context::new, |remote| Context::new().with_remote_span_context(remote));
        let span = providers
            .tracer
            .span_builder(format!("{method} {path}"))
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("http.request.method", method.to_owned()),
                KeyValue::new("http.route", path.to_owned()),
                KeyValue::new("url.path", path.to_owned()),
            ])
            .start_with_context(&providers.tracer, &parent);
        Span(Some(Open { span, tracer: providers.tracer.clone() }))
    }

    /// Sends the metrics recorded so far now.
    pub async fn flush_metrics(&self) {
        let Some(metrics) = self.0.as_ref().map(|providers| providers.metrics.clone()) else { return };
        bounded(FLUSH_MAX, move || drop(metrics.force_flush())).await;
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

/// One span; does nothing when telemetry is off. Ended when dropped.
#[derive(Debug, Default)]
pub struct Span(Option<Open>);

#[derive(Debug)]
struct Open {
    span: SdkSpan,
    tracer: SdkTracer,
}

impl Span {
    /// Begins the span of a call to another service, as a child of this one.
    pub fn dependency(&self, method: &str, path: &str, target: &str) -> Span {
        let Some(open) = &self.0 else { return Span::default() };
        let parent = Context::new().with_remote_span_context(open.span.span_context().clone());
        let span = open
            .tracer
            .span_builder(format!("{method} {path}"))
            .with_kind(SpanKind::Client)
            .with_attributes([
                KeyValue::new("http.request.method", method.to_owned()),
                KeyValue::new("url.path", path.to_owned()),
                KeyValue::new("server.address", target.to_owned()),
            ])
            .start_with_context(&open.tracer, &parent);
        Span(Some(Open { span, tracer: open.tracer.clone() }))
    }

    /// Notes a fact from a closed list.
    pub fn note(&mut self, name: &'static str, value: &str) {
        if let Some(open) = &mut self.0 {
            open.span.set_attribute(KeyValue::new(name, value.to_owned()));
        }
    }

    /// Notes the status it was answered with.
    pub fn status(&mut self, status: u16) {
        if let Some(open) = &mut self.0 {
            open.span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
            if status >= 500 {
                open.span.set_status(Status::error(""));
            }
        }
    }

    /// The `traceparent` for a call made inside this span.
    pub fn traceparent(&self) -> Option<String> {
        let context = self.0.as_ref()?.span.span_context();
        let flags = context.trace_flags().to_u8();
        Some(format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id()))
    }
}

/// Reads a W3C `traceparent`, version 00.
fn parse_traceparent(text: &str) -> Option<SpanContext> {
    let mut parts = text.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version != "00" || trace.len() != 32 || span.len() != 16 || parts.next().is_some() {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

/// Sends the exporter's requests. The exporter runs on threads of its own without a runtime, and
/// turns every `http` of a connection string into `https`: on loopback that is undone.
#[derive(Clone, Debug)]
struct Sender {
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
}

impl HttpClient for Sender {
    fn send_bytes<'a, 'async_trait>(
        &'a self,
        request: opentelemetry_http::Request<Bytes>,
    ) -> Pin<
        Box<
            dyn Future<Output = Result<opentelemetry_http::Response<Bytes>, HttpError>> + Send + 'async_trait,
        >,
    >
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let (parts, body) = request.into_parts();
            let mut url = url::Url::parse(&parts.uri.to_string())?;
            if is_loopback(&url) {
                url.set_scheme("http").map_err(|()| "http is a scheme")?;
            }
            let sending = client.request(parts.method, url).headers(parts.headers).body(body);
            let answer = sending.timeout(EXPORT_MAX).send().await?;
            let (status, body) = (answer.status(), answer.bytes().await?);
            Ok(opentelemetry_http::Response::builder().status(status).body(body)?)
        });
        Box::pin(async move { sent.await? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparents_are_checked() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = parse_traceparent(good).unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        for bad in ["", "00", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-x-y-01"] {
            assert!(parse_traceparent(bad).is_none(), "{bad}");
        }
        let zero = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        assert!(parse_traceparent(zero).is_none());
    }

    #[test]
    fn without_telemetry_spans_are_nothing() {
        let span = Telemetry::default().request("GET", "/x", None);
        assert!(span.traceparent().is_none() && span.dependency("GET", "/y", "z").0.is_none());
    }
}
