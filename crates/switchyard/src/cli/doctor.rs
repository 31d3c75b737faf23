//! What `switchyard doctor` takes.

use std::path::PathBuf;

use clap::Args;

/// `switchyard doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// Look only at what needs no service: settings, knobs, catalogue, and the files named below.
    #[arg(long)]
    pub before_deploy: bool,
    /// App settings: a local.settings.json, what `az functionapp config appsettings list` prints, or lines as
    /// `azd env get-values` prints them. Else those of the stack that `switchyard up` runs in this working
    /// copy, else this command's own environment.
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// State folder of the stack, if it was started with one.
    #[arg(long, value_name = "DIR", conflicts_with = "settings")]
    pub state: Option<PathBuf>,
    /// Address of the app that serves, as https://HOST; else the stack's, else setting SWITCHYARD_URL.
    #[arg(long, value_name = "URL", conflicts_with = "before_deploy")]
    pub url: Option<String>,
    /// Output of `az batch account show`, `az containerapp env list-usages` or `az vm list-usage`, saved as
    /// JSON, to compare quotas with; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub usages: Vec<PathBuf>,
    /// A catalogue, instead of the one that settings lead to.
    #[arg(long, value_name = "FILE", requires = "before_deploy")]
    pub catalogue: Option<PathBuf>,
    /// A pool's JSON or template: its machines, image and formula.
    #[arg(long, value_name = "FILE", requires = "before_deploy")]
    pub pool: Option<PathBuf>,
    /// An autoscale formula.
    #[arg(long, value_name = "FILE", requires = "before_deploy")]
    pub formula: Option<PathBuf>,
    /// The handler's program, instead of the stack's, or of building it.
    #[arg(long, value_name = "FILE")]
    pub handler: Option<PathBuf>,
    /// Take the programs that lie beside this one, without building.
    #[arg(long)]
    pub no_build: bool,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
}
