//! The set in force: refused, kept, restored, changed and rolled back.

use std::path::Path;

use super::*;

const NOW: u64 = 1_000;

fn given(text: &str) -> Given {
    serde_json::from_str(text).unwrap()
}

fn file(text: &str) -> PathOf {
    let name = format!("switchyard-knobs-{}-{:08x}.json", std::process::id(), getrandom::u32().unwrap());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).unwrap();
    PathOf(path)
}

/// A file that goes with the test.
struct PathOf(std::path::PathBuf);

impl PathOf {
    fn source(&self) -> Source {
        Source::new(Origin::File(self.0.clone()))
    }

    fn is(&self) -> Given {
        given(&std::fs::read_to_string(&self.0).unwrap())
    }
}

impl AsRef<Path> for PathOf {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for PathOf {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn a_bad_set_leaves_the_last_good_one() {
    let (file, store) = (file(r#"{"max-aca-replicas":7}"#), Store::memory());
    let source = file.source();
    source.refresh(&store, 5).await.unwrap();
    std::fs::write(&file, r#"{"max-aca-replicas":"many"}"#).unwrap();
    assert!(source.refresh(&store, 9).await.is_err());
    let now = source.now();
    assert_eq!((now.knobs.max_replicas, now.read_ms), (7, Some(5)));
    assert!(now.refused.unwrap().contains("max-aca-replicas"));
}

#[tokio::test]
async fn a_new_process_takes_the_last_good_set_of_an_earlier_one() {
    let (file, store) = (file(r#"{"max-aca-replicas":7}"#), Store::memory());
    file.source().refresh(&store, 5).await.unwrap();
    drop(file);

    let gone = Source::new(Origin::File("/nowhere/knobs.json".into()));
    assert!(gone.restore(&store).await);
    assert!(gone.refresh(&store, 9).await.is_err());
    let now = gone.now();
    assert_eq!((now.knobs.max_replicas, now.read_ms, now.is_kept), (7, Some(5), true));
    assert!(now.refused.unwrap().contains("KNOBS_FILE"));
}

#[tokio::test]
async fn a_set_is_kept_when_it_is_another_one() {
    let (file, store) = (file(r#"{"max-aca-replicas":7}"#), Store::memory());
    let source = file.source();
    for (at, replicas, kept_at) in [(5, 7, 5), (6, 7, 5), (7, 8, 7), (8, 8, 7), (9, 7, 9)] {
        std::fs::write(&file, format!(r#"{{"max-aca-replicas":{replicas}}}"#)).unwrap();
        source.refresh(&store, at).await.unwrap();
        let kept = state::last_good(&store).await.unwrap();
        assert_eq!((kept.read_unix_ms, kept.knobs), (kept_at, file.is()), "at {at}");
    }
    file.source().refresh(&store, 10).await.unwrap();
    assert_eq!(state::last_good(&store).await.unwrap().read_unix_ms, 10, "once a process");
}

#[tokio::test]
async fn what_was_read_is_not_replaced_by_what_was_kept() {
    let (old, new, store) =
        (file(r#"{"max-aca-replicas":7}"#), file(r#"{"max-aca-replicas":8}"#), Store::memory());
    old.source().refresh(&store, 5).await.unwrap();
    let kept = store.get(facts::key::KNOBS).await.unwrap().content;
    let source = new.source();
    source.refresh(&store, 9).await.unwrap();
    store.overwrite(facts::key::KNOBS, kept).await.unwrap();
    assert!(source.restore(&store).await);
    assert_eq!((source.knobs().max_replicas, source.now().is_kept), (8, false));
}

#[tokio::test]
async fn without_any_set_nothing_is_deleted_early() {
    for kept in ["not json", r#"{"v":1,"read_unix_ms":1,"knobs":{"max-aca-replicas":"many"}}"#] {
        let store = Store::memory();
        store.overwrite(facts::key::KNOBS, kept).await.unwrap();
        let source = Source::new(Origin::File("/nowhere/knobs.json".into()));
        assert!(!source.restore(&store).await, "{kept}");
        assert_eq!((source.knobs().retention_days, source.now().read_ms), (365, None));
    }
}

#[tokio::test]
async fn a_change_is_written_in_force_and_rolled_back() {
    let (file, store) = (file(r#"{"max-aca-replicas":7,"rescue-share":5}"#), Store::memory());
    let source = file.source();
    assert!(matches!(source.roll_back(&store, NOW).await, Err(ChangeError::NoPrevious)));

    let changes = given(r#"{"max-aca-replicas":"9","rescue-share":null}"#);
    source.change(&store, NOW, &changes).await.unwrap();
    assert_eq!(file.is(), given(r#"{"max-aca-replicas":"9"}"#));
    assert_eq!((source.knobs().max_replicas, source.knobs().rescue_share_percent), (9, 25));

    source.roll_back(&store, NOW).await.unwrap();
    assert_eq!((source.knobs().max_replicas, source.knobs().rescue_share_percent), (7, 5));
    source.roll_back(&store, NOW).await.unwrap();
    assert_eq!(source.knobs().max_replicas, 9, "the reverse of the reverse");
}

#[tokio::test]
async fn a_wrong_change_writes_nothing() {
    let (file, store) = (file(r#"{"max-aca-replicas":7}"#), Store::memory());
    let source = file.source();
    for wrong in [
        r#"{"max-aca-replicas":"many"}"#,
        r#"{"rescue-share":5,"min-aca-replicas":8}"#,
        r#"{"no-knob":1}"#,
        r#"{"no-knob":null}"#,
    ] {
        let refused = source.change(&store, NOW, &given(wrong)).await;
        assert!(matches!(refused, Err(ChangeError::Invalid(_))), "{wrong}: {refused:?}");
    }
    assert_eq!(file.is(), given(r#"{"max-aca-replicas":7}"#));
    assert!(matches!(source.roll_back(&store, NOW).await, Err(ChangeError::NoPrevious)));
}

#[tokio::test]
async fn a_wrong_set_is_mended_and_is_none_to_come_back_to() {
    let (file, store) = (file(r#"{"max-aca-replicas":"many"}"#), Store::memory());
    let source = file.source();
    source.change(&store, NOW, &given(r#"{"max-aca-replicas":3}"#)).await.unwrap();
    assert_eq!(source.knobs().max_replicas, 3);
    assert!(matches!(source.roll_back(&store, NOW).await, Err(ChangeError::NoPrevious)));
}
