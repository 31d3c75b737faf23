//! Answers that the host gives by itself.

use futures_util::stream;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::http::response::Parts;
use hyper::{Response, StatusCode};

use crate::loopback::{Body, full};

/// Nothing at all.
pub(super) fn empty() -> Body {
    Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync()
}

/// An empty answer of that status.
pub(super) fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}

/// What a client gets when an invocation fails: 500 without a body.
pub(super) fn failed() -> Response<Body> {
    status(StatusCode::INTERNAL_SERVER_ERROR)
}

/// An answer whose body breaks off at once.
pub(super) fn broken(head: Parts, error: hyper::Error) -> Response<Body> {
    // Pausing once lets the server send the head before the connection breaks.
    let frames = stream::once(async {
        tokio::task::yield_now().await;
        Err::<Frame<Bytes>, _>(error.into())
    });
    Response::from_parts(head, StreamBody::new(frames).boxed_unsync())
}

/// A page for a person.
pub(super) fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(kind));
    response
}
