//! What is fixed at start. Two stages: what was given (text by name), then what is meant; one
//! conversion, [`Settings::read`], reports every problem at once.

mod batch;
mod identity;
pub mod storage;
pub mod table;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub use batch::BatchAccount;
use clock::Clock;
use facts::fault::Fault;
pub use facts::store::is_loopback;
pub use identity::Identity;
use table::DOORBELL_QUEUE;
pub use table::{ALL, Required, Setting, name};
use url::Url;

use storage::Storage;

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting.
    pub setting: &'static str,
    /// What is wrong and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.what)
    }
}

/// How the handler is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serve {
    /// By the Functions host, on this port of 127.0.0.1.
    UnderHost(u16),
    /// By anyone, on this address; HTTP functions only.
    Alone(SocketAddr),
}

/// Where facts are kept.
#[derive(Clone, Debug)]
pub enum Blobs {
    /// A folder.
    Folder(PathBuf),
    /// A container of a storage account.
    Container {
        /// `https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX][?SAS]`, or loopback.
        url: Secret,
        /// Key of the account, if one was given.
        key: Option<Secret>,
    },
}

/// Where knobs come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Knobs {
    /// A JSON file.
    File(PathBuf),
    /// Secrets of a vault: https.
    Vault(Url),
}

/// How it is told that there is work.
#[derive(Clone, Debug)]
pub struct Doorbell {
    /// The account of the queue.
    pub storage: Storage,
    /// The queue's name.
    pub queue: String,
}

/// What was given, by name.
type Given = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Looks up secrets that the catalogue refers to by name.
#[derive(Clone)]
pub struct Lookup(Given);

impl Lookup {
    /// Looks up by this function.
    pub fn of(given: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Lookup {
        Lookup(Arc::new(given))
    }

    /// The value of a setting.
    pub fn get(&self, name: &str) -> Option<Secret> {
        (self.0)(name).map(Secret)
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookup(…)")
    }
}

/// What is meant.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the handler is reached.
    pub serve: Serve,
    /// Where facts are kept.
    pub blobs: Blobs,
    /// How it is told that there is work; none: the sweep finds it.
    pub doorbell: Option<Doorbell>,
    /// Where knobs come from.
    pub knobs: Knobs,
    /// Who this process is to services that are opened without a key.
    pub identity: Identity,
    /// File that replaces the catalogue of the store.
    pub catalogue_file: Option<PathBuf>,
    /// Backend of a catalogue that does not name it.
    pub default_backend: Option<Url>,
    /// Pool of a catalogue that does not name it.
    pub default_pool: Option<String>,
    /// The Azure Batch account; none: the deferred lane takes no work.
    pub batch: Option<BatchAccount>,
    /// A death that a test asks for.
    pub fault: Option<Arc<Fault>>,
    /// Whether webhooks may lie outside the open Internet.
    pub webhooks_allow_private: bool,
    /// Where telemetry goes; none: off.
    pub telemetry: Option<Secret>,
    /// Id of the Log Analytics workspace that keeps it.
    pub workspace: Option<String>,
    /// What is logged.
    pub log: String,
    /// Name of this process among its kind: `[a-z0-9]{1,32}`.
    pub instance: String,
    /// The time.
    pub clock: Clock,
    /// Secrets that the catalogue names.
    pub secrets: Lookup,
}

impl Settings {
    /// Turns what `given` answers into settings. `listen` is the argument of `--listen`.
    ///
    /// # Errors
    /// Every problem, in the order of [`ALL`].
    pub fn read(
        listen: Option<&str>,
        given: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Settings, Vec<Problem>> {
        let mut reader = Reader { given: Arc::new(given), problems: Vec::new() };
        let serve = reader.serve(listen);
        let storage = reader.storage();
        let blobs = reader.blobs(storage.as_ref());
        let doorbell = reader.doorbell(storage);
        let knobs = reader.knobs();
        let catalogue_file = reader.text(name::MODEL_CATALOG).map(|text| file_path(&text));
        let default_backend = reader.url(name::ACA_ENDPOINT);
        let default_pool = reader.text(name::BATCH_POOL_ID);
        let batch = reader.batch();
        let identity = reader.identity();
        let fault = reader.fault();
        let webhooks_allow_private = reader.webhooks_allow_private();
        let telemetry = reader.text(name::TELEMETRY).map(Secret);
        let workspace = reader.workspace();
        let clock = reader.clock(&Far {
            blobs: blobs.as_ref(),
            doorbell: doorbell.as_ref(),
            batch: batch.as_ref(),
            knobs: knobs.as_ref(),
            backend: default_backend.as_ref(),
            telemetry: telemetry.as_ref(),
        });
        let log = reader.text(name::LOG).unwrap_or_else(|| "info".to_owned());
        let instance = instance_name(reader.text(name::INSTANCE));
        match (serve, blobs, knobs, reader.problems.is_empty()) {
            (Some(serve), Some(blobs), Some(knobs), true) => Ok(Settings {
                serve,
                blobs,
                doorbell,
                knobs,
                identity,
                catalogue_file,
                default_backend,
                default_pool,
                batch,
                fault,
                webhooks_allow_private,
                telemetry,
                workspace,
                log,
                instance,
                clock,
                secrets: Lookup(reader.given),
            }),
            _ => Err(in_table_order(reader.problems)),
        }
    }
}

fn in_table_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| ALL.iter().position(|setting| setting.name == problem.setting));
    problems
}

/// What may be on another machine, where time does not run faster.
struct Far<'a> {
    blobs: Option<&'a Blobs>,
    doorbell: Option<&'a Doorbell>,
    batch: Option<&'a BatchAccount>,
    knobs: Option<&'a Knobs>,
    backend: Option<&'a Url>,
    telemetry: Option<&'a Secret>,
}

struct Reader {
    given: Given,
    problems: Vec<Problem>,
}

impl Reader {
    /// A setting's text; an empty one counts as not set, because portals cannot unset.
    fn text(&self, name: &'static str) -> Option<String> {
        debug_assert!(ALL.iter().any(|setting| setting.name == name), "{name} is missing from ALL");
        (self.given)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn problem(&mut self, setting: &'static str, what: impl Into<String>) {
        self.problems.push(Problem { setting, what: what.into() });
    }

    fn serve(&mut self, listen: Option<&str>) -> Option<Serve> {
        if let Some(address) = listen {
            return match address.parse() {
                Ok(address) => Some(Serve::Alone(address)),
                Err(_) => {
                    self.problem(name::PORT, format!("--listen `{address}` is no address; give IP:PORT"));
                    None
                }
            };
        }
        match self.text(name::PORT).map(|port| port.parse()) {
            Some(Ok(port)) => Some(Serve::UnderHost(port)),
            Some(Err(_)) => {
                self.problem(name::PORT, "is no port; the Functions host sets it");
                None
            }
            None => {
                self.problem(
                    name::PORT,
                    "is not set; start the handler under the Functions host, or with `--listen ADDR`",
                );
                None
            }
        }
    }

    fn storage(&mut self) -> Option<Storage> {
        Storage::read(|name| self.text(name)).unwrap_or_else(|problem| {
            self.problems.push(problem);
            None
        })
    }

    fn doorbell(&mut self, storage: Option<Storage>) -> Option<Doorbell> {
        let queue = self.text(name::QUEUE).unwrap_or_else(|| DOORBELL_QUEUE.to_owned());
        if !storage::is_queue_name(&queue) {
            self.problem(name::QUEUE, "is not 3 to 63 small letters, digits and single hyphens between them");
        }
        Some(Doorbell { storage: storage?, queue })
    }

    fn blobs(&mut self, storage: Option<&Storage>) -> Option<Blobs> {
        let blobs = match self.text(name::BLOB_URL) {
            Some(url) => return self.blob_url(&url, storage),
            None => storage.and_then(Storage::container),
        };
        if blobs.is_none() {
            self.problem(name::BLOB_URL, "is not set; give the URL of a container, or `file:///FOLDER`");
        }
        blobs
    }

    fn blob_url(&mut self, text: &str, storage: Option<&Storage>) -> Option<Blobs> {
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => {
                self.problem(name::BLOB_URL, format!("is no URL ({error})"));
                return None;
            }
        };
        match url.scheme() {
            "file" if self.text(name::INSTANCE).is_some() => {
                self.problem(
                    name::BLOB_URL,
                    "is a folder, which instances in Azure do not share; give a container",
                );
                None
            }
            "file" => match url.to_file_path() {
                Ok(folder) => Some(Blobs::Folder(folder)),
                Err(()) => {
                    self.problem(name::BLOB_URL, "is no absolute path; give `file:///FOLDER`");
                    None
                }
            },
            scheme if scheme == "https" || (scheme == "http" && is_loopback(&url)) => Some(match storage {
                Some(storage) => storage.open(text),
                None => Blobs::Container { url: Secret(text.to_owned()), key: None },
            }),
            _ => {
                self.problem(name::BLOB_URL, "must be https, http on loopback, or file");
                None
            }
        }
    }

    fn workspace(&mut self) -> Option<String> {
        let id = self.text(name::WORKSPACE)?;
        let groups: Vec<&str> = id.split('-').collect();
        let is_id = groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
            && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if !is_id {
            self.problem(
                name::WORKSPACE,
                "is no id of a workspace, as 01234567-89ab-cdef-0123-456789abcdef: take its customerId, not its resource id",
            );
            return None;
        }
        Some(id)
    }

    fn webhooks_allow_private(&mut self) -> bool {
        let text = self.text(name::WEBHOOKS_PRIVATE);
        match text.as_deref() {
            None | Some("0") => return false,
            Some("1") if self.text(name::INSTANCE).is_none() => return true,
            Some("1") => self.problem(
                name::WEBHOOKS_PRIVATE,
                "is set in Azure, where webhooks must not reach private networks; unset it",
            ),
            Some(_) => self.problem(name::WEBHOOKS_PRIVATE, "is neither 0 nor 1"),
        }
        false
    }

    /// Only debug builds can be asked to die.
    fn fault(&mut self) -> Option<Arc<Fault>> {
        let text = self.text(facts::fault::SETTING).filter(|_| cfg!(debug_assertions))?;
        match Fault::from_setting(&text) {
            Ok(fault) => fault.map(Arc::new),
            Err(problem) => {
                self.problem(facts::fault::SETTING, problem);
                None
            }
        }
    }

    fn knobs(&mut self) -> Option<Knobs> {
        if let Some(text) = self.text(name::KEY_VAULT_URL) {
            let url = Url::parse(&text).ok().filter(|url| url.scheme() == "https" && url.has_host());
            if url.is_none() {
                self.problem(name::KEY_VAULT_URL, "is no https URL; give https://NAME.vault.azure.net");
            }
            return url.map(Knobs::Vault);
        }
        let file = self.text(name::KNOBS_FILE).map(|text| file_path(&text));
        if file.is_none() {
            self.problem(
                name::KNOBS_FILE,
                "is not set; give a JSON file, `{}` means every default, or set KEY_VAULT_URL",
            );
        }
        file.map(Knobs::File)
    }

    fn url(&mut self, name: &'static str) -> Option<Url> {
        let text = self.text(name)?;
        match Url::parse(&text) {
            Ok(url) if url.scheme() == "https" || url.scheme() == "http" => Some(url),
            _ => {
                self.problem(name, "is no http(s) URL");
                None
            }
        }
    }

    fn clock(&mut self, used: &Far<'_>) -> Clock {
        let clock = match Clock::from_settings(|name| {
            (self.given)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        }) {
            Ok(clock) => clock,
            Err(error) => {
                self.problem(clock::SPEED_SETTING, error.to_string());
                return Clock::REAL;
            }
        };
        if clock.is_scaled() {
            let far =
                |setting| format!("time may run faster on one machine only, and {setting} is elsewhere");
            if matches!(used.blobs, Some(Blobs::Container { url, .. }) if !text_is_loopback(url.reveal())) {
                self.problem(clock::SPEED_SETTING, far(name::BLOB_URL));
            }
            if used.batch.is_some_and(|account| !is_loopback(&account.endpoint)) {
                self.problem(clock::SPEED_SETTING, far(name::BATCH_ENDPOINT));
            }
            if matches!(used.knobs, Some(Knobs::Vault(url)) if !is_loopback(url)) {
                self.problem(clock::SPEED_SETTING, far(name::KEY_VAULT_URL));
            }
            if used.doorbell.is_some_and(|doorbell| !is_loopback(&doorbell.storage.queues)) {
                self.problem(clock::SPEED_SETTING, far(name::STORAGE));
            }
            if used.backend.is_some_and(|url| !is_loopback(url)) {
                self.problem(clock::SPEED_SETTING, far(name::ACA_ENDPOINT));
            }
            if used.telemetry.is_some_and(|text| !ingestion_is_loopback(text.reveal())) {
                self.problem(clock::SPEED_SETTING, far(name::TELEMETRY));
            }
        }
        clock
    }
}

fn text_is_loopback(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| is_loopback(&url))
}

fn ingestion_is_loopback(connection_string: &str) -> bool {
    let parts = connection_string.split(';').filter_map(|part| part.split_once('='));
    parts
        .filter(|(name, _)| name.trim() == "IngestionEndpoint")
        .any(|(_, value)| text_is_loopback(value.trim()))
}

fn file_path(text: &str) -> PathBuf {
    Url::parse(text).ok().and_then(|url| url.to_file_path().ok()).unwrap_or_else(|| PathBuf::from(text))
}

/// A name for keys and labels: the platform's, reduced to safe characters, else a random one.
fn instance_name(given: Option<String>) -> String {
    /// Enough to tell instances apart, short enough for keys.
    const LENGTH_MAX: usize = 32;
    let given = given.unwrap_or_default().to_ascii_lowercase();
    let name: String = given.chars().filter(char::is_ascii_alphanumeric).take(LENGTH_MAX).collect();
    if name.is_empty() { format!("{:016x}", getrandom::u64().unwrap_or_default()) } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)], listen: Option<&str>) -> Result<Settings, Vec<Problem>> {
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::read(listen, move |name| {
            pairs.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
        })
    }

    const GOOD: &[(&str, &str)] =
        &[("FUNCTIONS_CUSTOMHANDLER_PORT", "8080"), ("BLOB_URL", "file:///tmp/b"), ("KNOBS_FILE", "k.json")];

    fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let kept = GOOD.iter().filter(|(name, _)| more.iter().all(|(other, _)| other != name));
        kept.copied().chain(more.iter().copied()).collect()
    }

    #[test]
    fn the_least_that_starts() {
        let least = read(GOOD, None).unwrap();
        assert_eq!(least.serve, Serve::UnderHost(8080));
        assert!(least.doorbell.is_none(), "no account, no queue");
        let alone = read(&GOOD[1..], Some("127.0.0.1:0")).unwrap();
        assert_eq!(alone.serve, Serve::Alone("127.0.0.1:0".parse().unwrap()));
    }

    #[test]
    fn a_vault_takes_the_place_of_the_file() {
        let knobs = |more: &[(&str, &str)]| read(&with(more), None).unwrap().knobs;
        assert_eq!(knobs(&[]), Knobs::File(PathBuf::from("k.json")));
        let url = "https://v.vault.azure.net/";
        let vault = Knobs::Vault(Url::parse(url).unwrap());
        assert_eq!(knobs(&[("KEY_VAULT_URL", url)]), vault, "even where a file is named");
        assert_eq!(knobs(&[("KEY_VAULT_URL", url), ("KNOBS_FILE", "")]), vault);
    }

    #[test]
    fn every_problem_is_reported_in_the_order_of_the_table() {
        let problems = read(&[("SWITCHYARD_SPEED", "2"), ("ACA_ENDPOINT", "nonsense")], None).unwrap_err();
        let names: Vec<&str> = problems.iter().map(|problem| problem.setting).collect();
        assert_eq!(
            names,
            [name::PORT, name::BLOB_URL, name::KNOBS_FILE, name::ACA_ENDPOINT, clock::SPEED_SETTING]
        );
    }

    #[test]
    fn wrong_values_are_refused() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("FUNCTIONS_CUSTOMHANDLER_PORT", "eighty")], name::PORT),
            (&[("BLOB_URL", "ftp://x/y")], name::BLOB_URL),
            (&[("BLOB_URL", "http://far.example/container")], name::BLOB_URL),
            (&[("BLOB_URL", "not a url")], name::BLOB_URL),
            (&[("WEBSITE_INSTANCE_ID", "abc")], name::BLOB_URL),
            (&[("WEBHOOKS_ALLOW_PRIVATE", "yes")], name::WEBHOOKS_PRIVATE),
            (&[("LOG_ANALYTICS_WORKSPACE_ID", "/subscriptions/1/workspaces/w")], name::WORKSPACE),
            (
                &[
                    ("WEBSITE_INSTANCE_ID", "abc"),
                    ("WEBHOOKS_ALLOW_PRIVATE", "1"),
                    ("BLOB_URL", "https://a.blob.core.windows.net/c"),
                ],
                name::WEBHOOKS_PRIVATE,
            ),
            (&[("KEY_VAULT_URL", "http://v.vault.azure.net")], name::KEY_VAULT_URL),
            (&[("KEY_VAULT_URL", "v")], name::KEY_VAULT_URL),
            (&[("BATCH_ENDPOINT", "http://127.0.0.1:1"), ("BATCH_ACCOUNT_NAME", "a")], name::BATCH_ENDPOINT),
            (&[("AZURE_FEDERATED_TOKEN_FILE", "/f"), ("AZURE_TENANT_ID", "t")], name::CLIENT_ID),
            (&[("KNOBS_FILE", " ")], name::KNOBS_FILE),
            (&[("AzureWebJobsStorage", "nonsense")], name::STORAGE),
            (&[("AzureWebJobsStorage__accountName", "no.name")], name::STORAGE_ACCOUNT),
            (&[("STORAGE_QUEUE_NAME", "No_Queue")], name::QUEUE),
            (
                &[
                    ("SWITCHYARD_SPEED", "60"),
                    ("SWITCHYARD_EPOCH_UNIX_MS", "5"),
                    ("AzureWebJobsStorage__accountName", "far"),
                ],
                clock::SPEED_SETTING,
            ),
            (
                &[
                    ("SWITCHYARD_SPEED", "60"),
                    ("SWITCHYARD_EPOCH_UNIX_MS", "5"),
                    ("ACA_ENDPOINT", "https://app.example"),
                ],
                clock::SPEED_SETTING,
            ),
        ];
        for (change, culprit) in cases {
            let problems = read(&with(change), None).unwrap_err();
            assert_eq!(problems.iter().map(|p| p.setting).collect::<Vec<_>>(), [*culprit], "{change:?}");
        }
    }

    #[test]
    fn a_connection_string_is_enough_for_facts() {
        let given = [
            ("FUNCTIONS_CUSTOMHANDLER_PORT", "1"),
            ("KNOBS_FILE", "k"),
            ("AzureWebJobsStorage", "UseDevelopmentStorage=true"),
        ];
        let settings = read(&given, None).unwrap();
        let doorbell = settings.doorbell.expect("an account has queues");
        assert_eq!(doorbell.storage.queues.as_str(), "http://127.0.0.1:10001/devstoreaccount1");
        assert_eq!(doorbell.queue, "batch-inference-queue");
        let Blobs::Container { url, key } = settings.blobs else { panic!("a container") };
        assert_eq!(url.reveal(), "http://127.0.0.1:10000/devstoreaccount1/switchyard");
        assert!(key.is_some());
        assert_eq!(format!("{key:?}"), "Some(Secret(…))");
    }
}
