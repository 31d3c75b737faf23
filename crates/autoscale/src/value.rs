//! What an expression can be worth.

use crate::{Deallocation, Interval, Timestamp};

/// A value of the language.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A double; truth is 1 or 0.
    Double(f64),
    /// A doubleVec.
    Vector(Vec<f64>),
    /// A string.
    Text(String),
    /// A timestamp.
    Timestamp(Timestamp),
    /// A timeinterval.
    Interval(Interval),
    /// A word of `$NodeDeallocationOption`.
    Deallocation(Deallocation),
}
