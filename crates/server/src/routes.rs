//! Path and method to handler, and what every answer carries: a request id and, once it is up, the
//! model's identity.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use warp::filters::BoxedFilter;
use warp::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue, RETRY_AFTER};
use warp::http::{Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Reply};
use wire::openai::{Model, ModelList};

use crate::app::App;
use crate::embeddings;
use crate::failure::Failure;
use crate::metrics::Route;

/// Largest body. 300,000 tokens of text are about 1.5 MB; JSON escapes may make it four times that.
pub const BODY_BYTES_MAX: usize = 8 << 20;
/// How much of a body that is too large is read before the answer.
const DISCARDED_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;
/// From the head to the body's last byte. 8 MiB in this time is 2 Mbit/s.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest request id of a client that we repeat.
const REQUEST_ID_MAX: usize = 128;
/// What a client waits when all [`App::requests`] are taken: about one small request's time.
const REQUESTS_RETRY: Duration = Duration::from_millis(250);

/// Everything that the server answers, also what it does not know.
pub fn routes(app: Arc<App>) -> BoxedFilter<(Response,)> {
    warp::method()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |method, path: FullPath, headers, body| {
            let app = app.clone();
            async move { handle(&app, &method, path.as_str(), &headers, body).await }
        })
        .boxed()
}

async fn handle<B: Buf>(
    app: &Arc<App>,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Response {
    let started = Instant::now();
    let (route, answer) = dispatch(app, method, path, headers, body).await;
    let mut response = answer.unwrap_or_else(refuse);
    let fields = response.headers_mut();
    fields.insert("x-request-id", request_id(headers));
    if let Some(loaded) = app.loaded() {
        // A name that cannot stand in a header goes without.
        HeaderValue::from_str(&loaded.identity).into_iter().for_each(|value| {
            fields.insert("switchyard-model", value);
        });
    }
    // Who scales replicas to zero cannot ask each for its metrics without waking it.
    if let (Route::Embeddings, Some(percent)) = (route, engine::gpu::utilization_percent()) {
        response.headers_mut().insert("switchyard-gpu-utilization", percent.into());
    }
    app.metrics.answered(route, response.status().as_u16(), started.elapsed());
    response
}

async fn dispatch<B: Buf>(
    app: &Arc<App>,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> (Route, Result<Response, Failure>) {
    let read = matches!(*method, Method::GET | Method::HEAD);
    let get =
        |answer: Result<Response, Failure>| if read { answer } else { Err(Failure::Method("GET, HEAD")) };
    match path {
        "/v1/embeddings" if *method == Method::POST => (Route::Embeddings, embed(app, headers, body).await),
        "/v1/embeddings" => (Route::Embeddings, Err(Failure::Method("POST"))),
        "/v1/models" => (Route::Models, get(Ok(models(app)))),
        "/health" => (Route::Probe, get(Ok(json(StatusCode::OK, br#"{"status":"ok"}"#.to_vec())))),
        "/ready" => (Route::Probe, get(ready(app))),
        "/metrics" => (Route::Metrics, get(Ok(metrics(app)))),
        _ => match path.strip_prefix("/v1/models/") {
            Some(id) => (Route::Models, get(model(app, id))),
            None => (Route::Unknown, Err(Failure::UnknownPath(path.chars().take(100).collect()))),
        },
    }
}

async fn embed<B: Buf>(
    app: &Arc<App>,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Response, Failure> {
    let _permit = app.requests.try_acquire().map_err(|_| Failure::Overloaded(REQUESTS_RETRY))?;
    let body = collect(headers, body).await?;
    Ok(json(StatusCode::OK, embeddings::embed(app, body).await?))
}

/// The whole body, counted as it comes: a chunked one has no length to trust.
///
/// What is too large is read on and thrown away for a while: a client that is still writing when
/// the connection closes sees a reset and never the answer.
async fn collect<B: Buf>(
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Bytes, Failure> {
    let told = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let asks_first = headers.contains_key(EXPECT);
    if told.is_some_and(|told| told > DISCARDED_BYTES_MAX || (asks_first && told > BODY_BYTES_MAX)) {
        return Err(Failure::TooLarge(BODY_BYTES_MAX));
    }
    let whole = async {
        let mut body = pin!(body);
        let mut bytes = Vec::new();
        let mut count = 0;
        while let Some(part) = body.next().await {
            let mut part = part.map_err(|_| Failure::Broken)?;
            count += part.remaining();
            if count > DISCARDED_BYTES_MAX {
                break;
            }
            if count > BODY_BYTES_MAX {
                bytes = Vec::new();
                continue;
            }
            while part.has_remaining() {
                bytes.extend_from_slice(part.chunk());
                part.advance(part.chunk().len());
            }
        }
        if count > BODY_BYTES_MAX { Err(Failure::TooLarge(BODY_BYTES_MAX)) } else { Ok(Bytes::from(bytes)) }
    };
    tokio::time::timeout(BODY_TIME_MAX, whole).await.unwrap_or(Err(Failure::TooSlow(BODY_TIME_MAX)))
}

fn described(app: &App, id: &str) -> Model {
    Model {
        id: id.to_owned(),
        object: "model".into(),
        created: app.created,
        owned_by: "switchyard".to_owned(),
        switchyard: None,
    }
}

fn models(app: &App) -> Response {
    let data = app.names.iter().map(|name| described(app, name)).collect();
    to_json(StatusCode::OK, &ModelList { object: "list".into(), data })
}

fn model(app: &App, encoded: &str) -> Result<Response, Failure> {
    let id = percent_decoded(encoded);
    match app.serves(&id) {
        true => Ok(to_json(StatusCode::OK, &described(app, &id))),
        false => Err(app.unknown_model(&id)),
    }
}

fn ready(app: &App) -> Result<Response, Failure> {
    let loaded = app.ready()?;
    Ok(to_json(StatusCode::OK, &serde_json::json!({ "status": "ready", "model": loaded.identity })))
}

fn metrics(app: &App) -> Response {
    let text = app.metrics.text(app.loaded().map(|loaded| loaded.engine.load()));
    let mut response = text.into_response();
    let openmetrics = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, openmetrics);
    response
}

fn refuse(failure: Failure) -> Response {
    let mut response = to_json(failure.status(), &failure.body());
    let fields = response.headers_mut();
    if let Failure::Method(allowed) = failure {
        fields.insert(ALLOW, HeaderValue::from_static(allowed));
    }
    if let Some(after) = failure.retry_after() {
        let milliseconds = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        fields.insert("retry-after-ms", milliseconds.into());
        // Whole seconds for clients that know no better; at least one, as 0 means at once.
        fields.insert(RETRY_AFTER, milliseconds.div_ceil(1000).max(1).into());
    }
    response
}

fn to_json(status: StatusCode, body: &impl serde::Serialize) -> Response {
    json(status, serde_json::to_vec(body).expect("our own shapes are JSON"))
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = body.into_response();
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The client's own id where it is short and printable, else a random one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get("x-request-id");
    let fits = |id: &&HeaderValue| {
        (1..=REQUEST_ID_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    given.filter(fits).cloned().unwrap_or_else(|| {
        let mut random = [0; 16];
        // Without the system's random numbers the id is all zeros, and the request is still served.
        let _ = getrandom::fill(&mut random);
        let id = format!("req_{:032x}", u128::from_le_bytes(random));
        HeaderValue::try_from(id).expect("hexadecimal digits fit a header")
    })
}

/// `org%2Fname` to `org/name`. What is no escape stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let escaped =
            digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match escaped.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn ids_are_percent_decoded() {
        for (encoded, expected) in [
            ("minilm", "minilm"),
            ("org%2Fname", "org/name"),
            ("a%2", "a%2"),
            ("%zz%41", "%zzA"),
            ("%C3%A9", "é"),
        ] {
            assert_eq!(percent_decoded(encoded), expected);
        }
    }
}
