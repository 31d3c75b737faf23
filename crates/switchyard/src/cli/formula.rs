//! What `switchyard formula` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `switchyard formula`
#[derive(Debug, Subcommand)]
pub enum Formula {
    /// Say whether the service would take a formula, and what in it the service does not document.
    ///
    /// Exit code: 0 it would; 1 it would not, or FILE cannot be read.
    Check(FormulaCheck),
    /// Say what is unwise in a formula that the service would take: what kills work, buys what nobody
    /// needs, or does something else than it looks like. docs/operations.md lists the rules.
    ///
    /// Exit code: 0 nothing but notes; 1 errors or warnings, or the formula is refused.
    Lint(FormulaLint),
    /// Evaluate a formula on samples, and print what the service would.
    ///
    /// Exit code: 0 evaluated; 1 refused, or the evaluation failed and would not resize.
    Eval(FormulaWorld),
    /// Tell statement by statement what a formula computes, with the values under the samples.
    Explain(FormulaWorld),
}

/// `switchyard formula check`
#[derive(Debug, Args)]
pub struct FormulaCheck {
    /// The formula; `-` is standard input.
    pub file: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `switchyard formula lint`
#[derive(Debug, Args)]
pub struct FormulaLint {
    /// The formula, a pool's JSON as `az batch pool show` prints it, or a JSON array of lines; `-` is
    /// standard input.
    pub file: PathBuf,
    /// The pool's taskSlotsPerNode; else as FILE says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub slots: Option<u32>,
    /// Print one JSON object for each finding.
    #[arg(long)]
    pub json: bool,
}

/// `switchyard formula eval` and `switchyard formula explain`
#[derive(Debug, Args)]
pub struct FormulaWorld {
    /// The formula; `-` is standard input.
    pub file: PathBuf,
    /// JSON lines as {"at": -30, "ActiveTasks": 3}: `at` is seconds before now, or a moment. Without
    /// them the pool is new and has no sample. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub samples: Option<PathBuf>,
    /// The time of the evaluation, as 2026-11-21T10:00:00Z; else the clock's.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub now: Option<autoscale::Timestamp>,
    /// Dedicated nodes that the pool aims at now.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub dedicated: u32,
    /// Low-priority nodes that the pool aims at now.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub low_priority: u32,
    /// What rand() draws from.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Print one JSON object a line.
    #[arg(long)]
    pub json: bool,
}

fn moment(text: &str) -> Result<autoscale::Timestamp, String> {
    autoscale::Timestamp::parse(text).ok_or_else(|| "give a moment as 2026-11-21T10:00:00Z".to_owned())
}
