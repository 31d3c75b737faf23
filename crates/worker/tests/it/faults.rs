//! Death before and after every write: the next run goes on, and the results are those of a run that
//! nothing disturbed.

use std::sync::Arc;

use facts::Store;
use facts::fault::{Act, Fault};
use worker::Backend;

use crate::fixture::{Fixture, Folder, encoder, lines, undisturbed};

/// Runs with the `n`-th write as the last thing that happens; whether it came to that.
async fn dies(fixture: &Fixture, store: &Store, backend: &Backend, after: bool, n: u64) -> bool {
    let fault = Arc::new(Fault::of_task(Act::Put, after, n));
    let store = store.clone().with_fault(Some(fault.clone()));
    tokio::select! {
        done = fixture.run(&store, backend) => {
            done.expect("no fault was met");
            false
        }
        () = fault.met() => true,
    }
}

/// Enumerates every write of a run whose shards are in try `k`; how many there are.
async fn enumerate(k: u32, mut new_store: impl FnMut() -> Store) -> u64 {
    let backend = encoder();
    let fixture = Fixture::new(&lines(11), 6, 2);
    let expected = undisturbed(&fixture, &backend).await;
    let mut writes = 0;
    for after in [false, true] {
        for n in 1.. {
            let store = new_store();
            fixture.put(&store).await;
            for k in 2..=k {
                for shard in 0..2 {
                    fixture.claim(&store, shard, k, "p-1").await;
                }
            }
            if k > 1 {
                // Somebody wrote the first chunk and died before its mark was gone.
                let first = fixture.keys.chunk(0, 0);
                store.create(&first, expected[&first].clone()).await.unwrap();
                store.create(&fixture.keys.trying(1, "other"), "").await.unwrap();
            }
            let died = dies(&fixture, &store, &backend, after, n).await;
            if died {
                fixture.run(&store, &backend).await.expect("nothing disturbs the second run");
            }
            assert_eq!(fixture.chunks(&store).await, expected, "k={k} after={after} n={n}");
            fixture.assert_whole(&store).await;
            assert!(fixture.is_marked_due(&store).await);
            assert_eq!(fixture.marks(&store).await, 0, "k={k} after={after} n={n}");
            if !died {
                break;
            }
            writes += 1;
        }
    }
    writes
}

#[tokio::test]
async fn a_run_may_die_at_any_write() {
    // Two shards of three chunks, each with its marker, dying before and after.
    assert_eq!(enumerate(1, Store::memory).await, 2 * (2 * 3 + 2));
}

#[tokio::test]
async fn a_run_may_die_at_any_write_in_a_folder() {
    let mut folders = Vec::new();
    let new_store = || {
        folders.push(Folder::new());
        folders.last().unwrap().store()
    };
    assert_eq!(enumerate(1, new_store).await, 16);
}

#[tokio::test]
async fn a_suspected_chunk_may_die_at_any_write() {
    // As above without the chunk that exists; a mark put and taken away for each of the two items of a
    // shard's first chunk; and the one that an earlier process left.
    assert_eq!(enumerate(3, Store::memory).await, 2 * (2 * 3 - 1 + 2 + 2 * 2 * 2 + 1));
}
