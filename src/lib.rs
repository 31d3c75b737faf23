//! The Azure Functions custom handler.
//!
//! Start at [`app::run`], then follow a request: [`http`] accepts it, [`triggers`] gather what was
//! seen ([`observe`]), ask `policy` for a decision and carry it out ([`act`]). [`settings`] are
//! fixed at start; [`knobs`] and the [`catalogue`] are re-read while the process runs. [`metrics`]
//! holds what this process counted, [`decisions`] writes down what was decided, [`azure`] holds the
//! clients of the services that it uses, [`failure`] what a caller is told when something goes wrong,
//! [`doctor`] says what is wrong with settings and services.
//!
//! Deliberately absent: decisions (they are in the `policy` crate) and reads of the wall clock and
//! the environment (the `clock` crate and `main.rs`).

// A debug build moves a future through the stack of every layer that awaits it, and a thread has 2 MiB.
#![warn(clippy::large_futures)]

pub mod act;
pub mod app;
pub mod auth;
pub mod azure;
pub mod catalogue;
pub mod decisions;
pub mod doctor;
pub mod failure;
pub mod http;
pub mod knobs;
pub mod metrics;
pub mod observe;
pub mod settings;
pub mod telemetry;
pub mod triggers;
