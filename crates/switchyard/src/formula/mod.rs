//! `switchyard formula`: Azure Batch autoscale formulas checked, evaluated and explained on this
//! machine, where the service would answer only about a pool that exists.
//!
//! - [`source`]: the formula's text, plain or inside a pool's JSON
//! - [`lint`]: what is unwise in it
//! - [`samples`]: what the pool measured, from a file
//! - [`show`]: results and mistakes as people and programs read them
//! - [`explain`]: statement by statement

mod explain;
pub(crate) mod lint;
mod samples;
mod show;
pub(crate) mod source;

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use autoscale::{Deallocation, Evaluation, Formula, History, Targets, Timestamp, World};

use crate::Failure;
use crate::cli::{self, FormulaCheck, FormulaWorld};
use crate::place::Place;
use crate::print::Printer;
use source::Source;

/// Bytes of a samples file that are read: a week of every metric has a third of them.
const SAMPLES_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Bytes of a formula or a pool's JSON that are read: far more than a formula's characters can take, so
/// that one that is too long is refused by the language's own rule.
const FORMULA_BYTES_MAX: u64 = 1024 * 1024;

/// Does what was asked with a formula. The exit code is 1 where the service would refuse it, its
/// evaluation fails, or the linter warns.
///
/// # Errors
/// When a file cannot be read or holds no samples.
pub fn run(command: cli::Formula, place: &Place, printer: &Printer) -> Result<ExitCode, Failure> {
    match command {
        cli::Formula::Check(flags) => check(&flags, printer),
        cli::Formula::Lint(flags) => lint::run(&flags, printer),
        cli::Formula::Eval(flags) => evaluate(&flags, place, printer),
        cli::Formula::Explain(flags) => explained(&flags, place, printer),
    }
}

fn check(flags: &FormulaCheck, printer: &Printer) -> Result<ExitCode, Failure> {
    let Source { text, .. } = formula(&flags.file)?;
    match autoscale::parse(&text) {
        Ok(formula) => {
            show::accepted(&text, &formula, printer);
            Ok(ExitCode::SUCCESS)
        }
        Err(mistake) => {
            show::mistake(&text, &mistake, printer);
            Ok(ExitCode::FAILURE)
        }
    }
}

fn evaluate(flags: &FormulaWorld, place: &Place, printer: &Printer) -> Result<ExitCode, Failure> {
    let Given { text, pool } = Given::read(flags, place)?;
    let Some(formula) = parsed(&text, &pool, printer) else { return Ok(ExitCode::FAILURE) };
    let evaluation = formula.evaluate(&pool.world());
    show::evaluation(&text, &evaluation, pool.now, printer);
    Ok(code_of(&evaluation))
}

fn explained(flags: &FormulaWorld, place: &Place, printer: &Printer) -> Result<ExitCode, Failure> {
    let Given { text, pool } = Given::read(flags, place)?;
    let Some(formula) = parsed(&text, &pool, printer) else { return Ok(ExitCode::FAILURE) };
    let (evaluation, steps) = formula.trace(&pool.world());
    explain::steps(&formula, &steps, printer);
    show::evaluation(&text, &evaluation, pool.now, printer);
    Ok(code_of(&evaluation))
}

fn code_of(evaluation: &Evaluation) -> ExitCode {
    if evaluation.error.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The formula; a mistake is shown as the service's *evaluate* would answer it.
fn parsed(text: &str, pool: &Pool, printer: &Printer) -> Option<Formula> {
    match autoscale::parse(text) {
        Ok(formula) => Some(formula),
        Err(mistake) => {
            match Evaluation::of_mistake(&mistake, &pool.world()) {
                Some(evaluation) => show::evaluation(text, &evaluation, pool.now, printer),
                None => show::mistake(text, &mistake, printer),
            }
            None
        }
    }
}

/// What the command line names.
struct Given {
    text: String,
    pool: Pool,
}

/// The pool that a formula is evaluated for.
struct Pool {
    now: Timestamp,
    history: History,
    targets: Targets,
    seed: u64,
}

impl Given {
    fn read(flags: &FormulaWorld, place: &Place) -> Result<Given, Failure> {
        let is_stdin = |path: &Path| path == Path::new("-");
        if is_stdin(&flags.file) && flags.samples.as_deref().is_some_and(is_stdin) {
            return Err(Failure("only one of FILE and --samples can be standard input".to_owned()));
        }
        let now = flags.now.unwrap_or_else(|| Timestamp::from_unix_ms(place.clock().now_ms()));
        let Source { text, .. } = formula(&flags.file)?;
        let history = match &flags.samples {
            Some(path) => {
                let lines = read(path, SAMPLES_BYTES_MAX)?;
                samples::parse(&lines, now).map_err(|why| Failure(format!("{}: {why}", path.display())))?
            }
            None => History::new(samples::PERIOD),
        };
        let targets = Targets { dedicated: flags.dedicated, low_priority: flags.low_priority };
        Ok(Given { text, pool: Pool { now, history, targets, seed: flags.seed } })
    }
}

impl Pool {
    fn world(&self) -> World<'_> {
        let deallocation = Deallocation::default();
        World { now: self.now, history: &self.history, targets: self.targets, deallocation, seed: self.seed }
    }
}

/// The text of the formula that a file holds, and `taskSlotsPerNode` where the file says it.
pub(crate) fn text_of(path: &Path) -> Result<(String, Option<u32>), Failure> {
    formula(path).map(|Source { text, slots }| (text, slots))
}

/// The formula that a file holds, and what the file says of its pool.
fn formula(path: &Path) -> Result<Source, Failure> {
    let content = read(path, FORMULA_BYTES_MAX)?;
    Source::of(content).map_err(|why| Failure(format!("{}: {why}", path.display())))
}

/// A file's text, or standard input's for `-`.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(bytes_max + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_string(&mut text))
    };
    match read {
        Ok(bytes) if bytes as u64 <= bytes_max => Ok(text),
        Ok(_) => Err(Failure(format!("{}: larger than {bytes_max} bytes", path.display()))),
        Err(error) => Err(Failure(format!("{}: {error}", path.display()))),
    }
}
