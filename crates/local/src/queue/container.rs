//! A container for the facts of a stack: the one call of the blob service that is made here.

use reqwest::Method;
use url::Url;

use super::client::{Account, Call, Error, header};
use super::connection::Access;

impl Account {
    /// Where a container of the account is, without what opens it.
    ///
    /// # Errors
    /// [`Error::ConnectionString`] where the account's blobs are not known.
    pub fn container(&self, name: &str) -> Result<Url, Error> {
        let blobs = self.shared.connection.blobs.clone();
        let mut url = blobs.ok_or_else(|| {
            Error::ConnectionString("the storage connection string has no BlobEndpoint".to_owned())
        })?;
        url.set_path(&format!("{}/{name}", url.path().trim_end_matches('/')));
        Ok(url)
    }

    /// Creates a container; an existing one is left as it is.
    ///
    /// # Errors
    /// [`Error::ConnectionString`] where the account's blobs are not known, else [`Error::Service`].
    pub async fn create_container(&self, name: &str) -> Result<(), Error> {
        let call = Call::new(Method::PUT, "").with("restype", "container");
        let response = self.shared.send(self.container(name)?, &call).await?;
        let (status, code) = (response.status(), header(response.headers(), "x-ms-error-code"));
        if status.is_success() || code == "ContainerAlreadyExists" {
            return Ok(());
        }
        Err(Error::Service(format!("container {name}: {status} {code}")))
    }

    /// What opens the account's blobs for programs that read the vendor's settings: a name and its value;
    /// none for an identity.
    pub fn blob_setting(&self) -> Option<(&'static str, String)> {
        match &self.shared.connection.access {
            Access::Key(credential) => Some(("AZURE_STORAGE_KEY", credential.key())),
            Access::Sas(sas) => Some(("AZURE_STORAGE_SAS_TOKEN", sas.clone())),
            Access::Identity(_) => None,
        }
    }
}
