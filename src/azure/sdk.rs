//! How the vendor's SDK is set up for every service: our connections, few tries with short pauses, a
//! bound on each, and errors told without what must not be shown.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{ClientOptions, Context, ExponentialRetryOptions, Request, RetryOptions, Transport};

use crate::telemetry;

/// Longest try until the answer's headers: with two that hang and their pauses the third still has its
/// time within 5 s, which is what clients of HTTP paths wait.
pub(super) const TRY_MAX: Duration = Duration::from_millis(1500);
/// Tries after the first.
pub(super) const RETRIES_MAX: u32 = 2;
/// The SDK pauses twice, then four times as long as this, and up to 256 ms more; a service that asks
/// for a longer pause gets it.
const PAUSE_MS: i64 = 50;

/// What a client of the SDK is built with. `http` must follow no redirect.
pub(super) fn client_options(http: reqwest::Client) -> ClientOptions {
    ClientOptions {
        per_try_policies: vec![Arc::new(TryBound)],
        retry: RetryOptions::exponential(ExponentialRetryOptions {
            initial_delay: azure_core::time::Duration::milliseconds(PAUSE_MS),
            max_retries: RETRIES_MAX,
            ..Default::default()
        }),
        transport: Some(Transport::new(Arc::new(http))),
        ..Default::default()
    }
}

/// What a call's path speaks to, for its span.
fn service(path: &str) -> &'static str {
    match path {
        path if path.starts_with("/secrets") => "vault",
        path if path.ends_with("/messages") => "queue messages",
        path if path.contains("token") => "token",
        _ => "queue",
    }
}

/// Bounds one try, so that an answer that never comes leaves time for another; each try is a span.
#[derive(Debug)]
struct TryBound;

#[async_trait]
impl Policy for TryBound {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        let service = service(request.url().path());
        let span = telemetry::dependency(request.method().as_str(), service, request.url(), None);
        let answer = tokio::time::timeout(TRY_MAX, next[0].send(context, request, &next[1..]));
        let answer = answer.await.unwrap_or_else(|_| {
            // Of the kind that the SDK tries again.
            Err(azure_core::Error::with_message(ErrorKind::Io, format!("no answer within {TRY_MAX:?}")))
        });
        match &answer {
            Ok(answer) => span.status(u16::from(answer.status())),
            Err(_) => span.failed(),
        }
        answer
    }
}

/// The causes below the HTTP client's error, or else the innermost one. The client's own text holds
/// the address and with it a SAS, and so may the texts that were made from it.
pub(super) fn reason(error: &azure_core::Error) -> String {
    let first: &(dyn std::error::Error + 'static) = error;
    let causes: Vec<_> = std::iter::successors(Some(first), |cause| (**cause).source()).collect();
    let client = causes.iter().position(|cause| cause.is::<reqwest::Error>());
    let shown = &causes[client.map_or(causes.len() - 1, |at| at + 1)..];
    if shown.is_empty() {
        return "the connection failed".to_owned();
    }
    shown.iter().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
