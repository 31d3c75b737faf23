//! Spans. What runs inside one ([`Span::around`]) finds it by itself: calls to other services become its
//! children ([`dependency`]), and what is measured goes where it belongs ([`measure`]). Without telemetry all
//! of this is nothing. A task that is spawned takes it along with [`carried`].
//!
//! A span holds names from our own tables, hosts, paths and statuses. Never in one: queries, headers, bodies,
//! and what a client wrote into its path.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::context::FutureExt as _;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;
use url::Url;

use super::instruments::Instruments;
use crate::metrics::names::Metric;

/// Where spans and measurements of a task go; travels in its context.
#[derive(Clone)]
pub(super) struct Home {
    pub(super) tracer: SdkTracer,
    pub(super) instruments: Arc<Instruments>,
}

/// Calls of the blob store that one request shows: what most requests and looks at a job make. A look at a
/// large job makes thousands, which tell no more and cost more than they are worth.
const BLOB_CALLS_MAX: u32 = 32;

/// Calls of the blob store that the running request may still show.
#[derive(Clone)]
struct BlobCalls(Arc<AtomicU32>);

impl BlobCalls {
    fn new(left: u32) -> BlobCalls {
        BlobCalls(Arc::new(AtomicU32::new(left)))
    }

    fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// Where a task's spans and measurements go, and the span that it is in; nowhere when telemetry is off.
/// Copies share the span, which ends with the last of them.
#[derive(Clone, Default)]
pub struct Span(pub(super) Option<Context>);

impl std::fmt::Debug for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Span").field(&self.traceparent()).finish()
    }
}

/// Measures a value where the running task's measurements go. `labels` are the values of the metric's labels,
/// in their order.
pub fn measure(metric: &Metric, value: f64, labels: &[&str]) {
    Context::map_current(|context| {
        if let Some(home) = context.get::<Home>() {
            home.instruments.measure(metric, value, labels);
        }
    });
}

/// Begins the span of a call to another service, as a child of the running task's, or in the trace of
/// `asked_by` where the task works for somebody else. `what` is from a closed list.
pub fn dependency(method: &str, what: &str, url: &Url, asked_by: Option<&str>) -> Span {
    let name = format!("{method} {what}");
    Span::begin(&name, SpanKind::Client, asked_by.and_then(parse), || {
        let mut shown = url.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        // Neither can fail on a URL that has a host, and one without has nothing to hide.
        let _ = (shown.set_username(""), shown.set_password(None));
        vec![
            KeyValue::new("url.full", shown.to_string()),
            KeyValue::new("server.address", target(url)),
            // The exporter tells calls over HTTP by any such name.
            KeyValue::new("http.request.method", method.to_owned()),
        ]
    })
}

/// Host and port of a service, as spans name it.
pub fn target(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Begins the span of a call to the blob store, as a child of the running request's. There is none outside a
/// request, in a timer's ([`without_blob_calls`]) and after a request's first [`BLOB_CALLS_MAX`]. `kind` is
/// from a closed list.
pub fn blob_call(operation: &str, kind: &str, host: &str) -> Span {
    let is_shown = Context::map_current(|context| context.get::<BlobCalls>().is_some_and(BlobCalls::take));
    if !is_shown {
        return Span::default();
    }
    Span::begin(&format!("{operation} {kind}"), SpanKind::Client, None, || {
        vec![
            // What the exporter shows as the type.
            KeyValue::new("db.system.name", "Azure blob"),
            KeyValue::new("server.address", host.to_owned()),
        ]
    })
}

/// Runs work for which nobody waits, and which calls the blob store again and again.
pub async fn without_blob_calls<F: Future>(work: F) -> F::Output {
    work.with_context(Context::current_with_value(BlobCalls::new(0))).await
}

/// Tells of an act in the trace of whoever asked for it, though it is done in another: a span of no length
/// under `traceparent`.
pub fn note(name: &'static str, traceparent: Option<&str>, facts: &[(&'static str, &str)]) {
    let Some(parent) = traceparent.and_then(parse) else { return };
    let facts = || facts.iter().map(|(name, value)| KeyValue::new(*name, (*value).to_owned())).collect();
    drop(Span::begin(name, SpanKind::Internal, Some(parent), facts));
}

/// Tells of work that lasted from one instant to another (Unix ms) in the trace of whoever asked for it.
pub fn lasted(
    name: &'static str,
    traceparent: Option<&str>,
    (from_ms, to_ms): (u64, u64),
    facts: &[(&'static str, &str)],
) {
    let Some(parent) = traceparent.and_then(parse) else { return };
    let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
    Context::map_current(|context| {
        let Some(home) = context.get::<Home>() else { return };
        let facts = facts.iter().map(|(name, value)| KeyValue::new(*name, (*value).to_owned()));
        let builder = home.tracer.span_builder(name).with_kind(SpanKind::Internal);
        let builder = builder.with_start_time(at(from_ms)).with_attributes(facts.collect::<Vec<_>>());
        let parent = Context::new().with_remote_span_context(parent);
        let mut span = builder.start_with_context(&home.tracer, &parent);
        opentelemetry::trace::Span::end_with_timestamp(&mut span, at(to_ms.max(from_ms)));
    });
}

/// A task to be spawned, with the running one's span and measurements.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    work.with_current_context()
}

impl Span {
    /// A place for spans and measurements of what is done without being asked, outside any span.
    pub(super) fn nowhere(home: Home) -> Span {
        Span(Some(Context::new().with_value(home)))
    }

    /// Begins the span of a request that came in, as a child of its `traceparent`.
    pub(super) fn request(home: &Home, method: &str, traceparent: Option<&str>) -> Span {
        let parent = match traceparent.and_then(parse) {
            Some(remote) => Context::new().with_remote_span_context(remote),
            None => Context::new(),
        };
        let builder = home.tracer.span_builder(method.to_owned()).with_kind(SpanKind::Server);
        let builder = builder.with_attributes([KeyValue::new("http.request.method", method.to_owned())]);
        let span = builder.start_with_context(&home.tracer, &parent);
        let context = Context::new().with_value(home.clone()).with_value(BlobCalls::new(BLOB_CALLS_MAX));
        Span(Some(context.with_span(span)))
    }

    fn begin(
        name: &str,
        kind: SpanKind,
        parent: Option<SpanContext>,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) -> Span {
        let running = Context::map_current(|context| {
            context.get::<Home>().cloned().map(|home| (home, context.clone()))
        });
        let Some((home, running)) = running else { return Span::default() };
        let parent = parent.map_or(running, |remote| Context::new().with_remote_span_context(remote));
        let builder = home.tracer.span_builder(name.to_owned()).with_kind(kind).with_attributes(attributes());
        let span = builder.start_with_context(&home.tracer, &parent);
        Span(Some(Context::new().with_value(home).with_span(span)))
    }

    /// Runs `work` inside this span.
    pub async fn around<F: Future>(&self, work: F) -> F::Output {
        match &self.0 {
            Some(context) => work.with_context(context.clone()).await,
            None => work.await,
        }
    }

    /// Names the route of a request: a path of our own table, never what the client sent.
    pub fn route(&self, method: &str, route: &'static str) {
        if let Some(context) = &self.0 {
            let span = context.span();
            span.update_name(format!("{method} {route}"));
            span.set_attribute(KeyValue::new("http.route", route));
            span.set_attribute(KeyValue::new("url.path", route));
        }
    }

    /// Notes the status it was answered with.
    pub fn status(&self, status: u16) {
        if let Some(context) = &self.0 {
            let span = context.span();
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
            if status >= 500 {
                span.set_status(Status::error(""));
            }
        }
    }

    /// Notes that no answer came.
    pub fn failed(&self) {
        if let Some(context) = &self.0 {
            context.span().set_status(Status::error(""));
        }
    }

    /// The `traceparent` for a call made inside this span.
    pub fn traceparent(&self) -> Option<String> {
        let span = self.0.as_ref()?.span().span_context().clone();
        let flags = span.trace_flags().to_u8();
        span.is_valid().then(|| format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id()))
    }
}

/// Reads a W3C `traceparent`, version 00.
fn parse(text: &str) -> Option<SpanContext> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparents_are_checked() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = parse(good).unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        for bad in ["", "00", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-x-y-01"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
        let zero = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        assert!(parse(zero).is_none());
    }

    #[test]
    fn without_telemetry_spans_are_nothing() {
        let url = Url::parse("http://h/p").unwrap();
        assert!(dependency("GET", "x", &url, None).traceparent().is_none());
        assert!(Span::default().traceparent().is_none());
        measure(&crate::metrics::names::RETRIES, 1.0, &[]);
    }
}
