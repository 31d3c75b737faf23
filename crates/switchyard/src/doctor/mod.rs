//! `switchyard doctor`: starts the handler once more with the settings of an app, lets it look at its own
//! settings and services, and shows what it found.
//!
//! - [`source`]: whose settings; they reach the handler in its environment, never as arguments
//! - [`files`]: a pool or a formula that is not deployed yet
//!
//! The exit code is 2 where something is broken, 1 where there are only warnings, else 0.

mod files;
mod source;

use std::process::{ExitCode, Stdio};
use std::time::Duration;

use local::children;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Child;
use wire::doctor::{Finding, Outcome, Report, VERSION};

use crate::Failure;
use crate::cli::Doctor;
use crate::place::Place;
use crate::print::Printer;
use crate::render;
use source::Source;

/// Checks wait for each other at most four deep, each for 10 s, and `az` takes 20 s for a token.
const PATIENCE: Duration = Duration::from_secs(120);
/// A report has some dozens of lines.
const REPORT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What is kept of what the handler says besides findings, for people.
const NOISE_LINES_MAX: usize = 20;

/// Looks, and shows what was found as it comes.
///
/// # Errors
/// When settings cannot be had, or the handler cannot be started or says nothing of this kind.
pub async fn run(flags: Doctor, place: &Place, printer: &Printer) -> Result<ExitCode, Failure> {
    let source = Source::find(&flags, place)?;
    let handler = match flags.handler.as_ref().or(source.handler.as_ref()) {
        Some(handler) => handler.clone(),
        None => place.programs(flags.no_build, printer).await?.handler,
    };
    let further = files::look(&flags, place)?;
    printer.say(&format!("settings: {}", source.title));
    let mut command = children::command(&handler);
    command.args(arguments(&flags, &source, further.vm_size.as_deref()));
    if source.is_whole {
        command.env_clear();
    }
    command.envs(source.settings.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child =
        command.spawn().map_err(|error| Failure(format!("cannot run {}: {error}", handler.display())))?;
    let heard = tokio::time::timeout(PATIENCE, hear(child, printer)).await;
    let mut report =
        heard.map_err(|_| Failure(format!("the handler took more than {}s", PATIENCE.as_secs())))??;
    further.findings.iter().for_each(|finding| printer.say(&line(finding)));
    report.findings.extend(further.findings);
    printer.record(&report);
    printer.say(&sum(&report));
    Ok(ExitCode::from(report.exit_code()))
}

/// Nothing here is a secret.
fn arguments(flags: &Doctor, source: &Source, vm_size: Option<&str>) -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<std::ffi::OsString> = vec!["--doctor".into(), "--json".into()];
    if flags.before_deploy {
        arguments.push("--before-deploy".into());
    } else if let Some(url) = flags.url.as_ref().or(source.url.as_ref()) {
        arguments.extend(["--url".into(), url.into()]);
    }
    arguments.extend(flags.usages.iter().flat_map(|file| ["--usages".into(), file.into()]));
    arguments.extend(vm_size.into_iter().flat_map(|size| ["--vm-size".into(), size.into()]));
    arguments
}

/// Shows findings as they come, and gives all of them at the end.
async fn hear(mut child: Child, printer: &Printer) -> Result<Report, Failure> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
        return Err(Failure("the handler's output cannot be read".to_owned()));
    };
    let report = async {
        let mut text = Vec::new();
        stdout.take(REPORT_BYTES_MAX).read_to_end(&mut text).await.map(|_| text)
    };
    let lines = async {
        let (mut lines, mut noise, mut count) = (BufReader::new(stderr).lines(), Vec::new(), 0);
        while let Ok(Some(text)) = lines.next_line().await {
            match serde_json::from_str::<Finding>(&text) {
                Ok(finding) => {
                    printer.erase();
                    printer.say(&line(&finding));
                    count += 1;
                    if printer.is_watched() {
                        printer.redraw(&format!("  … {} so far, looking", render::of(count, "line")));
                    }
                }
                Err(_) if noise.len() < NOISE_LINES_MAX => noise.push(text),
                Err(_) => {}
            }
        }
        printer.erase();
        noise
    };
    let (report, noise) = tokio::join!(report, lines);
    let ended = child.wait().await.map_err(Failure::of)?;
    let report = report.map_err(Failure::of)?;
    let report: Report = serde_json::from_slice(&report).map_err(|_| {
        Failure(format!(
            "the handler ended with {ended} and no report; is it older than this command?\n  {}",
            noise.join("\n  ")
        ))
    })?;
    match report.v {
        VERSION => Ok(report),
        other => Err(Failure(format!(
            "the handler's report has version {other}, and this command reads {VERSION}"
        ))),
    }
}

/// How wide the outcome is: `not checked`.
const OUTCOME_WIDTH: usize = 11;
/// How wide the name of a check is: `poison-queue`.
const CHECK_WIDTH: usize = 12;

/// `broken       queue         queue … does not exist → az storage queue create …`
fn line(finding: &Finding) -> String {
    let Finding { check, subject, outcome, found, remedy } = finding;
    let subject = subject.as_ref().map_or(String::new(), |subject| format!("{subject}: "));
    let remedy = remedy.as_ref().map_or(String::new(), |remedy| format!(" → {remedy}"));
    format!("{:<OUTCOME_WIDTH$}  {check:<CHECK_WIDTH$}  {subject}{found}{remedy}", outcome.as_str())
}

fn sum(report: &Report) -> String {
    let count =
        |outcome: Outcome| report.findings.iter().filter(|finding| finding.outcome == outcome).count() as u64;
    format!(
        "{} broken, {}, {} ok, {} not checked",
        count(Outcome::Broken),
        render::of(count(Outcome::Warning), "warning"),
        count(Outcome::Ok),
        count(Outcome::NotChecked)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(outcome: Outcome, subject: Option<&str>, remedy: Option<&str>) -> Finding {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Finding {
            check: "pool".to_owned(),
            subject: text(subject),
            outcome,
            found: "seen".to_owned(),
            remedy: text(remedy),
        }
    }

    #[test]
    fn a_finding_is_one_line_with_its_remedy() {
        let cases = [
            (finding(Outcome::Ok, None, None), "ok           pool          seen"),
            (
                finding(Outcome::Broken, Some("p"), Some("do it")),
                "broken       pool          p: seen → do it",
            ),
            (finding(Outcome::NotChecked, None, None), "not checked  pool          seen"),
        ];
        for (finding, expected) in cases {
            assert_eq!(line(&finding), expected);
        }
    }

    #[test]
    fn the_sum_counts_outcomes() {
        let findings = vec![finding(Outcome::Broken, None, None), finding(Outcome::Warning, None, None)];
        let report = Report { v: VERSION, handler: String::new(), findings };
        assert_eq!(sum(&report), "1 broken, 1 warning, 0 ok, 0 not checked");
        assert_eq!(report.exit_code(), 2);
    }
}
