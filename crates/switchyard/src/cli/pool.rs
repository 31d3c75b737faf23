//! What `switchyard pool` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `switchyard pool`
#[derive(Debug, Subcommand)]
pub enum Pool {
    /// Say what is wrong with a pool: machines, images and agents that end, what does not go together,
    /// what the service refuses, and its formula. docs/operations.md lists the rules.
    ///
    /// Exit code: 0 nothing but notes; 1 errors or warnings; 2 FILE cannot be read or holds no pool.
    Lint(PoolLint),
}

/// `switchyard pool lint`
#[derive(Debug, Args)]
pub struct PoolLint {
    /// The pool's JSON: from `az batch pool show`, for `az batch pool create --json-file`, or a template of
    /// Resource Manager that has one pool; `-` is standard input.
    pub file: PathBuf,
    /// The day to judge on, as 2026-11-21; else the clock's.
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub today: Option<machines::Date>,
    /// Print one JSON object for each finding.
    #[arg(long)]
    pub json: bool,
}

fn day(text: &str) -> Result<machines::Date, String> {
    machines::Date::parse(text).ok_or_else(|| "give a day as 2026-11-21".to_owned())
}
