//! What can be wrong with a formula: its text ([`Error`]), or its evaluation ([`RunError`]).

use std::fmt;

use crate::Metric;
use crate::tree::Position;

/// A formula that the service would refuse when it is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The line, from 1.
    pub line: u32,
    /// The character in the line, from 1.
    pub column: u32,
    /// What is wrong, without the place.
    pub message: String,
    /// Which kind of mistake.
    pub kind: ErrorKind,
}

/// The kinds of mistakes in a formula's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// More characters than the service takes.
    TooLong,
    /// More statements than the service takes.
    TooManyStatements,
    /// Expressions nested deeper than we follow. The service's own bound is not documented.
    TooDeep,
    /// The text is not a list of statements.
    Syntax,
    /// A name that nothing has, or a variable that is read before it is assigned.
    UnknownName,
    /// A read-only variable is assigned.
    ReadOnly,
    /// Operands or arguments of types that the operator or function does not take.
    Type,
}

impl ErrorKind {
    /// The service's error code, which comes with status 400.
    pub const fn code(self) -> &'static str {
        match self {
            ErrorKind::TooLong => "AutoScalingFormulaTooLong",
            _ => "AutoScalingFormulaSyntaxError",
        }
    }

    /// Whether the service accepts the text and finds the mistake when it evaluates, inside a 200:
    /// recorded for a name that nothing has (the official JavaScript client's tests).
    pub const fn found_by_evaluation(self) -> bool {
        matches!(self, ErrorKind::UnknownName)
    }
}

impl Error {
    pub(crate) fn new(at: Position, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { line: at.line, column: at.column, message: message.into(), kind }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line {}, Col {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for Error {}

/// An evaluation that failed. The service answers 200 with it and does not resize.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunError {
    /// The service's code.
    pub code: &'static str,
    /// The service's general sentence for the code.
    pub message: String,
    /// The line, from 1.
    pub line: u32,
    /// The character in the line, from 1.
    pub column: u32,
    /// The place and what is wrong there: `Line 15, Col 44: Insufficient data from data set:
    /// $RunningTasks wanted 70%, received 50%`.
    pub detail: String,
}

impl RunError {
    /// The code where a window holds fewer samples than the formula wants.
    pub const INSUFFICIENT: &str = "InsufficientSampleData";
    /// The code of everything else that goes wrong (recorded for an unknown variable).
    pub const EVALUATION: &str = "AutoScalingFormulaEvaluationError";

    pub(crate) fn insufficient(at: Position, metric: Metric, wanted: f64, received: f64) -> RunError {
        let received = received.floor();
        RunError {
            code: RunError::INSUFFICIENT,
            message: "Autoscale evaluation failed due to insufficient sample data".to_owned(),
            line: at.line,
            column: at.column,
            detail: detail(
                at,
                &format!("Insufficient data from data set: {metric} wanted {wanted}%, received {received}%"),
            ),
        }
    }

    /// The general sentence for this code is not documented.
    pub(crate) fn evaluation(at: Position, what: &str) -> RunError {
        RunError {
            code: RunError::EVALUATION,
            message: "Autoscale evaluation failed due to an error in the formula".to_owned(),
            line: at.line,
            column: at.column,
            detail: detail(at, what),
        }
    }
}

fn detail(at: Position, what: &str) -> String {
    format!("Line {}, Col {}: {what}", at.line, at.column)
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for RunError {}
