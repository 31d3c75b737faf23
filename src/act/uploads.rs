//! Files that come in parts. `upload.json` says what is to come; each part is an object of its own, whole
//! or not there; `end.json` is claimed once and decides how it ended. A completion writes the file's
//! content first, under a fresh id, then claims, then commits the file, then drops the parts: whoever
//! dies in between is followed by a repeat, or by [`look`].

use bytes::Bytes;
use clock::Clock;
use facts::file::FileMeta;
use facts::fold::Found;
use facts::key::{self, Perishable, UploadKeys};
use facts::store::{Claim, Upload};
use facts::upload::{Ended, UploadEnd, UploadMeta};
use facts::{Store, StoreError, VERSION, id};
use futures_util::{StreamExt, stream};

use super::fact::{self, FactError};
use super::files::{self, expire::Look};
use crate::http::Content;

/// How long an upload may take (the vendor's own limit).
pub const EXPIRES_AFTER_MS: u64 = 60 * 60_000;
/// Uploads of a tenant that are open at once. Each may hold [`held_bytes_max`], so that what a tenant
/// holds without a file is bounded too: 32 times twice 200 MB. Soft by those that are begun beside each
/// other.
pub const OPEN_MAX: usize = 32;
/// Uploads of a tenant within a day, ended ones included: what a listing of them costs is bounded.
pub const DAILY_MAX: usize = 5_000;
/// Parts of an upload.
pub const PARTS_MAX: usize = 1_000;
/// A part, at most: what the SDK cuts (the vendor's own limit is 64 MB).
pub const PART_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Past its expiry an upload is left alone this long: a completion that began in time may still run. An
/// HTTP answer has 220 s.
const GRACE_MS: u64 = 10 * 60_000;
/// How long it is told how an upload ended.
const KNOWN_FOR_MS: u64 = 24 * 60 * 60_000;
/// Parts that are deleted beside each other.
const DELETIONS_AT_ONCE: usize = 8;

/// What the parts of an upload may hold together: a part that is sent again is there twice.
pub fn held_bytes_max(bytes: u64) -> u64 {
    2 * bytes
}

/// An upload as it is now.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What is to come.
    pub meta: UploadMeta,
    /// How it ended; none: it has not, but for its expiry.
    pub end: Option<Ended>,
}

impl Seen {
    /// Whether its time is over and nothing became of it.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        match self.end {
            Some(Ended::Expired) => true,
            Some(_) => false,
            None => now_ms >= self.meta.expires_ms,
        }
    }
}

/// Why no upload was begun.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// [`OPEN_MAX`] are open.
    #[error("{OPEN_MAX} uploads are open; complete or cancel one")]
    TooManyOpen,
    /// [`DAILY_MAX`] were begun within a day.
    #[error("{DAILY_MAX} uploads were begun within a day; wait")]
    TooManyADay,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Begins an upload under a fresh id. Times of `meta` and its id are set here.
///
/// # Errors
/// [`Refused`].
pub async fn begin(store: &Store, clock: &Clock, meta: UploadMeta) -> Result<UploadMeta, Refused> {
    let now_ms = clock.now_ms();
    has_room(&store.list(&key::uploads_of(&meta.tenant)).await?, clock)?;
    let expires_ms = now_ms + EXPIRES_AFTER_MS;
    let meta = UploadMeta { upload: id::random(), created_ms: now_ms, expires_ms, ..meta };
    // The marker first: an upload without one would stay for ever.
    let minute = (expires_ms + GRACE_MS) / 60_000 + 1;
    store.create(&key::expiring(minute, &meta.tenant, Perishable::Upload, &meta.upload), "").await?;
    let text = serde_json::to_vec(&meta).expect("a meta is plain data, which always serializes");
    store.create(&UploadKeys::new(&meta.tenant, &meta.upload).upload(), text).await?;
    Ok(meta)
}

/// Whether a tenant whose uploads are these may begin another.
fn has_room(listed: &[Found], clock: &Clock) -> Result<(), Refused> {
    let now_ms = clock.now_ms();
    let ended: std::collections::HashSet<&str> =
        listed.iter().filter_map(|found| found.key.strip_suffix("/end.json")).collect();
    let begun = listed.iter().filter_map(|found| Some((found.key.strip_suffix("/upload.json")?, found)));
    let is_open = |(folder, found): &(&str, &Found)| {
        !ended.contains(folder) && now_ms < clock.at_ms(found.modified_ms) + EXPIRES_AFTER_MS
    };
    match (begun.clone().count(), begun.filter(is_open).count()) {
        (_, open) if open >= OPEN_MAX => Err(Refused::TooManyOpen),
        (all, _) if all >= DAILY_MAX => Err(Refused::TooManyADay),
        _ => Ok(()),
    }
}

/// The upload of this id; none when there is none, or none any more. One that was completed has its file
/// when this returns.
///
/// # Errors
/// [`FactError`].
pub async fn read(store: &Store, tenant: &str, upload: &str) -> Result<Option<Seen>, FactError> {
    let keys = UploadKeys::new(tenant, upload);
    let (meta, end) = (keys.upload(), keys.end());
    let (meta, end) =
        tokio::join!(fact::read::<UploadMeta>(store, &meta), fact::read::<UploadEnd>(store, &end));
    let Some(meta) = meta? else { return Ok(None) };
    let end = end?.map(|end| end.how);
    if let Some(Ended::Completed { file, .. }) = &end {
        restore(store, file).await?;
    }
    Ok(Some(Seen { meta, end }))
}

/// Whoever completed an upload may have died before its file was committed.
async fn restore(store: &Store, file: &FileMeta) -> Result<(), StoreError> {
    let keys = key::FileKeys::new(&file.tenant, &file.file);
    let was_deleted = async || {
        // Its mark goes before this upload may; its content went before the mark.
        Ok::<_, StoreError>(store.exists(&keys.deleted()).await? || !store.exists(&keys.content()).await?)
    };
    if store.exists(&keys.meta()).await? || was_deleted().await? {
        return Ok(());
    }
    files::commit(store, file).await
}

/// A part on its way in. Dropped before [`Incoming::finish`], it was never there.
#[derive(Debug)]
pub struct Incoming {
    part: String,
    upload: Upload,
}

impl Incoming {
    /// Begins a part under a fresh id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin(store: &Store, meta: &UploadMeta) -> Result<Incoming, StoreError> {
        let part = id::random();
        let upload = store.upload(&UploadKeys::new(&meta.tenant, &meta.upload).part(&part)).await?;
        Ok(Incoming { part, upload })
    }

    /// Adds to it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        self.upload.write(piece).await
    }

    /// Makes it a part; its id.
    ///
    /// # Errors
    /// [`StoreError`]: then it may be there, and nobody was told its id.
    pub async fn finish(self) -> Result<String, StoreError> {
        self.upload.finish().await?;
        Ok(self.part)
    }

    /// Gives it up; what was written goes.
    pub async fn abort(self) {
        self.upload.abort().await;
    }
}

/// A part that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its id.
    pub part: String,
    /// Its length.
    pub bytes: u64,
}

/// The parts of an upload, in no order.
///
/// # Errors
/// [`StoreError`].
pub async fn parts(store: &Store, meta: &UploadMeta) -> Result<Vec<Part>, StoreError> {
    let folder = UploadKeys::new(&meta.tenant, &meta.upload).parts();
    let listed = store.list(&folder).await?;
    let part = |found: &Found| {
        let part = found.key.strip_prefix(&folder).filter(|part| id::is_id(part))?;
        Some(Part { part: part.to_owned(), bytes: found.size })
    };
    Ok(listed.iter().filter_map(part).collect())
}

/// Parts as one content, read piece by piece.
pub fn content(store: &Store, meta: &UploadMeta, parts: Vec<Part>) -> Content<StoreError> {
    let (store, keys) = (store.clone(), UploadKeys::new(&meta.tenant, &meta.upload));
    let open = move |part: Part| files::pieces(&store, keys.part(&part.part), 0..part.bytes);
    Box::pin(stream::iter(parts).map(open).flatten())
}

/// Ends an upload in this way, unless it has ended; how it did.
///
/// # Errors
/// [`FactError`]: then it is not known whether it has ended, and asking again tells.
pub async fn end(store: &Store, clock: &Clock, meta: &UploadMeta, how: Ended) -> Result<Ended, FactError> {
    let key = UploadKeys::new(&meta.tenant, &meta.upload).end();
    let claim = UploadEnd { v: VERSION, by: id::random(), at_ms: clock.now_ms(), how };
    let text = serde_json::to_vec(&claim).expect("an end is plain data, which always serializes");
    let how = match store.claim(&key, text).await? {
        Claim::Won => claim.how,
        Claim::Lost(theirs) => {
            let theirs = serde_json::from_slice::<UploadEnd>(&theirs);
            theirs.map_err(|error| FactError::Unreadable(key, error))?.how
        }
    };
    if let Ended::Completed { file, .. } = &how {
        restore(store, file).await?;
    }
    if let Err(error) = drop_parts(store, meta).await {
        tracing::debug!(%error, "parts are left to the sweep");
    }
    Ok(how)
}

async fn drop_parts(store: &Store, meta: &UploadMeta) -> Result<(), StoreError> {
    let keys = UploadKeys::new(&meta.tenant, &meta.upload);
    let parts = parts(store, meta).await?;
    let deletions: Vec<_> =
        parts.iter().map(async |part| store.delete(&keys.part(&part.part)).await).collect();
    let done: Vec<_> = stream::iter(deletions).buffer_unordered(DELETIONS_AT_ONCE).collect().await;
    done.into_iter().collect()
}

/// Looks at an upload whose time may be over: nobody's parts go, and after a day all of it.
///
/// # Errors
/// [`FactError`].
pub async fn look(store: &Store, clock: &Clock, tenant: &str, upload: &str) -> Result<Look, FactError> {
    let keys = UploadKeys::new(tenant, upload);
    let Some(seen) = read(store, tenant, upload).await? else {
        store.delete(&keys.end()).await?;
        return Ok(Look::Over);
    };
    let (meta, now_ms) = (seen.meta, clock.now_ms());
    if seen.end.is_none() {
        if now_ms < meta.expires_ms + GRACE_MS {
            return Ok(Look::Again(meta.expires_ms + GRACE_MS));
        }
        end(store, clock, &meta, Ended::Expired).await?;
    }
    drop_parts(store, &meta).await?;
    if now_ms < meta.created_ms + KNOWN_FOR_MS {
        return Ok(Look::Again(meta.created_ms + KNOWN_FOR_MS));
    }
    // In this order nobody finds it open again, should this die in between.
    store.delete(&keys.upload()).await?;
    store.delete(&keys.end()).await?;
    Ok(Look::Over)
}

#[cfg(test)]
mod tests;
