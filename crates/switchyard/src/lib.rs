//! The operator's and developer's command.
//!
//! - [`cli`]: what can be asked for; `main` parses it and calls [`run`]
//! - [`up`], [`env`], [`host`], [`stage`], [`model`]: one command each
//! - [`submit`], [`jobs`], [`why`]: deferred work, asked of a stack or a deployment by [`client`]
//! - [`formula`], [`pool`]: autoscale formulas and pools, which need no stack
//! - [`report`]: what a month cost
//! - [`status`]: what is broken, at risk and wasted, for operators; [`knobs`]: what they tune;
//!   [`dead`]: messages that nobody works on
//! - [`doctor`]: what is wrong with settings and services, and what to do
//! - [`tenant`]: who may use a catalogue's models, and how much
//! - [`render`]: numbers, times and money as people read them
//! - [`demo`]: shows the whole on a real model, and checks it
//! - [`print`]: the one place that writes to the terminal
//! - [`place`]: folders and programs that several commands need
//!
//! Deliberately absent: reads of the environment (`main` hands them in) and every rule of the
//! product, which the real handler applies.

pub mod cli;
pub mod client;
pub mod dead;
pub mod demo;
pub mod doctor;
pub mod env;
pub mod formula;
pub mod host;
pub mod jobs;
pub mod knobs;
mod meanings;
pub mod model;
pub mod place;
pub mod pool;
pub mod print;
pub mod render;
pub mod report;
pub mod stage;
pub mod status;
pub mod submit;
mod tally;
pub mod tenant;
pub mod up;
pub mod why;

use std::process::ExitCode;

use cli::{Cli, Command};
use place::Place;
use print::Printer;

/// What went wrong, in one text for the terminal.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

impl Failure {
    /// Any error, shown by its own text.
    pub fn of(error: impl std::fmt::Display) -> Failure {
        Failure(error.to_string())
    }
}

/// Does what was asked for; the exit code of a command that did it.
///
/// # Errors
/// [`Failure`] with the text for the user.
pub async fn run(cli: Cli, place: &Place) -> Result<ExitCode, Failure> {
    let printer = Printer::new(cli.command.is_json());
    match cli.command {
        Command::Demo(flags) => demo::run(flags, place, &printer).await?,
        Command::Up(flags) => up::run(flags, place, &printer).await?,
        Command::Host(flags) => host::run(flags, place, &printer).await?,
        Command::Stage(flags) => stage::run(flags, place, &printer).await?,
        Command::Env(flags) => env::run(&flags, place, &printer)?,
        Command::Model => model::run(place, &printer).await?,
        Command::Formula(command) => return formula::run(command, place, &printer),
        Command::Pool(command) => return Ok(pool::run(command, place, &printer)),
        Command::Submit(flags) => return submit::run(flags, place, &printer).await,
        Command::Jobs(flags) => jobs::run(flags, place, &printer).await?,
        Command::Why(flags) => why::run(flags, place, &printer).await?,
        Command::Status(flags) => status::run(flags, place, &printer).await?,
        Command::Report(flags) => report::run(&flags, place, &printer).await?,
        Command::Doctor(flags) => return doctor::run(flags, place, &printer).await,
        Command::Knobs(command) => knobs::run(command, place, &printer).await?,
        Command::Dead(flags) => return dead::run(flags, place, &printer).await,
        Command::Promote(flags) => why::act(flags, client::Act::Promote, place, &printer).await?,
        Command::Tenant(flags) => tenant::run(&flags, place, &printer)?,
        Command::Cancel(flags) => why::act(flags, client::Act::Cancel, place, &printer).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Resolves when the user presses ctrl-c or the system asks the process to end.
pub(crate) async fn asked_to_stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = tokio::signal::ctrl_c() => return,
            }
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
