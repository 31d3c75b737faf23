//! The service on a socket: `http://127.0.0.1:{port}/devstoreaccount1/{queue}`, as emulators
//! address accounts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clock::Clock;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, DATE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Request, Response, StatusCode};

use super::auth::{self, Credential, Denied, Signed};
use super::fault::Fault;
use super::operation::{Asked, Operation, Reply};
use super::store::Store;
use super::{date, xml};
use crate::loopback::{self, Body};

/// A text of 64 KiB in references such as `&#xD;` is six times as long; the rest is for the
/// elements around it.
const BODY_BYTES_MAX: usize = 8 * super::store::MESSAGE_BYTES_MAX;
/// Shown to clients that name no version.
const API_VERSION: &str = "2025-11-05";

/// A running stand-in. Dropping it stops it without waiting.
pub struct Server {
    server: loopback::Server,
}

struct Account {
    store: Mutex<Store>,
    clock: Clock,
    credential: Credential,
    endpoint: String,
    requests: AtomicU64,
}

impl Server {
    /// Serves an empty account on a listener, on the current tokio runtime.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn start(listener: std::net::TcpListener, clock: Clock) -> std::io::Result<Server> {
        let account = Arc::new(Account {
            store: Mutex::new(Store::new(getrandom::u64().map_err(std::io::Error::other)?)),
            clock,
            credential: Credential::development(),
            endpoint: format!("http://{}/{}", listener.local_addr()?, auth::DEVELOPMENT_ACCOUNT),
            requests: AtomicU64::new(0),
        });
        let answer = move |request| {
            let account = account.clone();
            async move { account.answer(request).await }
        };
        Ok(Server { server: loopback::Server::start(listener, answer)? })
    }

    /// The address of the account.
    pub fn url(&self) -> String {
        format!("{}/{}", self.server.url(), auth::DEVELOPMENT_ACCOUNT)
    }

    /// What clients are pointed at it with. The key is the emulators' well-known one.
    pub fn connection_string(&self) -> String {
        format!(
            "DefaultEndpointsProtocol=http;AccountName={};AccountKey={};QueueEndpoint={};",
            auth::DEVELOPMENT_ACCOUNT,
            auth::DEVELOPMENT_KEY,
            self.url()
        )
    }

    /// Stops it once running requests are answered.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

impl Account {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let now_ms = self.clock.now_ms();
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        // The service's request ids are GUIDs whose third group is 0003 for queues.
        let request_id = format!("{:08x}-0003-0000-0000-{:012x}", number & 0xffff_ffff, now_ms);
        let headers = request.headers().clone();
        let reply =
            self.reply(request, now_ms).await.unwrap_or_else(|fault| told(&fault, &request_id, now_ms));
        finish(reply, &headers, &request_id, now_ms)
    }

    async fn reply(&self, request: Request<Incoming>, now_ms: u64) -> Result<Reply, Fault> {
        let (parts, body) = request.into_parts();
        let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Err(Fault::RequestBodyTooLarge),
            Err(_) => return Err(Fault::InvalidXmlDocument),
        };
        let query = parts.uri.query().unwrap_or_default();
        let signed =
            Signed { method: parts.method.as_str(), headers: &parts.headers, path: parts.uri.path(), query };
        let operation = std::str::from_utf8(&body).map_err(|_| Fault::InvalidXmlDocument).and_then(|body| {
            Operation::read(&Asked {
                method: parts.method.as_str(),
                segments: self.segments(parts.uri.path())?,
                query: url::form_urlencoded::parse(query.as_bytes())
                    .map(|(name, value)| (name.to_lowercase(), value.into_owned()))
                    .collect(),
                headers: &parts.headers,
                body,
            })
        });
        // Whoever may not come in is not told what was wrong with the rest.
        let needs =
            operation.as_ref().map_or(auth::Needs { resource: 's', permissions: "r" }, Operation::needs);
        self.credential.check(&signed, needs, now_ms).map_err(|denied| match denied {
            Denied::Authentication => Fault::AuthenticationFailed,
            Denied::Permission => Fault::AuthorizationPermissionMismatch,
        })?;
        // A panic while the lock was held would be a bug of the store; its indexes are checked
        // by properties, so going on with them is better than refusing everything.
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        operation?.run(&mut store, now_ms, &self.endpoint)
    }

    /// The decoded segments of a path after the account's name; a closing slash counts for nothing.
    fn segments(&self, path: &str) -> Result<Vec<String>, Fault> {
        let mut segments = path.split('/').skip(1).map(decode);
        if segments.next() != Some(Some(self.credential.account.clone())) {
            return Err(Fault::ResourceNotFound);
        }
        let mut segments = segments.collect::<Option<Vec<_>>>().ok_or(Fault::ResourceNotFound)?;
        segments.pop_if(|last| last.is_empty());
        Ok(segments)
    }
}

fn decode(segment: &str) -> Option<String> {
    // In a path a plus is a plus.
    let pair = format!("s={}", segment.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
}

fn told(fault: &Fault, request_id: &str, now_ms: u64) -> Reply {
    let told = fault.told();
    let message = format!("{}\nRequestId:{request_id}\nTime:{}", told.message, date::iso(now_ms));
    Reply {
        status: told.status,
        headers: vec![("x-ms-error-code".to_owned(), told.code.to_owned())],
        body: Some(xml::error(told.code, &message, &told.details)),
    }
}

/// Adds the headers that every answer has.
fn finish(reply: Reply, asked: &HeaderMap, request_id: &str, now_ms: u64) -> Response<Body> {
    let has_body = reply.body.is_some();
    let mut response = Response::new(loopback::full(reply.body.unwrap_or_default()));
    *response.status_mut() = StatusCode::from_u16(reply.status).expect("statuses are constants here");
    let headers = response.headers_mut();
    let mut set = |name: &str, value: &str| {
        // A value that came in as a header can go out as one.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    };
    reply.headers.iter().for_each(|(name, value)| set(name, value));
    if has_body {
        set(CONTENT_TYPE.as_str(), "application/xml");
    }
    set(DATE.as_str(), &date::rfc1123(now_ms));
    set("x-ms-request-id", request_id);
    let given = |name: &str| asked.get(name).and_then(|value| value.to_str().ok());
    set("x-ms-version", given("x-ms-version").unwrap_or(API_VERSION));
    if let Some(id) = given("x-ms-client-request-id") {
        set("x-ms-client-request-id", id);
    }
    response
}
