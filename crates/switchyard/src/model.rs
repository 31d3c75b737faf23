//! `switchyard model`

use crate::Failure;
use crate::place::Place;
use crate::print::Printer;

/// Fetches the model if need be and prints its folder alone, so that a script can take it.
///
/// # Errors
/// When it cannot be fetched, or is not what was pinned.
pub async fn run(place: &Place, printer: &Printer) -> Result<(), Failure> {
    let folder = place.model(None, printer).await?;
    printer.result(&folder.display().to_string());
    Ok(())
}
