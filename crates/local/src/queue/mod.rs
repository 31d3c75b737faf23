//! The Storage Queue stand-in and a client of the service.
//!
//! - [`store`]: the queues and what may happen to them; pure
//! - [`Server`]: the service's REST interface over a store, on a given listener
//! - [`auth`]: signatures of the Storage services
//! - [`client`]: the calls that the Functions host makes, to any implementation of the service
//! - `container`: the one call of the blob service that a stack makes: a container for its facts
//!
//! In memory on purpose: a restart loses every doorbell, and the system must not mind.

pub mod auth;
pub mod client;
mod connection;
mod container;
pub(crate) mod date;
mod fault;
mod http;
mod identity;
mod operation;
pub mod store;
pub(crate) mod xml;

pub use http::Server;
