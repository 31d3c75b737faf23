//! The blob store: a container or a folder, behind one small client. Listings are sorted here; every
//! call has one bound on its time.

use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::azure::{AzureConfigKey, AzureCredentialProvider, MicrosoftAzureBuilder};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, RetryConfig,
};
use url::{Host, Url};

use crate::fault::{Act, Fault};
use crate::fold::Found;

/// Longest call, its retries included: a dependency never holds up a trigger for longer.
const CALL_MAX: Duration = Duration::from_secs(15);
/// Tries after the first.
const RETRIES_MAX: usize = 2;
/// A larger object is none that this version reads, and so none that it writes, but for uploads.
pub const OBJECT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Objects of one listing at most; more is refused rather than half seen. A job has at most 50,000
/// lines, and every chunk and try holds at least one of them.
const LISTED_MAX: usize = 200_000;
/// A listing may take longer than a call: it is many.
const LISTING_MAX: Duration = Duration::from_secs(60);

/// The store.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    fault: Option<Arc<Fault>>,
}

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
    /// When it was written, Unix ms by the store's clock.
    pub modified_ms: u64,
}

/// What a put-if-absent did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is there now.
    Created,
    /// It was there before.
    Existed,
}

/// Who owns a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This caller.
    Won,
    /// Whoever wrote this content.
    Lost(Bytes),
}

impl Store {
    /// A folder; it is made if need be.
    ///
    /// # Errors
    /// Why the folder cannot be used.
    pub fn folder(folder: &FilePath) -> Result<Store, String> {
        std::fs::create_dir_all(folder).map_err(|error| format!("no folder: {error}"))?;
        let folder =
            LocalFileSystem::new_with_prefix(folder).map_err(|error| format!("cannot be opened: {error}"))?;
        // Markers come and go in folders of their minute; empty ones would pile up.
        Ok(Store::over(Arc::new(folder.with_fsync(true).with_automatic_cleanup(true))))
    }

    /// A container, by `https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX][?SAS]`, or
    /// `http://HOST:PORT/ACCOUNT/CONTAINER` on loopback. Without a SAS and a key, the environment of
    /// a managed identity is used. Calls nothing.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn container(url: &str, key: Option<&str>) -> Result<Store, String> {
        container(url, key, None).map(Store::over)
    }

    /// As [`Store::container`], opened by the tokens of an identity, which are sent over https only.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn container_by(url: &str, identity: AzureCredentialProvider) -> Result<Store, String> {
        if !url.starts_with("https://") {
            return Err(
                "the store's URL is not https, which an identity's token needs; give a key".to_owned()
            );
        }
        container(url, None, Some(identity)).map(Store::over)
    }

    /// A store that this process alone sees and that ends with it.
    pub fn memory() -> Store {
        Store::over(Arc::new(InMemory::new()))
    }

    /// Any other store that can put if absent.
    pub fn over(objects: Arc<dyn ObjectStore>) -> Store {
        Store { objects, fault: None }
    }

    /// The same store, each call of which goes through what `wrap` puts around it.
    #[must_use]
    pub fn through(self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Store {
        Store { objects: wrap(self.objects), ..self }
    }

    /// The same store, with writes that meet this fault.
    #[must_use]
    pub fn with_fault(self, fault: Option<Arc<Fault>>) -> Store {
        Store { fault, ..self }
    }

    /// The fault that writes meet, for other acts of the same process.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_deref()
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
            let found = self.objects.get_opts(&path, options).await?;
            if found.meta.size > OBJECT_BYTES_MAX {
                return Ok(None);
            }
            let (etag, modified_ms) = (found.meta.e_tag.clone(), modified_ms(&found.meta));
            Ok(Some(Object { content: found.bytes().await?, etag, modified_ms }))
        };
        match timed(reading).await? {
            Ok(Some(object)) => Ok(Some(object)),
            Ok(None) => Err(StoreError::TooLarge(key.to_owned())),
            Err(Error::NotModified { .. }) => Ok(None),
            Err(Error::NotFound { .. }) => Err(StoreError::NotFound(key.to_owned())),
            Err(error) => Err(StoreError::Failed(error)),
        }
    }

    /// Reads part of an object; `range` must lie within it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let path = Path::from(key);
        let reading = async { self.objects.get_opts(&path, options).await?.bytes().await };
        timed(reading).await?.map_err(|error| failed(key, error))
    }

    /// What lies under `prefix`, which ends in `/`; sorted by key.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::TooLarge`] above 200,000 objects.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Found>, StoreError> {
        let folder = Path::from(prefix.trim_end_matches('/'));
        let listing = async {
            let mut found = Vec::new();
            let mut objects = self.objects.list(Some(&folder));
            while let Some(object) = objects.try_next().await.map_err(StoreError::Failed)? {
                if found.len() == LISTED_MAX {
                    return Err(StoreError::TooLarge(prefix.to_owned()));
                }
                found.push(Found {
                    modified_ms: modified_ms(&object),
                    key: object.location.into(),
                    size: object.size,
                });
            }
            found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            Ok(found)
        };
        tokio::time::timeout(LISTING_MAX, listing).await.map_err(|_| StoreError::TimedOut)?
    }

    /// Whether an object exists.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        match timed(self.objects.head(&Path::from(key))).await? {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(StoreError::Failed(error)),
        }
    }

    /// Writes an object, whatever was there: for state only. It meets no fault: clocks have it written, not
    /// work, so the writes of one piece of work could not be counted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn overwrite(&self, key: &str, content: impl Into<Bytes>) -> Result<(), StoreError> {
        let (path, content) = (Path::from(key), readable(key, content.into())?);
        let writing = self.objects.put_opts(&path, content.into(), PutMode::Overwrite.into());
        timed(writing).await?.map(drop).map_err(StoreError::Failed)
    }

    /// Writes an object if none is there: for facts whose content is the same whoever writes them.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::TooLarge`] where nobody could read it: a fact that exists and
    /// cannot be read would hold up its job for ever.
    pub async fn create(&self, key: &str, content: impl Into<Bytes>) -> Result<Put, StoreError> {
        let (path, content) = (Path::from(key), readable(key, content.into())?);
        let writing = self.objects.put_opts(&path, content.into(), PutMode::Create.into());
        match timed(self.act(writing)).await? {
            Ok(_) => Ok(Put::Created),
            Err(Error::AlreadyExists { .. }) => Ok(Put::Existed),
            Err(error) => Err(StoreError::Failed(error)),
        }
    }

    /// As [`Store::create`], for what a clock has written: it meets no fault, as [`Store::overwrite`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_by_clock(&self, key: &str, content: impl Into<Bytes>) -> Result<Put, StoreError> {
        Store { fault: None, ..self.clone() }.create(key, content).await
    }

    /// Writes an object if none is there, and tells who owns it. `content` must hold something random:
    /// after a lost answer, finding it in the store means that this caller won.
    ///
    /// # Errors
    /// [`StoreError`]: then it is not known who owns it, or whether it exists.
    pub async fn claim(&self, key: &str, content: impl Into<Bytes>) -> Result<Claim, StoreError> {
        let content = content.into();
        let doubt = match self.create(key, content.clone()).await {
            Ok(Put::Created) => return Ok(Claim::Won),
            Ok(Put::Existed) => None,
            Err(error) => Some(error),
        };
        match (self.get(key).await, doubt) {
            (Ok(there), _) if there.content == content => Ok(Claim::Won),
            (Ok(there), _) => Ok(Claim::Lost(there.content)),
            (Err(StoreError::NotFound(_)), Some(error)) | (Err(error), _) => Err(error),
        }
    }

    /// Deletes an object; one that is not there is no trouble.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let path = Path::from(key);
        match timed(self.act(self.objects.delete(&path))).await? {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(StoreError::Failed(error)),
        }
    }

    /// Begins an object that is written in parts and exists only once it is finished. Its key must be
    /// fresh: a multipart write replaces what is there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn upload(&self, key: &str) -> Result<Upload, StoreError> {
        let path = Path::from(key);
        let begun = timed(self.objects.put_multipart(&path)).await?.map_err(StoreError::Failed)?;
        Ok(Upload { write: object_store::WriteMultipart::new(begun), fault: self.fault.clone() })
    }

    async fn act<T>(&self, work: impl Future<Output = T>) -> T {
        Fault::around(self.fault(), Act::Put, work).await
    }
}

/// An object that is being written in parts.
#[derive(Debug)]
pub struct Upload {
    write: object_store::WriteMultipart,
    fault: Option<Arc<Fault>>,
}

/// Parts on their way at once: with parts of 5 MiB, what an upload holds in memory.
const PARTS_MAX: usize = 2;

impl Upload {
    /// Adds to it; waits while too much is on its way.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn write(&mut self, part: Bytes) -> Result<(), StoreError> {
        timed(self.write.wait_for_capacity(PARTS_MAX)).await?.map_err(StoreError::Failed)?;
        self.write.put(part);
        Ok(())
    }

    /// Makes the object.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn finish(self) -> Result<(), StoreError> {
        timed(Fault::around(self.fault.as_deref(), Act::Put, self.write.finish()))
            .await?
            .map(drop)
            .map_err(StoreError::Failed)
    }

    /// Gives up; what was written goes.
    pub async fn abort(self) {
        if let Ok(Err(error)) = timed(self.write.abort()).await {
            tracing::debug!(%error, "an upload that was given up could not be cleared away");
        }
    }
}

/// Content that [`Store::get`] will give back.
fn readable(key: &str, content: Bytes) -> Result<Bytes, StoreError> {
    if content.len() as u64 > OBJECT_BYTES_MAX {
        return Err(StoreError::TooLarge(key.to_owned()));
    }
    Ok(content)
}

fn modified_ms(object: &ObjectMeta) -> u64 {
    u64::try_from(object.last_modified.timestamp_millis()).unwrap_or(0)
}

fn failed(key: &str, error: Error) -> StoreError {
    match error {
        Error::NotFound { .. } => StoreError::NotFound(key.to_owned()),
        error => StoreError::Failed(error),
    }
}

async fn timed<T>(call: impl Future<Output = T>) -> Result<T, StoreError> {
    tokio::time::timeout(CALL_MAX, call).await.map_err(|_| StoreError::TimedOut)
}

/// Whether a URL stays on this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => url.scheme() == "file",
    }
}

/// A container, from a URL that we take apart ourselves: the library's own parser drops a SAS.
fn container(
    text: &str,
    key: Option<&str>,
    identity: Option<AzureCredentialProvider>,
) -> Result<Arc<dyn ObjectStore>, String> {
    let wrong = |what: &str| format!("the store's URL {what}");
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
    let base = if sas.is_none() && key.is_none() && identity.is_none() {
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
    builder = match (sas, key, identity) {
        (Some(sas), ..) => builder.with_config(AzureConfigKey::SasKey, sas),
        (None, Some(key), _) => builder.with_access_key(key),
        (None, None, Some(identity)) => builder.with_credentials(identity),
        (None, None, None) => builder,
    };
    let store = builder.build().map_err(|error| wrong(&format!("cannot be opened: {error}")))?;
    Ok(if prefix.is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_urls_are_taken_apart() {
        let open = |url: &str| Store::container(url, Some("a2V5"));
        assert!(open("https://acct.blob.core.windows.net/switchyard").is_ok());
        assert!(open("https://acct.blob.core.windows.net/switchyard/prefix?sv=1&sig=abc").is_ok());
        assert!(open("http://127.0.0.1:10000/devstoreaccount1/switchyard").is_ok());
        assert!(open("https://acct.blob.core.windows.net/").unwrap_err().contains("container"));
        assert!(open("http://127.0.0.1:10000/").unwrap_err().contains("ACCOUNT/CONTAINER"));
    }
}
