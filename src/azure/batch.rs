//! A thin, typed client of Azure Batch's data plane: what the deferred lane needs of it and no more.
//!
//! Start at [`Client`]. Its calls stand with what they are about: pools in [`pool`], their formulas in
//! [`autoscale`], their machines in [`machine`], their nodes in [`node`], jobs in [`job`], adding tasks
//! in [`add`], following them in [`task`]. Beneath them `call` sends one signed request and reads a
//! bounded answer, `retry` says when to try again, [`shared_key`] signs, and [`command_line`] renders
//! arguments that no shell will see.
//!
//! Every call is idempotent by the ids in it, ends within [`CALL_MAX`] (adding more tasks than one call
//! may takes several), and answers with a small enum of what a caller can act on; what is common to all
//! of them is [`CallError`].
//!
//! Deliberately absent: creating pools (they are infrastructure) and anything of an API version but
//! `2025-06-01`, the newest that a released SDK sends and the oldest that is not being retired.

pub mod add;
pub mod autoscale;
mod call;
mod client;
pub mod command_line;
mod error;
mod iso8601;
pub mod job;
pub mod machine;
pub mod node;
pub mod pool;
mod retry;
pub mod shared_key;
pub mod task;

pub use add::{AddError, Added, NewTask, Output, UploadWhen};
pub use autoscale::AutoScaleError;
pub use client::{Client, Credential};
pub use error::{CallError, Problem};
pub use job::{CreateJobError, Created, Jobs, NewJob, TaskCounts, TaskCountsError};
pub use machine::{Extension, Image, Machine};
pub use node::{Node, NodeState};
pub use pool::{AutoScaleRun, NodeCounts, Pool, PoolError};
pub use retry::CALL_MAX;
pub use shared_key::SharedKey;
pub use task::Task;
