//! What nobody deletes goes by itself: expired files, contents that became none, uploads in parts that
//! were left. Markers say when to look; a look says when to look again.

use clock::Clock;
use facts::file::FileMeta;
use facts::key::{self, FileKeys, Perishable};
use facts::{Store, StoreError};
use futures_util::{StreamExt, stream};

use super::{Deletion, clear, delete, finish_deletion, mark_deleted};
use crate::act::fact::{self, FactError};
use crate::act::uploads;

/// When a file is looked at first: just past the shortest life that one can have, an hour.
pub const FIRST_LOOK_MS: u64 = 65 * 60_000;
const HOUR_MS: u64 = 60 * 60_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// A content without a meta becomes no file any more after this: whoever could commit it, an upload
/// that is complete, was looked at long before.
const COMMITTED_WITHIN_MS: u64 = DAY_MS;
/// How long a deleted file is known as a cursor of lists.
const CURSOR_FOR_MS: u64 = DAY_MS;
/// Days past which markers are looked for: a sweep that was away longer leaves the rest to the
/// account's lifecycle rule.
const DAYS_BACK: u64 = 7;
/// Looks of one pass: at 100 ms of a store's calls each, a few seconds of a sweep.
const LOOKS_MAX: usize = 200;
/// Looks beside each other.
const LOOKS_AT_ONCE: usize = 8;

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing is left.
    Over,
    /// To be looked at again then, Unix ms.
    Again(u64),
}

/// How far a pass came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Everything that was due was looked at.
    Whole,
    /// The next pass has more to do.
    Cut,
}

/// Looks at everything that is due.
///
/// # Errors
/// [`StoreError`] where markers cannot be listed. A look that fails stays due.
pub async fn pass(store: &Store, clock: &Clock) -> Result<Pass, StoreError> {
    let mut due = due(store, clock).await?;
    let pass = if due.len() > LOOKS_MAX { Pass::Cut } else { Pass::Whole };
    due.truncate(LOOKS_MAX);
    let looks: Vec<_> = due.iter().map(|marker| look_at(store, clock, marker)).collect();
    stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).collect::<()>().await;
    Ok(pass)
}

/// Markers whose time has come, a few more than one pass takes.
async fn due(store: &Store, clock: &Clock) -> Result<Vec<String>, StoreError> {
    let (now_minute, today) = (clock.now_ms() / 60_000, clock.now_ms() / DAY_MS);
    let mut due = Vec::new();
    for day in today.saturating_sub(DAYS_BACK)..=today {
        let listed = store.list(&key::expiring_of(day)).await?;
        let is_due = |key: &String| key::read_expiring(key).is_some_and(|(minute, ..)| minute <= now_minute);
        due.extend(listed.into_iter().map(|found| found.key).filter(is_due));
        if due.len() > LOOKS_MAX {
            break;
        }
    }
    Ok(due)
}

async fn look_at(store: &Store, clock: &Clock, marker: &str) {
    if let Err(error) = look(store, clock, marker).await {
        tracing::warn!(%error, marker, "not looked at; the next pass tries again");
    }
}

async fn look(store: &Store, clock: &Clock, marker: &str) -> Result<(), FactError> {
    let Some((_, tenant, what, id)) = key::read_expiring(marker) else { return Ok(()) };
    let looked = match what {
        Perishable::File => file(store, clock, tenant, id).await?,
        Perishable::Upload => uploads::look(store, clock, tenant, id).await?,
    };
    if let Look::Again(at_ms) = looked {
        // Never the same minute again: the marker of this look goes.
        let minute = (at_ms / 60_000).max(clock.now_ms() / 60_000) + 1;
        store.create(&key::expiring(minute, tenant, what, id), "").await?;
    }
    Ok(store.delete(marker).await?)
}

/// Looks at one file.
///
/// # Errors
/// [`FactError`].
pub async fn file(store: &Store, clock: &Clock, tenant: &str, file: &str) -> Result<Look, FactError> {
    let (keys, now_ms) = (FileKeys::new(tenant, file), clock.now_ms());
    let listed = store.list(keys.folder()).await?;
    let at_ms = |key: String| {
        let found = listed.iter().find(|found| found.key == key)?;
        Some((clock.at_ms(found.modified_ms), found.modified_ms))
    };
    if let Some((deleted_ms, _)) = at_ms(keys.deleted()) {
        if finish_deletion(store, clock, tenant, &keys).await? == Deletion::InUse {
            return Ok(Look::Again(now_ms + HOUR_MS));
        }
        if now_ms < deleted_ms + CURSOR_FOR_MS {
            return Ok(Look::Again(deleted_ms + CURSOR_FOR_MS));
        }
        store.delete(&keys.deleted()).await?;
        return Ok(Look::Over);
    }
    if at_ms(keys.meta()).is_some() {
        let Some(meta) = fact::read::<FileMeta>(store, &keys.meta()).await? else { return Ok(Look::Over) };
        return match meta.expires_ms {
            None => Ok(Look::Over),
            Some(expires_ms) if now_ms < expires_ms => Ok(Look::Again(expires_ms)),
            Some(_) => expired(store, clock, tenant, file).await,
        };
    }
    let Some((finished_ms, listed_ms)) = at_ms(keys.content()) else { return Ok(Look::Over) };
    if now_ms < finished_ms + COMMITTED_WITHIN_MS {
        return Ok(Look::Again(finished_ms + COMMITTED_WITHIN_MS));
    }
    // Marked first: nobody can make it a file without its content.
    mark_deleted(store, clock, &keys, listed_ms).await?;
    clear(store, &keys, &listed).await?;
    Ok(Look::Again(now_ms + CURSOR_FOR_MS))
}

async fn expired(store: &Store, clock: &Clock, tenant: &str, file: &str) -> Result<Look, FactError> {
    Ok(match delete(store, clock, tenant, file).await? {
        Deletion::NotThere => Look::Over,
        Deletion::Gone => Look::Again(clock.now_ms() + CURSOR_FOR_MS),
        Deletion::InUse => Look::Again(clock.now_ms() + HOUR_MS),
    })
}

#[cfg(test)]
mod tests;
