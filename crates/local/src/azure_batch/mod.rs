//! The Azure Batch stand-in: the data-plane REST interface over pools whose nodes are folders of
//! this machine and whose tasks are real child processes.
//!
//! - [`Server`], [`Options`]: the service on a given listener, and what one tells it in advance
//! - `account`: pools, nodes, jobs and tasks, and what may happen to them; pure: calls and ends of
//!   processes in, effects out, time is an argument
//! - `server`: lets time pass, carries effects out
//! - `processes`, `leftovers`: the effects: processes, their folders, their end, also after a crash
//! - `http`, `operation`, `auth`, `fault`, `list`, `show`, `body`, `duration`: the wire
//! - `files`: what tasks have written
//! - `control`: evictions, shortages and failures on request, in Rust and under `/standin/`
//! - `version`: the api-versions that are taken, and how they differ
//!
//! In memory on purpose: a restart loses every task, and the system must not mind. Machines are
//! not imitated: images, networks and start tasks of a pool are kept and shown, nothing more. What
//! would change how a task runs and is not done here is refused (`UnsupportedProperty`).

mod account;
mod auth;
mod body;
mod command_line;
mod control;
mod duration;
mod fault;
mod files;
mod http;
mod leftovers;
mod list;
mod operation;
mod options;
mod processes;
mod server;
mod show;
mod version;

pub use account::{BootEnd, Boots, Capacity, NodeRefusal, Quota, Storm};
pub use control::{Lost, Throttle};
pub use options::{DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY, Options, Programs};
pub use server::Server;
