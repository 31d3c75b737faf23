//! Requests of this process, added up by whom they are charged to and written down every minute: a process
//! that is killed loses a minute of them, and one that is asked to end loses none.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use facts::key;
use facts::ledger::{Amount, Charge, Entry, Used};
use facts::{Put, Store, StoreError};
use policy::units::UnixMs;

use super::charge::hour_of;
use super::sums;

/// How often it is written.
pub const WRITE_EVERY: Duration = Duration::from_secs(60);

/// What was not written so far. Bounded by the catalogue: tenants times models times backends.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    rows: BTreeMap<Charge, Amount>,
    /// The hour of the first of them.
    hour: u64,
    /// Entries so far.
    written: u64,
    /// An entry that may be there or not: it is written again under its own key.
    pending: Option<Pending>,
}

#[derive(Clone, Debug)]
struct Pending {
    hour: u64,
    key: String,
    text: String,
}

impl Tally {
    /// Adds work that was done now.
    pub fn book(&self, charge: Charge, amount: Amount, now: UnixMs) {
        let mut open = self.0.lock().expect("no holder of this lock panics");
        if open.rows.is_empty() {
            open.hour = hour_of(now);
        }
        open.rows.entry(charge).or_default().add(amount);
    }

    /// Writes what was added since the last time. `process` names this run of the process.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is lost or doubled, the next time writes it.
    pub async fn write(&self, store: &Store, process: &str, now: UnixMs) -> Result<(), StoreError> {
        // What was left over, and what came since.
        for _ in 0..2 {
            let Some(pending) = self.next(process) else { return Ok(()) };
            if store.create_by_clock(&pending.key, pending.text).await? == Put::Created {
                sums::reopen_if_closed(store, pending.hour, now).await?;
            }
            self.0.lock().expect("no holder of this lock panics").pending = None;
        }
        Ok(())
    }

    fn next(&self, process: &str) -> Option<Pending> {
        let mut open = self.0.lock().expect("no holder of this lock panics");
        if open.pending.is_none() && !open.rows.is_empty() {
            let rows = std::mem::take(&mut open.rows);
            let used = rows.into_iter().map(|(charge, amount)| Used { charge, amount }).collect();
            let entry = Entry { v: facts::VERSION, used, ..Entry::default() };
            let text =
                serde_json::to_string(&entry).expect("an entry is plain data, which always serializes");
            let key = key::ledger_requests(open.hour, process, open.written);
            open.pending = Some(Pending { hour: open.hour, key, text });
            open.written += 1;
        }
        open.pending.clone()
    }
}
