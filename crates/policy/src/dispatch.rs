//! Which waiting shards go to a pool now, and together in which task.

use crate::knobs::Knobs;
use crate::reason::{Code, Evidence, Reason};
use crate::snapshot::Spread;
use crate::units::{MicroUsd, Millis, UnixMs};

/// A task is at least this much work, so that starting it does not dominate.
pub const PACK_MIN: Millis = Millis::from_secs(120);
/// And at most this much: what an eviction or a wrong estimate can hold up.
pub const PACK_MAX: Millis = Millis::from_secs(300);
/// Loading the model may be this share of a task at most.
const LOAD_SHARE: u64 = 10;
/// Small work waits for company no longer than this where no slot is idle.
pub const COMPANY_WAIT: Millis = Millis::from_secs(120);
/// Tasks ahead of the slots: enough that no slot idles between two looks.
const TASKS_PER_SLOT: u64 = 2;
/// Shards of one task, at most: its pack file stays small.
pub const MEMBERS_MAX: usize = 256;

/// How pressing its owner says a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Somebody waits for it.
    Interactive,
    /// The usual.
    #[default]
    Standard,
    /// Whenever there is room.
    Bulk,
}

impl Class {
    /// All of them, the most pressing first.
    pub const ALL: [Class; 3] = [Class::Interactive, Class::Standard, Class::Bulk];

    /// Its name in headers, metadata and the catalogue.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Interactive => "interactive",
            Class::Standard => "standard",
            Class::Bulk => "bulk",
        }
    }

    /// The class of this name.
    pub fn parse(name: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.as_str() == name)
    }
}

/// Priority of a task beside others that are added: Azure Batch runs a higher one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Band {
    /// Before all others.
    High,
    /// Before the last.
    Middle,
    /// When nothing else is there.
    Low,
}

/// Work with less time left than this is pressing, whatever its class.
const HIGH_WITHIN: Millis = Millis::from_secs(3_600);
/// And with less than this, it is not for the last band.
const MIDDLE_WITHIN: Millis = Millis::from_secs(6 * 3_600);
/// The upper bands may hold tasks for this share of all slots each, and one at least. More of them go a
/// band lower: at least half of the slots serve the lowest, so whatever is added begins after as many
/// tasks as [`AHEAD_MAX`] says, whoever floods the bands above.
const BAND_SHARE: u64 = 4;
/// A task that is added begins within this many times the longest task: `TASKS_PER_SLOT` tasks a slot
/// lie before it, and half of the slots serve its band (with three slots, a third).
pub const AHEAD_MAX: u64 = 6;

/// A shard that no task has, of one model in one pool, in the order of [`rank`] within its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How pressing its owner says it is.
    pub class: Class,
    /// Expected time on one slot.
    pub work: Millis,
    /// When it was accepted.
    pub since: UnixMs,
    /// Its job's deadline.
    pub deadline: UnixMs,
    /// The same work in the realtime lane: until then it must not wait.
    pub realtime: Millis,
}

/// What a pool offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Slots of all nodes that it may have.
    pub slots: u64,
    /// Slots of nodes that run, busy or not.
    pub ready_slots: u64,
    /// Slots that stand ready and have nothing to do.
    pub idle_slots: u64,
    /// Tasks that are added and not over.
    pub tasks: u64,
    /// Of these, those in the bands [`Band::High`] and [`Band::Middle`].
    pub above: [u64; 2],
    /// Time to load the model on a node.
    pub load: Spread,
    /// Time until a node that is bought runs its first task.
    pub boot: Spread,
}

impl Pool {
    /// Tasks that may be added now. Work beyond it waits in the store, where its order can still change.
    pub fn room(&self) -> u64 {
        (self.slots * TASKS_PER_SLOT).saturating_sub(self.tasks)
    }

    /// How much work a full task is.
    pub fn pack_size(&self) -> Millis {
        Millis((self.load.p50.0 * LOAD_SHARE).clamp(PACK_MIN.0, PACK_MAX.0))
    }
}

/// Packs of shards, by their places in `waiting`, that leave now; the rest waits.
pub fn packs(waiting: &[Waiting], pool: &Pool, now: UnixMs) -> Vec<Vec<usize>> {
    let work: u64 = waiting.iter().map(|shard| shard.work.0).sum();
    // Work that would leave slots idle is spread over them rather than filling few tasks.
    let spread = work.checked_div(pool.slots).unwrap_or(0);
    let full = pool.pack_size().0.min(spread.max(PACK_MIN.0 / 4));
    let mut packs: Vec<(Vec<usize>, u64)> = Vec::new();
    for (n, shard) in waiting.iter().enumerate() {
        match packs.last_mut() {
            Some((members, sum)) if *sum + shard.work.0 <= full && members.len() < MEMBERS_MAX => {
                members.push(n);
                *sum += shard.work.0;
            }
            _ => packs.push((vec![n], shard.work.0)),
        }
    }
    let room = usize::try_from(pool.room()).unwrap_or(usize::MAX);
    let last = packs.len().saturating_sub(1);
    let leaves = |(at, (members, sum)): &(usize, (Vec<usize>, u64))| {
        let any = |test: &dyn Fn(&Waiting) -> bool| members.iter().any(|n| test(&waiting[*n]));
        // Whatever is not last was closed because the next shard did not fit.
        *at < last
            || *sum >= full
            || pool.idle_slots > 0
            || any(&|shard| now.since(shard.since) >= COMPANY_WAIT)
            || any(&|shard| now >= must_leave(shard, pool))
    };
    packs.into_iter().enumerate().filter(leaves).map(|(_, (members, _))| members).take(room).collect()
}

/// A shard's place among those of its tenant, the smallest first: what must leave now to be in time,
/// then by class, then by deadline.
pub fn rank(shard: &Waiting, pool: &Pool, now: UnixMs) -> (bool, Class, UnixMs, UnixMs) {
    (now < must_leave(shard, pool), shard.class, shard.deadline, shard.since)
}

/// The band of a task whose most pressing member has this class and this much time left.
pub fn band(class: Class, left: Millis, pool: &Pool) -> Band {
    let by_class = match class {
        Class::Interactive => Band::High,
        Class::Standard => Band::Middle,
        Class::Bulk => Band::Low,
    };
    let by_time = match left {
        left if left <= HIGH_WITHIN => Band::High,
        left if left <= MIDDLE_WITHIN => Band::Middle,
        _ => Band::Low,
    };
    let wanted = by_class.min(by_time);
    let has_place = |tasks: u64| tasks < (pool.slots / BAND_SHARE).max(1);
    let [high, middle] = pool.above;
    match wanted {
        Band::High if has_place(high) => Band::High,
        Band::High | Band::Middle if has_place(middle) => Band::Middle,
        _ => Band::Low,
    }
}

/// When a shard must not wait for company any longer, for all that still lies before it.
fn must_leave(shard: &Waiting, pool: &Pool) -> UnixMs {
    let ahead = pool.boot.p95 + pool.load.p95 + shard.work + shard.work + crate::rescue::RESCUE_WITHIN;
    shard.deadline - (ahead + shard.realtime)
}

/// Why nothing is sent to any pool now; none: it may be. Nodes are paid while they run, so a budget that
/// is spent stops what would keep them busy.
pub fn paused(knobs: &Knobs, spent_this_hour: MicroUsd, now: UnixMs) -> Option<Reason> {
    const HOUR_MS: u64 = 3_600_000;
    let cap = knobs.max_usd_per_hour.filter(|cap| spent_this_hour >= *cap)?;
    let next_hour = UnixMs((now.0 / HOUR_MS + 1) * HOUR_MS);
    let reason = Reason::new(Code::BudgetSpent)
        .with("spent", Evidence::Cost(spent_this_hour))
        .with("cap", Evidence::Cost(cap))
        .next("it is sent in the next hour, or rescued before its deadline", Some(next_hour))
        .remedy("raise max-usd-per-hour", None);
    Some(reason)
}

/// Why a shard waits, for `why`: there is no room, or no company yet.
pub fn waiting_reason(shard: &Waiting, pool: &Pool) -> Reason {
    if pool.room() == 0 {
        return Reason::new(Code::WaitingForRoom)
            .with("tasks", Evidence::Count(pool.tasks))
            .with("slots", Evidence::Count(pool.slots))
            .next("it is added when a task ends", None)
            .remedy("raise max-batch-nodes, or promote the job to realtime", None);
    }
    let until = (shard.since + COMPANY_WAIT).min(must_leave(shard, pool));
    Reason::new(Code::WaitingForCompany)
        .with("work", Evidence::Time(shard.work))
        .with("full_task", Evidence::Time(pool.pack_size()))
        .next("it leaves with whatever waits beside it", Some(until))
        .remedy("promote the job to realtime", None)
}
