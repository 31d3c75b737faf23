//! The handler's process: settings, logging, serve, end. Under the Functions host it never ends
//! with exit code 0, which the host would take for a handler that needs no restart.

#![expect(clippy::print_stderr, reason = "problems of the start are told before logging exists")]

use std::process::ExitCode;

use handler::app::{self, Ending};
use handler::doctor;
use handler::doctor::asked::{self, Asked};
use handler::settings::Settings;
use handler::telemetry;
use wire::doctor::Finding;

/// Wrong arguments or settings.
const EXIT_SETTINGS: u8 = 2;
/// The process ended although it should not have.
const EXIT_FAILED: u8 = 1;
/// The host is gone.
const EXIT_ORPHANED: u8 = 3;

const USAGE: &str = "usage: handler [--listen ADDR]
  Without an argument it expects to be started by the Azure Functions host.
  --listen ADDR  serve the HTTP functions alone on IP:PORT; ends on SIGTERM
  --doctor       look at settings and services, for `switchyard doctor`";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let listen = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => None,
        ["--listen", address] => Some(address),
        ["--help" | "-h"] => {
            eprintln!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        ["--doctor", ref further @ ..] => {
            return match Asked::parse(further) {
                Ok(asked) => examine(asked),
                Err(wrong) => {
                    eprintln!("handler: {wrong}\nusage: {}", asked::USAGE);
                    ExitCode::from(EXIT_SETTINGS)
                }
            };
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(EXIT_SETTINGS);
        }
    };
    let settings = match Settings::read(listen, from_environment) {
        Ok(settings) => settings,
        Err(problems) => return refuse(problems.iter().map(ToString::to_string)),
    };
    if let Err(problem) = telemetry::log_to_stdout(&settings.log) {
        return refuse([problem].into_iter());
    }
    match run(settings) {
        Ending::Drained => ExitCode::SUCCESS,
        Ending::HostGone => ExitCode::from(EXIT_ORPHANED),
        Ending::Failed(what) => {
            eprintln!("handler: {what}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Looks at settings and services: each finding on standard error as it comes, all of them on standard
/// output at the end, one JSON object a line.
#[expect(clippy::print_stdout, reason = "the report is what whoever started this reads")]
fn examine(asked: Asked) -> ExitCode {
    let tell = |finding: &Finding| eprintln!("{}", json(finding));
    let given = std::sync::Arc::new(from_environment);
    let report = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(doctor::run(asked, given, tell)),
        Err(error) => {
            eprintln!("handler: no runtime: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    println!("{}", json(&report));
    ExitCode::from(report.exit_code())
}

fn run(settings: Settings) -> Ending {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(app::run(settings)),
        Err(error) => Ending::Failed(format!("no runtime: {error}")),
    }
}

fn refuse(problems: impl ExactSizeIterator<Item = String>) -> ExitCode {
    eprintln!("handler: {} problem(s) with settings", problems.len());
    for problem in problems {
        eprintln!("  {problem}");
    }
    ExitCode::from(EXIT_SETTINGS)
}

fn json(shape: &impl serde::Serialize) -> String {
    serde_json::to_string(shape).expect("findings are plain data")
}

#[expect(clippy::disallowed_methods, reason = "the home of the environment")]
fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
