//! The one identity of this process: a workload's, a managed one or a developer's, over the vendor's
//! credentials.
//!
//! The vendor's credential caches a token until five minutes before its end and then fails with the
//! endpoint. This one goes on with the old token for as long as that is valid, never waits longer than
//! a bound, and says what to set.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::time::OffsetDateTime;
use azure_identity::{
    ClientAssertionCredentialOptions, DeveloperToolsCredential, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};
use object_store::CredentialProvider;
use object_store::azure::AzureCredential;
use tokio::time::Instant;

use super::sdk::{client_options, reason};
use crate::settings::{Identity as Chosen, name};

/// What a token is for. The two slashes of the third are the service's own.
pub mod scope {
    /// Queues and blobs.
    pub const STORAGE: &str = "https://storage.azure.com/.default";
    /// Secrets; the vault's challenge names it.
    pub const KEY_VAULT: &str = "https://vault.azure.net/.default";
    /// The data plane of Azure Batch.
    pub const BATCH: &str = "https://batch.core.windows.net//.default";
}

/// Longest wait for a token of the platform, all tries together: clients of HTTP paths wait for it.
const PLATFORM_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for `az`, which starts an interpreter first.
const DEVELOPER_WITHIN: Duration = Duration::from_secs(20);
/// A token is asked for anew this long before its end: the vendor's own figure.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// A token that ends sooner is of no use to a request with its retries.
const USABLE_FOR: Duration = Duration::from_secs(30);
/// After a renewal that failed, the old token serves this long without another.
const RENEW_PAUSE: Duration = Duration::from_secs(30);

/// Opens identities over one HTTP client, each once.
pub struct Chain {
    http: reqwest::Client,
    opened: Mutex<Vec<(Chosen, Arc<Identity>)>>,
}

impl Chain {
    /// Opens nothing yet. `http` must follow no redirect.
    pub fn new(http: reqwest::Client) -> Chain {
        Chain { http, opened: Mutex::default() }
    }

    /// The identity that settings chose; one and the same for equal choices. Calls nothing.
    ///
    /// # Errors
    /// Why the SDK does not take it.
    pub fn open(&self, chosen: &Chosen) -> Result<Arc<Identity>, String> {
        let mut opened = self.opened.lock().expect("no holder of this lock panics");
        if let Some((_, identity)) = opened.iter().find(|(found, _)| found == chosen) {
            return Ok(Arc::clone(identity));
        }
        let identity = Arc::new(Identity::open(chosen, self.http.clone())?);
        opened.push((chosen.clone(), Arc::clone(&identity)));
        Ok(identity)
    }
}

/// Gives tokens. Never shows one.
pub struct Identity {
    inner: Arc<dyn TokenCredential>,
    within: Duration,
    remedy: String,
    held: Mutex<HashMap<String, Held>>,
}

#[derive(Clone)]
struct Held {
    token: AccessToken,
    /// No renewal before this.
    renew_from: Option<Instant>,
}

impl Identity {
    fn open(chosen: &Chosen, http: reqwest::Client) -> Result<Identity, String> {
        let told = |error: azure_core::Error| format!("no identity: {}; {}", reason(&error), remedy(chosen));
        let (inner, within) = match chosen {
            Chosen::Workload { tenant_id, client_id, token_file } => {
                let options = WorkloadIdentityCredentialOptions {
                    tenant_id: Some(tenant_id.clone()),
                    client_id: Some(client_id.clone()),
                    token_file_path: Some(token_file.clone()),
                    credential_options: ClientAssertionCredentialOptions {
                        client_options: client_options(http),
                    },
                };
                let inner: Arc<dyn TokenCredential> =
                    WorkloadIdentityCredential::new(Some(options)).map_err(told)?;
                (inner, PLATFORM_WITHIN)
            }
            Chosen::Managed { client_id } => {
                let options = ManagedIdentityCredentialOptions {
                    user_assigned_id: client_id.clone().map(UserAssignedId::ClientId),
                    client_options: client_options(http),
                };
                let inner: Arc<dyn TokenCredential> =
                    ManagedIdentityCredential::new(Some(options)).map_err(told)?;
                (inner, PLATFORM_WITHIN)
            }
            Chosen::Developer => {
                let inner: Arc<dyn TokenCredential> = DeveloperToolsCredential::new(None).map_err(told)?;
                (inner, DEVELOPER_WITHIN)
            }
        };
        Ok(Identity::over(inner, within, remedy(chosen)))
    }

    /// An identity over any credential, which is waited for at most `within`.
    pub fn over(inner: Arc<dyn TokenCredential>, within: Duration, remedy: String) -> Identity {
        Identity { inner, within, remedy, held: Mutex::default() }
    }

    /// A token for this scope: the held one, or a new one when that ends within five minutes.
    ///
    /// # Errors
    /// What went wrong and what to set, once no valid token is held.
    pub async fn token(&self, scope: &str) -> Result<AccessToken, String> {
        let held = self.held.lock().expect("no holder of this lock panics").get(scope).cloned();
        if let Some(held) = &held {
            let waits = held.renew_from.is_some_and(|from| Instant::now() < from);
            if lasts(&held.token, RENEW_BEFORE) || (waits && lasts(&held.token, USABLE_FOR)) {
                return Ok(held.token.clone());
            }
        }
        let scopes = [scope];
        let asked = tokio::time::timeout(self.within, self.inner.get_token(&scopes, None)).await;
        let problem = match asked {
            Ok(Ok(token)) => {
                // A platform may give a token that ends soon; it is then not asked for at every call.
                let renew_from = (!lasts(&token, RENEW_BEFORE)).then(|| Instant::now() + RENEW_PAUSE);
                self.hold(scope, Held { token: token.clone(), renew_from });
                return Ok(token);
            }
            Ok(Err(error)) => told(&error),
            Err(_) => format!("no token within {}s", self.within.as_secs()),
        };
        match held.filter(|held| lasts(&held.token, USABLE_FOR)) {
            Some(held) => {
                tracing::warn!(problem, scope, "a token could not be renewed; the old one is still valid");
                let renew_from = Some(Instant::now() + RENEW_PAUSE);
                self.hold(scope, Held { token: held.token.clone(), renew_from });
                Ok(held.token)
            }
            None => Err(format!("the identity gave no token for {scope} ({problem}); {}", self.remedy)),
        }
    }

    fn hold(&self, scope: &str, held: Held) {
        // Bounded by the scopes in this program.
        self.held.lock().expect("no holder of this lock panics").insert(scope.to_owned(), held);
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

#[async_trait]
impl TokenCredential for Identity {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let [scope] = scopes else {
            return Err(azure_core::Error::with_message(
                ErrorKind::Credential,
                "one scope is asked for at a time",
            ));
        };
        self.token(scope).await.map_err(|told| azure_core::Error::with_message(ErrorKind::Credential, told))
    }
}

/// The same identity for blobs.
#[derive(Debug)]
pub struct ForBlobs(pub Arc<Identity>);

#[async_trait]
impl CredentialProvider for ForBlobs {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        let token = self.0.token(scope::STORAGE).await;
        let token =
            token.map_err(|told| object_store::Error::Generic { store: "Azure", source: told.into() })?;
        Ok(Arc::new(AzureCredential::BearerToken(token.token.secret().to_owned())))
    }
}

fn lasts(token: &AccessToken, span: Duration) -> bool {
    token.expires_on > OffsetDateTime::now_utc() + span
}

/// The cause, without the body of an answer: what a platform writes there is its own business.
fn told(error: &azure_core::Error) -> String {
    /// Enough for a sentence of each tool that was tried.
    const SHOWN_MAX: usize = 400;
    /// What the SDK writes before such a body.
    const BODY: &str = "The request failed: ";
    match error.kind() {
        ErrorKind::HttpResponse { status, .. } => format!("its endpoint answered {}", u16::from(*status)),
        _ => {
            let cause = reason(error);
            let shown = cause.split_once(BODY).map_or(cause.as_str(), |_| "its endpoint failed");
            shown.chars().take(SHOWN_MAX).collect()
        }
    }
}

fn remedy(chosen: &Chosen) -> String {
    match chosen {
        Chosen::Workload { .. } => format!(
            "check {}, {} and {}, and the federated credential of that application",
            name::TENANT_ID,
            name::CLIENT_ID,
            name::FEDERATED_TOKEN_FILE
        ),
        Chosen::Managed { client_id: Some(id) } => format!(
            "assign the user-assigned identity with client id {id} to the app, or correct {} or {}",
            name::CLIENT_ID,
            name::STORAGE_CLIENT
        ),
        Chosen::Managed { client_id: None } => format!(
            "switch the app's system-assigned identity on, or set {} to a user-assigned one's client id",
            name::CLIENT_ID
        ),
        Chosen::Developer => format!(
            "run `az login`; in Azure assign an identity to the app, and for a user-assigned one set {}",
            name::CLIENT_ID
        ),
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
