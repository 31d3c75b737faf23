//! Whose turn it is among tenants that wait for the same pool: weighted fair shares by start-time fair
//! queueing (Goyal, Vin, Cheng: SIGCOMM 1996).
//!
//! Each tenant has a tag, the virtual time up to which it was served: work divided by weight. The
//! smallest tag is served next. While two tenants wait, what they were given, divided by their weights,
//! never differs by more than one item of each; how much waits behind an item changes nothing. Who had
//! nothing to do begins at the present virtual time: idleness saves up no credit, and a flood leaves no
//! debt behind once nobody else waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::units::Millis;

/// Units of virtual time in a millisecond at weight 1: enough that weights up to 1,000 stay exact to a µs.
const UNITS_PER_MS: u64 = 1_000;

/// What one tenant waits with, in the order in which it shall leave. One queue a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue<'a> {
    /// Whose it is.
    pub tenant: &'a str,
    /// Its share beside others; 0 counts as 1.
    pub weight: u32,
    /// Expected time of each item on one slot.
    pub work: Vec<Millis>,
}

/// What tenants were given so far. Starts as the default; it holds those alone who wait or are ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    now: u64,
    tags: BTreeMap<String, Tag>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tag {
    at: u64,
    waits: bool,
}

impl Shares {
    /// Says who waits now: as a pass begins, and again as it ends. Virtual time moves on to the last of those
    /// who waited before and still do, and who comes anew begins there. Without the second call a tenant who
    /// has all of it leave in every pass and more for the next would seem to wait all the while: its small
    /// tag would hold virtual time back, a credit to it and a debt of those who really wait to newcomers.
    pub fn turn(&mut self, waiting: &[&str]) {
        let stayed = |(tenant, tag): &(&String, &Tag)| tag.waits && waiting.contains(&tenant.as_str());
        let behind = self.tags.iter().filter(stayed).map(|(_, tag)| tag.at).min();
        // Nobody was left waiting: all that is owed is paid.
        let paid = || self.tags.values().filter(|tag| tag.waits).map(|tag| tag.at).max();
        self.now = self.now.max(behind.or_else(paid).unwrap_or(0));
        for tag in self.tags.values_mut() {
            tag.waits = false;
        }
        for tenant in waiting {
            let tag = self.tags.entry((*tenant).to_owned()).or_default();
            *tag = Tag { at: tag.at.max(self.now), waits: true };
        }
        let now = self.now;
        self.tags.retain(|_, tag| tag.waits || tag.at > now);
    }

    /// The items of all queues in the order in which they shall leave, as (queue, item).
    pub fn order(&self, queues: &[Queue<'_>]) -> Vec<(usize, usize)> {
        let mut heads: BinaryHeap<_> = (queues.iter().enumerate())
            .filter(|(_, queue)| !queue.work.is_empty())
            .map(|(at, queue)| Reverse((self.tag(queue.tenant), queue.tenant, at, 0)))
            .collect();
        let mut order = Vec::with_capacity(queues.iter().map(|queue| queue.work.len()).sum());
        while let Some(Reverse((tag, tenant, at, item))) = heads.pop() {
            order.push((at, item));
            if let Some(work) = queues[at].work.get(item).filter(|_| item + 1 < queues[at].work.len()) {
                heads.push(Reverse((after(tag, *work, queues[at].weight), tenant, at, item + 1)));
            }
        }
        order
    }

    /// Books an item that left.
    pub fn gave(&mut self, tenant: &str, weight: u32, work: Millis) {
        let at = after(self.tag(tenant), work, weight);
        let waits = self.tags.get(tenant).is_some_and(|tag| tag.waits);
        self.tags.insert(tenant.to_owned(), Tag { at, waits });
    }

    fn tag(&self, tenant: &str) -> u64 {
        self.tags.get(tenant).map_or(self.now, |tag| tag.at.max(self.now))
    }
}

/// An item without work moves its tenant on all the same, so that no queue of them leaves at once.
fn after(tag: u64, work: Millis, weight: u32) -> u64 {
    let units = work.0.saturating_mul(UNITS_PER_MS) / u64::from(weight.max(1));
    tag.saturating_add(units.max(1))
}
