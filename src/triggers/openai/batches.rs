//! `/v1/batches`: jobs whose lines come from a file. [`wish`] reads what is asked for, [`create`] makes
//! the job, [`shown`] tells a job as a batch.
//!
//! An input with wrong lines makes no job: its batch has failed from the start, its id is the file's,
//! and its errors are those of the file.

mod create;
pub mod shown;
mod wish;

use std::borrow::Cow;

use audit::action::Did;
use facts::job::StopWhy;
use facts::{Job, JobId, key};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use wire::catalogue::Permission;
use wire::openai::{Batch, BatchList, BatchStatus};
use wire::whole::Whole;

use super::files::{failed, store_failed};
use crate::act::fact::FactError;
use crate::act::{files, progress};
use crate::app::App;
use crate::auth::{self, Caller};
use crate::failure::{Failure, Kind as Fault};
use crate::http::{self, Method, Request, Response};
use crate::triggers::acted;
use crate::triggers::jobs::trouble;

/// Largest `limit` of a list, and the usual one (the vendor's own).
const LIMIT_MAX: usize = 100;
const LIMIT_USUAL: usize = 20;
/// Jobs that are looked at beside each other.
const AT_ONCE: usize = 8;

/// Answers `/v1/batches{/segments}`.
///
/// # Errors
/// What the caller is told instead.
pub async fn answer(app: &App, request: Request, segments: &[&str]) -> Result<Response, Failure> {
    let get = matches!(request.method, Method::GET | Method::HEAD);
    match segments {
        [] if get => list(app, &request).await,
        [] if request.method == Method::POST => Box::pin(create::answer(app, request)).await,
        [] => Err(Failure::method("GET, HEAD, POST")),
        [id] if get => show(app, &request, id).await,
        [_] => Err(Failure::method("GET, HEAD")),
        [id, "cancel"] if request.method == Method::POST => cancel(app, &request, id).await,
        [_, "cancel"] => Err(Failure::method("POST")),
        _ => Err(Failure::not_found("nothing is here; see /api/openapi.json")),
    }
}

async fn show(app: &App, request: &Request, id: &str) -> Result<Response, Failure> {
    let caller = caller(app, request, Permission::Read).await?;
    let tenant = &caller.tenant().id;
    let batch = find(app, tenant, id).await?;
    if let (BatchStatus::Finalizing, Some(job)) = (batch.status, parse(id)) {
        app.jobs.hurry(tenant, &job).await;
    }
    Ok(http::json(200, &batch))
}

/// Asks a batch to stop. Sent again, it answers as before; one that ended otherwise cannot be cancelled.
async fn cancel(app: &App, request: &Request, id: &str) -> Result<Response, Failure> {
    let caller = caller(app, request, Permission::Cancel).await?;
    let tenant = &caller.tenant().id;
    let batch = find(app, tenant, id).await?;
    let is_over = matches!(
        batch.status,
        BatchStatus::Completed | BatchStatus::Expired | BatchStatus::Failed | BatchStatus::Finalizing
    );
    if batch.cancelling_at.is_some() {
        return Ok(http::json(200, &batch));
    }
    if is_over {
        let message = "the batch has ended, or is about to; it cannot be cancelled any more";
        return Err(Failure::new(Fault::Conflict, "batch_ended", message).of("id"));
    }
    let job = parse(id).ok_or_else(|| unknown(id))?;
    let job = app.jobs.job_now(tenant, &job).await.map_err(trouble)?.ok_or_else(|| unknown(id))?;
    let reason = "the batch was cancelled before this request was done";
    app.jobs.stop(&job, StopWhy::Cancelled, reason).await.map_err(trouble)?;
    // The marker first: a ring may be lost.
    let marked = app.store.create(&key::due(key::NOW, tenant, &job.job), "").await;
    marked.map_err(|error| store_failed(&error))?;
    app.jobs.ring(tenant, &job.job, None).await;
    let (target, actor) = (format!("{tenant}/{}", job.job), caller.actor());
    let changed = (json!(batch.status), json!(BatchStatus::Cancelling));
    acted(app, (request, &actor), Did::JobCancelled, &target, changed).await;
    answer_of(app, &job).await
}

/// 200 with the batch of this job as it is now.
async fn answer_of(app: &App, job: &Job) -> Result<Response, Failure> {
    let seen = progress::of(&app.store, &app.clock, job.clone()).await.map_err(failed)?;
    let batch = shown::batch(&seen).ok_or_else(|| unknown(job.job.as_str()))?;
    Ok(http::json(200, &batch))
}

async fn list(app: &App, request: &Request) -> Result<Response, Failure> {
    let caller = caller(app, request, Permission::Read).await?;
    let tenant = &caller.tenant().id;
    let query = Query::read(request.query.as_deref().unwrap_or_default())?;
    let mut jobs =
        progress::newest_batches(&app.store, tenant).await.map_err(|error| store_failed(&error))?;
    if let Some(after) = &query.after {
        let unknown =
            || Failure::invalid("after", "invalid_cursor", "`after` is no batch that was listed here");
        let at = jobs.iter().position(|job| job == after).ok_or_else(unknown)?;
        jobs.drain(..=at);
    }
    // What follows a page is known from its keys: nothing beyond the page is read.
    let has_more = jobs.len() > query.limit;
    jobs.truncate(query.limit);
    let batches = stream::iter(jobs).map(async |id| batch_of(app, tenant, &id).await).buffered(AT_ONCE);
    // One that is being erased in this moment is listed no more.
    let batches = batches.try_filter_map(|batch| futures_util::future::ready(Ok(batch)));
    let data: Vec<Batch> = batches.try_collect().await.map_err(failed)?;
    Ok(http::json(
        200,
        &BatchList {
            object: Cow::Borrowed("list"),
            first_id: data.first().map(|batch| batch.id.clone()),
            last_id: data.last().map(|batch| batch.id.clone()),
            has_more,
            data,
        },
    ))
}

/// The tenant's batch that clients call `id`.
async fn find(app: &App, tenant: &str, id: &str) -> Result<Batch, Failure> {
    let job = parse(id).ok_or_else(|| unknown(id))?;
    if let Some(batch) = batch_of(app, tenant, &job).await.map_err(failed)? {
        return Ok(batch);
    }
    let input = files::read(&app.store, tenant, job.as_str(), app.now().0).await.map_err(failed)?;
    input.as_ref().and_then(shown::failed).ok_or_else(|| unknown(id))
}

/// The batch of a job; none where there is no job, or where it is a single request.
async fn batch_of(app: &App, tenant: &str, id: &JobId) -> Result<Option<Batch>, FactError> {
    let job = progress::job(&app.store, tenant, id).await?;
    let Some(job) = job.filter(Job::is_batch) else { return Ok(None) };
    Ok(shown::batch(&progress::of(&app.store, &app.clock, job).await?))
}

async fn caller(app: &App, request: &Request, wanted: Permission) -> Result<Caller, Failure> {
    let catalogue = app.catalogue().await?;
    auth::tenant(&catalogue, &request.headers, wanted)
}

fn parse(shown: &str) -> Option<JobId> {
    shown.strip_prefix(shown::BATCH).and_then(JobId::parse)
}

fn unknown(id: &str) -> Failure {
    let id: String = id.chars().take(64).collect();
    let message = format!("there is no batch `{id}`; `GET /v1/batches` lists yours");
    Failure::new(Fault::NotFound, "batch_not_found", message).of("id")
}

/// The query of a list. Names that we do not know are ignored, as the vendor does.
struct Query {
    limit: usize,
    after: Option<JobId>,
}

impl Query {
    fn read(text: &str) -> Result<Query, Failure> {
        let mut query = Query { limit: LIMIT_USUAL, after: None };
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            match name.as_ref() {
                "limit" => {
                    let limit = value
                        .parse()
                        .ok()
                        .map(|Whole(limit)| limit)
                        .filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    let message = format!("`limit` must be a whole number from 1 to {LIMIT_MAX}");
                    query.limit = limit.ok_or_else(|| Failure::invalid("limit", "invalid_value", message))?;
                }
                "after" => {
                    let message = "`after` is no batch's id";
                    let after = parse(&value);
                    query.after =
                        Some(after.ok_or_else(|| Failure::invalid("after", "invalid_cursor", message))?);
                }
                _ => {}
            }
        }
        Ok(query)
    }
}
