//! What `POST /v1/batches` asks for, field by field, so that what is wrong is named.

use std::collections::BTreeMap;

use policy::dispatch::Class;
use policy::request::Operation;
use policy::units::UnixMs;
use serde_json::{Map, Value};
use wire::openai::{BatchCreate, ExpiresAfter};

use super::super::controls;
use super::super::files::check::URLS;
use crate::act::realtime;
use crate::failure::Failure;

/// The one `completion_window` (the vendor's own).
const WINDOW: &str = "24h";
/// Pairs of `metadata`, and characters of a name and a value (the vendor's own limits).
const METADATA_MAX: (usize, usize, usize) = (16, 64, 512);
/// The pair of `metadata` that is a deadline, for clients that cannot send a header.
const DEADLINE: &str = "deadline";
/// And the pair that is a class.
const CLASS: &str = "class";

/// A wish that is right by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What was sent.
    pub create: BatchCreate,
    /// Its endpoint.
    pub operation: Operation,
    /// By `metadata`.
    pub deadline: Option<UnixMs>,
    /// By `metadata`.
    pub class: Option<Class>,
}

/// Reads the body of a request that arrived `now`.
///
/// # Errors
/// 400 that names the field and the remedy.
pub fn read(body: &[u8], now: UnixMs) -> Result<Wish, Failure> {
    let mut fields: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
        Failure::invalid("body", "invalid_json", format!("the body is no JSON object: {error}"))
    })?;
    let create = BatchCreate {
        input_file_id: text(&mut fields, "input_file_id")?,
        endpoint: text(&mut fields, "endpoint")?,
        completion_window: text(&mut fields, "completion_window")?,
        metadata: metadata(fields.remove("metadata"))?,
        output_expires_after: expires_after(fields.remove("output_expires_after"))?,
    };
    if let Some(name) = fields.keys().next() {
        let message = format!("`{name:.64}` is no field of a batch; leave it out");
        return Err(Failure::invalid("body", "unknown_parameter", message).of(name.clone()));
    }
    let operation = realtime::operation(&create.endpoint);
    let operation = operation.ok_or_else(|| invalid("endpoint", &format!("must be one of {URLS}")))?;
    if create.completion_window != WINDOW {
        let what = "must be `24h`; for less, give `metadata.deadline` or the header Switchyard-Deadline";
        return Err(invalid("completion_window", what));
    }
    let deadline = create.metadata.as_ref().and_then(|metadata| metadata.get(DEADLINE));
    let deadline = deadline.map(|value| controls::deadline("metadata.deadline", value, now)).transpose();
    let deadline = deadline.map_err(|failure| failure.of("metadata.deadline"))?;
    let class = create.metadata.as_ref().and_then(|metadata| metadata.get(CLASS));
    let class = class.map(|value| controls::class("metadata.class", value)).transpose()?;
    Ok(Wish { create, operation, deadline, class })
}

fn text(fields: &mut Map<String, Value>, name: &'static str) -> Result<String, Failure> {
    match fields.remove(name) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => {
            let message = format!("`{name}` is missing; add it to the body");
            Err(Failure::invalid(name, "missing_required_parameter", message))
        }
        Some(_) => Err(invalid(name, "must be text")),
    }
}

fn metadata(given: Option<Value>) -> Result<Option<BTreeMap<String, String>>, Failure> {
    let given = match given {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(given)) => given,
        Some(_) => return Err(invalid("metadata", "must be an object of texts")),
    };
    let (pairs_max, name_max, value_max) = METADATA_MAX;
    if given.len() > pairs_max {
        return Err(invalid("metadata", &format!("has more than {pairs_max} pairs")));
    }
    let pair = |(name, value): (String, Value)| match value {
        Value::String(value) if name.chars().count() <= name_max && value.chars().count() <= value_max => {
            Ok((name, value))
        }
        Value::String(_) => {
            let what = format!("has a name above {name_max} characters, or a value above {value_max}");
            Err(invalid("metadata", &what))
        }
        _ => Err(invalid("metadata", "must be an object of texts")),
    };
    given.into_iter().map(pair).collect::<Result<_, _>>().map(Some)
}

fn expires_after(given: Option<Value>) -> Result<Option<ExpiresAfter>, Failure> {
    let wanted = "must be `{\"anchor\": \"created_at\", \"seconds\": N}` with N from 3,600 to 2,592,000";
    let wrong = || invalid("output_expires_after", wanted);
    let Some(given) = given.filter(|given| !given.is_null()) else { return Ok(None) };
    let given: ExpiresAfter = serde_json::from_value(given).map_err(|_| wrong())?;
    let fits = given.anchor == "created_at" && (3_600..=2_592_000).contains(&given.seconds);
    if fits { Ok(Some(given)) } else { Err(wrong()) }
}

fn invalid(name: &'static str, what: &str) -> Failure {
    Failure::invalid(name, "invalid_value", format!("`{name}` {what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: UnixMs = UnixMs(1_793_534_400_000);

    fn good() -> Value {
        json!({ "input_file_id": "file-x", "endpoint": "/v1/embeddings", "completion_window": "24h" })
    }

    #[test]
    fn a_wish_is_what_was_sent() {
        let mut body = good();
        body["metadata"] = json!({ "team": "a", "deadline": "1h" });
        body["output_expires_after"] = json!({ "anchor": "created_at", "seconds": 86_400 });
        let wish = read(body.to_string().as_bytes(), NOW).unwrap();
        assert_eq!(serde_json::to_value(&wish.create).unwrap(), body);
        assert_eq!(wish.operation, Operation::Embeddings);
        assert_eq!(wish.class, None);
        assert_eq!(wish.deadline, Some(UnixMs(NOW.0 + 3_600_000)));
        body["output_expires_after"]["seconds"] = json!(86_400.0);
        assert_eq!(read(body.to_string().as_bytes(), NOW).unwrap(), wish);
        let nulls = json!({ "metadata": null, "output_expires_after": null });
        let mut body = good();
        body.as_object_mut().unwrap().extend(nulls.as_object().unwrap().clone());
        assert_eq!(read(body.to_string().as_bytes(), NOW).unwrap().create.metadata, None);
    }

    #[test]
    fn wrong_wishes_are_refused_by_name() {
        let many: Map<String, Value> = (0..17).map(|n| (n.to_string(), json!("x"))).collect();
        let cases = [
            ("input_file_id", json!(7), "input_file_id"),
            ("input_file_id", json!(null), "input_file_id"),
            ("endpoint", json!("/v1/moderations"), "endpoint"),
            ("completion_window", json!("1h"), "completion_window"),
            ("metadata", json!([]), "metadata"),
            ("metadata", json!({ "a": 1 }), "metadata"),
            ("metadata", json!({ "x".repeat(65): "" }), "metadata"),
            ("metadata", json!({ "a": "x".repeat(513) }), "metadata"),
            ("metadata", Value::Object(many), "metadata"),
            ("metadata", json!({ "deadline": "soon" }), "metadata.deadline"),
            ("metadata", json!({ "class": "soon" }), "metadata.class"),
            ("metadata", json!({ "deadline": "2020-01-01T00:00:00Z" }), "metadata.deadline"),
            ("output_expires_after", json!({ "anchor": "now", "seconds": 3_600 }), "output_expires_after"),
            ("output_expires_after", json!({ "anchor": "created_at", "seconds": 1 }), "output_expires_after"),
            (
                "output_expires_after",
                json!({ "anchor": "created_at", "seconds": 3_600.5 }),
                "output_expires_after",
            ),
            ("color", json!("red"), "color"),
        ];
        for (name, value, param) in cases {
            let mut body = good();
            body[name] = value;
            let failure = read(body.to_string().as_bytes(), NOW).unwrap_err();
            assert_eq!(failure.param.as_deref(), Some(param), "{body}");
            assert!(!failure.message.contains("header `"), "no header was sent: {}", failure.message);
        }
        for body in ["", "[]", "{", "7"] {
            assert_eq!(read(body.as_bytes(), NOW).unwrap_err().code, "invalid_json", "{body}");
        }
    }
}
