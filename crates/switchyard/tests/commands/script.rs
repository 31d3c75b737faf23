//! A Switchyard that says what a test wrote down, over real HTTP on port 0. A call that was not
//! expected, and one that was and never came, fail the test.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

/// One call and its answer.
pub struct Exchange {
    call: String,
    status: u16,
    headers: String,
    body: String,
    /// Stays until another call comes.
    stays: bool,
}

/// `call` is as `GET /api/jobs?limit=20`.
pub fn on(call: &str, status: u16, body: impl ToString) -> Exchange {
    let (call, body) = (call.to_owned(), body.to_string());
    Exchange { call, status, headers: String::new(), body, stays: false }
}

impl Exchange {
    pub fn with(mut self, header: &str) -> Exchange {
        self.headers.push_str(header);
        self.headers.push_str("\r\n");
        self
    }

    pub fn stays(mut self) -> Exchange {
        self.stays = true;
        self
    }
}

/// A call as it came.
#[derive(Debug)]
pub struct Seen {
    pub call: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub struct Script {
    address: SocketAddr,
    play: JoinHandle<(Vec<Seen>, Vec<String>)>,
}

impl Script {
    pub fn start(exchanges: Vec<Exchange>) -> Script {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        Script { address, play: std::thread::spawn(move || play(&listener, exchanges.into())) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was called, if it was as written down.
    pub fn end(self) -> Vec<Seen> {
        // A connection without a call is the end.
        let _ = TcpStream::connect(self.address);
        let (seen, wrong) = self.play.join().unwrap();
        assert!(
            wrong.is_empty(),
            "{wrong:#?}\nafter {:#?}",
            seen.iter().map(|seen| &seen.call).collect::<Vec<_>>()
        );
        seen
    }
}

fn play(listener: &TcpListener, mut expected: VecDeque<Exchange>) -> (Vec<Seen>, Vec<String>) {
    let (mut seen, mut wrong) = (Vec::new(), Vec::new());
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let Some(call) = read(&stream) else { break };
        let stays = expected.front().is_some_and(|first| first.stays && first.call == call.call);
        let next = expected.get(1).map(|next| &next.call);
        if expected.front().is_some_and(|first| first.stays) && next == Some(&call.call) {
            expected.pop_front();
        }
        match expected.front() {
            Some(exchange) if exchange.call == call.call => answer(&mut stream, exchange),
            _ => {
                wrong.push(format!("not expected now: {}", call.call));
                answer(&mut stream, &on("", 418, "{}"));
            }
        }
        if !stays {
            expected.pop_front();
        }
        seen.push(call);
    }
    let came = |exchange: &&Exchange| exchange.stays && seen.iter().any(|seen| seen.call == exchange.call);
    let missed = expected.iter().filter(|exchange| !came(exchange));
    wrong.extend(missed.map(|exchange| format!("never came: {}", exchange.call)));
    (seen, wrong)
}

/// None where the connection ends without a call.
fn read(stream: &TcpStream) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        // A caller that is killed sends half a call, or none.
        let _ = reader.read_line(&mut line);
        line.trim_end().to_owned()
    };
    let call = line().strip_suffix(" HTTP/1.1")?.to_owned();
    let headers: Vec<(String, String)> = std::iter::from_fn(|| {
        let line = line();
        line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()))
    })
    .collect();
    let mut seen = Seen { call, headers, body: Vec::new() };
    let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    seen.body.resize(length, 0);
    reader.read_exact(&mut seen.body).ok()?;
    Some(seen)
}

fn answer(stream: &mut TcpStream, Exchange { status, headers, body, .. }: &Exchange) {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} said\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n");
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}
