//! The worker: read the settings, bring up what answers, run the pack or the file, say how it went.
#![allow(clippy::print_stderr, reason = "a command's own words")]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use url::Url;
use worker::encoder::{Encoder, NotLoaded};
use worker::settings::{By, Flags, Settings, Task};
use worker::terminal::Terminal;
use worker::upstream::Upstream;
use worker::{Backend, Error, Exit, by_hand, notice};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What work gets to wind up once it is asked to end. It needs milliseconds; an eviction leaves seconds.
const WIND_UP_MAX: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let settings = match Flags::parse().settings(setting) {
        Ok(settings) => settings,
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("worker: {problem}"));
            return Exit::Usage.into();
        }
    };
    log(settings.json_log);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("worker: cannot start the runtime: {error}");
            return Exit::System.into();
        }
    };
    let exit = runtime.block_on(run(settings));
    // What still computes is not waited for.
    runtime.shutdown_background();
    exit.into()
}

#[expect(clippy::disallowed_methods, reason = "the one place where the worker reads its environment")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn log(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        log.json().flatten_event(true).with_span_list(false).init();
    } else {
        log.event_format(Terminal).init();
    }
}

async fn run(settings: Settings) -> Exit {
    let stop = CancellationToken::new();
    let ended = match ended(settings.notices.clone()) {
        Ok(ended) => ended,
        Err(error) => {
            tracing::error!(%error, "cannot watch signals");
            return Exit::System;
        }
    };
    let mut work = std::pin::pin!(work(&settings, &stop));
    let done = tokio::select! {
        done = &mut work => done,
        () = ended => {
            stop.cancel();
            tokio::time::timeout(WIND_UP_MAX, work).await.unwrap_or(Err(Failure::Run(Error::Interrupted)))
        }
    };
    match done {
        Ok(()) => Exit::Done,
        Err(Failure::Start(exit, problem)) => {
            tracing::error!(exit = exit as u8, "{problem}");
            exit
        }
        Err(Failure::Run(error)) => {
            let exit = Exit::from(&error);
            let remedy =
                if error.is_full() { "; make room and run it again, what is done is kept" } else { "" };
            tracing::error!(exit = exit as u8, "{error}{remedy}");
            exit
        }
    }
}

/// Why nothing more is done.
enum Failure {
    Start(Exit, String),
    Run(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Run(error)
    }
}

async fn work(settings: &Settings, stop: &CancellationToken) -> Result<(), Failure> {
    let place = match &settings.task {
        Task::Pack(place) => place,
        Task::File { input, output } => {
            let backend = backend(settings, stop).await?;
            by_hand::run(input, output, &backend, stop).await?;
            return Ok(());
        }
    };
    let store = place.open(settings.storage_key.as_deref(), settings.fault.clone());
    let store = store.map_err(|problem| Failure::Start(Exit::Usage, problem))?;
    // Before the model, whose loading takes far longer than looking.
    let store = store.ok_or_else(|| Error::PackMissing(place.pack.clone()))?;
    let pack = worker::read(&store, &place.pack).await?;
    let backend = backend(settings, stop).await?;
    let summary = worker::run(&store, &pack, &backend, stop, settings.clock).await?;
    tracing::info!(pack = pack.pack, chunks = summary.chunks(), "pack done");
    Ok(())
}

async fn backend(settings: &Settings, stop: &CancellationToken) -> Result<Backend, Failure> {
    let items = settings.items_at_once;
    let (folder, threads) = match settings.by.clone() {
        By::Model { folder, threads } => (folder, threads),
        By::Server(server, patience) => {
            let upstream = Upstream::new(server, items, patience);
            return upstream.map(Backend::Server).map_err(|problem| Failure::Start(Exit::Usage, problem));
        }
    };
    let loading = tokio::task::spawn_blocking(move || Encoder::load(&folder, threads, items));
    let loaded = tokio::select! {
        () = stop.cancelled() => return Err(Error::Interrupted.into()),
        loaded = loading => loaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())),
    };
    match loaded {
        Ok(encoder) => Ok(Backend::Model(encoder)),
        Err(error @ NotLoaded::Thread(_)) => Err(Failure::Start(Exit::System, error.to_string())),
        Err(error) => Err(Failure::Start(Exit::Model, error.to_string())),
    }
}

/// Watches from the call on; the future is done when the worker should end.
fn ended(notices: Option<Url>) -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let preempted = async move {
        match notices {
            Some(url) => notice::preempted(url).await,
            None => std::future::pending().await,
        }
    };
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::warn!("SIGTERM"),
            _ = interrupt.recv() => tracing::warn!("SIGINT"),
            () = preempted => tracing::warn!("this node is about to be evicted"),
        }
    })
}
