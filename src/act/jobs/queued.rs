//! What waits: items of jobs that have not ended and what they are expected to cost, by tenant, from the facts
//! alone. An open job always has a marker under `due/`, so nothing that drifts is counted.

use std::collections::BTreeSet;

use facts::JobId;
use facts::key::{self, JobKeys};
use futures_util::{StreamExt as _, stream};
use policy::admit::Work;
use policy::units::MicroUsd;

use super::{Jobs, Trouble};
use crate::act::ledger::charge;

/// Jobs that one count reads at most; those that are left count as one item each until the next.
const READS_MAX: usize = 1_000;
/// Of these, beside each other.
const AT_ONCE: usize = 16;

/// What waits.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    /// Jobs that have not ended.
    pub jobs: Vec<Job>,
    /// Whether all of them could be read; else some count as one item that costs nothing.
    pub is_whole: bool,
}

/// A job that has not ended, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Whose.
    pub tenant: String,
    /// Its id.
    pub job: JobId,
    /// Its items: all, until it ends, as the vendor's own limits of what is queued do.
    pub items: u64,
    /// What it counts for the limit of the day that was asked for.
    pub cost: MicroUsd,
}

/// What is kept of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    lines: u64,
    work: Work,
}

impl Jobs {
    /// Jobs that have not ended, and what they count on this Unix day.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn waiting(&self, unix_day: u64) -> Result<Waiting, Trouble> {
        let markers = self.store().list(key::DUE).await?;
        let open: BTreeSet<(&str, JobId)> = markers
            .iter()
            .filter_map(|found| key::read_due(&found.key))
            .map(|(_, tenant, job)| (tenant, job))
            .collect();
        let mut known = std::mem::take(&mut *self.0.kept.open.lock().expect("no holder of this lock panics"));
        known.retain(|folder, _| key::read_job_folder(folder).is_some_and(|owner| open.contains(&owner)));
        let unknown: Vec<_> = (open.iter())
            .filter(|(tenant, job)| !known.contains_key(JobKeys::new(tenant, job).folder()))
            .take(READS_MAX)
            .map(|(tenant, job)| self.open_of(tenant, job))
            .collect();
        let is_whole = unknown.len() < READS_MAX;
        let read: Vec<_> = stream::iter(unknown).buffer_unordered(AT_ONCE).collect().await;
        known.extend(read.into_iter().flatten());
        let shown = |(tenant, job): (&str, JobId)| {
            let found = known.get(JobKeys::new(tenant, &job).folder());
            Job {
                tenant: tenant.to_owned(),
                items: found.map_or(1, |open| open.lines),
                cost: found.map_or(MicroUsd(0), |open| open.work.counts_on(unix_day)),
                job,
            }
        };
        let jobs = open.into_iter().map(shown).collect();
        *self.0.kept.open.lock().expect("no holder of this lock panics") = known;
        Ok(Waiting { jobs, is_whole })
    }

    /// A job's folder and what is kept of it; none where it is not there yet or cannot be read now.
    async fn open_of(&self, tenant: &str, id: &JobId) -> Option<(String, Open)> {
        let job = self.job(tenant, id).await.ok()??;
        let open = Open { lines: job.lines(), work: charge::let_in(&job) };
        Some((JobKeys::new(tenant, id).folder().to_owned(), open))
    }
}
