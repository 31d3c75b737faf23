//! Uploads in parts over a store in memory.

use facts::file::FileMeta;
use facts::key::FileKeys;
use futures_util::TryStreamExt;

use super::*;

const CLOCK: Clock = Clock::REAL;

fn wish(tenant: &str) -> UploadMeta {
    UploadMeta {
        v: VERSION,
        upload: String::new(),
        tenant: tenant.to_owned(),
        filename: "in.jsonl".to_owned(),
        purpose: "batch".to_owned(),
        bytes: 6,
        created_ms: 0,
        expires_ms: 0,
        file_expires_after_s: None,
    }
}

async fn begun(store: &Store) -> UploadMeta {
    begin(store, &CLOCK, wish("dev")).await.unwrap()
}

/// An upload that began this long ago.
async fn begun_ago(store: &Store, ago_ms: u64) -> UploadMeta {
    let created_ms = CLOCK.now_ms() - ago_ms;
    let expires_ms = created_ms + EXPIRES_AFTER_MS;
    let meta = UploadMeta { upload: id::random(), created_ms, expires_ms, ..wish("dev") };
    let key = UploadKeys::new("dev", &meta.upload).upload();
    store.create(&key, serde_json::to_vec(&meta).unwrap()).await.unwrap();
    meta
}

async fn part(store: &Store, meta: &UploadMeta, content: &'static [u8]) -> String {
    let mut incoming = Incoming::begin(store, meta).await.unwrap();
    incoming.write(Bytes::from_static(content)).await.unwrap();
    incoming.finish().await.unwrap()
}

/// A completion whose content is written, but nothing else.
async fn content_of(store: &Store, parts: &[String]) -> Ended {
    let mut incoming = files::Incoming::begin(store, "dev", CLOCK.now_ms()).await.unwrap();
    incoming.write(Bytes::from_static(b"abcdef")).await.unwrap();
    let file = FileMeta {
        v: VERSION,
        file: incoming.id().to_owned(),
        tenant: "dev".to_owned(),
        filename: "in.jsonl".to_owned(),
        purpose: "batch".to_owned(),
        bytes: 6,
        sha256: String::new(),
        created_ms: CLOCK.now_ms(),
        expires_ms: None,
        lines: None,
    };
    incoming.finish().await.unwrap();
    Ended::Completed { parts: parts.to_vec(), file }
}

async fn left(store: &Store, folder: &str) -> Vec<String> {
    store.list(folder).await.unwrap().into_iter().map(|found| found.key).collect()
}

#[tokio::test]
async fn parts_are_one_content_in_any_order() {
    let store = Store::memory();
    let meta = begun(&store).await;
    let (first, second) = (part(&store, &meta, b"abc").await, part(&store, &meta, b"def").await);
    let mut there = parts(&store, &meta).await.unwrap();
    there.sort_unstable_by_key(|part| part.part != second);
    let whole: Vec<Bytes> = content(&store, &meta, there).try_collect().await.unwrap();
    assert_eq!(whole.concat(), b"defabc");
    let mut broken = Incoming::begin(&store, &meta).await.unwrap();
    broken.write(Bytes::from_static(b"half")).await.unwrap();
    broken.abort().await;
    drop(Incoming::begin(&store, &meta).await.unwrap());
    let there = parts(&store, &meta).await.unwrap();
    assert!(there.len() == 2 && there.iter().any(|part| part.part == first), "only whole ones: {there:?}");
}

#[tokio::test]
async fn whoever_claims_first_decides() {
    let store = Store::memory();
    let meta = begun(&store).await;
    let parts = [part(&store, &meta, b"abcdef").await];
    let (ours, theirs) = (content_of(&store, &parts).await, content_of(&store, &parts).await);
    let ends = tokio::join!(
        end(&store, &CLOCK, &meta, ours),
        end(&store, &CLOCK, &meta, theirs),
        end(&store, &CLOCK, &meta, Ended::Cancelled)
    );
    let ended = ends.0.unwrap();
    assert_eq!((&ended, &ended), (&ends.1.unwrap(), &ends.2.unwrap()));
    let metas = left(&store, &key::files_of("dev")).await;
    let metas = metas.iter().filter(|key| key.ends_with("meta.json")).count();
    assert_eq!(metas, usize::from(matches!(ended, Ended::Completed { .. })), "one file at most");
    assert!(super::parts(&store, &meta).await.unwrap().is_empty());
    assert_eq!(read(&store, "dev", &meta.upload).await.unwrap().unwrap().end, Some(ended));
    assert!(read(&store, "other", &meta.upload).await.unwrap().is_none());
}

/// A process that dies between the claim and the file is followed by whoever reads the upload.
#[tokio::test]
async fn a_claimed_file_is_there_for_whoever_asks() {
    let store = Store::memory();
    let meta = begun(&store).await;
    let how = content_of(&store, &[id::random()]).await;
    let Ended::Completed { file, .. } = &how else { panic!("a completion") };
    let end = UploadEnd { v: VERSION, by: id::random(), at_ms: 1, how: how.clone() };
    let key = UploadKeys::new("dev", &meta.upload).end();
    store.create(&key, serde_json::to_vec(&end).unwrap()).await.unwrap();
    let there = async || files::read(&store, "dev", &file.file, CLOCK.now_ms()).await.unwrap();
    assert!(there().await.is_none());
    read(&store, "dev", &meta.upload).await.unwrap();
    assert_eq!(there().await.as_ref(), Some(file));
    // Deleted, it does not come back, not even once nothing is left of it.
    files::delete(&store, &CLOCK, "dev", &file.file).await.unwrap();
    read(&store, "dev", &meta.upload).await.unwrap();
    assert!(there().await.is_none());
    store.delete(&FileKeys::new("dev", &file.file).deleted()).await.unwrap();
    read(&store, "dev", &meta.upload).await.unwrap();
    assert!(there().await.is_none());
}

#[tokio::test]
async fn an_upload_that_is_left_goes_step_by_step() {
    let store = Store::memory();
    let folder = |meta: &UploadMeta| format!("{}{}/", key::uploads_of("dev"), meta.upload);
    let look = async |meta: &UploadMeta| look(&store, &CLOCK, "dev", &meta.upload).await.unwrap();

    let open = begun_ago(&store, EXPIRES_AFTER_MS + GRACE_MS - 60_000).await;
    part(&store, &open, b"abc").await;
    assert_eq!(look(&open).await, Look::Again(open.expires_ms + GRACE_MS));
    assert_eq!(parts(&store, &open).await.unwrap().len(), 1, "a completion may still run");

    let over = begun_ago(&store, EXPIRES_AFTER_MS + GRACE_MS).await;
    part(&store, &over, b"abc").await;
    assert_eq!(look(&over).await, Look::Again(over.created_ms + KNOWN_FOR_MS));
    assert!(parts(&store, &over).await.unwrap().is_empty());
    assert_eq!(end(&store, &CLOCK, &over, Ended::Cancelled).await.unwrap(), Ended::Expired, "decided");

    let forgotten = begun_ago(&store, KNOWN_FOR_MS).await;
    part(&store, &forgotten, b"abc").await;
    assert_eq!(look(&forgotten).await, Look::Over);
    assert_eq!(left(&store, &folder(&forgotten)).await, [""; 0]);
    assert_eq!(look(&forgotten).await, Look::Over);
}

#[tokio::test]
async fn a_tenant_has_so_many_open() {
    let store = Store::memory();
    let mut last = begun(&store).await;
    for _ in 1..OPEN_MAX {
        last = begun(&store).await;
    }
    let refused = begin(&store, &CLOCK, wish("dev")).await.unwrap_err();
    assert!(matches!(refused, Refused::TooManyOpen), "{refused}");
    begin(&store, &CLOCK, wish("other")).await.unwrap();
    end(&store, &CLOCK, &last, Ended::Cancelled).await.unwrap();
    begun(&store).await;

    let found = |n: usize, name: &str| Found {
        key: format!("t/dev/uploads/{n}/{name}"),
        size: 1,
        modified_ms: CLOCK.now_ms() - EXPIRES_AFTER_MS,
    };
    let ended = |most: usize| (0..most).map(|n| found(n, "upload.json")).collect::<Vec<_>>();
    assert!(has_room(&ended(DAILY_MAX - 1), &CLOCK).is_ok(), "expired ones are not open");
    assert!(matches!(has_room(&ended(DAILY_MAX), &CLOCK), Err(Refused::TooManyADay)));
}
