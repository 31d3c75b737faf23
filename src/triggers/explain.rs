//! Function `Explain`: the decision that a request would get, with every number, and nothing run.

use std::borrow::Cow;

use policy::request::Operation;
use policy::route;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use wire::catalogue::Permission;

use super::openai::{controls, infer, shape};
use crate::app::App;
use crate::auth;
use crate::failure::Failure;
use crate::http::{self, BODY_BYTES_MAX, HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use crate::observe;

/// Body of `POST /api/explain`, where the request to be explained is described rather than sent as it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question<'a> {
    /// `embeddings` (usual), `chat/completions` or `completions`.
    #[serde(default, borrow)]
    pub operation: Option<Cow<'a, str>>,
    /// The body that would be sent to `/v1/{operation}`.
    #[serde(borrow)]
    pub body: &'a RawValue,
    /// The routing headers that would be sent, as `{"Switchyard-Deadline": "2h"}`.
    #[serde(default)]
    pub headers: std::collections::BTreeMap<String, String>,
}

/// Answers with the decision as data.
///
/// # Errors
/// As the request itself would get them.
pub async fn answer(app: &App, mut request: Request) -> Result<Response, Failure> {
    if request.method != Method::POST {
        return Err(Failure::method("POST"));
    }
    let catalogue = app.catalogue().await?;
    auth::tenant(&catalogue, &request.headers, Permission::Read)?;
    let body = request.body(BODY_BYTES_MAX).await?;
    let question = Asked::read(&body, &request.headers)?;
    let now = app.now();
    let controls = controls::read(&question.headers, now)?;
    let operation = question.operation;
    let shape = shape::read(operation, question.body)?;
    let model = infer::model_for(&catalogue, &app.knobs.knobs().model_version, &shape, operation)?;
    shape.check(model)?;

    let wanted = infer::wanted(model, operation, &shape, &controls, now);
    let snapshot = observe::snapshot(&catalogue, Some(model), &app.metrics, &app.views, now);
    let knobs = app.knobs.now();
    let decision = route(&knobs.knobs, &wanted, &snapshot);

    Ok(http::json(
        200,
        &json!({
            "dry_run": true,
            "request": audit::Request(&wanted),
            "seen": audit::Seen(&snapshot),
            "decision": audit::Decision(&decision),
            "knobs": crate::knobs::shown(&knobs.knobs),
        }),
    ))
}

/// What is asked about: a request's own body sent here with its own headers, or a [`Question`].
struct Asked<'a> {
    operation: Operation,
    body: &'a [u8],
    headers: HeaderMap,
}

/// The members that tell the forms apart.
#[derive(Deserialize)]
struct Members {
    model: Option<serde::de::IgnoredAny>,
    body: Option<serde::de::IgnoredAny>,
    messages: Option<serde::de::IgnoredAny>,
    prompt: Option<serde::de::IgnoredAny>,
}

impl<'a> Asked<'a> {
    fn read(bytes: &'a [u8], own: &HeaderMap) -> Result<Asked<'a>, Failure> {
        let wrong = |error: serde_json::Error| {
            let message = format!(
                "send the body that you would send to /v1/…, or {{\"operation\", \"body\", \"headers\"}}: {error}"
            );
            Failure::invalid("body", "invalid_json", message)
        };
        let members: Members = serde_json::from_slice(bytes).map_err(wrong)?;
        // Only a request names a model at its top; what else it has is passed on, whatever it is called.
        if members.model.is_some() || members.body.is_none() {
            let operation = match (members.messages, members.prompt) {
                (Some(_), _) => Operation::ChatCompletions,
                (None, Some(_)) => Operation::Completions,
                (None, None) => Operation::Embeddings,
            };
            return Ok(Asked { operation, body: bytes, headers: own.clone() });
        }
        let question: Question<'a> = serde_json::from_slice(bytes).map_err(wrong)?;
        let headers = headers(&question)?;
        Ok(Asked {
            operation: operation(question.operation.as_deref())?,
            body: question.body.get().as_bytes(),
            headers,
        })
    }
}

fn operation(given: Option<&str>) -> Result<Operation, Failure> {
    match given.unwrap_or("embeddings").trim_start_matches("/v1/") {
        "embeddings" => Ok(Operation::Embeddings),
        "chat/completions" => Ok(Operation::ChatCompletions),
        "completions" => Ok(Operation::Completions),
        _ => {
            let message = "operation must be embeddings, chat/completions or completions";
            Err(Failure::invalid("operation", "invalid_value", message))
        }
    }
}

fn headers(question: &Question<'_>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in &question.headers {
        let wrong = || {
            let message = format!("`{}` is no header", name.escape_default());
            Failure::invalid("headers", "invalid_header", message)
        };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        headers.append(name, HeaderValue::from_str(value).map_err(|_| wrong())?);
    }
    Ok(headers)
}
