//! What carries decisions out.
//!
//! - [`forward`]: sends a request on to a backend and streams the answer back
//! - [`jobs`]: the deferred lane
//! - [`realtime`]: the realtime lane, for deferred work that would be late
//! - [`files`]: what tenants upload
//! - [`uploads`]: files that come in parts
//! - [`results`]: what a job brought, streamed as files
//! - [`progress`]: how far a job is, for whoever asks
//! - [`fact`]: reads one fact
//! - [`dead`]: messages that nobody works on: kept, listed, replayed
//! - [`ledger`]: what was paid for and who used it
//! - [`merge`]: what all processes saw, merged
//! - [`rebalance`]: the size of pools
//! - [`webhooks`]: tells whom a tenant named that its batch ended

pub mod dead;
pub mod fact;
pub mod files;
pub mod forward;
pub mod jobs;
pub mod ledger;
pub mod merge;
pub mod progress;
pub mod realtime;
pub mod rebalance;
pub mod results;
pub mod uploads;
pub mod webhooks;
