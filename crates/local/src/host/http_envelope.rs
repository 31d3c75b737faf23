//! HTTP functions that are not pure, or not forwarded: the request as an envelope, and the answer's
//! `Outputs.{name}` as the response.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::app::{Function, Http, Output};
use super::invocation::{Answer, Envelope, double_encoded};
use super::route::Values;
use super::target::Target;
use super::{identity, outputs, reply};
use crate::loopback::{Body, full};

/// What is posted for a request. A body without Content-Length is not seen.
pub(super) fn envelope(
    function: &Function,
    http: &Http,
    parts: &Parts,
    values: &Values,
    body: &Bytes,
) -> Envelope {
    let target = Target::of(&parts.uri);
    let host = parts.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let query = target.query_values();
    let pairs = |joined: bool| -> Map<String, Value> {
        let value = |values: &[String]| {
            if joined { values.join(",") } else { values.last().cloned().unwrap_or_default() }
        };
        query.iter().map(|(name, values)| (name.clone(), json!(value(values)))).collect()
    };
    let lists = |headers: &HeaderMap| -> Map<String, Value> {
        let all = |name: &HeaderName| headers.get_all(name).iter().map(text).collect::<Vec<_>>();
        headers.keys().map(|name| (name.to_string(), json!(all(name)))).collect()
    };
    let flat: Map<String, Value> = parts
        .headers
        .keys()
        .map(|name| {
            let all: Vec<String> = parts.headers.get_all(name).iter().map(text).collect();
            (name.to_string(), json!(all.join(",")))
        })
        .collect();
    let mut data = json!({
        "Url": target.url(host),
        "Method": parts.method.as_str(),
        "Query": pairs(true),
        "Headers": lists(&parts.headers),
        "Params": values.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Map<_, _>>(),
        "Identities": [anonymous()],
    });
    if !body.is_empty() {
        data["Body"] = json!(body_text(&parts.headers, body));
    }
    // Members of the body come first, the query and the route override them, and what the host
    // itself tells gives way to both.
    let mut metadata = body_members(body);
    for (name, values) in query.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("code")) {
        metadata.insert(name.clone(), double_encoded(&json!(values.last())));
    }
    for (name, value) in values.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        metadata.insert(name.clone(), double_encoded(&json!(value)));
    }
    for (name, value) in [("Query", Value::Object(pairs(false))), ("Headers", Value::Object(flat))] {
        metadata.entry(name).or_insert(value);
    }
    let sys_name = if metadata.contains_key("sys") { "$sys" } else { "sys" };
    metadata.insert(sys_name.into(), sys(&function.name));
    Envelope { data: Map::from_iter([(http.binding.clone(), data)]), metadata }
}

/// `Metadata.sys`.
pub(super) fn sys(function: &str) -> Value {
    json!({ "MethodName": function, "UtcNow": utc_now(), "RandGuid": identity::guid() })
}

fn utc_now() -> String {
    let now = i64::try_from(clock::Clock::REAL.now_ms()).expect("milliseconds fit 63 bits");
    jiff::Timestamp::from_millisecond(now).expect("a time of this age").to_string()
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn anonymous() -> Value {
    json!({
        "AuthenticationType": null, "IsAuthenticated": false, "Actor": null, "BootstrapContext": null, "Claims": [],
        "Label": null, "Name": null,
        "NameClaimType": "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",
        "RoleClaimType": "http://schemas.microsoft.com/ws/2008/06/identity/claims/role",
    })
}

/// Text, or base64 for octet streams and multipart.
fn body_text(headers: &HeaderMap, body: &Bytes) -> String {
    let kind =
        headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_lowercase();
    if kind.starts_with("application/octet-stream") || kind.starts_with("multipart/") {
        STANDARD.encode(body)
    } else {
        String::from_utf8_lossy(body).into_owned()
    }
}

/// Top-level members of a JSON object join the metadata; arrays and nulls do not.
fn body_members(body: &Bytes) -> Map<String, Value> {
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else { return Map::new() };
    let member = |(name, value): (String, Value)| match value {
        Value::Array(_) | Value::Null => None,
        Value::Object(_) => Some((name, value)),
        Value::Bool(flag) => Some((name, double_encoded(&json!(if flag { "True" } else { "False" })))),
        Value::Number(number) => Some((name, double_encoded(&json!(number.to_string())))),
        Value::String(_) => Some((name, double_encoded(&value))),
    };
    members.into_iter().filter_map(member).collect()
}

/// The response that an answer asks for; `None`: the invocation failed.
pub(super) fn response(function: &Function, answer: &Answer) -> Option<Response<Body>> {
    let name = function.outputs.iter().find_map(|output| match output {
        Output::Http { name } => Some(name.as_str()),
        Output::Queue { .. } => None,
    })?;
    if answer.outputs.is_none() && answer.return_value.is_none() {
        return Some(reply::status(StatusCode::NO_CONTENT));
    }
    match answer.output(function, name) {
        Some(Value::Object(res)) => Some(shaped(res)),
        Some(Value::String(text)) if name == "$return" => Some(plain(text.clone())),
        // A text that holds a JSON object works as that object.
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(res)) => Some(shaped(&res)),
            _ => None,
        },
        Some(_) => None,
        None if name == "$return" => Some(reply::status(StatusCode::NO_CONTENT)),
        None => match &answer.return_value {
            Some(Value::String(text)) => Some(plain(text.clone())),
            Some(value) => {
                Some(reply::text(StatusCode::OK, "application/json; charset=utf-8", value.to_string()))
            }
            None => Some(plain("{}".to_owned())),
        },
    }
}

fn plain(text: String) -> Response<Body> {
    reply::text(StatusCode::OK, "text/plain; charset=utf-8", text)
}

fn member<'a>(res: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    res.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn shaped(res: &Map<String, Value>) -> Response<Body> {
    let status = match member(res, "statusCode") {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    let status = status
        .and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok())
        .unwrap_or(StatusCode::OK);
    let body = match member(res, "body") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => if *flag { "True" } else { "False" }.to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        Some(value) => outputs::indented(value),
    };
    let mut response =
        Response::new(if status == StatusCode::NO_CONTENT { reply::empty() } else { full(body) });
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    match member(res, "headers") {
        None | Some(Value::Null) => {}
        Some(Value::Object(headers)) => {
            if set_headers(response.headers_mut(), headers).is_none() {
                return reply::failed();
            }
        }
        Some(_) => return reply::failed(),
    }
    response
}

/// Values must be scalars; of names that differ in case only the first counts.
fn set_headers(target: &mut HeaderMap, headers: &Map<String, Value>) -> Option<()> {
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in headers {
        let lower = name.to_lowercase();
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => if *flag { "True" } else { "False" }.to_owned(),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        if seen.contains(&lower) {
            continue;
        }
        let unmarked = lower == "content-type" && !value.to_lowercase().contains("charset");
        let value = if unmarked { format!("{value}; charset=utf-8") } else { value };
        // The length and the framing are the server's.
        if !matches!(lower.as_str(), "content-length" | "transfer-encoding") {
            let value = value.is_ascii().then(|| HeaderValue::from_str(&value).ok())??;
            target.insert(HeaderName::from_bytes(lower.as_bytes()).ok()?, value);
        }
        seen.push(lower);
    }
    Some(())
}
