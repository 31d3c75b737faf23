//! What goes in and what must come out: each result says which item it is of.

use std::convert::Infallible;

use bytes::Bytes;
use facts::file::Block;
use facts::line;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Lines of the usual job: three shards of two chunks of one line.
pub const LINES: u64 = 6;
const LINES_PER_BLOCK: usize = 2;

/// A line of the input: 20 s of work.
pub fn input_line(n: u64) -> String {
    let body = json!({ "model": "m", "input": format!("text {n}") });
    let line =
        json!({ "custom_id": format!("item-{n}"), "method": "POST", "url": "/v1/embeddings", "body": body });
    format!("{line}\n")
}

/// Its result.
pub fn output_line(n: u64) -> String {
    let body = RawValue::from_string(echoed(&format!("text {n}"))).unwrap();
    line::result(n, &format!("item-{n}"), 200, "", &body)
}

/// The blocks of an input.
pub fn blocks(text: &str) -> Vec<Block> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (mut offset, mut first_line) = (0, 0);
    let block = |lines: &[&str]| {
        let bytes = lines.iter().map(|line| line.len() as u64).sum();
        let count = lines.len() as u64;
        let block =
            Block { offset, bytes, first_line, lines: lines.len() as u32, items: count, ..Block::default() };
        offset += bytes;
        first_line += count;
        block
    };
    lines.chunks(LINES_PER_BLOCK).map(block).collect()
}

/// What the realtime lane answers: a result that says what it is of.
pub fn echoed(input: &str) -> String {
    let data = json!({ "object": "embedding", "index": 0, "embedding": [input.len(), 1] });
    json!({ "object": "list", "data": [data], "model": "m", "of": input }).to_string()
}

/// A server that answers every item with [`echoed`].
pub async fn echo() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    });
    url
}

async fn answer(request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let body =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = echoed(asked["input"].as_str().unwrap_or_default());
    Ok(hyper::Response::builder().header("content-type", "application/json").body(Full::from(text)).unwrap())
}
