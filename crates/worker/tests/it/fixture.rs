//! A job, its pack and what reads them back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clock::Clock;
use facts::job::{Estimate, Input, Kind, Place, Shard, Stop, StopWhy, Try};
use facts::key::{self, JobKeys};
use facts::line::{OutLine, result_id};
use facts::pack::Member;
use facts::{Job, JobId, Pack, Store, VERSION, id};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use worker::encoder::Encoder;
use worker::{Backend, Error, Summary};

pub const TENANT: &str = "dev";
/// When all jobs here were accepted; their deadlines are a day later than any clock.
const CREATED_MS: u64 = 1_760_000_000_000;

/// The committed model of the engine's tests.
pub fn model_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/testdata/synthetic-bert")
}

/// That model, ready.
pub fn encoder() -> Backend {
    Backend::Model(Encoder::load(&model_folder(), 1, 8).expect("the synthetic model loads"))
}

/// A folder that goes with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let folder = std::env::temp_dir().join(format!("switchyard-worker-{}", id::random()));
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    pub fn store(&self) -> Store {
        Store::folder(&self.0).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One job in one pack.
#[derive(Clone)]
pub struct Fixture {
    pub job: Job,
    pub pack: Pack,
    pub keys: JobKeys,
}

/// A line that asks for the vector of `text`.
pub fn line(n: u64, text: &str) -> String {
    let body = json!({"model": "minilm", "input": text});
    json!({"custom_id": format!("c-{n}"), "method": "POST", "url": "/v1/embeddings", "body": body})
        .to_string()
}

/// Plain lines, `count` of them.
pub fn lines(count: u64) -> Vec<String> {
    (0..count).map(|n| line(n, &format!("sentence {n} of a quiet day"))).collect()
}

impl Fixture {
    /// A job of these lines in shards of `shard_lines` and chunks of `chunk_lines`; always the same.
    pub fn new(lines: &[String], shard_lines: usize, chunk_lines: u32) -> Fixture {
        let mut shards = Vec::new();
        let mut offset = 0;
        for part in lines.chunks(shard_lines) {
            let bytes: u64 = part.iter().map(|line| line.len() as u64 + 1).sum();
            let first_line = (shards.len() * shard_lines) as u64;
            shards.push(Shard { offset, bytes, first_line, lines: part.len() as u32, work_ms: 1_000 });
            offset += bytes;
        }
        let id = JobId::of_key(TENANT, "embeddings", "fixture");
        let job = Job {
            v: VERSION,
            job: id.clone(),
            tenant: TENANT.to_owned(),
            by: "a".to_owned(),
            kind: Kind::Request,
            url: "/v1/embeddings".to_owned(),
            model: "minilm".to_owned(),
            digest: None,
            body_hash: String::new(),
            created_ms: CREATED_MS,
            deadline_ms: Clock::REAL.now_ms() + 86_400_000,
            max_cost_micro_usd: None,
            pool: "gpu".to_owned(),
            estimate: Estimate::default(),
            labels: BTreeMap::new(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            input: Input::Inline(lines.iter().map(|line| format!("{line}\n")).collect()),
            shards,
            chunk_lines,
        };
        let member = |shard| Member { tenant: TENANT.to_owned(), job: id.clone(), shard, k: 1 };
        let pack = Pack {
            v: VERSION,
            pack: "p-1".to_owned(),
            pool: "gpu".to_owned(),
            batch_job: "sy-gpu-1-20261101-1".to_owned(),
            model: "minilm".to_owned(),
            digest: None,
            members: (0..job.shards.len() as u32).map(member).collect(),
            work_ms: 1_000,
            deadline_ms: job.deadline_ms,
            created_ms: CREATED_MS,
            traceparent: None,
        };
        Fixture { keys: JobKeys::new(TENANT, &id), job, pack }
    }

    /// Moves the input into an object of its own.
    pub async fn with_object(mut self, store: &Store) -> Fixture {
        let Input::Inline(text) = &self.job.input else { panic!("it is inline") };
        let key = self.keys.input(&key::hex_sha256(text.as_bytes()));
        store.create(&key, text.clone()).await.unwrap();
        self.job.input = Input::Object(key);
        self
    }

    /// Writes job and pack, and claims the first try of each shard.
    pub async fn put(&self, store: &Store) {
        put(store, &self.keys.job(), &self.job).await;
        put(store, &key::pack(&self.pack.pack), &self.pack).await;
        for shard in 0..self.job.shards.len() as u32 {
            self.claim(store, shard, 1, &self.pack.pack).await;
        }
    }

    /// Claims a try of a shard for a pack.
    pub async fn claim(&self, store: &Store, shard: u32, k: u32, pack: &str) {
        self.claim_at(store, shard, k, Place::Deferred { pack: pack.to_owned() }).await;
    }

    pub async fn claim_at(&self, store: &Store, shard: u32, k: u32, place: Place) {
        let claimed =
            Try { v: VERSION, by: "a".to_owned(), place, why: "first".to_owned(), at_ms: CREATED_MS };
        put(store, &self.keys.try_(shard, k), &claimed).await;
    }

    /// Asks the job to stop.
    pub async fn stop(&self, store: &Store) {
        let stop = Stop {
            v: VERSION,
            why: StopWhy::Cancelled,
            code: None,
            reason: "test".to_owned(),
            at_ms: CREATED_MS,
        };
        put(store, &self.keys.stop(), &stop).await;
    }

    /// Runs the pack to its end.
    pub async fn run(&self, store: &Store, backend: &Backend) -> Result<Summary, Error> {
        let pack = worker::read(store, &self.pack.pack).await?;
        worker::run(store, &pack, backend, &CancellationToken::new(), Clock::REAL).await
    }

    /// Every chunk that exists.
    pub async fn chunks(&self, store: &Store) -> BTreeMap<String, String> {
        let mut chunks = BTreeMap::new();
        for found in store.list(&format!("{}out/", self.keys.folder())).await.unwrap() {
            let content = store.get(&found.key).await.unwrap().content;
            chunks.insert(found.key, String::from_utf8(content.to_vec()).unwrap());
        }
        chunks
    }

    /// Whether the sweep was asked to look.
    pub async fn is_marked_due(&self, store: &Store) -> bool {
        store.exists(&key::due(key::NOW, TENANT, &self.job.job)).await.unwrap()
    }

    /// What should not be left over.
    pub async fn marks(&self, store: &Store) -> usize {
        store.list(&format!("{}trying/", self.keys.folder())).await.unwrap().len()
    }

    /// Holds the job's results against the promise: every line once, in order, under its own name.
    pub async fn assert_whole(&self, store: &Store) {
        let text: String = self.chunks(store).await.into_values().collect();
        let found: Vec<(String, String)> = text
            .lines()
            .map(|line| {
                let line: OutLine<'_> = serde_json::from_str(line).expect("a line of JSON");
                (line.id, line.custom_id)
            })
            .collect();
        let expected: Vec<(String, String)> =
            (0..self.job.lines()).map(|n| (result_id(n), format!("c-{n}"))).collect();
        assert_eq!(found, expected);
    }
}

async fn put(store: &Store, key: &str, fact: &impl serde::Serialize) {
    store.create(key, serde_json::to_vec(fact).unwrap()).await.unwrap();
}

/// What an undisturbed run on a store of its own gives.
pub async fn undisturbed(fixture: &Fixture, backend: &Backend) -> BTreeMap<String, String> {
    let store = Store::memory();
    fixture.put(&store).await;
    fixture.run(&store, backend).await.expect("nothing disturbs it");
    fixture.chunks(&store).await
}
