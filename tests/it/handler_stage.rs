//! The real handler on port 0 with a folder of its own, and a scripted upstream behind it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Channel, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

/// A tenant's key that may do everything.
pub const KEY: &str = "sy-tenantok-abcdefghijklmnopqrstuvwxyz234567";
/// A tenant's key that may only read.
pub const READER: &str = "sy-readonly-abcdefghijklmnopqrstuvwxyz234567";
/// An operator's key.
pub const ADMIN: &str = "sy-operator-abcdefghijklmnopqrstuvwxyz234567";
/// Nothing here takes longer, however loaded the machine is.
pub const BOUND: Duration = Duration::from_secs(120);

/// What the upstream does with one request.
pub enum Step {
    /// Answers this status with these headers and body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Answers 200 and an event stream whose parts come from this channel.
    Stream(mpsc::Receiver<Bytes>),
    /// Never answers; drops this when the request is given up.
    Hang(mpsc::Sender<()>),
    /// Closes the connection without an answer.
    Close,
}

/// An upstream that answers by its script, then with vectors.
pub struct Upstream {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    script: Arc<Mutex<VecDeque<Step>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A request that reached the upstream.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers as text.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
}

impl Seen {
    /// The header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// What the upstream answers once its script is over.
pub const VECTORS: &str = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.6,0.8]}],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}"#;

impl Upstream {
    /// Starts one with this script.
    pub async fn start(script: impl IntoIterator<Item = Step>) -> Upstream {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(script.into_iter().collect::<VecDeque<_>>()));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = (Arc::clone(&script), Arc::clone(&seen));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, seen) = shared.clone();
                let service =
                    service_fn(move |request| play(request, Arc::clone(&script), Arc::clone(&seen)));
                tokio::spawn(async move {
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Upstream { url, script, seen }
    }

    /// Adds a step.
    pub fn then(&self, step: Step) {
        self.script.lock().unwrap().push_back(step);
    }

    /// Everything that arrived so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

type AnyBody = BoxBody<Bytes, Infallible>;

async fn play(
    request: hyper::Request<Incoming>,
    script: Arc<Mutex<VecDeque<Step>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
) -> Result<hyper::Response<AnyBody>, std::io::Error> {
    let method = request.method().to_string();
    let path = request.uri().to_string();
    let headers = request.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    seen.lock().unwrap().push(Seen { method, path, headers, body });
    let step = script.lock().unwrap().pop_front();
    let full = |text: String| Full::new(Bytes::from(text)).boxed();
    match step {
        None => Ok(hyper::Response::builder()
            .header("content-type", "application/json")
            .body(full(VECTORS.to_owned()))
            .unwrap()),
        Some(Step::Answer(status, headers, body)) => {
            let mut response = hyper::Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(full(body)).unwrap())
        }
        Some(Step::Stream(mut parts)) => {
            let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
            tokio::spawn(async move {
                while let Some(part) = parts.recv().await {
                    if sender.send_data(part).await.is_err() {
                        return;
                    }
                }
            });
            let response = hyper::Response::builder().header("content-type", "text/event-stream");
            Ok(response.body(body.boxed()).unwrap())
        }
        Some(Step::Hang(given_up)) => {
            let _held = given_up;
            std::future::pending().await
        }
        Some(Step::Close) => Err(std::io::Error::other("closed by the script")),
    }
}

/// How the handler is started.
pub struct Stage {
    /// Its folder.
    pub folder: PathBuf,
    /// Environment besides what every test needs.
    pub env: Vec<(String, String)>,
}

impl Stage {
    /// A fresh folder with this catalogue and default knobs.
    pub fn new(catalogue: &Value) -> Stage {
        let name = format!("switchyard-it-{}-{:08x}", std::process::id(), getrandom::u32().unwrap());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(folder.join("blob/config")).unwrap();
        std::fs::write(folder.join("blob/config/catalogue.json"), catalogue.to_string()).unwrap();
        std::fs::write(folder.join("knobs.json"), "{}").unwrap();
        Stage { folder, env: Vec::new() }
    }

    /// Adds a setting.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Stage {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// The command that starts the handler.
    #[expect(clippy::disallowed_methods, reason = "tests start the real binary")]
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_handler"));
        command.env_clear();
        command.env("BLOB_URL", format!("file://{}", self.folder.join("blob").display()));
        command.env("KNOBS_FILE", self.folder.join("knobs.json"));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it with `--listen`.
    pub fn listen(self) -> Handler {
        self.try_listen().unwrap_or_else(|_| panic!("the handler says where it listens"))
    }

    /// The same; gives the stage back where the handler died before it listened.
    pub fn try_listen(self) -> Result<Handler, Stage> {
        let mut command = self.command();
        let mut child = command.args(["--listen", "127.0.0.1:0"]).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut lines = stdout.lines().map_while(Result::ok);
        let url = lines.find_map(|line| Some(line.strip_prefix("listening on ")?.to_owned()));
        let Some(url) = url else {
            child.wait().unwrap();
            return Err(self);
        };
        let log = keep(lines);
        Ok(Handler { child, url, log, stage: self, client: client() })
    }

    /// Starts it as the Functions host would, and waits until it answers.
    pub async fn under_host(self) -> Handler {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = self.command();
        let mut child = command.env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string()).spawn().unwrap();
        let log = keep(BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok));
        let handler =
            Handler { child, url: format!("http://127.0.0.1:{port}"), log, stage: self, client: client() };
        until("the handler answers", async || handler.client.get(&handler.url).send().await.is_ok()).await;
        handler
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(BOUND).build().unwrap()
}

fn keep(lines: impl Iterator<Item = String> + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&log);
    std::thread::spawn(move || lines.for_each(|line| kept.lock().unwrap().push(line)));
    log
}

/// A running handler; ended with its folder when dropped.
pub struct Handler {
    /// The process.
    pub child: Child,
    /// `http://127.0.0.1:PORT`
    pub url: String,
    /// Lines of its standard output.
    pub log: Arc<Mutex<Vec<String>>>,
    /// Its folder.
    pub stage: Stage,
    /// Calls it.
    pub client: reqwest::Client,
}

impl Handler {
    /// A GET with this key.
    pub fn get(&self, path: &str, key: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.url)).bearer_auth(key)
    }

    /// A POST of JSON with this key.
    pub fn post(&self, path: &str, key: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(key);
        request.header("content-type", "application/json").body(body)
    }

    /// A usual embeddings request.
    pub fn embed(&self) -> reqwest::RequestBuilder {
        self.post("/api/v1/embeddings", KEY, r#"{"model":"m","input":"hello"}"#)
    }

    /// Writes its knobs anew.
    pub fn set_knobs(&self, text: &str) {
        std::fs::write(self.stage.folder.join("knobs.json"), text).unwrap();
    }

    /// What it keeps under a folder of its store.
    pub fn kept(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.stage.folder.join("blob").join(folder)) else {
            return Vec::new();
        };
        entries.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.stage.folder);
    }
}

/// Waits until `check` holds, at most [`BOUND`].
pub async fn until(what: &str, check: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !check().await {
        assert!(began.elapsed() < BOUND, "{what}: not within {BOUND:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn hash(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A backend that serves `m` and `chat`.
pub fn backend(name: &str, url: &str) -> Value {
    json!({
        "name": name, "url": url, "region": "local", "models": ["m", "chat"], "style": "openai",
        "gpu_class": "cpu", "usd_per_replica_hour": 1.0, "price_date": "2026-11-01", "slots_per_replica": 100,
        "max_replicas": 4, "speed": { "base_ms": 1, "per_item_us": 10, "p95_percent": 150 },
        "cold_start_ms": { "p50": 100, "p95": 200 },
    })
}

/// A catalogue with these backends, models `m` and `chat`, a tenant, a reader and an operator.
pub fn catalogue(backends: &[Value]) -> Value {
    let model = |id: &str, aliases: &[&str], operations: &[&str]| {
        json!({ "id": id, "aliases": aliases, "operations": operations, "version": "v1.0", "digest": "sha256:ab12",
            "max_input_tokens": 256, "dimensions": 384, "footprint_mib": 100, "owned_by": "tests", "created": 1 })
    };
    let key = |key: &str, permissions: &[&str]| json!({ "prefix": key.split('-').nth(1), "sha256": hash(key), "permissions": permissions });
    json!({
        "v": 1,
        "models": [
            model("m", &["org/m"], &["embeddings"]),
            model("chat", &[], &["chat_completions", "completions"]),
            model("nowhere", &[], &["embeddings"]),
        ],
        "backends": backends,
        "tenants": [
            { "id": "dev", "keys": [key(KEY, &["submit", "read", "cancel"])] },
            { "id": "reader", "keys": [key(READER, &["read"])] },
        ],
        "admins": [{ "prefix": "operator", "sha256": hash(ADMIN) }],
    })
}
