//! The machines of pools: arrivals, boots, departures, evictions, returns.

use super::pool::{Deallocation, Kind, NODES_MAX, Node, NodeState, Pool, ResizeError};
use super::task::Outcome;
use super::{Account, Effect, Key, NodeRefusal, RESTORE_LIMIT_MS, Timer};
use crate::azure_batch::fault::{Code, Fault};

impl Account {
    /// A node of a pool.
    pub(in crate::azure_batch) fn node(&self, pool: &str, node: &str) -> Result<&Node, Fault> {
        self.pool(pool)?.nodes.get(node).ok_or_else(|| Code::NodeNotFound.into())
    }

    /// Takes a spot node away, as the platform does when somebody pays more: its processes are
    /// killed, its disk is gone, its tasks are queued again. It is tried to be got back later.
    pub(in crate::azure_batch) fn evict(
        &mut self,
        pool: &str,
        node: &str,
        now_ms: u64,
    ) -> Result<(), NodeRefusal> {
        let found = self.node(pool, node).map_err(|_| NodeRefusal::NoSuchNode)?;
        match (found.kind, found.state) {
            (Kind::Dedicated, _) => return Err(NodeRefusal::Dedicated),
            (_, NodeState::Preempted) => return Err(NodeRefusal::Preempted),
            _ => self.take_away(&Key::of(pool), node, now_ms),
        }
        self.place_tasks(now_ms);
        Ok(())
    }

    pub(super) fn take_away(&mut self, pool: &Key, node: &str, now_ms: u64) {
        self.empty_node(pool, node, Deallocation::Requeue, now_ms);
        if self.pools[pool].nodes[node].state == NodeState::LeavingPool {
            self.remove_node(pool, node);
            self.settle(pool, now_ms);
            return;
        }
        self.forget_disk(pool, node);
        self.node_enters(pool, node, NodeState::Preempted, now_ms);
        self.node_due_at(pool, node, now_ms + self.pace.restore_ms);
    }

    /// A node that is not wanted goes, now or when its last task has ended.
    pub(super) fn leave(&mut self, pool: &Key, node: &str, deallocation: Deallocation, now_ms: u64) {
        let busy = !self.pools[pool].nodes[node].runs.is_empty();
        if busy && deallocation == Deallocation::TaskCompletion {
            self.node_enters(pool, node, NodeState::LeavingPool, now_ms);
            return;
        }
        self.killed_by_shrinking += self.pools[pool].nodes[node].runs.len() as u64;
        self.empty_node(pool, node, deallocation, now_ms);
        self.remove_node(pool, node);
    }

    /// Tasks whose process was killed because their node left.
    pub(in crate::azure_batch) fn killed_by_shrinking(&self) -> u64 {
        self.killed_by_shrinking
    }

    /// The machines that a resize asked for, as many as there are.
    pub(super) fn arrive(&mut self, key: &Key, now_ms: u64) {
        for kind in [Kind::Dedicated, Kind::Spot] {
            let (left, cause) = self.obtainable(key, kind);
            let missing = self.pools[key].missing(kind);
            for _ in 0..missing.min(left) {
                self.add_node(key, kind, now_ms);
            }
            if missing > left {
                let pool = self.pools.get_mut(key).expect("an arrival is disarmed with its pool");
                pool.resize_errors.push(cause);
            }
        }
        self.pools.get_mut(key).expect("an arrival is disarmed with its pool").arrive_ms = None;
        self.settle(key, now_ms);
    }

    /// How many nodes of a kind a pool can still get, and what stands against more.
    fn obtainable(&self, key: &Key, kind: Kind) -> (usize, ResizeError) {
        let all: usize = self.pools.values().map(|pool| pool.nodes.len()).sum();
        let room = usize::try_from(NODES_MAX).expect("a small constant").saturating_sub(all);
        let held: usize = self.pools.values().map(|pool| pool.held(kind) * pool.cores()).sum();
        let allowed = self.quota.of(kind).saturating_sub(held) / self.pools[key].cores();
        let (allowed, left) = (allowed.min(room), self.left(kind));
        if allowed <= left {
            (allowed, ResizeError::QuotaReached(kind))
        } else {
            (left, ResizeError::AllocationFailed(kind))
        }
    }

    /// Machines of a kind that the region still has.
    fn left(&self, kind: Kind) -> usize {
        let held: usize = self.pools.values().map(|pool| pool.held(kind)).sum();
        self.capacity.of(kind).saturating_sub(held)
    }

    fn add_node(&mut self, pool: &Key, kind: Kind, now_ms: u64) {
        self.next_node += 1;
        let id = match kind {
            Kind::Dedicated => format!("tvmps_{:08x}_d", self.next_node),
            Kind::Spot => format!("tvmps_{:08x}_p", self.next_node),
        };
        let (boot_ms, boot_end) = self.next_boot(pool);
        let node = Node {
            kind,
            boot_end,
            state: NodeState::Starting,
            since_ms: now_ms,
            allocated_ms: now_ms,
            booted_ms: None,
            due_ms: None,
            runs: Default::default(),
            tasks_run: 0,
            tasks_succeeded: 0,
        };
        self.pools.get_mut(pool).expect("the caller has it").nodes.insert(id.clone(), node);
        // A stand-in that was killed may have left a disk of this name.
        self.forget_disk(pool, &id);
        self.node_due_at(pool, &id, now_ms + boot_ms);
    }

    /// A node's timer: it has booted, or somebody looks whether there is a machine for it again.
    pub(super) fn node_due(&mut self, pool: &Key, node: &str, now_ms: u64) {
        let found = &self.pools[pool].nodes[node];
        let (state, kind, since_ms) = (found.state, found.kind, found.since_ms);
        match state {
            NodeState::Preempted if self.left(kind) > 0 => {
                let (boot_ms, boot_end) = self.next_boot(pool);
                self.node_enters(pool, node, NodeState::Starting, now_ms);
                self.node_mut(pool, node).boot_end = boot_end;
                self.node_due_at(pool, node, now_ms + boot_ms);
            }
            NodeState::Preempted if now_ms < since_ms + RESTORE_LIMIT_MS => {
                self.node_due_at(pool, node, now_ms + self.pace.restore_ms);
            }
            NodeState::Starting => {
                let end = self.pools[pool].nodes[node].boot_end.state();
                self.node_enters(pool, node, end, now_ms);
                let node = self.node_mut(pool, node);
                (node.booted_ms, node.due_ms) = (Some(now_ms), None);
            }
            _ => self.node_mut(pool, node).due_ms = None,
        }
    }

    fn node_mut(&mut self, pool: &Key, node: &str) -> &mut Node {
        let pool = self.pools.get_mut(pool).expect("a node's timer and runs end with its pool");
        pool.nodes.get_mut(node).expect("a node's timer and runs end with it")
    }

    fn node_enters(&mut self, pool: &Key, node: &str, state: NodeState, now_ms: u64) {
        let node = self.node_mut(pool, node);
        (node.state, node.since_ms) = (state, now_ms);
    }

    fn node_due_at(&mut self, pool: &Key, node: &str, due_ms: u64) {
        let before_ms = self.node_mut(pool, node).due_ms.replace(due_ms);
        self.disarm(before_ms, Timer::Node(pool.clone(), node.to_owned()));
        self.arm(due_ms, Timer::Node(pool.clone(), node.to_owned()));
    }

    /// Ends what runs on a node.
    pub(super) fn empty_node(&mut self, pool: &Key, node: &str, deallocation: Deallocation, now_ms: u64) {
        let runs: Vec<_> = self.pools[pool].nodes[node].runs.keys().copied().collect();
        for run in runs {
            let Some((job, task)) = self.kill(run) else { continue };
            match deallocation {
                Deallocation::Terminate => self.complete(&job, &task, Outcome::ended(), now_ms),
                Deallocation::Requeue | Deallocation::TaskCompletion => self.requeue(&job, &task, now_ms),
            }
        }
    }

    pub(super) fn remove_node(&mut self, pool: &Key, node: &str) {
        self.forget_disk(pool, node);
        let removed = self.pools.get_mut(pool).and_then(|pool| pool.nodes.remove(node));
        self.disarm(removed.and_then(|node| node.due_ms), Timer::Node(pool.clone(), node.to_owned()));
    }

    fn forget_disk(&mut self, pool: &Key, node: &str) {
        let pool = self.pools[pool].spec.id.clone();
        self.effects.push(Effect::RemoveNode { pool, node: node.to_owned() });
    }

    /// Nodes that only waited for their last task leave.
    pub(super) fn leave_drained(&mut self, now_ms: u64) {
        let drained = |node: &Node| node.state == NodeState::LeavingPool && node.runs.is_empty();
        let nodes = |(pool, found): (&Key, &Pool)| {
            let nodes = found.nodes.iter().filter(|(_, node)| drained(node));
            nodes.map(|(node, _)| (pool.clone(), node.clone())).collect::<Vec<_>>()
        };
        for (pool, node) in self.pools.iter().flat_map(nodes).collect::<Vec<_>>() {
            self.remove_node(&pool, &node);
            self.settle(&pool, now_ms);
        }
    }
}
