//! What Azure Batch pools are made of, and what is wrong with a pool.
//!
//! Start at [`findings`], which judges a [`Pool`] on a day by the closed list of [`Rule`]s. The tables
//! that it reads are data: [`size::SERIES`] (GPU machines), [`image::IMAGES`] and [`image::AGENTS`],
//! each row with the day its support ends and where that was read; [`date`] compares days.
//!
//! Deliberately absent: a clock, I/O, JSON, dependencies. Who has a pool's JSON fills in a [`Pool`]; its
//! formula is judged by the crate `autoscale`.

pub mod date;
pub mod image;
mod judge;
pub mod pool;
mod rule;
pub mod size;

pub use date::Date;
pub use judge::{ENDING_MONTHS, Finding, findings};
pub use pool::Pool;
pub use rule::{Rule, Severity};

/// Where a row was read, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The page, list or observation.
    pub text: &'static str,
    /// The day of what was read.
    pub read_on: Date,
}
