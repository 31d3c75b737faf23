//! What goes by itself, over a store in a folder, whose objects can be made older.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use facts::{JobId, VERSION, id};

use super::*;
use crate::act::files::{self, Incoming, hold};

const CLOCK: Clock = Clock::REAL;

struct Stage {
    folder: PathBuf,
    store: Store,
}

impl Stage {
    fn new() -> Stage {
        let folder = std::env::temp_dir().join(format!("switchyard-expire-{}", id::random()));
        Stage { store: Store::folder(&folder).unwrap(), folder }
    }

    /// Makes an object as old as this.
    fn age(&self, key: &str, age_ms: u64) {
        let file = std::fs::File::options().write(true).open(self.folder.join(key)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_millis(CLOCK.now_ms() - age_ms)).unwrap();
    }

    /// A content; its id.
    async fn content(&self) -> String {
        let mut incoming = Incoming::begin(&self.store, "dev", CLOCK.now_ms()).await.unwrap();
        incoming.write(Bytes::from_static(b"x")).await.unwrap();
        let id = incoming.id().to_owned();
        incoming.finish().await.unwrap();
        id
    }

    /// A file that goes at that time.
    async fn file(&self, expires_ms: u64) -> String {
        let meta = FileMeta {
            v: VERSION,
            file: self.content().await,
            tenant: "dev".to_owned(),
            filename: "in.jsonl".to_owned(),
            purpose: "batch".to_owned(),
            bytes: 1,
            sha256: String::new(),
            created_ms: 1,
            expires_ms: Some(expires_ms),
            lines: None,
        };
        files::commit(&self.store, &meta).await.unwrap();
        meta.file
    }

    async fn look(&self, id: &str) -> Look {
        file(&self.store, &CLOCK, "dev", id).await.unwrap()
    }

    async fn left(&self, folder: &str) -> Vec<String> {
        let listed = self.store.list(folder).await.unwrap();
        listed.into_iter().map(|found| found.key).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn an_expired_file_goes_and_is_a_cursor_for_a_day() {
    let stage = Stage::new();
    let later = CLOCK.now_ms() + 1_000_000;
    let young = stage.file(later).await;
    assert_eq!(stage.look(&young).await, Look::Again(later));
    let old = stage.file(CLOCK.now_ms()).await;
    assert!(matches!(stage.look(&old).await, Look::Again(_)));
    let keys = FileKeys::new("dev", &old);
    assert_eq!(stage.left(keys.folder()).await, [keys.deleted()]);
    assert!(matches!(stage.look(&old).await, Look::Again(_)));
    stage.age(&keys.deleted(), CURSOR_FOR_MS);
    assert_eq!(stage.look(&old).await, Look::Over);
    assert!(stage.left(keys.folder()).await.is_empty());
    assert_eq!(stage.look(&old).await, Look::Over);
}

#[tokio::test]
async fn an_expired_file_that_a_job_reads_stays() {
    let stage = Stage::new();
    let id = stage.file(CLOCK.now_ms()).await;
    assert!(hold(&stage.store, "dev", &id, &JobId::random()).await.unwrap());
    assert!(matches!(stage.look(&id).await, Look::Again(_)));
    let keys = FileKeys::new("dev", &id);
    assert!(stage.left(keys.folder()).await.contains(&keys.content()));
}

#[tokio::test]
async fn a_content_that_became_no_file_goes_after_a_day() {
    let stage = Stage::new();
    let id = stage.content().await;
    let keys = FileKeys::new("dev", &id);
    assert!(matches!(stage.look(&id).await, Look::Again(_)));
    assert_eq!(stage.left(keys.folder()).await, [keys.content()]);
    stage.age(&keys.content(), COMMITTED_WITHIN_MS);
    assert!(matches!(stage.look(&id).await, Look::Again(_)));
    assert_eq!(stage.left(keys.folder()).await, [keys.deleted()], "marked, so that nobody commits it");
}

#[tokio::test]
async fn a_pass_looks_at_what_is_due_and_marks_the_next_look() {
    let stage = Stage::new();
    let now_minute = CLOCK.now_ms() / 60_000;
    let expired = stage.file(CLOCK.now_ms()).await;
    let marker = |minute| key::expiring(minute, "dev", Perishable::File, &expired);
    let begun = stage.left(key::EXPIRING).await;
    assert_eq!(begun.len(), 1, "the marker of its beginning: {begun:?}");
    assert_eq!(pass(&stage.store, &CLOCK).await.unwrap(), Pass::Whole);
    assert_eq!(stage.left(key::EXPIRING).await, begun, "not yet");

    stage.store.delete(&begun[0]).await.unwrap();
    stage.store.create(&marker(now_minute - 60 * 24), "").await.unwrap();
    assert_eq!(pass(&stage.store, &CLOCK).await.unwrap(), Pass::Whole);
    assert!(files::read(&stage.store, "dev", &expired, 0).await.unwrap().is_none());
    let next = stage.left(key::EXPIRING).await;
    let minute = key::read_expiring(&next[0]).unwrap().0;
    assert!(next.len() == 1 && minute >= now_minute + 24 * 60, "{next:?}");
}

#[tokio::test]
async fn a_pass_takes_so_many() {
    let stage = Stage::new();
    let minute = CLOCK.now_ms() / 60_000 - 1;
    for _ in 0..=LOOKS_MAX {
        let key = key::expiring(minute, "dev", Perishable::Upload, &id::random());
        stage.store.create(&key, "").await.unwrap();
    }
    assert_eq!(pass(&stage.store, &CLOCK).await.unwrap(), Pass::Cut);
    assert_eq!(stage.left(key::EXPIRING).await.len(), 1);
    assert_eq!(pass(&stage.store, &CLOCK).await.unwrap(), Pass::Whole);
    assert!(stage.left(key::EXPIRING).await.is_empty());
}
