//! Prices of a catalogue as the ledger writes them down.

use facts::ledger::Price;
use policy::units::MicroUsd;

use crate::catalogue::{Backend, Pool};

/// Of a backend's replica.
pub fn of_replica(backend: &Backend) -> Price {
    price(backend.facts.price_per_replica_hour, &backend.price_date, backend.price_assumed)
}

/// Of a pool's spot node.
pub fn of_spot(pool: &Pool) -> Price {
    price(pool.facts.price_per_node_hour, &pool.price_date, pool.price_assumed)
}

/// Of a pool's dedicated node.
pub fn of_dedicated(pool: &Pool) -> Price {
    price(pool.dedicated_node_hour(), &pool.price_date, pool.dedicated_price.is_none())
}

/// Of the node that a pool's work runs on: a spot node, where it has any.
pub fn of_work(pool: &Pool) -> Price {
    if pool.buys_spot { of_spot(pool) } else { of_dedicated(pool) }
}

/// Of a place that the catalogue does not name any more.
pub fn unknown() -> Price {
    price(MicroUsd(0), "unknown", true)
}

fn price(per_hour: MicroUsd, read_on: &str, assumed: bool) -> Price {
    Price { micro_usd_per_hour: per_hour.0, read_on: read_on.to_owned(), assumed }
}
