//! The Azure Batch stand-in over real HTTP with real child processes; requests are signed here, by
//! code of the tests' own.
//!
//! - `client`: a stand-in and signed requests to it
//! - `tasks`: processes, their files, limits, retries and ends
//! - `machines`: boots, evictions, shortages, failures of the service
//! - `autoscale`: formulas over HTTP, and a pool that follows its work
//! - `wire`: pages, versions, bounds, refusals
//! - `recordings`: every recorded request of the official clients

mod autoscale;
mod client;
mod machines;
mod recordings;
mod tasks;
mod wire;
