//! Sends a request on to a backend and streams the answer back. Whether to try again is not decided
//! here: a failure before the first byte is returned as what policy looks at.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use policy::request::Operation;
use policy::snapshot::Failure;
use policy::units::{Millis, UnixMs};
use warp::Reply;
use wire::catalogue::Style;

use crate::catalogue::Backend;
use crate::http::{HeaderMap, HeaderName, HeaderValue, Response, Span, header};
use crate::metrics::UnderWay;
use crate::telemetry;

/// How long a connection may take to open. A cold replica's ingress accepts at once and holds.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Idle connections kept to one backend.
const IDLE_MAX: usize = 256;

/// Headers of a client that never reach a backend: ours, the host's, hop-by-hop ones and
/// everything that may hold a secret.
const KEPT_BACK: &[&str] = &[
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "content-length",
    "authorization",
    "api-key",
    "x-api-key",
    "x-functions-key",
    "x-functions-clientid",
    "x-ms-client-principal",
    "x-ms-token-aad-access-token",
    "cookie",
    "accept-encoding",
    "prefer",
    "idempotency-key",
    "traceparent",
    "x-request-id",
];

/// Headers of a backend's answer that reach the client.
const PASSED_BACK: &[&str] = &[
    "content-type",
    "content-length",
    "content-encoding",
    "cache-control",
    "openai-model",
    "openai-processing-ms",
    "openai-version",
];

/// One try.
pub struct Try<'a> {
    /// Where to.
    pub backend: &'a Backend,
    /// What is asked.
    pub operation: Operation,
    /// The model's id.
    pub model: &'a str,
    /// The client's headers.
    pub headers: &'a HeaderMap,
    /// The request's name.
    pub id: &'a HeaderValue,
    /// The client's bytes.
    pub body: Bytes,
    /// How long headers may take.
    pub within: Duration,
    /// How long the answer should take by the catalogue; none where that says nothing of the backend.
    pub expected: Option<Millis>,
    /// The trace of whoever asked, where that is not the running task's.
    pub asked_by: Option<&'a str>,
}

/// What a try came to.
pub enum Outcome {
    /// Headers came; the answer is under way to the client.
    Answered(Response),
    /// The backend refused the request for its content.
    Refused(Response),
    /// It failed before its first byte.
    Failed(Failure),
}

/// The client that all tries share.
///
/// # Errors
/// When TLS cannot be set up.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_WITHIN)
        .pool_max_idle_per_host(IDLE_MAX)
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        // A backend is named by the catalogue; nothing in the environment may send it elsewhere.
        .no_proxy()
        .build()
}

/// Sends one try. `under_way` is held until the answer's last byte or the client's going away.
pub async fn forward(
    client: &reqwest::Client,
    tried: Try<'_>,
    mut under_way: UnderWay,
    now: impl Fn() -> UnixMs,
) -> Outcome {
    let path = path(tried.operation);
    let Ok(url) = url::Url::parse(&url(tried.backend, path, tried.model)) else {
        tracing::error!(backend = tried.backend.name, "no address can be made of the backend's URL");
        return failed(Failure::Unreachable, under_way, now());
    };
    let span = telemetry::dependency("POST", path, &url, tried.asked_by);
    let (began, began_at) = (Instant::now(), now());
    let request = client.post(url).headers(headers(&tried, &span)).body(tried.body);
    let sent = tokio::time::timeout(tried.within, request.send()).await;
    let answer = match sent {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            span.failed();
            tracing::warn!(backend = tried.backend.name, error = %error.without_url(), "no answer");
            return failed(Failure::Unreachable, under_way, now());
        }
        Err(_) => {
            span.failed();
            tracing::warn!(
                backend = tried.backend.name,
                within_ms = tried.within.as_millis(),
                "no headers in time"
            );
            return failed(Failure::TimedOut, under_way, now());
        }
    };
    span.status(answer.status().as_u16());
    match judge(answer.status().as_u16(), answer.headers()) {
        Judgement::Good => {
            let took = Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
            under_way.answered(now(), took);
            if let Some(expected) =
                tried.expected.filter(|_| answer.status() == 200 && !is_events(answer.headers()))
            {
                // By the handler's clock, as catalogues are; the wall's may be slower.
                let took = now().since(began_at);
                // Generation may end early, and then says nothing of speed.
                let took = if tried.operation == Operation::Embeddings { took } else { took.max(expected) };
                under_way.paced(now(), took, expected);
            }
            under_way.gpu(now(), percent(answer.headers()));
            Outcome::Answered(pass_on(answer, Guards { _under_way: under_way, _span: span }))
        }
        Judgement::ClientsFault => {
            under_way.refused_by_content(now());
            Outcome::Refused(pass_on(answer, Guards { _under_way: under_way, _span: span }))
        }
        Judgement::Failed(failure) => {
            tracing::warn!(backend = tried.backend.name, status = answer.status().as_u16(), "backend failed");
            failed(failure, under_way, now())
        }
    }
}

fn failed(failure: Failure, mut under_way: UnderWay, now: UnixMs) -> Outcome {
    under_way.failed(now, failure);
    Outcome::Failed(failure)
}

enum Judgement {
    Good,
    ClientsFault,
    Failed(Failure),
}

/// Whose fault an answer is. A backend that does not know our key or our model was set up wrongly:
/// nothing that the client could mend.
fn judge(status: u16, headers: &HeaderMap) -> Judgement {
    let retry_after = || retry_after(headers);
    match status {
        200..=299 => Judgement::Good,
        429 => Judgement::Failed(Failure::Overloaded { retry_after: retry_after() }),
        503 => Judgement::Failed(Failure::Warming { retry_after: retry_after() }),
        408 | 504 => Judgement::Failed(Failure::TimedOut),
        400 | 409 | 413 | 415 | 422 => Judgement::ClientsFault,
        _ => Judgement::Failed(Failure::Broken),
    }
}

/// What our own server says of its GPU with each answer: asking would wake a replica.
fn percent(headers: &HeaderMap) -> Option<u32> {
    headers.get("switchyard-gpu-utilization")?.to_str().ok()?.parse().ok().filter(|percent| *percent <= 100)
}

fn retry_after(headers: &HeaderMap) -> Millis {
    let number =
        |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok().filter(|n| *n >= 0.0);
    let ms = number("retry-after-ms").or_else(|| number("retry-after").map(|seconds| seconds * 1_000.0));
    Millis(ms.unwrap_or(0.0) as u64)
}

fn path(operation: Operation) -> &'static str {
    match operation {
        Operation::Embeddings => "/embeddings",
        Operation::ChatCompletions => "/chat/completions",
        Operation::Completions => "/completions",
    }
}

/// Always one of these paths: no part of a client's path is ever sent on.
fn url(backend: &Backend, path: &str, model: &str) -> String {
    match (&backend.style, &backend.api_version) {
        (Style::AzureOpenai, Some(version)) => {
            let model: String = url::form_urlencoded::byte_serialize(model.as_bytes()).collect();
            format!("{}/openai/deployments/{model}{path}?api-version={version}", backend.url)
        }
        _ => format!("{}/v1{path}", backend.url),
    }
}

fn headers(tried: &Try<'_>, span: &Span) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(tried.headers.len());
    for (name, value) in tried.headers {
        let text = name.as_str();
        let ours =
            text.starts_with("switchyard-") || text.starts_with("x-azure-") || text.starts_with("x-ms-");
        if !ours && !KEPT_BACK.contains(&text) {
            headers.append(name.clone(), value.clone());
        }
    }
    if let Some((name, key)) = &tried.backend.key {
        headers.insert(name.clone(), key.clone());
    }
    headers.insert("x-request-id", tried.id.clone());
    let traceparent = span.traceparent().and_then(|text| HeaderValue::try_from(text).ok());
    if let Some(traceparent) = traceparent.or_else(|| tried.headers.get("traceparent").cloned()) {
        headers.insert("traceparent", traceparent);
    }
    headers
}

struct Guards {
    _under_way: UnderWay,
    _span: Span,
}

/// The answer, chunk by chunk as it comes. An event stream begins with a comment, because the
/// Functions host holds headers back until the first byte of a body.
fn pass_on(answer: reqwest::Response, guards: Guards) -> Response {
    let status = answer.status();
    let passed =
        PASSED_BACK.iter().filter_map(|name| answer.headers().get(*name).map(|value| (*name, value.clone())));
    let passed: Vec<_> = passed.map(|(name, value)| (HeaderName::from_static(name), value)).collect();
    let is_events = is_events(answer.headers());
    let rest = Guarded { parts: Box::pin(answer.bytes_stream()), _guards: guards };
    let mut response = if is_events && status.is_success() {
        let hello = stream::iter([Ok(Bytes::from_static(b": ok\n\n"))]);
        warp::reply::stream(hello.chain(rest)).into_response()
    } else {
        warp::reply::stream(rest).into_response()
    };
    *response.status_mut() = status;
    response.headers_mut().extend(passed);
    if is_events {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}

/// Whether an answer comes in parts as they are made: then its headers come before the work is done, and
/// its end when its reader has read it, which is not the backend's pace.
fn is_events(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

type Parts = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send + Sync>>;

/// A stream that holds what must last as long as it does.
struct Guarded {
    parts: Parts,
    _guards: Guards,
}

impl Stream for Guarded {
    type Item = reqwest::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.parts.as_mut().poll_next(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_whose_fault_they_are() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_static("2"));
        let failure = |status| match judge(status, &headers) {
            Judgement::Failed(failure) => Some(failure),
            _ => None,
        };
        assert_eq!(failure(429), Some(Failure::Overloaded { retry_after: Millis(2_000) }));
        assert_eq!(failure(503), Some(Failure::Warming { retry_after: Millis(2_000) }));
        assert_eq!(failure(504), Some(Failure::TimedOut));
        for broken in [301, 401, 403, 404, 500, 502] {
            assert_eq!(failure(broken), Some(Failure::Broken), "{broken}");
        }
        assert!(matches!(judge(400, &headers), Judgement::ClientsFault));
        assert!(matches!(judge(200, &headers), Judgement::Good));
        headers.insert("retry-after-ms", HeaderValue::from_static("70"));
        assert_eq!(retry_after(&headers), Millis(70));
    }
}
