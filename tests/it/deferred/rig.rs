//! The rig: one job's world, and everybody who works in it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser as _;
use clock::Clock;
use facts::fault::Fault;
use facts::job::{End, Estimate, Kind, Status};
use facts::key::{self, JobKeys};
use facts::{Job, JobId, Pack, Store, line};
use futures_util::future::join_all;
use handler::act::jobs::accept::{Accepted, New, NewLines};
use handler::act::jobs::look::World;
use handler::act::jobs::survey::Pass;
use handler::app::{self, App};
use handler::azure::batch::task::TaskState;
use handler::settings::Settings;
use handler::triggers::{dispatch, jobs, sweep};
use local::azure_batch::{Options, Programs, Server};
use local::queue::client::{Account, Queue};
use policy::units::Millis;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wire::jobs::ReasonView;
use worker::settings::{By, Flags};
use worker::upstream::{Patience, Upstream};

pub use super::envelopes::{tick, ticket};
use super::items::{LINES, blocks, echo, input_line, output_line};
use crate::handler_stage::{BOUND, backend, catalogue, until};

/// Fast enough that the longest wait of a recovery, ten minutes, is half a second.
pub const FAST: f64 = 1_200.0;
/// A rescue has 200 s, half a second for what it really does, and a task half an hour, 4 s.
pub const SLOW: f64 = 400.0;

/// Whose job it is, of those in the catalogue.
pub const TENANT: &str = "dev";
/// The pool.
pub const POOL: &str = "spot";
const QUEUE: &str = "batch-inference-queue";

/// Stands in for the worker's process: it ends with the code that the test writes.
const PROGRAM: &str = "#!/bin/sh
printf '%s\n' \"$@\" > args
rm -f end
: > up
until [ -e end ]; do sleep 0.005; done
exit \"$(cat end)\"
";

/// One job's world.
pub struct Rig {
    /// Everything of it that is on disk.
    pub folder: PathBuf,
    /// Its time.
    pub clock: Clock,
    /// The facts.
    pub store: Store,
    /// The facts as workers see them, where that is another way.
    pub worker_store: Option<Store>,
    /// Azure Batch; none while it is being replaced.
    pub batch: Option<Server>,
    /// Looks at tasks for the test; a process costs more than all its calls.
    observer: Option<Arc<App>>,
    queue: Queue,
    bell: local::queue::Server,
}

impl Rig {
    /// A world whose time runs this fast, with a node of two slots.
    pub async fn start(speed: f64) -> Rig {
        let name = format!("switchyard-deferred-{}-{:08x}", std::process::id(), getrandom::u32().unwrap());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(folder.join("blob/config")).unwrap();
        let program = folder.join("worker");
        std::fs::write(&program, PROGRAM).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let clock = Clock::scaled(Clock::REAL.now_ms(), speed).unwrap();
        let upstream = echo().await;
        let mut written = catalogue(&[backend("aca", &upstream)]);
        written["models"][0]["digest"] = DIGEST.into();
        written["pools"] = json!([pool(&upstream)]);
        std::fs::write(folder.join("blob/config/catalogue.json"), written.to_string()).unwrap();
        std::fs::write(folder.join("knobs.json"), r#"{"rescue-share":100}"#).unwrap();
        let bell = local::queue::Server::start(listener(), clock).unwrap();
        let queue = Account::parse(&bell.connection_string()).unwrap().queue(QUEUE);
        queue.create().await.unwrap();
        let store = Store::folder(&folder.join("blob")).unwrap();
        let mut rig =
            Rig { folder, clock, store, worker_store: None, batch: None, observer: None, queue, bell };
        rig.begin_batch().await;
        rig
    }

    /// Azure Batch begins with an empty account and a pool of one spot node, which stands ready.
    pub async fn begin_batch(&mut self) {
        let programs = BTreeMap::from([("worker".to_owned(), self.folder.join("worker"))]);
        let pool = json!({ "id": POOL, "vmSize": "standard_nc4as_t4_v3", "taskSlotsPerNode": 2,
            "targetLowPriorityNodes": 1, "virtualMachineConfiguration":
                { "imageReference": {}, "nodeAgentSKUId": "batch.node.ubuntu 24.04" } });
        let options = Options {
            programs: Programs::Named(programs),
            pools: vec![pool],
            arrival: Duration::ZERO,
            boot: Duration::from_secs(1),
            restore: Duration::from_secs(30),
            ..Options::new(self.folder.join(format!("nodes-{:08x}", getrandom::u32().unwrap())))
        };
        self.batch = Some(Server::start(listener(), options, self.clock).unwrap());
        self.observer = Some(self.process().await);
        let idle = async || {
            let counts = self.observer().jobs.batch().unwrap().node_counts(POOL).await;
            counts.is_ok_and(|counts| counts.low_priority.idle == 1)
        };
        until("the node boots", idle).await;
    }

    fn observer(&self) -> &App {
        self.observer.as_ref().expect("it begins with Azure Batch")
    }

    /// Changes the catalogue for processes that begin after this.
    pub fn change_catalogue(&self, change: impl FnOnce(&mut Value)) {
        let file = self.folder.join("blob/config/catalogue.json");
        let mut written = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        change(&mut written);
        std::fs::write(file, written.to_string()).unwrap();
    }

    /// The stand-in.
    pub fn server(&self) -> &Server {
        self.batch.as_ref().expect("it is not being replaced")
    }

    /// A handler's process, which meets this fault.
    pub async fn process_with(&self, fault: Option<Arc<Fault>>) -> Arc<App> {
        let given = self.environment();
        let settings = Settings::read(None, move |name| given.get(name).cloned()).unwrap();
        let (app, _) = app::build(Settings { fault, ..settings }).unwrap();
        app.refresh().await;
        app
    }

    /// A handler's process with these settings besides.
    pub async fn process_given(&self, more: &[(&str, String)]) -> Arc<App> {
        let mut given = self.environment();
        given.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let settings = Settings::read(None, move |name| given.get(name).cloned()).unwrap();
        let (app, _) = app::build(settings).unwrap();
        app.refresh().await;
        app
    }

    /// A handler's process.
    pub async fn process(&self) -> Arc<App> {
        self.process_with(None).await
    }

    /// Settings of a handler's process.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let mut given = BTreeMap::from([
            ("FUNCTIONS_CUSTOMHANDLER_PORT", "1".to_owned()),
            ("BLOB_URL", format!("file://{}", path("blob"))),
            ("KNOBS_FILE", path("knobs.json")),
            ("AzureWebJobsStorage", self.bell.connection_string()),
            ("STORAGE_QUEUE_NAME", QUEUE.to_owned()),
        ]);
        if let Some(batch) = &self.batch {
            given.insert("BATCH_ENDPOINT", batch.url().to_owned());
            given.insert("BATCH_ACCOUNT_NAME", batch.account().to_owned());
            given.insert("BATCH_ACCOUNT_KEY", batch.key().to_owned());
        }
        given.extend(self.clock.settings().into_iter().flatten());
        given.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Puts the input of a job to be and describes it. It has this long.
    pub async fn new_job(&self, app: &App, id: &JobId, time: Duration) -> New {
        let text: String = (0..LINES).map(input_line).collect();
        let input = format!("{}input", key::FileKeys::new(TENANT, id.as_str()).content());
        self.store.create(&input, text.clone()).await.unwrap();
        let pool = app.catalogue().await.unwrap().pool(POOL).unwrap().clone();
        New {
            id: id.clone(),
            tenant: TENANT.to_owned(),
            kind: Kind::Request,
            url: "/v1/embeddings".to_owned(),
            model: ("m".to_owned(), Some(DIGEST.to_owned())),
            class: facts::job::Class::default(),
            body_hash: "hash".to_owned(),
            deadline: app.now() + Millis(u64::try_from(time.as_millis()).unwrap()),
            max_cost: None,
            labels: BTreeMap::new(),
            traceparent: None,
            pool: POOL.to_owned(),
            speed: pool.facts.speed,
            bytes_per_line: 100,
            estimate: Estimate { realtime_ms: Some(1_000), ..Estimate::default() },
            lines: NewLines::Object(input, blocks(&text)),
        }
    }

    /// A job that was accepted and has this long.
    pub async fn job(&self, time: Duration) -> Arc<Job> {
        let app = self.observer();
        let new = self.new_job(app, &JobId::random(), time).await;
        match app.jobs.accept(new).await.unwrap() {
            Accepted::Job(job) => job,
            Accepted::OtherBody => panic!("a random id names no job"),
        }
    }

    /// Hands all tickets to the handler, as the host does. Says how many there were.
    pub async fn deliver(&self, app: &App) -> usize {
        let mut delivered = 0;
        for message in self.queue.get(32, Duration::from_secs(600)).await.unwrap() {
            dispatch::run(app, &ticket(&message.text)).await.unwrap();
            self.queue.delete(&message).await.unwrap();
            delivered += 1;
        }
        delivered
    }

    /// What lies in the queue of dead letters, at most 32 of it.
    pub async fn dead_letters(&self) -> Vec<String> {
        let queue = Account::parse(&self.bell.connection_string()).unwrap().queue("batch-inference-dlq");
        let messages = queue.get(32, Duration::from_secs(600)).await.unwrap();
        messages.into_iter().map(|message| message.text).collect()
    }

    /// Empties the queue by hand.
    pub async fn lose_tickets(&self) {
        self.queue.clear().await.unwrap();
    }

    /// Runs the worker of every task that runs, up to its end. Says how many there were.
    pub async fn work(&self) -> usize {
        let running = self.running().await;
        // Side by side: the clock runs on for those that wait, and a task has half an hour.
        join_all(running.iter().map(async |task| {
            let done = self.run_worker(task, None, &CancellationToken::new()).await;
            task.end(done.map_or_else(|error| worker::Exit::from(&error) as i32, |_| 0));
        }))
        .await;
        running.len()
    }

    /// The worker of one task, as its command line asks for it.
    pub async fn run_worker(
        &self,
        task: &Running,
        fault: Option<Arc<Fault>>,
        stop: &CancellationToken,
    ) -> Result<worker::Summary, worker::Error> {
        let flags = Flags::try_parse_from(&task.command).unwrap();
        let given: BTreeMap<_, _> = self.clock.settings().into_iter().flatten().collect();
        let settings = flags.settings(|name| given.get(name).cloned()).unwrap();
        let (worker::settings::Task::Pack(place), By::Server(server, _)) = (settings.task, settings.by)
        else {
            panic!("a pack at a server is asked for");
        };
        let upstream = Upstream::new(server, settings.items_at_once, PATIENCE).unwrap();
        let store = place.open(None, fault).unwrap().expect("the store is a folder that is there");
        let store = self.worker_store.clone().unwrap_or(store);
        let pack = worker::read(&store, &place.pack).await?;
        worker::run(&store, &pack, &worker::Backend::Server(upstream), stop, settings.clock).await
    }

    /// Tasks whose process waits for its worker.
    pub async fn running(&self) -> Vec<Running> {
        let Some(server) = &self.batch else { return Vec::new() };
        let batch = self.observer().jobs.batch().unwrap();
        let mut running = Vec::new();
        for pack in self.packs().await {
            let Ok(Some(task)) = batch.task(&pack.batch_job, &pack.pack).await else { continue };
            let Some(node) = task.node.filter(|_| task.state == TaskState::Running) else { continue };
            let node = server.folder().join(POOL).join(node).join("workitems");
            let folder = node.join(&pack.batch_job).join("job-1").join(&pack.pack).join("wd");
            if folder.join("up").exists() {
                let arguments = std::fs::read_to_string(folder.join("args")).unwrap();
                let command = ["worker"].into_iter().chain(arguments.lines()).map(str::to_owned).collect();
                running.push(Running { command, folder });
            }
        }
        running
    }

    /// Sweeps until a task's process waits for its worker.
    pub async fn until_running(&self) -> Running {
        let app = self.process().await;
        let began = Instant::now();
        loop {
            if let Some(task) = self.running().await.into_iter().next() {
                return task;
            }
            self.sweep(&app).await;
            assert!(began.elapsed() < BOUND, "no task runs: {:#?}", self.keys().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Has a job computed, but not looked at afterwards: no more than what its workers said.
    pub async fn until_computed(&self, job: &Job) {
        let app = self.process().await;
        let began = Instant::now();
        let out = format!("{}out/", JobKeys::new(&job.tenant, &job.job).folder());
        while (self.store.list(&out).await.unwrap().len() as u64) < LINES {
            if self.work().await == 0 {
                self.sweep(&app).await;
            }
            assert!(began.elapsed() < BOUND, "not computed: {:#?}", self.keys().await);
        }
        assert!(self.end(&job.job).await.is_none());
    }

    /// Sweeps once.
    pub async fn sweep(&self, app: &App) {
        sweep::run(app, &tick()).await.unwrap();
    }

    /// What production does for ever, until the job has ended and nothing is left of it but its facts.
    pub async fn recover(&self, job: &JobId) -> End {
        self.recover_by(&*self.process().await, job).await
    }

    /// As [`Rig::recover`], by a process that is there already.
    pub async fn recover_by(&self, app: &App, job: &JobId) -> End {
        let began = Instant::now();
        loop {
            self.deliver(app).await;
            self.work().await;
            self.sweep(app).await;
            if let Some(end) = self.end(job).await
                && self.markers().await.is_empty()
            {
                return end;
            }
            assert!(began.elapsed() < BOUND, "no end: {:#?}", self.keys().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Works and sweeps until a job has ended: no ticket arrives.
    pub async fn swept_to_its_end(&self, app: &App, job: &JobId) -> End {
        let began = Instant::now();
        loop {
            self.work().await;
            self.sweep(app).await;
            if let Some(end) = self.end(job).await {
                return end;
            }
            assert!(began.elapsed() < BOUND, "{:#?}", self.keys().await);
        }
    }

    /// The reasons why a job is where it is, as its owner reads them from this process.
    pub async fn why(&self, app: &App, job: &Job) -> Vec<ReasonView> {
        let (catalogue, knobs) = (app.catalogue().await.unwrap(), app.knobs.knobs());
        let world = World { catalogue: &catalogue, knobs: &knobs };
        let survey = app.jobs.survey(&job.tenant, &job.job, &Pass::of(world)).await.unwrap().unwrap();
        jobs::shown(app, world, &survey).await.unwrap().reasons
    }

    /// Sweeps until no marker is left: for jobs that may never have been.
    pub async fn settle(&self) {
        let app = self.process().await;
        let began = Instant::now();
        while !self.markers().await.is_empty() {
            self.deliver(&app).await;
            self.work().await;
            self.sweep(&app).await;
            assert!(began.elapsed() < BOUND, "left over: {:#?}", self.keys().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How a job ended; none: it has not.
    pub async fn end(&self, job: &JobId) -> Option<End> {
        read(&self.store, &JobKeys::new(TENANT, job).end()).await
    }

    /// Markers that ask somebody to look.
    pub async fn markers(&self) -> Vec<String> {
        let mut markers = self.store.list(key::DUE).await.unwrap();
        markers.extend(self.store.list(key::READY).await.unwrap());
        markers.into_iter().map(|found| found.key).collect()
    }

    /// Everything that is kept.
    pub async fn keys(&self) -> Vec<String> {
        self.store.list("").await.unwrap().into_iter().map(|found| found.key).collect()
    }

    /// The job of this id; none: there is none.
    pub async fn found(&self, job: &JobId) -> Option<Job> {
        read(&self.store, &JobKeys::new(TENANT, job).job()).await
    }

    /// All packs.
    pub async fn packs(&self) -> Vec<Pack> {
        let mut packs = Vec::new();
        for found in self.store.list(key::PACKS).await.unwrap() {
            packs.extend(read(&self.store, &found.key).await);
        }
        packs
    }

    /// Tries of a job.
    pub async fn tries(&self, job: &JobId) -> usize {
        let tries = format!("{}tries/", JobKeys::new(TENANT, job).folder());
        self.store.list(&tries).await.unwrap().len()
    }

    /// The result of a job, as it is served.
    pub async fn result(&self, job: &Job) -> String {
        let keys = JobKeys::new(&job.tenant, &job.job);
        let mut result = String::new();
        for (n, shard) in (0..).zip(&job.shards) {
            for c in 0..shard.chunks(job.chunk_lines) {
                let chunk = self.store.get(&keys.chunk(n, c)).await.unwrap().content;
                result.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        }
        result
    }

    /// That every item of a job that has ended has its own result, once and in order, and that
    /// nothing else is left.
    pub async fn assert_complete(&self, job: &Job, end: &End) {
        self.assert_done(job, end).await;
        let marks: Vec<String> =
            self.keys().await.into_iter().filter(|key| key.contains("/trying/")).collect();
        assert!(marks.is_empty(), "{marks:?}");
    }

    /// That every item of a job that has ended has its own result, once and in order, and that it is charged.
    pub async fn assert_done(&self, job: &Job, end: &End) {
        self.assert_results(job, end).await;
        let charged = format!("job-{TENANT}.{}.json", job.job);
        let charged = self.keys().await.into_iter().filter(|key| key.ends_with(&charged)).count();
        assert_eq!(charged, usize::from(!end.spent.is_empty()), "it is in the ledger once");
    }

    /// That every item of a job that has ended has its own result, once and in order.
    pub async fn assert_results(&self, job: &Job, end: &End) {
        assert_eq!(end.status, Status::Completed);
        assert_eq!((end.counts.completed, end.counts.failed, end.counts.unfinished), (LINES, 0, 0));
        let expected: String = (0..LINES).map(output_line).collect();
        assert_eq!(self.result(job).await, expected);
    }
}

impl Rig {
    /// That every item of a job that was stopped has one line, in order, and `unfinished` of them say
    /// why it was stopped.
    pub async fn assert_stopped(&self, job: &Job, end: &End, status: Status, unfinished: u64) {
        assert_eq!((end.status, end.counts.unfinished), (status, unfinished));
        assert_eq!(end.counts.completed, LINES - unfinished);
        let result = self.result(job).await;
        let mut filled = 0;
        for (n, text) in (0..).zip(result.lines()) {
            let line: line::OutLine<'_> = serde_json::from_str(text).unwrap();
            assert_eq!((line.id, line.custom_id), (line::result_id(n), format!("item-{n}")));
            match line.error {
                Some(error) => {
                    assert!(error.code.starts_with("batch_"), "{error:?}");
                    filled += 1;
                }
                None => assert_eq!(format!("{text}\n"), output_line(n)),
            }
        }
        assert_eq!((result.lines().count() as u64, filled), (LINES, unfinished));
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A task whose process waits for its worker.
pub struct Running {
    command: Vec<String>,
    folder: PathBuf,
}

impl Running {
    /// Has the process write this into its log.
    pub fn write_log(&self, text: &str) {
        std::fs::write(self.folder.with_file_name("stderr.txt"), text).unwrap();
    }

    /// The process ends with this code. One that was killed meanwhile does not mind.
    pub fn end(&self, code: i32) {
        let written = std::fs::remove_file(self.folder.join("up"))
            .and_then(|()| std::fs::write(self.folder.join("end.new"), format!("{code}\n")))
            .and_then(|()| std::fs::rename(self.folder.join("end.new"), self.folder.join("end")));
        if let Err(error) = written {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
}

/// What an actor came to that dies where its fault says; none: it died.
pub async fn until_killed<T>(fault: &Fault, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = fault.met() => None,
    }
}

async fn read<T: serde::de::DeserializeOwned>(store: &Store, key: &str) -> Option<T> {
    let read = store.get(key).await.ok()?;
    Some(serde_json::from_slice(&read.content).unwrap())
}

fn listener() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap()
}

/// The weights of `m`.
const DIGEST: &str = "sha256:5f3a0d6c1b2e4f8790a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f607";
/// The echo needs none.
const PATIENCE: Patience = Patience {
    attempt: Duration::from_secs(5),
    total: Duration::from_secs(1),
    pause: Duration::from_millis(10),
    pause_max: Duration::from_millis(50),
};

fn pool(upstream: &str) -> Value {
    json!({
        "name": POOL, "region": "local", "models": ["m"], "usd_per_node_hour": 0.1,
        "price_date": "2026-11-01", "max_nodes": 1, "slots_per_node": 2,
        "speed": { "base_ms": 0, "per_item_us": 20_000_000, "p95_percent": 150 },
        "boot_ms": { "p50": 1_000, "p95": 2_000 },
        "worker": { "program": "worker", "backend_url": upstream },
    })
}
