//! What clients see of a job at every point of its life.

use std::collections::BTreeMap;

use facts::file::{Block, Lines};
use facts::fold::{Found, fold};
use facts::job::{ChunkSizes, Counts, Estimate, Input, Shard};
use facts::key::JobKeys;
use facts::{JobId, State, VERSION};

use super::*;

const T: u64 = 1_793_534_400;

fn job() -> Job {
    let shard = |first_line| Shard { offset: 0, bytes: 1, first_line, lines: 4, work_ms: 1 };
    Job {
        v: VERSION,
        job: JobId::of_key("dev", "batch", "k"),
        tenant: "dev".to_owned(),
        by: String::new(),
        kind: Kind::OpenaiBatch {
            file: "in".to_owned(),
            completion_window: "24h".to_owned(),
            output_expires_s: None,
        },
        url: "/v1/embeddings".to_owned(),
        model: "m".to_owned(),
        digest: None,
        body_hash: String::new(),
        class: facts::job::Class::default(),
        created_ms: T * 1_000,
        deadline_ms: (T + 86_400) * 1_000,
        max_cost_micro_usd: None,
        pool: "pool".to_owned(),
        estimate: Estimate::default(),
        labels: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
        traceparent: None,
        input: Input::Inline(String::new()),
        shards: vec![shard(0), shard(4)],
        chunk_lines: 2,
    }
}

fn stop(why: StopWhy) -> Stop {
    Stop { v: VERSION, why, code: None, reason: "no pool".to_owned(), at_ms: (T + 50) * 1_000 }
}

fn end(status: Status, completed: u64, failed: u64) -> End {
    let sizes = |output, errors| ChunkSizes { output, errors };
    let unfinished = 8 - completed - failed;
    End {
        v: VERSION,
        status,
        counts: Counts { completed, failed, unfinished },
        chunks: vec![sizes(10 * completed, 0), sizes(0, 0), sizes(0, 7 * failed), sizes(0, 5 * unfinished)],
        finished_ms: (T + 60) * 1_000,
        at_ms: (T + 61) * 1_000,
        cost_micro_usd: 0,
        compute_ms: 0,
        retries: 0,
        labels: BTreeMap::new(),
        spent: Vec::new(),
    }
}

/// The state of a job that has these facts.
fn state(job: &Job, tried: bool, chunks: &[(u32, u32)], stopped: bool) -> State {
    let keys = JobKeys::new(&job.tenant, &job.job);
    let tries = tried.then(|| keys.try_(0, 1)).into_iter();
    let chunks = chunks.iter().map(|(shard, c)| keys.chunk(*shard, *c));
    let listing = tries.chain(chunks).chain(stopped.then(|| keys.stop()));
    let listing: Vec<Found> = listing.map(|key| Found { key, size: 1, modified_ms: 1 }).collect();
    fold(job, &listing)
}

struct Case {
    what: &'static str,
    tried: bool,
    chunks: &'static [(u32, u32)],
    stop: Option<StopWhy>,
    end: Option<(Status, u64, u64)>,
    status: BatchStatus,
    /// Completed and failed.
    counts: (u64, u64),
    /// Names of the times that are set, besides `created_at` and `expires_at`.
    times: &'static [&'static str],
    /// Whether there is an output and an error file.
    files: (bool, bool),
}

const ALL: &[(u32, u32)] = &[(0, 0), (0, 1), (1, 0), (1, 1)];
const NEW: Case = Case {
    what: "new",
    tried: false,
    chunks: &[],
    stop: None,
    end: None,
    status: BatchStatus::Validating,
    counts: (0, 0),
    times: &[],
    files: (false, false),
};
const RUNNING: Case = Case {
    what: "running",
    tried: true,
    chunks: &[(0, 0), (1, 1)],
    status: BatchStatus::InProgress,
    counts: (4, 0),
    times: &["in_progress_at"],
    ..NEW
};
const DONE: Case = Case { chunks: ALL, counts: (8, 0), ..RUNNING };

fn cases() -> Vec<Case> {
    use BatchStatus as B;
    let stopped = |what, why, status, times| Case { what, stop: Some(why), status, times, ..RUNNING };
    let ended = |what, stop, end, status, counts, times, files| Case {
        what,
        stop,
        end: Some(end),
        status,
        counts,
        times,
        files,
        ..DONE
    };
    let cancelling: &[&str] = &["in_progress_at", "cancelling_at"];
    vec![
        NEW,
        RUNNING,
        stopped("cancelling", StopWhy::Cancelled, B::Cancelling, cancelling),
        stopped("expiring", StopWhy::Expired, B::Finalizing, &["in_progress_at", "finalizing_at"]),
        stopped("failing", StopWhy::Failed, B::Finalizing, &["in_progress_at", "finalizing_at"]),
        Case {
            what: "cancelled before it began",
            stop: Some(StopWhy::Cancelled),
            status: B::Cancelling,
            times: &["cancelling_at"],
            ..NEW
        },
        Case { what: "complete", status: B::Finalizing, times: &["in_progress_at", "finalizing_at"], ..DONE },
        ended(
            "completed",
            None,
            (Status::Completed, 7, 1),
            B::Completed,
            (7, 1),
            &["in_progress_at", "finalizing_at", "completed_at"],
            (true, true),
        ),
        ended(
            "completed although it was cancelled",
            Some(StopWhy::Cancelled),
            (Status::Completed, 8, 0),
            B::Completed,
            (8, 0),
            &["in_progress_at", "finalizing_at", "completed_at", "cancelling_at"],
            (true, false),
        ),
        ended(
            "cancelled",
            Some(StopWhy::Cancelled),
            (Status::Cancelled, 2, 1),
            B::Cancelled,
            (2, 1),
            &["in_progress_at", "finalizing_at", "cancelling_at", "cancelled_at"],
            (true, true),
        ),
        ended(
            "expired",
            Some(StopWhy::Expired),
            (Status::Expired, 3, 0),
            B::Expired,
            (3, 0),
            &["in_progress_at", "finalizing_at", "expired_at"],
            (true, true),
        ),
        ended(
            "failed",
            Some(StopWhy::Failed),
            (Status::Failed, 0, 0),
            B::Failed,
            (0, 0),
            &["in_progress_at", "finalizing_at", "failed_at"],
            (false, true),
        ),
    ]
}

#[test]
fn every_point_of_a_jobs_life_is_a_batch() {
    let job = job();
    for case in cases() {
        let state = state(&job, case.tried, case.chunks, case.stop.is_some());
        let stop = case.stop.map(stop);
        let end = case.end.map(|(status, completed, failed)| end(status, completed, failed));
        let seen = Progress {
            job: job.clone(),
            state,
            began_ms: case.tried.then_some((T + 5) * 1_000),
            last_chunk_ms: (!case.chunks.is_empty()).then_some((T + 60) * 1_000),
            stop,
            end,
        };
        let batch = batch(&seen).unwrap();
        let what = case.what;
        assert_eq!(batch.status, case.status, "{what}");
        let counts = RequestCounts { total: 8, completed: case.counts.0, failed: case.counts.1 };
        assert_eq!(batch.request_counts, counts, "{what}");
        let text = serde_json::to_value(&batch).unwrap();
        let times = [
            ("in_progress_at", 5),
            (
                "finalizing_at",
                if matches!(case.stop, Some(StopWhy::Expired | StopWhy::Failed)) { 50 } else { 60 },
            ),
            ("completed_at", 61),
            ("failed_at", 61),
            ("expired_at", 61),
            ("cancelling_at", 50),
            ("cancelled_at", 61),
        ];
        for (name, after) in times {
            let wanted = case.times.contains(&name).then_some(T + after);
            assert_eq!(text[name].as_u64(), wanted, "{what}: {name}");
        }
        assert_eq!((batch.created_at, batch.expires_at), (T, Some(T + 86_400)));
        let id = job.job.as_str();
        assert_eq!(batch.output_file_id, case.files.0.then(|| format!("file-out-{id}")), "{what}");
        assert_eq!(batch.error_file_id, case.files.1.then(|| format!("file-err-{id}")), "{what}");
        assert_eq!(batch.errors.is_some(), case.status == BatchStatus::Failed, "{what}");
    }
}

#[test]
fn what_the_client_gave_comes_back() {
    let job = job();
    let state = state(&job, false, &[], false);
    let mut seen =
        Progress { job: job.clone(), state, began_ms: None, last_chunk_ms: None, stop: None, end: None };
    let batch = batch(&seen).unwrap();
    assert_eq!(
        (batch.id.as_str(), batch.input_file_id.as_str()),
        (&*format!("batch_{}", job.job), "file-in")
    );
    assert_eq!((batch.endpoint.as_str(), batch.completion_window.as_str()), ("/v1/embeddings", "24h"));
    assert_eq!(batch.metadata, Some(job.labels.clone()));
    seen.job.kind = Kind::Request;
    assert!(super::batch(&seen).is_none());
}

#[test]
fn files_of_an_ended_batch_are_those_that_hold_something() {
    let (job, end) = (job(), end(Status::Completed, 8, 0));
    let (mut job, ended) = (job, end.at_ms);
    let output = file(&job, &end, Which::Output, ended).unwrap();
    assert_eq!(output.expires_at, None);
    assert_eq!((output.bytes, output.purpose.as_ref()), (80, "batch_output"));
    assert_eq!(output.filename, format!("batch_{}_output.jsonl", job.job));
    assert!(file(&job, &end, Which::Errors, ended).is_none());
    let Kind::OpenaiBatch { output_expires_s, .. } = &mut job.kind else { unreachable!("it is a batch") };
    *output_expires_s = Some(3_600);
    let shown = |after_ms| file(&job, &end, Which::Output, ended + after_ms);
    assert_eq!(shown(3_599_999).unwrap().expires_at, Some(T + 61 + 3_600));
    assert!(shown(3_600_000).is_none(), "it has expired");
}

#[test]
fn a_broken_input_is_a_failed_batch_with_its_lines() {
    let error =
        LineError { line: 3, code: "invalid_json_line".to_owned(), message: "no".to_owned(), param: None };
    let lines = Lines {
        url: "/v1/embeddings".to_owned(),
        model: "m".to_owned(),
        errors: vec![error],
        blocks: vec![Block { lines: 4, ..Block::default() }],
    };
    let mut input = FileMeta {
        v: VERSION,
        file: "in".to_owned(),
        tenant: "dev".to_owned(),
        filename: "in.jsonl".to_owned(),
        purpose: "batch".to_owned(),
        bytes: 9,
        sha256: String::new(),
        created_ms: T * 1_000,
        expires_ms: None,
        lines: Some(lines),
    };
    let batch = failed(&input).unwrap();
    assert_eq!(
        (batch.id.as_str(), batch.status, batch.failed_at),
        ("batch_in", BatchStatus::Failed, Some(T))
    );
    assert_eq!(batch.request_counts, RequestCounts { total: 4, completed: 0, failed: 0 });
    assert_eq!(batch.errors.unwrap().data[0].line, Some(3));
    input.lines.as_mut().unwrap().errors.clear();
    assert!(failed(&input).is_none());
}
