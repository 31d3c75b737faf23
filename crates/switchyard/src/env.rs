//! `switchyard env`: where the running stack is, as settings that other programs read.

use local::stack::{READY_FILE, Ready};

use crate::Failure;
use crate::cli::Env;
use crate::place::Place;
use crate::print::Printer;

/// Prints lines for a shell: the OpenAI SDKs', the Azure CLI's and our own settings.
///
/// # Errors
/// When no stack runs there.
pub fn run(flags: &Env, place: &Place, printer: &Printer) -> Result<(), Failure> {
    let file = flags.state.clone().unwrap_or_else(|| place.state()).join(READY_FILE);
    let ready = Ready::read(&file).map_err(|error| {
        Failure(format!("no stack runs there ({}: {error}); start one by `switchyard up`", file.display()))
    })?;
    for (name, value) in settings(&ready) {
        printer.say(&format!("export {name}={value}"));
    }
    Ok(())
}

/// None of them needs quoting: addresses, and keys of our own making.
fn settings(ready: &Ready) -> [(&'static str, &str); 7] {
    [
        ("OPENAI_BASE_URL", &ready.base_url),
        ("OPENAI_API_KEY", &ready.api_key),
        ("SWITCHYARD_URL", &ready.host_url),
        ("SWITCHYARD_API_KEY", &ready.api_key),
        ("AZURE_BATCH_ENDPOINT", &ready.batch_url),
        ("AZURE_BATCH_ACCOUNT", &ready.batch_account),
        ("AZURE_BATCH_ACCESS_KEY", &ready.batch_key),
    ]
}
