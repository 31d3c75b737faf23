//! All stand-ins together, around the real handler and real replicas.
//!
//! [`Stack::start`] is used by `up`, `demo` and the tests of the whole. Nothing listens outside
//! loopback, everything lies in one state folder, and [`Stack::stop`] leaves no process behind.
//!
//! - [`keys`]: the development keys
//! - `catalogue`: models, backend and tenant that the handler reads
//! - `half_written`: what a kill left of objects that were being written
//! - `knobs`: what operators tune, as the stack begins with it
//! - `platform`: app settings, and the host that is started again when it ends
//! - `processes`: who runs, so that the next start can end leftovers
//! - `ready`: the file that tells others where everything is
//! - `storage`: the queue stand-in and a folder, or Azurite

mod catalogue;
mod half_written;
pub mod keys;
mod knobs;
mod platform;
mod processes;
mod ready;
mod storage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use catalogue::{BACKEND, MODEL, POOL};
pub use ready::{READY_FILE, Ready};

use crate::cargo::Programs;
use crate::host;
use crate::realtime::scale::Limits;
use crate::realtime::{self, Bounds, Follow, Front, Launch};
use crate::stage::{self, Source};
use crate::telemetry::Receiver;
use crate::{azure_batch, loopback, queue};
use catalogue::{Made, ModelFacts};
use keys::{Keys, write_whole};
use storage::Storage;

/// The queue whose messages ring for a look at a job.
pub const DOORBELL_QUEUE: &str = "batch-inference-queue";
/// Where the host puts messages that failed too often, and where DeadLetter records them.
const OTHER_QUEUES: [&str; 2] = ["batch-inference-queue-poison", "batch-inference-dlq"];
/// Container Apps polls every 30 s; nobody wants to wait for that at a desk.
const POLL_REPLICAS_EVERY: Duration = Duration::from_secs(2);
/// Container Apps' default is 300 s.
const COOLDOWN: Duration = Duration::from_secs(60);
/// Held requests: two replicas' worth of work beyond what they run, so that a crowd sees an
/// honest refusal instead of a long silence.
const HELD_REQUESTS: usize = 16;
/// Longer than a usual local cold start, shorter than a client's patience.
const HOLD: Duration = Duration::from_secs(10);

/// The formula of a pool that nobody has planned for yet, as a template would give it.
const FORMULA_OF_NONE: &str =
    "$TargetDedicatedNodes = 0; $TargetLowPriorityNodes = 0; $NodeDeallocationOption = taskcompletion;";

/// What a stack is made of.
pub struct Options {
    /// The handler and the server.
    pub programs: Programs,
    /// The folder with `host.json` and `functions/`.
    pub source: PathBuf,
    /// The model's folder.
    pub model: PathBuf,
    /// Where everything is kept; made if need be.
    pub state: PathBuf,
    /// Where clients are answered; 0 takes any free port.
    pub port: u16,
    /// Replicas at most.
    pub replicas: u32,
    /// Extra delay before a replica's process is started.
    pub cold_start: Duration,
    /// Nodes of the pool at most.
    pub nodes: u32,
    /// Whether the pool begins with no node and Rebalance buys them; else it has all of them, spot, from
    /// the start.
    pub autoscale: bool,
    /// From a node that is asked for to its first task, by the clock.
    pub boot: Duration,
    /// Further arguments of the inference server.
    pub server_arguments: Vec<String>,
    /// Where the tenant's webhook is, if it has one.
    pub webhook: Option<String>,
    /// A catalogue whose entries are added to the local one's.
    pub catalogue: Option<PathBuf>,
    /// Settings that the handler gets besides those of the stack: keys of that catalogue's backends.
    pub settings: Vec<(String, String)>,
    /// Connection string of a storage emulator on this machine, as `UseDevelopmentStorage=true`: queues
    /// and facts lie there instead of in the stand-in and the state folder. Its time is real.
    pub storage: Option<String>,
    /// Told to handler, host, queue and front.
    pub clock: Clock,
    /// Written when the stack is ready, and again when its processes change; so is [`READY_FILE`] in
    /// the state folder.
    pub ready_file: Option<PathBuf>,
}

/// Why a stack did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody listens there already.
    #[error("port {0} is taken; stop what listens there or choose another by --port (0 takes any free one)")]
    PortTaken(u16),
    /// The state folder is in use.
    #[error("a stack with state folder {state} is running (pid {pid}); stop it or choose another by --state")]
    Running {
        /// The folder.
        state: PathBuf,
        /// The other stack's process.
        pid: u32,
    },
    /// The folder for the host could not be staged.
    #[error(transparent)]
    Stage(#[from] stage::Error),
    /// The host refused the folder.
    #[error(transparent)]
    Host(#[from] host::StartError),
    /// The host ended before the handler answered.
    #[error("the host ended before the handler was ready; its log says why")]
    HostEnded,
    /// The handler runs and does not answer well.
    #[error("the handler was not ready within {} s; last answer: {last}", platform::READY_LIMIT.as_secs())]
    NotReady {
        /// What it said.
        last: String,
    },
    /// The storage cannot be used.
    #[error(
        "the storage at {url} cannot be used ({told}); --storage takes an emulator that runs already: npx azurite --inMemoryPersistence --disableTelemetry"
    )]
    Storage {
        /// Where it should be.
        url: String,
        /// What went wrong.
        told: String,
    },
    /// The emulator's time does not run faster.
    #[error("SWITCHYARD_SPEED: time runs faster with the stand-ins only; unset it, or leave --storage out")]
    StorageClock,
    /// A signature is not enough.
    #[error(
        "--storage needs the account's key, which UseDevelopmentStorage=true has: Azurite deletes nothing by a SAS of the account"
    )]
    StorageKey,
    /// A stack on another storage would take the messages of whoever uses it.
    #[error(
        "--storage: {0} is on another machine; give an emulator on this one, as UseDevelopmentStorage=true"
    )]
    StorageElsewhere(String),
    /// The connection string is none.
    #[error(
        "--storage: {0}; give UseDevelopmentStorage=true, or an emulator's connection string with its key"
    )]
    StorageString(queue::client::Error),
    /// The queues could not be made.
    #[error(transparent)]
    Queue(#[from] queue::client::Error),
    /// The state folder cannot be used.
    #[error("cannot make the state folder {folder}: {error}; choose another by --state")]
    State {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Disk or network of this machine.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
}

fn io(what: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::Io { what, error }
}

/// A running stack.
pub struct Stack {
    ready: Ready,
    telemetry: Receiver,
    front: Arc<Front>,
    storage: Storage,
    batch: azure_batch::Server,
    host: JoinHandle<Result<(), host::StartError>>,
    record: JoinHandle<()>,
    stop: CancellationToken,
    files: Files,
}

/// Where things lie in the state folder.
#[derive(Clone)]
struct Files {
    app: PathBuf,
    blobs: PathBuf,
    keys: PathBuf,
    knobs: PathBuf,
    nodes: PathBuf,
    processes: PathBuf,
    /// Several name the same.
    ready: Vec<PathBuf>,
}

impl Stack {
    /// Looks at what is wrong with options before anything is built or fetched for them: an emulator's
    /// connection string, a further catalogue.
    ///
    /// # Errors
    /// [`Error`]
    pub fn check(storage: Option<&str>, further: Option<&Path>, clock: Clock) -> Result<(), Error> {
        storage.map_or(Ok(()), |storage| storage::check(storage, clock))?;
        let read = further.map_or(Ok(Value::Null), catalogue::read_further);
        read.map(drop).map_err(io("--catalogue"))
    }

    /// Starts everything and returns when the handler answers.
    ///
    /// # Errors
    /// [`Error`]; whatever had started by then has ended.
    pub async fn start(options: Options) -> Result<Stack, Error> {
        let files = Files::of(&options)?;
        if let Err(pid) = processes::end_leftovers(&files.processes).await {
            return Err(Error::Running { state: options.state, pid });
        }
        let listener = bind(options.port)?;
        files.prepare(&options)?;
        let keys = Keys::kept_in(&files.keys).map_err(io("cannot keep the development keys"))?;
        let base = local_url(&listener)?;

        let any = || loopback::any_port().map_err(io("no free port"));
        let storage = Storage::start(options.storage.as_deref(), &files, options.clock).await?;
        let batch =
            start_batch(&options, &files, &storage, any()?).map_err(io("the Azure Batch stand-in"))?;
        let telemetry = Receiver::start(any()?).map_err(io("the telemetry receiver"))?;
        let front = Arc::new(start_front(&options, any()?, &base, &keys)?);
        prepare_app(&options, &files, front.url(), keys.clone()).await?;

        let mut ready = Ready::new(&base, &keys, &files, (&front, &storage, &batch, &telemetry));
        if let Some(url) = &options.webhook {
            ready.webhook_url = Some(url.clone());
            ready.webhook_secret = Some(keys::webhook_secret().map_err(io("no random bytes"))?);
        }
        let own = platform::app_settings(options.clock, &files, &ready, (&storage, &batch, &telemetry));
        ready.settings = own.iter().cloned().collect();
        let settings = options.settings.iter().cloned().chain(own).collect();
        let stop = CancellationToken::new();
        let run = platform::HostRun { app_root: files.app.clone(), listener, settings, clock: options.clock };
        // A start that fails from here on must not leave the host running.
        let guard = stop.clone().drop_guard();
        let mut host = tokio::spawn(run.keep(storage.connection_string.clone(), stop.clone()));
        platform::await_handler(&base, &mut host).await?;
        // Before its keeper starts: two writers of one file would take each other's part away.
        let known = processes::Record::now();
        record(&known, &front, &files, &ready).map_err(io("cannot write the ready file"))?;
        let watched = (Arc::clone(&front), files.clone(), ready.clone());
        let record = tokio::spawn(keep_record(known, watched, stop.clone()));
        guard.disarm();
        Ok(Stack { ready, telemetry, front, storage, batch, host, record, stop, files })
    }

    /// Addresses and keys, and the processes of this moment.
    pub fn ready(&self) -> Ready {
        self.ready.with_pids(&self.front)
    }

    /// What the handler has told Application Insights.
    pub fn telemetry(&self) -> &Receiver {
        &self.telemetry
    }

    /// The Azure Batch account, for those who take its nodes away.
    pub fn batch(&self) -> &azure_batch::Server {
        &self.batch
    }

    /// The front before the replicas.
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// Ends the host and its handler, then the replicas, then the rest.
    pub async fn stop(self) {
        let Stack { telemetry, front, storage, batch, host, record, stop, files, .. } = self;
        stop.cancel();
        for task in [tokio::spawn(async move { drop(host.await) }), record] {
            if let Err(panic) = task.await {
                tracing::error!(%panic, "a task of the stack panicked");
            }
        }
        match Arc::try_unwrap(front) {
            Ok(front) => front.stop().await,
            Err(_) => tracing::error!("somebody still holds the front"),
        }
        batch.stop().await;
        storage.stop().await;
        telemetry.stop().await;
        let _ = std::fs::remove_file(&files.processes);
        for file in &files.ready {
            let _ = std::fs::remove_file(file);
        }
    }
}

impl Files {
    fn of(options: &Options) -> Result<Files, Error> {
        let state = std::path::absolute(&options.state).map_err(io("the state folder"))?;
        let ready = [Some(state.join(READY_FILE)), options.ready_file.clone()];
        Ok(Files {
            app: state.join("app"),
            blobs: state.join("blobs"),
            keys: state.join("keys.json"),
            knobs: state.join("knobs.json"),
            nodes: state.join("nodes"),
            processes: state.join("processes.json"),
            ready: ready.into_iter().flatten().collect(),
        })
    }

    fn catalogue(&self) -> PathBuf {
        self.blobs.join("config/catalogue.json")
    }

    fn prepare(&self, options: &Options) -> Result<(), Error> {
        std::fs::create_dir_all(self.blobs.join("config"))
            .map_err(|error| Error::State { folder: options.state.clone(), error })?;
        let left = half_written::delete(&self.blobs).map_err(io("cannot clear half-written objects"))?;
        if left > 0 {
            tracing::info!(left, "objects that a kill left half-written are deleted");
        }
        let knobs = knobs::of(&self.knobs, options).map_err(io("cannot read the knobs"))?;
        write_whole(&self.knobs, format!("{knobs:#}\n").as_bytes()).map_err(io("cannot write the knobs"))
    }
}

fn bind(port: u16) -> Result<std::net::TcpListener, Error> {
    match std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)) {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(Error::PortTaken(port)),
        Err(error) => Err(Error::Io { what: "cannot listen on loopback", error }),
    }
}

fn local_url(listener: &std::net::TcpListener) -> Result<String, Error> {
    let address = listener.local_addr().map_err(io("cannot listen on loopback"))?;
    Ok(format!("http://{address}"))
}

fn start_front(
    options: &Options,
    listener: std::net::TcpListener,
    base: &str,
    keys: &Keys,
) -> Result<Front, Error> {
    let mut arguments = vec!["--model".to_owned(), options.model.display().to_string()];
    arguments
        .extend(["--listen", "127.0.0.1:0", "--exit-with-parent", "--model-name", MODEL].map(str::to_owned));
    arguments.extend(catalogue::ALIASES.iter().flat_map(|alias| ["--alias".to_owned(), (*alias).to_owned()]));
    arguments.extend(options.server_arguments.iter().cloned());
    let settings = platform::clock_settings(options.clock);
    let front = realtime::Options {
        listener,
        launch: Launch::Command { program: options.programs.server.clone(), arguments, settings },
        limits: Limits { min: 0, max: options.replicas, cooldown: COOLDOWN },
        bounds: Bounds { slots_per_replica: catalogue::SLOTS_PER_REPLICA, held: HELD_REQUESTS, hold: HOLD },
        cold_start: options.cold_start,
        follow: Some(Follow {
            url: format!("{base}/api/status/replicas/{BACKEND}"),
            key: keys.admin.reveal().to_owned(),
            every: POLL_REPLICAS_EVERY,
        }),
        clock: options.clock,
    };
    Front::start(front).map_err(io("the realtime front"))
}

/// The account and its pool: spot nodes that boot, and run nothing but the worker.
fn start_batch(
    options: &Options,
    files: &Files,
    storage: &Storage,
    listener: std::net::TcpListener,
) -> std::io::Result<azure_batch::Server> {
    let worker = BTreeMap::from([(catalogue::WORKER.to_owned(), options.programs.worker.clone())]);
    let mut pool = serde_json::json!({
        "id": POOL,
        "vmSize": "STANDARD_NC4AS_T4_V3",
        "virtualMachineConfiguration": {
            "imageReference": {"publisher": "microsoft-dsvm", "offer": "ubuntu-hpc", "sku": "2404"},
            "nodeAgentSKUId": "batch.node.ubuntu 24.04",
        },
        "taskSlotsPerNode": 1,
    });
    if options.autoscale {
        pool["enableAutoScale"] = true.into();
        pool["autoScaleFormula"] = FORMULA_OF_NONE.into();
        pool["autoScaleEvaluationInterval"] = "PT5M".into();
    } else {
        pool["targetLowPriorityNodes"] = options.nodes.into();
    }
    let mut account = azure_batch::Options {
        programs: azure_batch::Programs::Named(worker),
        pools: vec![pool],
        arrival: Duration::ZERO,
        boot: options.boot,
        restore: options.boot,
        ..azure_batch::Options::new(&files.nodes)
    };
    account.environment.extend(storage.node_setting.clone());
    azure_batch::Server::start(listener, account, options.clock)
}

/// Stages the app and writes the catalogue: file work that need not wait for anything.
async fn prepare_app(options: &Options, files: &Files, front: String, keys: Keys) -> Result<(), Error> {
    let source = Source { root: options.source.clone(), handler: options.programs.handler.clone() };
    let (app, file, model) = (files.app.clone(), files.catalogue(), options.model.clone());
    let (replicas, cold_start) = (options.replicas, options.cold_start);
    let (nodes, boot, clock, webhook) = (options.nodes, options.boot, options.clock, options.webhook.clone());
    let further = options.catalogue.clone();
    let work = tokio::task::spawn_blocking(move || {
        stage::stage(&source, &app)?;
        let folder = std::path::absolute(&model).map_err(io("the model's folder"))?;
        let facts = ModelFacts::read(&model).map_err(io("cannot read the model"))?;
        let (backend_url, model, keys) = (front.as_str(), folder.as_path(), &keys);
        let made = Made { backend_url, replicas, cold_start, nodes, boot, model, webhook, clock, keys };
        let mut catalogue = catalogue::catalogue(&facts, &made);
        if let Some(further) = &further {
            catalogue::add_from(&mut catalogue, further).map_err(io("--catalogue"))?;
        }
        catalogue::keep_tenants(&mut catalogue, std::fs::read(&file).ok().as_deref());
        write_whole(&file, format!("{catalogue:#}\n").as_bytes()).map_err(io("cannot write the catalogue"))
    });
    work.await.expect("staging does not panic")
}

/// Writes down who runs whenever that is no longer what is `known`.
async fn keep_record(
    mut known: processes::Record,
    (front, files, ready): (Arc<Front>, Files, Ready),
    stop: CancellationToken,
) {
    let mut look = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = look.tick() => {}
        }
        let now = processes::Record::now();
        if known != now {
            if let Err(error) = record(&now, &front, &files, &ready) {
                tracing::warn!(%error, "cannot write down the processes of this stack");
            }
            known = now;
        }
    }
}

fn record(now: &processes::Record, front: &Front, files: &Files, ready: &Ready) -> std::io::Result<()> {
    now.write(&files.processes)?;
    let ready = ready.with_pids(front);
    files.ready.iter().try_for_each(|file| ready.write(file))
}
