//! What can be asked for on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Sends each inference request where the money is best spent. This command runs all of it on
/// one machine, without Azure.
#[derive(Debug, Parser)]
#[command(name = "switchyard", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show everything once on a real model: what was decided, why, how long it took, what it cost.
    ///
    /// Builds the programs, fetches the model (83 MB, once), starts a stack of its own, checks
    /// every answer and ends. The exit code is 0 only if all checks passed.
    Demo(Demo),
    /// Start the whole stack and keep it running until ctrl-c.
    Up(Up),
    /// Run a staged custom-handler app, in any language, under a stand-in for the Functions host.
    Host(Host),
    /// Write the folder that the Functions host runs: host.json, functions and handler side by side.
    Stage(Stage),
    /// Fetch the model, check its digests and print its folder.
    ///
    /// SWITCHYARD_MODEL_DIR names a folder that is used instead.
    Model,
}

impl Command {
    /// Whether lines on standard output are for programs.
    pub fn is_json(&self) -> bool {
        matches!(self, Command::Demo(Demo { json: true, .. }))
    }

    /// What is logged to standard error where SWITCHYARD_LOG does not say.
    pub fn log(&self) -> &'static str {
        match self {
            Command::Up(_) | Command::Host(_) => "info,hyper=warn,reqwest=warn",
            Command::Demo(_) | Command::Stage(_) | Command::Model => "error",
        }
    }
}

/// `switchyard demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub json: bool,
    /// Folder of the model, instead of fetching MiniLM.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Take the programs that lie beside this one, without building.
    #[arg(long)]
    pub no_build: bool,
}

/// `switchyard up`
#[derive(Debug, Args)]
pub struct Up {
    /// Port on 127.0.0.1; 0 takes any free one. A port that is taken is an error.
    #[arg(long, default_value_t = 7071)]
    pub port: u16,
    /// File to write addresses, keys and pids to, as JSON, once everything answers.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Folder for blobs, keys and knobs. Two stacks cannot share one.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Folder of the model, instead of fetching MiniLM.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Replicas at most.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub replicas: u32,
    /// Seconds before a new replica's process is started, as pulling an image takes.
    #[arg(long, value_name = "S", default_value_t = 0.0, value_parser = seconds)]
    pub cold_start: f64,
    /// Spot nodes of the pool that runs deferred work.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub nodes: u32,
    /// Seconds from a node that is asked for to its first task; in Azure it is minutes.
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = seconds)]
    pub boot: f64,
    /// Take the programs that lie beside this one, without building.
    #[arg(long)]
    pub no_build: bool,
}

/// `switchyard host`
#[derive(Debug, Args)]
pub struct Host {
    /// The staged folder: host.json, one folder a function and the handler's executable.
    #[arg(default_value = ".")]
    pub app_root: PathBuf,
    /// Port on 127.0.0.1; 0 takes any free one.
    #[arg(long, default_value_t = 7071)]
    pub port: u16,
    /// Connection string of the queues: Azurite's (`UseDevelopmentStorage=true`) or an account's.
    /// Without it a Storage Queue stand-in is started.
    #[arg(long, value_name = "CONNECTION_STRING")]
    pub storage: Option<String>,
    /// Check function, host and master keys, which are made on first use and kept in APP_ROOT/.keys.
    /// Without it every request may pass, as with Core Tools.
    #[arg(long)]
    pub keys: bool,
}

/// `switchyard stage`
#[derive(Debug, Args)]
pub struct Stage {
    /// The folder to write. One that was not staged before must be empty.
    #[arg(default_value = "dist")]
    pub folder: PathBuf,
    /// Take the handler that lies beside this program, without building.
    #[arg(long)]
    pub no_build: bool,
}

/// An hour is longer than any image takes to pull.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds from 0 to 3600".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_numbers_are_refused() {
        for wrong in ["--replicas=0", "--cold-start=-1", "--cold-start=soon", "--port=70000"] {
            assert!(Cli::try_parse_from(["switchyard", "up", wrong]).is_err(), "{wrong}");
        }
    }
}
