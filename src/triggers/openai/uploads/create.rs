//! `POST /v1/uploads`: says what is to come, so that it is refused before it is sent.

use facts::VERSION;
use facts::upload::UploadMeta;
use serde_json::{Map, Value};
use wire::openai::ExpiresAfter;
use wire::whole;

use super::super::files::index::{FILE_BYTES_MAX, Refused as Content};
use super::super::files::{rules, store_failed};
use crate::act::uploads::{self, Refused, Seen};
use crate::app::App;
use crate::failure::{Failure, Kind};
use crate::http::{self, Request, Response};

/// A body holds a few names.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Longest `mime_type`.
const MIME_CHARS_MAX: usize = 255;
/// An upload ends within an hour: then there is room again.
const RETRY_AFTER_MS: u64 = 60_000;

/// Begins an upload.
///
/// # Errors
/// 400 that names the field, 413, 429 while too many are open.
pub async fn answer(app: &App, request: &mut Request, tenant: &str) -> Result<Response, Failure> {
    let wish = read(&request.body(BODY_BYTES_MAX).await?)?;
    let meta = UploadMeta { tenant: tenant.to_owned(), ..wish };
    let meta = uploads::begin(&app.store, &app.clock, meta).await.map_err(|refused| match refused {
        Refused::Store(error) => store_failed(&error),
        Refused::TooManyOpen | Refused::TooManyADay => {
            let code = "too_many_uploads";
            Failure::new(Kind::Overloaded, code, refused.to_string()).retry_after(RETRY_AFTER_MS)
        }
    })?;
    Ok(http::json(200, &super::shown(app, &Seen { meta, end: None })))
}

/// What a body asks for; of no tenant yet.
fn read(body: &[u8]) -> Result<UploadMeta, Failure> {
    let mut fields: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
        Failure::invalid("body", "invalid_json", format!("the body is no JSON object: {error}"))
    })?;
    let meta = UploadMeta {
        v: VERSION,
        upload: String::new(),
        tenant: String::new(),
        filename: text(&mut fields, "filename")?,
        purpose: text(&mut fields, "purpose")?,
        bytes: bytes(fields.remove("bytes"))?,
        created_ms: 0,
        expires_ms: 0,
        file_expires_after_s: expires_after(fields.remove("expires_after"))?,
    };
    let mime_type = text(&mut fields, "mime_type")?;
    if let Some(name) = fields.keys().next() {
        let message = format!("`{name:.64}` is no field of an upload; leave it out");
        return Err(Failure::invalid("body", "unknown_parameter", message).of(name.clone()));
    }
    rules::purpose(&meta.purpose)?;
    rules::filename("filename", &meta.filename)?;
    // Batches have lines of JSON, whatever their type is called: clients differ.
    let fits = (1..=MIME_CHARS_MAX).contains(&mime_type.chars().count());
    if !fits || mime_type.chars().any(char::is_control) {
        return Err(invalid("mime_type", "must be a media type, as `application/jsonl`"));
    }
    Ok(meta)
}

fn text(fields: &mut Map<String, Value>, name: &'static str) -> Result<String, Failure> {
    match fields.remove(name) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => Err(missing(name)),
        Some(_) => Err(invalid(name, "must be text")),
    }
}

fn bytes(given: Option<Value>) -> Result<u64, Failure> {
    let given = given.filter(|given| !given.is_null()).ok_or_else(|| missing("bytes"))?;
    match whole::read(given).ok() {
        None | Some(0) => Err(invalid("bytes", "must be a whole number of at least 1")),
        Some(bytes) if bytes > FILE_BYTES_MAX => Err(rules::refused(Content::TooLarge).of("bytes")),
        Some(bytes) => Ok(bytes),
    }
}

fn expires_after(given: Option<Value>) -> Result<Option<u64>, Failure> {
    let wanted = "must be `{\"anchor\": \"created_at\", \"seconds\": N}` with N from 3,600 to 2,592,000";
    let wrong = || invalid("expires_after", wanted);
    let Some(given) = given.filter(|given| !given.is_null()) else { return Ok(None) };
    let given: ExpiresAfter = serde_json::from_value(given).map_err(|_| wrong())?;
    let fits = given.anchor == "created_at" && rules::EXPIRES_AFTER_S.contains(&given.seconds);
    if fits { Ok(Some(given.seconds)) } else { Err(wrong()) }
}

fn missing(name: &'static str) -> Failure {
    Failure::invalid(name, "missing_required_parameter", format!("`{name}` is missing; add it to the body"))
}

fn invalid(name: &'static str, what: &str) -> Failure {
    Failure::invalid(name, "invalid_value", format!("`{name}` {what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({ "filename": "in.jsonl", "purpose": "batch", "bytes": 7, "mime_type": "application/jsonl" })
    }

    #[test]
    fn a_wish_is_what_was_sent() {
        let meta = read(good().to_string().as_bytes()).unwrap();
        assert_eq!((meta.filename.as_str(), meta.purpose.as_str(), meta.bytes), ("in.jsonl", "batch", 7));
        assert_eq!(meta.file_expires_after_s, None);
        let mut body = good();
        body["expires_after"] = json!({ "anchor": "created_at", "seconds": 3_600 });
        assert_eq!(read(body.to_string().as_bytes()).unwrap().file_expires_after_s, Some(3_600));
        body["bytes"] = json!(7.0);
        assert_eq!(read(body.to_string().as_bytes()).unwrap().bytes, 7);
    }

    #[test]
    fn wrong_wishes_are_refused_by_name() {
        let cases = [
            ("filename", json!(null), "missing_required_parameter"),
            ("filename", json!(""), "invalid_filename"),
            ("filename", json!("a\nb"), "invalid_filename"),
            ("filename", json!("x".repeat(256)), "invalid_filename"),
            ("purpose", json!("assistants"), "unsupported_purpose"),
            ("purpose", json!(7), "invalid_value"),
            ("bytes", json!(null), "missing_required_parameter"),
            ("bytes", json!(0), "invalid_value"),
            ("bytes", json!(-1), "invalid_value"),
            ("bytes", json!(1.5), "invalid_value"),
            ("bytes", json!("7.0"), "invalid_value"),
            ("bytes", json!(200_000_001), "file_too_large"),
            ("mime_type", json!(null), "missing_required_parameter"),
            ("mime_type", json!(""), "invalid_value"),
            ("expires_after", json!(3_600), "invalid_value"),
            ("expires_after", json!({ "anchor": "now", "seconds": 3_600 }), "invalid_value"),
            ("expires_after", json!({ "anchor": "created_at", "seconds": 3_599 }), "invalid_value"),
            ("expires_after", json!({ "anchor": "created_at", "seconds": 2_592_001 }), "invalid_value"),
            ("color", json!("red"), "unknown_parameter"),
        ];
        for (name, value, code) in cases {
            let mut body = good();
            body[name] = value;
            let failure = read(body.to_string().as_bytes()).unwrap_err();
            assert_eq!((failure.param.as_deref(), failure.code), (Some(name), code), "{body}");
        }
        for body in ["", "[]", "{", "7"] {
            assert_eq!(read(body.as_bytes()).unwrap_err().code, "invalid_json", "{body}");
        }
    }
}
