//! Items answered by an OpenAI-compatible server: bounded in number, size and time. What may pass is
//! tried again; a refusal that names the item is its answer.

use facts::line;
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::value::{RawValue, to_raw_value};
use url::Url;
use wire::embeddings::Invalid;
use wire::openai::{ErrorBody, ErrorDetail};

use crate::backend::{Answer, Request, Trouble};
use crate::encoder::refusal;

/// Largest answer that is kept: 2,048 vectors of 384 values in decimal are 10 MB.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What is shown of an answer that makes no sense.
const SHOWN_CHARS: usize = 200;
/// A connection to a machine in the same network takes milliseconds.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A server that asks to come back sooner, or at once, is left alone for this long all the same.
const PAUSE_LEAST: Duration = Duration::from_millis(100);

/// How long an item is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Longest single attempt.
    pub attempt: Duration,
    /// No attempt begins later than this after the item's first failure.
    pub total: Duration,
    /// Pause after the first failure; it doubles with each.
    pub pause: Duration,
    /// Longest pause.
    pub pause_max: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            // What the OpenAI SDKs wait for an answer.
            attempt: Duration::from_secs(600),
            // A vLLM that is started anew loads its weights in one to two minutes.
            total: Duration::from_secs(180),
            // The pauses of the OpenAI SDKs.
            pause: Duration::from_millis(500),
            pause_max: Duration::from_secs(8),
        }
    }
}

/// A server.
pub struct Upstream {
    client: reqwest::Client,
    base: String,
    key: Option<String>,
    digest: Option<String>,
    items_at_once: usize,
    patience: Patience,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("base", &self.base).finish_non_exhaustive()
    }
}

/// What is known of a server.
#[derive(Clone)]
pub struct Server {
    /// `http://HOST:PORT`, without `/v1`.
    pub url: Url,
    /// Sent as `Authorization: Bearer …`.
    pub key: Option<String>,
    /// `sha256:…` of the weights that it serves, on its operator's word.
    pub digest: Option<String>,
}

/// How one attempt ended, if it gave no answer.
struct Miss {
    trouble: Trouble,
    /// When the server asks to come back.
    after: Option<Duration>,
}

impl Upstream {
    /// A client of this server. Calls nothing.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(server: Server, items_at_once: usize, patience: Patience) -> Result<Upstream, String> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_MAX)
            .timeout(patience.attempt)
            // A redirect would carry prompts elsewhere; a proxy of the environment likewise.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| format!("cannot build the HTTP client: {error}"))?;
        let base = server.url.as_str().trim_end_matches('/').to_owned();
        let Server { key, digest, .. } = server;
        Ok(Upstream { client, base, key, digest, items_at_once: items_at_once.max(1), patience })
    }

    /// `sha256:…` of the weights that it serves, where its operator said so.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Items under way at once.
    pub fn items_at_once(&self) -> usize {
        self.items_at_once
    }

    /// Answers one item, in as many attempts as patience allows.
    ///
    /// # Errors
    /// With the last attempt's trouble.
    pub async fn answer(&self, request: Request<'_>) -> Result<Answer, Trouble> {
        if let Some(invalid) = refuse(request.body) {
            return Ok(refusal(invalid));
        }
        let mut failing_since = None;
        for attempt in 0_u32.. {
            let miss = match self.attempt(&request).await {
                Ok(answer) => return Ok(answer),
                Err(Miss { trouble: trouble @ Trouble::Refused(_), .. }) => return Err(trouble),
                Err(miss) => miss,
            };
            let since = *failing_since.get_or_insert_with(Instant::now);
            let left = self.patience.total.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Err(miss.trouble);
            }
            let own = self.pause(attempt, request.line);
            let pause = miss.after.map_or(own, |after| after.max(own.min(PAUSE_LEAST))).min(left);
            tracing::debug!(line = request.line, attempt, error = %miss.trouble, "an item is tried again");
            tokio::time::sleep(pause).await;
        }
        unreachable!("four billion attempts outlast any patience")
    }

    /// Doubles with each attempt; a quarter of it differs from line to line, so that items which failed
    /// together do not come back together.
    fn pause(&self, attempt: u32, line: u64) -> Duration {
        let Patience { pause, pause_max, .. } = self.patience;
        let whole = pause.saturating_mul(2_u32.saturating_pow(attempt)).min(pause_max);
        whole.mul_f64(0.75 + (line % 16) as f64 / 64.0)
    }

    async fn attempt(&self, request: &Request<'_>) -> Result<Answer, Miss> {
        let body = match request.model {
            Some(model) => line::with_model(request.body, model),
            None => request.body.get().to_owned(),
        };
        let mut call = self
            .client
            .post(format!("{}{}", self.base, request.url))
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        if let Some(key) = &self.key {
            call = call.bearer_auth(key);
        }
        let response = call.send().await.map_err(|error| unreached(&error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = match read(response).await {
            Ok(body) => body,
            Err(Unread::TooLarge) => return Ok(too_large()),
            Err(Unread::Broken(error)) => {
                return Err(failing(format!("its answer broke off: {}", error.without_url())));
            }
        };
        judge(status, &headers, body)
    }
}

/// What no server must be asked: a stream is no line.
fn refuse(body: &RawValue) -> Option<Invalid> {
    #[derive(serde::Deserialize)]
    struct Asked {
        #[serde(default)]
        stream: Option<bool>,
    }
    match serde_json::from_str::<Asked>(body.get()) {
        Ok(Asked { stream: Some(true) }) => {
            Some(Invalid::new("stream", "`stream` is true; leave it out: a deferred result is one line"))
        }
        Ok(_) => None,
        Err(error) => Some(Invalid::new("body", format!("the body makes no sense: {error}"))),
    }
}

enum Unread {
    TooLarge,
    Broken(reqwest::Error),
}

async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, Unread> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(Unread::Broken)? {
        if body.len() + part.len() > ANSWER_BYTES_MAX {
            return Err(Unread::TooLarge);
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

fn judge(status: u16, headers: &HeaderMap, body: Vec<u8>) -> Result<Answer, Miss> {
    let shown = || format!("it answers {status}: {}", shown(&body));
    match status {
        408 | 409 | 425 | 429 | 503 => {
            Err(Miss { trouble: Trouble::Down(shown()), after: retry_after(headers) })
        }
        // The worker's key, path or model is wrong: every other item would meet the same.
        401 | 403 | 404 | 405 => Err(Miss { trouble: Trouble::Refused(shown()), after: None }),
        200 | 400..=499 => {
            let request_id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
            match (line::flat(body), status) {
                (Ok(body), _) => Ok(Answer { status, request_id: request_id.to_owned(), body }),
                (Err(body), 200) => Err(failing(format!("its answer is no JSON: {}", self::shown(&body)))),
                (Err(body), _) => Ok(error(status, self::shown(&body), "upstream_refused")),
            }
        }
        _ => Err(Miss { trouble: Trouble::Failing(shown()), after: retry_after(headers) }),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1_000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn unreached(error: &reqwest::Error) -> Miss {
    let what = |error: &reqwest::Error| match std::error::Error::source(error) {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    };
    // The server took the request and is gone or silent: it may be this item that does it.
    if !error.is_connect() {
        let late = if error.is_timeout() { "no answer in time" } else { "the connection broke" };
        return failing(format!("{late}: {}", what(error)));
    }
    Miss { trouble: Trouble::Down(what(error)), after: None }
}

fn failing(problem: String) -> Miss {
    Miss { trouble: Trouble::Failing(problem), after: None }
}

fn too_large() -> Answer {
    let message = format!("the answer is larger than {ANSWER_BYTES_MAX} bytes; ask for less in one request");
    error(413, message, line::ANSWER_TOO_LARGE)
}

fn error(status: u16, message: String, code: &'static str) -> Answer {
    let kind = "invalid_request_error".into();
    let error = ErrorDetail { message, kind, param: None, code: Some(code.into()), alternatives: None };
    let body = to_raw_value(&ErrorBody { error }).expect("an error body has only texts");
    Answer { status, request_id: String::new(), body }
}

fn shown(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_when_to_come_back() {
        for (name, value, expected) in [
            ("retry-after-ms", "1500", Some(Duration::from_millis(1500))),
            ("retry-after", "2", Some(Duration::from_secs(2))),
            ("retry-after", "-1", None),
            ("retry-after", "NaN", None),
            ("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT", None),
        ] {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            assert_eq!(retry_after(&headers), expected, "{name}: {value}");
        }
    }

    #[test]
    fn statuses_tell_whose_fault_it_is() {
        let verdict = |status| match judge(status, &HeaderMap::new(), b"{}".to_vec()) {
            Ok(_) => "answer",
            Err(Miss { trouble: Trouble::Down(_), .. }) => "down",
            Err(Miss { trouble: Trouble::Refused(_), .. }) => "refused",
            Err(Miss { trouble: Trouble::Failing(_) | Trouble::Unsound(_), .. }) => "failing",
        };
        for (statuses, expected) in [
            (&[200, 400, 413, 422, 451][..], "answer"),
            (&[429, 503, 408], "down"),
            (&[401, 403, 404], "refused"),
            (&[500, 502, 504, 302, 204], "failing"),
        ] {
            for status in statuses {
                assert_eq!(verdict(*status), expected, "{status}");
            }
        }
    }
}
