//! What an expression can be worth, and how the results string prints it.

use std::fmt;

use crate::types::Type;
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

impl Value {
    /// Its type.
    pub fn ty(&self) -> Type {
        match self {
            Value::Double(_) => Type::Double,
            Value::Vector(_) => Type::DoubleVec,
            Value::Text(_) => Type::Text,
            Value::Timestamp(_) => Type::Timestamp,
            Value::Interval(_) => Type::TimeInterval,
            Value::Deallocation(_) => Type::Deallocation,
        }
    }
}

/// As the results string has it. Documented: doubles (whole ones without fraction), vectors,
/// timestamps. Not documented: intervals (here as .NET prints them), strings (in quotes), what is
/// not finite (`NaN`, `Infinity`).
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Double(double) => Number(*double).fmt(f),
            Value::Vector(elements) => {
                f.write_str("[")?;
                for (at, element) in elements.iter().enumerate() {
                    write!(f, "{}{}", if at > 0 { "," } else { "" }, Number(*element))?;
                }
                f.write_str("]")
            }
            Value::Text(text) => write!(f, "\"{text}\""),
            Value::Timestamp(timestamp) => timestamp.fmt(f),
            Value::Interval(interval) => interval.fmt(f),
            Value::Deallocation(option) => f.write_str(option.as_str()),
        }
    }
}

/// A double as the results string prints it.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            infinite if infinite == f64::INFINITY => f.write_str("Infinity"),
            infinite if infinite == f64::NEG_INFINITY => f.write_str("-Infinity"),
            // Also a negative zero.
            0.0 => f.write_str("0"),
            finite => finite.fmt(f),
        }
    }
}
