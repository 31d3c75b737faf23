//! The Azure Batch node's worker: a resumable filter, pack in, chunks out. Whatever kills it, the next
//! one goes on behind the last chunk that it wrote, and no item gets a second result.
//!
//! - [`settings`]: flags and the environment; start here
//! - [`place`]: the address of a pack: which store, which pack
//! - [`pack`]: one pack, member by member: [`run`]
//! - [`member`]: one shard, chunk by chunk: what may be run, what exists, what a chunk costs
//! - [`suspect`]: a chunk in which tries died, item by item behind marks
//! - [`items`]: lines in, lines out, many at once
//! - [`backend`]: what answers an item: [`encoder`] on this machine's own model, [`upstream`] over HTTP
//! - [`vectors`]: what no result may hold, whatever computed it
//! - [`by_hand`]: the same filter from file to file
//! - [`progress`]: how far it is, every few seconds; [`terminal`]: how a person reads it
//! - `gpu`: what this node's GPU does, told to the handler
//! - [`notice`]: the platform's word that this node is about to go
//! - [`error`][]: why a run ended early; [`exit`]: what the process says then
//!
//! Absent on purpose: deciding. What runs where, how often and until when is settled by the facts
//! that the handler wrote; the worker reads them and adds chunks.

pub mod backend;
pub mod by_hand;
pub mod encoder;
pub mod error;
pub mod exit;
mod gpu;
pub mod items;
pub mod member;
pub mod notice;
pub mod pack;
pub mod place;
pub mod progress;
pub mod settings;
pub mod suspect;
pub mod terminal;
pub mod upstream;
pub mod vectors;

pub use backend::{Backend, Trouble};

pub use error::Error;
pub use exit::Exit;
pub use pack::{Summary, read, run};
