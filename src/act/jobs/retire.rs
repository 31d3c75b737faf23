//! What is old goes: facts of jobs past their retention, files and uploads past theirs, and Azure Batch
//! jobs of earlier days, of which an account may have 100 to 300 active ones.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use facts::JobId;
use facts::key::{self, JobKeys};

use super::batch_job;
use super::{Jobs, Trouble};
use crate::act::files::expire;
use crate::act::ledger::sums;
use crate::catalogue::Pool;

/// Days past which markers are looked for: a sweep that was away longer leaves the rest to the
/// account's lifecycle rule.
const DAYS_BACK: u64 = 7;
const DAY_MS: u64 = 24 * 3_600_000;
/// Jobs that one pass retires.
const JOBS_MAX: usize = 200;

/// How often there is anything to retire, in ms.
const EVERY_MS: u64 = 3_600_000;

impl Jobs {
    /// Once an hour: clears away what is old. What fails is tried again in an hour.
    pub async fn retire(&self, pools: &[Arc<Pool>]) {
        let (now, last) = (self.now().0, &self.0.last_retired_ms);
        if now.saturating_sub(last.load(Ordering::Relaxed)) < EVERY_MS {
            return;
        }
        last.store(now, Ordering::Relaxed);
        if let Err(error) = self.retire_jobs().await {
            tracing::warn!(%error, "old jobs were not retired");
        }
        if let Err(error) = sums::close(self.store(), self.now()).await {
            tracing::warn!(%error, "hours and days of the ledger were not closed");
        }
        match expire::pass(self.store(), &self.0.clock).await {
            Ok(expire::Pass::Whole) => {}
            // Too much for one sweep: the next one goes on.
            Ok(expire::Pass::Cut) => last.store(0, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "expired files were not taken away"),
        }
        for pool in pools {
            if let Err(error) = self.retire_batch_jobs(&pool.facts.name).await {
                tracing::warn!(%error, pool = pool.facts.name, "azure batch jobs of earlier days were not ended");
            }
        }
    }

    /// Deletes all facts of ended jobs whose retention is over. The summary stays, for the bill.
    ///
    /// # Errors
    /// [`Trouble`]; the next pass goes on.
    pub async fn retire_jobs(&self) -> Result<usize, Trouble> {
        let today = self.now().0 / DAY_MS;
        let mut retired = 0;
        for day in today.saturating_sub(DAYS_BACK)..=today {
            for found in self.store().list(&key::old_of(day)).await? {
                if retired == JOBS_MAX {
                    return Ok(retired);
                }
                if let Some((tenant, job)) = key::read_old(&found.key) {
                    self.erase(tenant, &job).await?;
                    retired += 1;
                }
                self.store().delete(&found.key).await?;
            }
        }
        Ok(retired)
    }

    /// Deletes prompts, outputs and all other facts of an ended job, the summary excepted.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn erase(&self, tenant: &str, id: &JobId) -> Result<(), Trouble> {
        let keys = JobKeys::new(tenant, id);
        let job = self.job(tenant, id).await?;
        let listing = self.store().list(keys.folder()).await?;
        let last = [keys.job(), keys.end()];
        for found in listing.iter().filter(|found| !last.contains(&found.key)) {
            self.store().delete(&found.key).await?;
        }
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
