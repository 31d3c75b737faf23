//! Forwards a request to a replica, streaming both ways, and says honestly when it cannot.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;

use super::pool::{Lease, Pool, Refusal};
use crate::loopback::{self, Body, Server};

/// Lists the replicas; the one path that is not forwarded.
const REPLICAS_PAGE: &str = "/front/replicas";
/// A replica that died is back within about a second: its image needs no second pull.
const AFTER_DEATH: Duration = Duration::from_millis(500);
/// A cold start that outlived the hold has some seconds to go.
const AFTER_COLD: Duration = Duration::from_secs(2);

/// Headers that belong to one connection (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

type Upstream = Client<HttpConnector, Incoming>;

pub(super) fn serve(listener: std::net::TcpListener, pool: Arc<Pool>) -> std::io::Result<Server> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let upstream: Upstream = Client::builder(TokioExecutor::new()).build(connector);
    Server::start(listener, move |request| {
        let (pool, upstream) = (Arc::clone(&pool), upstream.clone());
        async move { answer(&pool, &upstream, request).await }
    })
}

async fn answer(pool: &Arc<Pool>, upstream: &Upstream, request: Request<Incoming>) -> Response<Body> {
    if request.uri().path() == REPLICAS_PAGE {
        return loopback::json(StatusCode::OK, &json!({"replicas": pool.replicas()}));
    }
    match pool.lease().await {
        Ok(lease) => forward(upstream, lease, request).await,
        Err(refusal) => refuse(refusal, pool),
    }
}

async fn forward(upstream: &Upstream, lease: Lease, request: Request<Incoming>) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    match format!("{}{path}", lease.url).parse::<Uri>() {
        Ok(uri) => head.uri = uri,
        Err(error) => return failure(StatusCode::BAD_REQUEST, "invalid_url", &error.to_string(), None),
    }
    head.version = Version::HTTP_11;
    head.headers.remove(header::HOST);
    strip(&mut head.headers);
    match upstream.request(Request::from_parts(head, body)).await {
        Ok(answer) => {
            let (mut head, body) = answer.into_parts();
            strip(&mut head.headers);
            head.version = Version::HTTP_11;
            Response::from_parts(head, Leased { body, _lease: lease }.map_err(Into::into).boxed_unsync())
        }
        Err(error) => {
            tracing::warn!(replica = lease.replica, %error, "a replica did not answer");
            let text = "the replica ended before it answered; send the request again";
            failure(StatusCode::BAD_GATEWAY, "replica_gone", text, Some(AFTER_DEATH))
        }
    }
}

fn strip(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

fn refuse(refusal: Refusal, pool: &Pool) -> Response<Body> {
    match refusal {
        Refusal::Full => failure(
            StatusCode::TOO_MANY_REQUESTS,
            "overloaded",
            "as many requests as allowed are waiting for a replica; send the request again later",
            Some(pool.pause()),
        ),
        Refusal::Busy => failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "no replica came free in time; send the request again",
            Some(pool.pause()),
        ),
        Refusal::Cold => {
            let cause =
                pool.last_failure().map(|why| format!(" (the last start failed: {why})")).unwrap_or_default();
            let text = format!("no replica is ready yet{cause}; send the request again");
            failure(StatusCode::SERVICE_UNAVAILABLE, "cold_start", &text, Some(AFTER_COLD))
        }
    }
}

fn failure(
    status: StatusCode,
    code: &'static str,
    message: &str,
    retry_after: Option<Duration>,
) -> Response<Body> {
    let kind = if status.is_client_error() { "invalid_request_error" } else { "server_error" };
    let error = json!({"message": message, "type": kind, "param": null, "code": code});
    let mut answer = loopback::json(status, &json!({"error": error}));
    if let Some(pause) = retry_after {
        let seconds = pause.as_secs().max(1);
        answer.headers_mut().insert("retry-after", HeaderValue::from(seconds));
        let millis = u64::try_from(pause.as_millis()).expect("the pauses are seconds");
        answer.headers_mut().insert("retry-after-ms", HeaderValue::from(millis));
        answer.headers_mut().insert("x-should-retry", HeaderValue::from_static("true"));
    }
    answer
}

/// An answer that holds its slot until its last byte, or until its reader goes away.
struct Leased {
    body: Incoming,
    _lease: Lease,
}

impl hyper::body::Body for Leased {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
