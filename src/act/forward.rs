//! Sends a request on to a backend and streams the answer back. Whether to try again is not decided
//! here: a failure before the first byte is returned as what policy looks at.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use policy::breaker;
use policy::request::Operation;
use policy::snapshot::Failure;
use policy::units::{Millis, UnixMs};
use warp::Reply;
use wire::catalogue::Style;

use crate::catalogue::Backend;
use crate::http::{HeaderMap, HeaderName, HeaderValue, Response, Span, header};
use crate::metrics::UnderWay;
use crate::telemetry;

mod head;
mod usage;

use usage::Tail;
pub use usage::Usage;

/// How long a connection may take to open. A cold replica's ingress accepts at once and holds.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Idle connections kept to one backend.
const IDLE_MAX: usize = 256;

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
    /// Who is to be told when the answer has ended; not told of a try that failed or was refused.
    pub ended: Option<Ended>,
}

/// Is told what the backend says that an answer used, where it says so, once its last byte has been passed on
/// or its reader has gone.
pub type Ended = Box<dyn FnOnce(Option<Usage>) + Send + Sync>;

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
            let (ended, expected) = (now(), tried.expected);
            if !breaker::had_time(ended.since(began_at), expected) {
                return Outcome::Failed(Failure::TimedOut);
            }
            return failed(Failure::TimedOut, under_way, ended);
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
            let tail = tried.ended.map(Tail::of);
            Outcome::Answered(pass_on(answer, Guards { _under_way: under_way, _span: span, tail }))
        }
        Judgement::ClientsFault => {
            under_way.refused_by_content(now());
            Outcome::Refused(pass_on(answer, Guards { _under_way: under_way, _span: span, tail: None }))
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
    let mut headers = head::passed_on(tried.headers);
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
    tail: Option<Tail>,
}

/// The answer, chunk by chunk as it comes. An event stream begins with a comment, because the
/// Functions host holds headers back until the first byte of a body.
fn pass_on(answer: reqwest::Response, guards: Guards) -> Response {
    let status = answer.status();
    let passed =
        PASSED_BACK.iter().filter_map(|name| answer.headers().get(*name).map(|value| (*name, value.clone())));
    let passed: Vec<_> = passed.map(|(name, value)| (HeaderName::from_static(name), value)).collect();
    let is_events = is_events(answer.headers());
    let rest = Guarded { parts: Box::pin(answer.bytes_stream()), guards };
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
    guards: Guards,
}

impl Stream for Guarded {
    type Item = reqwest::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let part = self.parts.as_mut().poll_next(context);
        if let (Poll::Ready(Some(Ok(part))), Some(tail)) = (&part, &mut self.guards.tail) {
            tail.pass(part);
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use policy::pace::Measured;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::catalogue;
    use crate::metrics::Metrics;
    use crate::settings::Settings;

    /// The clock goes on by so much whenever it is looked at: a try sees it twice.
    const TICK: Millis = Millis(300);
    /// What each answer is expected to take.
    const EXPECTED: Millis = Millis(100);
    const NOW: u64 = 1_795_000_000_000;

    /// Answers every connection with this head and no more, then closes it.
    async fn backend(status: &'static str, kind: &'static str) -> std::sync::Arc<Backend> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4_096];
                let _ = stream.read(&mut request).await;
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
                let _ = stream.write_all(head.as_bytes()).await;
            }
        });
        described(&url)
    }

    /// The backend at this address.
    fn described(url: &str) -> std::sync::Arc<Backend> {
        let text = format!(
            r#"{{"v":1,"models":[{{"id":"m","operations":["embeddings"],"version":"v1","owned_by":"us"}}],
            "backends":[{{"name":"b","url":"{url}","region":"local","models":["m"],"style":"openai",
            "usd_per_replica_hour":1.5,"price_date":"2026-11-01","slots_per_replica":2,"max_replicas":3,
            "speed":{{"base_ms":4,"p95_percent":150}},"cold_start_ms":{{"p50":10,"p95":20}}}}]}}"#
        );
        let settings = Settings::read(Some("127.0.0.1:0"), |name| match name {
            "BLOB_URL" => Some("file:///tmp".to_owned()),
            "KNOBS_FILE" => Some("k".to_owned()),
            _ => None,
        });
        let context = catalogue::Context {
            default_backend: None,
            default_pool: None,
            secrets: settings.expect("these settings are enough").secrets,
            has_batch: false,
            loopback_only: true,
            webhooks_allow_private: false,
        };
        let read = catalogue::parse(text.as_bytes(), &context).expect("a catalogue");
        std::sync::Arc::clone(&read.backends[0])
    }

    static NO_HEADERS: std::sync::LazyLock<HeaderMap> = std::sync::LazyLock::new(HeaderMap::new);
    static ID: HeaderValue = HeaderValue::from_static("id");

    fn try_at(backend: &Backend) -> Try<'_> {
        Try {
            backend,
            operation: Operation::Embeddings,
            model: "m",
            headers: &NO_HEADERS,
            id: &ID,
            body: Bytes::from_static(b"{}"),
            within: Duration::from_secs(10),
            expected: None,
            asked_by: None,
            ended: None,
        }
    }

    /// What ten tries at such a backend show of its pace.
    async fn after_ten(
        (status, kind): (&'static str, &'static str),
        operation: Operation,
        expected: Option<Millis>,
    ) -> Measured {
        let (found, metrics, client) = (backend(status, kind).await, Metrics::default(), client().unwrap());
        let counts = metrics.backend(&found.name);
        let clock = AtomicU64::new(NOW);
        for _ in 0..10 {
            let Some(under_way) = counts.begin(UnixMs(NOW)) else { break };
            let tried = Try { operation, expected, ..try_at(&found) };
            let now = || UnixMs(clock.fetch_add(TICK.0, Ordering::Relaxed));
            drop(forward(&client, tried, under_way, now).await);
        }
        counts.observed(UnixMs(NOW)).pace
    }

    #[tokio::test]
    async fn whole_good_answers_of_ready_backends_show_a_pace() {
        const JSON: &str = "application/json";
        let embeddings = Operation::Embeddings;
        let seen = after_ten(("200 OK", JSON), embeddings, Some(EXPECTED)).await;
        assert_eq!(seen.answers(), 9, "ten answers, of which old ones count less");
        assert!((200..=650).contains(&seen.pace(UnixMs(NOW)).percent()), "{seen:?}");

        let nothing = [
            // Shedding, starting and failing are no pace.
            (("429 Too Many Requests", JSON), Some(EXPECTED)),
            (("503 Service Unavailable", JSON), Some(EXPECTED)),
            (("500 Internal Server Error", JSON), Some(EXPECTED)),
            (("400 Bad Request", JSON), Some(EXPECTED)),
            (("202 Accepted", JSON), Some(EXPECTED)),
            // Events come as fast as their reader reads.
            (("200 OK", "text/event-stream"), Some(EXPECTED)),
            // Nobody knows what to expect, because a replica must start.
            (("200 OK", JSON), None),
        ];
        for (answer, expected) in nothing {
            assert_eq!(after_ten(answer, embeddings, expected).await.answers(), 0, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn generation_that_ends_early_is_not_fast() {
        let long = Some(Millis(1_000_000));
        let json = ("200 OK", "application/json");
        let pace = |seen: Measured| seen.pace(UnixMs(NOW)).percent();
        assert_eq!(pace(after_ten(json, Operation::ChatCompletions, long).await), 100);
        assert!(pace(after_ten(json, Operation::Embeddings, long).await) < 100);
    }

    /// Takes every connection and never answers.
    async fn silent() -> std::sync::Arc<Backend> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        described(&url)
    }

    /// A client that waits for a moment only used to close a backend to everybody.
    #[tokio::test]
    async fn a_backend_is_blamed_for_time_that_it_had() {
        let second = Some(Millis(1_000));
        let cases = [
            // What a try waits by the clock, what was expected, and whether the backend is to blame.
            (Millis(500), second, false),
            (Millis(1_900), Some(Millis(1)), false),
            (Millis(2_100), Some(Millis(1)), true),
            (Millis(7_900), second, false),
            (Millis(8_100), second, true),
            // A replica that starts takes its time.
            (Millis(60_000), None, false),
            (Millis(130_000), None, true),
        ];
        let (found, client) = (silent().await, client().unwrap());
        for (waits, expected, is_blamed) in cases {
            let metrics = Metrics::default();
            let (counts, clock) = (metrics.backend(&found.name), AtomicU64::new(NOW));
            for _ in 0..10 {
                let Some(under_way) = counts.begin(UnixMs(NOW)) else { break };
                let within = Duration::from_millis(2);
                let tried = Try { within, expected, ..try_at(&found) };
                let now = || UnixMs(clock.fetch_add(waits.0, Ordering::Relaxed));
                let outcome = forward(&client, tried, under_way, now).await;
                assert!(matches!(outcome, Outcome::Failed(Failure::TimedOut)));
            }
            let is_closed = counts.observed(UnixMs(NOW)).breaker == breaker::State::Closed;
            assert_eq!(is_closed, !is_blamed, "{waits:?} {expected:?}");
        }
    }

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
