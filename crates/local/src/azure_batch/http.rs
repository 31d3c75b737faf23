//! The service on a socket: `http://127.0.0.1:{port}/pools?api-version=…`, and the one task that
//! lets time pass and carries effects out.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clock::Clock;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Request, Response, StatusCode};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::account::{Account, Capacity, NodeRefusal, Pace};
use super::auth::{Credential, Signed};
use super::control::{self, Faults, Lost, Met, Throttle};
use super::fault::{Code, Fault};
use super::list::Asked;
use super::operation::{Call, Content, Query, Reply, TaskFiles};
use super::options::Options;
use super::processes::{Processes, Site};
use super::{body, files};
use crate::loopback::{self, Body};
use crate::queue::date;

/// The service's bound for a collection of tasks, its largest body.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// What the official clients of 2024 to 2026 send.
const API_VERSIONS: [&str; 4] = ["2024-02-01.19.0", "2024-07-01.20.0", "2025-06-01", "2026-10-01"];
/// How long the conductor sleeps when nothing is due; it is woken by every request.
const IDLE: Duration = Duration::from_secs(3600);

/// A running stand-in. Dropping it stops it and kills its processes without waiting.
pub struct Server {
    server: loopback::Server,
    shared: Arc<Shared>,
    stop: CancellationToken,
    conductor: AbortOnDropHandle<()>,
}

struct Shared {
    account: Mutex<Account>,
    clock: Clock,
    credential: Credential,
    key: String,
    url: String,
    site: Arc<Site>,
    faults: Faults,
    /// Told after every change.
    changed: Notify,
    requests: AtomicU64,
}

impl Server {
    /// Serves an account on a listener, on the current tokio runtime.
    ///
    /// # Errors
    /// When the listener or the folder cannot be used, the key is not base64, or a pool of the
    /// options would be refused by the service.
    pub fn start(listener: std::net::TcpListener, options: Options, clock: Clock) -> std::io::Result<Server> {
        let url = format!("http://{}", listener.local_addr()?);
        let invalid = |text: String| std::io::Error::new(std::io::ErrorKind::InvalidInput, text);
        let credential = Credential::new(&options.account, &options.key)
            .ok_or_else(|| invalid("the account's key is not base64".to_owned()))?;
        let mut account =
            Account::new(Pace::of(options.arrival, options.boot, options.restore), options.capacity);
        for pool in options.pools {
            let added = body::object(pool.to_string().as_bytes())
                .and_then(|pool| account.add_pool(pool, clock.now_ms()));
            added.map_err(|fault| invalid(format!("a pool of the options is refused: {fault:?}")))?;
        }
        std::fs::create_dir_all(&options.folder)?;
        let mut environment = options.environment;
        let scaled = clock.settings().into_iter().flatten();
        environment.extend(scaled.map(|(name, value)| (name.to_owned(), value)));
        let site = Arc::new(Site {
            folder: std::path::absolute(&options.folder)?,
            programs: options.programs,
            environment,
            account: options.account,
            url: url.clone(),
        });
        let shared = Arc::new(Shared {
            account: Mutex::new(account),
            clock,
            credential,
            key: options.key,
            url,
            site: site.clone(),
            faults: Faults::default(),
            changed: Notify::new(),
            requests: AtomicU64::new(0),
        });
        let answering = shared.clone();
        let server = loopback::Server::start(listener, move |request| {
            let shared = answering.clone();
            async move { shared.answer(request).await }
        })?;
        let stop = CancellationToken::new();
        let conductor = tokio::spawn(conduct(shared.clone(), Processes::new(site), stop.clone()));
        Ok(Server { server, shared, stop, conductor: AbortOnDropHandle::new(conductor) })
    }

    /// The address of the account, without a closing slash.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The account's name.
    pub fn account(&self) -> &str {
        &self.shared.credential.account
    }

    /// The account's key, base64.
    pub fn key(&self) -> &str {
        &self.shared.key
    }

    /// The folder of the nodes.
    pub fn folder(&self) -> &Path {
        &self.shared.site.folder
    }

    /// Takes a spot node away: kill -9 of everything on it, its disk gone, its tasks queued again.
    ///
    /// # Errors
    /// [`NodeRefusal`].
    pub fn evict(&self, pool: &str, node: &str) -> Result<(), NodeRefusal> {
        self.shared.change(|account, now_ms| account.evict(pool, node, now_ms))
    }

    /// The spot node of a pool that runs most tasks, the oldest of several.
    pub fn busiest_spot_node(&self, pool: &str) -> Option<String> {
        control::busiest_spot_node(&self.shared.account(), pool)
    }

    /// How many machines there are from now on. Those that pools hold stay.
    pub fn set_capacity(&self, capacity: Capacity) {
        self.shared.change(|account, _| account.set_capacity(capacity));
    }

    /// Refuses the next requests, as a busy service does.
    pub fn throttle(&self, throttle: Throttle) {
        self.shared.faults.set_throttle(throttle);
    }

    /// Carries the next requests out and answers 500.
    pub fn lose_answers(&self, lost: Lost) {
        self.shared.faults.set_lost(lost);
    }

    /// Answers every request 503 until [`Server::come_back`]. Tasks go on.
    pub fn go_down(&self) {
        self.shared.faults.set_down(true);
    }

    /// Ends [`Server::go_down`].
    pub fn come_back(&self) {
        self.shared.faults.set_down(false);
    }

    /// Stops it: running requests are answered, processes are killed and gone.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(panic) = self.conductor.await {
            tracing::error!(%panic, "the Azure Batch stand-in's conductor panicked");
        }
        self.server.stop().await;
    }
}

/// Lets time pass, carries effects out in their order, and tells the account how processes ended.
async fn conduct(shared: Arc<Shared>, mut processes: Processes, stop: CancellationToken) {
    loop {
        let (effects, due_ms) = {
            let mut account = shared.account();
            account.advance(shared.clock.now_ms());
            (account.take_effects(), account.due_ms())
        };
        for effect in effects {
            processes.carry_out(effect).await;
        }
        let wait = due_ms.map_or(IDLE, |due_ms| {
            let left_ms = due_ms.saturating_sub(shared.clock.now_ms());
            shared.clock.real(Duration::from_millis(left_ms)).min(IDLE)
        });
        tokio::select! {
            () = stop.cancelled() => break,
            (run, end) = processes.next_end() => shared.change(|account, now_ms| account.ended(run, end, now_ms)),
            () = shared.changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    processes.end().await;
}

impl Shared {
    fn account(&self) -> MutexGuard<'_, Account> {
        // A panic while the lock was held would be a bug of the account; its invariants are
        // checked by properties, so going on is better than refusing everything.
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Account, u64) -> T) -> T {
        let mut account = self.account();
        let now_ms = self.clock.now_ms();
        account.advance(now_ms);
        let changed = change(&mut account, now_ms);
        self.changed.notify_one();
        changed
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
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
        let met = self.faults.meet();
        let (fault, retry_after_s) = match met {
            Met::Down => (Some(Code::ServerBusy), None),
            Met::Throttle(throttle) if throttle.status == 429 => {
                (Some(Code::TooManyRequests), throttle.retry_after_s)
            }
            Met::Throttle(throttle) => (Some(Code::ServerBusy), throttle.retry_after_s),
            Met::LostAnswer | Met::Nothing => (None, None),
        };
        let answer = match fault {
            Some(code) => Err(code.into()),
            None => self.reply(&parts, body).await,
        };
        let answer = if met == Met::LostAnswer { Err(Code::OperationTimedOut.into()) } else { answer };
        let told = |fault: Fault| told(&fault, &request_id, now_ms, &self.url);
        let mut response = answer.unwrap_or_else(told);
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        finish(response, &parts.headers, &request_id, now_ms)
    }

    async fn reply(
        &self,
        parts: &hyper::http::request::Parts,
        body: Result<Bytes, Fault>,
    ) -> Result<Response<Body>, Fault> {
        let (method, path) = (parts.method.as_str(), parts.uri.path());
        let query = parts.uri.query().unwrap_or_default();
        if !self.credential.lets_in(&Signed { method, headers: &parts.headers, path, query }) {
            return Err(Code::AuthenticationFailed.into());
        }
        let query = Query::read(query);
        match query.get("api-version") {
            Some(version) if API_VERSIONS.contains(&version) => {}
            _ => return Err(Code::UnsupportedRequestVersion.into()),
        }
        let segments: Option<Vec<String>> = path.split('/').skip(1).map(decode).collect();
        let segments = segments.ok_or(Code::ResourceNotFound)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let body = body?;
        let reply = self.change(|account, now_ms| {
            let headers = &parts.headers;
            Call { method, segments: &segments, query: &query, headers, body: &body, now_ms, base: &self.url }
                .run(account)
        })?;
        match &reply.content {
            Content::Files(asked) => self.files(asked, (method, &parts.headers), &query, path).await,
            _ => Ok(respond(reply)),
        }
    }

    async fn files(
        &self,
        asked: &TaskFiles,
        request: (&str, &HeaderMap),
        query: &Query,
        path: &str,
    ) -> Result<Response<Body>, Fault> {
        let folder = self.site.task_folder(&asked.place.pool, &asked.place.node, &asked.job, &asked.task);
        let base = format!("{}/jobs/{}/tasks/{}/files", self.url, asked.job, asked.task);
        match &asked.path {
            Some(name) => files::read(&folder, name, request, &format!("{base}/{name}"), self.clock).await,
            None => {
                let recursive =
                    query.get("recursive").is_some_and(|value| value.eq_ignore_ascii_case("true"));
                let next = |key: &str| format!("{}{path}?{}", self.url, query.after(key));
                let listed =
                    files::list(&folder, recursive, &Asked::read(query)?, (&base, &next), self.clock)?;
                Ok(loopback::json(StatusCode::OK, &listed))
            }
        }
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
