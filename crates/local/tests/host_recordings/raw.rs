//! HTTP messages as bytes: a scripted handler, a raw client, and how messages are compared.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// How long a silent peer is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A message, parsed far enough to compare.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) first_line: String,
    pub(crate) headers: BTreeMap<String, Vec<String>>,
    pub(crate) body: Vec<u8>,
    pub(crate) complete: bool,
}

impl Message {
    /// Parses bytes; a body without its end is told by `complete`.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Message> {
        let end = find(bytes, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let first_line = lines.next()?.to_owned();
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in lines {
            let (name, value) = line.split_once(':')?;
            headers.entry(name.to_lowercase()).or_default().push(value.trim().to_owned());
        }
        let rest = &bytes[end + 4..];
        let no_content = first_line.starts_with("HTTP/1.1 204");
        let (body, complete) = if no_content {
            (Vec::new(), true)
        } else if headers.contains_key("transfer-encoding") {
            dechunk(rest)
        } else if let Some(length) =
            headers.get("content-length").and_then(|all| all[0].parse::<usize>().ok())
        {
            (rest[..rest.len().min(length)].to_vec(), rest.len() >= length)
        } else {
            (rest.to_vec(), true)
        };
        Some(Message { first_line, headers, body, complete })
    }

    pub(crate) fn status(&self) -> &str {
        self.first_line.split(' ').nth(1).unwrap_or_default()
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn dechunk(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = find(bytes, b"\r\n") else { return (body, false) };
        let size = std::str::from_utf8(&bytes[..end])
            .ok()
            .and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
        let Some(size) = size else { return (body, false) };
        if size == 0 {
            return (body, true);
        }
        let data = &bytes[end + 2..];
        if data.len() < size + 2 {
            body.extend_from_slice(&data[..data.len().min(size)]);
            return (body, false);
        }
        body.extend_from_slice(&data[..size]);
        bytes = &data[size + 2..];
    }
}

/// A handler that answers every request with the same bytes, and keeps what it received.
pub(crate) struct Script {
    pub(crate) port: u16,
    pub(crate) received: Arc<Mutex<Vec<Vec<u8>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Script {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a scripted handler does after its answer.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Then {
    KeepOpen,
    Close,
    /// Answers the first request of a connection, and closes when it has read the second.
    CloseSecond,
}

impl Script {
    pub(crate) async fn start(answer: Vec<u8>, then: Then) -> Script {
        Script::late(answer, then, Duration::ZERO).await
    }

    /// One that refuses connections at first.
    pub(crate) async fn late(answer: Vec<u8>, then: Then, after: Duration) -> Script {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let port = socket.local_addr().expect("a bound port").port();
        let listen = |socket: TcpSocket| socket.listen(1024).expect("the port is ours");
        let (now, later) = match after.is_zero() {
            true => (Some(listen(socket)), None),
            false => (None, Some(socket)),
        };
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = received.clone();
        let task = tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let listener = now.or_else(|| later.map(listen)).expect("one of the two");
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, answer.clone(), then, kept.clone()));
            }
        });
        Script { port, received, task }
    }

    /// A port that nobody listens on.
    pub(crate) fn absent() -> Script {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        Script { port, received: Arc::default(), task: tokio::spawn(async {}) }
    }
}

async fn serve(mut stream: TcpStream, answer: Vec<u8>, then: Then, received: Arc<Mutex<Vec<Vec<u8>>>>) {
    let mut first = true;
    while let Some(request) = read_request(&mut stream).await {
        received.lock().expect("not poisoned").push(request);
        if then == Then::CloseSecond && !std::mem::take(&mut first) {
            return;
        }
        if stream.write_all(&answer).await.is_err() || then == Then::Close {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

pub(crate) async fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 65_536];
    loop {
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        if Message::parse(&bytes).is_some_and(|message| message.complete) {
            return Some(bytes);
        }
    }
}

/// Sends raw bytes and reads one answer, or what came before the connection broke.
pub(crate) async fn ask(port: u16, request: &[u8], head_only: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the host listens");
    ask_on(&mut stream, request, head_only).await
}

/// As [`ask`], on a connection that may be used again.
pub(crate) async fn ask_on(stream: &mut TcpStream, request: &[u8], head_only: bool) -> Vec<u8> {
    stream.write_all(request).await.expect("the host reads");
    let (mut bytes, mut buffer) = (Vec::new(), [0; 65_536]);
    loop {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.expect("an answer in time");
        match read {
            Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
            _ => return bytes,
        }
        if bytes.starts_with(b"HTTP/1.1 100") {
            let end = find(&bytes, b"\r\n\r\n").expect("an interim answer has a head only");
            bytes.drain(..end + 4);
        }
        let whole = Message::parse(&bytes).is_some_and(|message| message.complete);
        if whole || (head_only && find(&bytes, b"\r\n\r\n").is_some()) {
            return bytes;
        }
    }
}
