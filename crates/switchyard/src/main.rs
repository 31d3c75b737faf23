//! Parses the command line, reads the environment, runs the command.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use switchyard::cli::Cli;
use switchyard::place::Place;
use switchyard::print::Printer;
use tracing_subscriber::EnvFilter;

/// What is logged to standard error.
const LOG: &str = "SWITCHYARD_LOG";

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = setting(LOG).and_then(|value| value.into_string().ok());
    let filter = EnvFilter::new(filter.unwrap_or_else(|| cli.command.log().to_owned()));
    // The handler's and the server's own lines carry their times.
    let log = tracing_subscriber::fmt().without_time().with_ansi(std::io::stderr().is_terminal());
    log.with_env_filter(filter).with_writer(std::io::stderr).init();
    let done = match Place::find(setting, environment()) {
        Ok(place) => switchyard::run(cli, &place).await,
        Err(failure) => Err(failure),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            Printer::failed(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the home of the environment")]
fn setting(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

fn environment() -> Vec<(String, String)> {
    // `vars` would panic at a value that is not UTF-8.
    let all = std::env::vars_os();
    all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}
