//! Every decision of Switchyard, as plain functions of (knobs, request, snapshot).
//!
//! Start at [`route`], which picks the lane of one request; [`admit`] says whether a tenant may ask at all;
//! [`shards`] how a job is cut, [`canary`] whether its first part is checked before the rest leaves,
//! [`dispatch`] which of it goes to a pool now, [`detour`] to which, [`fair`] whose turn it is there,
//! [`rescue`] what is taken back to keep a deadline, [`tries`] when what failed is tried again;
//! [`rebalance`] how large a pool is, [`replicas`] how many realtime replicas a backend should have;
//! [`breaker`] whether a backend may be tried; [`pace`] by how much the catalogue's speeds are off. A
//! decision carries its [`reason`]s as data.
//!
//! Deliberately absent: a clock, I/O, logging, randomness, serialization, dependencies. The
//! service and the simulator call the same functions with the same result.

pub mod admit;
pub mod breaker;
pub mod canary;
pub mod cost;
pub mod detour;
pub mod dispatch;
pub mod estimate;
pub mod fair;
pub mod knobs;
pub mod pace;
pub mod price;
pub mod reason;
pub mod rebalance;
pub mod replicas;
pub mod request;
pub mod rescue;
pub mod route;
pub mod shards;
pub mod snapshot;
pub mod tries;
pub mod units;

pub use knobs::Knobs;
pub use reason::Reason;
pub use request::Request;
pub use route::{Decision, route};
pub use snapshot::Snapshot;
