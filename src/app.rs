//! Everything wired together, and the life of the process: bind, load, serve, end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use facts::Store;
use policy::units::UnixMs;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::act;
use crate::act::dead::DeadLetters;
use crate::act::jobs::Jobs;
use crate::act::ledger::machines::LastMinute;
use crate::act::ledger::tally::Tally;
use crate::act::ledger::today::Today;
use crate::act::webhooks::Webhooks;
use crate::azure::identity::{Chain, ForBlobs};
use crate::azure::queue::Doorbell;
use crate::azure::vault::Vault;
use crate::azure::{self, batch};
use crate::catalogue::{self, Catalogue, Holding};
use crate::decisions::{self, Records};
use crate::failure::{Failure, Kind};
use crate::http::server;
use crate::knobs::{self, Origin};
use crate::metrics::{Metrics, names};
use crate::observe::Views;
use crate::settings::storage::Access;
use crate::settings::{self, BatchAccount, Blobs, Serve, Settings, name};
use crate::telemetry::{Telemetry, measure};
use crate::triggers;

mod upkeep;

/// How long the first load may hold up the line that says where the handler listens.
const FIRST_LOAD_MAX: Duration = Duration::from_secs(5);
/// Uploads at once: each holds up to 15 MiB, two parts on their way and one being filled.
const UPLOADS_MAX: usize = 8;
/// How often the parent is looked for.
const PARENT_EVERY: Duration = Duration::from_secs(1);

/// What triggers work with.
pub struct App {
    /// The time.
    pub clock: Clock,
    /// What operators tune.
    pub knobs: knobs::Source,
    /// Models, backends, tenants.
    pub catalogue: Holding,
    /// What this process counted.
    pub metrics: Arc<Metrics>,
    /// What all processes saw together.
    pub views: Views,
    /// Blobs.
    pub store: Store,
    /// The deferred lane.
    pub jobs: Jobs,
    /// Messages that nobody works on.
    pub dead_letters: DeadLetters,
    /// Tells webhooks.
    pub webhooks: Webhooks,
    /// Places of uploads under way.
    pub uploads: Semaphore,
    /// Decisions on their way to the store.
    pub records: Records,
    /// Requests on their way to the ledger.
    pub tally: Arc<Tally>,
    /// What the ledger says for limits.
    pub today: Today,
    /// The minute that the ledger has.
    pub last_minute: LastMinute,
    /// Calls backends.
    pub client: reqwest::Client,
    /// Spans and metrics.
    pub telemetry: Arc<Telemetry>,
    /// Which process this is.
    pub instance: String,
    /// How it is reached.
    pub serve: Serve,
    /// When it started.
    pub started: UnixMs,
    upkeep: upkeep::Sources,
}

/// How the process came to its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to, and requests under way were answered.
    Drained,
    /// The Functions host is gone.
    HostGone,
    /// It could not start.
    Failed(String),
}

impl App {
    /// Now, by the handler's clock.
    pub fn now(&self) -> UnixMs {
        UnixMs(self.clock.now_ms())
    }

    /// The catalogue in force.
    ///
    /// # Errors
    /// 503 while there is none: nobody can be let in without it.
    pub async fn catalogue(&self) -> Result<Arc<Catalogue>, Failure> {
        let found = match self.catalogue.now() {
            Some(catalogue) => Some(catalogue),
            None => self.catalogue.first().await,
        };
        found.ok_or_else(|| {
            let message =
                "no catalogue could be read yet; `switchyard doctor` and the log tell the operator why";
            Failure::new(Kind::Unavailable, "no_catalogue", message).retry_after(2_000)
        })
    }

    /// The name of this run of the process: the platform gives an instance its name again after a restart,
    /// and what the earlier run wrote must stay until it is merged.
    pub fn process(&self) -> String {
        format!("{}-{}", self.instance, self.started.0)
    }

    /// Whether the Functions host started this process: only then are there envelopes and alerts.
    pub fn under_host(&self) -> bool {
        matches!(self.serve, Serve::UnderHost(_))
    }

    /// Tells telemetry what this process has at the moment.
    pub fn publish(&self) {
        let (now, knobs) = (self.now(), self.knobs.now());
        if let Some(read_ms) = knobs.read_ms {
            measure(&names::KNOBS_AGE, now.since(UnixMs(read_ms)).0 as f64 / 1_000.0, &[]);
        }
        let view = self.views.newest();
        if view.seq > 0 {
            measure(&names::VIEW_AGE, now.since(UnixMs(view.observed_at)).0 as f64 / 1_000.0, &[]);
        }
        if let Some(catalogue) = self.catalogue.now() {
            self.metrics.publish(&catalogue, self.views.fresh(now).as_deref(), now);
        }
    }

    /// Reads knobs, catalogue and view again.
    pub async fn refresh(&self) {
        upkeep::refresh(self).await;
    }
}

/// Builds the app; calls nothing outside the process yet.
///
/// # Errors
/// What is wrong with a setting.
pub fn build(settings: Settings) -> Result<(Arc<App>, decisions::Writer), String> {
    let client = act::forward::client().map_err(|error| format!("no HTTP client: {error}"))?;
    let azure = azure::http().map_err(|error| format!("no HTTP client: {error}"))?;
    let identities = Chain::new(azure.clone());
    let store = store(&settings, &identities)?.with_fault(settings.fault.clone());
    let batch = match &settings.batch {
        Some(account) => Some(batch(account, &settings, &identities, azure.clone())?),
        None => None,
    };
    let knobs = match settings.knobs {
        settings::Knobs::File(file) => Origin::File(file),
        settings::Knobs::Vault(url) => {
            let opened = Vault::open(&url, identities.open(&settings.identity)?, azure.clone());
            Origin::Vault(opened.map_err(|problem| format!("{}: {problem}", name::KEY_VAULT_URL))?)
        }
    };
    let doorbell = match &settings.doorbell {
        Some(asked) => {
            let doorbell = Doorbell::open(&asked.storage, &asked.queue, azure, &identities)?;
            Some(doorbell.with_fault(settings.fault))
        }
        None => None,
    };
    let store_url = store_url(&settings.blobs)?;
    let jobs = Jobs::new(store.clone(), settings.clock, batch, doorbell, store_url);
    let webhooks = Webhooks::new(jobs.clone(), settings.webhooks_allow_private);
    let webhooks = webhooks.map_err(|error| format!("no HTTP client: {error}"))?;
    let dead_letters = DeadLetters::new(jobs.clone(), settings.clock);
    let telemetry = match &settings.telemetry {
        Some(connection) => Telemetry::start(connection, client.clone(), &settings.instance)?,
        None => Telemetry::default(),
    };
    let (records, writer) = decisions::records(store.clone(), settings.clock, &settings.instance);
    let context = catalogue::Context {
        default_backend: settings.default_backend,
        default_pool: settings.default_pool,
        has_batch: jobs.is_open(),
        secrets: settings.secrets,
        loopback_only: settings.clock.is_scaled(),
        webhooks_allow_private: settings.webhooks_allow_private,
    };
    let app = App {
        clock: settings.clock,
        knobs: knobs::Source::new(knobs),
        catalogue: Holding::default(),
        metrics: Arc::default(),
        views: Views::default(),
        store,
        jobs,
        dead_letters,
        webhooks,
        uploads: Semaphore::new(UPLOADS_MAX),
        records,
        tally: Arc::default(),
        today: Today::default(),
        last_minute: LastMinute::default(),
        client,
        telemetry: Arc::new(telemetry),
        instance: settings.instance,
        serve: settings.serve,
        started: UnixMs(settings.clock.now_ms()),
        upkeep: upkeep::Sources::new(settings.catalogue_file, context),
    };
    Ok((Arc::new(app), writer))
}

/// Where a node finds the store; never with a SAS, which nodes must not see.
fn store_url(blobs: &Blobs) -> Result<String, String> {
    let mut url = match blobs {
        Blobs::Folder(folder) => {
            url::Url::from_file_path(folder).map_err(|()| "BLOB_URL is no absolute path")?
        }
        Blobs::Container { url, .. } => url::Url::parse(url.reveal()).map_err(|_| "BLOB_URL is no URL")?,
    };
    url.set_query(None);
    Ok(format!("{}/", url.as_str().trim_end_matches('/')))
}

/// The store of facts, by what settings open it with. Calls nothing.
pub(crate) fn store(settings: &Settings, identities: &Chain) -> Result<Store, String> {
    let opened = match &settings.blobs {
        Blobs::Folder(folder) => Store::folder(folder),
        Blobs::Container { url, key: Some(key) } => Store::container(url.reveal(), Some(key.reveal())),
        Blobs::Container { url, key: None } if url.reveal().contains('?') => {
            Store::container(url.reveal(), None)
        }
        Blobs::Container { url, key: None } => {
            // The account's own identity, where it has one: it is the same account.
            let of_account = settings.doorbell.as_ref().and_then(|doorbell| match &doorbell.storage.access {
                Access::Identity(identity) => Some(identity),
                Access::Key { .. } | Access::Sas(_) => None,
            });
            let identity = identities.open(of_account.unwrap_or(&settings.identity))?;
            Store::container_by(url.reveal(), Arc::new(ForBlobs(identity)))
        }
    };
    let store = opened.map_err(|problem| format!("{}: {problem}", name::BLOB_URL))?;
    let Blobs::Container { url, .. } = &settings.blobs else { return Ok(store) };
    let url = url::Url::parse(url.reveal()).map_err(|_| "BLOB_URL is no URL")?;
    Ok(store.through(|objects| Arc::new(azure::blob::Shown::new(objects, &url))))
}

/// The Azure Batch account, by what settings open it with. Calls nothing.
pub(crate) fn batch(
    account: &BatchAccount,
    settings: &Settings,
    identities: &Chain,
    http: reqwest::Client,
) -> Result<batch::Client, String> {
    let credential = match &account.key {
        Some(key) => {
            let key = batch::SharedKey::new(&account.account, key);
            batch::Credential::SharedKey(
                key.map_err(|error| format!("{}: {error}", name::BATCH_ACCOUNT_KEY))?,
            )
        }
        None => {
            let identity = identities.open(&settings.identity)?;
            batch::Credential::Identity { account: account.account.clone(), identity }
        }
    };
    Ok(batch::Client::new(account.endpoint.clone(), credential, http, settings.clock))
}

/// Runs the process from settings to its end.
pub async fn run(settings: Settings) -> Ending {
    // Asked first of all: a host that goes while this process starts must not be missed.
    let host = std::os::unix::process::parent_id();
    // Bound before anything slow, so that the host's first probe finds a listener.
    let listener = match settings.serve {
        Serve::UnderHost(port) => TcpListener::bind(("127.0.0.1", port)).await,
        Serve::Alone(address) => TcpListener::bind(address).await,
    };
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => return Ending::Failed(format!("cannot listen on {:?}: {error}", settings.serve)),
    };
    let (app, writer) = match build(settings) {
        Ok(built) => built,
        Err(problem) => return Ending::Failed(problem),
    };
    let mut tasks = JoinSet::new();
    let unasked = app.telemetry.unasked();
    let (writing, keeping) = (unasked.clone(), Arc::clone(&app));
    let writer = tokio::spawn(async move { writing.around(writer.run()).await });
    tasks.spawn(async move { unasked.around(Box::pin(upkeep::run(keeping))).await });
    let ending = match app.serve {
        Serve::UnderHost(_) => {
            serve(&app, listener, host_gone(host)).await;
            Ending::HostGone
        }
        Serve::Alone(_) => {
            tasks.spawn(announce(Arc::clone(&app), listener.local_addr()));
            serve(&app, listener, asked_to_end()).await;
            Ending::Drained
        }
    };
    tasks.shutdown().await;
    let _ = tokio::time::timeout(crate::telemetry::FLUSH_MAX, upkeep::write_tally(&app)).await;
    let telemetry = Arc::clone(&app.telemetry);
    // The last sender of decisions goes with the app; then the writer writes the rest and ends.
    drop(app);
    let written = tokio::time::timeout(crate::telemetry::FLUSH_MAX, writer);
    let _ = tokio::join!(written, telemetry.end());
    ending
}

async fn serve(app: &Arc<App>, listener: TcpListener, stop: impl Future<Output = ()>) {
    let answering = Arc::clone(app);
    let answer = move |request| triggers::answer(Arc::clone(&answering), request);
    server::serve(listener, Arc::clone(&app.telemetry), answer, stop).await;
}

/// Says where the handler listens, once the first load is done or has taken too long.
#[expect(clippy::print_stdout, reason = "whoever starts the handler alone waits for this line")]
async fn announce(app: Arc<App>, address: std::io::Result<std::net::SocketAddr>) {
    let _ = tokio::time::timeout(FIRST_LOAD_MAX, app.catalogue.first()).await;
    match address {
        Ok(address) => println!("listening on http://{address}"),
        Err(error) => tracing::warn!(%error, "listening, but on an address that cannot be told"),
    }
}

/// Resolves when the process has another parent than `host`, its parent at the start. Never compared with 1: in a
/// container the host itself may have that number.
async fn host_gone(host: u32) {
    while std::os::unix::process::parent_id() == host {
        tokio::time::sleep(PARENT_EVERY).await;
    }
    tracing::warn!("the host is gone; ending");
}

async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("no signals can be received; ending only by force");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("asked to end; answering what is under way");
}
