//! Sends the exporter's requests. The exporter runs on threads of its own without a runtime, and turns every
//! `http` of a connection string into `https`: on loopback that is undone.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};

use crate::settings::is_loopback;

/// Longest export of one batch.
const EXPORT_MAX: Duration = Duration::from_secs(10);

/// An HTTP client, and the runtime that it lives on.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) client: reqwest::Client,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) unsent: Unsent,
}

/// Since when nothing is taken, and what was said to it last; copies share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsent(Arc<Mutex<Option<(Instant, String)>>>);

impl Unsent {
    /// A sentence for operators; none: what was sent last was taken, or nothing was.
    pub(super) fn told(&self) -> Option<String> {
        let unsent = self.0.lock().expect("no holder of this lock panics");
        let (since, told) = unsent.as_ref()?;
        Some(format!(
            "telemetry has not arrived for {} s ({told}); spans are lost",
            since.elapsed().as_secs()
        ))
    }

    fn note(&self, sent: &Result<Response<Bytes>, HttpError>) {
        let told = match sent {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("status {}", answer.status().as_u16())),
            // The error may name the address; whoever is in trouble looks at the setting.
            Err(_) => Some("no answer from APPLICATIONINSIGHTS_CONNECTION_STRING's endpoint".to_owned()),
        };
        let mut unsent = self.0.lock().expect("no holder of this lock panics");
        let since = unsent.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        *unsent = told.map(|told| (since, told));
    }
}

type Sending<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Sender {
    fn send_bytes<'a, 'async_trait>(&'a self, request: Request<Bytes>) -> Sending<'async_trait>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        let (client, unsent) = (self.client.clone(), self.unsent.clone());
        let sent = self.runtime.spawn(async move {
            let (parts, body) = request.into_parts();
            let mut url = url::Url::parse(&parts.uri.to_string())?;
            if is_loopback(&url) {
                url.set_scheme("http").map_err(|()| "http is a scheme")?;
            }
            let sending = client.request(parts.method, url).headers(parts.headers).body(body);
            let answer = sending.timeout(EXPORT_MAX).send().await?;
            let (status, body) = (answer.status(), answer.bytes().await?);
            Ok(Response::builder().status(status).body(body)?)
        });
        Box::pin(async move {
            let sent = sent.await?;
            unsent.note(&sent);
            sent
        })
    }
}
