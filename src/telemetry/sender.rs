//! Sends the exporter's requests. The exporter runs on threads of its own without a runtime, and turns every
//! `http` of a connection string into `https`: on loopback that is undone.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

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
}

type Sending<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Sender {
    fn send_bytes<'a, 'async_trait>(&'a self, request: Request<Bytes>) -> Sending<'async_trait>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        let client = self.client.clone();
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
        Box::pin(async move { sent.await? })
    }
}
