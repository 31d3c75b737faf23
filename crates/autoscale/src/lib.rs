//! The Azure Batch autoscale formula language.
//!
//! Start at [`parse`], which turns text into a [`Formula`]: a list of [`Statement`]s, each a typed
//! tree with positions. [`Formula::evaluate`] runs it in a [`World`] (the time, a [`History`] of
//! samples, the pool's targets) and gives [`Results`], which print as the service prints them.
//!
//! Deliberately absent: a clock, I/O, randomness that was not passed in, dependencies.

pub mod error;
pub mod evaluate;
pub mod history;
pub mod metric;
pub mod parse;
pub mod results;
pub mod time;
pub mod tree;
pub mod value;
pub mod world;

pub use error::{Error, ErrorKind, RunError};
pub use evaluate::{Evaluation, Formula};
pub use history::History;
pub use metric::Metric;
pub use parse::parse;
pub use results::Results;
pub use time::{Interval, Timestamp};
pub use tree::Statement;
pub use value::Value;
pub use world::{Deallocation, Targets, World};
