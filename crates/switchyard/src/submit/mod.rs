//! `switchyard submit`: a file of requests becomes a job, and the job's results become files.
//!
//! - [`wishes`]: deadline, price and labels as they are given
//! - `input`: checks the file's lines, here and with their numbers, and reads them again to send them
//! - `api`: the calls: file, batch, content
//! - `follow`: how far the job is, until it ends
//! - `results`: its results as files
//!
//! A submit may be killed at any point and run again: the file is found by its digest in its name, the
//! batch by its Idempotency-Key.

mod api;
mod follow;
mod input;
mod results;
pub mod wishes;

use std::process::ExitCode;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use wire::jobs::JobView;
use wire::openai::{Batch, BatchCreate, BatchStatus};

use crate::Failure;
use crate::cli::Submit;
use crate::client::{Client, Error, JobId};
use crate::jobs;
use crate::place::Place;
use crate::print::Printer;
use crate::render::{count, of, relative};
use follow::Followed;
use input::{Form, Input};

/// The file or the wishes were refused.
const REFUSED: u8 = 2;
/// As shells report ctrl-c.
const INTERRUPTED: u8 = 130;
/// A batch that is older than this when it is accepted was made by an earlier submit.
const JOINED_AFTER_MS: u64 = 5_000;

/// Why nothing runs.
enum Stop {
    /// The file or the wishes: nobody but their author can help.
    Refused,
    /// Anything else.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

/// Submits, follows and fetches.
///
/// # Errors
/// What went wrong; refusals have been told, and are an exit code.
pub async fn run(flags: Submit, place: &Place, printer: &Printer) -> Result<ExitCode, Failure> {
    let client = Client::find(&flags.target, place)?;
    let accepted = match accept(&client, &flags, place, printer).await {
        Ok(accepted) => accepted,
        Err(Stop::Refused) => return Ok(ExitCode::from(REFUSED)),
        Err(Stop::Failed(failure)) => return Err(failure),
    };
    if flags.detach {
        printer.say(&format!("look at it: switchyard why {}", accepted.id));
        return Ok(ExitCode::SUCCESS);
    }
    match follow::follow(&client, &accepted.id, place.clock(), printer).await? {
        Followed::Interrupted => {
            printer.say(&format!("the job goes on; look at it: switchyard why {}", accepted.id));
            printer.say("run the same submit again to follow it and to get its results");
            Ok(ExitCode::from(INTERRUPTED))
        }
        Followed::Ended(job) => finish(&client, &flags, (&accepted, &job), printer).await,
    }
}

/// A job that exists now.
struct Accepted {
    id: JobId,
    batch: String,
}

async fn accept(client: &Client, flags: &Submit, place: &Place, printer: &Printer) -> Result<Accepted, Stop> {
    let metadata = wishes::metadata(flags.deadline.as_ref(), &flags.labels).map_err(unfit)?;
    if !flags.detach {
        results::Paths::of(&flags.file, flags.output.as_deref()).check().map_err(unfit)?;
    }
    let input = check(flags, printer).await?;
    let (file, reused) = upload(client, &input, printer).await?;
    printer.record(&json!({ "event": "uploaded", "file": file, "reused": reused }));
    let wanted = BatchCreate {
        input_file_id: file,
        endpoint: input.endpoint.clone(),
        completion_window: "24h".to_owned(),
        metadata,
        output_expires_after: None,
    };
    let key = flags.idempotency_key.clone().unwrap_or_else(|| key(&input, &wanted, flags));
    let batch = match api::create(client, &wanted, &key, flags.max_cost.as_ref()).await {
        Ok(batch) => batch,
        Err(error) => return Err(refused(error, printer)),
    };
    if batch.status == BatchStatus::Failed && batch.errors.is_some() {
        return Err(wrong_lines(&batch, printer));
    }
    let id: JobId = batch.id.parse().map_err(|_| Failure(format!("`{}` is no batch's id", batch.id)))?;
    let (created_ms, now_ms) = (batch.created_at * 1_000, place.clock().now_ms());
    let joined = now_ms.saturating_sub(created_ms) > JOINED_AFTER_MS;
    printer.record(&json!({ "event": "accepted", "job": id.as_str(), "batch": batch.id, "joined": joined }));
    if joined {
        let made = relative(created_ms, now_ms);
        printer.say(&format!("job {id}, made by the same submit {made} (another: --idempotency-key TEXT)"));
    } else {
        printer.say(&format!("job {id} is accepted"));
    }
    Ok(Accepted { id, batch: batch.id })
}

/// The wishes, told before anything is read or sent.
fn unfit(why: String) -> Stop {
    Printer::failed(&format!("{why}; nothing was sent"));
    Stop::Refused
}

async fn check(flags: &Submit, printer: &Printer) -> Result<Input, Stop> {
    let form = match &flags.model {
        Some(model) => Form::Texts { model: model.clone(), endpoint: flags.endpoint },
        None => Form::Batch,
    };
    let file = flags.file.clone();
    let checked = tokio::task::spawn_blocking(move || Input::check(&file, form)).await;
    match checked.map_err(Failure::of)? {
        Ok(input) => {
            let (lines, bytes) = (of(input.lines, "request"), count(input.bytes));
            printer.say(&format!("{lines} to {} of model {}, {bytes} bytes", input.endpoint, input.model));
            printer.record(&json!({
                "event": "checked", "requests": input.lines, "bytes": input.bytes, "sha256": input.sha256,
                "endpoint": input.endpoint, "model": input.model,
            }));
            Ok(input)
        }
        Err(input::Error::Wrong { wrong, total }) => {
            for wrong in &wrong {
                printer
                    .record(&json!({ "event": "wrong_line", "line": wrong.line, "message": wrong.message }));
            }
            input::told(&wrong).iter().for_each(|line| printer.say(line));
            let shown = wrong.len() as u64;
            let more =
                if total > shown { format!(", the first {shown} of them above") } else { String::new() };
            let file = flags.file.display();
            Printer::failed(&format!("{file} has {}{more}; nothing was sent", of(total, "wrong line")));
            Err(Stop::Refused)
        }
        Err(error @ input::Error::Unfit(_)) => {
            Printer::failed(&format!("{}: {error}; nothing was sent", flags.file.display()));
            Err(Stop::Refused)
        }
        Err(error) => Err(Stop::Failed(Failure(format!("{}: {error}", flags.file.display())))),
    }
}

/// The file's id, and whether it was there already.
async fn upload(client: &Client, input: &Input, printer: &Printer) -> Result<(String, bool), Stop> {
    if let Some(file) = api::find_file(client, input).await.map_err(Failure::from)? {
        return Ok((file, true));
    }
    printer.progress(&format!("sending {} bytes", count(input.bytes)));
    match api::upload(client, input).await {
        Ok(file) => Ok((file, false)),
        Err(error) => Err(refused(error, printer)),
    }
}

/// The same file with the same wishes is the same job.
fn key(input: &Input, wanted: &BatchCreate, flags: &Submit) -> String {
    let wishes = json!([wanted.endpoint, wanted.metadata, flags.max_cost.as_ref().map(|cost| cost.as_str())]);
    let digest = Sha256::digest(format!("{} {wishes}", input.sha256));
    format!("submit-{}", input::hex(&digest))
}

/// Tells a refusal with what would be possible instead.
fn refused(error: Error, printer: &Printer) -> Stop {
    let Error::Refused(refusal) = error else { return Stop::Failed(error.into()) };
    if !(400..500).contains(&refusal.status) || refusal.status == 429 {
        return Stop::Failed(Error::Refused(refusal).into());
    }
    printer.record(&json!({
        "event": "refused", "status": refusal.status, "code": refusal.code(),
        "message": refusal.detail.message, "alternatives": refusal.detail.alternatives,
    }));
    Printer::failed(&format!("refused: {refusal}"));
    if let Some(alternatives) = &refusal.detail.alternatives {
        wishes::alternatives(alternatives).iter().for_each(|line| printer.say(line));
    }
    Stop::Refused
}

/// The lines that pass here and not there.
fn wrong_lines(batch: &Batch, printer: &Printer) -> Stop {
    for error in batch.errors.iter().flat_map(|errors| &errors.data) {
        printer.record(&json!({ "event": "wrong_line", "line": error.line, "message": error.message }));
        let line = error.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        printer.say(&format!("{line}{}", error.message));
    }
    Printer::failed("refused: the file's lines are wrong as told above; nothing runs");
    Stop::Refused
}

async fn finish(
    client: &Client,
    flags: &Submit,
    (accepted, job): (&Accepted, &JobView),
    printer: &Printer,
) -> Result<ExitCode, Failure> {
    let paths = results::Paths::of(&flags.file, flags.output.as_deref());
    let written = results::fetch(client, &accepted.batch, &paths).await?;
    let shown = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let (results, errors) = (shown(&written.results), shown(&written.errors));
    printer.record(&json!({
        "event": "ended", "status": job.status, "items": job.items, "cost": job.cost,
        "results": results, "errors": errors,
    }));
    let done = format!("{} of {}", count(job.items.done), of(job.items.total, "item"));
    printer.say(&format!("{}: {done}, {}", job.status, jobs::cost(job)));
    for (what, file) in [("results", results), ("errors", errors)] {
        if let Some(file) = file {
            printer.say(&format!("  {what:<8} {file}"));
        }
    }
    if job.status == "completed" {
        return Ok(ExitCode::SUCCESS);
    }
    printer.say(&format!("look at it: switchyard why {} --logs", accepted.id));
    Ok(ExitCode::FAILURE)
}
