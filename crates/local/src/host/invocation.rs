//! One invocation by envelope: `POST /{FunctionName}` at the handler, and what its answer means.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value};

use super::app::{Function, MessageEncoding, Output};
use super::link::{BodyError, HOST_VERSION, Link};
use super::storage::Storage;
use super::{identity, outputs};

/// What is posted to the handler.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// `Data.{binding}`, already encoded as the host encodes it.
    pub data: Map<String, Value>,
    /// `Metadata`, already encoded as the host encodes it.
    pub metadata: Map<String, Value>,
}

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The handler answered 2xx with a JSON object and every output was written.
    Succeeded,
    /// Anything else; the text is for the log.
    Failed(String),
}

/// A .NET string, number, bool or list travels as a JSON string that itself contains JSON text,
/// in which the host escapes the line ends that only Unicode knows.
pub fn double_encoded(value: &Value) -> Value {
    let text = value.to_string();
    let line_ends = [('\u{85}', r"\u0085"), ('\u{2028}', r"\u2028"), ('\u{2029}', r"\u2029")];
    Value::String(line_ends.iter().fold(text, |text, (raw, escaped)| text.replace(*raw, escaped)))
}

/// Invokes functions by envelope. Clones share the way to the handler.
#[derive(Clone)]
pub struct Invoker {
    pub(super) link: Link,
    pub(super) storage: Storage,
    pub(super) encoding: MessageEncoding,
    pub(super) function_timeout: Option<Duration>,
}

/// What a handler answered to an envelope: the members that the host knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Values by output binding.
    pub outputs: Option<Map<String, Value>>,
    /// Lines for the log.
    pub logs: Vec<String>,
    /// Feeds a binding named `$return`; an object takes the place of `outputs`.
    pub return_value: Option<Value>,
}

impl Answer {
    /// What was answered for a binding of `function`. A `ReturnValue` that no binding takes, and that
    /// is an object, stands in the place of the outputs.
    pub fn output(&self, function: &Function, name: &str) -> Option<&Value> {
        let taken = function.outputs.iter().any(|output| output.name() == "$return");
        match (&self.return_value, name) {
            (Some(value), "$return") => Some(value),
            (_, "$return") => None,
            (Some(Value::Object(outputs)), _) if !taken => outputs.get(name),
            _ => self.outputs.as_ref()?.get(name),
        }
    }
}

impl Invoker {
    /// Runs the function once and writes its outputs. Waits for the handler to be ready; ends with
    /// `functionTimeout` at the latest.
    pub async fn invoke(&self, function: &Arc<Function>, envelope: Envelope) -> Outcome {
        let ended = match self.call(function, envelope).await {
            Ok(answer) => self.write_queues(function, &answer).await,
            Err(why) => Err(why),
        };
        match ended {
            Ok(()) => Outcome::Succeeded,
            Err(why) => {
                tracing::warn!(function = function.name, why, "invocation failed");
                Outcome::Failed(why)
            }
        }
    }

    /// Runs the function once and gives its answer; outputs are not written yet.
    pub(super) async fn call(&self, function: &Function, envelope: Envelope) -> Result<Answer, String> {
        let run = async {
            self.link.ready().await.map_err(|gone| gone.to_string())?;
            let request = self.request(function, envelope);
            let response = self.link.send(request).await.map_err(|error| error.to_string())?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            match read_answer(&Response::from_parts(head, body)) {
                Some(read) => read,
                None => {
                    tracing::warn!(
                        function = function.name,
                        "an empty answer never completes; answer `{{}}`"
                    );
                    std::future::pending().await
                }
            }
        };
        let answer = match self.function_timeout {
            None => run.await?,
            Some(limit) => match tokio::time::timeout(limit, run).await {
                Ok(answer) => answer?,
                Err(_) => {
                    self.link.timed_out();
                    return Err(format!("timeout value of {limit:?} was exceeded"));
                }
            },
        };
        for line in &answer.logs {
            tracing::info!(target: "Function.User", function = function.name, "{line}");
        }
        Ok(answer)
    }

    fn request(&self, function: &Function, envelope: Envelope) -> Request<super::link::Outgoing> {
        let body = serde_json::json!({ "Data": envelope.data, "Metadata": envelope.metadata });
        // A stream has no length, so it is sent chunked: the real host sends envelopes that way.
        let text = Bytes::from(body.to_string());
        let stream = futures_util::stream::once(async move { Ok::<_, BodyError>(Frame::data(text)) });
        Request::builder()
            .method(Method::POST)
            .uri(format!("http://127.0.0.1:{}/{}", self.link.port, function.name))
            .header("X-Azure-Functions-HostVersion", HOST_VERSION)
            .header("X-Azure-Functions-InvocationId", identity::guid())
            .header("User-Agent", format!("Azure-Functions-Host/{HOST_VERSION}"))
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .body(StreamBody::new(stream).boxed_unsync())
            .expect("a function's name is a legal path")
    }

    /// Writes the queue outputs one by one: there is no transaction, as in Azure.
    pub(super) async fn write_queues(&self, function: &Function, answer: &Answer) -> Result<(), String> {
        for output in &function.outputs {
            let Output::Queue { name, queue_name, connection, binary } = output else { continue };
            let Some(value) = answer.output(function, name) else { continue };
            for message in outputs::messages(value, *binary)? {
                self.storage.put(connection.as_deref(), queue_name, &message, self.encoding).await?;
            }
        }
        Ok(())
    }
}

/// What an answer means. `None`: an empty answer, on which the real host waits for ever.
pub fn read_answer(response: &Response<Bytes>) -> Option<Result<Answer, String>> {
    if !response.status().is_success() {
        return Some(Err(format!("the handler answered {}", response.status())));
    }
    let body = response.body();
    let blank = body.iter().all(u8::is_ascii_whitespace);
    if blank || response.status() == StatusCode::NO_CONTENT {
        return None;
    }
    if !is_json(response.headers().get(CONTENT_TYPE)) {
        return Some(Err("the answer is not application/json".to_owned()));
    }
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    // What follows the first value is ignored.
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    match values.next() {
        Some(Ok(Value::Null)) => None,
        Some(Ok(Value::Object(members))) => Some(read_members(members)),
        Some(Ok(_)) => Some(Err("the answer is JSON but not an object".to_owned())),
        Some(Err(error)) => Some(Err(format!("the answer is not valid JSON: {error}"))),
        None => None,
    }
}

fn is_json(content_type: Option<&HeaderValue>) -> bool {
    let Some(text) = content_type.and_then(|value| value.to_str().ok()) else { return false };
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_lowercase();
    let charset = parts.find_map(|part| part.to_lowercase().strip_prefix("charset=").map(str::to_owned));
    let readable = charset.is_none_or(|charset| matches!(charset.trim_matches('"'), "utf-8" | "utf8"));
    matches!(kind.as_str(), "application/json" | "text/json") && readable
}

fn read_members(members: Map<String, Value>) -> Result<Answer, String> {
    let mut answer = Answer::default();
    for (name, value) in members {
        match (name.to_lowercase().as_str(), value) {
            (_, Value::Null) => {}
            ("outputs", Value::Object(outputs)) => answer.outputs = Some(outputs),
            ("outputs", _) => return Err("`Outputs` is not an object".to_owned()),
            ("logs", Value::Array(lines)) => {
                answer.logs = lines.iter().map(log_line).collect::<Result<_, _>>()?
            }
            ("logs", _) => return Err("`Logs` is not an array of strings".to_owned()),
            ("returnvalue", value) => answer.return_value = Some(value),
            _ => {}
        }
    }
    Ok(answer)
}

fn log_line(line: &Value) -> Result<String, String> {
    match line {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(bool) => Ok(bool.to_string()),
        Value::Null => Ok(String::new()),
        Value::Array(_) | Value::Object(_) => Err("`Logs` is not an array of strings".to_owned()),
    }
}
