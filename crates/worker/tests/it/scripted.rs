//! A server that answers as a test tells it to, byte for byte: also what no real server would say.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

/// Longest wait of a test for something that should happen.
pub const BOUND: Duration = Duration::from_secs(60);

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its number, from 0.
    pub n: usize,
    /// Request line and headers.
    pub head: String,
    /// Its body; null where there is none.
    pub body: Value,
}

impl Call {
    /// What it asks to embed.
    pub fn input(&self) -> &str {
        self.body["input"].as_str().unwrap_or_default()
    }
}

/// An answer.
pub enum Reply {
    /// Status, headers as `name: value\r\n`, body.
    Http(u16, &'static str, String),
    /// These bytes instead of HTTP.
    Raw(&'static str),
    /// Nothing, for as long as the client waits.
    Silence,
}

/// What an OpenAI-compatible server would say: deterministic, so that runs can be compared.
pub fn embedding(call: &Call) -> Reply {
    let length = call.input().len();
    let data = json!([{"object": "embedding", "index": 0, "embedding": [length, 0.5]}]);
    let body = json!({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": length, "total_tokens": length}});
    // Pretty, as some servers write it: results are one line all the same.
    Reply::Http(200, "", serde_json::to_string_pretty(&body).unwrap())
}

/// The server; it ends with this value.
pub struct Scripted {
    pub url: Url,
    calls: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

type Script = dyn Fn(Call) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync;

impl Scripted {
    /// Serves by a function of the request.
    pub async fn plain(answer: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Scripted {
        Scripted::new(move |call| {
            let reply = answer(&call);
            Box::pin(async move { reply })
        })
        .await
    }

    /// Serves by an asynchronous function of the request.
    pub async fn new(
        script: impl Fn(Call) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync + 'static,
    ) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let (script, counted): (Arc<Script>, _) = (Arc::new(script), calls.clone());
        let serving = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, counted) = (script.clone(), counted.clone());
                open.spawn(async move {
                    // A client that goes away in the middle is what some tests are about.
                    let _ = serve(stream, &*script, &counted).await;
                });
            }
        });
        Scripted { url, calls, serving }
    }

    /// Requests that arrived.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Serves one request of a connection and closes it.
async fn serve(stream: TcpStream, script: &Script, calls: &AtomicUsize) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await?;
    let n = calls.fetch_add(1, Ordering::SeqCst);
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let answer = match script(Call { n, head, body }).await {
        Reply::Http(status, headers, body) => {
            format!(
                "HTTP/1.1 {status} x\r\n{headers}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            )
        }
        Reply::Raw(text) => text.to_owned(),
        Reply::Silence => std::future::pending().await,
    };
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
