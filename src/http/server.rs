//! The server loop: warp's filter on a loop of our own, with what warp's lacks: a limit of
//! connections, a time limit for heads, one panic ends one request, and a drain with a bound.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Buf;
use futures_util::{FutureExt, StreamExt};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::path::FullPath;

use super::{Body, HeaderMap, HeaderValue, Method, Request, Response};
use crate::failure::{Failure, Kind};
use crate::telemetry::Telemetry;

/// Connections at once. Each costs about 20 KiB while it is idle.
const CONNECTIONS_MAX: usize = 2_048;
/// How long a head may take to arrive, also between requests of one connection. Above the idle
/// time of the platform's ingress (4 min), so that it closes first and no request is lost to a race.
const HEAD_WITHIN: Duration = Duration::from_secs(300);
/// How long requests under way may take to end once the process is asked to: below the 30 s that
/// Container Apps grants.
const DRAIN_WITHIN: Duration = Duration::from_secs(25);
/// A longer `x-request-id` is replaced by one of ours.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Serves until `stop` resolves, then drains.
pub async fn serve<A, F>(
    listener: TcpListener,
    telemetry: Arc<Telemetry>,
    answer: A,
    stop: impl Future<Output = ()>,
) where
    A: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let filter = filter(telemetry, answer);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepting = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            listener.accept().await.map(|(stream, _)| (stream, place))
        };
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accepting => accepted,
        };
        let Ok((stream, place)) = accepted else {
            // Out of file descriptors, or the peer is gone already: neither is an end.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let connection = connection(stream, filter.clone(), graceful.watcher());
        tokio::spawn(async move {
            connection.await;
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_WITHIN, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            within_s = DRAIN_WITHIN.as_secs(),
            "requests were still under way when the drain ended"
        );
    }
}

fn connection(
    stream: TcpStream,
    filter: BoxedFilter<(Response,)>,
    watcher: hyper_util::server::graceful::Watcher,
) -> impl Future<Output = ()> {
    // Small answers leave at once; failure only means they leave a little later.
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    builder.http2().timer(TokioTimer::new());
    let service = TowerToHyperService::new(warp::service(filter));
    async move {
        let served = watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
        if let Err(error) = served.await {
            tracing::debug!(%error, "connection ended");
        }
    }
}

fn filter<A, F>(telemetry: Arc<Telemetry>, answer: A) -> BoxedFilter<(Response,)>
where
    A: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let query = warp::query::raw().map(Some).or(warp::any().map(|| None)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .and_then(move |method, path: FullPath, query, headers: HeaderMap, body| {
            let id = request_id(&headers);
            let span = span(&telemetry, &method, &headers);
            let request = Request {
                method,
                path: path.as_str().to_owned(),
                query,
                headers,
                id,
                began: Instant::now(),
                span,
                body: boxed(body),
            };
            let answer = answer.clone();
            async move { Ok::<_, Infallible>(guarded(&answer, request).await) }
        })
        .boxed()
}

fn boxed(
    body: impl futures_util::Stream<Item = Result<impl Buf, warp::Error>> + Send + Sync + 'static,
) -> Body {
    Box::pin(body.map(|part| part.map(|mut part| part.copy_to_bytes(part.remaining()))))
}

fn span(telemetry: &Telemetry, method: &Method, headers: &HeaderMap) -> super::Span {
    let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
    telemetry.request(known(method), traceparent)
}

/// A method that HTTP names; a client may invent others.
fn known(method: &Method) -> &str {
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    if known.contains(method) || method == Method::OPTIONS { method.as_str() } else { "OTHER" }
}

/// Answers one request; a panic becomes a 500 of this request alone. Every answer is named and logged.
async fn guarded<A, F>(answer: &A, request: Request) -> Response
where
    A: Fn(Request) -> F,
    F: Future<Output = Response>,
{
    let (method, path) = (request.method.clone(), request.path.clone());
    let (id, began, span) = (request.id.clone(), request.began, request.span.clone());
    let answering = span.around(async { answer(request).await });
    let mut response = match AssertUnwindSafe(answering).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            tracing::error!(request_id = ?id, panic = panic_text(panic.as_ref()), "a request panicked");
            super::failure(&Failure::new(
                Kind::Bug,
                "internal_error",
                "an error of ours; try again, and report the x-request-id",
            ))
        }
    };
    span.status(response.status().as_u16());
    log(&method, &path, (&id, &span), began, &response);
    response.headers_mut().insert("x-request-id", id);
    response
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text")
}

fn log(
    method: &Method,
    path: &str,
    (id, span): (&HeaderValue, &super::Span),
    began: Instant,
    response: &Response,
) {
    // A level cannot be a value in tracing, so the line stands in a macro.
    macro_rules! access {
        ($level:expr) => {
            tracing::event!(
                target: "access",
                $level,
                method = method.as_str(),
                path,
                status = response.status().as_u16(),
                took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
                request_id = id.to_str().unwrap_or_default(),
                trace_id = span.traceparent().as_deref().and_then(|text| text.split('-').nth(1)),
                lane = response.headers().get("switchyard-lane").and_then(|value| value.to_str().ok()),
                reason = response.headers().get("switchyard-reason").and_then(|value| value.to_str().ok()),
            )
        };
    }
    // What went well stands in the audit file and the metrics; a line for each would cost a tenth of the request.
    match response.status().as_u16() {
        ..400 => access!(tracing::Level::DEBUG),
        400..500 => access!(tracing::Level::INFO),
        _ => access!(tracing::Level::WARN),
    }
}

/// The client's name of its request if it is fit for a header and a log line, else one of ours:
/// unique in this process by counting, and among processes by a random start.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static START: std::sync::LazyLock<u64> =
        std::sync::LazyLock::new(|| getrandom::u64().unwrap_or_default());
    let given = headers.get("x-request-id").filter(|given| {
        let fits = !given.is_empty() && given.len() <= REQUEST_ID_BYTES_MAX;
        fits && given.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    given.cloned().unwrap_or_else(|| {
        let ours = format!("req_{:016x}{:08x}", *START, NEXT.fetch_add(1, Relaxed));
        HeaderValue::try_from(ours).expect("hexadecimal digits fit a header")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_one_request_and_ids_are_kept_or_made() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = |request: Request| async move {
            assert!(request.path != "/panic", "as the test wants it");
            super::super::bytes(200, bytes::Bytes::new())
        };
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let stop = async { drop(ended.await) };
        let serving = tokio::spawn(serve(listener, Arc::default(), answer, stop));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let long = "x".repeat(REQUEST_ID_BYTES_MAX + 1);
        for (path, id, status) in [("/panic", "a", 500), ("/x", "b", 200), ("/x", long.as_str(), 200)] {
            let answer = client.get(format!("{url}{path}")).header("x-request-id", id).send().await.unwrap();
            assert_eq!(answer.status(), status);
            let named = answer.headers()["x-request-id"].to_str().unwrap();
            assert_eq!(named == id, id != long, "{named}");
        }
        drop(end);
        serving.await.unwrap();
    }
}
