//! A server as a child process, ended with its test.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

/// Far above what any step takes; only a hang reaches it.
pub const BOUND: Duration = Duration::from_secs(60);

/// The committed model.
pub const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/testdata/synthetic-bert");

/// A running server.
pub struct Server {
    pub child: Child,
    pub stdout: BufReader<ChildStdout>,
    pub base: String,
    pub client: Client,
}

/// The server's command with the committed model and a free port.
#[expect(clippy::disallowed_methods, reason = "the tests' one home of child processes; Server ends them")]
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    // The caller's settings must not reach the child.
    for name in ["MODEL_PATH", "MODEL_NAME", "PORT", "GPU_ENABLED"] {
        command.env_remove(name);
    }
    command.env("RUST_LOG", "warn").stdout(Stdio::piped()).stdin(Stdio::null());
    command
}

impl Server {
    /// Starts a server and returns as soon as its port is open.
    pub fn open(arguments: &[&str]) -> Server {
        let mut command = command(env!("CARGO_BIN_EXE_server"));
        command.args(["--model", MODEL, "--listen", "127.0.0.1:0"]).args(arguments);
        Server::spawn(command)
    }

    /// Starts a server and waits until it is ready.
    pub async fn ready(arguments: &[&str]) -> Server {
        let server = Server::open(arguments);
        server.until("it is ready", async || server.get("/ready").await.status() == StatusCode::OK).await;
        server
    }

    /// Runs a command that prints where it listens.
    pub fn spawn(mut command: Command) -> Server {
        let mut child = command.spawn().expect("the server starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the server prints");
        let base = line.trim().strip_prefix("listening on ").expect("the first line says where").to_owned();
        let client = Client::builder().no_proxy().timeout(BOUND).build().expect("a client");
        Server { child, stdout, base, client }
    }

    /// Asks again and again until it is so, within [`BOUND`].
    pub async fn until(&self, what: &str, so: impl AsyncFn() -> bool) {
        let asking = async {
            while !so().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(BOUND, asking).await.unwrap_or_else(|_| panic!("not in time: {what}"));
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.base)).send().await.expect("the server answers")
    }

    pub async fn embed(&self, body: &Value) -> Response {
        let url = format!("{}/v1/embeddings", self.base);
        self.client.post(url).json(body).send().await.expect("the server answers")
    }

    /// The value of a metric without labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.text().await.expect("metrics are text");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or_else(|| panic!("no {name} in:\n{text}"))
    }

    pub fn terminate(&self) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("it is our child");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer as JSON.
pub async fn json(response: Response) -> Value {
    response.json().await.expect("the answer is JSON")
}
