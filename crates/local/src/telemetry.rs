//! A receiver of Application Insights envelopes: `POST /v2/track` and `/v2.1/track`.
//!
//! It keeps what arrives, within a bound, so that tests and the demo can read it; `GET /traces/{trace id}`
//! finds what belongs to one trace, as a query of Application Insights would. What it
//! answers can be scripted, because exporters must survive an ingestion service that fails.

use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::loopback::{self, Body, Server};

/// Older envelopes are forgotten beyond this many: about a day of a quiet local stack.
pub const KEPT_ENVELOPES: usize = 10_000;
/// The ingestion service takes bodies up to 64 MiB; before and after decompression alike.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Any GUID will do: nothing is looked up by it.
const INSTRUMENTATION_KEY: &str = "00000000-0000-0000-0000-000000000001";

/// How the next requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Script {
    /// Envelopes are kept and counted.
    #[default]
    Accept,
    /// This status, and nothing is kept.
    Fail(StatusCode),
    /// No answer at all until the client gives up.
    Hang,
}

/// What has arrived since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests, refused ones included.
    pub requests: u64,
    /// Envelopes that were accepted, forgotten ones included.
    pub envelopes: u64,
    /// Requests that were refused because they could not be read.
    pub malformed: u64,
}

/// A running receiver.
pub struct Receiver {
    server: Server,
    inbox: Arc<Inbox>,
}

#[derive(Default)]
struct Inbox {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    script: Script,
    counts: Counts,
    envelopes: VecDeque<Value>,
}

impl Receiver {
    /// Receives on `listener`.
    ///
    /// # Errors
    /// When the listener cannot be handed to the runtime.
    pub fn start(listener: std::net::TcpListener) -> std::io::Result<Receiver> {
        let inbox = Arc::new(Inbox::default());
        let shared = Arc::clone(&inbox);
        let server = Server::start(listener, move |request| {
            let inbox = Arc::clone(&shared);
            async move { inbox.answer(request).await }
        })?;
        Ok(Receiver { server, inbox })
    }

    /// The ingestion endpoint.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The value for `APPLICATIONINSIGHTS_CONNECTION_STRING`.
    pub fn connection_string(&self) -> String {
        let url = self.url();
        format!("InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint={url}/;LiveEndpoint={url}/")
    }

    /// The newest [`KEPT_ENVELOPES`], oldest first.
    pub fn envelopes(&self) -> Vec<Value> {
        self.inbox.lock().envelopes.iter().cloned().collect()
    }

    /// What has arrived since the start.
    pub fn counts(&self) -> Counts {
        self.inbox.lock().counts
    }

    /// Answers like this from the next request on.
    pub fn script(&self, script: Script) {
        self.inbox.lock().script = script;
    }

    /// Stops receiving.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if let (&Method::GET, Some(trace)) = (request.method(), request.uri().path().strip_prefix("/traces/"))
        {
            return loopback::json(StatusCode::OK, &Value::Array(self.of_trace(trace)));
        }
        let is_track = matches!(request.uri().path(), "/v2/track" | "/v2.1/track");
        if !is_track || request.method() != Method::POST {
            return loopback::json(
                StatusCode::NOT_FOUND,
                &json!({"error": "only POST /v2/track is served here"}),
            );
        }
        let script = {
            let mut state = self.lock();
            state.counts.requests += 1;
            state.script
        };
        match script {
            Script::Accept => self.accept(request).await,
            Script::Fail(status) => loopback::json(status, &verdict(0, 0, vec![])),
            Script::Hang => std::future::pending().await,
        }
    }

    async fn accept(&self, request: Request<Incoming>) -> Response<Body> {
        let is_gzip = request.headers().get("content-encoding").is_some_and(|value| value == "gzip");
        let envelopes = match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
            Ok(body) => decode(&body.to_bytes(), is_gzip),
            Err(error) => Err(error.to_string()),
        };
        match envelopes {
            Ok(envelopes) => {
                let received = envelopes.len();
                self.keep(envelopes);
                loopback::json(StatusCode::OK, &verdict(received, received, vec![]))
            }
            Err(message) => {
                self.lock().counts.malformed += 1;
                let error = json!({"index": 0, "statusCode": 400, "message": message});
                loopback::json(StatusCode::BAD_REQUEST, &verdict(0, 0, vec![error]))
            }
        }
    }

    /// What was told under a trace, and log lines that name it; the oldest first.
    fn of_trace(&self, trace: &str) -> Vec<Value> {
        let names_it = |envelope: &&Value| {
            let message = envelope["data"]["baseData"]["message"].as_str();
            envelope["tags"]["ai.operation.id"] == trace
                || message.is_some_and(|message| message.contains(trace))
        };
        let state = self.lock();
        state.envelopes.iter().filter(|_| !trace.is_empty()).filter(names_it).cloned().collect()
    }

    fn keep(&self, envelopes: Vec<Value>) {
        let mut state = self.lock();
        state.counts.envelopes += envelopes.len() as u64;
        state.envelopes.extend(envelopes);
        let surplus = state.envelopes.len().saturating_sub(KEPT_ENVELOPES);
        state.envelopes.drain(..surplus);
    }
}

fn verdict(received: usize, accepted: usize, errors: Vec<Value>) -> Value {
    json!({"itemsReceived": received, "itemsAccepted": accepted, "errors": errors})
}

/// Exporters send a JSON array or one envelope a line.
fn decode(body: &Bytes, is_gzip: bool) -> Result<Vec<Value>, String> {
    let text = if is_gzip { gunzip(body)? } else { body.to_vec() };
    let is_array = text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let envelopes: Vec<Value> = if is_array {
        serde_json::from_slice(&text).map_err(|error| error.to_string())?
    } else {
        let values = serde_json::Deserializer::from_slice(&text).into_iter();
        values.collect::<Result<_, _>>().map_err(|error| error.to_string())?
    };
    match envelopes.iter().position(|envelope| envelope["data"]["baseType"].as_str().is_none()) {
        None => Ok(envelopes),
        Some(index) => Err(format!("envelope {index} has no data.baseType")),
    }
}

fn gunzip(body: &[u8]) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let bound = BODY_BYTES_MAX as u64;
    let read = flate2::read::GzDecoder::new(body).take(bound + 1).read_to_end(&mut text);
    match read {
        Ok(_) if text.len() as u64 > bound => Err(format!("the body is longer than {bound} bytes unpacked")),
        Ok(_) => Ok(text),
        Err(error) => Err(format!("the body is not gzip: {error}")),
    }
}

#[cfg(test)]
#[path = "telemetry_tests.rs"]
mod tests;
