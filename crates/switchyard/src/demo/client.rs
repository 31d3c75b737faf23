//! A client of the OpenAI API that retries as the vendor's SDKs do: on 408, 409, 429 and 5xx,
//! after the pause that the answer asks for.

use std::time::{Duration, Instant};

use local::stack::{MODEL, Ready};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use wire::status::Status;

/// Retries before a request counts as failed.
const RETRIES_MAX: usize = 30;
/// Pause after a failure that names none.
const PAUSE_DEFAULT: Duration = Duration::from_millis(500);
/// The longest pause that is believed, as in the SDKs.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A single try takes no longer.
const TRY_LIMIT: Duration = Duration::from_secs(60);

/// Sends requests to the stack's handler.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base_url: String,
    api_key: String,
    admin_key: String,
}

/// An answer, whatever its status.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    pub(super) took: Duration,
}

/// An answer that came in the end, and the refusals before it.
pub(super) struct Final {
    pub(super) answer: Answer,
    pub(super) refusals: Vec<String>,
    pub(super) took: Duration,
}

impl Client {
    pub(super) fn new(ready: &Ready) -> Client {
        Client {
            http: reqwest::Client::new(),
            base_url: ready.base_url.clone(),
            api_key: ready.api_key.clone(),
            admin_key: ready.admin_key.clone(),
        }
    }

    /// One try.
    pub(super) async fn embed_once(
        &self,
        texts: &[&str],
        headers: &[(&'static str, &str)],
    ) -> Result<Answer, String> {
        let began = Instant::now();
        let mut request = self.http.post(format!("{}/embeddings", self.base_url)).bearer_auth(&self.api_key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = json!({"model": MODEL, "input": texts});
        let answer =
            request.timeout(TRY_LIMIT).json(&body).send().await.map_err(|error| error.to_string())?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.bytes().await.map_err(|error| error.to_string())?;
        let body = serde_json::from_slice(&text).unwrap_or(Value::Null);
        Ok(Answer { status, headers, body, took: began.elapsed() })
    }

    /// Tries until it succeeds; `told` hears of every refusal.
    pub(super) async fn embed(&self, texts: &[&str], told: &(dyn Fn(&str) + Sync)) -> Result<Final, String> {
        let began = Instant::now();
        let mut refusals = Vec::new();
        loop {
            let (why, pause) = match self.embed_once(texts, &[]).await {
                Ok(answer) if answer.status == 200 => {
                    return Ok(Final { answer, refusals, took: began.elapsed() });
                }
                Ok(answer) if !answer.may_be_retried() => return Err(answer.refusal()),
                Ok(answer) => (answer.refusal(), answer.pause()),
                Err(error) => (error, PAUSE_DEFAULT),
            };
            told(&why);
            refusals.push(why);
            if refusals.len() > RETRIES_MAX {
                return Err(format!("still refused after {RETRIES_MAX} retries: {}", refusals[RETRIES_MAX]));
            }
            tokio::time::sleep(pause).await;
        }
    }
}

impl Client {
    /// Uploads a file of batch lines.
    pub(super) async fn upload(&self, name: &str, text: &str) -> Result<Value, String> {
        const BOUNDARY: &str = "switchyard-demo-boundary";
        let body = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
             --{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/jsonl\r\n\r\n{text}\r\n--{BOUNDARY}--\r\n"
        );
        let request = self.http.post(format!("{}/files", self.base_url));
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        self.json(request.header("content-type", kind).body(body)).await
    }

    /// Posts JSON under the base URL.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.json(self.http.post(format!("{}{path}", self.base_url)).json(body)).await
    }

    /// Gets JSON under the base URL.
    pub(super) async fn get(&self, path: &str) -> Result<Value, String> {
        self.json(self.http.get(format!("{}{path}", self.base_url))).await
    }

    /// A job as its owner sees it.
    pub(super) async fn job(&self, id: &str) -> Result<Value, String> {
        let root = self.base_url.trim_end_matches("/v1");
        self.json(self.http.get(format!("{root}/jobs/{id}"))).await
    }

    /// The status page, as an operator sees it.
    pub(super) async fn status(&self) -> Result<Status, String> {
        let url = format!("{}/status", self.base_url.trim_end_matches("/v1"));
        let answer = self.http.get(url).bearer_auth(&self.admin_key).timeout(TRY_LIMIT).send().await;
        let answer =
            answer.and_then(reqwest::Response::error_for_status).map_err(|error| error.to_string())?;
        answer.json().await.map_err(|error| error.to_string())
    }

    /// Gets text under the base URL.
    pub(super) async fn text(&self, path: &str) -> Result<String, String> {
        let request = self.http.get(format!("{}{path}", self.base_url));
        let answer = request.bearer_auth(&self.api_key).timeout(TRY_LIMIT).send().await;
        answer.map_err(|error| error.to_string())?.text().await.map_err(|error| error.to_string())
    }

    async fn json(&self, request: reqwest::RequestBuilder) -> Result<Value, String> {
        let answer = request.bearer_auth(&self.api_key).timeout(TRY_LIMIT).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body: Value = answer.json().await.map_err(|error| error.to_string())?;
        if status.is_success() { Ok(body) } else { Err(format!("{status}: {}", body["error"]["message"])) }
    }
}

/// The numbers of a vector in base64 of little-endian 32-bit floats.
pub(super) fn floats(base64: &str) -> Option<Vec<f64>> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).ok()?;
    let float = |four: &[u8]| Some(f64::from(f32::from_le_bytes(four.try_into().ok()?)));
    bytes.chunks(4).map(float).collect()
}

impl Answer {
    /// A header's text, or a dash.
    pub(super) fn header(&self, name: &str) -> String {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned()
    }

    /// `estimate=0.031;currency=USD;…` → `0.031`.
    pub(super) fn cost(&self) -> String {
        let header = self.header("switchyard-cost");
        let estimate = header.split(';').find_map(|part| part.trim().strip_prefix("estimate="));
        estimate.unwrap_or("-").to_owned()
    }

    /// The error's code, for answers that are errors.
    pub(super) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("-")
    }

    fn refusal(&self) -> String {
        let message = self.body["error"]["message"].as_str().unwrap_or("no message");
        format!("{} {}: {message}", self.status, self.code())
    }

    fn may_be_retried(&self) -> bool {
        match self.header("x-should-retry").as_str() {
            "true" => true,
            "false" => false,
            _ => matches!(self.status, 408 | 409 | 429) || self.status >= 500,
        }
    }

    fn pause(&self) -> Duration {
        let millis = self.header("retry-after-ms").parse().ok().map(Duration::from_millis);
        let seconds = || self.header("retry-after").parse().ok().map(Duration::from_secs);
        millis.or_else(seconds).unwrap_or(PAUSE_DEFAULT).min(PAUSE_MAX)
    }

    /// The vectors, in the order of the inputs.
    pub(super) fn vectors(&self) -> Result<Vec<Vec<f64>>, String> {
        let data = self.body["data"].as_array().ok_or("the answer has no data")?;
        let vector = |item: &Value| {
            let numbers = item["embedding"].as_array().ok_or("an embedding is not a list")?;
            Ok(numbers.iter().map(|number| number.as_f64().unwrap_or(f64::NAN)).collect())
        };
        data.iter().map(vector).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Headers = &'static [(&'static str, &'static str)];

    fn answer(status: u16, headers: Headers) -> Answer {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Answer { status, headers: headers.collect(), body: Value::Null, took: Duration::ZERO }
    }

    #[test]
    fn retries_follow_status_and_headers_as_the_sdks_do() {
        // status, headers → retried, pause in ms
        let cases: [(u16, Headers, bool, u64); 7] = [
            (429, &[("retry-after-ms", "250"), ("retry-after", "1")], true, 250),
            (503, &[("retry-after", "2")], true, 2000),
            (502, &[], true, 500),
            (422, &[], false, 500),
            (422, &[("x-should-retry", "true")], true, 500),
            (503, &[("x-should-retry", "false")], false, 500),
            (429, &[("retry-after-ms", "999999999")], true, 60_000),
        ];
        for (status, headers, retried, pause_ms) in cases {
            let answer = answer(status, headers);
            assert_eq!(answer.may_be_retried(), retried, "{status} {headers:?}");
            assert_eq!(answer.pause(), Duration::from_millis(pause_ms), "{status} {headers:?}");
        }
    }

    #[test]
    fn the_cost_is_the_estimate() {
        const COST: Headers = &[("switchyard-cost", "estimate=0.031;currency=USD;prices=2026-11-01")];
        assert_eq!(answer(200, COST).cost(), "0.031");
        assert_eq!(answer(200, &[]).cost(), "-");
    }
}
