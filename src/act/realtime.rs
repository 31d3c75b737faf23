//! The realtime lane for deferred work: one line's request at a backend, admitted below what clients
//! wait for.

use std::time::Duration;

use bytes::Bytes;
use clock::Clock;
use facts::{Job, line};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use policy::Knobs;
use policy::request::Operation;
use policy::units::{Millis, UnixMs};
use serde_json::value::RawValue;

use super::forward::{Outcome, Try, forward};
use super::jobs::rescue::{Answer, Ask};
use crate::catalogue::{Backend, Catalogue};
use crate::failure::{Failure, Kind};
use crate::http::{HeaderMap, HeaderValue, Response};
use crate::metrics::Metrics;

/// How long one line's answer may take to begin, and from there to its end.
const LINE_WITHIN: Duration = Duration::from_secs(120);
/// Largest answer to a line.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long a backend should take by the catalogue for a body that is sent to it now; none: that cannot be
/// told.
pub type Expects<'a> = dyn Fn(&Backend, Operation, &[u8]) -> Option<Millis> + Sync + 'a;

/// Sends lines to the backends of a catalogue.
pub struct Realtime<'a> {
    /// Calls backends.
    pub client: &'a reqwest::Client,
    /// Counts what is under way.
    pub metrics: &'a Metrics,
    /// The backends.
    pub catalogue: &'a Catalogue,
    /// What share of them rescues may use.
    pub knobs: &'a Knobs,
    /// The time.
    pub clock: Clock,
    /// What answers are measured against.
    pub expects: &'a Expects<'a>,
}

impl Realtime<'_> {
    fn now(&self) -> UnixMs {
        UnixMs(self.clock.now_ms())
    }
}

impl Ask for Realtime<'_> {
    /// Knob `rescue-share` of all slots.
    fn at_once(&self) -> usize {
        let slots = self.catalogue.backends.iter().map(|backend| {
            backend.facts.slots_per_replica * backend.facts.max_replicas.min(self.knobs.max_replicas)
        });
        (slots.sum::<u32>() * self.knobs.rescue_share_percent / 100).max(1) as usize
    }

    async fn ask(&self, job: &Job, body: &RawValue) -> Option<Answer> {
        let operation = operation(&job.url)?;
        let serves = |backend: &&std::sync::Arc<Backend>| backend.models.contains(&job.model);
        let mut headers = HeaderMap::new();
        if let Some(trace) = job.traceparent.as_deref().and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert("traceparent", trace);
        }
        let id = HeaderValue::try_from(job.job.as_str()).ok()?;
        let body = Bytes::from(line::with_model(body, &job.model));
        for backend in self.catalogue.backends.iter().filter(serves) {
            let expected = (self.expects)(backend, operation, &body);
            let Some(under_way) = self.metrics.backend(&backend.name).begin(self.now()) else { continue };
            let tried = Try {
                backend,
                operation,
                model: &job.model,
                headers: &headers,
                id: &id,
                body: body.clone(),
                within: LINE_WITHIN,
                expected,
                asked_by: job.traceparent.as_deref(),
                // A job's own summary says what its rescue came to.
                ended: None,
            };
            match forward(self.client, tried, under_way, || self.now()).await {
                Outcome::Answered(response) | Outcome::Refused(response) => return read(response).await,
                Outcome::Failed(_) => {}
            }
        }
        None
    }
}

/// The operation of a line's `url`.
pub fn operation(url: &str) -> Option<Operation> {
    match url {
        "/v1/embeddings" => Some(Operation::Embeddings),
        "/v1/chat/completions" => Some(Operation::ChatCompletions),
        "/v1/completions" => Some(Operation::Completions),
        _ => None,
    }
}

/// The `url` of an operation's lines.
pub fn url(operation: Operation) -> &'static str {
    match operation {
        Operation::Embeddings => "/v1/embeddings",
        Operation::ChatCompletions => "/v1/chat/completions",
        Operation::Completions => "/v1/completions",
    }
}

async fn read(response: Response) -> Option<Answer> {
    let status = response.status().as_u16();
    let reading = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
    match tokio::time::timeout(LINE_WITHIN, reading).await.ok()? {
        Ok(body) => Some(Answer { status, body: body.to_bytes() }),
        // Another try would bring the same.
        Err(error) if error.is::<LengthLimitError>() => Some(too_large()),
        Err(_) => None,
    }
}

/// What a worker says of such an answer.
fn too_large() -> Answer {
    let message = format!("the answer is larger than {ANSWER_BYTES_MAX} bytes; ask for less in one request");
    let failure = Failure::new(Kind::TooLarge, line::ANSWER_TOO_LARGE, message);
    let body = serde_json::to_vec(&failure.body()).expect("an error body has only texts");
    Answer { status: failure.kind.status(), body: body.into() }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};
    use warp::Reply as _;

    use super::*;

    /// Only headers had a bound: a line whose answer stopped in the middle held up its whole rescue.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_stops_in_the_middle_is_none() {
        let begins = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{"))]);
        let response = warp::reply::stream(begins.chain(stream::pending())).into_response();
        assert!(read(response).await.is_none());
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_refused_and_not_asked_for_again() {
        let read = async |bytes| read(crate::http::bytes(200, vec![b'x'; bytes].into())).await.unwrap();
        assert_eq!(read(ANSWER_BYTES_MAX).await.body.len(), ANSWER_BYTES_MAX);
        let refused = read(ANSWER_BYTES_MAX + 1).await;
        let body: serde_json::Value = serde_json::from_slice(&refused.body).unwrap();
        assert_eq!((refused.status, body["error"]["code"].as_str()), (413, Some("answer_too_large")));
    }
}
