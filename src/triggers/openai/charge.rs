//! What tries at a backend come to, for the ledger, the hour's spend and the tenant's limits. A request counts
//! for its tenant as estimated from when it was let in to its end, then as its tries came to: the work by the
//! tokens that the backend counted (by the estimate where it does not say), as long as that takes at the
//! backend's pace, because what was measured of one request has waiting in it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use clock::Clock;
use facts::ledger::{Amount, Charge, Lane, Price, What};
use policy::admit;
use policy::snapshot::{self, Failure, Speed};
use policy::units::{MicroUsd, Tokens, UnixMs};
use policy::{cost, estimate};

use super::infer::Work;
use crate::act::forward::{Ended, Usage};
use crate::act::ledger::prices;
use crate::act::ledger::tally::Tally;
use crate::metrics::{self, Metrics};

/// A request on its tenant's books, from when it was let in until this is dropped.
pub struct Account {
    books: Books,
    tenant: String,
    let_in: UnixMs,
    estimate: MicroUsd,
    /// What its tries came to so far, in millionths of a US dollar.
    spent: AtomicU64,
    /// The try that is under way.
    under_way: Mutex<Option<Tried>>,
}

#[derive(Clone)]
struct Books {
    metrics: Arc<Metrics>,
    tally: Arc<Tally>,
    clock: Clock,
}

/// A try, as it is charged.
pub struct Tried {
    charge: Charge,
    team: String,
    speed: Speed,
    slots: u64,
    wanted: policy::Request,
}

impl Account {
    /// Of a request that was let in now for this.
    pub fn open(work: &Work<'_>, estimate: MicroUsd) -> Arc<Account> {
        let app = work.app;
        let books =
            Books { metrics: Arc::clone(&app.metrics), tally: Arc::clone(&app.tally), clock: app.clock };
        let tenant = work.caller.tenant().id.clone();
        let (spent, under_way) = (AtomicU64::new(0), Mutex::default());
        Arc::new(Account { books, tenant, let_in: app.now(), estimate, spent, under_way })
    }

    /// Begins a try. Who is returned is to be told when its answer has ended, and holds the account open until
    /// then; [`Account::over`] says that there is none.
    pub fn begin(self: &Arc<Self>, tried: Tried) -> Ended {
        *self.under_way() = Some(tried);
        let account = Arc::clone(self);
        Box::new(move |usage| account.answered(usage))
    }

    /// The try that was begun has no answer: it was refused or never sent, or it failed like this. One that broke
    /// off or took too long worked for nothing; any other did not work.
    pub fn over(&self, failure: Option<Failure>) {
        let tried = self.under_way().take();
        let worked = matches!(failure, Some(Failure::TimedOut | Failure::Broken));
        if let Some(tried) = tried.filter(|_| worked) {
            self.book(tried, What::Evicted);
        }
    }

    fn answered(&self, usage: Option<Usage>) {
        let Some(mut tried) = self.under_way().take() else { return };
        if let Some(usage) = usage {
            tried.wanted.tokens_in = Tokens(usage.prompt_tokens);
            tried.wanted.tokens_out = Tokens(usage.completion_tokens);
        }
        self.book(tried, What::Useful);
    }

    fn under_way(&self) -> MutexGuard<'_, Option<Tried>> {
        self.under_way.lock().expect("no holder of this lock panics")
    }

    fn book(&self, tried: Tried, what: What) {
        let Tried { charge, team, speed, slots, wanted } = tried;
        let us = estimate::work(&speed, &wanted).p50.0.saturating_mul(1_000) / slots;
        let cost = cost::of_time(us, MicroUsd(charge.price.micro_usd_per_hour));
        let is_useful = u64::from(what == What::Useful);
        let amount = Amount {
            us,
            requests: is_useful,
            items: is_useful * wanted.items,
            tokens: is_useful * wanted.tokens_in.0.saturating_add(wanted.tokens_out.0),
            // It is there already, failed tries and all.
            realtime_micro_usd: cost.0,
            not_in_realtime: 0,
        };
        let now = self.books.now();
        self.books.tally.book(Charge { what, ..charge }, amount, now);
        self.books.metrics.spent(now, &team, cost);
        self.spent.fetch_add(cost.0, Ordering::Relaxed);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // Its client went away before there was an answer: the backend works on, and nobody is to have that free.
        let left = self.under_way().take();
        if let Some(tried) = left {
            self.book(tried, What::Evicted);
        }
        let now = self.books.now();
        let bill = Some((now, MicroUsd(self.spent.load(Ordering::Relaxed))));
        let request = admit::Work { let_in: self.let_in, estimate: self.estimate, bill };
        self.books.metrics.settle(&self.tenant, request, now);
    }
}

impl Books {
    fn now(&self) -> UnixMs {
        UnixMs(self.clock.now_ms())
    }
}

/// A try at a backend that is seen so; none where the catalogue does not name it.
pub fn tried(work: &Work<'_>, seen: &snapshot::Backend) -> Option<Tried> {
    let backend = work.catalogue.backend(&seen.name)?;
    let tenant = work.caller.tenant();
    let charge = Charge {
        lane: Lane::Realtime,
        place: seen.name.clone(),
        what: What::Useful,
        tenant: tenant.id.clone(),
        labels: tenant.labels.clone(),
        model: work.wanted.model.clone(),
        job: None,
        price: Price { assumed: true, ..prices::of_replica(backend) },
    };
    Some(Tried {
        charge,
        team: metrics::team(work.catalogue, &tenant.id, None).to_owned(),
        speed: seen.speed.at_pace(seen.pace),
        slots: u64::from(seen.slots_per_replica.max(1)),
        wanted: work.wanted.clone(),
    })
}
