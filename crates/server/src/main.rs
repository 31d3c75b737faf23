//! The inference server: read the settings, open the port, load, serve, drain.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command's own words")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use clock::Clock;
use server::app::App;
use server::settings::{Flags, Settings};
use server::{listen, load};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often the parent is looked for.
const PARENT_POLL: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let parent = std::os::unix::process::parent_id();
    let flags = Flags::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    if flags.gpu_enabled {
        tracing::warn!("GPU_ENABLED is set, but this build has no GPU back end: running on the CPU");
    }
    let parent = flags.exit_with_parent.then_some(parent);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&format!("cannot start the runtime: {error}")),
    };
    let code = runtime.block_on(run(flags.settings(), parent));
    // What still computes after the drain's bound is not waited for.
    runtime.shutdown_background();
    code
}

async fn run(settings: Settings, parent: Option<u32>) -> ExitCode {
    let clock = match clock() {
        Ok(clock) => clock,
        Err(error) => return refuse(&error.to_string()),
    };
    // Before the port is told: a signal that comes right after must already be heard.
    let ended = match ended(parent) {
        Ok(ended) => ended,
        Err(error) => return refuse(&format!("cannot watch signals: {error}")),
    };
    let opened = match TcpListener::bind(settings.listen).await {
        Ok(listener) => listener.local_addr().map(|address| (listener, address)),
        Err(error) => Err(error),
    };
    let (listener, address) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            return refuse(&format!(
                "cannot listen on {}: {error}; choose another --listen",
                settings.listen
            ));
        }
    };
    println!("listening on http://{address}");

    let app = Arc::new(App::new(settings.names, clock.now_ms() / 1000, settings.load.threads));
    let mut loading = tokio::spawn({
        let (app, load) = (app.clone(), settings.load);
        async move { load::load(&app, load).await }
    });
    let serving = listen::serve(app, listener, ended, settings.drain);
    let mut serving = std::pin::pin!(serving);
    let drained = tokio::select! {
        drained = &mut serving => drained,
        loaded = &mut loading => match loaded {
            Ok(Ok(())) => serving.await,
            Ok(Err(error)) => return refuse(&error.to_string()),
            Err(error) => return refuse(&format!("loading panicked: {error}")),
        },
    };
    if !drained {
        tracing::warn!("the drain's time is over; requests under way were cut off");
    }
    // The process ends here and now: engine threads may be deep in a batch nobody waits for.
    std::process::exit(0)
}

#[expect(clippy::disallowed_methods, reason = "the one place where the server reads the clock's settings")]
fn clock() -> Result<Clock, clock::BadClock> {
    Clock::from_settings(|name| std::env::var(name).ok())
}

fn refuse(problem: &str) -> ExitCode {
    eprintln!("server: {problem}");
    ExitCode::FAILURE
}

/// Watches from the call on; the future is done when the server should end: SIGTERM, SIGINT, or the
/// parent is gone.
fn ended(parent: Option<u32>) -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM"),
            _ = interrupt.recv() => tracing::info!("SIGINT"),
            () = gone(parent) => tracing::info!("the parent process is gone"),
        }
    })
}

/// Done when this process has another parent than at its start. Never compared with 1: in a
/// container the parent may be 1 all along.
async fn gone(parent: Option<u32>) {
    let Some(parent) = parent else { return std::future::pending().await };
    while std::os::unix::process::parent_id() == parent {
        tokio::time::sleep(PARENT_POLL).await;
    }
}
