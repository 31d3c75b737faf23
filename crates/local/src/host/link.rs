//! The way to the handler: one HTTP client on loopback, and how to wait for the handler to be ready.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::{mpsc, watch};

use super::identity;
use super::process::Phase;

/// Why a body that the host sends breaks off.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// What the host sends.
pub(super) type Outgoing = UnsyncBoxBody<Bytes, BodyError>;

/// The version that the recordings were made with; sent to handlers, who may log it.
pub(super) const HOST_VERSION: &str = "4.1037.0.0";
/// Where W3C Trace Context has a request's place in its trace.
const TRACEPARENT: &str = "traceparent";

/// The way to the handler. Clones share it.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) port: u16,
    phase: watch::Receiver<Phase>,
    patience: Duration,
    client: Client<HttpConnector, Outgoing>,
    timeouts: mpsc::Sender<()>,
    traced: bool,
}

/// The handler ended with exit code 0, or did not become ready within four start attempts.
#[derive(Debug, thiserror::Error)]
#[error("the handler does not run")]
pub(super) struct Gone;

impl Link {
    /// `initialization_timeout` as host.json has it: invocations wait for four start attempts.
    /// `traced`: telemetry of the host's own is configured.
    pub(super) fn new(
        port: u16,
        phase: watch::Receiver<Phase>,
        initialization_timeout: Duration,
        timeouts: mpsc::Sender<()>,
        traced: bool,
    ) -> Link {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Link { port, phase, patience: initialization_timeout * 4, client, timeouts, traced }
    }

    /// Waits until the handler answers.
    pub(super) async fn ready(&self) -> Result<(), Gone> {
        let mut phase = self.phase.clone();
        let settled = phase.wait_for(|phase| *phase != Phase::Starting);
        match tokio::time::timeout(self.patience, settled).await {
            Ok(Ok(phase)) if *phase == Phase::Ready => Ok(()),
            _ => Err(Gone),
        }
    }

    /// Sends one request; never repeated here. Under telemetry it has a trace, the client's or a new one.
    pub(super) async fn send(
        &self,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        if self.traced && !request.headers().contains_key(TRACEPARENT) {
            let parent = HeaderValue::try_from(identity::traceparent()).expect("hexadecimal is ASCII");
            request.headers_mut().insert(TRACEPARENT, parent);
        }
        self.client.request(request).await
    }

    /// Tells the supervisor that an invocation ran into `functionTimeout`.
    pub(super) fn timed_out(&self) {
        // A full channel holds time-outs enough to end the host already.
        let _ = self.timeouts.try_send(());
    }
}

/// A body of known bytes.
pub(super) fn whole(bytes: Bytes) -> Outgoing {
    if bytes.is_empty() {
        Empty::new().map_err(|never| match never {}).boxed_unsync()
    } else {
        Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
    }
}
