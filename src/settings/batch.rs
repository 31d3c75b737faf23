//! Settings of the Azure Batch account. Without them the deferred lane takes no work.

use url::Url;

use super::{Reader, Secret, is_loopback, name};

/// The account that runs deferred work.
#[derive(Clone, Debug)]
pub struct BatchAccount {
    /// As `https://ACCOUNT.REGION.batch.azure.com`.
    pub endpoint: Url,
    /// Its name.
    pub account: String,
    /// Its key, base64; none: the identity of this process opens it.
    pub key: Option<Secret>,
}

impl Reader {
    pub(super) fn batch(&mut self) -> Option<BatchAccount> {
        let endpoint = self.url(name::BATCH_ENDPOINT);
        let account = self.text(name::BATCH_ACCOUNT_NAME);
        let key = self.text(name::BATCH_ACCOUNT_KEY).map(Secret::new);
        if endpoint.is_none() && account.is_none() && key.is_none() {
            return None;
        }
        let Some(endpoint) = endpoint else {
            self.problem(name::BATCH_ENDPOINT, "is not set; give https://ACCOUNT.REGION.batch.azure.com");
            return None;
        };
        if endpoint.scheme() != "https" && !is_loopback(&endpoint) {
            self.problem(name::BATCH_ENDPOINT, "must be https, or http on loopback");
            return None;
        }
        let named = || endpoint.host_str()?.split_once('.').map(|(account, _)| account.to_owned());
        let Some(account) = account.or_else(named) else {
            self.problem(name::BATCH_ACCOUNT_NAME, "is not set, and the endpoint does not name the account");
            return None;
        };
        if key.is_none() && endpoint.scheme() != "https" {
            let what =
                "is not https, which an identity's token needs; set BATCH_ACCOUNT_KEY for this endpoint";
            self.problem(name::BATCH_ENDPOINT, what);
            return None;
        }
        Some(BatchAccount { endpoint, account, key })
    }
}
