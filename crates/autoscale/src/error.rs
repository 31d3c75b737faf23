//! What can be wrong with a formula: its text ([`Error`]), or its evaluation ([`RunError`]).

use std::fmt;

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

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for RunError {}
