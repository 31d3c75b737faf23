//! How far a job is, read for whoever asks. Nothing is done about it here.

use clock::Clock;
use facts::job::{End, Stop};
use facts::key::{self, JobKeys};
use facts::{Job, JobId, State, Store, StoreError, fold};

use super::fact::{self, FactError};

/// A job as it is now. Times are Unix ms by the handler's clock.
#[derive(Clone, Debug)]
pub struct Progress {
    /// What it is.
    pub job: Job,
    /// What its facts come to.
    pub state: State,
    /// When its first shard was claimed.
    pub began_ms: Option<u64>,
    /// When its newest chunk was written.
    pub last_chunk_ms: Option<u64>,
    /// Why it was asked to stop.
    pub stop: Option<Stop>,
    /// How it ended.
    pub end: Option<End>,
}

/// The job of this id; none when there is none.
///
/// # Errors
/// [`FactError`].
pub async fn job(store: &Store, tenant: &str, id: &JobId) -> Result<Option<Job>, FactError> {
    fact::read(store, &JobKeys::new(tenant, id).job()).await
}

/// How a job ended; none when it has not, or when there is none.
///
/// # Errors
/// [`FactError`].
pub async fn ended(store: &Store, tenant: &str, id: &JobId) -> Result<Option<(Job, End)>, FactError> {
    let end = fact::read::<End>(store, &JobKeys::new(tenant, id).end()).await?;
    let Some(end) = end else { return Ok(None) };
    // The summary outlives the job by its retention.
    Ok(job(store, tenant, id).await?.map(|job| (job, end)))
}

/// How far a job is.
///
/// # Errors
/// [`FactError`].
pub async fn of(store: &Store, clock: &Clock, job: Job) -> Result<Progress, FactError> {
    let keys = JobKeys::new(&job.tenant, &job.job);
    let listing = store.list(keys.folder()).await?;
    let state = fold(&job, &listing);
    let tries = format!("{}tries/", keys.folder());
    let began = listing.iter().filter(|found| found.key.starts_with(&tries));
    let began = began.map(|found| found.modified_ms).min();
    let last_chunk = state.shards.iter().filter_map(|shard| shard.last_chunk_ms).max();
    let stop = if state.stopped { fact::read(store, &keys.stop()).await? } else { None };
    let end = if state.ended { fact::read(store, &keys.end()).await? } else { None };
    Ok(Progress {
        began_ms: began.map(|ms| clock.at_ms(ms)),
        last_chunk_ms: last_chunk.map(|ms| clock.at_ms(ms)),
        job,
        state,
        stop,
        end,
    })
}

/// Ids of a tenant's batches, the newest first. A batch that ended before batches had a listing of their
/// own is found by its id alone.
///
/// # Errors
/// [`StoreError`].
pub async fn newest_batches(store: &Store, tenant: &str) -> Result<Vec<JobId>, StoreError> {
    let listed = store.list(&key::batches_of(tenant)).await?;
    Ok(listed.iter().filter_map(|found| key::read_index(&found.key)).collect())
}
