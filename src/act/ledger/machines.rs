//! Machines that there are in a minute, as the sweep saw them: one entry a minute, by whoever looks first.

use std::sync::atomic::{AtomicU64, Ordering};

use facts::key;
use facts::ledger::{Came, Entry, Lane, Machine, Machines, Price, Seen};
use facts::view::pool::KindView;
use facts::view::{BackendView, PoolView, View};
use facts::{Put, Store, StoreError};
use policy::units::UnixMs;

use super::{prices, sums};
use crate::act::jobs::look::World;
use crate::catalogue::{Backend, Pool};

const MINUTE_MS: u64 = 60_000;
const MINUTES: u64 = 60;

/// The newest minute that this process has seen written down.
#[derive(Debug, Default)]
pub struct LastMinute(AtomicU64);

impl LastMinute {
    /// Writes down what is seen now, unless this minute is there.
    ///
    /// # Errors
    /// [`StoreError`]: the minute may be missing, and is then as its neighbours.
    pub async fn write(
        &self,
        store: &Store,
        world: World<'_>,
        view: &View,
        now: UnixMs,
    ) -> Result<(), StoreError> {
        let minute = now.0 / MINUTE_MS;
        if self.0.load(Ordering::Relaxed) >= minute {
            return Ok(());
        }
        let (hour, of_hour) = (minute / MINUTES, (minute % MINUTES) as u32);
        let seen = seen(world, view, now);
        let entry = Entry { v: facts::VERSION, minute: Some(of_hour), seen, ..Entry::default() };
        let text = serde_json::to_string(&entry).expect("an entry is plain data, which always serializes");
        let put = store.create_by_clock(&key::ledger_minute(hour, of_hour), text).await?;
        self.0.store(minute, Ordering::Relaxed);
        if put == Put::Created {
            // A clock that stood still may write into an hour that others have closed.
            sums::reopen_if_closed(store, hour, now).await?;
        }
        Ok(())
    }
}

/// All places that could be seen. One that could not is missing, and is then as in the minute before.
fn seen(world: World<'_>, view: &View, now: UnixMs) -> Vec<Seen> {
    let pools = world.catalogue.pools.iter().flat_map(|pool| {
        // Looked at while this view was made; an older look stays in the view with its error.
        let seen = view.pools.get(&pool.facts.name).filter(|seen| seen.seen_at >= now.0);
        seen.map(|seen| nodes(pool, seen)).into_iter().flatten()
    });
    let backends = world.catalogue.backends.iter().filter_map(|backend| {
        let seen = view.backends.get(&backend.name).copied();
        let floor = world.knobs.min_replicas.min(backend.facts.max_replicas);
        (seen.is_some() || floor > 0).then(|| replicas(backend, seen.unwrap_or_default(), floor))
    });
    pools.chain(backends).collect()
}

fn nodes(pool: &Pool, seen: &PoolView) -> [Seen; 2] {
    let of = |machine, price: Price, kind: &KindView| Seen {
        of: Machines { lane: Lane::Deferred, place: pool.facts.name.clone(), machine, price },
        busy: kind.busy,
        // A broken node runs nothing, and is paid for.
        idle: kind.usable.saturating_sub(kind.busy) + kind.broken,
        boots: kind.starting,
        came: kind.came,
    };
    [
        of(Machine::Spot, prices::of_spot(pool), &seen.spot),
        of(Machine::Dedicated, prices::of_dedicated(pool), &seen.dedicated),
    ]
}

/// Replicas as processes believe them to be, and at least those that are kept: nobody counts them for us.
/// What they are busy with is told by requests.
fn replicas(backend: &Backend, seen: BackendView, floor: u32) -> Seen {
    let price = Price { assumed: true, ..prices::of_replica(backend) };
    let machine = Machine::Replica;
    Seen {
        of: Machines { lane: Lane::Realtime, place: backend.name.clone(), machine, price },
        busy: 0,
        idle: seen.ready_replicas.max(floor.saturating_sub(seen.starting_replicas)),
        boots: seen.starting_replicas,
        came: Came::default(),
    }
}
