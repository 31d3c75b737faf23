//! What is old goes: facts of jobs past their retention, files and uploads past theirs, and Azure Batch
//! jobs of earlier days, of which an account may have 100 to 300 active ones.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use facts::JobId;
use facts::key::{self, JobKeys};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::batch_job;
use super::{Jobs, Trouble};
use crate::act::files::expire::{self, Pass};
use crate::act::ledger::sums;
use crate::catalogue::Pool;

/// Days past which markers are looked for: a sweep that was away longer leaves the rest to the
/// account's lifecycle rule.
const DAYS_BACK: u64 = 7;
const DAY_MS: u64 = 24 * 3_600_000;
/// Jobs that one pass retires.
const JOBS_MAX: usize = 200;
/// No job of a pass is begun after this: it is the last that a sweep of 20 s does.
const JOBS_WITHIN: Duration = Duration::from_secs(3);
/// Facts of a job that are deleted beside each other.
const DELETIONS_AT_ONCE: usize = 8;

/// How often there is anything to retire, in ms.
const EVERY_MS: u64 = 3_600_000;

impl Jobs {
    /// Once an hour: clears away what is old. What fails is tried again in an hour; what is too much for one
    /// sweep, or was cut off with it, the next one goes on with. What an account has few of comes first.
    pub async fn retire(&self, pools: &[Arc<Pool>]) {
        let (now, last) = (self.now().0, &self.0.last_retired_ms);
        if now.saturating_sub(last.load(Ordering::Relaxed)) < EVERY_MS {
            return;
        }
        for pool in pools {
            if let Err(error) = self.retire_batch_jobs(&pool.facts.name).await {
                tracing::warn!(%error, pool = pool.facts.name, "azure batch jobs of earlier days were not ended");
            }
        }
        if let Err(error) = sums::close(self.store(), self.now()).await {
            tracing::warn!(%error, "hours and days of the ledger were not closed");
        }
        let files = expire::pass(self.store(), &self.0.clock).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "expired files were not taken away");
            Pass::Whole
        });
        let jobs = self.retire_jobs().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "old jobs were not retired");
            Pass::Whole
        });
        if (files, jobs) == (Pass::Whole, Pass::Whole) {
            last.store(now, Ordering::Relaxed);
        }
    }

    /// Deletes all facts of ended jobs whose retention is over. The summary stays, for the bill.
    ///
    /// # Errors
    /// [`Trouble`]; the next pass goes on.
    pub async fn retire_jobs(&self) -> Result<Pass, Trouble> {
        let (today, began) = (self.now().0 / DAY_MS, Instant::now());
        let mut retired = 0;
        for day in today.saturating_sub(DAYS_BACK)..=today {
            for found in self.store().list(&key::old_of(day)).await? {
                if retired == JOBS_MAX || began.elapsed() > JOBS_WITHIN {
                    return Ok(Pass::Cut);
                }
                if let Some((tenant, job)) = key::read_old(&found.key) {
                    self.erase(tenant, &job).await?;
                    retired += 1;
                }
                self.store().delete(&found.key).await?;
            }
        }
        Ok(Pass::Whole)
    }

    /// Deletes prompts, outputs and all other facts of an ended job, the summary excepted.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn erase(&self, tenant: &str, id: &JobId) -> Result<(), Trouble> {
        let keys = JobKeys::new(tenant, id);
        let job = match self.job(tenant, id).await {
            // Of another version. It goes all the same; what lists it leads nowhere.
            Err(error @ Trouble::Unreadable { .. }) => {
                tracing::warn!(%error, "a job that cannot be read is erased");
                None
            }
            read => read?,
        };
        let listing = self.store().list(keys.folder()).await?;
        let last = [keys.job(), keys.end()];
        let rest = listing.iter().filter(|found| !last.contains(&found.key));
        let deletions: Vec<_> = rest.map(|found| self.store().delete(&found.key)).collect();
        stream::iter(deletions).buffer_unordered(DELETIONS_AT_ONCE).try_collect::<()>().await?;
        if let Some(job) = job {
            self.store().delete(&key::index(tenant, job.created_ms, id)).await?;
            self.store().delete(&key::batch(tenant, job.created_ms, id)).await?;
            self.store().delete(&key::recent(tenant, &job.body_hash, job.created_ms, id)).await?;
        }
        // The commit point goes last: until then a repeat finds what is left.
        self.store().delete(&keys.job()).await?;
        self.forget(&keys.job());
        Ok(())
    }

    /// Lets our Azure Batch jobs of earlier days end when their tasks are over.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn retire_batch_jobs(&self, pool: &str) -> Result<(), Trouble> {
        let Some(batch) = self.batch() else { return Ok(()) };
        let today = batch_job::day(self.now());
        let prefix = batch_job::prefix(pool);
        for job in batch.jobs(&prefix).await?.jobs {
            let made = batch_job::day_of(&prefix, &job.id);
            if made.is_some_and(|made| made < today.as_str()) && !job.ends_when_done {
                batch.end_job_when_done(&job.id).await?;
                tracing::info!(
                    batch_job = job.id,
                    "an azure batch job of an earlier day ends when it is done"
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clock::Clock;
    use facts::Store;

    use super::*;

    /// A job's result, past its retention.
    async fn old_job(store: &Store) -> JobKeys {
        let id = JobId::random();
        let keys = JobKeys::new("t", &id);
        store.create(&keys.chunk(0, 0), "a prompt").await.unwrap();
        store.create(&key::old(Clock::REAL.now_ms() / DAY_MS, "t", &id), "").await.unwrap();
        keys
    }

    /// One that no version here reads used to hold up all that came after it, for ever.
    #[tokio::test]
    async fn a_job_that_cannot_be_read_holds_up_no_other() {
        let store = Store::memory();
        let jobs = Jobs::new(store.clone(), Clock::REAL, None, None, String::new());
        for _ in 0..9 {
            let keys = old_job(&store).await;
            store.create(&keys.job(), r#"{"v":9}"#).await.unwrap();
        }
        jobs.retire(&[]).await;
        let left = store.list("").await.unwrap();
        assert!(!left.iter().any(|found| found.key.contains("/out/")), "{left:?}");
        assert!(store.list(key::OLD).await.unwrap().is_empty());
    }

    /// A pass used to end after 200 jobs, and the next came an hour later: of more than that an hour, prompts
    /// stayed for ever.
    #[tokio::test]
    async fn what_one_pass_leaves_the_next_sweep_takes() {
        let store = Store::memory();
        let jobs = Jobs::new(store.clone(), Clock::REAL, None, None, String::new());
        for _ in 0..2 * JOBS_MAX + 1 {
            old_job(&store).await;
        }
        for _ in 0..3 {
            jobs.retire(&[]).await;
        }
        for folder in [key::TENANTS, key::OLD] {
            assert!(store.list(folder).await.unwrap().is_empty(), "{folder}");
        }
    }
}
