//! Sums of hours and days. What is over is closed: its sums are written down and read from then on. Closed
//! sums are a convenience: they say what their entries say, and an entry that comes late takes them away.

use facts::ledger::{Entry, MINUTES, Sums};
use facts::{Store, StoreError, key};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use policy::units::{Millis, UnixMs};

const HOUR: Millis = Millis(3_600_000);
const DAY_MS: u64 = 24 * HOUR.0;
const HOURS: u64 = 24;
const MINUTE_MS: u64 = 60_000;
/// An hour is closed so long after its end: processes write every minute, and a job whose summary's writer
/// died is looked at again within ten.
const HOUR_GRACE: Millis = HOUR;
/// A day is closed so long after its end, from its hours as they are then.
const DAY_GRACE: Millis = Millis(DAY_MS);
/// Days back that a pass closes.
const DAYS_BACK: u64 = 7;
/// Objects read beside each other.
const AT_ONCE: usize = 16;
/// Entries of an hour that are read at most; more are refused rather than half summed.
const ENTRIES_MAX: usize = 100_000;

/// The Unix hour that an instant lies in.
pub fn hour_of(at: UnixMs) -> u64 {
    at.0 / HOUR.0
}

/// Sums of these Unix days, as far as they have passed.
///
/// # Errors
/// [`StoreError`].
pub async fn of_days(store: &Store, days: std::ops::Range<u64>, now: UnixMs) -> Result<Sums, StoreError> {
    let today = now.0 / DAY_MS;
    let days: Vec<_> =
        (days.start..days.end.min(today + 1)).map(|unix_day| day(store, unix_day, now)).collect();
    let days = stream::iter(days).buffered(AT_ONCE);
    days.try_fold(Sums::default(), async |sums, day| Ok(sums.and(&day))).await
}

/// Closes what is over and was not closed. Two at once do no harm: both write the same.
///
/// # Errors
/// [`StoreError`]; the next pass goes on.
pub async fn close(store: &Store, now: UnixMs) -> Result<(), StoreError> {
    let today = now.0 / DAY_MS;
    for unix_day in today.saturating_sub(DAYS_BACK)..=today {
        if day_is_over(unix_day, now) {
            day(store, unix_day, now).await?;
            continue;
        }
        let closed = store.list(&key::ledger_hours(unix_day)).await?;
        for unix_hour in unix_day * HOURS..(unix_day + 1) * HOURS {
            let is_closed = closed.iter().any(|found| found.key == key::ledger_hour(unix_hour));
            if hour_is_over(unix_hour, now) && !is_closed {
                of_entries(store, unix_hour, now).await?;
            }
        }
    }
    Ok(())
}

/// Takes away the sums of an hour that were closed before an entry of it came.
///
/// # Errors
/// [`StoreError`].
pub async fn reopen_if_closed(store: &Store, unix_hour: u64, now: UnixMs) -> Result<(), StoreError> {
    if hour_is_over(unix_hour, now) {
        store.delete(&key::ledger_hour(unix_hour)).await?;
        store.delete(&key::ledger_day(unix_hour / HOURS)).await?;
    }
    Ok(())
}

/// Whether nothing more is expected of an hour: then it is closed.
pub(super) fn hour_is_over(unix_hour: u64, now: UnixMs) -> bool {
    now.0 >= (unix_hour + 1) * HOUR.0 + HOUR_GRACE.0
}

fn day_is_over(unix_day: u64, now: UnixMs) -> bool {
    now.0 >= (unix_day + 1) * DAY_MS + DAY_GRACE.0
}

async fn day(store: &Store, unix_day: u64, now: UnixMs) -> Result<Sums, StoreError> {
    let is_over = day_is_over(unix_day, now);
    if is_over && let Some(closed) = read(store, &key::ledger_day(unix_day)).await? {
        return Ok(closed);
    }
    let hours = unix_day * HOURS..((unix_day + 1) * HOURS).min(hour_of(now) + 1);
    let hours: Vec<_> = hours.map(|unix_hour| hour(store, unix_hour, now)).collect();
    let hours = stream::iter(hours).buffered(AT_ONCE);
    let mut sums = hours.try_fold(Sums::default(), async |sums, hour| Ok(sums.and(&hour))).await?;
    if is_over {
        sums.fit(facts::ledger::ROWS_MAX);
        // A day of nothing is written too: the next reader asks one question and not 24.
        store.create_by_clock(&key::ledger_day(unix_day), text(&sums)).await?;
    }
    Ok(sums)
}

/// An hour, as it was closed. Before its day is closed it is counted again: an entry may have come while
/// somebody closed it.
pub(super) async fn hour(store: &Store, unix_hour: u64, now: UnixMs) -> Result<Sums, StoreError> {
    if !hour_is_over(unix_hour, now) {
        return of_entries(store, unix_hour, now).await;
    }
    let closed: Option<Sums> = read(store, &key::ledger_hour(unix_hour)).await?;
    if let Some(closed) = closed {
        let is_last = day_is_over(unix_hour / HOURS, now);
        if !is_last || closed.entries == store.list(&key::ledger_entries(unix_hour)).await?.len() as u64 {
            return Ok(closed);
        }
        store.delete(&key::ledger_hour(unix_hour)).await?;
    }
    of_entries(store, unix_hour, now).await
}

/// Minutes of an hour that have begun.
pub(super) fn minutes_so_far(unix_hour: u64, now: UnixMs) -> u32 {
    let so_far = now.0.saturating_sub(unix_hour * HOUR.0) / MINUTE_MS + 1;
    u32::try_from(so_far).unwrap_or(MINUTES)
}

async fn of_entries(store: &Store, unix_hour: u64, now: UnixMs) -> Result<Sums, StoreError> {
    let found = store.list(&key::ledger_entries(unix_hour)).await?;
    if found.len() > ENTRIES_MAX {
        return Err(StoreError::TooLarge(key::ledger_entries(unix_hour)));
    }
    let reads: Vec<_> = found.iter().map(|found| read::<Entry>(store, &found.key)).collect();
    let entries: Vec<Option<Entry>> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
    let entries: Vec<Entry> = entries.into_iter().flatten().collect();
    let mut sums = Sums::of_hour(unix_hour, &entries, minutes_so_far(unix_hour, now));
    // One that cannot be read is counted, or its hour would be summed up again and again.
    sums.entries = found.len() as u64;
    if hour_is_over(unix_hour, now) && !found.is_empty() {
        store.create_by_clock(&key::ledger_hour(unix_hour), text(&sums)).await?;
    }
    Ok(sums)
}

/// What is written there; none where nothing is, or nothing that this version reads.
pub(super) async fn read<T: serde::de::DeserializeOwned>(
    store: &Store,
    key: &str,
) -> Result<Option<T>, StoreError> {
    match store.get(key).await {
        Ok(object) => {
            let read = serde_json::from_slice(&object.content);
            Ok(read.inspect_err(|error| tracing::warn!(%error, key, "cannot be read, and is left out")).ok())
        }
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn text(sums: &Sums) -> String {
    serde_json::to_string(sums).expect("sums are plain data, which always serializes")
}
