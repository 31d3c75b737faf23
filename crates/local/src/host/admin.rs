//! `/admin`: what tools and people ask the host itself.

use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::app::{Function, Trigger};
use super::http::Router;
use super::link::HOST_VERSION;
use super::reply;
use super::{queue, timer};
use crate::loopback::{Body, json as json_reply};

/// Answers `/admin/{…}`; `path` is what follows `admin`.
pub(super) fn answer(router: &Router, method: &Method, path: &[String], body: &Bytes) -> Response<Body> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match (method.as_str(), path.as_slice()) {
        (_, ["host", "ping"]) => ping(),
        ("GET", ["host", "status"]) => {
            json_reply(StatusCode::OK, &json!({ "id": "local", "state": "Running", "version": HOST_VERSION }))
        }
        ("GET", ["functions"]) => {
            let functions: Vec<Value> = router.app.functions.iter().map(described).collect();
            json_reply(StatusCode::OK, &Value::Array(functions))
        }
        ("GET", ["functions", name]) => match router.function(name) {
            Some(function) => json_reply(StatusCode::OK, &described(&function)),
            None => reply::status(StatusCode::NOT_FOUND),
        },
        ("POST", ["functions", name]) => fire(router, name, body),
        _ => reply::status(StatusCode::NOT_FOUND),
    }
}

/// What load balancers ask; nothing on the way may answer in its place.
fn ping() -> Response<Body> {
    let mut answer = reply::status(StatusCode::OK);
    answer.headers_mut().insert("cache-control", HeaderValue::from_static("no-store,no-cache"));
    answer.headers_mut().insert("pragma", HeaderValue::from_static("no-cache"));
    answer
}

fn described(function: &Function) -> Value {
    let kind = match function.trigger {
        Trigger::Http(_) => "httpTrigger",
        Trigger::Queue { .. } => "queueTrigger",
        Trigger::Timer { .. } => "timerTrigger",
    };
    json!({ "name": function.name, "config": { "bindings": [{ "type": kind, "direction": "in" }] } })
}

/// Starts a function by hand: 202 before it has run. `{}` is accepted and runs nothing.
fn fire(router: &Router, name: &str, body: &Bytes) -> Response<Body> {
    let Some(function) = router.function(name) else { return reply::status(StatusCode::NOT_FOUND) };
    let Ok(Value::Object(members)) = serde_json::from_slice::<Value>(body) else {
        return reply::status(StatusCode::BAD_REQUEST);
    };
    let input =
        members.into_iter().find(|(member, _)| member.eq_ignore_ascii_case("input")).map(|(_, value)| value);
    let text = match input {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(Value::Object(_) | Value::Array(_)) => return reply::status(StatusCode::BAD_REQUEST),
        Some(scalar) => Some(scalar.to_string()),
    };
    let envelope = match (&function.trigger, text) {
        (Trigger::Queue { .. }, Some(text)) => {
            queue::manual_envelope(&function, &text, router.clock.now_ms())
        }
        (Trigger::Timer { .. }, Some(text)) => {
            timer::manual_envelope(&function, &text, router.clock.now_ms())
        }
        (Trigger::Http(_), _) | (_, None) => return reply::status(StatusCode::ACCEPTED),
    };
    let invoker = router.invoker.clone();
    router.running.spawn(async move {
        invoker.invoke(&function, envelope).await;
    });
    reply::status(StatusCode::ACCEPTED)
}
