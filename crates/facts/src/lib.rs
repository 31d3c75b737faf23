//! Jobs as write-once facts. A job's state is the fold over small objects in a blob store, each
//! created once and never changed; put-if-absent is the only concurrency primitive. Intent is written
//! before every act, results chunk by chunk; recovery repeats the act that the intent names. An item
//! may be computed twice; exactly one result is ever visible, and it never changes.
//!
//! - [`id`]: names of jobs, packs and files
//! - [`key`]: where everything lies; keys are built here and nowhere else
//! - [`job`]: what the facts of a job say
//! - [`file`]: what is known of an uploaded file
//! - [`hook`]: what came of telling a webhook that a job ended
//! - [`upload`]: what is known of one in parts
//! - [`dead`]: messages that nobody works on
//! - [`pack`]: one Azure Batch task: shards of one or many jobs
//! - [`line`][]: an item going in and its result coming out
//! - [`ledger`]: what was paid for and who used it
//! - [`mod@fold`]: the state of a job, from a listing of its keys
//! - [`store`]: the blob store behind one small client
//! - [`view`]: what processes tell each other; the only state that is overwritten
//! - [`fault`]: killing this process at a chosen write, for tests

pub mod dead;
pub mod fault;
pub mod file;
pub mod fold;
pub mod hook;
pub mod id;
pub mod job;
pub mod key;
pub mod ledger;
pub mod line;
pub mod pack;
pub mod store;
pub mod upload;
pub mod view;

pub use fold::{State, fold};
pub use id::JobId;
pub use job::Job;
pub use pack::Pack;
pub use store::{Put, Store, StoreError};

/// The version of every fact that this code writes; readers also accept the one before.
pub const VERSION: u32 = 1;
