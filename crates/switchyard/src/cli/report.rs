//! What `switchyard report` takes.

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::Target;

/// What rows may be told apart by.
const BY: [&str; 8] = ["team", "project", "cost-center", "environment", "tenant", "lane", "model", "job"];

/// `switchyard report`
#[derive(Debug, Args)]
pub struct Report {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the command's own help")]
    pub target: Target,
    /// The month, in UTC, as 2026-11; this one where it is left out.
    #[arg(long, value_name = "YYYY-MM")]
    pub month: Option<String>,
    /// What rows are told apart by.
    #[arg(long, value_name = "WHAT", default_value = "team", value_parser = PossibleValuesParser::new(BY))]
    pub by: String,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
}
