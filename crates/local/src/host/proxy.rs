//! Pure HTTP functions under `enableProxyingHttpRequest`: the original request, streamed both ways.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};

use super::lent::Stream;
use super::link::{HOST_VERSION, Link, Outgoing, whole};
use super::target::Target;
use super::{identity, reply};
use crate::loopback::Body;

/// Pauses between the tries of a request that could not be sent (recorded: 1.85 s in all).
const RETRY_PAUSES_MS: [u64; 9] = [50, 100, 200, 250, 250, 250, 250, 250, 250];
/// Sends of one try of a request without a body, when the handler closes without an answer.
const SENDS_WITHOUT_BODY: usize = 4;
/// Without a byte for this long the request is over (YARP's `ActivityTimeout`).
const ACTIVITY_TIMEOUT: Duration = Duration::from_secs(240);

/// Headers that belong to a connection and not to the message.
pub(super) const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// A client's body, as far as it was read.
pub(super) enum RequestBody {
    None,
    /// With Content-Length: the host reads it whole first.
    Whole(Bytes),
    /// Chunked: it flows.
    Chunked(Stream),
    /// An earlier try may have sent it, and it is not sent twice.
    Spent,
}

/// Sends the request on and gives the answer; any failure before the answer is a 500.
pub(super) async fn proxy(link: &Link, parts: &Parts, mut body: RequestBody) -> Response<Body> {
    if !ascii(&parts.headers) || link.ready().await.is_err() {
        return reply::failed();
    }
    let headers = outgoing_headers(parts);
    for pause in RETRY_PAUSES_MS.map(Some).into_iter().chain([None]) {
        let sends = match (&body, &parts.method) {
            (RequestBody::None, &Method::POST | &Method::PUT | &Method::PATCH) => 1,
            (RequestBody::None, _) => SENDS_WITHOUT_BODY,
            _ => 1,
        };
        for _ in 0..sends {
            let Some(outgoing) = outgoing(&body) else { break };
            let mut request = Request::new(outgoing);
            *request.method_mut() = parts.method.clone();
            *request.headers_mut() = headers.clone();
            let uri = format!("http://127.0.0.1:{}{}", link.port, Target::of(&parts.uri).proxied());
            let Ok(uri) = uri.parse() else { return reply::failed() };
            *request.uri_mut() = uri;
            match tokio::time::timeout(ACTIVITY_TIMEOUT, link.send(request)).await {
                Ok(Ok(response)) => return incoming(response).await,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "failed to proxy a request");
                    if error.is_connect() {
                        break;
                    }
                    if !matches!(body, RequestBody::None) {
                        body = RequestBody::Spent;
                    }
                }
                Err(_) => return reply::failed(),
            }
        }
        if let Some(pause) = pause {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
    reply::failed()
}

/// The body of the next try.
fn outgoing(body: &RequestBody) -> Option<Outgoing> {
    match body {
        RequestBody::None => Some(whole(Bytes::new())),
        RequestBody::Whole(bytes) => Some(whole(bytes.clone())),
        RequestBody::Chunked(stream) => stream.lend(),
        RequestBody::Spent => None,
    }
}

fn outgoing_headers(parts: &Parts) -> HeaderMap {
    let host = parts.headers.get("host").cloned();
    let mut headers = joined(&parts.headers, |name| {
        !HOP_BY_HOP.contains(&name) && name != "host" && name != "content-length"
    });
    let id = HeaderValue::from_str(&identity::guid()).expect("a GUID is ASCII");
    headers.insert("x-azure-functions-invocationid", id.clone());
    headers.insert("x-ms-invocation-id", id);
    headers.insert("x-azure-functions-hostversion", HeaderValue::from_static(HOST_VERSION));
    headers.insert("x-forwarded-for", HeaderValue::from_static("127.0.0.1"));
    headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
    if let Some(host) = host {
        headers.insert("x-forwarded-host", host);
    }
    headers
}

/// The headers that pass, repeated ones joined by commas.
pub(super) fn joined(headers: &HeaderMap, passes: impl Fn(&str) -> bool) -> HeaderMap {
    let mut found = HeaderMap::new();
    for name in headers.keys().filter(|name| passes(name.as_str())) {
        let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(value) = HeaderValue::from_bytes(&values.join(&b", "[..])) {
            found.insert(name.clone(), value);
        }
    }
    found
}

/// The real host answers 500 to a header value that is not ASCII.
pub(super) fn ascii(headers: &HeaderMap) -> bool {
    headers.values().all(|value| value.as_bytes().is_ascii())
}

/// The handler's answer for the client. Headers are held until the first byte of the body.
async fn incoming(response: Response<Incoming>) -> Response<Body> {
    let (mut head, mut body) = response.into_parts();
    if !ascii(&head.headers) {
        return reply::failed();
    }
    for name in HOP_BY_HOP {
        head.headers.remove(HeaderName::from_static(name));
    }
    head.version = Version::HTTP_11;
    let first = match tokio::time::timeout(ACTIVITY_TIMEOUT, body.frame()).await {
        Ok(Some(Ok(frame))) => Some(frame),
        Ok(None) => None,
        // It died after its head and before its body: the client saw nothing yet, and sees a break.
        Ok(Some(Err(error))) => return reply::broken(head, error),
        Err(_) => return reply::failed(),
    };
    let Some(first) = first else {
        return Response::from_parts(head, reply::empty());
    };
    // Trailers are lost on the way.
    let rest = stream::unfold(body, |mut body| async {
        match tokio::time::timeout(ACTIVITY_TIMEOUT, body.frame()).await {
            Ok(Some(Ok(frame))) => Some((Ok(frame), body)),
            Ok(Some(Err(error))) => {
                // Pausing once lets the server send what it has before the connection breaks.
                tokio::task::yield_now().await;
                Some((Err(error.into()), body))
            }
            Ok(None) => None,
            Err(late) => Some((Err(late.into()), body)),
        }
    });
    let frames = stream::iter([Ok(first)]).chain(rest).filter(|frame| {
        let passes = frame.as_ref().map_or(true, Frame::is_data);
        std::future::ready(passes)
    });
    Response::from_parts(head, StreamBody::new(frames).boxed_unsync())
}

/// Whether the client asks for a WebSocket, which is out of this stand-in's reach. Other protocols
/// (`h2c`, which some clients offer with every request) are no more than a hint, and are not passed on.
pub(super) fn wants_upgrade(parts: &Parts) -> bool {
    let upgrade = parts.headers.get("upgrade");
    upgrade.is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// What a request's method and headers say of its body.
pub(super) fn is_chunked(parts: &Parts) -> bool {
    parts.headers.contains_key("transfer-encoding")
}

/// The status of an answer to a protocol switch.
pub(super) const NO_UPGRADE: StatusCode = StatusCode::NOT_IMPLEMENTED;
