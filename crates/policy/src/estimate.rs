//! When and for how much each place would finish a request. `docs/policy.md` has the formulas.

use crate::breaker;
use crate::knobs::Knobs;
use crate::reason::Code;
use crate::request::{Lane, Request};
use crate::snapshot::{Backend, Failure, Pool, Snapshot, Speed, Spread};
use crate::units::{MicroUsd, Millis};

/// Tries of one request at one backend, at most. An ingress stands before many replicas, so a
/// second try may reach a healthy one; a third mostly adds load.
pub const TRIES_PER_BACKEND_MAX: usize = 2;

const HOUR_MS: u64 = 3_600_000;

/// One place a request could go, with its numbers. `/explain` shows all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The lane.
    pub lane: Lane,
    /// The backend's or pool's name.
    pub place: String,
    /// What the request waits for before it runs.
    pub wait: Wait,
    /// From now until the answer is there.
    pub eta: Spread,
    /// A deadline nearer than this is not promised here at any confidence: p95 of what must start first.
    pub lead: Millis,
    /// What it costs, the start of a replica or node that it causes included.
    pub cost: MicroUsd,
    /// Tries of this request that failed there.
    pub failed_tries: usize,
    /// Why it cannot be taken at all; none: it can.
    pub barred: Option<Code>,
}

/// What a request waits for before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// Nothing.
    None,
    /// A slot that others hold.
    Slot,
    /// A replica or node that must start.
    Start,
}

/// All places that serve the model, realtime before deferred, in the catalogue's order.
pub fn choices(knobs: &Knobs, request: &Request, snapshot: &Snapshot) -> Vec<Choice> {
    let too_large = snapshot.model.footprint_mib > knobs.gpu_memory_limit_mib;
    let bar = |own: Option<Code>, region: &str| match &request.residency {
        _ if too_large => Some(Code::TooLargeForGpu),
        Some(residency) if !region.starts_with(residency.as_str()) => Some(Code::ResidencyUnmet),
        _ => own,
    };
    let realtime = snapshot.backends.iter().map(|backend| {
        let choice = at_backend(knobs, request, backend);
        let failed_tries = snapshot.tried.iter().filter(|attempt| attempt.backend == backend.name).count();
        Choice { failed_tries, barred: bar(backend_bar(snapshot, backend), &backend.region), ..choice }
    });
    let deferred = snapshot.pools.iter().map(|pool| {
        let own = (!pool.accepting).then_some(Code::DeferredUnavailable);
        Choice { barred: bar(own, &pool.region), ..at_pool(knobs, request, snapshot, pool) }
    });
    let mut deferred: Vec<Choice> = deferred.collect();
    // A pool that cannot get a node takes no new work while another one can.
    let beside = || deferred.iter().zip(&snapshot.pools);
    if beside().any(|(choice, pool)| choice.barred.is_none() && !pool.starved) {
        let starved = deferred.iter_mut().zip(&snapshot.pools).filter(|(_, pool)| pool.starved);
        starved.for_each(|(choice, _)| choice.barred = choice.barred.or(Some(Code::SpotUnavailable)));
    }
    realtime.chain(deferred).collect()
}

/// How long the work itself takes on one slot.
pub fn work(speed: &Speed, request: &Request) -> Spread {
    let us = |count: u64, each_us: u64| u128::from(count) * u128::from(each_us);
    let micros = us(request.items, speed.per_item_us)
        + us(request.tokens_in.0, speed.per_token_in_us)
        + us(request.tokens_out.0, speed.per_token_out_us);
    let millis = u64::try_from(micros.div_ceil(1_000)).unwrap_or(u64::MAX);
    let p50 = speed.base + Millis(millis);
    Spread { p50, p95: p50.scaled(speed.p95_percent.max(100), 100) }
}

/// How long a request that is sent to this backend now takes by the catalogue, those before it included;
/// none where a replica must start first, which is no work.
pub fn expected(backend: &Backend, request: &Request) -> Option<Millis> {
    let slots = u64::from(backend.slots_per_replica.max(1)) * u64::from(backend.ready_replicas);
    let turns = u64::from(backend.in_flight).checked_div(slots)? + 1;
    Some(work(&backend.speed, request).p50.scaled(turns, 1))
}

fn backend_bar(snapshot: &Snapshot, backend: &Backend) -> Option<Code> {
    let mut failures = snapshot.tried.iter().filter(|attempt| attempt.backend == backend.name);
    match backend.breaker {
        breaker::State::Open { until } if until > snapshot.now => return Some(Code::BackendsDown),
        breaker::State::HalfOpen => return Some(Code::BackendsDown),
        breaker::State::Open { .. } | breaker::State::Closed => {}
    }
    if failures.clone().count() >= TRIES_PER_BACKEND_MAX {
        return Some(Code::Retried);
    }
    failures.find_map(|attempt| match attempt.failure {
        Failure::Overloaded { .. } => Some(Code::Overloaded),
        Failure::Warming { .. } => Some(Code::Warming),
        Failure::TimedOut => Some(Code::Retried),
        Failure::Unreachable | Failure::Broken => None,
    })
}

fn at_backend(knobs: &Knobs, request: &Request, backend: &Backend) -> Choice {
    let work = work(&backend.speed.at_pace(backend.pace), request);
    let slots = u64::from(backend.slots_per_replica.max(1));
    let ready_slots = slots * u64::from(backend.ready_replicas);
    let in_flight = u64::from(backend.in_flight);
    let may_grow =
        backend.ready_replicas + backend.starting_replicas < backend.max_replicas.min(knobs.max_replicas);
    let start = if backend.starting_replicas > 0 { halved(backend.cold_start) } else { backend.cold_start };

    let (wait, delay) = if in_flight < ready_slots {
        (Wait::None, Spread::default())
    } else if let Some(turns) = (in_flight - ready_slots).checked_div(ready_slots).map(|turns| turns + 1) {
        // Those before it leave in turns of `ready_slots`.
        let queue = Spread { p50: work.p50.scaled(turns, 1), p95: work.p95.scaled(turns, 1) };
        if may_grow && start.p50 < queue.p50 { (Wait::Start, start) } else { (Wait::Slot, queue) }
    } else {
        let turns = in_flight / slots;
        let queue = Spread { p50: work.p50.scaled(turns, 1), p95: work.p95.scaled(turns, 1) };
        (Wait::Start, sum(start, queue))
    };
    let causes_start =
        wait == Wait::Start && backend.starting_replicas == 0 && (ready_slots > 0 || in_flight == 0);
    let started = if causes_start { backend.cold_start.p50 } else { Millis(0) };
    let price = backend.price_per_replica_hour;
    let cost = price.scaled(work.p50.0, HOUR_MS.saturating_mul(slots)) + price.scaled(started.0, HOUR_MS);
    let (place, eta) = (backend.name.clone(), sum(delay, work));
    let lead = Millis(0);
    Choice { lane: Lane::Realtime, place, wait, eta, lead, cost, failed_tries: 0, barred: None }
}

/// From a job's acceptance to its task's first line on a node that runs already: the host polls the queue every
/// 2 s at most (`maxPollingInterval` of host.json), a sweep that must find the job comes within 30 s, and a task
/// and its process start in a second or two. Where a node boots first, the task is there before it.
const DISPATCH: Spread = Spread { p50: Millis::from_secs(3), p95: Millis::from_secs(10) };

fn at_pool(knobs: &Knobs, request: &Request, snapshot: &Snapshot, pool: &Pool) -> Choice {
    let work = work(&pool.speed, request);
    let nodes = u64::from(pool.max_nodes.min(knobs.max_nodes).max(1));
    let slots = nodes * u64::from(pool.slots_per_node.max(1));
    let (wait, dispatch, start) = match pool.ready_nodes {
        0 => (Wait::Start, Spread::default(), sum(pool.boot, snapshot.model.load)),
        _ => (Wait::None, DISPATCH, snapshot.model.load),
    };
    let queue = pool.backlog.scaled(1, slots);
    let parallel = slots.min(request.items.max(1));
    let run = Spread { p50: work.p50.scaled(1, parallel), p95: work.p95.scaled(1, parallel) };
    // One eviction costs a boot and on average half of what was running; p95 expects it as soon
    // as one in twenty such runs meets one.
    let evictions_milli = pool.evictions_per_node_hour_milli.saturating_mul(run.p50.0 / 1_000) / 3_600;
    let again = if evictions_milli >= 50 { pool.boot.p95 + run.p50 } else { Millis(0) };
    let eta = sum(sum(sum(dispatch, start), run), Spread { p50: queue, p95: queue + again });

    let price = pool.price_per_node_hour;
    let node_slots = HOUR_MS.saturating_mul(u64::from(pool.slots_per_node.max(1)));
    let cost = price.scaled(work.p50.0, node_slots) + price.scaled(start.p50.0, HOUR_MS) + pool.write_cost;
    let place = pool.name.clone();
    // A node that does not exist yet may be evicted, refused or late: half of all boots is no promise.
    let lead = if wait == Wait::Start { start.p95 } else { Millis(0) };
    Choice { lane: Lane::Deferred, place, wait, eta, lead, cost, failed_tries: 0, barred: None }
}

fn sum(a: Spread, b: Spread) -> Spread {
    Spread { p50: a.p50 + b.p50, p95: a.p95 + b.p95 }
}

fn halved(spread: Spread) -> Spread {
    Spread { p50: spread.p50.scaled(1, 2), p95: spread.p95.scaled(1, 2) }
}
