//! What a try at a backend used, for the ledger: as its work is expected to take at the backend's pace,
//! because what was measured of one request has waiting in it.

use facts::ledger::{Amount, Charge, Lane, Price, What};
use policy::snapshot::{self, Failure};
use policy::{cost, estimate};

use super::infer::Work;
use crate::act::forward::Outcome;
use crate::act::ledger::prices;

/// Books a try. One that broke off or took too long worked for nothing; one that found no replica, or whose
/// request was at fault, did not work.
pub fn book(work: &Work<'_>, seen: &snapshot::Backend, outcome: &Outcome) {
    let what = match outcome {
        Outcome::Answered(_) => What::Useful,
        Outcome::Failed(Failure::TimedOut | Failure::Broken) => What::Evicted,
        Outcome::Failed(_) | Outcome::Refused(_) => return,
    };
    let Some(backend) = work.catalogue.backend(&seen.name) else { return };
    let (wanted, tenant) = (&work.wanted, work.caller.tenant());
    let slots = u64::from(seen.slots_per_replica.max(1));
    let took = estimate::work(&seen.speed.at_pace(seen.pace), wanted).p50;
    let us = took.0.saturating_mul(1_000) / slots;
    let is_useful = u64::from(what == What::Useful);
    let amount = Amount {
        us,
        requests: is_useful,
        items: is_useful * wanted.items,
        tokens: is_useful * wanted.tokens_in.0.saturating_add(wanted.tokens_out.0),
        // It is there already, failed tries and all.
        realtime_micro_usd: cost::of_time(us, seen.price_per_replica_hour).0,
        not_in_realtime: 0,
    };
    let charge = Charge {
        lane: Lane::Realtime,
        place: seen.name.clone(),
        what,
        tenant: tenant.id.clone(),
        labels: tenant.labels.clone(),
        model: wanted.model.clone(),
        job: None,
        price: Price { assumed: true, ..prices::of_replica(backend) },
    };
    work.app.tally.book(charge, amount, work.app.now());
}
