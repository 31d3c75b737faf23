//! Secrets of a Key Vault, on the vendor's SDK: read by name, set, switched off. Values are never shown
//! in errors.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::{RequestContent, StatusCode};
use azure_security_keyvault_secrets::models::{
    SecretAttributes, SecretProperties, SetSecretParameters, UpdateSecretPropertiesParameters,
};
use azure_security_keyvault_secrets::{ResourceExt as _, SecretClient, SecretClientOptions};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use url::Url;

use super::identity::Identity;
use super::sdk::{client_options, reason};
use crate::settings::{is_loopback, name};

/// Longest read of all wanted secrets, or one write, with its tries. A service that asks for a longer
/// pause is asked again with the next refresh.
pub const CALL_MAX: Duration = Duration::from_secs(15);
/// Reads at once: a vault allows 4,000 in 10 s, to all its readers together.
const READS_AT_ONCE: usize = 4;
/// Secrets that a listing may hold; a vault that holds more is no vault of knobs alone.
const LISTED_MAX: usize = 5_000;

/// One vault.
pub struct Vault {
    secrets: SecretClient,
    /// For people.
    name: String,
}

/// Why a vault was not read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The identity gives no token; somebody must act.
    #[error("vault `{vault}` cannot be asked: {told}")]
    NoToken {
        /// The vault.
        vault: String,
        /// What the identity answered, with the remedy.
        told: String,
    },
    /// The vault does not let the identity do this; somebody must act.
    #[error(
        "vault `{vault}` does not let this process in ({told}); give its identity role `{role}` on the vault"
    )]
    Denied {
        /// The vault.
        vault: String,
        /// Status and code of the service.
        told: String,
        /// The role that is missing.
        role: &'static str,
    },
    /// Too many reads; the next refresh comes by itself.
    #[error("vault `{0}` is throttled; it is read again with the next refresh")]
    Throttled(String),
    /// The service answered, and not with what was asked for.
    #[error("vault `{vault}` answered {told}")]
    Refused {
        /// The vault.
        vault: String,
        /// Status and code of the service.
        told: String,
    },
    /// No try had an answer.
    #[error("vault `{vault}` cannot be reached: {told}; check {setting}", setting = name::KEY_VAULT_URL)]
    Unreachable {
        /// The vault.
        vault: String,
        /// What the connection said.
        told: String,
    },
    /// All tries together took too long.
    #[error("vault `{0}` did not answer within {limit}s", limit = CALL_MAX.as_secs())]
    TimedOut(String),
}

/// Reads.
const READER: &str = "Key Vault Secrets User";
/// Writes.
const WRITER: &str = "Key Vault Secrets Officer";

impl Vault {
    /// The vault at `url`. `http` must follow no redirect. Calls nothing.
    ///
    /// # Errors
    /// Why the SDK does not take it.
    pub fn open(url: &Url, identity: Arc<Identity>, http: reqwest::Client) -> Result<Vault, String> {
        let options = SecretClientOptions {
            client_options: client_options(http),
            // On loopback the challenge names the real service, which is not a suffix of this host.
            verify_challenge_resource: Some(!is_loopback(url)),
            ..Default::default()
        };
        let host = url.host_str().unwrap_or_default();
        let name = host.split_once('.').filter(|_| !is_loopback(url)).map_or(host, |(name, _)| name);
        let secrets =
            SecretClient::new(url.as_str(), identity, Some(options)).map_err(|error| reason(&error))?;
        Ok(Vault { secrets, name: name.to_owned() })
    }

    /// The current values of those of `names` that the vault holds and that are not switched off.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn read(&self, names: &[&'static str]) -> Result<BTreeMap<&'static str, String>, VaultError> {
        self.bounded(READER, async {
            let enabled = self.enabled(names).await?;
            let reads: Vec<_> = enabled.into_iter().map(|name| self.get(name)).collect();
            let reads = stream::iter(reads);
            let read: Vec<_> = reads.buffer_unordered(READS_AT_ONCE).try_collect().await?;
            Ok(read.into_iter().flatten().collect())
        })
        .await
    }

    /// Gives a secret a new version, which is switched on.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn set(&self, name: &str, value: &str) -> Result<(), VaultError> {
        let parameters = SetSecretParameters { value: Some(value.to_owned()), ..Default::default() };
        self.bounded(WRITER, async {
            let content: RequestContent<SetSecretParameters> = parameters.try_into()?;
            self.secrets.set_secret(name, content, None).await.map(drop)
        })
        .await
    }

    /// Switches the newest version of a secret off, so that it counts as absent; it keeps its versions.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn switch_off(&self, name: &str) -> Result<(), VaultError> {
        let attributes = SecretAttributes { enabled: Some(false), ..Default::default() };
        let parameters =
            UpdateSecretPropertiesParameters { secret_attributes: Some(attributes), ..Default::default() };
        self.bounded(WRITER, async {
            let content: RequestContent<UpdateSecretPropertiesParameters> = parameters.try_into()?;
            self.secrets.update_secret_properties(name, content, None).await.map(drop)
        })
        .await
    }

    /// The current value; none when it was deleted since the listing.
    async fn get(&self, name: &'static str) -> azure_core::Result<Option<(&'static str, String)>> {
        match self.secrets.get_secret(name, None).await {
            Err(error) if is_gone(&error) => Ok(None),
            secret => Ok(secret?.into_model()?.value.map(|value| (name, value))),
        }
    }

    /// Which of `names` are there and switched on.
    async fn enabled(&self, names: &[&'static str]) -> azure_core::Result<Vec<&'static str>> {
        let mut listed = self.secrets.list_secret_properties(None)?;
        let (mut enabled, mut seen) = (Vec::new(), 0);
        while let Some(secret) = listed.try_next().await? {
            seen += 1;
            if seen > LISTED_MAX {
                let what = format!("more than {LISTED_MAX} secrets; give knobs a vault of their own");
                return Err(azure_core::Error::with_message(ErrorKind::Other, what));
            }
            let known = name_of(&secret).and_then(|name| names.iter().find(|known| **known == name));
            let is_on = secret.attributes.and_then(|attributes| attributes.enabled).unwrap_or(true);
            enabled.extend(known.filter(|_| is_on));
        }
        Ok(enabled)
    }

    async fn bounded<T>(
        &self,
        role: &'static str,
        work: impl Future<Output = azure_core::Result<T>>,
    ) -> Result<T, VaultError> {
        match tokio::time::timeout(CALL_MAX, work).await {
            Ok(done) => done.map_err(|error| self.told(role, &error)),
            Err(_) => Err(VaultError::TimedOut(self.name.clone())),
        }
    }

    fn told(&self, role: &'static str, error: &azure_core::Error) -> VaultError {
        let vault = self.name.clone();
        match error.kind() {
            ErrorKind::HttpResponse { status: StatusCode::TooManyRequests, .. } => {
                VaultError::Throttled(vault)
            }
            ErrorKind::HttpResponse { status, error_code, .. } => {
                let code = error_code.as_deref().unwrap_or("without a code");
                let told = format!("{} {code}", u16::from(*status));
                match status {
                    StatusCode::Unauthorized | StatusCode::Forbidden => {
                        VaultError::Denied { vault, told, role }
                    }
                    _ => VaultError::Refused { vault, told },
                }
            }
            ErrorKind::Credential => VaultError::NoToken { vault, told: reason(error) },
            ErrorKind::Io | ErrorKind::Connection => VaultError::Unreachable { vault, told: reason(error) },
            _ => VaultError::Refused { vault, told: format!("what cannot be used: {}", reason(error)) },
        }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("name", &self.name).finish_non_exhaustive()
    }
}

fn name_of(secret: &SecretProperties) -> Option<String> {
    Some(secret.resource_id().ok()?.name)
}

fn is_gone(error: &azure_core::Error) -> bool {
    matches!(error.kind(), ErrorKind::HttpResponse { error_code: Some(code), .. } if code == "SecretNotFound")
}
