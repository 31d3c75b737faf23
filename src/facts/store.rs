//! The blob store: a container or a folder, behind one small client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error, GetOptions, ObjectStore, PutMode, RetryConfig};
use url::Url;

use crate::settings::{Blobs, is_loopback};

/// Longest call, its retries included: a dependency never holds up a trigger for longer.
const CALL_MAX: Duration = Duration::from_secs(15);
/// Tries after the first.
const RETRIES_MAX: usize = 2;
/// A larger object is none that this version reads.
const OBJECT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The store.
#[derive(Clone, Debug)]
pub struct Store(Arc<dyn ObjectStore>);

/// Why a call failed. Never shows a URL with its signature.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such object.
    #[error("`{0}` is not in the store")]
    NotFound(String),
    /// The object is larger than anything that is read here.
    #[error("`{0}` is too large")]
    TooLarge(String),
    /// The call took too long.
    #[error("the store did not answer within {}s", CALL_MAX.as_secs())]
    TimedOut,
    /// Anything else.
    #[error("the store failed: {0}")]
    Failed(#[source] Error),
}

/// An object that was read.
#[derive(Debug)]
pub struct Object {
    /// Its content.
    pub content: Bytes,
    /// Its version, for the next read.
    pub etag: Option<String>,
}

/// What a put-if-absent did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is there now.
    Created,
    /// It was there before.
    Existed,
}

impl Store {
    /// Opens the store; makes a folder that is missing, but calls nothing.
    ///
    /// # Errors
    /// What is wrong with BLOB_URL.
    pub fn open(blobs: &Blobs) -> Result<Store, String> {
        let store: Arc<dyn ObjectStore> = match blobs {
            Blobs::Folder(folder) => {
                std::fs::create_dir_all(folder).map_err(|error| format!("BLOB_URL: no folder: {error}"))?;
                let folder = LocalFileSystem::new_with_prefix(folder)
                    .map_err(|error| format!("BLOB_URL cannot be opened: {error}"))?;
                Arc::new(folder.with_fsync(true))
            }
            Blobs::Container { url, key } => container(url.reveal(), key.as_ref().map(|key| key.reveal()))?,
        };
        Ok(Store(store))
    }

    /// Reads an object.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, key: &str) -> Result<Object, StoreError> {
        let read = self.get_if_changed(key, None).await?;
        read.ok_or_else(|| StoreError::NotFound(key.to_owned()))
    }

    /// Reads an object unless its version is still `etag`; none when it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get_if_changed(&self, key: &str, etag: Option<&str>) -> Result<Option<Object>, StoreError> {
        let options = GetOptions { if_none_match: etag.map(str::to_owned), ..GetOptions::default() };
        let path = Path::from(key);
        let reading = async {
            let found = self.0.get_opts(&path, options).await?;
            if found.meta.size > OBJECT_BYTES_MAX {
                return Ok(None);
            }
            let etag = found.meta.e_tag.clone();
            Ok(Some(Object { content: found.bytes().await?, etag }))
        };
        match timed(reading).await? {
            Ok(Some(object)) => Ok(Some(object)),
            Ok(None) => Err(StoreError::TooLarge(key.to_owned())),
            Err(Error::NotModified { .. }) => Ok(None),
            Err(Error::NotFound { .. }) => Err(StoreError::NotFound(key.to_owned())),
            Err(error) => Err(StoreError::Failed(error)),
        }
    }

    /// Writes an object, whatever was there: for state only.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn overwrite(&self, key: &str, content: impl Into<Bytes>) -> Result<(), StoreError> {
        let path = Path::from(key);
        let writing = self.0.put_opts(&path, content.into().into(), PutMode::Overwrite.into());
        timed(writing).await?.map(drop).map_err(StoreError::Failed)
    }

    /// Writes an object if none is there: for facts.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create(&self, key: &str, content: impl Into<Bytes>) -> Result<Put, StoreError> {
        let path = Path::from(key);
        let writing = self.0.put_opts(&path, content.into().into(), PutMode::Create.into());
        match timed(writing).await? {
            Ok(_) => Ok(Put::Created),
            Err(Error::AlreadyExists { .. }) => Ok(Put::Existed),
            Err(error) => Err(StoreError::Failed(error)),
        }
    }
}

async fn timed<T>(call: impl Future<Output = T>) -> Result<T, StoreError> {
    tokio::time::timeout(CALL_MAX, call).await.map_err(|_| StoreError::TimedOut)
}

/// A container, from a URL that we take apart ourselves: the library's own parser drops a SAS.
fn container(text: &str, key: Option<&str>) -> Result<Arc<dyn ObjectStore>, String> {
    let wrong = |what: &str| format!("BLOB_URL {what}");
    let url = Url::parse(text).map_err(|_| wrong("is no URL"))?;
    let mut segments = url.path_segments().into_iter().flatten().filter(|segment| !segment.is_empty());
    let host = url.host_str().ok_or_else(|| wrong("has no host"))?;
    let origin = url.origin().ascii_serialization();
    let (account, endpoint) = if is_loopback(&url) {
        let account = segments.next().ok_or_else(|| wrong("must be http://HOST:PORT/ACCOUNT/CONTAINER"))?;
        (account, format!("{origin}/{account}"))
    } else {
        (host.split('.').next().unwrap_or(host), origin)
    };
    let container = segments.next().ok_or_else(|| wrong("names no container"))?;
    let prefix = segments.collect::<Vec<_>>().join("/");
    let sas = url.query().filter(|query| !query.is_empty());
    // Without a SAS or a key, the environment of a managed identity is the library's to read.
    let base = if sas.is_none() && key.is_none() {
        MicrosoftAzureBuilder::from_env()
    } else {
        MicrosoftAzureBuilder::new()
    };
    let retry = RetryConfig { max_retries: RETRIES_MAX, retry_timeout: CALL_MAX, ..RetryConfig::default() };
    let mut builder = base
        .with_account(account)
        .with_container_name(container)
        .with_endpoint(endpoint)
        .with_allow_http(is_loopback(&url))
        .with_retry(retry);
    builder = match (sas, key) {
        (Some(sas), _) => builder.with_config(AzureConfigKey::SasKey, sas),
        (None, Some(key)) => builder.with_access_key(key),
        (None, None) => builder,
    };
    let store = builder.build().map_err(|error| wrong(&format!("cannot be opened: {error}")))?;
    Ok(if prefix.is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Secret;

    #[tokio::test]
    async fn a_folder_keeps_facts_once_and_state_anew() {
        let folder = std::env::temp_dir().join(format!("switchyard-store-{}", std::process::id()));
        let store = Store::open(&Blobs::Folder(folder.clone())).unwrap();
        assert!(matches!(store.get("a/b").await, Err(StoreError::NotFound(_))));
        assert_eq!(store.create("a/b", "one").await.unwrap(), Put::Created);
        assert_eq!(store.create("a/b", "two").await.unwrap(), Put::Existed);
        let read = store.get("a/b").await.unwrap();
        assert_eq!(read.content, "one");
        assert!(store.get_if_changed("a/b", read.etag.as_deref()).await.unwrap().is_none());
        store.overwrite("a/b", "three").await.unwrap();
        let changed = store.get_if_changed("a/b", read.etag.as_deref()).await.unwrap();
        assert_eq!(changed.unwrap().content, "three");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn container_urls_are_taken_apart() {
        let open = |url: &str| {
            Store::open(&Blobs::Container {
                url: Secret::new(url.to_owned()),
                key: Some(Secret::new("a2V5".to_owned())),
            })
        };
        assert!(open("https://acct.blob.core.windows.net/switchyard").is_ok());
        assert!(open("https://acct.blob.core.windows.net/switchyard/prefix?sv=1&sig=abc").is_ok());
        assert!(open("http://127.0.0.1:10000/devstoreaccount1/switchyard").is_ok());
        assert!(open("https://acct.blob.core.windows.net/").unwrap_err().contains("container"));
        assert!(open("http://127.0.0.1:10000/").unwrap_err().contains("ACCOUNT/CONTAINER"));
    }
}
