//! The storage account in trouble: a queue that takes nothing, and a store that fails, or does what it was
//! asked and does not say so. Nothing is lost or doubled, and status tells what one sees of it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use facts::view::ProcessState;
use facts::{JobId, Store, key};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use handler::act::jobs::Jobs;
use handler::act::jobs::accept::Accepted;
use handler::app::App;
use handler::azure::identity::Chain;
use handler::azure::queue::Doorbell;
use handler::settings::storage::Storage;
use handler::triggers::{status, sweep};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::rig::{Rig, SLOW, tick};
use crate::handler_stage::{BOUND, Step, Upstream};

const LONG: Duration = Duration::from_secs(10 * 24 * 3_600);

/// A folder of whose calls one in so many fails, as a container's would after its tries: half of the writes
/// that fail are done all the same.
#[derive(Debug)]
struct Troubled {
    objects: LocalFileSystem,
    one_in: u64,
    calls: AtomicU64,
    failed: AtomicU64,
}

/// How a call goes.
#[derive(PartialEq)]
enum Goes {
    Well,
    Undone,
    Unsaid,
}

impl Troubled {
    fn over(rig: &Rig, one_in: u64) -> Arc<Troubled> {
        let objects = LocalFileSystem::new_with_prefix(rig.folder.join("blob")).unwrap();
        let (calls, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Troubled { objects: objects.with_automatic_cleanup(true), one_in, calls, failed })
    }

    fn goes(&self) -> Goes {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        // Knuth's multiplier scatters them: every n-th call might be the same one of each pass.
        let scattered = call.wrapping_mul(6_364_136_223_846_793_005) >> 33;
        if !scattered.is_multiple_of(self.one_in) {
            return Goes::Well;
        }
        match self.failed.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => Goes::Undone,
            _ => Goes::Unsaid,
        }
    }
}

fn failure() -> Error {
    Error::Generic { store: "troubled", source: "500 InternalError".into() }
}

impl std::fmt::Display for Troubled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("troubled")
    }
}

#[async_trait]
impl ObjectStore for Troubled {
    async fn put_opts(&self, at: &Path, content: PutPayload, options: PutOptions) -> Result<PutResult> {
        let goes = self.goes();
        if goes == Goes::Undone {
            return Err(failure());
        }
        let put = self.objects.put_opts(at, content, options).await;
        if goes == Goes::Unsaid { Err(failure()) } else { put }
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        if self.goes() != Goes::Well {
            return Err(failure());
        }
        self.objects.get_opts(at, options).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.objects.get_ranges(at, ranges).await
    }

    fn delete_stream(&self, all: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.goes() {
            Goes::Well => self.objects.delete_stream(all),
            Goes::Undone => stream::once(async { Err(failure()) }).boxed(),
            Goes::Unsaid => self.objects.delete_stream(all).map(|_| Err(failure())).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.goes() != Goes::Well {
            return stream::once(async { Err(failure()) }).boxed();
        }
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

/// A process with another store, or with another doorbell.
async fn process_with(rig: &Rig, store: &Store, doorbell: Option<Doorbell>) -> Arc<App> {
    let mut app = rig.process().await;
    let within = Arc::get_mut(&mut app).expect("nobody else has it");
    let batch = within.jobs.batch().cloned();
    let url = format!("file://{}/", rig.folder.join("blob").display());
    within.store = store.clone();
    within.jobs = Jobs::new(store.clone(), rig.clock, batch, doorbell, url);
    app
}

/// Handler and workers over a store of whose calls one in so many fails, until the job has ended.
async fn one_call_in(one_in: u64) -> u64 {
    let mut rig = Rig::start(SLOW).await;
    let job = rig.job(LONG).await;
    let objects = Troubled::over(&rig, one_in);
    let store = Store::over(Arc::clone(&objects) as Arc<dyn ObjectStore>);
    let app = process_with(&rig, &store, None).await;
    rig.worker_store = Some(store);
    let began = Instant::now();
    while rig.end(&job.job).await.is_none() {
        // A pass that breaks off is made again by the next tick.
        let _ = sweep::run(&app, &tick()).await;
        rig.work().await;
        assert!(began.elapsed() < BOUND, "no end, one in {one_in}: {:#?}", rig.keys().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.worker_store = None;
    let end = rig.recover(&job.job).await;
    rig.assert_complete(&job, &end).await;
    objects.failed.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_or_does_not_say_what_it_did_loses_and_doubles_nothing() {
    let lives = [8, 12, 16, 24].map(one_call_in);
    let failed: u64 = futures_util::future::join_all(lives).await.into_iter().sum();
    assert!(failed >= 20, "only {failed} calls failed");
}

/// What the status page says is broken, and at risk.
async fn told(app: &App) -> (String, String) {
    let [broken, at_risk, _] = status::lines(app, &app.catalogue().await.unwrap());
    (broken, at_risk)
}

fn doorbell(url: &str) -> Doorbell {
    let account =
        format!("AccountName=devstoreaccount1;AccountKey=aGk=;QueueEndpoint={url}/devstoreaccount1");
    let http = handler::azure::http().unwrap();
    let chain = Chain::new(http.clone());
    Doorbell::open(&Storage::parse(&account).unwrap(), "batch-inference-queue", http, &chain).unwrap()
}

#[tokio::test]
async fn a_throttled_queue_costs_time_and_is_told() {
    let busy = |status, code: &str| {
        let headers = vec![("x-ms-error-code", code.to_owned()), ("retry-after", "0".to_owned())];
        Step::Answer(status, headers, String::new())
    };
    for (status, code) in [(503, "ServerBusy"), (429, "TooManyRequests")] {
        let rig = Rig::start(SLOW).await;
        // One ring of three tries; afterwards it hears.
        let taken = Step::Answer(201, Vec::new(), "<?xml version=\"1.0\"?><QueueMessagesList/>".to_owned());
        let script = (0..3).map(|_| busy(status, code)).chain([taken]);
        let upstream = Upstream::start(script).await;
        let app = process_with(&rig, &rig.store, Some(doorbell(&upstream.url))).await;
        assert_eq!(told(&app).await.0, "broken: nothing");

        let new = rig.new_job(&app, &JobId::random(), LONG).await;
        let Accepted::Job(job) = app.jobs.accept(new).await.unwrap() else { panic!("a random id") };
        assert_eq!(upstream.seen().len(), 3, "a ring is tried three times");
        let (broken, _) = told(&app).await;
        let seen = format!("{status} {code}");
        assert!(broken.contains("the doorbell cannot be rung") && broken.contains(&seen), "{broken}");
        let end = rig.recover_by(&app, &job.job).await;
        rig.assert_complete(&job, &end).await;

        let new = rig.new_job(&app, &JobId::random(), LONG).await;
        app.jobs.accept(new).await.unwrap();
        assert_eq!(told(&app).await.0, "broken: nothing", "it is heard again");
    }
}

#[tokio::test]
async fn clocks_that_are_apart_are_told() {
    let rig = Rig::start(1.0).await;
    let app = rig.process().await;
    let written_at = app.now().0 - 30_000;
    let state = serde_json::to_string(&ProcessState { written_at, ..ProcessState::default() }).unwrap();
    rig.store.overwrite(&key::process_state("behind-1"), state).await.unwrap();
    rig.sweep(&app).await;
    app.refresh().await;
    let (_, at_risk) = told(&app).await;
    assert!(
        at_risk.contains("the clock of behind-1 is 3") && at_risk.contains("behind the store's"),
        "{at_risk}"
    );
}
