//! What clients meet: routes, keys, limits, and the way of a request to the handler.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tokio_util::task::AbortOnDropHandle;
use tokio_util::task::task_tracker::{TaskTracker, TaskTrackerToken};

use super::app::{App, AuthLevel, Function, Http, Trigger};
use super::invocation::Invoker;
use super::keys::KeyRing;
use super::lent::Stream;
use super::proxy::{self, RequestBody};
use super::route::{Template, Values};
use super::target::Target;
use super::{admin, forward, http_envelope, reply};
use crate::loopback::Body;

/// The real host's own limit; `FUNCTIONS_REQUEST_BODY_SIZE_LIMIT` overrides it.
pub(super) const BODY_BYTES_MAX: u64 = 104_857_600;

/// Longer headers, all together, are refused (Kestrel's `MaxRequestHeadersTotalSize`).
const HEADER_BYTES_MAX: usize = 32 * 1_024;

/// Held while an invocation runs.
struct Watch {
    _running: TaskTrackerToken,
    _timer: Option<AbortOnDropHandle<()>>,
}

/// Everything a request needs.
pub(super) struct Router {
    pub(super) app: Arc<App>,
    pub(super) functions: Vec<Arc<Function>>,
    pub(super) invoker: Invoker,
    pub(super) keys: Option<KeyRing>,
    pub(super) clock: clock::Clock,
    pub(super) body_bytes_max: u64,
    pub(super) homepage: bool,
    /// Invocations that are under way; the host waits for them when it stops.
    pub(super) running: TaskTracker,
}

impl Router {
    /// The function of that name, as the host compares names.
    pub(super) fn function(&self, name: &str) -> Option<Arc<Function>> {
        self.functions.iter().find(|function| function.name.eq_ignore_ascii_case(name)).cloned()
    }

    /// Answers one request.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        if header_bytes(&parts) > HEADER_BYTES_MAX {
            return reply::status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        let target = Target::of(&parts.uri);
        let segments = target.segments();
        match segments.first().map(|first| first.to_lowercase()).as_deref() {
            None if target.path() == "/" => self.home(),
            Some("admin") => self.admin(&parts, body, &segments[1..]).await,
            _ => match self.route(&parts, &segments) {
                Some((function, http, values)) => self.invoke(function, &http, values, (parts, body)).await,
                None => reply::status(StatusCode::NOT_FOUND),
            },
        }
    }

    fn home(&self) -> Response<Body> {
        if self.homepage {
            let page = "<!doctype html><title>Functions host stand-in</title><p>Your functions app is up and running.</p>";
            reply::text(StatusCode::OK, "text/html", page)
        } else {
            reply::status(StatusCode::NO_CONTENT)
        }
    }

    async fn admin(&self, parts: &Parts, body: Incoming, path: &[String]) -> Response<Body> {
        let ping = path.first().is_some_and(|first| first == "host")
            && path.get(1).is_some_and(|next| next == "ping");
        if !ping && !self.passes(AuthLevel::Admin, "", parts) {
            let mut refused = reply::status(StatusCode::UNAUTHORIZED);
            refused.headers_mut().insert("www-authenticate", HeaderValue::from_static("Bearer"));
            return refused;
        }
        match read_whole(body, self.body_bytes_max).await {
            Some(body) => admin::answer(self, &parts.method, path, &body),
            None => reply::failed(),
        }
    }

    fn passes(&self, level: AuthLevel, function: &str, parts: &Parts) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.passes(level, function, parts))
    }

    /// The best function for a path: an undeclared method is not found rather than not allowed.
    fn route(&self, parts: &Parts, segments: &[String]) -> Option<(Arc<Function>, Http, Values)> {
        let candidates = self.functions.iter().filter_map(|function| {
            let Trigger::Http(http) = &function.trigger else { return None };
            let allowed = http
                .methods
                .as_ref()
                .is_none_or(|all| all.iter().any(|method| method == parts.method.as_str()));
            let template = Template::parse(&self.app.route_prefix, &http.route);
            let values = template.matches(segments).filter(|_| allowed)?;
            Some((template, (function.clone(), http.clone(), values)))
        });
        candidates.min_by(|(a, _), (b, _)| a.precedence(b)).map(|(_, found)| found)
    }

    async fn invoke(
        self: &Arc<Self>,
        function: Arc<Function>,
        http: &Http,
        values: Values,
        (parts, body): (Parts, Incoming),
    ) -> Response<Body> {
        if !self.passes(http.auth_level, &function.name, &parts) {
            return reply::status(StatusCode::UNAUTHORIZED);
        }
        let pure = function.is_pure_http();
        if pure && self.app.proxying {
            let watch = self.watch();
            let response = self.proxied(&parts, body).await;
            // The invocation lasts as long as its answer's body, so the body owns the watch.
            return response.map(|body| {
                let owning = move |frame| {
                    let _ = &watch;
                    frame
                };
                body.map_frame(owning).boxed_unsync()
            });
        }
        if pure && self.app.forwarding {
            return self.forwarded(parts, body).await;
        }
        let chunked = proxy::is_chunked(&parts);
        let body = if chunked { Some(Bytes::new()) } else { read_whole(body, self.body_bytes_max).await };
        let Some(body) = body else { return reply::failed() };
        let envelope = http_envelope::envelope(&function, http, &parts, &values, &body);
        let router = self.clone();
        self.to_its_end(async move { router.by_envelope(&function, envelope).await }).await
    }

    /// Runs an invocation to its end although its client leaves: only a proxied handler hears of that.
    async fn to_its_end(
        &self,
        invocation: impl Future<Output = Response<Body>> + Send + 'static,
    ) -> Response<Body> {
        self.running.spawn(invocation).await.unwrap_or_else(|panic| {
            tracing::error!(%panic, "an invocation panicked");
            reply::failed()
        })
    }

    /// Counts an invocation as running, and tells the supervisor when it takes too long: the client
    /// hears of that when the handler is killed.
    fn watch(&self) -> Watch {
        let link = self.invoker.link.clone();
        let timer = self.invoker.function_timeout.map(|limit| {
            AbortOnDropHandle::new(tokio::spawn(async move {
                tokio::time::sleep(limit).await;
                link.timed_out();
            }))
        });
        Watch { _running: self.running.token(), _timer: timer }
    }

    /// A pure HTTP function, streamed.
    async fn proxied(&self, parts: &Parts, body: Incoming) -> Response<Body> {
        if proxy::wants_upgrade(parts) {
            return reply::status(proxy::NO_UPGRADE);
        }
        let Some(body) = self.request_body(parts, body).await else { return reply::failed() };
        proxy::proxy(&self.invoker.link, parts, body).await
    }

    /// A pure HTTP function where the host knows no proxying.
    async fn forwarded(self: &Arc<Self>, parts: Parts, body: Incoming) -> Response<Body> {
        // A chunked body never reaches a forwarded handler: the client gets 500.
        if proxy::is_chunked(&parts) {
            return reply::failed();
        }
        let Some(body) = read_whole(body, self.body_bytes_max).await else { return reply::failed() };
        let router = self.clone();
        let invocation = async move {
            let _watch = router.watch();
            forward::forward(&router.invoker.link, &parts, body).await
        };
        self.to_its_end(invocation).await
    }

    async fn by_envelope(
        &self,
        function: &Arc<Function>,
        envelope: super::invocation::Envelope,
    ) -> Response<Body> {
        let answer = match self.invoker.call(function, envelope).await {
            Ok(answer) => answer,
            Err(why) => {
                tracing::warn!(function = function.name, why, "invocation failed");
                return reply::failed();
            }
        };
        if let Err(why) = self.invoker.write_queues(function, &answer).await {
            tracing::warn!(function = function.name, why, "invocation failed");
            return reply::failed();
        }
        http_envelope::response(function, &answer).unwrap_or_else(reply::failed)
    }

    /// A body with Content-Length is read whole before the handler sees a byte.
    async fn request_body(&self, parts: &Parts, body: Incoming) -> Option<RequestBody> {
        if proxy::is_chunked(parts) {
            return Some(RequestBody::Chunked(Stream::new(body, self.body_bytes_max)));
        }
        let bytes = read_whole(body, self.body_bytes_max).await?;
        let nothing_sent = bytes.is_empty() && !matches!(parts.method, Method::PUT | Method::PATCH);
        Some(if nothing_sent { RequestBody::None } else { RequestBody::Whole(bytes) })
    }
}

/// The length of the headers as they came: a colon, a blank and a line end for each.
fn header_bytes(parts: &Parts) -> usize {
    parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// The whole body, unless it is longer than `limit`, by its own word already, or breaks off.
async fn read_whole(body: Incoming, limit: u64) -> Option<Bytes> {
    if body.size_hint().lower() > limit {
        return None;
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    Some(Limited::new(body, limit).collect().await.ok()?.to_bytes())
}
