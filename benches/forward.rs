//! What a forwarded request costs: the handler beside a do-nothing warp + reqwest forwarder, in
//! the same run, alternating. Whole processes are measured from outside: CPU time and peak memory
//! as the kernel counts them, and the time from start to the first answer.
//!
//! `cargo bench --bench forward [-- --requests 20000 --rounds 5]`

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints, spawns and reads the clock"
)]
#![allow(missing_docs, reason = "a bench has no public items")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use warp::Filter;

/// Set in the child that plays the do-nothing forwarder; its value is the upstream's URL.
const FORWARDER: &str = "SWITCHYARD_BENCH_FORWARDER";
/// The kernel counts CPU time in hundredths of a second (USER_HZ, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;
/// Keep-alive clients at once.
const CLIENTS: usize = 8;
const KEY: &str = "sy-benchkey-abcdefghijklmnopqrstuvwxyz234567";
const BODY: &str =
    r#"{"model":"bench","input":"The quick brown fox jumps over the lazy dog.","encoding_format":"base64"}"#;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if let Ok(upstream) = std::env::var(FORWARDER) {
        return runtime.block_on(forwarder(upstream));
    }
    let arguments: Vec<String> = std::env::args().collect();
    let number = |flag: &str, default: usize| {
        let at = arguments.iter().position(|argument| argument == flag);
        at.and_then(|at| arguments.get(at + 1)).map_or(default, |value| value.parse().expect("a number"))
    };
    runtime.block_on(compare(number("--requests", 20_000), number("--rounds", 5)));
}

async fn compare(requests: usize, rounds: usize) {
    let folder = std::env::temp_dir().join(format!("switchyard-bench-{}", std::process::id()));
    let upstream = upstream().await;
    let mut handler = start_handler(&folder, &upstream);
    let mut forwarder = start_forwarder(&upstream);
    load(&handler, requests / 10).await;
    load(&forwarder, requests / 10).await;

    let mut rows = Vec::new();
    for round in 1..=rounds {
        let of_handler = cost(&handler, requests).await;
        let of_forwarder = cost(&forwarder, requests).await;
        println!("round {round}: handler {of_handler:.1} us CPU a request, forwarder {of_forwarder:.1}");
        rows.push((of_handler, of_forwarder));
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let of_handler = median(rows.iter().map(|row| row.0).collect());
    let of_forwarder = median(rows.iter().map(|row| row.1).collect());
    let ratio = median(rows.iter().map(|row| row.0 / row.1).collect());
    println!("\n{requests} requests a round, {CLIENTS} keep-alive clients, medians of {rounds} rounds");
    println!("                          handler   forwarder   ratio");
    println!("CPU a request, us       {of_handler:9.1} {of_forwarder:11.1} {ratio:7.2}");
    let (peak, other) = (peak_mib(&handler.child), peak_mib(&forwarder.child));
    println!("peak memory, MiB        {peak:9.1} {other:11.1} {:7.2}", peak / other);
    let (first, other) = (handler.first_answer, forwarder.first_answer);
    println!("start to first answer, s{:9.3} {:11.3}", first.as_secs_f64(), other.as_secs_f64());

    for process in [&mut handler, &mut forwarder] {
        process.child.kill().expect("our own child");
        process.child.wait().expect("our own child");
    }
    std::fs::remove_dir_all(folder).expect("our own folder");
}

/// A process under measurement.
struct Process {
    child: Child,
    url: String,
    first_answer: Duration,
}

/// Starts a program that prints `listening on URL`, and waits for its first answer.
fn start(mut command: Command) -> Process {
    let began = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let url = lines
        .find_map(|line| Some(line.ok()?.split_once("listening on ")?.1.trim().trim_matches('"').to_owned()))
        .expect("the program says where it listens");
    std::thread::spawn(move || lines.for_each(drop));
    let address = url.trim_start_matches("http://").to_owned();
    while !answers(&address) {
        std::thread::yield_now();
    }
    Process { child, url, first_answer: began.elapsed() }
}

fn answers(address: &str) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return false };
    let request = format!("GET /api/health HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && !answer.is_empty()
}

fn start_handler(folder: &Path, upstream: &str) -> Process {
    std::fs::create_dir_all(folder.join("blob/config")).expect("a temporary folder");
    let key_hash: String = Sha256::digest(KEY).iter().map(|byte| format!("{byte:02x}")).collect();
    let catalogue = serde_json::json!({
        "v": 1,
        "models": [{ "id": "bench", "operations": ["embeddings"], "version": "v1.0", "max_input_tokens": 512,
            "dimensions": 384, "footprint_mib": 100, "owned_by": "bench", "created": 1_760_000_000 }],
        "backends": [{ "name": "bench", "url": upstream, "region": "local", "models": ["bench"], "style": "openai",
            "gpu_class": "cpu", "usd_per_replica_hour": 1.0, "price_date": "2026-11-01", "slots_per_replica": 1000,
            "max_replicas": 10, "speed": { "base_ms": 1, "per_item_us": 1, "per_token_in_us": 1,
            "per_token_out_us": 0, "p95_percent": 150 }, "cold_start_ms": { "p50": 100, "p95": 200 } }],
        "tenants": [{ "id": "bench", "keys": [{ "prefix": "benchkey", "sha256": key_hash,
            "permissions": ["submit", "read", "cancel"] }], "weight": 1 }],
    });
    std::fs::write(folder.join("blob/config/catalogue.json"), catalogue.to_string()).expect("our own folder");
    std::fs::write(folder.join("knobs.json"), "{}").expect("our own folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_handler"));
    command.args(["--listen", "127.0.0.1:0"]).env_clear();
    command.env("BLOB_URL", format!("file://{}", folder.join("blob").display()));
    command.env("KNOBS_FILE", folder.join("knobs.json"));
    start(command)
}

fn start_forwarder(upstream: &str) -> Process {
    let this: PathBuf = std::env::current_exe().expect("this bench has a path");
    let mut command = Command::new(this);
    command.env(FORWARDER, upstream);
    start(command)
}

/// CPU microseconds that the process spends on one request.
async fn cost(process: &Process, requests: usize) -> f64 {
    let before = cpu_seconds(&process.child);
    load(process, requests).await;
    (cpu_seconds(&process.child) - before) * 1e6 / requests as f64
}

async fn load(process: &Process, requests: usize) {
    let client =
        reqwest::Client::builder().pool_max_idle_per_host(CLIENTS).no_proxy().build().expect("a client");
    let workers = (0..CLIENTS).map(|_| {
        let (client, url) = (client.clone(), format!("{}/api/v1/embeddings", process.url));
        tokio::spawn(async move {
            for _ in 0..requests / CLIENTS {
                let request =
                    client.post(&url).bearer_auth(KEY).header("content-type", "application/json").body(BODY);
                let answer = request.send().await.expect("an answer");
                assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
                answer.bytes().await.expect("a body");
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.expect("the load succeeds");
    }
}

/// An upstream that answers every POST with one vector, as base64.
async fn upstream() -> String {
    let vector = "A".repeat(2_048);
    let answer = format!(
        r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":"{vector}"}}],"model":"bench","usage":{{"prompt_tokens":10,"total_tokens":10}}}}"#
    );
    let route = warp::body::bytes()
        .map(move |_| warp::reply::with_header(answer.clone(), "content-type", "application/json"));
    let (listener, url) = any_port().await;
    tokio::spawn(warp::serve(route).incoming(listener).run());
    url
}

/// The do-nothing forwarder: every request to the upstream, every answer back, both streamed.
async fn forwarder(upstream: String) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let route = warp::method()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .and_then(move |method, path: warp::path::FullPath, headers, body| {
            let request = client.request(method, format!("{upstream}{}", path.as_str()));
            async move { forward(request, headers, body).await.map_err(|_| warp::reject()) }
        });
    let (listener, url) = any_port().await;
    println!("listening on {url}");
    warp::serve(route).incoming(listener).run().await;
}

async fn any_port() -> (tokio::net::TcpListener, String) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound port"));
    (listener, url)
}

async fn forward(
    request: reqwest::RequestBuilder,
    mut headers: warp::http::HeaderMap,
    body: impl futures_util::Stream<Item = Result<impl bytes::Buf, warp::Error>> + Send + Sync + 'static,
) -> Result<warp::reply::Response, reqwest::Error> {
    use futures_util::TryStreamExt;
    headers.remove("host");
    headers.remove("content-length");
    let body = body.map_ok(|mut part| part.copy_to_bytes(part.remaining()));
    let answer = request.headers(headers).body(reqwest::Body::wrap_stream(body)).send().await?;
    let status = answer.status();
    let mut reply = warp::reply::Reply::into_response(warp::reply::stream(answer.bytes_stream()));
    *reply.status_mut() = status;
    Ok(reply)
}

fn proc_file(child: &Child, name: &str) -> String {
    std::fs::read_to_string(format!("/proc/{}/{name}", child.id())).expect("the child runs on Linux")
}

/// User and system time so far.
fn cpu_seconds(child: &Child) -> f64 {
    let stat = proc_file(child, "stat");
    let after_name = stat.rsplit_once(") ").expect("proc(5): the name is in brackets").1;
    let ticks = |field: usize| -> f64 {
        after_name
            .split(' ')
            .nth(field)
            .and_then(|value| value.parse().ok())
            .expect("proc(5): a number of ticks")
    };
    // utime and stime are fields 14 and 15 of proc(5); the state after the name is field 3.
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

/// The most memory that was resident.
fn peak_mib(child: &Child) -> f64 {
    let status = proc_file(child, "status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("proc(5): VmHWM");
    let kib: f64 =
        line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).expect("a number of kB");
    kib / 1024.0
}
