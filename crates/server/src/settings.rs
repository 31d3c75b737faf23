//! What was given (flags and environment) and what it means.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use engine::Limits;

/// Serves a sentence encoder over the OpenAI API.
#[derive(Clone, Debug, Parser)]
#[command(name = "server")]
pub struct Flags {
    /// Folder of the model: config.json, model.safetensors, tokenizer.json, sentence_bert_config.json, 1_Pooling/config.json.
    #[arg(long, value_name = "DIR", env = "MODEL_PATH")]
    pub model: PathBuf,
    /// The model's id in requests.
    #[arg(long, value_name = "ID", env = "MODEL_NAME", default_value = "minilm")]
    pub model_name: String,
    /// Another id of the model. May be repeated.
    #[arg(long, value_name = "ID")]
    pub alias: Vec<String>,
    /// Address to listen on; without it, all addresses on PORT when that is set, else 127.0.0.1:8080. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Port to listen on, on all addresses, when --listen is not given.
    #[arg(long, env = "PORT")]
    pub port: Option<u16>,
    /// Threads that encode; without it, one a core.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Tokens of one engine batch. More makes short requests wait for longer batches.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_batch_tokens: u32,
    /// Tokens that may wait; past them requests are refused with 429.
    #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_queued_tokens: u32,
    /// Longest input in tokens, longer ones are cut; without it, what sentence_bert_config.json says.
    #[arg(long, value_parser = clap::value_parser!(u32).range(3..))]
    pub max_tokens: Option<u32>,
    /// What computes. `test` gives made-up vectors.
    #[arg(long, value_enum, default_value_t = BackendKind::Cpu)]
    pub backend: BackendKind,
    /// Whether a GPU should be used. This build has none and runs on the CPU either way.
    #[arg(long, env = "GPU_ENABLED", default_value = "false", action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pub gpu_enabled: bool,
    /// Seconds that requests under way get after SIGTERM.
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    pub drain: u64,
    /// Makes each batch of the test back end take so long.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub test_delay_ms: u64,
    /// Makes loading take so much longer.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub test_load_ms: u64,
    /// End when the process that started this one has ended.
    #[arg(long)]
    pub exit_with_parent: bool,
}

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendKind {
    /// The encoder on the CPU.
    Cpu,
    /// Made-up vectors, for tests.
    Test,
}

/// What the flags mean.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The model's id and aliases, the id first.
    pub names: Vec<String>,
    /// How the model comes up.
    pub load: Load,
    /// How long requests under way get at the end.
    pub drain: Duration,
}

/// How the model comes up.
#[derive(Clone, Debug)]
pub struct Load {
    /// Its folder.
    pub folder: PathBuf,
    /// Longest input in tokens; `None` takes the model's own limit.
    pub max_tokens: Option<usize>,
    /// Threads that encode.
    pub threads: usize,
    /// How much runs and waits.
    pub limits: Limits,
    /// What computes.
    pub backend: BackendKind,
    /// How long each batch of the test back end takes.
    pub test_delay: Duration,
    /// How much longer loading takes.
    pub test_load: Duration,
}

/// The port without `--listen` and `PORT`.
const PORT_DEFAULT: u16 = 8080;

impl Flags {
    /// What the flags mean together.
    pub fn settings(self) -> Settings {
        let listen = match (self.listen, self.port) {
            (Some(address), _) => address,
            (None, Some(port)) => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
            (None, None) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT_DEFAULT),
        };
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let load = Load {
            folder: self.model,
            max_tokens: self.max_tokens.map(|tokens| tokens as usize),
            threads: self.threads.map_or_else(cores, usize::from),
            limits: Limits {
                batch_tokens: self.max_batch_tokens as usize,
                queued_tokens: self.max_queued_tokens as usize,
            },
            backend: self.backend,
            test_delay: Duration::from_millis(self.test_delay_ms),
            test_load: Duration::from_millis(self.test_load_ms),
        };
        let names = std::iter::once(self.model_name).chain(self.alias).collect();
        Settings { listen, names, load, drain: Duration::from_secs(self.drain) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(arguments: &[&str]) -> Settings {
        let given = ["server", "--model", "m"].iter().chain(arguments);
        Flags::try_parse_from(given).expect("the flags parse").settings()
    }

    #[test]
    fn an_address_wins_over_a_port() {
        for (arguments, expected) in [
            (&["--listen", "127.0.0.1:0", "--port", "80"][..], "127.0.0.1:0"),
            (&["--port", "80"], "0.0.0.0:80"),
            (&[], "127.0.0.1:8080"),
        ] {
            assert_eq!(settings(arguments).listen.to_string(), expected);
        }
    }

    #[test]
    fn aliases_follow_the_name() {
        let names = settings(&["--model-name", "a", "--alias", "b", "--alias", "org/c"]).names;
        assert_eq!(names, ["a", "b", "org/c"]);
    }

    #[test]
    fn impossible_values_are_refused() {
        for arguments in
            [["--threads", "0"], ["--max-batch-tokens", "0"], ["--max-tokens", "2"], ["--gpu-enabled", "x"]]
        {
            assert!(
                Flags::try_parse_from(["server", "--model", "m"].iter().chain(&arguments)).is_err(),
                "{arguments:?}"
            );
        }
    }
}
