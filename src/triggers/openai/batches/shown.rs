//! A job as a batch of the OpenAI API: a pure function of its facts.

use std::borrow::Cow;

use facts::Job;
use facts::file::{FileMeta, LineError};
use facts::fold::Phase;
use facts::job::{End, Kind, Status, Stop, StopWhy};
use wire::openai::{Batch, BatchError, BatchErrors, BatchStatus, FileObject, FileStatus, RequestCounts};

use crate::act::progress::Progress;
use crate::act::results::{self, Which};

/// What clients see before a job's id.
pub const BATCH: &str = wire::openai::BATCH_PREFIX;
/// What clients see before the id of a job whose output they ask for.
pub const OUTPUT: &str = "file-out-";
/// The same for its errors.
pub const ERRORS: &str = "file-err-";

/// The batch that this job is; none where it is a single request.
pub fn batch(seen: &Progress) -> Option<Batch> {
    let job = &seen.job;
    let Kind::OpenaiBatch { file, completion_window, .. } = &job.kind else { return None };
    let status = status(seen);
    let ended_at =
        |wanted| (status == wanted).then_some(seen.end.as_ref()).flatten().map(|end| end.at_ms / 1_000);
    let file_of = |which, prefix| {
        seen.end.as_ref().filter(|end| results::bytes(end, which) > 0).map(|_| format!("{prefix}{}", job.job))
    };
    let cancelled = seen.stop.as_ref().filter(|stop| stop.why == StopWhy::Cancelled);
    let closed =
        seen.stop.as_ref().filter(|stop| stop.why != StopWhy::Cancelled && status != BatchStatus::Completed);
    let complete_ms = seen.last_chunk_ms.filter(|_| seen.state.is_done());
    let finalizing_ms =
        closed.map(|stop| stop.at_ms).or(seen.end.as_ref().map(|end| end.finished_ms)).or(complete_ms);
    Some(Batch {
        id: format!("{BATCH}{}", job.job),
        object: Cow::Borrowed("batch"),
        endpoint: job.url.clone(),
        model: job.model.clone(),
        errors: (status == BatchStatus::Failed).then_some(seen.stop.as_ref()).flatten().map(errors),
        input_file_id: format!("file-{file}"),
        completion_window: completion_window.clone(),
        status,
        output_file_id: file_of(Which::Output, OUTPUT),
        error_file_id: file_of(Which::Errors, ERRORS),
        created_at: job.created_ms / 1_000,
        in_progress_at: seen.began_ms.map(|ms| ms / 1_000),
        expires_at: Some(job.deadline_ms / 1_000),
        finalizing_at: finalizing_ms.map(|ms| ms / 1_000),
        completed_at: ended_at(BatchStatus::Completed),
        failed_at: ended_at(BatchStatus::Failed),
        expired_at: ended_at(BatchStatus::Expired),
        cancelling_at: cancelled.map(|stop| stop.at_ms / 1_000),
        cancelled_at: ended_at(BatchStatus::Cancelled),
        request_counts: counts(seen),
        metadata: Some(job.labels.clone()).filter(|labels| !labels.is_empty()),
    })
}

fn status(seen: &Progress) -> BatchStatus {
    if let Some(end) = &seen.end {
        return match end.status {
            Status::Completed => BatchStatus::Completed,
            Status::Cancelled => BatchStatus::Cancelled,
            Status::Expired => BatchStatus::Expired,
            Status::Failed => BatchStatus::Failed,
        };
    }
    match (seen.state.phase(), &seen.stop) {
        // The owner asked: it is cancelling until its files are closed.
        (_, Some(Stop { why: StopWhy::Cancelled, .. })) => BatchStatus::Cancelling,
        (Phase::Waiting, _) => BatchStatus::Validating,
        (Phase::Running, _) => BatchStatus::InProgress,
        (Phase::Stopping | Phase::Finishing | Phase::Ended, _) => BatchStatus::Finalizing,
    }
}

/// Which of the lines that are done failed is not known before the end: nobody reads results to count.
fn counts(seen: &Progress) -> RequestCounts {
    let total = seen.job.lines();
    match &seen.end {
        Some(end) => RequestCounts { total, completed: end.counts.completed, failed: end.counts.failed },
        None => RequestCounts { total, completed: seen.state.lines_done(&seen.job), failed: 0 },
    }
}

fn errors(stop: &Stop) -> BatchErrors {
    let error = BatchError {
        code: stop.code.clone().unwrap_or_else(|| stop.why.item_code().to_owned()),
        line: None,
        message: stop.reason.clone(),
        param: None,
    };
    BatchErrors { object: Cow::Borrowed("list"), data: vec![error] }
}

/// The batch of an input that no job can be made of: nothing is written for it, its id is the file's.
pub fn failed(input: &FileMeta) -> Option<Batch> {
    let lines = input.lines.as_ref().filter(|lines| !lines.errors.is_empty())?;
    let error = |error: &LineError| BatchError {
        code: error.code.clone(),
        line: Some(error.line),
        message: error.message.clone(),
        param: error.param.clone(),
    };
    let data = lines.errors.iter().map(error).collect();
    let at = input.created_ms / 1_000;
    Some(Batch {
        id: format!("{BATCH}{}", input.file),
        object: Cow::Borrowed("batch"),
        endpoint: lines.url.clone(),
        model: lines.model.clone(),
        errors: Some(BatchErrors { object: Cow::Borrowed("list"), data }),
        input_file_id: format!("file-{}", input.file),
        completion_window: "24h".to_owned(),
        status: BatchStatus::Failed,
        output_file_id: None,
        error_file_id: None,
        created_at: at,
        in_progress_at: None,
        expires_at: None,
        finalizing_at: None,
        completed_at: None,
        failed_at: Some(at),
        expired_at: None,
        cancelling_at: None,
        cancelled_at: None,
        request_counts: RequestCounts { total: lines.count(), ..RequestCounts::default() },
        metadata: None,
    })
}

/// One of an ended batch's files; none where it is empty or has expired.
pub fn file(job: &Job, end: &End, which: Which, now_ms: u64) -> Option<FileObject> {
    let bytes = results::bytes(end, which);
    let prefix = match which {
        Which::Output => OUTPUT,
        Which::Errors => ERRORS,
    };
    let expires_ms = job.output_expires_ms(end.at_ms);
    let is_there = job.is_batch() && bytes > 0 && expires_ms.is_none_or(|expires| now_ms < expires);
    is_there.then(|| FileObject {
        id: format!("{prefix}{}", job.job),
        object: Cow::Borrowed("file"),
        bytes,
        created_at: end.at_ms / 1_000,
        expires_at: expires_ms.map(|ms| ms / 1_000),
        filename: format!("{BATCH}{}_{}.jsonl", job.job, which.as_str()),
        purpose: Cow::Borrowed("batch_output"),
        status: FileStatus::Processed,
        status_details: None,
    })
}

#[cfg(test)]
mod tests;
