//! Requests to the vault, and the bodies that the service writes.

use std::collections::HashMap;
use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::secrets::Version;
use super::{Script, Shared};
use crate::loopback::{self, Body};

/// A secret's value, at most; its JSON is little more.
const VALUE_BYTES_MAX: usize = 25 * 1024;
const BODY_BYTES_MAX: usize = 4 * VALUE_BYTES_MAX;
/// Secrets on a page of a listing: the service's own default and most.
const PAGE_MAX: usize = 25;
/// Any directory will do: the token is made for no one.
const CHALLENGE: &str = r#"Bearer authorization="https://login.microsoftonline.com/00000000-0000-0000-0000-000000000001", resource="https://vault.azure.net""#;

/// Answers requests.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) url: String,
    pub(super) shared: Arc<Shared>,
}

type Refusal = (StatusCode, &'static str, String);

impl Desk {
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let bearer = format!("Bearer {}", self.shared.token);
        let is_let_in = request.headers().get(AUTHORIZATION).is_some_and(|value| value == bearer.as_str());
        if let Some(refusal) = self.admit(is_let_in, request.method()).await {
            return refusal;
        }
        let answered = self.serve(request).await;
        match answered {
            Ok(body) => loopback::json(StatusCode::OK, &body),
            Err(refusal) => refused(refusal),
        }
    }

    /// What is answered instead, by the challenge or the script.
    async fn admit(&self, is_let_in: bool, method: &Method) -> Option<Response<Body>> {
        let script = {
            let mut state = self.shared.lock();
            let counted = if is_let_in { &mut state.counts.let_in } else { &mut state.counts.challenged };
            *counted += 1;
            state.script
        };
        if script == Script::Hang {
            return std::future::pending().await;
        }
        if !is_let_in {
            let message = "AKV10000: Request is missing a Bearer or PoP token.".to_owned();
            let mut answer = refused((StatusCode::UNAUTHORIZED, "Unauthorized", message));
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
            return Some(answer);
        }
        let forbidden = || {
            let message = "Caller is not authorized to perform action on resource.".to_owned();
            refused((StatusCode::FORBIDDEN, "Forbidden", message))
        };
        match script {
            Script::Throttle(seconds) => {
                let message = "Request was not processed because too many requests were received.".to_owned();
                let mut answer = refused((StatusCode::TOO_MANY_REQUESTS, "Throttled", message));
                answer.headers_mut().insert(RETRY_AFTER, seconds.into());
                Some(answer)
            }
            Script::Forbid => Some(forbidden()),
            Script::ForbidWrites if method != Method::GET => Some(forbidden()),
            Script::Fail(status) => Some(refused((status, "InternalServerError", "Try later.".to_owned()))),
            Script::Serve | Script::ForbidWrites | Script::Hang => None,
        }
    }

    async fn serve(&self, request: Request<Incoming>) -> Result<Value, Refusal> {
        let query: HashMap<String, String> =
            url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        if !query.contains_key("api-version") {
            return Err(bad("api-version must be specified"));
        }
        let path = request.uri().path().trim_matches('/').to_owned();
        let segments: Vec<&str> = path.split('/').collect();
        let method = request.method().clone();
        let now = self.shared.clock.now_ms() / 1_000;
        match (&method, &segments[..]) {
            (&Method::GET, ["secrets"]) => self.list(&query),
            (&Method::GET, ["secrets", name, "versions"]) => self.list_versions(name),
            (&Method::GET, ["secrets", name, version @ ..]) if version.len() < 2 => {
                self.get(name, version.first().copied())
            }
            (&Method::PUT, ["secrets", name]) => {
                let body = read(request).await?;
                self.set(name, &body, now)
            }
            (&Method::PATCH, ["secrets", name, version @ ..]) if version.len() < 2 => {
                let body = read(request).await?;
                let is_enabled = body["attributes"]["enabled"].as_bool().unwrap_or(true);
                let switched =
                    self.shared.lock().secrets.switch(name, version.first().copied(), is_enabled, now);
                let version = switched.ok_or_else(|| missing(name))?;
                Ok(self.shown(name, &version))
            }
            _ => {
                let message =
                    "The Key Vault stand-in does not have this operation of the service.".to_owned();
                Err((StatusCode::NOT_IMPLEMENTED, "NotImplemented", message))
            }
        }
    }

    fn get(&self, name: &str, version: Option<&str>) -> Result<Value, Refusal> {
        let state = self.shared.lock();
        let found = state.secrets.find(name, version).ok_or_else(|| missing(name))?;
        if !found.is_enabled {
            let message = "Operation get is not allowed on a disabled secret.".to_owned();
            return Err((StatusCode::FORBIDDEN, "Forbidden", message));
        }
        let mut shown = self.shown(name, found);
        shown["value"] = json!(found.value);
        Ok(shown)
    }

    fn set(&self, name: &str, body: &Value, now: u64) -> Result<Value, Refusal> {
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_name || !(1..=127).contains(&name.len()) {
            return Err(bad("The request URI contains an invalid name"));
        }
        let value = body["value"].as_str().ok_or_else(|| bad("Property  value is required"))?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(bad("The secret value is too long"));
        }
        let is_enabled = body["attributes"]["enabled"].as_bool().unwrap_or(true);
        let version = self.shared.lock().secrets.set(name, value, is_enabled, now);
        let mut shown = self.shown(name, &version);
        shown["value"] = json!(version.value);
        Ok(shown)
    }

    /// Without values and versions; by pages, from where `$skiptoken` says.
    fn list(&self, query: &HashMap<String, String>) -> Result<Value, Refusal> {
        let number = |name: &str, usual: usize| match query.get(name).map(|text| text.parse()) {
            None => Ok(usual),
            Some(Ok(number)) => Ok(number),
            Some(Err(_)) => Err(bad("a query parameter is no number")),
        };
        let (from, most) = (number("$skiptoken", 0)?, number("maxresults", PAGE_MAX)?.clamp(1, PAGE_MAX));
        let state = self.shared.lock();
        let mut page: Vec<Value> = Vec::new();
        for (name, version) in state.secrets.newest().skip(from).take(most) {
            let mut shown = self.shown(name, version);
            shown["id"] = json!(format!("{}/secrets/{name}", self.url));
            page.push(shown);
        }
        let next = from + page.len();
        let is_more = next < state.secrets.newest().count();
        let link = is_more.then(|| {
            let version = &query["api-version"];
            format!("{}/secrets?api-version={version}&$skiptoken={next}&maxresults={most}", self.url)
        });
        Ok(json!({ "value": page, "nextLink": link }))
    }

    fn list_versions(&self, name: &str) -> Result<Value, Refusal> {
        let state = self.shared.lock();
        let versions: Vec<Value> =
            state.secrets.versions(name).map(|version| self.shown(name, version)).collect();
        if versions.is_empty() {
            return Err(missing(name));
        }
        Ok(json!({ "value": versions, "nextLink": null }))
    }

    /// A version without its value.
    fn shown(&self, name: &str, version: &Version) -> Value {
        json!({
            "id": format!("{}/secrets/{name}/{}", self.url, version.id),
            "attributes": {
                "enabled": version.is_enabled,
                "created": version.created,
                "updated": version.updated,
                "recoveryLevel": "CustomizedRecoverable+Purgeable",
                "recoverableDays": 7,
            },
        })
    }
}

async fn read(request: Request<Incoming>) -> Result<Value, Refusal> {
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|_| bad("The body cannot be read"))?.to_bytes();
    serde_json::from_slice(&body).map_err(|_| bad("The body is not JSON"))
}

fn missing(name: &str) -> Refusal {
    let message = format!("A secret with (name/id) {name} was not found in this key vault.");
    (StatusCode::NOT_FOUND, "SecretNotFound", message)
}

fn bad(message: &str) -> Refusal {
    (StatusCode::BAD_REQUEST, "BadParameter", message.to_owned())
}

fn refused((status, code, message): Refusal) -> Response<Body> {
    loopback::json(status, &json!({ "error": { "code": code, "message": message } }))
}
