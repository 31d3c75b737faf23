//! A stand-in on a free port, and signed requests to it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clock::Clock;
use hmac::{Hmac, KeyInit, Mac};
use local::azure_batch::{Options, Programs, Server};
use reqwest::Method;
use serde_json::{Value, json};

/// The version that the newest released SDK sends.
pub const VERSION: &str = "api-version=2025-06-01";
/// A loaded machine starts a process late; nothing here takes so long by itself.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(10);
const DATE: &str = "Sat, 21 Nov 2026 04:41:07 GMT";

/// A running stand-in; its folder goes with it.
pub struct Stand {
    /// Taken when a test stops it itself.
    pub server: Option<Server>,
    pub folder: PathBuf,
    http: reqwest::Client,
    url: String,
    key: String,
}

/// An answer, read whole.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.bytes)))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.bytes.clone()).expect("the tests' files are text")
    }

    /// Status and code of a refusal, whose body must have the service's shape.
    pub fn refusal(&self) -> (u16, String) {
        let body = self.json();
        assert_eq!(body["message"]["lang"], "en-US", "{body}");
        let message = body["message"]["value"].as_str().expect("a message");
        assert!(message.contains("\nRequestId:") && message.contains("\nTime:"), "{message}");
        (self.status, body["code"].as_str().expect("a code").to_owned())
    }
}

/// Options of a stand-in whose machines are there at once and which runs any program.
pub fn at_once() -> Options {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("switchyard-azure-batch-{}-{number}", std::process::id()));
    Options {
        programs: Programs::Any,
        arrival: Duration::ZERO,
        boot: Duration::ZERO,
        restore: Duration::from_millis(1),
        ..Options::new(folder)
    }
}

/// The body of a pool of spot nodes.
pub fn pool(id: &str, spot: usize) -> Value {
    json!({
        "id": id,
        "vmSize": "Standard_NC4as_T4_v3",
        "virtualMachineConfiguration": {
            "imageReference": {"publisher": "microsoft-dsvm", "offer": "ubuntu-hpc", "sku": "2404"},
            "nodeAgentSKUId": "batch.node.ubuntu 24.04",
        },
        "targetLowPriorityNodes": spot,
    })
}

impl Stand {
    /// A pool `p` of spot nodes with one slot each and a job `j`.
    pub async fn with_pool(spot: usize) -> Stand {
        let stand = Stand::start(Options { pools: vec![pool("p", spot)], ..at_once() });
        stand.expect(201, "POST", "/jobs", json!({"id": "j", "poolInfo": {"poolId": "p"}})).await;
        stand
    }

    pub fn start(options: Options) -> Stand {
        Stand::start_on(options, Clock::REAL)
    }

    pub fn start_on(options: Options, clock: Clock) -> Stand {
        let (key, folder) = (options.key.clone(), options.folder.clone());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let server = Server::start(listener, options, clock).expect("the stand-in starts on a fresh port");
        let url = server.url().to_owned();
        Stand { server: Some(server), folder, http: reqwest::Client::new(), url, key }
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("the test has not stopped it")
    }

    /// A signed request. `target` is a path with or without a query of its own, or the whole
    /// address of a next page.
    pub async fn call(
        &self,
        method: &str,
        target: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let target = target.strip_prefix(&self.url).unwrap_or(target);
        let target = match target.contains("api-version=") {
            true => target.to_owned(),
            false => format!("{target}{}{VERSION}", if target.contains('?') { "&" } else { "?" }),
        };
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let mut headers: Vec<(String, String)> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        headers.push(("ocp-date".to_owned(), DATE.to_owned()));
        if !["GET", "HEAD"].contains(&method) {
            headers.push(("content-length".to_owned(), body.len().to_string()));
        }
        if !body.is_empty() {
            headers.push(("content-type".to_owned(), "application/json; odata=minimalmetadata".to_owned()));
        }
        let authorization = format!("SharedKey devbatch:{}", self.signature(method, &target, &headers));
        headers.push(("authorization".to_owned(), authorization));
        self.send(method, &target, body, &headers).await
    }

    /// A request as it is.
    pub async fn send(
        &self,
        method: &str,
        target: &str,
        body: String,
        headers: &[(String, String)],
    ) -> Answer {
        let method: Method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}{target}", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = request.send().await.expect("the stand-in answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.expect("the stand-in answers whole").to_vec();
        Answer { status, headers, bytes }
    }

    fn signature(&self, method: &str, target: &str, headers: &[(String, String)]) -> String {
        let header = |name: &str| {
            headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value.as_str())
        };
        let url = url::Url::parse(&format!("{}{target}", self.url)).expect("the test's path is one");
        let mut lines = vec![method];
        lines.extend(
            ["content-encoding", "content-language", "content-length", "content-md5", "content-type", "date"]
                .map(header),
        );
        lines.extend(
            ["if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"].map(header),
        );
        let mut own: Vec<String> = headers
            .iter()
            .filter(|(name, _)| name.starts_with("ocp-"))
            .map(|(name, value)| format!("{name}:{value}"))
            .collect();
        own.sort();
        let mut query: Vec<String> =
            url.query_pairs().map(|(name, value)| format!("{name}:{value}")).collect();
        query.sort();
        let path = format!("/devbatch{}", url.path());
        let text = [lines.join("\n"), own.join("\n"), path, query.join("\n")].join("\n");
        let key = BASE64.decode(&self.key).expect("the key is base64");
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).expect("any length");
        mac.update(text.as_bytes());
        BASE64.encode(mac.finalize().into_bytes())
    }

    /// A request with a body whose status is known.
    pub async fn expect(&self, status: u16, method: &str, target: &str, body: Value) -> Answer {
        let answer = self.call(method, target, Some(body), &[]).await;
        assert_eq!(answer.status, status, "{method} {target}: {}", String::from_utf8_lossy(&answer.bytes));
        answer
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.call("GET", target, None, &[]).await
    }

    /// A request to the stand-in's own controls, which need no signature.
    pub async fn control(&self, path: &str, body: Value) -> Answer {
        self.send("POST", &format!("/standin/{path}"), body.to_string(), &[]).await
    }

    /// Adds a task to the job `j`.
    pub async fn task(&self, id: &str, command_line: &str, with: Value) {
        let mut task = json!({"id": id, "commandLine": command_line});
        let members = with.as_object().expect("the test writes an object").clone();
        task.as_object_mut().expect("an object").extend(members);
        self.expect(201, "POST", "/jobs/j/tasks", task).await;
    }

    /// The task of the job `j` once it is in a state.
    pub async fn task_in(&self, id: &str, state: &str) -> Value {
        self.object_when(&format!("/jobs/j/tasks/{id}"), "state", state).await
    }

    /// An object once one of its members has a value.
    pub async fn object_when(&self, target: &str, member: &str, value: impl Into<Value>) -> Value {
        let (limit, value) = (Instant::now() + LIMIT, value.into());
        loop {
            let object = self.get(target).await.json();
            if object[member] == value {
                return object;
            }
            assert!(Instant::now() < limit, "{target}: {member} never became {value}: {object}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Waits for a condition, with a bound.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < limit, "never: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a process is there. One that has ended counts as gone, even before it is reaped.
pub fn alive(pid: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) else { return false };
    // The state follows the name, which is in brackets and may hold anything.
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    !matches!(state, Some('Z' | 'X'))
}
