//! The functions, by folder name. Each is three paragraphs: gather, ask policy, carry out.
//!
//! HTTP functions live under `/api/`; queue and timer functions come as envelopes at
//! `/{FunctionName}`, from the host only, and outside `/api/`, so that nobody can forge one.

pub mod alerts;
pub mod dead_letter;
pub mod dispatch;
pub mod explain;
pub mod health;
pub mod jobs;
pub mod metrics;
pub mod open_api;
pub mod openai;
pub mod operate;
pub mod rebalance;
pub mod status;
pub mod sweep;

use std::sync::Arc;
use std::time::Duration;

use audit::action::{Action, Did};
use futures_util::future::BoxFuture;
use serde_json::Value;
use wire::envelope::{Done, Envelope};

use crate::app::App;
use crate::auth::Actor;
use crate::failure::{Failure, Kind};
use crate::http::{self, Method, Request, Response, path};
use crate::telemetry::without_blob_calls;

/// Until the headers of an HTTP answer: the platform's ingress ends at 230 s.
const HTTP_WITHIN: Duration = Duration::from_secs(220);
/// A queue function's limit. The host's own (10 min) would kill every invocation in the process.
const QUEUE_WITHIN: Duration = Duration::from_secs(240);
/// Limit of Sweep and Metrics: below their period.
const TICK_WITHIN: Duration = Duration::from_secs(20);
/// Limit of Rebalance.
const REBALANCE_WITHIN: Duration = Duration::from_secs(120);
/// An envelope holds a message of at most 64 KiB, encoded twice.
const ENVELOPE_BYTES_MAX: usize = 1024 * 1024;

/// Answers any request.
pub async fn answer(app: Arc<App>, request: Request) -> Response {
    let response = if let Some(function) = envelope_function(&app, &request) {
        invoke(&app, request, function).await
    } else if app.under_host() && request.method == Method::POST && http::enveloped::is_at(&request.path) {
        http::enveloped::pack(enveloped(&app, request).await).await
    } else if request.path == "/" {
        // The host's readiness probe: any answer will do, and this one needs nothing.
        http::bytes(200, bytes::Bytes::from_static(b"switchyard\n"))
    } else {
        served(&app, request).await
    };
    app.metrics.answered(response.status().as_u16());
    response
}

/// A request that the host sent as an envelope, answered as ever: by its own keys.
async fn enveloped(app: &Arc<App>, request: Request) -> Response {
    match http::enveloped::unpack(request).await {
        Ok(request) => served(app, request).await,
        Err(failure) => http::failure(&failure),
    }
}

async fn served(app: &Arc<App>, request: Request) -> Response {
    if !is_act(&request) {
        return in_time(app, request).await;
    }
    let (app, span) = (Arc::clone(app), request.span.clone());
    finished(async move { span.around(in_time(&app, request)).await }).await
}

/// Work that goes on when nobody waits for it any more: whoever goes away takes the future of the answer along,
/// and what was begun is to be done and written down.
async fn finished<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(work).await.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()))
}

/// Whether a request changes something that the audit log tells of.
fn is_act(request: &Request) -> bool {
    let is_read = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    !is_read && (request.path.starts_with("/api/operate/") || request.path.starts_with("/api/jobs/"))
}

/// On the heap: what an answer may need in all is moved through every layer of the server otherwise.
fn in_time(app: &App, request: Request) -> BoxFuture<'_, Response> {
    Box::pin(async move {
        match tokio::time::timeout(HTTP_WITHIN, api(app, request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(failure)) => http::failure(&failure),
            Err(_) => http::failure(&Failure::new(Kind::TimedOut, "timeout", "no answer in time; try again")),
        }
    })
}

async fn api(app: &App, request: Request) -> Result<Response, Failure> {
    // The hot path needs no decoding.
    if request.path == "/api/v1/embeddings" {
        request.span.route(request.method.as_str(), "/api/v1/embeddings");
        return openai::answer(app, request, &["embeddings"]).await;
    }
    let segments = path::segments(&request.path, request.proxied())?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ids_may_hold_slashes = matches!(segments[..], ["api", "v1", "models", _]);
    if !ids_may_hold_slashes && segments.iter().any(|segment| segment.contains('/')) {
        return Err(Failure::invalid(
            "path",
            "encoded_slash",
            "the path has a `%2F` where no id may hold one",
        ));
    }
    open_api::routes::judge(&segments, &request.method, app.under_host())?;
    if let Some(route) = open_api::routes::named(&segments) {
        request.span.route(request.method.as_str(), route);
    }
    match &segments[..] {
        ["api", "v1", rest @ ..] => openai::answer(app, request, rest).await,
        ["api", "jobs", rest @ ..] => jobs::answer(app, &request, rest).await,
        ["api", "explain"] => explain::answer(app, request).await,
        ["api", "status", page @ ..] => status::answer(app, &request, page).await,
        ["api", "operate", what @ ..] => operate::answer(app, request, what).await,
        ["api", "alerts"] => alerts::answer(app, request).await,
        ["api", "health"] => Ok(health::answer(app)),
        ["api", "openapi.json"] => Ok(open_api::answer(app.under_host())),
        _ => Err(Failure::not_found("nothing is here; see /api/openapi.json")),
    }
}

/// The queue and timer functions.
#[derive(Clone, Copy)]
enum Function {
    Dispatch,
    DeadLetter,
    Rebalance,
    Sweep,
    Metrics,
}

impl Function {
    fn within(self) -> Duration {
        match self {
            Function::Dispatch | Function::DeadLetter => QUEUE_WITHIN,
            Function::Sweep | Function::Metrics => TICK_WITHIN,
            Function::Rebalance => REBALANCE_WITHIN,
        }
    }
}

fn envelope_function(app: &App, request: &Request) -> Option<Function> {
    if !app.under_host() || request.method != Method::POST {
        return None;
    }
    match request.path.as_str() {
        "/Dispatch" => Some(Function::Dispatch),
        "/DeadLetter" => Some(Function::DeadLetter),
        "/Rebalance" => Some(Function::Rebalance),
        "/Sweep" => Some(Function::Sweep),
        "/Metrics" => Some(Function::Metrics),
        _ => None,
    }
}

/// Runs a queue or timer function: 200 with a body when it is done (an empty body would hang the
/// host), 500 when the message must come again.
async fn invoke(app: &App, mut request: Request, function: Function) -> Response {
    request.span.route("POST", request_name(function));
    let run = async {
        let body = request.body(ENVELOPE_BYTES_MAX).await?;
        let envelope: Envelope = serde_json::from_slice(&body)
            .map_err(|error| Failure::invalid("body", "invalid_envelope", format!("no envelope: {error}")))?;
        match function {
            Function::Dispatch => dispatch::run(app, &envelope).await,
            Function::DeadLetter => dead_letter::run(app, &envelope).await,
            Function::Rebalance => without_blob_calls(rebalance::run(app, &envelope)).await,
            Function::Sweep => without_blob_calls(Box::pin(sweep::run(app, &envelope))).await,
            Function::Metrics => without_blob_calls(metrics::run(app)).await,
        }
    };
    let done = tokio::time::timeout(function.within(), Box::pin(run)).await;
    app.telemetry.flush().await;
    let failure = match done {
        Ok(Ok(done)) => return http::json(200, &done),
        Ok(Err(failure)) => failure,
        Err(_) => Failure::new(Kind::Bug, "timeout", "the function ran into its own time limit"),
    };
    tracing::error!(
        path = request_name(function),
        code = failure.code,
        cause = failure.message,
        "invocation failed"
    );
    http::failure(&failure)
}

fn request_name(function: Function) -> &'static str {
    match function {
        Function::Dispatch => "/Dispatch",
        Function::DeadLetter => "/DeadLetter",
        Function::Rebalance => "/Rebalance",
        Function::Sweep => "/Sweep",
        Function::Metrics => "/Metrics",
    }
}

/// Writes into the audit log what the holder of a key did to something: how it was, how it is.
async fn acted(
    app: &App,
    (request, actor): (&Request, &Actor),
    did: Did,
    target: &str,
    (before, after): (Value, Value),
) {
    let action = Action {
        at: app.now().0,
        actor: actor.named(),
        request_id: request.id.to_str().ok(),
        did,
        target,
        before,
        after,
    };
    app.records.act(action).await;
}

/// What a function with nothing to say answers.
fn done() -> Result<Done, Failure> {
    Ok(Done::default())
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_begun_is_done_though_nobody_waits_for_it() {
        let ((go, gone), (tell, told)) = (oneshot::channel::<()>(), oneshot::channel());
        let work = finished(async move {
            gone.await.unwrap();
            tell.send("done").unwrap();
        });
        tokio::select! {
            biased;
            () = work => panic!("nothing lets it go on"),
            () = std::future::ready(()) => {}
        }
        go.send(()).unwrap();
        assert_eq!(told.await, Ok("done"));
    }

    #[test]
    fn limits_lie_below_those_of_the_host() {
        let host: Value = serde_json::from_str(include_str!("../host.json")).unwrap();
        assert_eq!(host["functionTimeout"], "00:10:00");
        let host_kills_at = Duration::from_secs(600);
        // The platform's ingress ends an HTTP request at 230 s; a timer's run must not meet the next one.
        let cases = [
            (HTTP_WITHIN, Duration::from_secs(230)),
            (Function::Dispatch.within(), host_kills_at),
            (Function::DeadLetter.within(), host_kills_at),
            (Function::Sweep.within(), Duration::from_secs(30)),
            (Function::Metrics.within(), Duration::from_secs(60)),
            (Function::Rebalance.within(), Duration::from_secs(300)),
        ];
        for (own, others) in cases {
            assert!(own < others && others <= host_kills_at, "{own:?} {others:?}");
        }
    }
}
