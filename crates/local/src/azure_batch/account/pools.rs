//! Pools and their machines: targets, arrivals, boots, departures, evictions, returns.

use super::pool::{
    Allocation, Deallocation, Fill, Kind, NODES_MAX, Node, NodeState, Nodes, Pool, Resize, ResizeError, Spec,
};
use super::task::Outcome;
use super::{Account, Capacity, Effect, Key, NodeRefusal, POOLS_MAX, RESTORE_LIMIT_MS, Timer};
use crate::azure_batch::body::Object;
use crate::azure_batch::fault::{Code, Fault};

impl Account {
    /// A pool by id.
    pub(in crate::azure_batch) fn pool(&self, id: &str) -> Result<&Pool, Fault> {
        self.pools.get(&Key::of(id)).ok_or_else(|| Code::PoolNotFound.into())
    }

    /// All pools in the order of their ids.
    pub(in crate::azure_batch) fn pools(&self) -> impl Iterator<Item = (&Key, &Pool)> {
        self.pools.iter()
    }

    /// A node of a pool.
    pub(in crate::azure_batch) fn node(&self, pool: &str, node: &str) -> Result<&Node, Fault> {
        self.pool(pool)?.nodes.get(node).ok_or_else(|| Code::NodeNotFound.into())
    }

    /// Creates a pool, which begins to grow to its targets.
    pub(in crate::azure_batch) fn add_pool(&mut self, object: Object, now_ms: u64) -> Result<(), Fault> {
        let (spec, first) = Spec::read(object)?;
        let key = Key::of(&spec.id);
        if self.pools.contains_key(&key) {
            return Err(Code::PoolExists.into());
        }
        if self.pools.len() >= POOLS_MAX {
            return Err(Code::PoolQuotaReached.into());
        }
        let pool = Pool {
            spec,
            created_ms: now_ms,
            stamp: self.stamp(now_ms),
            target: Nodes::default(),
            allocation: Allocation::Steady,
            allocation_since_ms: now_ms,
            arrive_ms: None,
            resize_errors: Vec::new(),
            nodes: Default::default(),
        };
        self.pools.insert(key.clone(), pool);
        self.retarget(&key, first, now_ms);
        Ok(())
    }

    /// Replaces some properties.
    pub(in crate::azure_batch) fn patch_pool(
        &mut self,
        id: &str,
        changes: Object,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let spec = self.pool(id)?.spec.patched(changes)?;
        let stamp = self.stamp(now_ms);
        let pool = self.pools.get_mut(&Key::of(id)).expect("it was just found");
        (pool.spec, pool.stamp) = (spec, stamp);
        self.place_tasks(now_ms);
        Ok(())
    }

    /// Deletes a pool at once; what ran there is queued again and waits for a pool of this id.
    pub(in crate::azure_batch) fn delete_pool(&mut self, id: &str, now_ms: u64) -> Result<(), Fault> {
        self.pool(id)?;
        let key = Key::of(id);
        let nodes: Vec<String> = self.pools[&key].nodes.keys().cloned().collect();
        for node in nodes {
            self.empty_node(&key, &node, Deallocation::Requeue, now_ms);
            self.remove_node(&key, &node);
        }
        let pool = self.pools.remove(&key).expect("it was just found");
        self.disarm(pool.arrive_ms, Timer::Arrival(key));
        Ok(())
    }

    /// New targets, asked for by a client. Only a steady pool takes them.
    pub(in crate::azure_batch) fn resize(
        &mut self,
        id: &str,
        resize: Resize,
        now_ms: u64,
    ) -> Result<(), Fault> {
        if self.pool(id)?.allocation != Allocation::Steady {
            return Err(Code::PoolBeingResized.into());
        }
        self.retarget(&Key::of(id), resize, now_ms);
        self.place_tasks(now_ms);
        Ok(())
    }

    /// Gives up what has not arrived yet.
    pub(in crate::azure_batch) fn stop_resize(&mut self, id: &str, now_ms: u64) -> Result<(), Fault> {
        if self.pool(id)?.allocation != Allocation::Resizing {
            return Err(Code::OperationInvalidForCurrentState.into());
        }
        let key = Key::of(id);
        let pool = self.pools.get_mut(&key).expect("it was just found");
        let arrive_ms = pool.arrive_ms.take();
        pool.resize_errors = vec![ResizeError::ResizeStopped];
        self.disarm(arrive_ms, Timer::Arrival(key.clone()));
        self.settle(&key, now_ms);
        Ok(())
    }

    /// How many machines there are from now on. Those that a pool holds stay.
    pub(in crate::azure_batch) fn set_capacity(&mut self, capacity: Capacity) {
        self.capacity = capacity;
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
            (_, state) => self.take_away(&Key::of(pool), node, state, now_ms),
        }
        self.place_tasks(now_ms);
        Ok(())
    }

    fn take_away(&mut self, pool: &Key, node: &str, state: NodeState, now_ms: u64) {
        self.empty_node(pool, node, Deallocation::Requeue, now_ms);
        if state == NodeState::LeavingPool {
            self.remove_node(pool, node);
            self.settle(pool, now_ms);
            return;
        }
        self.forget_disk(pool, node);
        self.node_enters(pool, node, NodeState::Preempted, now_ms);
        self.node_due_at(pool, node, now_ms + self.pace.restore_ms);
    }

    /// The one way to change a pool's targets: what is too much leaves now, what is missing
    /// arrives later.
    pub(super) fn retarget(&mut self, key: &Key, resize: Resize, now_ms: u64) {
        let stamp = self.stamp(now_ms);
        let Some(pool) = self.pools.get_mut(key) else { return };
        pool.target = Nodes {
            dedicated: resize.dedicated.unwrap_or(pool.target.dedicated),
            spot: resize.spot.unwrap_or(pool.target.spot),
        };
        pool.stamp = stamp;
        pool.resize_errors.clear();
        pool.allocation = Allocation::Resizing;
        pool.allocation_since_ms = now_ms;
        let leaving = [Kind::Dedicated, Kind::Spot].map(|kind| pool.surplus(kind));
        for node in leaving.concat() {
            self.leave(key, &node, resize.deallocation, now_ms);
        }
        let pool = self.pools.get_mut(key).expect("it was just found");
        if pool.missing(Kind::Dedicated) + pool.missing(Kind::Spot) > 0 {
            let arrive_ms = now_ms + self.pace.arrival_ms;
            pool.arrive_ms = Some(arrive_ms);
            self.arm(arrive_ms, Timer::Arrival(key.clone()));
        }
        self.settle(key, now_ms);
    }

    fn leave(&mut self, pool: &Key, node: &str, deallocation: Deallocation, now_ms: u64) {
        let busy = !self.pools[pool].nodes[node].runs.is_empty();
        if busy && deallocation == Deallocation::TaskCompletion {
            self.node_enters(pool, node, NodeState::LeavingPool, now_ms);
            return;
        }
        self.empty_node(pool, node, deallocation, now_ms);
        self.remove_node(pool, node);
    }

    /// The machines that a resize asked for, as many as there are.
    pub(super) fn arrive(&mut self, key: &Key, now_ms: u64) {
        for kind in [Kind::Dedicated, Kind::Spot] {
            let all: usize = self.pools.values().map(|pool| pool.nodes.len()).sum();
            let room = usize::try_from(NODES_MAX).expect("a small constant").saturating_sub(all);
            let left = room.min(self.left(kind));
            let missing = self.pools[key].missing(kind);
            for _ in 0..missing.min(left) {
                self.add_node(key, kind, now_ms);
            }
            if missing > left {
                let pool = self.pools.get_mut(key).expect("an arrival is disarmed with its pool");
                pool.resize_errors.push(ResizeError::AllocationFailed(kind));
            }
        }
        self.pools.get_mut(key).expect("an arrival is disarmed with its pool").arrive_ms = None;
        self.settle(key, now_ms);
    }

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
        let node = Node {
            kind,
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
        self.node_due_at(pool, &id, now_ms + self.pace.boot_ms);
    }

    /// A node's timer: it has booted, or somebody looks whether there is a machine for it again.
    pub(super) fn node_due(&mut self, pool: &Key, node: &str, now_ms: u64) {
        let found = &self.pools[pool].nodes[node];
        let (state, kind, since_ms) = (found.state, found.kind, found.since_ms);
        match state {
            NodeState::Preempted if self.left(kind) > 0 => {
                self.node_enters(pool, node, NodeState::Starting, now_ms);
                self.node_due_at(pool, node, now_ms + self.pace.boot_ms);
            }
            NodeState::Preempted if now_ms < since_ms + RESTORE_LIMIT_MS => {
                self.node_due_at(pool, node, now_ms + self.pace.restore_ms);
            }
            NodeState::Starting => {
                self.node_enters(pool, node, NodeState::Up, now_ms);
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
    fn empty_node(&mut self, pool: &Key, node: &str, deallocation: Deallocation, now_ms: u64) {
        let runs: Vec<_> = self.pools[pool].nodes[node].runs.keys().copied().collect();
        for run in runs {
            let Some((job, task)) = self.kill(run) else { continue };
            match deallocation {
                Deallocation::Terminate => self.complete(&job, &task, Outcome::ended(), now_ms),
                Deallocation::Requeue | Deallocation::TaskCompletion => self.requeue(&job, &task, now_ms),
            }
        }
    }

    fn remove_node(&mut self, pool: &Key, node: &str) {
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

    /// A pool is steady once nothing arrives and nothing leaves.
    fn settle(&mut self, pool: &Key, now_ms: u64) {
        let pool = self.pools.get_mut(pool).expect("the caller has it");
        let leaving = pool.nodes.values().any(|node| node.state == NodeState::LeavingPool);
        if pool.allocation == Allocation::Resizing && pool.arrive_ms.is_none() && !leaving {
            (pool.allocation, pool.allocation_since_ms) = (Allocation::Steady, now_ms);
        }
    }
}

impl Pool {
    fn staying(&self, kind: Kind) -> impl Iterator<Item = (&String, &Node)> {
        let stays = move |node: &Node| node.kind == kind && node.state != NodeState::LeavingPool;
        self.nodes.iter().filter(move |(_, node)| stays(node))
    }

    fn missing(&self, kind: Kind) -> usize {
        self.target.of(kind).saturating_sub(self.staying(kind).count())
    }

    /// The nodes that are too many: those first that would be missed least, then the youngest.
    fn surplus(&self, kind: Kind) -> Vec<String> {
        let mut nodes: Vec<_> = self.staying(kind).collect();
        let missed = |node: &Node| match node.state {
            NodeState::Preempted => 0,
            NodeState::Starting => 1,
            NodeState::Up | NodeState::LeavingPool => 2 + node.runs.len(),
        };
        nodes.sort_by(|(a, x), (b, y)| missed(x).cmp(&missed(y)).then_with(|| b.cmp(a)));
        let surplus = nodes.len().saturating_sub(self.target.of(kind));
        nodes.into_iter().take(surplus).map(|(id, _)| id.clone()).collect()
    }

    /// The node that a task of so many slots goes to.
    pub(super) fn room_for(&self, slots: u32) -> Option<&String> {
        let free = |node: &Node| self.spec.slots.saturating_sub(node.slots_taken());
        let fitting =
            self.nodes.iter().filter(|(_, node)| node.state == NodeState::Up && free(node) >= slots);
        match self.spec.fill {
            Fill::Pack => fitting.min_by_key(|(id, node)| (free(node), *id)),
            Fill::Spread => fitting.min_by_key(|(id, node)| (u32::MAX - free(node), *id)),
        }
        .map(|(id, _)| id)
    }
}
