//! `service_tier` in answers: who asked for a tier is told which one it was really served in. A header
//! says so always; the body of a chat completion says so too, because that is where OpenAI's clients look.
//! Streams are passed on as they come.

use std::collections::HashMap;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use policy::reason::Code;
use policy::request::{Operation, Tier};
use serde_json::value::RawValue;

use crate::failure::{Failure, Kind};
use crate::http::{self, Response, header};

/// Largest completion that is read whole to be told its tier: 128 choices of 4,096 tokens are 3 MB.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Reasons that say that an answer came later than `priority` promises.
const LATE: [Code; 3] = [Code::ColdStart, Code::Queued, Code::TargetMissed];

/// Tells the tier that an answer was given in, to a client that asked for `asked`.
///
/// # Errors
/// 502 where the backend breaks off in the middle of its answer: nothing of it was sent on yet.
pub async fn tell(mut response: Response, operation: Operation, asked: Tier) -> Result<Response, Failure> {
    if !response.status().is_success() {
        return Ok(response);
    }
    let used = used(&response, asked);
    http::set(&mut response, "switchyard-service-tier", used);
    let is_plain = |response: &Response| {
        let kind = response.headers().get(header::CONTENT_TYPE);
        kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
            && !response.headers().contains_key(header::CONTENT_ENCODING)
    };
    if operation != Operation::ChatCompletions || response.status() != 200 || !is_plain(&response) {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
        tracing::warn!(%error, "a backend broke off in the middle of a completion");
        let message = "the backend broke off in the middle of its answer; try again";
        Failure::new(Kind::Upstream, "backend_broke_off", message).retry_after(1_000)
    })?;
    let body = with_tier(&body.to_bytes(), used);
    parts.headers.remove(header::CONTENT_LENGTH);
    let mut answer = http::bytes(200, body);
    parts.headers.extend(
        answer.headers().get(header::CONTENT_LENGTH).map(|length| (header::CONTENT_LENGTH, length.clone())),
    );
    *answer.headers_mut() = parts.headers;
    Ok(answer)
}

/// What the decision's headers say that it came to.
fn used(response: &Response, asked: Tier) -> &'static str {
    let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let is_late = text("switchyard-reason")
        .is_some_and(|codes| codes.split(", ").any(|code| LATE.iter().any(|late| late.as_str() == code)));
    match asked {
        Tier::Flex => "flex",
        Tier::Priority if !is_late => "priority",
        Tier::Priority | Tier::Default => "default",
    }
}

/// The body with this tier, unless the backend names its own: then that is the one really used.
fn with_tier(body: &Bytes, tier: &str) -> Bytes {
    let Ok(text) = std::str::from_utf8(body) else { return body.clone() };
    let Ok(members) = serde_json::from_str::<HashMap<String, &RawValue>>(text) else { return body.clone() };
    if let Some(told) = members.get("service_tier").map(|told| told.get()) {
        if told != "null" {
            return body.clone();
        }
        // The borrowed value lies inside the text: that is where the tier goes.
        let at = told.as_ptr() as usize - text.as_ptr() as usize;
        return format!("{}\"{tier}\"{}", &text[..at], &text[at + told.len()..]).into();
    }
    let Some(open) = text.find('{') else { return body.clone() };
    let rest = &text[open + 1..];
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    format!("{{\"service_tier\":\"{tier}\"{comma}{rest}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_its_tier_once() {
        let cases = [
            (r#"{"id":"x"}"#, r#"{"service_tier":"priority","id":"x"}"#),
            ("{ }", r#"{"service_tier":"priority" }"#),
            (r#"{"service_tier": null, "id":"x"}"#, r#"{"service_tier": "priority", "id":"x"}"#),
            (r#"{"service_tier":"scale","id":"x"}"#, r#"{"service_tier":"scale","id":"x"}"#),
            ("[1]", "[1]"),
            ("no JSON", "no JSON"),
        ];
        for (given, wanted) in cases {
            assert_eq!(with_tier(&Bytes::from(given), "priority"), wanted, "{given}");
        }
    }

    #[test]
    fn a_priority_that_waited_was_none() {
        let cases = [
            (Tier::Priority, "warm_replica", "priority"),
            (Tier::Priority, "tier_requested, cold_start", "default"),
            (Tier::Default, "warm_replica", "default"),
            (Tier::Flex, "cheapest_meeting_deadline, queued", "flex"),
        ];
        for (asked, reasons, wanted) in cases {
            let mut response = http::text_json(200, "{}");
            http::set(&mut response, "switchyard-reason", reasons);
            assert_eq!(used(&response, asked), wanted, "{asked:?}: {reasons}");
        }
    }
}
