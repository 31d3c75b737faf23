//! `switchyard host`: any custom-handler app under the host stand-in.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use local::host::app::App;
use local::host::{self, Ending, Handler, Keys, Options};
use local::queue;
use local::queue::client::Account;
use serde_json::Value;

use crate::Failure;
use crate::cli::Host;
use crate::place::Place;
use crate::print::Printer;

/// Settings of Core Tools, beside host.json.
const LOCAL_SETTINGS: &str = "local.settings.json";
const STORAGE: &str = "AzureWebJobsStorage";
const STORAGE_BY_IDENTITY: &str = "AzureWebJobsStorage__queueServiceUri";

/// Runs the app until ctrl-c, or until the host ends as the real one would.
///
/// # Errors
/// When the folder cannot be run, the port is taken or the host gave up.
pub async fn run(flags: Host, place: &Place, printer: &Printer) -> Result<(), Failure> {
    let mut settings = local_settings(&flags.app_root)?;
    // As with Core Tools, the environment wins over the file.
    settings.retain(|(name, _)| !place.environment().iter().any(|(set, _)| set == name));
    settings.extend_from_slice(place.environment());
    let listener = bind(flags.port)?;
    let address = listener.local_addr().map_err(Failure::of)?;

    let (account, stand_in) = storage(flags.storage, &mut settings, place)?;
    let find = |name: &str| settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let app = App::load(&flags.app_root, &find).map_err(Failure::of)?;

    let names: Vec<&str> = app.functions.iter().map(|function| function.name.as_str()).collect();
    printer.say(&format!("{} functions: {}", names.len(), names.join(" ")));
    printer.say(&format!("host on http://{address} (ctrl-c ends it)"));
    if let Some(stand_in) = &stand_in {
        printer.say(&format!("queues on {} (a stand-in, in memory)", stand_in.url()));
    }
    let keys = if flags.keys { Keys::KeptIn(flags.app_root.join(".keys")) } else { Keys::Off };
    let options = Options {
        app_root: flags.app_root,
        listener,
        storage: Some(account),
        keys,
        settings,
        clock: place.clock(),
    };
    let ended = host::run_app(app, options, Handler::Child, crate::asked_to_stop()).await;
    if let Some(stand_in) = stand_in {
        stand_in.stop().await;
    }
    match ended.map_err(Failure::of)? {
        Ending::Stopped => Ok(()),
        Ending::RestartsExhausted => Err(Failure(
            "the handler failed three times, so the host has ended; its last words stand above".into(),
        )),
        Ending::TimedOutTogether => {
            Err(Failure("two invocations ran into functionTimeout together, so the host has ended".into()))
        }
    }
}

/// The account that triggers listen to, and the stand-in that it is, if it is one. The app's settings tell
/// of it afterwards.
fn storage(
    named: Option<String>,
    settings: &mut Vec<(String, String)>,
    place: &Place,
) -> Result<(Account, Option<queue::Server>), Failure> {
    let by_identity = settings.iter().any(|(name, _)| name == STORAGE_BY_IDENTITY);
    let (connection_string, stand_in) = match named {
        Some(connection_string) => (connection_string, None),
        None if by_identity => {
            let setting =
                |asked: &str| settings.iter().find(|(name, _)| name == asked).map(|(_, value)| value.clone());
            return Ok((Account::by_identity(STORAGE, setting).map_err(Failure::of)?, None));
        }
        None => {
            let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::of)?;
            let stand_in = queue::Server::start(any, place.clock()).map_err(Failure::of)?;
            (stand_in.connection_string(), Some(stand_in))
        }
    };
    let account = Account::parse(&connection_string).map_err(Failure::of)?;
    settings.retain(|(name, _)| name != STORAGE);
    settings.push((STORAGE.to_owned(), connection_string));
    Ok((account, stand_in))
}

fn bind(port: u16) -> Result<TcpListener, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure(format!(
            "port {port} is taken; stop what listens there or choose another by --port (0 takes any free one)"
        )),
        _ => Failure(format!("cannot listen on port {port}: {error}")),
    })
}

/// `Values` of local.settings.json, if there is one.
fn local_settings(app_root: &Path) -> Result<Vec<(String, String)>, Failure> {
    let file = app_root.join(LOCAL_SETTINGS);
    let Ok(text) = std::fs::read(&file) else { return Ok(Vec::new()) };
    let wrong = |why: &str| Failure(format!("{}: {why}", file.display()));
    let settings: Value = serde_json::from_slice(&text).map_err(|error| wrong(&error.to_string()))?;
    let Some(values) = settings["Values"].as_object() else { return Ok(Vec::new()) };
    let text = |(name, value): (&String, &Value)| match value {
        Value::String(text) => Ok((name.clone(), text.clone())),
        _ => Err(wrong(&format!("Values.{name} must be text"))),
    };
    values.iter().map(text).collect()
}
