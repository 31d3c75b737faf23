//! Pure HTTP functions under `enableForwardingHttpRequest`: the request made anew, buffered both ways.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response};

use super::link::{HOST_VERSION, Link, whole};
use super::proxy::{ascii, joined};
use super::target::Target;
use super::{identity, reply};
use crate::loopback::{Body, full};

/// Sends of a request without a body, when the handler closes without an answer.
const SENDS_WITHOUT_BODY: usize = 4;

/// .NET keeps these apart from the others and forwards only the first two.
const CONTENT_HEADERS: [&str; 11] = [
    "content-type",
    "content-length",
    "content-encoding",
    "content-language",
    "content-location",
    "content-md5",
    "content-disposition",
    "content-range",
    "expires",
    "last-modified",
    "allow",
];

/// Sends the request on and gives the whole answer; any failure is a 500.
pub(super) async fn forward(link: &Link, parts: &Parts, body: Bytes) -> Response<Body> {
    if !ascii(&parts.headers) || link.ready().await.is_err() {
        return reply::failed();
    }
    let uri = format!("http://127.0.0.1:{}{}", link.port, Target::of(&parts.uri).forwarded());
    let Ok(uri) = uri.parse::<hyper::Uri>() else { return reply::failed() };
    let headers = outgoing_headers(&parts.headers, body.is_empty());
    let sends = if body.is_empty() { SENDS_WITHOUT_BODY } else { 1 };
    for _ in 0..sends {
        let mut request = Request::new(whole(body.clone()));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers.clone();
        match link.send(request).await {
            Ok(response) => return buffered(response).await,
            Err(error) if error.is_connect() => break,
            Err(error) => tracing::debug!(%error, "failed to forward a request"),
        }
    }
    reply::failed()
}

fn outgoing_headers(given: &HeaderMap, without_body: bool) -> HeaderMap {
    let type_passes = |name: &str| name == "content-type" && !without_body;
    let mut headers = joined(given, |name| {
        (type_passes(name) || !CONTENT_HEADERS.contains(&name)) && name != "transfer-encoding"
    });
    append(&mut headers, "x-azure-functions-invocationid", &identity::guid(), ", ");
    append(&mut headers, "x-azure-functions-hostversion", HOST_VERSION, ", ");
    append(&mut headers, "user-agent", &format!("Azure-Functions-Host/{HOST_VERSION}"), " ");
    headers
}

/// The client's own value stays in front.
fn append(headers: &mut HeaderMap, name: &'static str, value: &str, between: &str) {
    let whole = match headers.get(name).and_then(|known| known.to_str().ok()) {
        Some(known) => format!("{known}{between}{value}"),
        None => value.to_owned(),
    };
    headers.insert(name, HeaderValue::from_str(&whole).expect("ASCII was checked before"));
}

async fn buffered(response: Response<hyper::body::Incoming>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let Ok(body) = body.collect().await else { return reply::failed() };
    if !ascii(&head.headers) {
        return reply::status(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    }
    head.headers.remove("transfer-encoding");
    head.version = hyper::Version::HTTP_11;
    Response::from_parts(head, full(body.to_bytes()))
}
