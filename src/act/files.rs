//! Files that tenants upload. A marker for the sweep comes first, then the content under a fresh id;
//! `meta.json` commits it, put-if-absent. A file is gone once `deleted.json` marks it; its content goes
//! after that. [`expire`] takes away what nobody deletes, [`list`] shows what a tenant has.

pub mod expire;
pub mod list;

use std::ops::Range;

use bytes::Bytes;
use clock::Clock;
use facts::file::FileMeta;
use facts::fold::Found;
use facts::key::{self, FileKeys, JobKeys, Perishable};
use facts::store::{Store, StoreError, Upload};
use facts::{JobId, VERSION, id};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::fact::{self, FactError};
use crate::http::Content;

/// What is read of a content at once, to be sent on.
const PIECE_BYTES: usize = 1024 * 1024;
/// A mark of a job that is not there after this belongs to no job.
const MADE_WITHIN_MS: u64 = 600_000;

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
    }
    finish_deletion(store, clock, tenant, &keys).await
}

/// Takes away what is left of a file that is marked, unless a job holds it that was before the mark: whoever
/// marked it may have died before looking.
async fn finish_deletion(
    store: &Store,
    clock: &Clock,
    tenant: &str,
    keys: &FileKeys,
) -> Result<Deletion, FactError> {
    let listed = store.list(keys.folder()).await?;
    // Without a content nobody can hold it any more.
    let has_content = listed.iter().any(|found| found.key == keys.content());
    if has_content && is_used(store, clock, tenant, &listed).await? {
        store.delete(&keys.deleted()).await?;
        return Ok(Deletion::InUse);
    }
    clear(store, keys, &listed).await?;
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

#[cfg(test)]
mod tests;
