//! The Azure Functions host (v4), as far as a custom handler can see it: it runs any staged
//! folder, in any language, and knows nothing of Switchyard.
//!
//! [`run`] is the whole of it. [`app`] reads the folder, `process` keeps the handler running, `http`
//! answers clients (`proxy`, `forward`, `http_envelope` are the three ways to the handler; `lent` is a
//! body that flows), [`queue`] and [`timer`] invoke by envelope ([`invocation`]). Judged by recordings
//! of the real host.

mod admin;
pub mod app;
mod dotnet;
mod forward;
mod http;
mod http_envelope;
mod identity;
mod insights;
pub mod invocation;
pub mod keys;
mod lent;
mod link;
pub mod outputs;
mod process;
mod proxy;
pub mod queue;
mod reply;
mod route;
pub mod schedule;
pub mod storage;
mod target;
pub mod timer;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::app::{App, Function, Queues, Trigger};
use self::http::Router;
use self::invocation::{Envelope, Invoker, Outcome};
use self::keys::KeyRing;
use self::link::Link;
use self::process::{Phase, Supervisor};
use self::storage::Storage;
use crate::loopback;

/// How long running invocations may take once the host is asked to stop. The real host waits for
/// them without a bound that anybody found; somebody waits for this one's prompt.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// App settings that configure telemetry of the host's own.
const TELEMETRY: [&str; 2] = ["APPLICATIONINSIGHTS_CONNECTION_STRING", "APPINSIGHTS_INSTRUMENTATIONKEY"];

/// What to run and how.
pub struct Options {
    /// The staged folder: `host.json`, function folders and the handler side by side.
    pub app_root: PathBuf,
    /// Where clients are answered; bound by the caller.
    pub listener: std::net::TcpListener,
    /// The account that queue triggers without a `connection` setting of their own use.
    pub storage: Option<crate::queue::client::Account>,
    /// Whether function and admin keys are checked.
    pub keys: Keys,
    /// App settings: environment of the handler, and what `%NAME%` and `connection` refer to.
    pub settings: Vec<(String, String)>,
    /// The clock that timers follow.
    pub clock: clock::Clock,
}

/// Whether keys are checked.
pub enum Keys {
    /// As Core Tools does it: every request may pass.
    Off,
    /// As Azure does it: made on first use and kept in this folder.
    KeptIn(PathBuf),
}

/// Why a host that had started came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to.
    Stopped,
    /// The handler failed three times without half an hour between.
    RestartsExhausted,
    /// Two invocations ran into `functionTimeout` together.
    TimedOutTogether,
}

/// Why a host could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The staged folder cannot be run; the text says what to change.
    #[error("{0}")]
    App(String),
    /// Something of this machine failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Who runs the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// The host, as a child process.
    Child,
    /// Somebody else, on this port: a debugger, or a test's script. Taken to be ready.
    At(u16),
}

/// Runs the app until `stop` resolves or the host ends as the real one would.
///
/// # Errors
/// [`StartError`] when the folder is wrong; trouble with single functions is only logged.
pub async fn run(options: Options, stop: impl Future<Output = ()> + Send) -> Result<Ending, StartError> {
    let settings = options.settings.clone();
    let find =
        move |name: &str| settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let app = App::load(&options.app_root, &find)?;
    run_app(app, options, Handler::Child, stop).await
}

/// As [`run`], with an app that was read before and a handler that somebody else may run.
///
/// # Errors
/// As [`run`].
pub async fn run_app(
    app: App,
    options: Options,
    handler: Handler,
    stop: impl Future<Output = ()> + Send,
) -> Result<Ending, StartError> {
    for (function, why) in &app.in_error {
        tracing::error!(function, why, "function is in error");
    }
    let app = Arc::new(app);
    let stopping = CancellationToken::new();
    let port = match handler {
        Handler::At(port) => port,
        Handler::Child => loopback::any_port()?.local_addr()?.port(),
    };
    let (phase, watched) = watch::channel(Phase::Starting);
    // Two are enough to end the host.
    let (timed_out, timeouts) = mpsc::channel(2);
    let traced = options.settings.iter().any(|(name, _)| TELEMETRY.contains(&name.as_str()));
    let link = Link::new(port, watched, app.initialization_timeout, timed_out, traced);
    let router = Arc::new(router(&app, &options, link)?);
    let serving = router.clone();
    let server = loopback::Server::start(options.listener, move |request| serving.clone().answer(request))?;
    let monitor = match &options.keys {
        Keys::Off => timer::Monitor::in_memory(),
        Keys::KeptIn(folder) => timer::Monitor::Folder(folder.join("timers")),
    };
    let polling = stopping.child_token();
    let triggers = start_triggers(&router, &app.queues, &monitor, &polling);

    let supervised = async {
        match handler {
            Handler::Child => {
                let (app, stop) = (&*app, stopping.clone());
                Supervisor { app, settings: &options.settings, port, phase: &phase, timeouts, stop }
                    .run()
                    .await
            }
            Handler::At(_) => {
                phase.send_replace(Phase::Ready);
                stopping.cancelled().await;
                Ok(Ending::Stopped)
            }
        }
    };
    let stop_gently = async {
        stop.await;
        polling.cancel();
        triggers.close();
        router.running.close();
        let finished = async { tokio::join!(triggers.wait(), router.running.wait()) };
        if tokio::time::timeout(STOP_PATIENCE, finished).await.is_err() {
            tracing::warn!("invocations were still running when the host ended");
        }
        stopping.cancel();
        std::future::pending().await
    };
    let ending = tokio::select! {
        ending = supervised => ending?,
        never = stop_gently => never,
    };
    stopping.cancel();
    server.stop().await;
    triggers.close();
    triggers.wait().await;
    Ok(ending)
}

fn router(app: &Arc<App>, options: &Options, link: Link) -> Result<Router, StartError> {
    let setting = |name: &str| {
        options.settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    };
    let body_bytes_max = match setting("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT") {
        None => http::BODY_BYTES_MAX,
        Some(text) => text.parse().map_err(|_| {
            StartError::App(format!("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT is `{text}`; give a number of bytes"))
        })?,
    };
    let keys = match &options.keys {
        Keys::Off => None,
        Keys::KeptIn(folder) => Some(KeyRing::open(folder, &app.functions)?),
    };
    let storage = Storage::new(options.storage.clone(), &options.settings);
    let (encoding, function_timeout) = (app.queues.message_encoding, app.function_timeout);
    Ok(Router {
        app: app.clone(),
        functions: app.functions.iter().cloned().map(Arc::new).collect(),
        invoker: Invoker { link, storage, encoding, function_timeout },
        keys,
        clock: options.clock,
        body_bytes_max,
        homepage: setting("AzureWebJobsDisableHomepage").is_none_or(|off| !off.eq_ignore_ascii_case("true")),
        running: TaskTracker::new(),
    })
}

/// Starts the loops of queue and timer triggers; a trigger that cannot run is in error alone.
fn start_triggers(
    router: &Arc<Router>,
    settings: &Queues,
    monitor: &timer::Monitor,
    stop: &CancellationToken,
) -> TaskTracker {
    let triggers = TaskTracker::new();
    for function in &router.functions {
        let started = match &function.trigger {
            Trigger::Http(_) => Ok(()),
            Trigger::Queue { .. } => start_queue(&triggers, router, function, settings, stop),
            Trigger::Timer { .. } => start_timer(&triggers, router, function, monitor, stop),
        };
        if let Err(why) = started {
            tracing::error!(function = function.name, why, "function is in error");
        }
    }
    triggers
}

fn start_queue(
    triggers: &TaskTracker,
    router: &Arc<Router>,
    function: &Arc<Function>,
    settings: &Queues,
    stop: &CancellationToken,
) -> Result<(), String> {
    let Trigger::Queue { queue_name, connection, .. } = &function.trigger else { return Ok(()) };
    let queue = router.invoker.storage.account(connection.as_deref())?.queue(queue_name);
    let listener = queue::Listener {
        function: function.clone(),
        queue,
        settings: settings.clone(),
        clock: router.clock,
    };
    triggers.spawn(queue::listen(listener, invoke(router, function), stop.clone()));
    Ok(())
}

fn start_timer(
    triggers: &TaskTracker,
    router: &Arc<Router>,
    function: &Arc<Function>,
    monitor: &timer::Monitor,
    stop: &CancellationToken,
) -> Result<(), String> {
    let timer = timer::Timer::new(function, monitor, router.clock.into())?;
    triggers.spawn(timer::listen(timer, invoke(router, function), stop.clone()));
    Ok(())
}

/// The way from a trigger to its function.
fn invoke(
    router: &Arc<Router>,
    function: &Arc<Function>,
) -> impl Fn(Envelope) -> BoxFuture<'static, Outcome> + Clone + Send + Sync + use<> {
    let (invoker, function) = (router.invoker.clone(), function.clone());
    move |envelope| {
        let (invoker, function) = (invoker.clone(), function.clone());
        async move { invoker.invoke(&function, envelope).await }.boxed()
    }
}
