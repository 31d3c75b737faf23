//! The lives of pools: their targets, and how they get there.

use super::pool::{
    Allocation, Deallocation, Fill, Kind, Node, NodeState, Nodes, Pool, Removal, Resize, ResizeError,
    Scaling, Spec,
};
use super::samples::Samples;
use super::{Account, Key, POOLS_MAX, Timer};
use crate::azure_batch::body::Object;
use crate::azure_batch::fault::{Code, Fault};
use crate::azure_batch::version::Version;

impl Account {
    /// A pool by id.
    pub(in crate::azure_batch) fn pool(&self, id: &str) -> Result<&Pool, Fault> {
        self.pools.get(&Key::of(id)).ok_or_else(|| Code::PoolNotFound.into())
    }

    /// All pools in the order of their ids.
    pub(in crate::azure_batch) fn pools(&self) -> impl Iterator<Item = (&Key, &Pool)> {
        self.pools.iter()
    }

    /// Creates a pool, which begins to grow to its targets.
    pub(in crate::azure_batch) fn add_pool(
        &mut self,
        object: Object,
        version: Version,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let (spec, scaling) = Spec::read(object, version)?;
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
            stale_errors: Vec::new(),
            autoscale: None,
            enabled_ms: None,
            samples: Samples::new(),
            storm: None,
            nodes: Default::default(),
        };
        self.pools.insert(key.clone(), pool);
        self.start_sampling(now_ms);
        match scaling {
            Scaling::Fixed(first) => self.retarget(&key, first, now_ms),
            Scaling::Auto(asked) => self.scale(&key, asked, now_ms),
        }
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
        self.autoscale_due_at(&key, None);
        self.calm(&key);
        let pool = self.pools.remove(&key).expect("it was just found");
        self.disarm(pool.arrive_ms, Timer::Arrival(key));
        Ok(())
    }

    /// New targets, asked for by a client. Only a steady pool without a formula takes them.
    pub(in crate::azure_batch) fn resize(
        &mut self,
        id: &str,
        resize: Resize,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let pool = self.pool(id)?;
        if pool.autoscale.is_some() {
            return Err(Code::OperationNotValidOnPool.into());
        }
        if pool.allocation != Allocation::Steady {
            return Err(Code::PoolBeingResized.into());
        }
        self.retarget(&Key::of(id), resize, now_ms);
        self.place_tasks(now_ms);
        Ok(())
    }

    /// Nodes that leave by name, and the targets with them.
    pub(in crate::azure_batch) fn remove_nodes(
        &mut self,
        id: &str,
        removal: Removal,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let found = self.pool(id)?;
        if found.allocation != Allocation::Steady {
            return Err(Code::PoolBeingResized.into());
        }
        if removal.nodes.iter().any(|node| !found.nodes.contains_key(node)) {
            return Err(Code::NodeNotFound.into());
        }
        let leaving = |kind| removal.nodes.iter().filter(|node| found.nodes[*node].kind == kind).count();
        let target = Nodes {
            dedicated: found.target.dedicated.saturating_sub(leaving(Kind::Dedicated)),
            spot: found.target.spot.saturating_sub(leaving(Kind::Spot)),
        };
        let key = Key::of(id);
        self.begin_resize(&key, target, now_ms);
        for node in &removal.nodes {
            self.leave(&key, node, removal.deallocation, now_ms);
        }
        self.settle(&key, now_ms);
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

    /// The one way to change a pool's targets: what is too much leaves now, what is missing
    /// arrives later.
    pub(super) fn retarget(&mut self, key: &Key, resize: Resize, now_ms: u64) {
        let before = self.pools[key].target;
        let target = Nodes {
            dedicated: resize.dedicated.unwrap_or(before.dedicated),
            spot: resize.spot.unwrap_or(before.spot),
        };
        self.begin_resize(key, target, now_ms);
        let pool = &self.pools[key];
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

    fn begin_resize(&mut self, key: &Key, target: Nodes, now_ms: u64) {
        let stamp = self.stamp(now_ms);
        let pool = self.pools.get_mut(key).expect("the caller has it");
        (pool.target, pool.stamp) = (target, stamp);
        pool.resize_errors.clear();
        (pool.allocation, pool.allocation_since_ms) = (Allocation::Resizing, now_ms);
    }

    /// A pool is steady once nothing arrives and nothing leaves.
    pub(super) fn settle(&mut self, pool: &Key, now_ms: u64) {
        let pool = self.pools.get_mut(pool).expect("the caller has it");
        let leaving = pool.nodes.values().any(|node| node.state == NodeState::LeavingPool);
        if pool.allocation == Allocation::Resizing && pool.arrive_ms.is_none() && !leaving {
            (pool.allocation, pool.allocation_since_ms) = (Allocation::Steady, now_ms);
        }
    }
}

impl Pool {
    /// The nodes of a kind that are not about to leave.
    pub(super) fn staying(&self, kind: Kind) -> impl Iterator<Item = (&String, &Node)> {
        let stays = move |node: &Node| node.kind == kind && node.state != NodeState::LeavingPool;
        self.nodes.iter().filter(move |(_, node)| stays(node))
    }

    pub(super) fn missing(&self, kind: Kind) -> usize {
        self.target.of(kind).saturating_sub(self.staying(kind).count())
    }

    /// The nodes that are too many: those first that would be missed least, then the youngest.
    fn surplus(&self, kind: Kind) -> Vec<String> {
        let mut nodes: Vec<_> = self.staying(kind).collect();
        let missed = |node: &Node| match node.state {
            NodeState::Preempted => 0,
            NodeState::Unusable | NodeState::StartTaskFailed => 1,
            NodeState::Starting => 2,
            NodeState::Up | NodeState::LeavingPool => 3 + node.runs.len(),
        };
        nodes.sort_by(|(a, x), (b, y)| missed(x).cmp(&missed(y)).then_with(|| b.cmp(a)));
        let surplus = nodes.len().saturating_sub(self.target.of(kind));
        nodes.into_iter().take(surplus).map(|(id, _)| id.clone()).collect()
    }

    /// The nodes that the instances of a task go to, each with so many slots; all or none.
    pub(super) fn room_for(&self, slots: u32, instances: usize) -> Option<Vec<String>> {
        let free = |node: &Node| self.spec.slots.saturating_sub(node.slots_taken());
        let fitting =
            self.nodes.iter().filter(|(_, node)| node.state == NodeState::Up && free(node) >= slots);
        let mut nodes: Vec<_> = fitting.collect();
        nodes.sort_by_key(|(id, node)| match self.spec.fill {
            Fill::Pack => (free(node), *id),
            Fill::Spread => (u32::MAX - free(node), *id),
        });
        let nodes = nodes.get(..instances)?;
        Some(nodes.iter().map(|(id, _)| (*id).clone()).collect())
    }
}
