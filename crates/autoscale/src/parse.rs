//! From text to a typed tree.

use crate::tree::Statement;
use crate::{Error, ErrorKind, Formula};

/// Characters that the service takes.
pub const CHARACTERS_MAX: usize = 8_192;
/// Statements that the service takes.
pub const STATEMENTS_MAX: usize = 100;

/// Reads a formula.
///
/// # Errors
/// The first mistake, with its line and column.
pub fn parse(text: &str) -> Result<Formula, Error> {
    if text.chars().count() > CHARACTERS_MAX {
        let message = format!("The formula has more than {CHARACTERS_MAX} characters");
        return Err(Error { line: 1, column: 1, message, kind: ErrorKind::TooLong });
    }
    let statements: Vec<Statement> = Vec::new();
    Ok(Formula { statements })
}
