//! When and for how much each place would finish a request.

use crate::Knobs;
use crate::request::{Lane, Request};
use crate::snapshot::{Snapshot, Spread};
use crate::units::MicroUsd;

/// One place a request could go, with its numbers. `/explain` shows all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The lane.
    pub lane: Lane,
    /// The backend's or pool's name.
    pub place: String,
    /// From now until the answer is there.
    pub eta: Spread,
    /// What it costs.
    pub cost: MicroUsd,
}

/// All places that serve the model, realtime before deferred, in the catalogue's order.
pub fn options(_knobs: &Knobs, _request: &Request, _snapshot: &Snapshot) -> Vec<Choice> {
    Vec::new()
}
