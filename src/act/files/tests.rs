//! Uploaded files over a store in memory.

use facts::file::Lines;
use futures_util::TryStreamExt;

use super::list::{Kinds, Listed, Listing, Name, Order, list};
use super::*;

const CLOCK: Clock = Clock::REAL;
const NOW_MS: u64 = 1_793_534_400_000;

fn meta(file: &str, bytes: u64) -> FileMeta {
    let lines = Lines { url: String::new(), model: String::new(), errors: Vec::new(), blocks: Vec::new() };
    FileMeta {
        v: VERSION,
        file: file.to_owned(),
        tenant: "dev".to_owned(),
        filename: "in.jsonl".to_owned(),
        purpose: "batch".to_owned(),
        bytes,
        sha256: String::new(),
        created_ms: NOW_MS,
        expires_ms: None,
        lines: Some(lines),
    }
}

async fn put(store: &Store, content: &[u8]) -> String {
    let mut incoming = Incoming::begin(store, "dev", NOW_MS).await.unwrap();
    incoming.write(Bytes::copy_from_slice(content)).await.unwrap();
    let meta = meta(incoming.id(), content.len() as u64);
    incoming.finish().await.unwrap();
    commit(store, &meta).await.unwrap();
    meta.file
}

async fn listed(store: &Store, limit: usize, after: Option<&str>, order: Order) -> (Vec<String>, bool) {
    let after = after.map(|file| Name::Upload(file.to_owned()));
    let wanted = Listing { limit, after, order, kinds: Kinds::All };
    let page = list((store, &CLOCK), "dev", &wanted, id_of).await.unwrap().expect("the cursor is known");
    (page.files, page.has_more)
}

fn id_of(listed: Listed) -> Option<String> {
    match listed {
        Listed::Upload(meta) => Some(meta.file),
        Listed::Result(..) => None,
    }
}

#[tokio::test]
async fn only_what_was_committed_is_there() {
    let store = Store::memory();
    let mut left = Incoming::begin(&store, "dev", NOW_MS).await.unwrap();
    left.write(Bytes::from_static(b"half")).await.unwrap();
    let id = left.id().to_owned();
    drop(left);
    assert!(read(&store, "dev", &id, NOW_MS).await.unwrap().is_none());
    let mut given_up = Incoming::begin(&store, "dev", NOW_MS).await.unwrap();
    given_up.write(Bytes::from_static(b"half")).await.unwrap();
    given_up.abort(&store).await;
    assert!(store.list("t/").await.unwrap().is_empty());
    assert_eq!(delete(&store, &CLOCK, "dev", &id).await.unwrap(), Deletion::NotThere);
}

#[tokio::test]
async fn a_content_is_read_in_pieces_of_any_range() {
    let store = Store::memory();
    let whole: Vec<u8> = (0..2 * PIECE_BYTES + 7).map(|at| (at % 251) as u8).collect();
    let id = put(&store, &whole).await;
    let piece = PIECE_BYTES as u64;
    for range in [0..whole.len() as u64, 5..6, 3..3, piece - 1..piece + 1, piece..2 * piece + 7] {
        let pieces: Vec<Bytes> = content(&store, "dev", &id, range.clone()).try_collect().await.unwrap();
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE_BYTES));
        assert_eq!(pieces.concat(), whole[range.start as usize..range.end as usize], "{range:?}");
    }
}

#[tokio::test]
async fn deleting_twice_is_deleting_once() {
    let store = Store::memory();
    let id = put(&store, b"x").await;
    assert_eq!(delete(&store, &CLOCK, "other", &id).await.unwrap(), Deletion::NotThere);
    assert!(read(&store, "dev", &id, NOW_MS).await.unwrap().is_some());
    for _ in 0..2 {
        assert_eq!(delete(&store, &CLOCK, "dev", &id).await.unwrap(), Deletion::Gone);
        assert!(read(&store, "dev", &id, NOW_MS).await.unwrap().is_none());
    }
    let left = store.list("t/dev/files/").await.unwrap();
    assert_eq!(left.len(), 1, "the mark alone is left: {left:?}");
}

/// A process that dies between the mark and the content leaves a file that is gone already.
#[tokio::test]
async fn a_mark_alone_deletes_and_deleting_again_finishes() {
    let store = Store::memory();
    let id = put(&store, b"x").await;
    let mark = Deleted { v: VERSION, at_ms: NOW_MS, listed_ms: 1 };
    let keys = FileKeys::new("dev", &id);
    store.create(&keys.deleted(), serde_json::to_vec(&mark).unwrap()).await.unwrap();
    assert!(read(&store, "dev", &id, NOW_MS).await.unwrap().is_none());
    assert!(listed(&store, 10, None, Order::Descending).await.0.is_empty());
    assert_eq!(delete(&store, &CLOCK, "dev", &id).await.unwrap(), Deletion::Gone);
    assert!(!store.exists(&keys.content()).await.unwrap());
}

/// Whoever deletes marks, then looks for holders. A mark that is there already used to be taken for proof
/// that somebody had looked: the content went although a batch read it.
#[tokio::test]
async fn a_file_that_a_batch_reads_survives_a_deletion_that_broke_off() {
    let store = Store::memory();
    let (id, job) = (put(&store, b"x").await, JobId::random());
    let (keys, of_job) = (FileKeys::new("dev", &id), JobKeys::new("dev", &job));
    assert!(hold(&store, "dev", &id, &job).await.unwrap());
    store.create(&of_job.job(), "{}").await.unwrap();
    let mark = async || mark_deleted(&store, &CLOCK, &keys, 1).await.unwrap();

    mark().await;
    assert_eq!(delete(&store, &CLOCK, "dev", &id).await.unwrap(), Deletion::InUse);
    assert!(read(&store, "dev", &id, NOW_MS).await.unwrap().is_some(), "it is there again");
    mark().await;
    assert!(matches!(expire::file(&store, &CLOCK, "dev", &id).await.unwrap(), expire::Look::Again(_)));
    assert!(store.exists(&keys.content()).await.unwrap());

    store.create(&of_job.end(), "{}").await.unwrap();
    assert_eq!(delete(&store, &CLOCK, "dev", &id).await.unwrap(), Deletion::Gone);
    assert!(!store.exists(&keys.content()).await.unwrap());
}

#[tokio::test]
async fn pages_follow_each_other_even_where_files_go() {
    let store = Store::memory();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(put(&store, b"x").await);
    }
    // Files of one millisecond stand in the order of their ids.
    let all = listed(&store, 10, None, Order::Descending).await.0;
    assert_eq!(all.len(), 5);
    let mut backwards = listed(&store, 10, None, Order::Ascending).await.0;
    backwards.reverse();
    assert_eq!(all, backwards);
    for order in [Order::Descending, Order::Ascending] {
        let all = listed(&store, 10, None, order).await.0;
        assert_eq!(listed(&store, 2, None, order).await, (all[..2].to_vec(), true));
        assert_eq!(listed(&store, 2, Some(&all[1]), order).await, (all[2..4].to_vec(), true));
        assert_eq!(listed(&store, 2, Some(&all[3]), order).await, (all[4..].to_vec(), false));
        assert_eq!(listed(&store, 2, Some(&all[4]), order).await, (Vec::new(), false));
    }
    delete(&store, &CLOCK, "dev", &all[1]).await.unwrap();
    assert_eq!(listed(&store, 2, Some(&all[1]), Order::Descending).await, (all[2..4].to_vec(), true));
    let after = Some(Name::Upload(id::random()));
    let never = Listing { limit: 1, after, order: Order::Descending, kinds: Kinds::Uploads };
    assert!(list((&store, &CLOCK), "dev", &never, id_of).await.unwrap().is_none());
}

#[tokio::test]
async fn an_expired_file_is_gone() {
    let store = Store::memory();
    let incoming = Incoming::begin(&store, "dev", NOW_MS).await.unwrap();
    let meta = FileMeta { expires_ms: Some(NOW_MS), ..meta(incoming.id(), 0) };
    incoming.finish().await.unwrap();
    commit(&store, &meta).await.unwrap();
    assert!(read(&store, "dev", &meta.file, NOW_MS - 1).await.unwrap().is_some());
    assert!(read(&store, "dev", &meta.file, NOW_MS).await.unwrap().is_none());
    assert!(listed(&store, 10, None, Order::Descending).await.0.is_empty());
}

#[tokio::test]
async fn a_file_that_a_job_reads_stays_until_the_job_ends() {
    let store = Store::memory();
    let id = put(&store, b"x").await;
    let job = JobId::random();
    let keys = JobKeys::new("dev", &job);
    assert!(hold(&store, "dev", &id, &job).await.unwrap());
    assert_eq!(delete(&store, &CLOCK, "dev", &id).await.unwrap(), Deletion::InUse, "being made");
    store.create(&keys.job(), "{}").await.unwrap();
    assert_eq!(delete(&store, &CLOCK, "dev", &id).await.unwrap(), Deletion::InUse);
    assert!(read(&store, "dev", &id, NOW_MS).await.unwrap().is_some());
    store.create(&keys.end(), "{}").await.unwrap();
    assert_eq!(delete(&store, &CLOCK, "dev", &id).await.unwrap(), Deletion::Gone);
    assert!(!hold(&store, "dev", &id, &JobId::random()).await.unwrap(), "it is gone");
}
