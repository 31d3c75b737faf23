//! What was paid for and who used it. Entries of an hour are written once: machines seen in a minute,
//! requests of a process, a job that ended. An hour is the sum of its entries, a day that of its hours, and
//! both are written down when nothing more is expected; either can be made again from what it sums up.
//! Sums may be merged in any order. Time is in microseconds of a whole machine: a request on one of many
//! slots takes less than a thousandth of a second of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A minute in which a place was not seen is as the nearest one within so many minutes, the earlier first:
/// ten sweeps. A longer gap is shown, and nothing is charged for it.
pub const CARRIED_MINUTES_MAX: u32 = 5;
/// Rows of use in an hour's or a day's sums, about 2 MB of them: beyond it the smallest lose the name of
/// their job, then their labels.
pub const ROWS_MAX: usize = 5_000;
/// Minutes of an hour.
pub const MINUTES: u32 = 60;
const MINUTE_US: u64 = 60_000_000;
const MINUTE_MS: u64 = 60_000;

/// A lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Backends.
    Realtime,
    /// Pools.
    Deferred,
}

impl Lane {
    /// As reports name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Realtime => "realtime",
            Lane::Deferred => "deferred",
        }
    }
}

/// What is paid for by the hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Machine {
    /// Of a realtime backend.
    Replica,
    /// A node that may be taken away.
    Spot,
    /// A node that is not.
    Dedicated,
}

impl Machine {
    /// As reports name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Machine::Replica => "replica",
            Machine::Spot => "spot",
            Machine::Dedicated => "dedicated",
        }
    }
}

/// What became of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Its result is used.
    Useful,
    /// It was lost with the try that did it.
    Evicted,
    /// Another try did it too.
    Duplicate,
}

impl What {
    /// As reports name it.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Useful => "useful",
            What::Evicted => "evicted",
            What::Duplicate => "duplicate",
        }
    }
}

/// A price as it was used.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Price {
    /// Of a machine for an hour.
    pub micro_usd_per_hour: u64,
    /// When it was read, as `2026-11-01`; anything else: nobody knows.
    pub read_on: String,
    /// Whether it, or what it is multiplied with, was taken rather than read or seen.
    #[serde(default)]
    pub assumed: bool,
}

/// Which machines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Machines {
    /// The lane.
    pub lane: Lane,
    /// The backend's or pool's name.
    pub place: String,
    /// Of which kind.
    pub machine: Machine,
    /// What one of them costs.
    pub price: Price,
}

/// Machines as they were seen in a minute.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Seen {
    /// Which.
    #[serde(flatten)]
    pub of: Machines,
    /// Running something.
    pub busy: u32,
    /// Ready, and running nothing.
    pub idle: u32,
    /// On their way.
    pub boots: u32,
    /// Of all of these, how many came in this minute, in the one before, and so on, as far as anybody can
    /// tell: they are not carried to minutes before they came.
    #[serde(default, skip_serializing_if = "Came::is_nobody")]
    pub came: Came,
}

/// Machines that came so many minutes ago, the present minute first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Came(pub [u32; CARRIED_MINUTES_MAX as usize]);

/// Time of machines.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Time {
    /// Which.
    #[serde(flatten)]
    pub of: Machines,
    /// How much of it.
    #[serde(flatten)]
    pub spans: Spans,
}

/// Time of machines by what they did, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Spans {
    /// Running something.
    pub busy_us: u64,
    /// Ready, and running nothing.
    pub idle_us: u64,
    /// On their way.
    pub boots_us: u64,
}

/// For whom a machine worked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Charge {
    /// The lane.
    pub lane: Lane,
    /// The backend's or pool's name.
    pub place: String,
    /// What became of the work.
    pub what: What,
    /// Whose.
    pub tenant: String,
    /// To whom it is charged: [`crate::job::COST_LABELS`].
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The catalogue's id of the model.
    pub model: String,
    /// The job; none for requests of the realtime lane, and where there were too many.
    #[serde(default)]
    pub job: Option<String>,
    /// What a machine cost when it was done.
    pub price: Price,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Amount {
    /// Time of a whole machine, in microseconds.
    pub us: u64,
    /// Requests or jobs.
    pub requests: u64,
    /// Inputs of requests, or lines of jobs.
    pub items: u64,
    /// Tokens in and out; 0 for jobs.
    #[serde(default)]
    pub tokens: u64,
    /// The same work in the realtime lane, as it was estimated.
    #[serde(default)]
    pub realtime_micro_usd: u64,
    /// Requests or jobs that no backend would have served.
    #[serde(default)]
    pub not_in_realtime: u64,
}

/// A row of use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Used {
    /// For whom.
    #[serde(flatten)]
    pub charge: Charge,
    /// How much.
    #[serde(flatten)]
    pub amount: Amount,
}

/// One entry of an hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Entry {
    /// [`crate::VERSION`].
    pub v: u32,
    /// The minute of the hour in which `seen` was seen; none: it holds only use.
    pub minute: Option<u32>,
    /// Machines of the places that could be seen; those of which there were none, too.
    pub seen: Vec<Seen>,
    /// Work.
    pub used: Vec<Used>,
    /// What a job that ended counts for its tenant's limit of this UTC day; none: it is no entry of a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
}

/// What a job that ended counts, on the day of its entry, for the limit of a day's spend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Counted {
    /// Whose.
    pub tenant: String,
    /// How much, in millionths of a US dollar.
    pub micro_usd: u64,
}

/// What hours and days come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Sums {
    /// [`crate::VERSION`].
    pub v: u32,
    /// Entries that they were made from.
    pub entries: u64,
    /// Minutes of each Unix hour in which somebody looked.
    pub minutes: BTreeMap<u64, u32>,
    /// Of these machines.
    pub times: Vec<Time>,
    /// By these.
    pub used: Vec<Used>,
    /// What jobs that ended then count for the limits of those days, by tenant, in millionths of a US dollar.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counted: BTreeMap<String, u64>,
}

impl Came {
    /// Notes a machine that came at `came_ms`, seen at `now_ms`; one that came long ago is nothing to note.
    pub fn note(&mut self, came_ms: u64, now_ms: u64) {
        let minutes = (now_ms / MINUTE_MS).saturating_sub(came_ms / MINUTE_MS);
        if let Some(count) = usize::try_from(minutes).ok().and_then(|ago| self.0.get_mut(ago)) {
            *count += 1;
        }
    }

    fn is_nobody(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }

    /// Those that were not there yet so many minutes before.
    fn since(&self, minutes: u32) -> u32 {
        self.0.iter().take(minutes as usize).sum()
    }
}

impl Seen {
    /// The same so many minutes before: without those that came since, which were the last to have work.
    fn before(&self, minutes: u32) -> Spans {
        let mut young = self.came.since(minutes);
        let mut rest = |count: u32| {
            let taken = count.min(young);
            young -= taken;
            u64::from(count - taken) * MINUTE_US
        };
        let (boots_us, idle_us) = (rest(self.boots), rest(self.idle));
        Spans { busy_us: rest(self.busy), idle_us, boots_us }
    }
}

impl Sums {
    /// An hour's sums, from its entries in any order. Only minutes before `until` are filled where nothing
    /// was seen: those of an hour that goes on have not been yet.
    pub fn of_hour(unix_hour: u64, entries: &[Entry], until: u32) -> Sums {
        let mut sums = Sums { v: crate::VERSION, entries: entries.len() as u64, ..Sums::default() };
        let looked: BTreeMap<u32, &Entry> =
            entries.iter().filter_map(|entry| Some((entry.minute?, entry))).collect();
        if !looked.is_empty() {
            sums.minutes.insert(unix_hour, looked.len() as u32);
        }
        sums.times = times(&looked, until.min(MINUTES));
        let rows = entries.iter().flat_map(|entry| &entry.used);
        sums.used = merged(rows);
        for counted in entries.iter().filter_map(|entry| entry.counted.as_ref()) {
            *sums.counted.entry(counted.tenant.clone()).or_default() += counted.micro_usd;
        }
        sums.fit(ROWS_MAX);
        sums
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: &Sums) -> Sums {
        self.v = crate::VERSION;
        self.entries += other.entries;
        for (hour, minutes) in &other.minutes {
            let seen = self.minutes.entry(*hour).or_default();
            *seen = (*seen).max(*minutes);
        }
        let mut all: BTreeMap<Machines, Spans> = BTreeMap::new();
        for time in self.times.drain(..).chain(other.times.iter().cloned()) {
            all.entry(time.of).or_default().add(time.spans);
        }
        self.times = all.into_iter().map(|(of, spans)| Time { of, spans }).collect();
        self.used = merged(self.used.iter().chain(&other.used));
        for (tenant, micro_usd) in &other.counted {
            *self.counted.entry(tenant.clone()).or_default() += micro_usd;
        }
        self
    }

    /// Takes names from the smallest rows until at most so many are left, as far as that helps: first the
    /// job's, then labels. What they come to stays.
    pub fn fit(&mut self, most: usize) {
        let whole: fn(&mut Charge) = |charge| {
            charge.job = None;
            charge.labels.clear();
        };
        let forgets: [fn(&mut Charge); 2] = [|charge| charge.job = None, whole];
        for forget in forgets {
            if self.used.len() <= most {
                return;
            }
            self.used.sort_by(|a, b| b.amount.us.cmp(&a.amount.us).then_with(|| a.charge.cmp(&b.charge)));
            self.used.iter_mut().skip(most / 2).for_each(|row| forget(&mut row.charge));
            self.used = merged(&self.used);
        }
    }
}

impl Spans {
    fn add(&mut self, more: Spans) {
        self.busy_us += more.busy_us;
        self.idle_us += more.idle_us;
        self.boots_us += more.boots_us;
    }
}

impl Amount {
    /// Adds another.
    pub fn add(&mut self, more: Amount) {
        self.us += more.us;
        self.requests += more.requests;
        self.items += more.items;
        self.tokens += more.tokens;
        self.realtime_micro_usd += more.realtime_micro_usd;
        self.not_in_realtime += more.not_in_realtime;
    }
}

/// Rows with the same charge become one; sorted by it.
pub fn merged<'a>(rows: impl IntoIterator<Item = &'a Used>) -> Vec<Used> {
    let mut all: BTreeMap<&Charge, Amount> = BTreeMap::new();
    for row in rows {
        all.entry(&row.charge).or_default().add(row.amount);
    }
    all.into_iter().map(|(charge, amount)| Used { charge: charge.clone(), amount }).collect()
}

/// Time of all machines, each minute as it was seen or as the nearest one that was.
fn times(looked: &BTreeMap<u32, &Entry>, until: u32) -> Vec<Time> {
    let mut places: BTreeMap<(Lane, &str), BTreeMap<u32, Vec<&Seen>>> = BTreeMap::new();
    for (minute, entry) in looked {
        for seen in &entry.seen {
            let place = places.entry((seen.of.lane, seen.of.place.as_str())).or_default();
            place.entry(*minute).or_default().push(seen);
        }
    }
    let mut all: BTreeMap<&Machines, Spans> = BTreeMap::new();
    for minutes in places.values() {
        let newest = minutes.keys().next_back().map_or(0, |minute| minute + 1);
        for minute in 0..until.max(newest) {
            let Some((at, nearest)) = nearest(minutes, minute) else { continue };
            for seen in nearest {
                all.entry(&seen.of).or_default().add(seen.before(at.saturating_sub(minute)));
            }
        }
    }
    let paid = |spans: &Spans| *spans != Spans::default();
    all.into_iter()
        .filter(|(_, spans)| paid(spans))
        .map(|(of, spans)| Time { of: of.clone(), spans })
        .collect()
}

/// The nearest minute, and what was seen in it.
fn nearest<T>(minutes: &BTreeMap<u32, T>, at: u32) -> Option<(u32, &T)> {
    let earlier = minutes.range(..=at).next_back().filter(|(minute, _)| at - **minute <= CARRIED_MINUTES_MAX);
    let later = || minutes.range(at..).next().filter(|(minute, _)| **minute - at <= CARRIED_MINUTES_MAX);
    earlier.or_else(later).map(|(minute, found)| (*minute, found))
}
