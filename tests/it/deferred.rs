//! The deferred lane in one process: the handler's own triggers over a folder, the stand-ins of the
//! queue and of Azure Batch over real HTTP, workers that run inside the test. A "process" dies where
//! its fault says; what production would run then runs here: sweeps, tickets, tasks.

mod canary;
pub mod counting;
mod envelopes;
pub mod items;
pub mod rig;

mod dead;
mod faults;
mod large;
mod logs;
mod markers;
mod measure;
mod rescues;
mod storage;
mod storm;
mod sweep_calls;
mod tickets;
mod traces;
mod trouble;
mod troubled;
mod versions;
