//! `switchyard stage`

use std::path::PathBuf;

use local::stage::elf::Needs;
use local::stage::package::{self, Packed};
use local::stage::{self, Program, Source};
use serde_json::{Value, json};

use crate::Failure;
use crate::cli::Stage;
use crate::place::Place;
use crate::print::Printer;

/// Builds the handler and stages it; packs it and writes the worker where that is asked for.
///
/// # Errors
/// When the build fails, the host could not run the folder, or a program would not start in Azure; what lay there is
/// untouched.
pub async fn run(flags: Stage, place: &Place, printer: &Printer) -> Result<(), Failure> {
    // Everything that may be refused is looked at before anything is written.
    let handler = handler(&flags, place, printer).await?;
    let handler_needs = flags.zip.as_ref().map(|_| Program::Handler.check(&handler)).transpose();
    let handler_needs = handler_needs.map_err(Failure::of)?;
    let worker = match &flags.worker {
        Some(file) => {
            let program = worker(&flags, place, printer).await?;
            Some((file, Program::Worker.check(&program).map_err(Failure::of)?, program))
        }
        None => None,
    };

    let source = Source { root: place.root(), handler };
    let staged = stage::stage(&source, &flags.folder).map_err(Failure::of)?;
    printer.say(&format!("staged {} functions in {}", staged.functions.len(), staged.folder.display()));
    printer.say(&format!("  {}", staged.functions.join(" ")));
    let mut record = json!({ "folder": staged.folder, "functions": staged.functions });
    if let (Some(file), Some(needs)) = (&flags.zip, &handler_needs) {
        let packed = package::pack(&staged.folder, file).map_err(Failure::of)?;
        record["zip"] = told(&packed, needs, printer);
    }
    if let Some((file, needs, program)) = &worker {
        let packed = package::copy_program(program, file).map_err(Failure::of)?;
        record["worker"] = told(&packed, needs, printer);
    }
    printer.record(&record);
    Ok(())
}

async fn handler(flags: &Stage, place: &Place, printer: &Printer) -> Result<PathBuf, Failure> {
    match (&flags.handler_program, &flags.zip) {
        (Some(program), _) => Ok(program.clone()),
        (None, Some(_)) => place.static_handler(flags.no_build, printer).await,
        (None, None) => Ok(place.programs(flags.no_build, printer).await?.handler),
    }
}

async fn worker(flags: &Stage, place: &Place, printer: &Printer) -> Result<PathBuf, Failure> {
    match &flags.worker_program {
        Some(program) => Ok(program.clone()),
        None => Ok(place.programs(flags.no_build, printer).await?.worker),
    }
}

/// Says what was written and returns it for programs.
fn told(packed: &Packed, needs: &Needs, printer: &Printer) -> Value {
    let glibc = match needs {
        Needs::Nothing => None,
        Needs::Libraries { glibc, .. } => glibc.as_ref().map(|(version, _)| version.to_string()),
    };
    let on = glibc.as_ref().map_or("static".to_owned(), |version| format!("needs glibc {version}"));
    // Two digits of a megabyte tell a handler from one with debug information.
    #[expect(clippy::cast_precision_loss, reason = "a file is far below 2^52 bytes")]
    let megabytes = packed.bytes as f64 / 1e6;
    printer.say(&format!("wrote {}: {megabytes:.2} MB, {on}", packed.file.display()));
    printer.say(&format!("  sha256 {}", packed.sha256));
    json!({
        "file": packed.file, "bytes": packed.bytes, "sha256": packed.sha256,
        "entries": packed.entries, "glibc": glibc,
    })
}
