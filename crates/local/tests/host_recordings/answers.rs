//! What a handler's answer to an envelope means: `env-` cases.

use bytes::Bytes;
use hyper::Response;
use local::host::invocation::read_answer;
use serde_json::Value;

use crate::assert_all;
use crate::cases::PARTS;
use crate::raw::Message;

fn check(case: &Value) -> Result<(), String> {
    let text = case["answered"].as_str().unwrap_or_default();
    let text = text.split(" [connection closed]").next().unwrap_or_default();
    let message = Message::parse(text.as_bytes()).ok_or("not a whole answer")?;
    let status: u16 = message.status().parse().map_err(|_| "no status")?;
    let mut response = Response::builder().status(status);
    for (name, values) in &message.headers {
        response = response.header(name, &values[0]);
    }
    let response = response.body(Bytes::from(message.body)).map_err(|error| error.to_string())?;
    let ours = match read_answer(&response) {
        None => "NEVER COMPLETES",
        Some(Ok(_)) => "SUCCEEDED",
        Some(Err(_)) => "FAILED",
    };
    let theirs = case["outcome"]["invocation"].as_str().unwrap_or_default();
    if theirs.starts_with(ours) { Ok(()) } else { Err(format!("ours {ours}, theirs {theirs}")) }
}

#[test]
fn answers_mean_what_they_mean_to_the_real_host() {
    let cases = PARTS.replayed_by("answers::answers_mean_what_they_mean_to_the_real_host");
    assert_all(cases.into_iter().map(|(id, case)| (id, check(&case))).collect());
}
