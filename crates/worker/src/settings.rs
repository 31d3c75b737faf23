//! What was given (flags and environment) and what it means.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgGroup, Parser};
use clock::Clock;
use facts::fault::{self, Fault};
use facts::store::is_loopback;
use url::Url;

use crate::exit;
use crate::place::Place;
use crate::upstream::{Patience, Server};

/// Runs a pack of deferred work, or a file of requests in the form of the OpenAI batch API.
#[derive(Clone, Debug, Parser)]
#[command(name = "worker", after_help = exit::HELP)]
#[command(group(ArgGroup::new("what").required(true).args(["pack", "input"])))]
#[command(group(ArgGroup::new("by").required(true).args(["model", "backend"])))]
pub struct Flags {
    /// The pack: file:///…/packs/PACK.json, a path, or https://ACCOUNT.blob.core.windows.net/CONTAINER/packs/PACK.json.
    /// AZURE_STORAGE_KEY opens the container; without it, a SAS in the URL or the managed identity.
    #[arg(long, value_name = "URL")]
    pub pack: Option<String>,
    /// By hand: a file of requests, one a line. What was done survives an interruption.
    #[arg(long, value_name = "FILE", requires = "output")]
    pub input: Option<PathBuf>,
    /// By hand: where the results go, one a line, once all are there. Must not exist.
    #[arg(long, value_name = "FILE", requires = "input", conflicts_with = "pack")]
    pub output: Option<PathBuf>,
    /// Folder of a sentence encoder, which runs in this process.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// An OpenAI-compatible server, as http://127.0.0.1:8000; BACKEND_API_KEY is its key, if it wants one.
    #[arg(long, value_name = "URL")]
    pub backend: Option<Url>,
    /// The weights that --backend serves, as sha256:…; without it, work that names its weights is refused.
    #[arg(long, value_name = "SHA256", requires = "backend", value_parser = digest)]
    pub digest: Option<String>,
    /// Items under way at once; without it, 16 at a --backend and 256 in a --model.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub concurrency: Option<u16>,
    /// Threads of a --model; without it, one a core.
    #[arg(long, value_name = "N", requires = "model", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Seconds for which an item that the --backend does not answer is tried again.
    #[arg(long, value_name = "SECONDS", default_value_t = Patience::default().total.as_secs())]
    pub patience: u64,
    /// Seconds that the --backend gets for one answer.
    #[arg(long, value_name = "SECONDS", default_value_t = Patience::default().attempt.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    pub answer_timeout: u64,
    /// Log JSON lines; always so in a task of Azure Batch.
    #[arg(long)]
    pub json_log: bool,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Task {
    /// A pack.
    Pack(Place),
    /// A file.
    File {
        /// Requests.
        input: PathBuf,
        /// Results.
        output: PathBuf,
    },
}

/// By what it is done.
#[derive(Clone)]
pub enum By {
    /// An encoder in this process.
    Model {
        /// Its folder.
        folder: PathBuf,
        /// Threads that encode.
        threads: usize,
    },
    /// A server.
    Server(Server, Patience),
}

impl Task {
    fn is_local(&self) -> bool {
        match self {
            Task::Pack(place) => place.is_local(),
            Task::File { .. } => true,
        }
    }
}

impl By {
    fn is_local(&self) -> bool {
        match self {
            By::Model { .. } => true,
            By::Server(server, _) => is_loopback(&server.url),
        }
    }
}

/// What flags and environment mean.
#[derive(Clone)]
pub struct Settings {
    /// What is to be done.
    pub task: Task,
    /// By what.
    pub by: By,
    /// Items under way at once.
    pub items_at_once: usize,
    /// Opens a container; none: a SAS or the managed identity.
    pub storage_key: Option<String>,
    /// Where the platform tells of evictions; none where this node is not evicted.
    pub notices: Option<Url>,
    /// The time.
    pub clock: Clock,
    /// A fault to meet, in tests.
    pub fault: Option<Arc<Fault>>,
    /// Whether logs are JSON.
    pub json_log: bool,
}

/// Where a virtual machine in Azure asks about itself. A setting points tests elsewhere.
const IMDS_URL: &str = "http://169.254.169.254";
/// Names the setting that overrides it.
pub const IMDS_SETTING: &str = "SWITCHYARD_IMDS_URL";
/// A generating server batches by itself; more only waits there.
const AT_A_SERVER: usize = 16;
/// Enough short texts to fill the engine's batches while finished ones are written.
const IN_A_MODEL: usize = 256;

impl Flags {
    /// What the flags mean in this environment.
    ///
    /// # Errors
    /// With every problem.
    pub fn settings(self, setting: impl Fn(&str) -> Option<String>) -> Result<Settings, Vec<String>> {
        let mut problems = Vec::new();
        let mut found = Found { setting: &setting, problems: &mut problems };
        let clock = found.kept(Clock::from_settings(&setting).map_err(|error| error.to_string()));
        let fault = found.fault();
        let notices = found.notices();
        let task = found.task(self.pack.as_deref(), self.input, self.output);
        let by = found.by(self.model, self.threads, self.backend, self.digest);
        let is_elsewhere = !task.as_ref().is_none_or(Task::is_local) || !by.as_ref().is_none_or(By::is_local);
        if is_elsewhere && clock.is_some_and(|clock| clock.is_scaled()) {
            problems.push(format!("{} is only for what runs on this machine", clock::SPEED_SETTING));
        }
        let (Some(clock), Some(task), Some(mut by), []) = (clock, task, by, &problems[..]) else {
            return Err(problems);
        };
        let mut items_at_once = IN_A_MODEL;
        if let By::Server(_, patience) = &mut by {
            items_at_once = AT_A_SERVER;
            patience.total = Duration::from_secs(self.patience);
            patience.attempt = Duration::from_secs(self.answer_timeout);
        }
        Ok(Settings {
            task,
            by,
            items_at_once: self.concurrency.map_or(items_at_once, usize::from),
            storage_key: setting("AZURE_STORAGE_KEY").filter(|key| !key.is_empty()),
            notices,
            clock,
            fault,
            json_log: self.json_log || setting("AZ_BATCH_TASK_ID").is_some(),
        })
    }
}

struct Found<'a> {
    setting: &'a dyn Fn(&str) -> Option<String>,
    problems: &'a mut Vec<String>,
}

impl Found<'_> {
    fn kept<T>(&mut self, found: Result<T, String>) -> Option<T> {
        found.map_err(|problem| self.problems.push(problem)).ok()
    }

    fn fault(&mut self) -> Option<Arc<Fault>> {
        // Nobody can ask a release build to die.
        if !cfg!(debug_assertions) {
            return None;
        }
        let text = (self.setting)(fault::SETTING)?;
        self.kept(Fault::from_setting(&text)).flatten().map(Arc::new)
    }

    fn notices(&mut self) -> Option<Url> {
        // Azure Batch says so on every node; only spot nodes are evicted.
        (self.setting)("AZ_BATCH_NODE_IS_DEDICATED").filter(|dedicated| dedicated == "false")?;
        let text = (self.setting)(IMDS_SETTING).unwrap_or_else(|| IMDS_URL.to_owned());
        self.kept(Url::parse(&text).map_err(|_| format!("{IMDS_SETTING} is no URL; leave it out")))
    }

    fn task(&mut self, pack: Option<&str>, input: Option<PathBuf>, output: Option<PathBuf>) -> Option<Task> {
        if let (Some(input), Some(output)) = (input, output) {
            return Some(Task::File { input, output });
        }
        let place = self.kept(Place::parse(pack.unwrap_or_default()));
        place.map(Task::Pack)
    }

    fn by(
        &mut self,
        model: Option<PathBuf>,
        threads: Option<u16>,
        backend: Option<Url>,
        digest: Option<String>,
    ) -> Option<By> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let url = match (model, backend) {
            (Some(folder), _) => {
                return Some(By::Model { folder, threads: threads.map_or_else(cores, usize::from) });
            }
            (None, Some(url)) => url,
            (None, None) => unreachable!("clap asks for one of the two"),
        };
        let key = (self.setting)("BACKEND_API_KEY").filter(|key| !key.is_empty());
        let problem = match url.scheme() {
            "http" if key.is_some() && !is_loopback(&url) => {
                "would show BACKEND_API_KEY to the network; give https"
            }
            "http" | "https" if url.query().is_some() || url.fragment().is_some() => {
                "has a query; give http://HOST:PORT"
            }
            "http" | "https" => return Some(By::Server(Server { url, key, digest }, Patience::default())),
            _ => "is no http URL; give http://HOST:PORT",
        };
        self.problems.push(format!("--backend {problem}"));
        None
    }
}

fn digest(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    let is_hex = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex { Ok(text.to_owned()) } else { Err("give sha256: and 64 lower-case hex digits".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Settings, String> {
        let flags = Flags::try_parse_from(["worker"].iter().chain(arguments)).map_err(|e| e.to_string())?;
        let setting = |name: &str| {
            environment.iter().find(|(found, _)| *found == name).map(|(_, value)| (*value).to_owned())
        };
        flags.settings(setting).map_err(|problems| problems.join("\n"))
    }

    const PACK: &str = "/store/packs/p.json";

    #[test]
    fn exactly_one_task_and_one_backend_are_asked_for() {
        for arguments in [
            &["--model", "m"][..],
            &["--pack", PACK],
            &["--pack", PACK, "--model", "m", "--backend", "http://127.0.0.1:1"],
            &["--pack", PACK, "--input", "a", "--output", "b", "--model", "m"],
            &["--input", "a", "--model", "m"],
            &["--output", "b", "--model", "m"],
            &["--pack", PACK, "--model", "m", "--digest", "sha256:00"],
            &["--pack", PACK, "--backend", "ftp://127.0.0.1"],
            &["--pack", PACK, "--model", "m", "--concurrency", "0"],
            &["--pack", "nowhere", "--model", "m"],
        ] {
            assert!(settings(arguments, &[]).is_err(), "{arguments:?}");
        }
        assert!(settings(&["--input", "a", "--output", "b", "--model", "m"], &[]).is_ok());
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let environment = [
            ("SWITCHYARD_SPEED", "60"),
            ("AZ_BATCH_NODE_IS_DEDICATED", "false"),
            (IMDS_SETTING, "nowhere"),
            ("BACKEND_API_KEY", "secret"),
        ];
        let arguments = ["--pack", "nowhere", "--backend", "http://example.com"];
        let problems = settings(&arguments, &environment).err().unwrap();
        for part in ["SWITCHYARD_EPOCH", IMDS_SETTING, "--pack", "--backend"] {
            assert!(problems.contains(part), "{problems} lacks {part}");
        }
        assert!(!problems.contains("secret"));
    }

    #[test]
    fn time_is_scaled_only_on_this_machine() {
        let environment = [("SWITCHYARD_SPEED", "60"), ("SWITCHYARD_EPOCH_UNIX_MS", "5")];
        let remote = "https://acct.blob.core.windows.net/sy/packs/p.json";
        for (pack, backend, is_fine) in [
            (PACK, "http://127.0.0.1:8000", true),
            (remote, "http://127.0.0.1:8000", false),
            (PACK, "https://example.com", false),
        ] {
            let found = settings(&["--pack", pack, "--backend", backend], &environment);
            assert_eq!(found.is_ok(), is_fine, "{pack} {backend}");
        }
    }

    #[test]
    fn only_spot_nodes_listen_for_their_eviction() {
        let arguments = ["--pack", PACK, "--model", "m"];
        let notices = |environment: &[(&str, &str)]| settings(&arguments, environment).unwrap().notices;
        assert_eq!(notices(&[]), None);
        assert_eq!(notices(&[("AZ_BATCH_NODE_IS_DEDICATED", "true")]), None);
        let spot = notices(&[("AZ_BATCH_NODE_IS_DEDICATED", "false")]).unwrap();
        assert_eq!(spot.as_str(), "http://169.254.169.254/");
    }
}
