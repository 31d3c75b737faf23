//! Results streamed from chunks of every kind.

use facts::job::{Counts, Estimate, Input, Kind, Shard, Status};
use facts::{JobId, VERSION, line};
use futures_util::TryStreamExt;
use serde_json::value::RawValue;

use super::*;

/// A job of these shards' lines, with chunks of three lines.
fn job(shards: &[u32]) -> Job {
    let mut first_line = 0;
    let shard = |lines: &u32| {
        let shard = Shard { offset: 0, bytes: 0, first_line, lines: *lines, work_ms: 1 };
        first_line += u64::from(*lines);
        shard
    };
    Job {
        v: VERSION,
        job: JobId::random(),
        tenant: "dev".to_owned(),
        by: String::new(),
        kind: Kind::Request,
        url: "/v1/embeddings".to_owned(),
        model: "m".to_owned(),
        digest: None,
        body_hash: String::new(),
        class: facts::job::Class::default(),
        created_ms: 0,
        deadline_ms: 0,
        max_cost_micro_usd: None,
        pool: String::new(),
        estimate: Estimate::default(),
        labels: Default::default(),
        traceparent: None,
        input: Input::Inline(String::new()),
        shards: shards.iter().map(shard).collect(),
        chunk_lines: 3,
    }
}

/// A line's result: an error of its own where its number is in `bad`, of the job where in `missing`.
fn result(n: u64, bad: &[u64], missing: &[u64]) -> String {
    let custom_id = "ä".repeat(n as usize % 7);
    if missing.contains(&n) {
        return line::error(n, &custom_id, "batch_expired", "late");
    }
    let status = if bad.contains(&n) { 400 } else { 200 };
    let body = RawValue::from_string(format!("{{\"n\":{n}}}")).unwrap();
    line::result(n, &custom_id, status, "", &body)
}

/// Writes a job's chunks; its summary, and what both files should hold.
async fn written(store: &Store, job: &Job, bad: &[u64], missing: &[u64]) -> (End, [String; 2]) {
    let keys = JobKeys::new(&job.tenant, &job.job);
    let (mut chunks, mut files) = (Vec::new(), [String::new(), String::new()]);
    for (n, shard) in (0..).zip(&job.shards) {
        for c in 0..shard.chunks(job.chunk_lines) {
            let (mut content, mut sizes) = (String::new(), ChunkSizes::default());
            for number in shard.chunk_range(job.chunk_lines, c) {
                let text = result(number, bad, missing);
                let is_error = bad.contains(&number) || missing.contains(&number);
                files[usize::from(is_error)] += &text;
                let size = if is_error { &mut sizes.errors } else { &mut sizes.output };
                *size += text.len() as u64;
                content += &text;
            }
            store.create(&keys.chunk(n, c), content).await.unwrap();
            chunks.push(sizes);
        }
    }
    let end = End {
        v: VERSION,
        status: Status::Completed,
        counts: Counts::default(),
        chunks,
        finished_ms: 0,
        at_ms: 0,
        cost_micro_usd: 0,
        compute_ms: 0,
        retries: 0,
        labels: std::collections::BTreeMap::new(),
        spent: Vec::new(),
    };
    (end, files)
}

async fn streamed(store: &Store, job: &Job, end: &End, which: Which, range: Range<u64>) -> Vec<Bytes> {
    content(store, job, end, which, range).try_collect().await.unwrap()
}

#[tokio::test]
async fn both_files_are_in_the_order_of_the_input_and_of_known_length() {
    let all: Vec<u64> = (0..17).collect();
    let cases: [(&[u64], &[u64]); 5] =
        [(&[], &[]), (&[0, 4, 16], &[]), (&[3, 4, 5], &[11, 12, 13, 14, 15, 16]), (&[], &all), (&all, &[])];
    for (bad, missing) in cases {
        let (store, job) = (Store::memory(), job(&[7, 1, 9]));
        let (end, files) = written(&store, &job, bad, missing).await;
        for (which, file) in [Which::Output, Which::Errors].into_iter().zip(&files) {
            let length = bytes(&end, which);
            assert_eq!(length, file.len() as u64, "{bad:?} {missing:?}");
            assert_eq!(streamed(&store, &job, &end, which, 0..length).await.concat(), file.as_bytes());
        }
    }
}

#[tokio::test]
async fn any_part_is_streamed_from_its_chunks_alone() {
    let (store, job) = (Store::memory(), job(&[7, 2]));
    let (end, files) = written(&store, &job, &[1, 2, 3, 8], &[]).await;
    for (which, file) in [Which::Output, Which::Errors].into_iter().zip(&files) {
        let length = file.len() as u64;
        for start in (0..length).step_by(13) {
            for stop in (start..=length).step_by(29) {
                let part = streamed(&store, &job, &end, which, start..stop).await.concat();
                assert_eq!(part, file.as_bytes()[start as usize..stop as usize], "{start}..{stop}");
            }
        }
    }
    let last = bytes(&end, Which::Output) - 1;
    assert_eq!(pieces(&job, &end, Which::Output, &(last..last + 1)).len(), 1);
}

#[tokio::test]
async fn a_chunk_that_differs_breaks_the_stream_off() {
    let (store, job) = (Store::memory(), job(&[6]));
    let (mut end, _) = written(&store, &job, &[4], &[]).await;
    end.chunks[1].output += 1;
    let length = bytes(&end, Which::Output);
    let mut parts = content(&store, &job, &end, Which::Output, 0..length);
    assert!(parts.next().await.unwrap().is_ok());
    assert!(matches!(parts.next().await, Some(Err(ResultsError::Differs { .. }))));
}
