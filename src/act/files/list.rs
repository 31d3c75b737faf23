//! A tenant's files in order: what it uploaded, and what its batches brought. Two listings say what there is;
//! beyond them a page reads what it shows, and passes over what is gone and batches that have not ended.

use std::cmp::Reverse;
use std::collections::HashSet;

use clock::Clock;
use facts::file::FileMeta;
use facts::job::End;
use facts::key::{self, FileKeys};
use facts::store::{Store, StoreError};
use facts::{Job, JobId};
use futures_util::{StreamExt, TryStreamExt, future, stream};

use super::{Deleted, read};
use crate::act::fact::{self, FactError};
use crate::act::progress;
use crate::act::results::{self, Which};

/// Files that are read at once.
const READS_AT_ONCE: usize = 32;
/// Files of one page, at most; a longer list is asked for in pages.
pub const PAGE_MAX: usize = 1_000;

/// What of a list is wanted.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Files of a page, at most; [`PAGE_MAX`] bounds it.
    pub limit: usize,
    /// The file that the page follows.
    pub after: Option<Name>,
    /// Which file comes first.
    pub order: Order,
    /// Which files are wanted.
    pub kinds: Kinds,
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

/// Which files are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kinds {
    /// All.
    #[default]
    All,
    /// Those that were uploaded.
    Uploads,
    /// Those that batches brought.
    Results,
}

/// A file by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// One that was uploaded, by its id.
    Upload(String),
    /// One that a batch brought.
    Result(String, Which),
}

/// A file that is there.
#[derive(Clone, Debug)]
pub enum Listed {
    /// One that was uploaded.
    Upload(Box<FileMeta>),
    /// One that an ended batch brought. It may be empty or have expired.
    Result(Box<(Job, End)>, Which),
}

/// Some of a tenant's files, in order.
#[derive(Debug)]
pub struct Page<T> {
    /// They.
    pub files: Vec<T>,
    /// Whether others follow.
    pub has_more: bool,
}

/// Lists a tenant's files as `shown` shows them, which passes over those that it shows as none; none where
/// `after` was never a file.
///
/// # Errors
/// [`FactError`].
pub async fn list<T>(
    (store, clock): (&Store, &Clock),
    tenant: &str,
    wanted: &Listing,
    shown: impl Fn(Listed) -> Option<T>,
) -> Result<Option<Page<T>>, FactError> {
    let mut places = places((store, clock), tenant, wanted.kinds).await?;
    let ascending = wanted.order == Order::Ascending;
    if ascending {
        places.reverse();
    }
    if let Some(after) = &wanted.after {
        let place = place_of((store, clock), tenant, &places, after).await?;
        let Some(place) = place else { return Ok(None) };
        places.retain(|other| if ascending { *other < place } else { *other > place });
    }
    let limit = wanted.limit.min(PAGE_MAX);
    let now_ms = clock.now_ms();
    // Deleted since they were listed, or expired: they are passed over.
    let files = stream::iter(places)
        .map(async |Place(_, name)| file(store, tenant, name, now_ms).await)
        .buffered(READS_AT_ONCE)
        .try_filter_map(|file| future::ready(Ok(file.and_then(&shown))));
    let mut files: Vec<T> = files.take(limit + 1).try_collect().await?;
    let has_more = files.len() > limit;
    files.truncate(limit);
    Ok(Some(Page { files, has_more }))
}

async fn file(store: &Store, tenant: &str, name: Name, now_ms: u64) -> Result<Option<Listed>, FactError> {
    match name {
        Name::Upload(file) => {
            Ok(read(store, tenant, &file, now_ms).await?.map(|meta| Listed::Upload(Box::new(meta))))
        }
        Name::Result(job, which) => {
            let Some(job) = JobId::parse(&job) else { return Ok(None) };
            let ended = progress::ended(store, tenant, &job).await?;
            let Some(ended) = ended else { return Ok(None) };
            let is_deleted = results::is_deleted(store, tenant, &job, which).await?;
            Ok((!is_deleted).then(|| Listed::Result(Box::new(ended), which)))
        }
    }
}

/// Where a file stands in its tenant's list: by when it was committed, and a batch's results by when the
/// batch was made, which their keys tell: nothing is read to sort.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(Reverse<u64>, Name);

/// The newest first.
async fn places(
    (store, clock): (&Store, &Clock),
    tenant: &str,
    kinds: Kinds,
) -> Result<Vec<Place>, StoreError> {
    let mut places = match kinds {
        Kinds::All | Kinds::Uploads => uploads((store, clock), tenant).await?,
        Kinds::Results => Vec::new(),
    };
    if kinds != Kinds::Uploads {
        for found in store.list(&key::batches_of(tenant)).await? {
            let Some((made_ms, job)) = key::read_index_time(&found.key).zip(key::read_index(&found.key))
            else {
                continue;
            };
            let place = |which| Place(Reverse(made_ms), Name::Result(job.to_string(), which));
            places.extend([Which::Output, Which::Errors].map(place));
        }
    }
    places.sort_unstable();
    Ok(places)
}

async fn uploads((store, clock): (&Store, &Clock), tenant: &str) -> Result<Vec<Place>, StoreError> {
    let folder = key::files_of(tenant);
    let listed = store.list(&folder).await?;
    let mut places: Vec<(u64, &str)> = Vec::new();
    let mut deleted = HashSet::new();
    for found in &listed {
        match found.key.strip_prefix(&folder).and_then(|key| key.split_once('/')) {
            Some((file, "meta.json")) => places.push((found.modified_ms, file)),
            Some((file, "deleted.json")) => {
                deleted.insert(file);
            }
            _ => {}
        }
    }
    let there = places.into_iter().filter(|(_, file)| !deleted.contains(file));
    let place = |(ms, file): (u64, &str)| Place(Reverse(clock.at_ms(ms)), Name::Upload(file.to_owned()));
    Ok(there.map(place).collect())
}

async fn place_of(
    (store, clock): (&Store, &Clock),
    tenant: &str,
    places: &[Place],
    name: &Name,
) -> Result<Option<Place>, FactError> {
    if let Some(place) = places.iter().find(|place| place.1 == *name) {
        return Ok(Some(place.clone()));
    }
    let Name::Upload(file) = name else { return Ok(None) };
    let mark: Option<Deleted> = fact::read(store, &FileKeys::new(tenant, file).deleted()).await?;
    Ok(mark.map(|mark| Place(Reverse(clock.at_ms(mark.listed_ms)), name.clone())))
}
