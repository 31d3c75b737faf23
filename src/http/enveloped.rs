//! The third way in which a host sends a request: as an envelope, where host.json asks for neither
//! proxying nor forwarding, or a function has more outputs than its answer. Nothing streams then, and only
//! text comes back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Map, json};
use wire::envelope::Envelope;

use super::{BODY_BYTES_MAX, HeaderName, HeaderValue, Method, Request, Response, header};
use crate::failure::{Failure, Kind};

/// The binding of every HTTP trigger, and that of its answer, in functions/*/function.json.
const REQUEST: &str = "req";
const ANSWER: &str = "res";
/// A body doubles at most in JSON text or base64; text that escapes more is refused by its length.
const ENVELOPE_BYTES_MAX: usize = 2 * BODY_BYTES_MAX;
/// An answer is held whole here, and again by the host; a larger one wants a host that streams.
const ANSWER_BYTES_MAX: usize = BODY_BYTES_MAX;

/// The request in an envelope.
///
/// # Errors
/// When it is none; the host then answers its client with a 500.
pub async fn unpack(mut posted: Request) -> Result<Request, Failure> {
    let body = posted.body(ENVELOPE_BYTES_MAX).await?;
    let wrong =
        |why: &str| Failure::invalid("body", "invalid_envelope", format!("no envelope of a request: {why}"));
    let envelope: Envelope = serde_json::from_slice(&body).map_err(|error| wrong(&error.to_string()))?;
    let inner = envelope.data.get(REQUEST).ok_or_else(|| wrong("it has no `req`"))?;
    let text = |name: &str| inner[name].as_str().ok_or_else(|| wrong(&format!("`req` has no `{name}`")));
    posted.method = Method::from_bytes(text("Method")?.as_bytes()).map_err(|_| wrong("`Method` is none"))?;
    let (path, query) = target(text("Url")?).ok_or_else(|| wrong("`Url` is none"))?;
    (posted.path, posted.query) = (path, query);
    posted.headers.clear();
    let named = inner["Headers"].as_object().into_iter().flatten();
    for (name, value) in named.flat_map(|(name, values)| {
        values.as_array().into_iter().flatten().filter_map(move |value| Some((name, value.as_str()?)))
    }) {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            continue;
        };
        // The body comes decoded, and by no proxy.
        let is_framing = name == header::CONTENT_LENGTH || name == header::TRANSFER_ENCODING;
        if !is_framing && name != "x-ms-invocation-id" {
            posted.headers.append(name, value);
        }
    }
    let body = body_of(inner["Body"].as_str().unwrap_or_default(), posted.header("content-type"));
    let body = body.ok_or_else(|| wrong("`Body` is no base64"))?;
    posted.body = Box::pin(futures_util::stream::iter([Ok(body)]));
    Ok(posted)
}

/// Path and query of a URL, byte for byte: a parser would take dot segments out before they are refused.
fn target(url: &str) -> Option<(String, Option<String>)> {
    let (_, rest) = url.split_once("://")?;
    let target = &rest[rest.find('/')?..];
    Some(match target.split_once('?') {
        Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
        None => (target.to_owned(), None),
    })
}

/// The host sends octet streams and forms as base64, everything else as text.
fn body_of(text: &str, kind: Option<&str>) -> Option<Bytes> {
    let kind = kind.unwrap_or_default().to_lowercase();
    if kind.starts_with("application/octet-stream") || kind.starts_with("multipart/") {
        STANDARD.decode(text).ok().map(Bytes::from)
    } else {
        Some(Bytes::from(text.to_owned()))
    }
}

/// An answer as what the host makes it of.
pub async fn pack(answer: Response) -> Response {
    let (parts, body) = answer.into_parts();
    let body = match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return unsendable("the answer broke off, or is longer than an envelope may be"),
    };
    let Ok(text) = std::str::from_utf8(&body) else { return unsendable("an envelope carries text alone") };
    let mut headers = Map::new();
    for (name, value) in &parts.headers {
        // A list of values fails the invocation, so of a repeated header the first counts.
        if let (false, Ok(value)) = (*name == header::CONTENT_LENGTH, value.to_str()) {
            headers.entry(name.as_str()).or_insert_with(|| json!(value));
        }
    }
    let answer = json!({ "statusCode": parts.status.as_u16(), "headers": headers, "body": text });
    super::json(200, &json!({ "Outputs": { ANSWER: answer } }))
}

fn unsendable(why: &str) -> Response {
    let remedy = "set enableProxyingHttpRequest in host.json, so that the host passes answers on as they are";
    super::failure(&Failure::new(Kind::Bug, "unsendable_in_envelope", format!("{why}; {remedy}")))
}

/// Whether an envelope at this path holds a request: the HTTP functions, by their folders' names.
pub fn is_at(path: &str) -> bool {
    matches!(
        path,
        "/Openai" | "/Jobs" | "/Explain" | "/Status" | "/Operate" | "/Alerts" | "/Health" | "/OpenApi"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn targets_are_taken_apart_and_nothing_else() {
        let cases = [
            ("http://localhost:7071/api/v1/models", Some(("/api/v1/models", None))),
            ("https://h/api/jobs?a=1&b=%2F?", Some(("/api/jobs", Some("a=1&b=%2F?")))),
            ("http://h/api/v1/../operate", Some(("/api/v1/../operate", None))),
            ("http://h", None),
            ("/api", None),
        ];
        for (url, expected) in cases {
            let expected = expected.map(|(path, query)| (path.to_owned(), query.map(str::to_owned)));
            assert_eq!(target(url), expected, "{url}");
        }
    }

    #[test]
    fn bodies_are_text_or_base64() {
        let cases = [
            ("{\"a\":1}", Some("application/json"), Some(&b"{\"a\":1}"[..])),
            ("AAE=", Some("multipart/form-data; boundary=x"), Some(&[0, 1][..])),
            ("AAE=", Some("application/octet-stream"), Some(&[0, 1][..])),
            ("no base64", Some("application/octet-stream"), None),
            ("", None, Some(&b""[..])),
        ];
        for (text, kind, expected) in cases {
            assert_eq!(body_of(text, kind).as_deref(), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn answers_keep_status_headers_and_text() {
        let failed = super::super::failure(&Failure::invalid("input", "empty", "no input"));
        let packed = pack(failed).await;
        let body = packed.into_body().collect().await.unwrap().to_bytes();
        let told: Value = serde_json::from_slice(&body).unwrap();
        let answer = &told["Outputs"]["res"];
        assert_eq!(answer["statusCode"], 400);
        assert_eq!(answer["headers"]["content-type"], "application/json");
        let text: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!(text["error"]["code"], "empty");
        let binary = pack(super::super::bytes(200, Bytes::from_static(&[0xff, 0xfe]))).await;
        assert_eq!(binary.status(), 500);
    }
}
