//! From a tree and a world to results.

use crate::tree::Statement;
use crate::{Results, RunError, World};

/// A formula that the service would accept.
#[derive(Clone, Debug, PartialEq)]
pub struct Formula {
    pub(crate) statements: Vec<Statement>,
}

/// What an evaluation gave. With an error the service does not resize, and still shows results.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// What was set until the end or the error.
    pub results: Results,
    /// Why the evaluation ended early.
    pub error: Option<RunError>,
}

impl Formula {
    /// Runs the formula. Never panics.
    pub fn evaluate(&self, world: &World<'_>) -> Evaluation {
        Evaluation { results: Results::new(world.deallocation), error: None }
    }

    /// The statements, in order.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }
}
