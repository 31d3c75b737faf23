//! The ledger of money: entries are written once, an hour is their sum, a day that of its hours.
//!
//! - [`charge`]: a job that ended; [`tally`]: requests of this process; [`machines`]: what there was in a
//!   minute. Each writes entries
//! - [`sums`]: hours, days and spans of days; what is over is closed, so that a month is a few dozen reads
//! - [`today`]: what it says for limits
//! - [`prices`]: prices as entries have them

pub mod charge;
pub mod machines;
pub mod prices;
pub mod sums;
pub mod tally;
pub mod today;

#[cfg(test)]
mod tests;
