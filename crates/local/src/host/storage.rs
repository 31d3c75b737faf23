//! Where queue triggers read and queue outputs write: storage accounts by app setting.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::app::MessageEncoding;
use crate::queue::client::{Account, Error};

/// The storage accounts of an app.
#[derive(Clone, Default)]
pub struct Storage {
    default: Option<Account>,
    named: Arc<HashMap<String, Account>>,
}

impl Storage {
    /// `default` stands for `AzureWebJobsStorage`; every other setting that parses as a connection
    /// string can be named by a binding, with or without the prefix `AzureWebJobs`, and so can the form
    /// without a secret, `NAME__queueServiceUri`, which the platform's managed identity opens.
    pub fn new(default: Option<Account>, settings: &[(String, String)]) -> Storage {
        let looks_like = |value: &str| {
            value.contains("Endpoint=") || value.contains("Account") || value.contains("Storage=")
        };
        let accounts = settings.iter().filter(|(_, value)| looks_like(value));
        let parsed = accounts.filter_map(|(name, value)| Some((name.clone(), Account::parse(value).ok()?)));
        let setting =
            |asked: &str| settings.iter().find(|(name, _)| name == asked).map(|(_, value)| value.clone());
        let by_identity = settings.iter().filter_map(|(name, _)| {
            let name = name.strip_suffix("__queueServiceUri")?;
            Some((name.to_owned(), Account::by_identity(name, setting).ok()?))
        });
        // A connection string wins over the form without a secret, as with the real host.
        let named: HashMap<String, Account> = by_identity.chain(parsed).collect();
        let default = default.or_else(|| named.get("AzureWebJobsStorage").cloned());
        Storage { default, named: Arc::new(named) }
    }

    /// The account that a binding's `connection` names.
    ///
    /// # Errors
    /// A text that names the setting and what it should hold.
    pub fn account(&self, connection: Option<&str>) -> Result<&Account, String> {
        let name = connection.unwrap_or("AzureWebJobsStorage");
        let found = self.named.get(name).or_else(|| self.named.get(&format!("AzureWebJobs{name}")));
        let found =
            found.or(self.default.as_ref().filter(|_| matches!(name, "AzureWebJobsStorage" | "Storage")));
        found.ok_or_else(|| format!("the app setting `{name}` holds no storage connection string"))
    }

    /// Adds a message, and makes the queue first where it is missing.
    pub(super) async fn put(
        &self,
        connection: Option<&str>,
        queue: &str,
        message: &[u8],
        encoding: MessageEncoding,
    ) -> Result<(), String> {
        let queue = self.account(connection)?.queue(queue);
        let text = match encoding {
            MessageEncoding::Base64 => STANDARD.encode(message),
            MessageEncoding::None => String::from_utf8_lossy(message).into_owned(),
        };
        match queue.put(&text).await {
            Err(Error::NotFound(_)) => {
                queue.create().await.map_err(|error| error.to_string())?;
                queue.put(&text).await.map_err(|error| error.to_string())
            }
            put => put.map_err(|error| error.to_string()),
        }
    }
}
