//! What a job that ended came to, as an entry of the ledger. It follows from the job's summary, so that
//! whoever finds the summary can write it: once, whoever comes first.

use std::collections::BTreeMap;

use facts::job::{End, Spent};
use facts::key;
use facts::ledger::{Amount, Charge, Counted, Entry, Lane, Used, What};
use facts::{Job, Put};
use policy::admit::{self, Work};
use policy::units::{MicroUsd, UnixMs};

use super::{prices, sums};
use crate::act::jobs::{Jobs, Trouble};
use crate::catalogue::{Catalogue, Tenant};

impl Jobs {
    /// Writes down what a job came to, unless it is there.
    ///
    /// # Errors
    /// [`Trouble`]; the next look at the job writes it.
    pub(in crate::act) async fn charge(
        &self,
        catalogue: &Catalogue,
        job: &Job,
        end: &End,
    ) -> Result<(), Trouble> {
        let entry = entry(catalogue, job, end);
        if entry.used.is_empty() {
            return Ok(());
        }
        let hour = sums::hour_of(UnixMs(end.at_ms));
        let key = key::ledger_job(hour, &job.tenant, &job.job);
        let text = serde_json::to_string(&entry).expect("an entry is plain data, which always serializes");
        if self.store().create(&key, text).await? == Put::Created {
            sums::reopen_if_closed(self.store(), hour, self.now()).await?;
        }
        Ok(())
    }
}

/// Labels that work is charged to: its own before its tenant's.
pub fn labels(tenant: Option<&Tenant>, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut labels = tenant.map(|tenant| tenant.labels.clone()).unwrap_or_default();
    labels.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
    labels
}

fn entry(catalogue: &Catalogue, job: &Job, end: &End) -> Entry {
    let labels = labels(catalogue.tenant(&job.tenant), &end.labels);
    let parts = if end.spent.is_empty() { whole(catalogue, job, end) } else { end.spent.clone() };
    // What is counted of the job as a whole stands on one of its rows.
    let main = parts.iter().position(|part| part.what == What::Useful).unwrap_or(0);
    let row = |(at, part): (usize, Spent)| {
        let charge = Charge {
            lane: part.lane,
            place: part.place,
            what: part.what,
            tenant: job.tenant.clone(),
            labels: labels.clone(),
            model: job.model.clone(),
            job: Some(job.job.to_string()),
            price: part.price,
        };
        let counts = if at == main { counts(job, end) } else { Amount::default() };
        Used { charge, amount: Amount { us: part.us, ..counts } }
    };
    let used = parts.into_iter().enumerate().map(row).collect();
    let counted = Counted { tenant: job.tenant.clone(), micro_usd: counted(job, end).0 };
    Entry { v: facts::VERSION, used, counted: Some(counted), ..Entry::default() }
}

/// What the job counts for its tenant's limit on the day of its summary.
fn counted(job: &Job, end: &End) -> MicroUsd {
    let ended = UnixMs(end.at_ms);
    let bill = Some((ended, MicroUsd(end.cost_micro_usd)));
    Work { bill, ..let_in(job) }.counts_on(admit::day(ended))
}

/// A job that goes on, as it counts for its tenant's limit.
pub fn let_in(job: &Job) -> Work {
    Work { let_in: UnixMs(job.created_ms), estimate: MicroUsd(job.estimate.cost_micro_usd), bill: None }
}

fn counts(job: &Job, end: &End) -> Amount {
    let done = end.counts.completed + end.counts.failed;
    // A job that was stopped would have been so in the realtime lane.
    let realtime = job.estimate.realtime_cost_micro_usd;
    let realtime = realtime.map(|whole| MicroUsd(whole).scaled(done, job.lines().max(1)).0);
    Amount {
        us: 0,
        requests: 1,
        items: done,
        tokens: 0,
        realtime_micro_usd: realtime.unwrap_or(0),
        not_in_realtime: u64::from(realtime.is_none()),
    }
}

/// The one row of a summary that an older version wrote.
fn whole(catalogue: &Catalogue, job: &Job, end: &End) -> Vec<Spent> {
    let pool = catalogue.pool(&job.pool);
    let price = pool.map_or_else(prices::unknown, |pool| prices::of_work(pool));
    let slots = pool.map_or(1, |pool| u64::from(pool.facts.slots_per_node.max(1)));
    let us = end.compute_ms.saturating_mul(1_000) / slots;
    let (lane, place, what) = (Lane::Deferred, job.pool.clone(), What::Useful);
    let part = Spent { lane, place, what, us, price, micro_usd: end.cost_micro_usd };
    Some(part).filter(|part| part.us > 0).into_iter().collect()
}
