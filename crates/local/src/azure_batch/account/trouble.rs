//! Trouble on request, carried out in the account's own time: quotas, boots that end badly or take
//! long, storms of evictions, errors that stay.

use std::cmp::Reverse;
use std::time::Duration;

use super::pool::{Kind, NodeState, Pool, ResizeError};
use super::{Account, Key, NodeRefusal, Timer};
use crate::azure_batch::fault::Fault;

/// How many machines of each kind the region has for the account; all pools share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Machines that stay.
    pub dedicated: usize,
    /// Machines that may be evicted.
    pub spot: usize,
}

impl Capacity {
    /// As many as anybody asks for.
    pub const UNLIMITED: Capacity = Capacity { dedicated: usize::MAX, spot: usize::MAX };

    pub(super) fn of(&self, kind: Kind) -> usize {
        match kind {
            Kind::Dedicated => self.dedicated,
            Kind::Spot => self.spot,
        }
    }
}

/// The account's core quotas; all pools share them. A machine's cores are in the name of its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Cores of dedicated nodes.
    pub dedicated_cores: usize,
    /// Cores of spot nodes.
    pub spot_cores: usize,
}

impl Quota {
    /// As many as anybody asks for.
    pub const UNLIMITED: Quota = Quota { dedicated_cores: usize::MAX, spot_cores: usize::MAX };

    pub(super) fn of(&self, kind: Kind) -> usize {
        match kind {
            Kind::Dedicated => self.dedicated_cores,
            Kind::Spot => self.spot_cores,
        }
    }
}

/// How a machine's boot ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BootEnd {
    /// It takes tasks.
    #[default]
    Usable,
    /// The service cannot talk to it, and never will.
    Unusable,
    /// Its start task failed.
    StartTaskFailed,
}

impl BootEnd {
    pub(super) fn state(self) -> NodeState {
        match self {
            BootEnd::Usable => NodeState::Up,
            BootEnd::Unusable => NodeState::Unusable,
            BootEnd::StartTaskFailed => NodeState::StartTaskFailed,
        }
    }
}

/// What boots from now on are like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boots {
    /// The pool whose nodes are meant; none means all pools.
    pub pool: Option<String>,
    /// How they end.
    pub end: BootEnd,
    /// How long they take, on the account's clock; none leaves it as it is.
    pub boot: Option<Duration>,
    /// How many boots; none is for ever.
    pub times: Option<u32>,
}

impl Boots {
    fn means(&self, pool: &Key) -> bool {
        self.times != Some(0) && self.pool.as_deref().is_none_or(|id| Key::of(id) == *pool)
    }
}

/// Evictions of a pool in waves: the first at once, the next ones at their times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storm {
    /// Spot nodes a wave, those first that run most.
    pub nodes: usize,
    /// Waves.
    pub waves: u32,
    /// From one wave to the next, on the account's clock.
    pub every: Duration,
}

/// A storm that is not over.
pub(in crate::azure_batch) struct Raging {
    nodes: usize,
    waves: u32,
    every_ms: u64,
    due_ms: u64,
}

impl Account {
    /// How many machines there are from now on. Those that a pool holds stay.
    pub(in crate::azure_batch) fn set_capacity(&mut self, capacity: Capacity) {
        self.capacity = capacity;
    }

    /// How many cores pools may hold from now on. Those that a pool holds stay.
    pub(in crate::azure_batch) fn set_quota(&mut self, quota: Quota) {
        self.quota = quota;
    }

    /// What boots are like from now on. Those under way go on as they began.
    pub(in crate::azure_batch) fn set_boots(&mut self, boots: Boots) {
        self.boots = boots;
    }

    /// Errors that a pool shows whatever its resizes do, until others are set.
    pub(in crate::azure_batch) fn keep_resize_errors(
        &mut self,
        pool: &str,
        errors: Vec<ResizeError>,
    ) -> Result<(), Fault> {
        self.pool(pool)?;
        let pool = self.pools.get_mut(&Key::of(pool)).expect("it was just found");
        pool.stale_errors = errors;
        Ok(())
    }

    /// How long the next boot of a pool takes and how it ends.
    pub(super) fn next_boot(&mut self, pool: &Key) -> (u64, BootEnd) {
        if !self.boots.means(pool) {
            return (self.pace.boot_ms, BootEnd::Usable);
        }
        if let Some(times) = &mut self.boots.times {
            *times -= 1;
        }
        (self.boots.boot.map_or(self.pace.boot_ms, super::ms), self.boots.end)
    }

    /// Begins a storm over a pool, in place of the one before, and tells whom its first wave took.
    pub(in crate::azure_batch) fn storm(
        &mut self,
        pool: &str,
        storm: Storm,
        now_ms: u64,
    ) -> Result<Vec<String>, NodeRefusal> {
        self.pool(pool).map_err(|_| NodeRefusal::NoSuchNode)?;
        let key = Key::of(pool);
        self.calm(&key);
        // Waves without a pause would come for ever at one instant.
        let every_ms = super::ms(storm.every).max(1);
        let raging = Raging { nodes: storm.nodes, waves: storm.waves, every_ms, due_ms: now_ms };
        self.pools.get_mut(&key).expect("it was just found").storm = Some(raging);
        let taken = self.wave(&key, now_ms);
        self.place_tasks(now_ms);
        Ok(taken)
    }

    /// The next wave of a storm.
    pub(super) fn wave(&mut self, key: &Key, now_ms: u64) -> Vec<String> {
        let pool = self.pools.get_mut(key).expect("a storm's timer ends with its pool");
        let Some(mut raging) = pool.storm.take().filter(|raging| raging.waves > 0) else {
            return Vec::new();
        };
        let mut taken = pool.spot_nodes_by_load();
        taken.truncate(raging.nodes);
        raging.waves -= 1;
        raging.due_ms = now_ms + raging.every_ms;
        if raging.waves > 0 {
            let due_ms = raging.due_ms;
            pool.storm = Some(raging);
            self.arm(due_ms, Timer::Storm(key.clone()));
        }
        for node in &taken {
            self.take_away(key, node, now_ms);
        }
        taken
    }

    /// Ends a storm.
    pub(super) fn calm(&mut self, key: &Key) {
        let raging = self.pools.get_mut(key).and_then(|pool| pool.storm.take());
        self.disarm(raging.map(|raging| raging.due_ms), Timer::Storm(key.clone()));
    }
}

impl Pool {
    /// The spot nodes that can be taken away, those first that run most, then the oldest.
    pub(in crate::azure_batch) fn spot_nodes_by_load(&self) -> Vec<String> {
        let there = self.nodes.iter();
        let there = there.filter(|(_, node)| node.kind == Kind::Spot && node.state != NodeState::Preempted);
        let mut nodes: Vec<_> = there.collect();
        nodes.sort_by_key(|(id, node)| (Reverse(node.runs.len()), *id));
        nodes.into_iter().map(|(id, _)| id.clone()).collect()
    }

    /// Cores of one node, by its size's name: `Standard_NC4as_T4_v3` has 4. A name without a number
    /// counts as one core.
    pub(super) fn cores(&self) -> usize {
        let size = self.spec.given.get("vmSize").and_then(serde_json::Value::as_str).unwrap_or_default();
        let family = size.split('_').find(|part| part.contains(|c: char| c.is_ascii_digit()));
        let digits = |family: &str| {
            let from = family.trim_start_matches(|c: char| !c.is_ascii_digit());
            let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
            from[..end].parse().ok()
        };
        family.and_then(digits).unwrap_or(1).max(1)
    }
}
