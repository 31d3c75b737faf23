//! What can be asked for on the command line; a command that has several of its own is a module.

mod dead;
mod doctor;
mod formula;
mod knobs;
mod pool;
mod report;
mod tenant;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use dead::{Dead, DeadCommand, DeadDelete, DeadFilter, DeadList, DeadReplay, DeadShow, LetterId, Since};
pub use doctor::Doctor;
pub use formula::{Formula, FormulaCheck, FormulaLint, FormulaWorld};
pub use knobs::{Assignment, Knobs, KnobsAsked, KnobsSet};
pub use pool::{Pool, PoolLint};
pub use report::Report;
pub use tenant::{Limits, Tenant, TenantCommand, TenantWebhook};

use crate::client::{JobId, Key};
use crate::submit::wishes::{Deadline, Endpoint, Label, MaxCost};

/// Of every command that does not say otherwise.
const EXIT_CODES: &str =
    "Exit code: 0 done; 1 it failed; 2 the command line is wrong. Some commands say more: COMMAND --help.";

/// Sends each inference request where the money is best spent. This command runs all of it on
/// one machine, without Azure.
#[derive(Debug, Parser)]
#[command(name = "switchyard", version, arg_required_else_help = true, after_help = EXIT_CODES)]
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
    ///
    /// With --zip also the package that is deployed, the same bytes at every run; with --worker the program for
    /// the nodes of a pool. What would not start in Azure is refused: a handler that needs a newer glibc than
    /// the host's image, a worker that needs a newer one than the nodes', the wrong processor.
    Stage(Stage),
    /// Run a file of requests before a deadline, at the least cost, and write its results.
    ///
    /// FILE holds lines in the OpenAI batch form, or with --model one text a line. The same file with
    /// the same wishes is the same job: a submit that was killed is run again and doubles nothing.
    ///
    /// Exit code: 0 completed; 1 the job failed, expired or was cancelled, or something went wrong;
    /// 2 the file or the wishes were refused and nothing runs; 130 ctrl-c, and the job goes on.
    Submit(Submit),
    /// List the jobs, the newest first.
    Jobs(Jobs),
    /// Explain where a job is, why, and what one can do.
    Why(Why),
    /// Tell what is broken, at risk and wasted, and show pools and backends.
    ///
    /// For operators: the key is an admin key (--key, or setting SWITCHYARD_ADMIN_KEY with SWITCHYARD_URL).
    Status(Status),
    /// Say what is wrong with settings, identity, roles, services, pools and quotas, each with its remedy.
    ///
    /// The handler is started once more, looks at its own settings and services and ends. It writes one
    /// object, state/doctor-….json, and deletes it, and asks each backend for its models; all else is read.
    ///
    /// Exit code: 0 all is well; 1 there are warnings, or doctor itself failed; 2 something is broken.
    Doctor(Doctor),
    /// Tell what a month cost, by team or otherwise.
    ///
    /// Rows add up to the total, idle machines and starts have rows of their own, and beside each stands the
    /// same work, all of it in the realtime lane.
    ///
    /// For operators: the key is an admin key (--key, or setting SWITCHYARD_ADMIN_KEY with SWITCHYARD_URL).
    Report(Report),
    /// List, set and roll back what is tuned while the system runs.
    ///
    /// For operators: the key is an admin key (--key, or setting SWITCHYARD_ADMIN_KEY with SWITCHYARD_URL).
    #[command(subcommand)]
    Knobs(Knobs),
    /// List dead letters: messages that nobody works on. Show, replay and delete them.
    ///
    /// For operators: the key is an admin key (--key, or setting SWITCHYARD_ADMIN_KEY with SWITCHYARD_URL).
    Dead(Dead),
    /// Take a job to the realtime lane: sooner, and dearer.
    Promote(One),
    /// Stop a job; what is done by then is kept.
    Cancel(One),
    /// Show and change the tenants of a catalogue: keys, limits, weights, webhooks.
    ///
    /// Handlers read a changed catalogue within 65 s. A catalogue in a container is fetched, changed here
    /// and put back with the account's own tools.
    Tenant(Tenant),
    /// Print where the running stack is, as settings for a shell: `. <(switchyard env)`.
    ///
    /// The OpenAI SDKs and `az batch` read them.
    Env(Env),
    /// Fetch the model, check its digests and print its folder.
    ///
    /// SWITCHYARD_MODEL_DIR names a folder that is used instead.
    Model,
    /// Check, lint, evaluate or explain an Azure Batch autoscale formula, without Azure.
    #[command(subcommand)]
    Formula(Formula),
    /// Check an Azure Batch pool, without Azure: machines and images that end, and what else is wrong.
    #[command(subcommand)]
    Pool(Pool),
}

impl Command {
    /// Whether lines on standard output are for programs.
    pub fn is_json(&self) -> bool {
        match self {
            Command::Demo(Demo { json, .. })
            | Command::Submit(Submit { json, .. })
            | Command::Jobs(Jobs { json, .. })
            | Command::Why(Why { json, .. })
            | Command::Status(Status { json, .. })
            | Command::Stage(Stage { json, .. })
            | Command::Report(Report { json, .. })
            | Command::Promote(One { json, .. })
            | Command::Tenant(Tenant { json, .. })
            | Command::Doctor(Doctor { json, .. })
            | Command::Cancel(One { json, .. }) => *json,
            Command::Up(_) | Command::Host(_) | Command::Env(_) | Command::Model => false,
            Command::Formula(Formula::Check(FormulaCheck { json, .. })) => *json,
            Command::Formula(Formula::Lint(FormulaLint { json, .. })) => *json,
            Command::Pool(Pool::Lint(PoolLint { json, .. })) => *json,
            Command::Knobs(command) => command.is_json(),
            Command::Dead(command) => command.is_json(),
            Command::Formula(Formula::Eval(world) | Formula::Explain(world)) => world.json,
        }
    }

    /// What is logged to standard error where SWITCHYARD_LOG does not say.
    pub fn log(&self) -> &'static str {
        match self {
            Command::Up(_) | Command::Host(_) => "info,hyper=warn,reqwest=warn",
            _ => "error",
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
    /// Sentences of the deferred job; more of them leave less time for a rescue.
    #[arg(long, value_name = "N", default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1_000..=12_000))]
    pub sentences: u32,
    /// Play a day of the pool instead: from no node and back, with a storm of evictions (three and a half minutes).
    #[arg(long, conflicts_with = "sentences")]
    pub day: bool,
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
    /// File to write addresses, keys and pids to, as JSON, once everything answers; always written
    /// to ready.json in the state folder too.
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
    /// Begin with no node and let Rebalance buy them, as in Azure: at the next tick of five minutes.
    #[arg(long)]
    pub autoscale: bool,
    /// Nodes of the pool that runs deferred work.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub nodes: u32,
    /// Seconds from a node that is asked for to its first task; in Azure it is minutes.
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = seconds)]
    pub boot: f64,
    /// Endpoint on this machine that is told when a batch ends, as http://127.0.0.1:PORT/PATH. The
    /// secret that its requests are signed with stands in the ready file, new with each start.
    #[arg(long, value_name = "URL", value_parser = loopback_url)]
    pub webhook: Option<String>,
    /// Catalogue whose models, backends, pools and tenants are added to the local ones: to put vLLM or
    /// Azure OpenAI beside them. Keys of its backends come from settings that end in _API_KEY, secrets of its
    /// webhooks from those that end in _WEBHOOK_SECRET.
    #[arg(long, value_name = "FILE")]
    pub catalogue: Option<PathBuf>,
    /// Keep queues and facts in a storage emulator that runs on this machine: `UseDevelopmentStorage=true`,
    /// or a connection string with its key. Time cannot run faster then.
    ///
    /// Azurite: `npx azurite --inMemoryPersistence --disableTelemetry`. Without this flag queues are a
    /// stand-in in memory, and facts a folder.
    #[arg(long, value_name = "CONNECTION_STRING")]
    pub storage: Option<String>,
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
    /// Without it the account that setting AzureWebJobsStorage__queueServiceUri names, by the managed identity
    /// of IDENTITY_ENDPOINT; without both a Storage Queue stand-in is started.
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
    /// Pack the folder as FILE, to be deployed; its handler is built static.
    #[arg(long, value_name = "FILE")]
    pub zip: Option<PathBuf>,
    /// Write the worker as FILE, for the nodes of a pool.
    #[arg(long, value_name = "FILE")]
    pub worker: Option<PathBuf>,
    /// Take this handler, built elsewhere.
    #[arg(long, value_name = "PROGRAM")]
    pub handler_program: Option<PathBuf>,
    /// Take this worker, built elsewhere.
    #[arg(long, value_name = "PROGRAM", requires = "worker")]
    pub worker_program: Option<PathBuf>,
    /// Take the programs that lie beside this one, without building.
    #[arg(long)]
    pub no_build: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Which Switchyard is asked.
#[derive(Debug, Args)]
pub struct Target {
    /// Address of a deployment, as https://HOST; else setting SWITCHYARD_URL, else the stack that
    /// `switchyard up` runs in this working copy.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// API key; else setting SWITCHYARD_API_KEY, which other users of the machine cannot read.
    #[arg(long, value_name = "KEY")]
    pub key: Option<Key>,
    /// State folder of the stack, if it was started with one.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// `switchyard jobs`
#[derive(Debug, Args)]
pub struct Jobs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the command's own help")]
    pub target: Target,
    /// Jobs at most.
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "all", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub limit: u32,
    /// Show older ones too, to the first.
    #[arg(long)]
    pub all: bool,
    /// Show them again every two seconds until ctrl-c.
    #[arg(long, conflicts_with = "all")]
    pub watch: bool,
    /// Print one JSON object a line, a job each.
    #[arg(long)]
    pub json: bool,
}

/// `switchyard why`
#[derive(Debug, Args)]
pub struct Why {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the command's own help")]
    pub target: Target,
    /// Its id, as `switchyard jobs` shows it, with or without `batch_`.
    pub job: JobId,
    /// Show the last lines of what its tasks wrote.
    #[arg(long)]
    pub logs: bool,
    /// Show everything that was told under its trace: its request, calls and log lines of the handler, lines of
    /// the workers.
    #[arg(long)]
    pub trace: bool,
    /// Print the job as one JSON object, and then each line of its logs and its trace as one.
    #[arg(long)]
    pub json: bool,
}

/// `switchyard status`
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the command's own help")]
    pub target: Target,
    /// Show the formula of each pool too.
    #[arg(long)]
    pub formula: bool,
    /// Print the page as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `switchyard promote` and `switchyard cancel`
#[derive(Debug, Args)]
pub struct One {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the command's own help")]
    pub target: Target,
    /// Its id, as `switchyard jobs` shows it, with or without `batch_`.
    pub job: JobId,
    /// Print the job as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `switchyard env`
#[derive(Debug, Args)]
pub struct Env {
    /// State folder of the stack, if it was started with one.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// `switchyard submit`
#[derive(Debug, Args)]
pub struct Submit {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would replace the command's own help")]
    pub target: Target,
    /// Lines in the OpenAI batch form; with --model, one text a line.
    pub file: PathBuf,
    /// Take every line of FILE as a text for this model. Empty lines are left out.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// What the model does with the texts.
    #[arg(long, value_name = "PATH", requires = "model", default_value = "/v1/embeddings")]
    pub endpoint: Endpoint,
    /// When all of it must be done: a span as 20m or 2h, or an instant as 2026-11-21T10:00:00Z.
    #[arg(long, value_name = "WHEN")]
    pub deadline: Option<Deadline>,
    /// US dollars at most, as 0.25; refused where every place costs more.
    #[arg(long, value_name = "USD")]
    pub max_cost: Option<MaxCost>,
    /// A name of your own for the job; may be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<Label>,
    /// What makes the job the same or another one: the Idempotency-Key, instead of a digest of file
    /// and wishes.
    #[arg(long, value_name = "TEXT")]
    pub idempotency_key: Option<String>,
    /// Where results go, instead of FILE.results.jsonl; errors go beside. Replaced if they exist.
    #[arg(long, value_name = "FILE", conflicts_with = "detach")]
    pub output: Option<PathBuf>,
    /// End once the job is accepted.
    #[arg(long)]
    pub detach: bool,
    /// Print one JSON object a line: what happened.
    #[arg(long)]
    pub json: bool,
}

/// An hour is longer than any image takes to pull.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds from 0 to 3600".to_owned()),
    }
}

/// The stack is on one machine, and its clock may run faster than anybody else's.
fn loopback_url(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    match url.as_ref().and_then(|url| url.host_str()) {
        Some("127.0.0.1" | "[::1]" | "localhost") => Ok(text.to_owned()),
        _ => Err("give a URL on this machine, as http://127.0.0.1:8000/ends".to_owned()),
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

    #[test]
    fn webhooks_of_a_local_stack_are_local() {
        let up = |url: &str| Cli::try_parse_from(["switchyard", "up", "--webhook", url]).is_ok();
        assert!(up("http://127.0.0.1:8000/ends") && up("http://[::1]:8000") && up("http://localhost"));
        for wrong in ["https://example.com", "http://127.0.0.1.example.com", "ftp://localhost", "8000"] {
            assert!(!up(wrong), "{wrong}");
        }
    }
}
