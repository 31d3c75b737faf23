//! One request: built, signed, sent, and its answer read to a bound and judged.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Method;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::client::{Client, Credential};
use super::error::{CallError, Problem};
use super::retry::{self, Setback};
use crate::azure::identity::{Identity, scope};
use crate::telemetry;

/// What is read of an answer. The largest that we ask for is a page of 1,000 jobs with four members
/// each, about 200 kB.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What is read of an error; a flat body has a few hundred bytes.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// A request, as often as it is sent.
#[derive(Debug)]
pub(super) struct Call {
    /// For people.
    name: &'static str,
    method: Method,
    url: Url,
    body: Option<Bytes>,
    /// First and last byte that are wanted of a file.
    range: Option<(u64, u64)>,
    /// The one status that means success; everything else is a proxy's or an error.
    expected: u16,
    /// What is read of the answer.
    answer_bytes_max: usize,
}

/// A successful answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Headers.
    pub(super) headers: HeaderMap,
    /// The whole body.
    pub(super) body: Bytes,
}

impl Call {
    /// A request without a body.
    pub(super) fn new(name: &'static str, method: Method, url: Url, expected: u16) -> Call {
        let answer_bytes_max = ANSWER_BYTES_MAX;
        Call { name, method, url, body: None, range: None, expected, answer_bytes_max }
    }

    /// With this JSON.
    pub(super) fn json(self, body: &impl Serialize) -> Call {
        let body = serde_json::to_vec(body).expect("our shapes have text keys and finite numbers");
        self.bytes(body)
    }

    /// With this JSON, already written.
    pub(super) fn bytes(self, body: impl Into<Bytes>) -> Call {
        Call { body: Some(body.into()), ..self }
    }

    /// Only these bytes of a file, both ends included.
    pub(super) fn range(self, first: u64, last: u64) -> Call {
        Call { range: Some((first, last)), ..self }
    }

    /// Reads at most this much.
    pub(super) fn at_most(self, answer_bytes_max: usize) -> Call {
        Call { answer_bytes_max, ..self }
    }

    /// Sends it once.
    pub(super) async fn attempt(&self, client: &Client, id: &str) -> Result<Answer, Setback> {
        let mut request = client.http().request(self.method.clone(), self.url.clone());
        request = request.headers(self.headers(client, id).await?);
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        let span = telemetry::dependency(self.method.as_str(), self.name, &self.url, None);
        let ended = match request.send().await {
            Ok(answer) => {
                span.status(answer.status().as_u16());
                self.judge(client, answer).await
            }
            Err(error) => {
                span.failed();
                Err(unreachable(&error))
            }
        };
        if let Err(setback) = &ended {
            let (again, error) = match setback {
                Setback::Final(error) => (false, error),
                Setback::Passing { error, .. } => (true, error),
            };
            tracing::debug!(call = self.name, request_id = id, again, %error, "azure batch call failed");
        }
        ended
    }

    async fn headers(&self, client: &Client, id: &str) -> Result<HeaderMap, Setback> {
        let mut headers = HeaderMap::new();
        let plain =
            |text: String| HeaderValue::try_from(text).expect("ids, dates and numbers are plain text");
        let accept = if self.range.is_some() { "application/octet-stream" } else { "application/json" };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        headers.insert("client-request-id", plain(id.to_owned()));
        // As the official client does it: the date is there to be signed.
        if matches!(client.credential(), Credential::SharedKey(_)) {
            headers.insert("ocp-date", plain(retry::date(client.now())));
        }
        if self.body.is_some() {
            let json = HeaderValue::from_static("application/json; odata=minimalmetadata");
            headers.insert(CONTENT_TYPE, json);
        }
        if let Some((first, last)) = self.range {
            headers.insert("ocp-range", plain(format!("bytes={first}-{last}")));
        }
        let body_bytes = self.body.as_ref().map_or(0, Bytes::len);
        let authorization = match client.credential() {
            Credential::SharedKey(key) => key.authorization(&self.method, &self.url, &headers, body_bytes),
            Credential::Identity { identity, .. } => bearer(identity, &self.url).await?,
        };
        headers.insert(AUTHORIZATION, authorization);
        // It is signed as 0 and must then be sent, which the HTTP client does not do for every method.
        if self.body.is_none() && !matches!(self.method, Method::GET | Method::HEAD) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Ok(headers)
    }

    async fn judge(&self, client: &Client, answer: reqwest::Response) -> Result<Answer, Setback> {
        let status = answer.status().as_u16();
        if status == self.expected {
            let headers = answer.headers().clone();
            let body = self.read(answer).await?;
            return Ok(Answer { headers, body });
        }
        let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let asked = asked.and_then(|value| retry::retry_after(value, client.now()));
        let problem = Problem::of_answer(status, &beginning(answer, ERROR_BYTES_MAX).await);
        Err(setback(status, asked, problem, client.account()))
    }

    async fn read(&self, mut answer: reqwest::Response) -> Result<Bytes, Setback> {
        let mut body = BytesMut::new();
        loop {
            match answer.chunk().await {
                Ok(Some(part)) if body.len() + part.len() <= self.answer_bytes_max => body.extend(part),
                Ok(Some(_)) => {
                    let what = format!("it has more than {} bytes", self.answer_bytes_max);
                    return Err(Setback::Final(CallError::unreadable(what)));
                }
                Ok(None) => return Ok(body.freeze()),
                // What was asked for is done; asking again is harmless, because all calls are
                // idempotent by the ids in them.
                Err(error) => return Err(unreachable(&error)),
            }
        }
    }
}

impl Answer {
    /// The body as this shape.
    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        // The error's own words might quote the body.
        let place = |error: serde_json::Error| format!("line {}, column {}", error.line(), error.column());
        serde_json::from_slice(&self.body).map_err(|error| {
            CallError::unreadable(format!("its body is not of the known shape ({})", place(error)))
        })
    }
}

/// A token, for https only: whoever reads it may act as we do until it ends.
async fn bearer(identity: &Identity, url: &Url) -> Result<HeaderValue, Setback> {
    if url.scheme() != "https" {
        let what = "a token is sent over https only; give BATCH_ACCOUNT_KEY for this endpoint";
        return Err(Setback::Final(CallError::not_sent(what)));
    }
    let unavailable = |what| Setback::Passing { asked: None, error: CallError::Unavailable { what } };
    let token = identity.token(scope::BATCH).await.map_err(unavailable)?;
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.token.secret()))
        .map_err(|_| unavailable("the identity's token is no plain text".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn unreachable(error: &reqwest::Error) -> Setback {
    let what = if error.is_connect() { "no connection" } else { "the connection was lost" };
    Setback::Passing { asked: None, error: CallError::Unavailable { what: what.to_owned() } }
}

/// What an answer other than the expected one means. Besides what the official client was seen to
/// retry (429, 500, 503) these are the statuses of front doors that have lost the service.
fn setback(status: u16, asked: Option<Duration>, problem: Problem, account: &str) -> Setback {
    let Problem { code, message } = problem;
    // Its own 30 s are longer than any retry here: whoever asked comes back.
    if super::autoscale::TOO_SOON.contains(&code.as_str()) {
        return Setback::Final(CallError::Rejected { code, message });
    }
    let busy = asked.is_some() || matches!(code.as_str(), "ServerBusy" | "TooManyRequests");
    match status {
        429 => Setback::Passing { asked, error: CallError::Throttled { retry_after: asked } },
        503 if busy => Setback::Passing { asked, error: CallError::Throttled { retry_after: asked } },
        408 | 500 | 502 | 503 | 504 => {
            let what = format!("it answered {status} {code}");
            Setback::Passing { asked, error: CallError::Unavailable { what } }
        }
        401 | 403 => Setback::Final(CallError::Refused { account: account.to_owned(), code }),
        200..=399 => Setback::Final(CallError::unreadable(format!("its status is {status}"))),
        _ => Setback::Final(CallError::Rejected { code, message }),
    }
}

/// The first bytes of a body, fewer when the connection ends; enough of an error to read it.
async fn beginning(mut answer: reqwest::Response, bytes_max: usize) -> Bytes {
    let mut body = BytesMut::new();
    while let Ok(Some(part)) = answer.chunk().await {
        body.extend(&part[..part.len().min(bytes_max - body.len())]);
        if body.len() == bytes_max {
            break;
        }
    }
    body.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_judged_by_whether_another_attempt_helps() {
        let judged = |status, asked: Option<u64>, code: &str| {
            let problem = Problem { code: code.to_owned(), message: "m".to_owned() };
            match setback(status, asked.map(Duration::from_secs), problem, "acct") {
                Setback::Final(error) => (false, error),
                Setback::Passing { error, .. } => (true, error),
            }
        };
        let throttled = |s: Option<u64>| CallError::Throttled { retry_after: s.map(Duration::from_secs) };
        let unavailable = |what: &str| CallError::Unavailable { what: what.to_owned() };
        let refused = |code: &str| CallError::Refused { account: "acct".into(), code: code.into() };
        let rejected = |code: &str| CallError::Rejected { code: code.into(), message: "m".into() };
        let cases = [
            (429, None, "", true, throttled(None)),
            (429, Some(9), "ServerBusy", true, throttled(Some(9))),
            (503, None, "ServerBusy", true, throttled(None)),
            (503, Some(9), "", true, throttled(Some(9))),
            (503, None, "http-503", true, unavailable("it answered 503 http-503")),
            (
                503,
                Some(9),
                "TooManyEnableAutoScaleRequests",
                false,
                rejected("TooManyEnableAutoScaleRequests"),
            ),
            (500, None, "InternalError", true, unavailable("it answered 500 InternalError")),
            (502, None, "http-502", true, unavailable("it answered 502 http-502")),
            (403, None, "AuthenticationFailed", false, refused("AuthenticationFailed")),
            (401, None, "http-401", false, refused("http-401")),
            (404, None, "JobNotFound", false, rejected("JobNotFound")),
            (409, None, "TaskExists", false, rejected("TaskExists")),
            (413, None, "RequestBodyTooLarge", false, rejected("RequestBodyTooLarge")),
            (302, None, "http-302", false, CallError::unreadable("its status is 302")),
            (202, None, "http-202", false, CallError::unreadable("its status is 202")),
        ];
        for (status, asked, code, again, error) in cases {
            assert_eq!(judged(status, asked, code), (again, error), "{status} {code}");
        }
    }
}
