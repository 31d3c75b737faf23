//! A managed identity as App Service gives it to the host: tokens for storage from IDENTITY_ENDPOINT, held
//! until shortly before they end.

use std::time::{Duration, Instant};

use clock::Clock;
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use super::client::Error;

/// The version of the endpoint's protocol that App Service and Container Apps speak.
const API_VERSION: &str = "2019-08-01";
/// What the tokens are for.
const RESOURCE: &str = "https://storage.azure.com";
/// A token is asked for anew this long before its end: the figure of the vendor's SDKs.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// Who the host is to a storage account that is opened without a secret. Deliberately without `Debug`.
pub(super) struct Identity {
    endpoint: Url,
    header: String,
    client_id: Option<String>,
    held: Mutex<Option<Held>>,
}

struct Held {
    token: String,
    renew_at: Instant,
}

/// What the endpoint answers; `expires_on` is Unix seconds, as text or as a number.
#[derive(Deserialize)]
struct Given {
    access_token: String,
    expires_on: serde_json::Value,
}

impl Identity {
    /// The identity that the platform gives at this endpoint; a user-assigned one where `client_id` names it.
    pub(super) fn new(endpoint: Url, header: String, client_id: Option<String>) -> Identity {
        Identity { endpoint, header, client_id, held: Mutex::default() }
    }

    /// A token for storage. Callers at once share one request.
    pub(super) async fn token(&self, http: &reqwest::Client) -> Result<String, Error> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| Instant::now() < held.renew_at) {
            return Ok(held.token.clone());
        }
        let given = self
            .ask(http)
            .await
            .map_err(|told| Error::Service(format!("the platform gave no token for {RESOURCE}: {told}")))?;
        let now_s = Clock::REAL.now_ms() / 1_000;
        let expires = given.expires_on.as_u64().or_else(|| given.expires_on.as_str()?.parse().ok());
        let lasts = Duration::from_secs(expires.unwrap_or(0).saturating_sub(now_s));
        let renew_at = Instant::now() + lasts.saturating_sub(RENEW_BEFORE);
        *held = Some(Held { token: given.access_token.clone(), renew_at });
        Ok(given.access_token)
    }

    async fn ask(&self, http: &reqwest::Client) -> Result<Given, String> {
        let mut url = self.endpoint.clone();
        url.query_pairs_mut().append_pair("api-version", API_VERSION).append_pair("resource", RESOURCE);
        if let Some(client_id) = &self.client_id {
            url.query_pairs_mut().append_pair("client_id", client_id);
        }
        let asked = http.get(url).header("x-identity-header", &self.header).header("metadata", "true");
        let answer = asked.send().await.map_err(|error| error.without_url().to_string())?;
        if !answer.status().is_success() {
            return Err(format!("its endpoint answered {}", answer.status()));
        }
        answer.json().await.map_err(|error| error.without_url().to_string())
    }
}
