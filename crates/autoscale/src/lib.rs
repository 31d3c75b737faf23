//! The Azure Batch autoscale formula language.
//!
//! Start at [`parse`], which turns text into a [`Formula`]: a list of [`Statement`]s, each a typed
//! tree with positions ([`tree`]). [`Formula::evaluate`] runs it in a [`World`] (the time, a
//! [`History`] of samples, the pool's targets) and gives [`Results`], which print as the service
//! prints them; [`Formula::trace`] also tells what each statement saw. The language's tables are
//! data: [`types::OPERATIONS`], [`function::Function::signatures`], [`sample::Method::overloads`].
//!
//! The service documents less than formulas can say. [`undocumented`] lists what a text relies on,
//! [`evaluate`] says what happens then.
//!
//! [`render`] goes the other way: it writes the formula of a plan.
//!
//! Deliberately absent: a clock, I/O, randomness that was not passed in, dependencies.

pub mod error;
pub mod evaluate;
pub mod function;
pub mod history;
mod lex;
pub mod lint;
pub mod metric;
pub mod parse;
mod print;
pub mod render;
pub mod results;
pub mod sample;
pub mod time;
pub mod tree;
pub mod types;
pub mod undocumented;
pub mod value;
pub mod world;

pub use error::{Error, ErrorKind, RunError};
pub use evaluate::{Evaluation, Step};
pub use history::History;
pub use metric::Metric;
pub use parse::parse;
pub use results::Results;
pub use time::{Interval, Timestamp};
pub use tree::{Expr, ExprKind, Formula, Position, Statement};
pub use undocumented::{Caution, Undocumented};
pub use value::Value;
pub use world::{Deallocation, Targets, World};
