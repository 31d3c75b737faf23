//! Files that tenants upload. A marker for the sweep comes first, then the content under a fresh id;
//! `meta.json` commits it, put-if-absent. A file is gone once `deleted.json` marks it; its content goes
//! after that. [`expire`] takes away what nobody deletes.

pub mod expire;

use std::cmp::Reverse;
use std::ops::Range;

use bytes::Bytes;
use clock::Clock;
use facts::file::FileMeta;
use facts::fold::Found;
use facts::key::{self, FileKeys, JobKeys, Perishable};
use facts::store::{Store, StoreError, Upload};
use facts::{JobId, VERSION, id};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::fact::{self, FactError};
use crate::http::Content;

/// What is read of a content at once, to be sent on.
const PIECE_BYTES: usize = 1024 * 1024;
/// Metas that are read at once for a listing.
const READS_AT_ONCE: usize = 32;
/// A mark of a job that is not there after this belongs to no job.
const MADE_WITHIN_MS: u64 = 600_000;
/// Files of one page, at most; a longer list is asked for in pages.
pub const PAGE_MAX: usize = 1_000;

/// The content of a file on its way in. Dropped before [`Incoming::finish`], it was never there.
#[derive(Debug)]
pub struct Incoming {
    file: String,
    marker: String,
    upload: Upload,
}

impl Incoming {
    /// Begins a content of this tenant under a fresh id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin(store: &Store, tenant: &str, now_ms: u64) -> Result<Incoming, StoreError> {
        let file = id::random();
        // Should this process die, the sweep finds what it left.
        let minute = (now_ms + expire::FIRST_LOOK_MS) / 60_000;
        let marker = key::expiring(minute, tenant, Perishable::File, &file);
        store.create(&marker, "").await?;
        let upload = store.upload(&FileKeys::new(tenant, &file).content()).await?;
        Ok(Incoming { file, marker, upload })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.file
    }

    /// Adds to it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        self.upload.write(piece).await
    }

    /// Makes it an object, which is no file before [`commit`].
    ///
    /// # Errors
    /// [`StoreError`]: then it may be there, and the sweep takes it away.
    pub async fn finish(self) -> Result<(), StoreError> {
        self.upload.finish().await
    }

    /// Gives it up; what was written goes.
    pub async fn abort(self, store: &Store) {
        self.upload.abort().await;
        if let Err(error) = store.delete(&self.marker).await {
            tracing::debug!(%error, "a marker is left to the sweep");
        }
    }
}

/// Makes a content that was finished a file; again, it changes nothing.
///
/// # Errors
/// [`StoreError`]: then it is not known whether it is there.
pub async fn commit(store: &Store, meta: &FileMeta) -> Result<(), StoreError> {
    let text = serde_json::to_vec(meta).expect("a meta is plain data, which always serializes");
    store.create(&FileKeys::new(&meta.tenant, &meta.file).meta(), text).await.map(drop)
}

/// Takes away a content that becomes no file.
///
/// # Errors
/// [`StoreError`]: then the sweep does it.
pub async fn discard(store: &Store, tenant: &str, file: &str) -> Result<(), StoreError> {
    store.delete(&FileKeys::new(tenant, file).content()).await
}

/// The file of this id; none when there is none, or none any more.
///
/// # Errors
/// [`FactError`].
pub async fn read(
    store: &Store,
    tenant: &str,
    file: &str,
    now_ms: u64,
) -> Result<Option<FileMeta>, FactError> {
    let keys = FileKeys::new(tenant, file);
    let (deleted, meta) = (keys.deleted(), keys.meta());
    let (deleted, meta) = tokio::join!(store.exists(&deleted), fact::read::<FileMeta>(store, &meta));
    Ok(if deleted? { None } else { meta?.filter(|meta| is_there(meta, now_ms)) })
}

fn is_there(meta: &FileMeta, now_ms: u64) -> bool {
    meta.expires_ms.is_none_or(|expires| now_ms < expires)
}

/// Part of a file's content, read while it is sent.
pub fn content(store: &Store, tenant: &str, file: &str, range: Range<u64>) -> Content<StoreError> {
    pieces(store, FileKeys::new(tenant, file).content(), range)
}

/// Part of an object, read piece by piece.
pub(super) fn pieces(store: &Store, key: String, range: Range<u64>) -> Content<StoreError> {
    let store = store.clone();
    let pieces = (range.start..range.end).step_by(PIECE_BYTES).map(move |at| {
        let end = range.end.min(at + PIECE_BYTES as u64);
        at..end
    });
    Box::pin(stream::iter(pieces).then(move |piece| {
        let (store, key) = (store.clone(), key.clone());
        async move { store.get_range(&key, piece).await }
    }))
}

/// What `deleted.json` says.
#[derive(Debug, Deserialize, Serialize)]
struct Deleted {
    v: u32,
    at_ms: u64,
    /// Where the file stood in its tenant's list: a client that deletes what it lists asks for what
    /// follows a file that is gone.
    listed_ms: u64,
}

/// What became of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone, now or before.
    Gone,
    /// There never was one.
    NotThere,
    /// A job reads it that has not ended.
    InUse,
}

/// Says that a job is going to read a file, so that nobody deletes it: before the job is made.
/// Whether the file is still there.
///
/// # Errors
/// [`StoreError`].
pub async fn hold(store: &Store, tenant: &str, file: &str, job: &JobId) -> Result<bool, StoreError> {
    let keys = FileKeys::new(tenant, file);
    store.create(&keys.used(job), "").await?;
    // Whoever deletes marks first and looks for holders then: one of the two sees the other.
    Ok(!store.exists(&keys.deleted()).await?)
}

/// Deletes a file that no job reads.
///
/// # Errors
/// [`FactError`]: it may be gone already, and deleting it again finishes.
pub async fn delete(store: &Store, clock: &Clock, tenant: &str, file: &str) -> Result<Deletion, FactError> {
    let keys = FileKeys::new(tenant, file);
    let listed = store.list(keys.folder()).await?;
    let found = |key: String| listed.iter().find(move |found| found.key == key);
    if found(keys.deleted()).is_none() {
        let Some(meta) = found(keys.meta()) else { return Ok(Deletion::NotThere) };
        if is_used(store, clock, tenant, &listed).await? {
            return Ok(Deletion::InUse);
        }
        mark_deleted(store, clock, &keys, meta.modified_ms).await?;
        if is_used(store, clock, tenant, &store.list(keys.folder()).await?).await? {
            store.delete(&keys.deleted()).await?;
            return Ok(Deletion::InUse);
        }
    }
    clear(store, &keys, &listed).await?;
    Ok(Deletion::Gone)
}

/// Marks a file as gone, which makes it so.
async fn mark_deleted(
    store: &Store,
    clock: &Clock,
    keys: &FileKeys,
    listed_ms: u64,
) -> Result<(), StoreError> {
    let mark = Deleted { v: VERSION, at_ms: clock.now_ms(), listed_ms };
    let mark = serde_json::to_vec(&mark).expect("a mark is plain data, which always serializes");
    store.create(&keys.deleted(), mark).await.map(drop)
}

/// Takes away what is left of a file that is marked; the mark stays.
async fn clear(store: &Store, keys: &FileKeys, listed: &[Found]) -> Result<(), StoreError> {
    store.delete(&keys.content()).await?;
    // Its errors may quote the content.
    store.delete(&keys.meta()).await?;
    for used in listed.iter().filter(|found| key::read_used(&found.key).is_some()) {
        store.delete(&used.key).await?;
    }
    Ok(())
}

/// Whether a job that has not ended holds a file whose folder holds this.
async fn is_used(store: &Store, clock: &Clock, tenant: &str, listed: &[Found]) -> Result<bool, StoreError> {
    for found in listed {
        let Some(job) = key::read_used(&found.key) else { continue };
        let keys = JobKeys::new(tenant, &job);
        if store.exists(&keys.end()).await? {
            continue;
        }
        // A mark without a job: it is being made, or whoever made it died.
        let age_ms = clock.now_ms().saturating_sub(clock.at_ms(found.modified_ms));
        if age_ms < MADE_WITHIN_MS || store.exists(&keys.job()).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What of a list is wanted.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Files of a page, at most; [`PAGE_MAX`] bounds it.
    pub limit: usize,
    /// Id of the file that the page follows.
    pub after: Option<String>,
    /// Which file comes first.
    pub order: Order,
}

/// Which file comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The newest.
    #[default]
    Descending,
    /// The oldest.
    Ascending,
}

/// Some of a tenant's files, in order.
#[derive(Debug)]
pub struct Page {
    /// They.
    pub files: Vec<FileMeta>,
    /// Whether others follow.
    pub has_more: bool,
}

/// Lists a tenant's files; none where `after` was never a file.
///
/// # Errors
/// [`FactError`].
pub async fn list(
    store: &Store,
    tenant: &str,
    wanted: &Listing,
    now_ms: u64,
) -> Result<Option<Page>, FactError> {
    let mut places = places(store, tenant).await?;
    if wanted.order == Order::Ascending {
        places.reverse();
    }
    if let Some(after) = &wanted.after {
        let Some(place) = place_of(store, tenant, &places, after).await? else { return Ok(None) };
        let ascending = wanted.order == Order::Ascending;
        places.retain(|other| if ascending { *other < place } else { *other > place });
    }
    let limit = wanted.limit.min(PAGE_MAX);
    // Deleted since they were listed, or expired: they are passed over.
    let metas = stream::iter(places)
        .map(async |Place(_, file)| read(store, tenant, &file, now_ms).await)
        .buffered(READS_AT_ONCE)
        .try_filter_map(|meta| futures_util::future::ready(Ok(meta)));
    let mut files: Vec<FileMeta> = metas.take(limit + 1).try_collect().await?;
    let has_more = files.len() > limit;
    files.truncate(limit);
    Ok(Some(Page { files, has_more }))
}

/// Where a file stands in its tenant's list, by when it was committed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(Reverse<u64>, String);

async fn places(store: &Store, tenant: &str) -> Result<Vec<Place>, StoreError> {
    let folder = key::files_of(tenant);
    let listed = store.list(&folder).await?;
    let parts = |key: &str| {
        let (file, name) = key.strip_prefix(&folder)?.split_once('/')?;
        Some((file.to_owned(), name.to_owned()))
    };
    let mut places: Vec<Place> = Vec::new();
    let mut deleted = std::collections::HashSet::new();
    for found in &listed {
        match parts(&found.key) {
            Some((file, name)) if name == "meta.json" => places.push(Place(Reverse(found.modified_ms), file)),
            Some((file, name)) if name == "deleted.json" => {
                deleted.insert(file);
            }
            _ => {}
        }
    }
    places.retain(|Place(_, file)| !deleted.contains(file));
    places.sort_unstable();
    Ok(places)
}

async fn place_of(
    store: &Store,
    tenant: &str,
    places: &[Place],
    file: &str,
) -> Result<Option<Place>, FactError> {
    if let Some(place) = places.iter().find(|place| place.1 == file) {
        return Ok(Some(place.clone()));
    }
    let mark: Option<Deleted> = fact::read(store, &FileKeys::new(tenant, file).deleted()).await?;
    Ok(mark.map(|mark| Place(Reverse(mark.listed_ms), file.to_owned())))
}

#[cfg(test)]
mod tests;
