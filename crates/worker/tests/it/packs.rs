//! Packs on every kind of store: what is run, what is left alone, what is refused.

use std::collections::BTreeMap;

use clock::Clock;
use facts::job::{Input, Place};
use facts::line::OutLine;
use facts::{Store, key};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use worker::member::Outcome;
use worker::{Backend, Error, Exit, Summary};

use crate::fixture::{Fixture, Folder, encoder, line, lines, undisturbed};

type Change = fn(&mut Fixture);
type Key = fn(&Fixture) -> Option<String>;

fn outcomes(summary: &Summary) -> Vec<(Outcome, u32)> {
    summary.members.iter().map(|member| (member.outcome, member.chunks)).collect()
}

#[tokio::test]
async fn a_pack_becomes_its_chunks_on_every_store() {
    let backend = encoder();
    let inline = Fixture::new(&lines(23), 10, 4);
    let expected = undisturbed(&inline, &backend).await;
    let folder = Folder::new();
    for store in [Store::memory(), folder.store()] {
        let fixture = inline.clone().with_object(&store).await;
        fixture.put(&store).await;
        let summary = fixture.run(&store, &backend).await.unwrap();
        assert_eq!(
            outcomes(&summary),
            [(Outcome::Finished, 3), (Outcome::Finished, 3), (Outcome::Finished, 1)]
        );
        fixture.assert_whole(&store).await;
        assert_eq!(fixture.chunks(&store).await, expected, "inline and object give the same");
        assert!(fixture.is_marked_due(&store).await);
        let again = fixture.run(&store, &backend).await.unwrap();
        assert_eq!(again.chunks(), 0, "nothing is left to do");
    }
}

#[tokio::test]
async fn results_have_the_form_of_the_servers_answers() {
    let body = |body: Value| {
        json!({"custom_id": "c-0", "method": "POST", "url": "/v1/embeddings", "body": body}).to_string()
    };
    let cases = [
        (body(json!({"model": "alias", "input": ["a", "b"]})), 200, "data"),
        (
            body(json!({"model": "m", "input": "a", "encoding_format": "base64", "dimensions": 8})),
            200,
            "data",
        ),
        (body(json!({"model": "m", "input": ""})), 400, "input"),
        (body(json!({"model": "m", "input": "a", "dimensions": 4000})), 400, "dimensions"),
        (body(json!({"model": "m"})), 400, "input"),
        (line(0, "a").replace("POST", "GET"), 400, "method"),
        (line(0, "a").replace("/v1/embeddings", "/v1/completions"), 400, "url"),
    ];
    let backend = encoder();
    for (text, status, part) in cases {
        let fixture = Fixture::new(std::slice::from_ref(&text), 1, 1);
        let chunk: String = undisturbed(&fixture, &backend).await.into_values().collect();
        let found: OutLine<'_> = serde_json::from_str(&chunk).unwrap();
        let response = found.response.unwrap_or_else(|| panic!("{text}: no response"));
        assert_eq!(response.status_code, status, "{text}: {chunk}");
        assert_eq!(found.custom_id, "c-0");
        let answer: Value = serde_json::from_str(response.body.get()).unwrap();
        match status {
            200 => assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("minilm"))),
            _ => assert_eq!(answer["error"]["param"], part, "{chunk}"),
        }
    }
    let broken = Fixture::new(&["{\"custom_id\": \"c-0\"".to_owned()], 1, 1);
    let chunk: String = undisturbed(&broken, &backend).await.into_values().collect();
    assert!(chunk.contains("\"code\":\"invalid_json_line\""), "{chunk}");
}

#[tokio::test]
async fn only_what_is_claimed_for_this_pack_is_run() {
    let backend = encoder();
    let fixture = Fixture::new(&lines(6), 2, 2);
    let store = Store::memory();
    fixture.put(&store).await;
    fixture.claim(&store, 0, 2, "p-2").await;
    fixture.claim_at(&store, 1, 2, Place::Realtime { not_after_ms: u64::MAX, work_ms: 1 }).await;
    let summary = fixture.run(&store, &backend).await.unwrap();
    assert_eq!(
        outcomes(&summary),
        [(Outcome::Superseded, 0), (Outcome::Superseded, 0), (Outcome::Finished, 1)]
    );
    // Claimed anew for this pack, under whatever number.
    fixture.claim(&store, 0, 3, "p-1").await;
    let summary = fixture.run(&store, &backend).await.unwrap();
    assert_eq!(outcomes(&summary)[0], (Outcome::Finished, 1));

    let unclaimed = Store::memory();
    let (job, pack) = (serde_json::to_vec(&fixture.job), serde_json::to_vec(&fixture.pack));
    unclaimed.create(&fixture.keys.job(), job.unwrap()).await.unwrap();
    unclaimed.create(&key::pack("p-1"), pack.unwrap()).await.unwrap();
    let summary = fixture.run(&unclaimed, &backend).await.unwrap();
    assert_eq!(outcomes(&summary), [(Outcome::Superseded, 0); 3]);
}

#[tokio::test]
async fn jobs_that_need_nothing_more_are_left_alone() {
    let backend = encoder();
    let fixture = Fixture::new(&lines(2), 2, 2);
    let cases: &[(Outcome, Change, Key)] = &[
        (Outcome::Stopped, |_| (), |fixture| Some(fixture.keys.stop())),
        (Outcome::Ended, |_| (), |fixture| Some(fixture.keys.end())),
        (Outcome::Late, |fixture| fixture.job.deadline_ms = 1, |_| None),
        (Outcome::Ended, |fixture| fixture.pack.members[0].tenant = "other".to_owned(), |_| None),
    ];
    for (outcome, change, written) in cases {
        let store = Store::memory();
        let mut fixture = fixture.clone();
        change(&mut fixture);
        fixture.put(&store).await;
        if let Some(key) = written(&fixture) {
            store.create(&key, "{}").await.unwrap();
        }
        let summary = fixture.run(&store, &backend).await.unwrap();
        assert_eq!(outcomes(&summary), [(*outcome, 0)]);
        assert!(fixture.chunks(&store).await.is_empty() && !fixture.is_marked_due(&store).await);
    }
}

#[tokio::test]
async fn facts_that_make_no_sense_are_refused_and_named() {
    let backend = encoder();
    let cases: &[(Change, &str)] = &[
        (|fixture| fixture.pack.v = 9, "version 9"),
        (|fixture| fixture.job.v = 9, "version 9"),
        (|fixture| fixture.pack.members[0].shard = 7, "no shard 7"),
        (|fixture| fixture.pack.members[0].tenant = "../x".to_owned(), "no tenant"),
        (|fixture| fixture.job.chunk_lines = 0, "no lines"),
        (|fixture| fixture.job.shards[0].lines = 3, "not 3"),
        (|fixture| fixture.job.shards[0].bytes = 9_999, "ends before"),
        (|fixture| fixture.job.shards[0].bytes = u64::MAX, "bytes"),
    ];
    for (change, part) in cases {
        let mut fixture = Fixture::new(&lines(2), 2, 2);
        change(&mut fixture);
        let store = Store::memory();
        fixture.put(&store).await;
        let error = fixture.run(&store, &backend).await.expect_err(part);
        assert!(error.to_string().contains(part), "{error} lacks {part}");
        assert_eq!(Exit::from(&error), Exit::Unreadable, "{error}");
    }
    let mut lost = Fixture::new(&lines(2), 2, 2);
    lost.job.input = Input::Object("t/dev/files/x/content".to_owned());
    let store = Store::memory();
    lost.put(&store).await;
    let error = lost.run(&store, &backend).await.expect_err("the input is gone");
    assert!(error.to_string().contains("files/x/content"), "{error}");
}

#[tokio::test]
async fn a_missing_pack_and_other_weights_are_refused() {
    let backend = encoder();
    let store = Store::memory();
    let fixture = Fixture::new(&lines(2), 2, 2);
    let error = fixture.run(&store, &backend).await.expect_err("there is no pack");
    assert_eq!(Exit::from(&error), Exit::Missing, "{error}");

    let other = || Some(format!("sha256:{}", "0".repeat(64)));
    for (digest_of_pack, digest_of_job) in [(other(), None), (None, other())] {
        let mut fixture = fixture.clone();
        (fixture.pack.digest, fixture.job.digest) = (digest_of_pack, digest_of_job);
        let store = Store::memory();
        fixture.put(&store).await;
        let error = fixture.run(&store, &backend).await.expect_err("the weights are others");
        assert_eq!(Exit::from(&error), Exit::Model, "{error}");
        assert!(fixture.chunks(&store).await.is_empty());
    }
    let mut right = fixture.clone();
    right.pack.digest = backend.digest().map(str::to_owned);
    right.job.digest = right.pack.digest.clone();
    right.put(&store).await;
    right.run(&store, &backend).await.expect("these are the weights");
}

#[tokio::test]
async fn one_bad_member_does_not_hold_up_the_others() {
    let backend = encoder();
    let mut fixture = Fixture::new(&lines(6), 2, 2);
    fixture.pack.members[1].shard = 7;
    let store = Store::memory();
    fixture.put(&store).await;
    let error = fixture.run(&store, &backend).await.expect_err("one member is bad");
    assert_eq!(Exit::from(&error), Exit::Unreadable);
    assert_eq!(fixture.chunks(&store).await.len(), 2, "its neighbours are done");
}

#[tokio::test]
async fn a_store_that_fails_ends_the_run() {
    let backend = encoder();
    let folder = Folder::new();
    let store = folder.store();
    let fixture = Fixture::new(&lines(4), 4, 2);
    fixture.put(&store).await;
    // Where chunks should go stands a file.
    let out = folder.0.join(fixture.keys.folder()).join("out");
    std::fs::write(&out, "").unwrap();
    let error = fixture.run(&store, &backend).await.expect_err("nothing can be written");
    assert_eq!(Exit::from(&error), Exit::Store, "{error}");
    std::fs::remove_file(&out).unwrap();
    fixture.run(&store, &backend).await.expect("the store is well again");
    fixture.assert_whole(&store).await;
}

#[tokio::test]
async fn a_cancelled_run_leaves_whole_chunks_only() {
    let backend = encoder();
    let fixture = Fixture::new(&lines(4), 2, 2);
    let store = Store::memory();
    fixture.put(&store).await;
    let stop = CancellationToken::new();
    stop.cancel();
    let ended = worker::run(&store, &fixture.pack, &backend, &stop, Clock::REAL).await;
    assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
    assert!(fixture.chunks(&store).await.is_empty());
}

#[tokio::test]
async fn an_item_that_killed_twice_is_given_up_and_the_others_are_not() {
    let backend = encoder();
    let fixture = Fixture::new(&lines(6), 6, 3);
    let plain = undisturbed(&fixture, &backend).await;
    let store = Store::memory();
    fixture.put(&store).await;
    for (line, by) in [(1, "a"), (1, "b"), (4, "a")] {
        store.create(&fixture.keys.trying(line, by), "").await.unwrap();
    }
    fixture.run(&store, &backend).await.unwrap();
    fixture.assert_whole(&store).await;
    let text = |chunks: &BTreeMap<String, String>| chunks.values().cloned().collect::<String>();
    let (found, plain) = (text(&fixture.chunks(&store).await), text(&plain));
    for (n, (found, plain)) in found.lines().zip(plain.lines()).enumerate() {
        match n {
            1 => assert!(found.contains("\"code\":\"worker_crashed\""), "{found}"),
            _ => assert_eq!(found, plain, "line {n}"),
        }
    }
    assert_eq!(fixture.marks(&store).await, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_existed_before_the_results_are_the_same(
        exists in prop::collection::vec(any::<bool>(), 7),
        shard_lines in 3_usize..14,
        k in 1_u32..4,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let backend: Backend = encoder();
            let fixture = Fixture::new(&lines(13), shard_lines, 2);
            let expected = undisturbed(&fixture, &backend).await;
            let store = Store::memory();
            fixture.put(&store).await;
            for shard in 0..fixture.job.shards.len() as u32 {
                for k in 2..=k {
                    fixture.claim(&store, shard, k, "p-1").await;
                }
            }
            for ((key, content), exists) in expected.iter().zip(exists.iter().cycle()) {
                if *exists {
                    store.create(key, content.clone()).await.unwrap();
                }
            }
            let summary = fixture.run(&store, &backend).await.unwrap();
            let before = exists.iter().cycle().take(expected.len()).filter(|exists| **exists).count();
            prop_assert_eq!(summary.chunks() as usize, expected.len() - before);
            prop_assert_eq!(fixture.chunks(&store).await, expected);
            Ok(())
        })?;
    }
}
