//! Requests and answers as triggers see them. [`server`] accepts them; [`path`] takes paths apart,
//! [`multipart`] uploads; [`range`] answers in part; [`enveloped`] is for hosts that do not pass requests on.

pub mod address;
pub mod enveloped;
pub mod multipart;
pub mod path;
pub mod range;
pub mod server;

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
pub use reqwest::Method;
pub use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use warp::Reply;

pub use crate::telemetry::Span;

use crate::failure::{Failure, Kind};

/// Body of an inference request, at most. Far above what a model takes (2,048 inputs of 8 KiB), far
/// below the host's own limit, so that the answer is ours.
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long a body may take to arrive. Uploads in pieces belong to a later lane.
const BODY_WITHIN: Duration = Duration::from_secs(60);
/// What is read and thrown away of a body that is refused.
const DISCARD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An answer.
pub type Response = warp::reply::Response;

/// A body as it arrives.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send + Sync>>;

/// A request.
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its path as it was sent, still percent-encoded.
    pub path: String,
    /// What follows the `?`.
    pub query: Option<String>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its name in answers, logs and towards backends: the client's, else ours.
    pub id: HeaderValue,
    /// When its head was read.
    pub began: Instant,
    /// Its span.
    pub span: Span,
    body: Body,
}

impl Request {
    /// A header as text; none when it is absent or not visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The trace that work for this request belongs to, as W3C `traceparent`: its own span's, else the
    /// client's, else a new one.
    pub fn trace(&self) -> String {
        let given = || self.header("traceparent").filter(|text| is_traceparent(text)).map(str::to_owned);
        self.span.traceparent().or_else(given).unwrap_or_else(|| {
            let (high, low) = (random(), random());
            format!("00-{high:016x}{low:016x}-{:016x}-01", random())
        })
    }

    /// Whether the Functions host passed it on by its reverse proxy, which writes `%2F` as `%252F`.
    pub fn proxied(&self) -> bool {
        self.headers.contains_key("x-ms-invocation-id")
    }

    /// Reads the whole body. Bodies may be chunked: bytes are counted, not announced.
    ///
    /// # Errors
    /// 413 above `most` bytes, 408 when it comes too slowly, 400 when it breaks off.
    pub async fn body(&mut self, most: usize) -> Result<Bytes, Failure> {
        let announced =
            self.header("content-length").and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
        if announced > most {
            self.discard().await;
            return Err(too_large(most));
        }
        let reading = self.read(most, announced);
        match tokio::time::timeout(BODY_WITHIN, reading).await {
            Ok(read) => read,
            Err(_) => {
                let message =
                    format!("the body did not arrive within {} s; send it again", BODY_WITHIN.as_secs());
                Err(Failure::new(Kind::TooSlow, "body_timeout", message))
            }
        }
    }

    async fn read(&mut self, most: usize, announced: usize) -> Result<Bytes, Failure> {
        let Some(first) = self.body.next().await else { return Ok(Bytes::new()) };
        let first = first.map_err(|_| broken_off())?;
        if first.len() == announced && announced > 0 {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(announced.max(first.len()));
        whole.extend_from_slice(&first);
        while let Some(part) = self.body.next().await {
            whole.extend_from_slice(&part.map_err(|_| broken_off())?);
            if whole.len() > most {
                self.discard().await;
                return Err(too_large(most));
            }
        }
        if whole.len() > most { Err(too_large(most)) } else { Ok(whole.freeze()) }
    }

    /// Reads what is left of a body that is refused, up to a bound, so that the client reads our answer
    /// and not a broken connection.
    pub async fn discard(&mut self) {
        let mut seen = 0;
        let reading = async {
            while let Some(Ok(part)) = self.body.next().await {
                seen += part.len();
                if seen > DISCARD_BYTES_MAX {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(BODY_WITHIN, reading).await;
    }
}

fn random() -> u64 {
    // An identifier of all zeros is not valid; anything else is.
    getrandom::u64().unwrap_or_default() | 1
}

/// Whether a text has the form of W3C trace context, version 00.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags] = parts[..] else { return false };
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    version == "00"
        && hex(trace, 32)
        && hex(span, 16)
        && hex(flags, 2)
        && trace.bytes().any(|byte| byte != b'0')
}

fn too_large(most: usize) -> Failure {
    let message = format!("the body has more than {most} bytes; send fewer or shorter inputs in one request");
    Failure::new(Kind::TooLarge, "body_too_large", message)
}

fn broken_off() -> Failure {
    Failure::new(Kind::Invalid, "body_broken_off", "the body broke off; send it again")
}

/// An answer of this status with this value as JSON.
pub fn json(status: u16, value: &impl Serialize) -> Response {
    let text = serde_json::to_vec(value).expect("shapes of answers are plain data, which always serializes");
    text_json(status, text)
}

/// An answer of this status with text that is JSON already.
pub fn text_json(status: u16, text: impl Into<Bytes>) -> Response {
    let mut response = bytes(status, text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer of this status with these bytes.
pub fn bytes(status: u16, body: Bytes) -> Response {
    let mut response = warp::http::Response::new(body).into_response();
    *response.status_mut() =
        warp::http::StatusCode::from_u16(status).expect("statuses written here are valid");
    response
}

/// A failure as an answer in the OpenAI shape.
pub fn failure(failure: &Failure) -> Response {
    let mut response = json(failure.kind.status(), &failure.body());
    for (name, value) in failure.headers() {
        set(&mut response, name, &value);
    }
    response
}

/// Sets a header; a value that no header can carry is left out.
pub fn set(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

/// A good answer whose body comes part by part. A part that fails breaks the answer off, so that no
/// client takes a piece for the whole. The parts are made only as fast as the client takes them.
pub fn stream<E>(kind: &'static str, parts: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Response
where
    E: std::error::Error + Send + Sync + 'static,
{
    let mut response = streamed(Box::pin(parts));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A body that is read while it is sent.
pub type Content<E> = Pin<Box<dyn Stream<Item = Result<Bytes, E>> + Send>>;

fn streamed<E>(content: Content<E>) -> Response
where
    E: std::error::Error + Send + Sync + 'static,
{
    warp::reply::stream(Shared(Mutex::new(content))).into_response()
}

/// A stream that may be shared between threads because nobody can: it is only reached through an
/// exclusive reference. The server demands this of bodies, the store's reads do not have it.
struct Shared<E>(Mutex<Content<E>>);

impl<E> Stream for Shared<E> {
    type Item = Result<Bytes, E>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.get_mut().expect("it is never locked, so no panic can poison it").as_mut().poll_next(context)
    }
}
