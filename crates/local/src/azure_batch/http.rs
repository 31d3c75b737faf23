//! Requests and answers: `http://127.0.0.1:{port}/pools?api-version=…`. First the trouble that was
//! asked for, then the signature, then the version, then the operation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clock::Clock;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request, Response, StatusCode};
use tokio::sync::Notify;

use super::account::Account;
use super::auth::{Credential, Signed};
use super::control::{self, Faults, Met};
use super::fault::{Code, Fault};
use super::files::Folder;
use super::list::Asked;
use super::operation::{Call, Content, Query, Reply, TaskFiles};
use super::processes::Site;
use super::version::Version;
use crate::loopback::{self, Body};
use crate::queue::date;

/// The service's bound for a collection of tasks, its largest body.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What requests and the conductor share.
pub(super) struct Shared {
    pub(super) account: Mutex<Account>,
    pub(super) clock: Clock,
    pub(super) credential: Credential,
    pub(super) url: String,
    pub(super) site: Arc<Site>,
    pub(super) faults: Faults,
    /// Told after every change.
    pub(super) changed: Notify,
    pub(super) requests: AtomicU64,
}

impl Shared {
    pub(super) fn account(&self) -> MutexGuard<'_, Account> {
        // A panic while the lock was held would be a bug of the account; its invariants are
        // checked by properties, so going on is better than refusing everything.
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass and changes the account.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Account, u64) -> T) -> T {
        let mut account = self.account();
        let now_ms = self.clock.now_ms();
        account.advance(now_ms);
        let changed = change(&mut account, now_ms);
        self.changed.notify_one();
        changed
    }

    /// Answers one request, whatever it is.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let now_ms = self.clock.now_ms();
        let request_id = format!("{:08x}-0000-4000-8000-{:012x}", number & 0xffff_ffff, now_ms);
        let (parts, body) = request.into_parts();
        let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Fault::from(Code::RequestBodyTooLarge)),
            Err(_) => Err(Fault::from(Code::InvalidRequestBody)),
        };
        if let (Some(path), Ok(body)) = (parts.uri.path().strip_prefix("/standin/"), &body) {
            let path: Vec<&str> = path.split('/').collect();
            let answer =
                |account: &mut Account, now_ms| control::answer(&path, body, account, &self.faults, now_ms);
            return self.change(answer);
        }
        let told = |fault: Fault| told(&fault, &request_id, now_ms, &self.url);
        let response = match self.faults.meet(now_ms) {
            Met::Nothing => self.reply(&parts, body).await.unwrap_or_else(told),
            Met::LostAnswer => {
                let _ = self.reply(&parts, body).await;
                told(Code::OperationTimedOut.into())
            }
            Met::Refused(code, retry_after_s) => {
                let mut response = told(code.into());
                if let Some(seconds) = retry_after_s {
                    response.headers_mut().insert(RETRY_AFTER, seconds.into());
                }
                response
            }
        };
        finish(response, &parts.headers, &request_id, now_ms)
    }

    async fn reply(&self, parts: &Parts, body: Result<Bytes, Fault>) -> Result<Response<Body>, Fault> {
        let (method, path) = (parts.method.as_str(), parts.uri.path());
        let query = parts.uri.query().unwrap_or_default();
        if !self.credential.lets_in(&Signed { method, headers: &parts.headers, path, query }) {
            return Err(Code::AuthenticationFailed.into());
        }
        let query = Query::read(query);
        let version = query.get("api-version").and_then(Version::read);
        let version = version.ok_or(Code::UnsupportedRequestVersion)?;
        let segments: Option<Vec<String>> = path.split('/').skip(1).map(decode).collect();
        let segments = segments.ok_or(Code::ResourceNotFound)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let body = body?;
        let reply = self.change(|account, now_ms| {
            let headers = &parts.headers;
            let base = &self.url;
            let call = Call {
                method,
                segments: &segments,
                query: &query,
                headers,
                body: &body,
                version,
                now_ms,
                base,
            };
            call.run(account)
        })?;
        match &reply.content {
            Content::Files(asked) => self.files(asked, parts, &query).await,
            _ => Ok(respond(reply)),
        }
    }

    async fn files(&self, asked: &TaskFiles, parts: &Parts, query: &Query) -> Result<Response<Body>, Fault> {
        let TaskFiles { place, job, task, path } = asked;
        let folder = Folder {
            path: self.site.task_folder(&place.pool, &place.node, job, task),
            url: format!("{}/jobs/{job}/tasks/{task}/files", self.url),
            clock: self.clock,
        };
        let Some(name) = path else {
            let recursive = query.get("recursive").is_some_and(|value| value.eq_ignore_ascii_case("true"));
            let next = |key: &str| format!("{}?{}", folder.url, query.after(key));
            let listed = folder.list(recursive, &Asked::read(query)?, next)?;
            return Ok(loopback::json(StatusCode::OK, &listed));
        };
        folder.read(name, parts.method.as_str(), &parts.headers).await
    }
}

fn decode(segment: &str) -> Option<String> {
    // In a path a plus is a plus.
    let pair = format!("s={}", segment.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
}

fn respond(reply: Reply) -> Response<Body> {
    let status = StatusCode::from_u16(reply.status).expect("statuses are constants here");
    let mut response = match reply.content {
        Content::Json(value) => loopback::json(status, &value),
        _ => Response::new(loopback::full("")),
    };
    *response.status_mut() = status;
    if let Some(stamp) = reply.stamp {
        set(response.headers_mut(), "etag", &format!("\"{}\"", stamp.etag()));
        set(response.headers_mut(), "last-modified", &date::rfc1123(stamp.modified_ms));
    }
    if let Some(location) = reply.location {
        set(response.headers_mut(), "location", &location);
        set(response.headers_mut(), "dataserviceid", &location);
    }
    response
}

fn told(fault: &Fault, request_id: &str, now_ms: u64, base: &str) -> Response<Body> {
    let mut body = fault.body(request_id, &date::iso(now_ms));
    body["odata.metadata"] =
        format!("{base}/$metadata#Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element").into();
    let status = StatusCode::from_u16(fault.status()).expect("statuses are constants here");
    loopback::json(status, &body)
}

/// Adds the headers that every answer has.
fn finish(mut response: Response<Body>, asked: &HeaderMap, request_id: &str, now_ms: u64) -> Response<Body> {
    let headers = response.headers_mut();
    if headers.contains_key("content-type") && !headers.contains_key("ocp-batch-file-url") {
        set(headers, "content-type", "application/json;odata=minimalmetadata");
    }
    set(headers, "dataserviceversion", "3.0");
    set(headers, "date", &date::rfc1123(now_ms));
    set(headers, "request-id", request_id);
    let given = |name: &str| asked.get(name).and_then(|value| value.to_str().ok());
    if let (Some(id), Some("true" | "True")) = (given("client-request-id"), given("return-client-request-id"))
    {
        set(headers, "client-request-id", id);
    }
    response
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    // A value that came in as a header can go out as one.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
