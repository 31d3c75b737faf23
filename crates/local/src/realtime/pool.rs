//! Which replica takes a request: the ready one with the fewest in flight, or a bounded wait.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::scale::{Phase, View};

/// The pause that a refused client is asked for: at least this, so that nobody spins,
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// and at most this, because a guess about the future is worth no more.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How much the newest service time counts in the mean.
const NEWEST_WEIGHT: f64 = 1.0 / 8.0;
/// Mean service time before the first was measured.
const SERVICE_GUESS: Duration = Duration::from_secs(1);

/// What bounds the requests that the front holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Requests that one replica gets at the same time.
    pub slots_per_replica: u32,
    /// Requests that wait for a slot or for the first replica.
    pub held: usize,
    /// How long one of them waits.
    pub hold: Duration,
}

/// Why a request got no replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// As many as are allowed are waiting already.
    Full,
    /// No slot came free in time, though there are replicas.
    Busy,
    /// No replica became ready in time.
    Cold,
}

/// The ready replicas and those who wait for them.
pub(super) struct Pool {
    bounds: Bounds,
    state: Mutex<State>,
    /// Rung when a request begins to wait: the scaler should look at once.
    pub(super) waiting: Notify,
}

#[derive(Default)]
struct State {
    replicas: BTreeMap<u64, Replica>,
    waiters: VecDeque<(u64, oneshot::Sender<Lease>)>,
    next_waiter: u64,
    last_failure: Option<String>,
    mean_service: Option<Duration>,
}

struct Replica {
    url: Option<String>,
    pid: Option<u32>,
    in_flight: u32,
    idle_since: Instant,
}

/// A replica as others may see it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ReplicaView {
    /// Which one; ids grow.
    pub id: u64,
    /// Its process, once it has one.
    pub pid: Option<u32>,
    /// Where it answers, once it is ready.
    pub url: Option<String>,
    /// Requests that it has now.
    pub in_flight: u32,
}

/// One slot of one replica, given back on drop: a counter that is lowered by hand goes wrong.
pub(super) struct Lease {
    pool: Arc<Pool>,
    pub(super) replica: u64,
    pub(super) url: String,
    since: Instant,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.give_back(self.replica, self.since.elapsed());
    }
}

impl Pool {
    pub(super) fn new(bounds: Bounds) -> Arc<Pool> {
        Arc::new(Pool { bounds, state: Mutex::default(), waiting: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    /// A slot, at once or after a bounded wait in order of arrival.
    pub(super) async fn lease(self: &Arc<Pool>) -> Result<Lease, Refusal> {
        let (ticket, slot) = {
            let mut state = self.lock();
            state.waiters.retain(|(_, waiter)| !waiter.is_closed());
            // Whoever still waits does so because no slot is free.
            if state.waiters.is_empty()
                && let Some((replica, url)) = state.take_slot(self.bounds.slots_per_replica)
            {
                return Ok(Lease { pool: Arc::clone(self), replica, url, since: Instant::now() });
            }
            if state.waiters.len() >= self.bounds.held {
                return Err(Refusal::Full);
            }
            let (sender, slot) = oneshot::channel();
            state.next_waiter += 1;
            let ticket = state.next_waiter;
            state.waiters.push_back((ticket, sender));
            (ticket, slot)
        };
        self.waiting.notify_one();
        match tokio::time::timeout(self.bounds.hold, slot).await {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(_)) | Err(_) => {
                let mut state = self.lock();
                state.waiters.retain(|(other, _)| *other != ticket);
                let is_warm = state.replicas.values().any(|replica| replica.url.is_some());
                Err(if is_warm { Refusal::Busy } else { Refusal::Cold })
            }
        }
    }

    /// Hands free slots to those who have waited longest.
    fn hand_out(self: &Arc<Pool>) {
        loop {
            let mut state = self.lock();
            let Some((ticket, waiter)) = state.waiters.pop_front() else { return };
            if waiter.is_closed() {
                continue;
            }
            let Some((replica, url)) = state.take_slot(self.bounds.slots_per_replica) else {
                state.waiters.push_front((ticket, waiter));
                return;
            };
            drop(state);
            // A waiter that has left in this very moment gives the lease back by dropping it.
            let _ = waiter.send(Lease { pool: Arc::clone(self), replica, url, since: Instant::now() });
        }
    }

    fn give_back(self: &Arc<Pool>, replica: u64, service: Duration) {
        {
            let mut state = self.lock();
            if let Some(replica) = state.replicas.get_mut(&replica) {
                replica.in_flight -= 1;
                replica.idle_since = Instant::now();
            }
            let mean = state.mean_service.unwrap_or(service);
            state.mean_service = Some(mean.mul_f64(1.0 - NEWEST_WEIGHT) + service.mul_f64(NEWEST_WEIGHT));
        }
        self.hand_out();
    }

    /// When a slot is likely to be free for somebody who is refused now: the time that those who
    /// wait will take.
    pub(super) fn pause(&self) -> Duration {
        let state = self.lock();
        let ready = state.replicas.values().filter(|replica| replica.url.is_some()).count().max(1);
        let slots = ready * self.bounds.slots_per_replica.max(1) as usize;
        let rounds = (state.waiters.len() + 1) as f64 / slots as f64;
        state.mean_service.unwrap_or(SERVICE_GUESS).mul_f64(rounds).clamp(PAUSE_MIN, PAUSE_MAX)
    }

    /// Makes a place for a replica that is being started.
    pub(super) fn add(&self, id: u64) {
        let replica = Replica { url: None, pid: None, in_flight: 0, idle_since: Instant::now() };
        self.lock().replicas.insert(id, replica);
    }

    /// The process exists; it is not ready yet.
    pub(super) fn started(&self, id: u64, pid: Option<u32>) {
        if let Some(replica) = self.lock().replicas.get_mut(&id) {
            replica.pid = pid;
        }
    }

    /// Requests may go to it from now on.
    pub(super) fn ready(self: &Arc<Pool>, id: u64, url: String) {
        {
            let mut state = self.lock();
            state.last_failure = None;
            if let Some(replica) = state.replicas.get_mut(&id) {
                replica.url = Some(url);
                replica.idle_since = Instant::now();
            }
        }
        self.hand_out();
    }

    /// A start failed; the text is shown to those who wait in vain.
    pub(super) fn failed(&self, why: String) {
        self.lock().last_failure = Some(why);
    }

    pub(super) fn last_failure(&self) -> Option<String> {
        self.lock().last_failure.clone()
    }

    /// It has ended, or must end: no further request goes there.
    pub(super) fn remove(&self, id: u64) {
        self.lock().replicas.remove(&id);
    }

    /// Removes it only if nothing is in flight there, so that stopping an idle one is not a race.
    pub(super) fn remove_idle(&self, id: u64) -> bool {
        let mut state = self.lock();
        let is_idle = state.replicas.get(&id).is_some_and(|replica| replica.in_flight == 0);
        is_idle && state.replicas.remove(&id).is_some()
    }

    pub(super) fn held(&self) -> usize {
        self.lock().waiters.iter().filter(|(_, waiter)| !waiter.is_closed()).count()
    }

    /// What the scaling rule sees.
    pub(super) fn views(&self) -> Vec<View> {
        let phase = |replica: &Replica| match (&replica.url, replica.in_flight) {
            (None, _) => Phase::Starting,
            (Some(_), 0) => Phase::Idle(replica.idle_since),
            (Some(_), _) => Phase::Busy,
        };
        self.lock().replicas.iter().map(|(id, replica)| View { id: *id, phase: phase(replica) }).collect()
    }

    /// What people and programs outside see.
    pub(super) fn replicas(&self) -> Vec<ReplicaView> {
        let view = |(id, replica): (&u64, &Replica)| ReplicaView {
            id: *id,
            pid: replica.pid,
            url: replica.url.clone(),
            in_flight: replica.in_flight,
        };
        self.lock().replicas.iter().map(view).collect()
    }
}

impl State {
    /// Fewest in flight first; the oldest of equals.
    fn take_slot(&mut self, slots: u32) -> Option<(u64, String)> {
        let free = self.replicas.iter_mut().filter(|(_, r)| r.url.is_some() && r.in_flight < slots);
        let (id, replica) = free.min_by_key(|(id, replica)| (replica.in_flight, **id))?;
        replica.in_flight += 1;
        Some((*id, replica.url.clone().expect("filtered above")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_pause_is_the_time_that_those_who_wait_will_take() {
        let bounds = Bounds { slots_per_replica: 2, held: 8, hold: Duration::from_secs(60) };
        let pool = Pool::new(bounds);
        assert_eq!(pool.pause(), SERVICE_GUESS / 2, "nothing measured, nobody waits");
        pool.add(1);
        pool.ready(1, "http://127.0.0.1:1".to_owned());
        let lease = pool.lease().await.unwrap();
        tokio::time::advance(Duration::from_secs(4)).await;
        drop(lease);
        assert_eq!(pool.pause(), Duration::from_secs(2), "one round of two slots, half used");

        let (first, second) = (pool.lease().await.unwrap(), pool.lease().await.unwrap());
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                let pool = Arc::clone(&pool);
                tokio::spawn(async move { pool.lease().await.map(drop) })
            })
            .collect();
        while pool.held() < 5 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.pause(), Duration::from_secs(12), "three rounds of 4 s");
        drop((first, second));
        for waiter in waiting {
            assert_eq!(waiter.await.unwrap(), Ok(()));
        }
        assert_eq!(pool.held(), 0);
        assert!(pool.replicas().iter().all(|replica| replica.in_flight == 0));
    }
}
