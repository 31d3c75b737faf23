//! What the ledger says for limits: what jobs that ended today count for their tenants, and what this hour has
//! cost. Entries never change, so each is read once by a process; hours that are over are read as they were
//! closed, and an entry that comes later than that is in reports alone.

use std::collections::{BTreeMap, BTreeSet, HashSet, btree_map};
use std::sync::Mutex;

use facts::JobId;
use facts::ledger::{Entry, Lane, MINUTES, Sums, Time};
use facts::{Store, StoreError, key};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use policy::cost::{self, settle};
use policy::units::{MicroUsd, UnixMs};

use super::sums;

/// Entries that one look reads at most; the next reads the others. At 5 ms each, 16 beside each other, they
/// take a third of a second.
const READS_MAX: usize = 1_000;
/// Of these, beside each other.
const AT_ONCE: usize = 16;
const HOURS: u64 = 24;

/// What was read so far.
#[derive(Debug, Default)]
pub struct Today(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// What hours of this day count that are over, by tenant.
    over: BTreeMap<u64, BTreeMap<String, u64>>,
    /// This hour and the one before.
    open: BTreeMap<u64, Open>,
}

/// An hour that goes on, or may still get entries.
#[derive(Debug, Default)]
struct Open {
    /// Keys of entries that were read.
    read: HashSet<String>,
    /// Those that say what machines there were, at most one a minute.
    machines: Vec<Entry>,
    /// Time that was used, by place and price.
    used: BTreeMap<(Lane, String, u64), u64>,
    counted: BTreeMap<String, u64>,
}

/// What the ledger says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What jobs that ended today count for the limit of a day's spend, by tenant, in millionths of a US dollar.
    pub counted: BTreeMap<String, u64>,
    /// Jobs of which that is known and that ended in this hour or the one before.
    pub ended: BTreeSet<(String, JobId)>,
    /// What machines and work of this Unix hour cost, all places together.
    pub this_hour: MicroUsd,
    /// Whether all was read that there is; else there is more.
    pub is_whole: bool,
}

impl Today {
    /// Reads what is new, and says what all comes to.
    ///
    /// # Errors
    /// [`StoreError`]; what was read is kept.
    pub async fn look(&self, store: &Store, now: UnixMs) -> Result<Told, StoreError> {
        // Two looks at once of one process do no harm: the second reads again.
        let mut kept = std::mem::take(&mut *self.0.lock().expect("no holder of this lock panics"));
        let told = kept.look(store, now).await;
        *self.0.lock().expect("no holder of this lock panics") = kept;
        told
    }
}

impl Kept {
    async fn look(&mut self, store: &Store, now: UnixMs) -> Result<Told, StoreError> {
        let this = sums::hour_of(now);
        let today = this - this % HOURS..=this;
        self.over.retain(|hour, _| today.contains(hour));
        self.open.retain(|hour, _| *hour + 1 >= this);
        for hour in today.clone().filter(|hour| sums::hour_is_over(*hour, now)) {
            if let btree_map::Entry::Vacant(unread) = self.over.entry(hour) {
                unread.insert(sums::hour(store, hour, now).await?.counted);
                self.open.remove(&hour);
            }
        }
        let mut left = READS_MAX;
        for hour in (this.saturating_sub(1)..=this).filter(|hour| !sums::hour_is_over(*hour, now)) {
            self.open.entry(hour).or_default().read_on(store, hour, &mut left).await?;
        }
        let mut told = Told { is_whole: left > 0, ..Told::default() };
        let open = self.open.iter().filter(|(hour, _)| today.contains(hour)).map(|(_, open)| &open.counted);
        for (tenant, micro_usd) in self.over.values().chain(open).flatten() {
            *told.counted.entry(tenant.clone()).or_default() += micro_usd;
        }
        let keys = self.open.values().flat_map(|open| &open.read);
        let jobs = keys.filter_map(|key| key::read_ledger_job(key));
        told.ended = jobs.map(|(tenant, job)| (tenant.to_owned(), job)).collect();
        told.this_hour = self.open.get(&this).map_or(MicroUsd(0), |open| open.cost(this, now));
        Ok(told)
    }
}

impl Open {
    async fn read_on(&mut self, store: &Store, hour: u64, left: &mut usize) -> Result<(), StoreError> {
        let found = store.list(&key::ledger_entries(hour)).await?;
        let new: Vec<String> = found
            .into_iter()
            .map(|found| found.key)
            .filter(|key| !self.read.contains(key))
            .take(*left)
            .collect();
        *left -= new.len();
        let reads =
            new.into_iter().map(async |key| sums::read::<Entry>(store, &key).await.map(|entry| (key, entry)));
        let mut reads = stream::iter(reads).buffered(AT_ONCE);
        while let Some((key, entry)) = reads.try_next().await? {
            self.read.insert(key);
            self.add(entry.unwrap_or_default());
        }
        Ok(())
    }

    fn add(&mut self, entry: Entry) {
        for row in &entry.used {
            let of = (row.charge.lane, row.charge.place.clone(), row.charge.price.micro_usd_per_hour);
            *self.used.entry(of).or_default() += row.amount.us;
        }
        if let Some(counted) = &entry.counted {
            *self.counted.entry(counted.tenant.clone()).or_default() += counted.micro_usd;
        }
        if entry.minute.is_some() {
            self.machines.push(Entry { used: Vec::new(), ..entry });
        }
    }

    /// As a report would say of this hour alone.
    fn cost(&self, hour: u64, now: UnixMs) -> MicroUsd {
        let machines = Sums::of_hour(hour, &self.machines, sums::minutes_so_far(hour, now).min(MINUTES));
        let places: BTreeSet<(Lane, &str)> =
            (machines.times.iter().map(|time| (time.of.lane, &*time.of.place)))
                .chain(self.used.keys().map(|(lane, place, _)| (*lane, &**place)))
                .collect();
        let cost = |place: (Lane, &str)| {
            let seen = machines.times.iter().filter(|time| (time.of.lane, &*time.of.place) == place);
            let used = self.used.iter().filter(|((lane, name, _), _)| (*lane, &**name) == place);
            let used = used.map(|((.., price), us)| cost::Used { us: *us, per_hour: MicroUsd(*price) });
            settle(&seen.map(time).collect::<Vec<_>>(), &used.collect::<Vec<_>>()).total()
        };
        places.into_iter().fold(MicroUsd(0), |sum, place| sum + cost(place))
    }
}

/// Time of machines as it is settled.
pub fn time(time: &Time) -> cost::Time {
    cost::Time {
        busy_us: time.spans.busy_us,
        idle_us: time.spans.idle_us,
        boots_us: time.spans.boots_us,
        per_hour: MicroUsd(time.of.price.micro_usd_per_hour),
    }
}
