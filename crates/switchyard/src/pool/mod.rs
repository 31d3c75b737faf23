//! `switchyard pool`: what is wrong with an Azure Batch pool, before it costs money or stops working.
//!
//! - [`read`]: a pool from the JSON that people keep of it

mod read;

use std::path::Path;
use std::process::ExitCode;

use machines::{Date, Finding};
use serde_json::json;

use crate::Failure;
use crate::cli::{self, PoolLint};
use crate::formula;
use crate::place::Place;
use crate::print::Printer;
use crate::tally::Tally;

/// Bytes of a pool's JSON or of the template around it that are read: Resource Manager takes 4 MiB.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The exit code where there is no pool to judge.
const NO_POOL: u8 = 2;

/// What is wrong with the pool of a file on a day, and the size of its machines.
///
/// # Errors
/// When the file cannot be read, or holds no pool or several.
pub(crate) fn judged(file: &Path, today: Date) -> Result<(Vec<Finding>, Option<String>), Failure> {
    let content = formula::read(file, FILE_BYTES_MAX)?;
    let read = read::pool(&content).map_err(|why| Failure(format!("{}: {why}", file.display())))?;
    Ok((machines::findings(&read.pool, today), read.pool.vm_size))
}

/// Does what was asked with a pool.
pub fn run(command: cli::Pool, place: &Place, printer: &Printer) -> ExitCode {
    let cli::Pool::Lint(flags) = command;
    lint(&flags, place, printer)
}

fn lint(flags: &PoolLint, place: &Place, printer: &Printer) -> ExitCode {
    let content = formula::read(&flags.file, FILE_BYTES_MAX).map_err(|failure| failure.to_string());
    let read = content
        .and_then(|content| read::pool(&content).map_err(|why| format!("{}: {why}", flags.file.display())));
    let read = match read {
        Ok(read) => read,
        Err(why) => {
            Printer::failed(&why);
            return ExitCode::from(NO_POOL);
        }
    };
    let today = flags.today.unwrap_or_else(|| Date::of_unix_ms(place.clock().now_ms()));
    let findings = machines::findings(&read.pool, today);
    findings.iter().for_each(|finding| tell(finding, printer));
    let mut tally = Tally::of(findings.iter().map(|finding| finding.severity.as_str()));
    if let Some(text) = &read.formula {
        let slots = read.pool.slots.and_then(|slots| u32::try_from(slots).ok()).unwrap_or(1);
        match formula::lint::judged(text, Some(slots), printer) {
            Some(found) => tally = tally.plus(found),
            None => tally = tally.plus(Tally::of(["error"])),
        }
    }
    printer.say(&tally.to_string());
    if tally.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(finding: &Finding, printer: &Printer) {
    let Finding { rule, severity, at, what, remedy } = finding;
    printer.record(&json!({
        "rule": rule.as_str(), "severity": severity.as_str(), "member": at, "what": what, "remedy": remedy,
    }));
    printer.say(&format!("{at}: {severity} {rule}"));
    printer.say(&format!("  {what}"));
    printer.say(&format!("  remedy: {remedy}"));
    printer.say("");
}
