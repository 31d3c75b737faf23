//! How much waits: items of jobs that have not ended, by tenant, from the facts alone. An open job always
//! has a marker under `due/`, so nothing that drifts is counted.

use std::collections::{BTreeMap, BTreeSet};

use facts::JobId;
use facts::key::{self, JobKeys};
use futures_util::{StreamExt as _, stream};

use super::{Jobs, Trouble};

/// Jobs that one count reads at most; those that are left count as one item each until the next.
const READS_MAX: usize = 1_000;
/// Of these, beside each other.
const AT_ONCE: usize = 16;

impl Jobs {
    /// Items of jobs that have not ended, by tenant. A job counts whole until it ends, as the vendor's own
    /// limits of what is queued do.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn queued_items(&self) -> Result<BTreeMap<String, u64>, Trouble> {
        let markers = self.store().list(key::DUE).await?;
        let open: BTreeSet<(&str, JobId)> = markers
            .iter()
            .filter_map(|found| key::read_due(&found.key))
            .map(|(_, tenant, job)| (tenant, job))
            .collect();
        let mut known =
            std::mem::take(&mut *self.0.kept.items.lock().expect("no holder of this lock panics"));
        known.retain(|folder, _| key::read_job_folder(folder).is_some_and(|owner| open.contains(&owner)));
        let unknown: Vec<_> = (open.iter())
            .filter(|(tenant, job)| !known.contains_key(JobKeys::new(tenant, job).folder()))
            .take(READS_MAX)
            .map(|(tenant, job)| self.lines_of(tenant, job))
            .collect();
        let read: Vec<_> = stream::iter(unknown).buffer_unordered(AT_ONCE).collect().await;
        known.extend(read.into_iter().flatten());
        let mut items = BTreeMap::new();
        for (tenant, job) in &open {
            let lines = known.get(JobKeys::new(tenant, job).folder()).copied().unwrap_or(1);
            *items.entry((*tenant).to_owned()).or_default() += lines;
        }
        *self.0.kept.items.lock().expect("no holder of this lock panics") = known;
        Ok(items)
    }

    /// A job's folder and lines; none where it is not there yet or cannot be read now.
    async fn lines_of(&self, tenant: &str, id: &JobId) -> Option<(String, u64)> {
        let job = self.job(tenant, id).await.ok()??;
        Some((JobKeys::new(tenant, id).folder().to_owned(), job.lines()))
    }
}
