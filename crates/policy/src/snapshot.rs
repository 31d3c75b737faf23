//! What was seen of the world, once, before a decision. Built from cached observations only:
//! nothing here is awaited on the path of a request.

use crate::breaker;
use crate::pace::Pace;
use crate::units::{MicroUsd, Millis, UnixMs};

/// Everything a decision may look at besides the knobs and the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Now, by the handler's clock.
    pub now: UnixMs,
    /// How far the observation can be trusted.
    pub sight: Sight,
    /// The model asked for, as the catalogue knows it.
    pub model: Model,
    /// Backends that serve the model, in the catalogue's order.
    pub backends: Vec<Backend>,
    /// Pools that run the model, in the catalogue's order.
    pub pools: Vec<Pool>,
    /// What happened to this very request so far, oldest first.
    pub tried: Vec<Attempt>,
    /// Spend of the current hour, over all lanes.
    pub spent_this_hour: MicroUsd,
}

/// Whether the view is fresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sight {
    /// `state/view.json` is at most 3 minutes old.
    Fresh,
    /// Only this process's own counters and the catalogue's numbers are known.
    #[default]
    Blind,
}

/// What the catalogue says of the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// GPU memory that the weights and activations take, MiB.
    pub footprint_mib: u64,
    /// Time to load it on a fresh node or replica.
    pub load: Spread,
}

/// A distribution by two quantiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// Half of all cases are at most this.
    pub p50: Millis,
    /// 19 of 20 cases are at most this; never below `p50`.
    pub p95: Millis,
}

/// How long work takes, as a straight line: `base + items * per_item + tokens * per_token`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speed {
    /// Of every request.
    pub base: Millis,
    /// Microseconds an item.
    pub per_item_us: u64,
    /// Microseconds a token that goes in.
    pub per_token_in_us: u64,
    /// Microseconds a token that comes out.
    pub per_token_out_us: u64,
    /// p95 of a request, in percent of the line; at least 100.
    pub p95_percent: u64,
}

impl Speed {
    /// The same line at a pace.
    #[must_use]
    pub fn at_pace(self, pace: Pace) -> Speed {
        let scaled = |us: u64| Millis(us).scaled(u64::from(pace.percent()), 100).0;
        Speed {
            base: pace.of(self.base),
            per_item_us: scaled(self.per_item_us),
            per_token_in_us: scaled(self.per_token_in_us),
            per_token_out_us: scaled(self.per_token_out_us),
            p95_percent: self.p95_percent,
        }
    }
}

/// A realtime backend: a Container App, or any OpenAI-compatible endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The catalogue's name.
    pub name: String,
    /// Azure region, as `westeurope`.
    pub region: String,
    /// Price of one replica for an hour.
    pub price_per_replica_hour: MicroUsd,
    /// Requests that one replica runs at once; at least 1.
    pub slots_per_replica: u32,
    /// Replicas at most, by the catalogue; the knob may be lower.
    pub max_replicas: u32,
    /// Replicas that answer now.
    pub ready_replicas: u32,
    /// Replicas that are starting.
    pub starting_replicas: u32,
    /// Requests under way, of all processes as far as known.
    pub in_flight: u32,
    /// How long requests take on a ready replica, by the catalogue.
    pub speed: Speed,
    /// What was measured of that lately.
    pub pace: Pace,
    /// From zero replicas to the first answer, model load included.
    pub cold_start: Spread,
    /// Whether it may be tried.
    pub breaker: breaker::State,
    /// When the last request was sent to it; none if never.
    pub last_used: Option<UnixMs>,
}

/// A deferred pool of Azure Batch nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The pool's id.
    pub name: String,
    /// Azure region.
    pub region: String,
    /// Price of a node for an hour, at the mix of spot and dedicated that is expected.
    pub price_per_node_hour: MicroUsd,
    /// Nodes that work now.
    pub ready_nodes: u32,
    /// Nodes at most.
    pub max_nodes: u32,
    /// Tasks that a node runs at once.
    pub slots_per_node: u32,
    /// How long work takes on one slot.
    pub speed: Speed,
    /// Work that is accepted and not finished, as time on one slot.
    pub backlog: Millis,
    /// From the decision to buy a node to its first task: evaluation wait and boot.
    pub boot: Spread,
    /// Evictions of a spot node an hour, in thousandths.
    pub evictions_per_node_hour_milli: u64,
    /// What writing the facts of one job costs.
    pub write_cost: MicroUsd,
    /// Whether the lane takes work at all; false while nothing runs there.
    pub accepting: bool,
    /// Whether it has no node and cannot get one now, for want of capacity or quota.
    pub starved: bool,
}

/// A try of this request that failed before its first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The backend's name.
    pub backend: String,
    /// What happened.
    pub failure: Failure,
}

/// How a try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, or it broke.
    Unreachable,
    /// No headers in time.
    TimedOut,
    /// 429, with the wait that it asked for.
    Overloaded {
        /// `retry-after-ms` or `retry-after`; zero if it gave none.
        retry_after: Millis,
    },
    /// 503 while no replica is ready.
    Warming {
        /// What it asked to wait; zero if it gave none.
        retry_after: Millis,
    },
    /// Any other 5xx.
    Broken,
}
