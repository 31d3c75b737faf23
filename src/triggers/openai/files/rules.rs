//! What a file must be, however it comes: at once or in parts.

use std::ops::RangeInclusive;

use tokio::sync::SemaphorePermit;

use super::index::Refused;
use crate::app::App;
use crate::failure::{Failure, Kind};

/// The one purpose that files are uploaded for.
pub const PURPOSE: &str = "batch";
/// How soon a file may go, in seconds, and how late (the vendor's own limits).
pub const EXPIRES_AFTER_S: RangeInclusive<u64> = 3_600..=2_592_000;
/// Longest name of a file.
const FILENAME_CHARS_MAX: usize = 255;

/// A place among the uploads under way, which bounds what they hold in memory.
///
/// # Errors
/// 429 while there is none.
pub fn place(app: &App) -> Result<SemaphorePermit<'_>, Failure> {
    app.uploads.try_acquire().map_err(|_| {
        let message = "too many uploads are under way here; try again";
        Failure::new(Kind::Overloaded, "too_many_uploads", message).retry_after(1_000)
    })
}

/// Whether files of this purpose are taken.
///
/// # Errors
/// 400.
pub fn purpose(purpose: &str) -> Result<(), Failure> {
    if purpose == PURPOSE {
        return Ok(());
    }
    let message = format!("`purpose` is `{purpose:.64}`; only `{PURPOSE}` is served here");
    Err(Failure::invalid("purpose", "unsupported_purpose", message))
}

/// Whether a file may have this name, which `param` gave.
///
/// # Errors
/// 400.
pub fn filename(param: &'static str, name: &str) -> Result<(), Failure> {
    let fits =
        (1..=FILENAME_CHARS_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    let message = format!(
        "the file's name must have from 1 to {FILENAME_CHARS_MAX} characters, none of them a control character"
    );
    if fits { Ok(()) } else { Err(Failure::invalid(param, "invalid_filename", message)) }
}

/// Why a content is no input, as the caller is told.
pub fn refused(refused: Refused) -> Failure {
    let (kind, code) = match refused {
        Refused::Empty => (Kind::Invalid, "empty_file"),
        Refused::TooManyLines => (Kind::Invalid, "too_many_lines"),
        Refused::TooLarge => (Kind::TooLarge, "file_too_large"),
    };
    Failure::new(kind, code, refused.to_string())
}
