//! `switchyard stage`

use local::stage::{self, Source};

use crate::Failure;
use crate::cli::Stage;
use crate::place::Place;
use crate::print::Printer;

/// Builds the handler and stages it.
///
/// # Errors
/// When the build fails or the host could not run the folder; what lay there is untouched.
pub async fn run(flags: Stage, place: &Place, printer: &Printer) -> Result<(), Failure> {
    let programs = place.programs(flags.no_build, printer).await?;
    let source = Source { root: place.root(), handler: programs.handler };
    let staged = stage::stage(&source, &flags.folder).map_err(Failure::of)?;
    printer.say(&format!("staged {} functions in {}", staged.functions.len(), staged.folder.display()));
    printer.say(&format!("  {}", staged.functions.join(" ")));
    Ok(())
}
