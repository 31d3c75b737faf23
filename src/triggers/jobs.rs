//! Function `Jobs`: a tenant's jobs: list, state with the reason for waiting, result, logs, webhooks,
//! cancel, promote, delete. Somebody else's job is no job.

pub mod pool;
pub mod view;
mod webhooks;

use std::sync::Arc;

use audit::action::Did;
use bytes::Bytes;
use facts::fold::Phase;
use facts::job::{Kind, StopWhy};
use facts::key::{self, JobKeys};
use facts::{JobId, line};
use futures_util::{StreamExt as _, stream};
use policy::{Knobs, dispatch};
use serde_json::json;
use serde_json::value::RawValue;
use wire::catalogue::Permission;
use wire::jobs::{JobList, JobView};
use wire::whole::Whole;

use crate::act::jobs::Trouble;
use crate::act::jobs::held_up::Step;
use crate::act::jobs::look::World;
use crate::act::jobs::survey::{Pass, Survey};
use crate::act::results::{self, Which};
use crate::app::App;
use crate::auth::{self, Actor};
use crate::catalogue::{Catalogue, Tenant};
use crate::failure::{Failure, Kind as FailureKind};
use crate::http::{self, Method, Request, Response};
use crate::observe;
use view::{Beside, Offer};

/// Jobs of one page where the request does not say.
const PAGE: usize = 20;
/// Jobs of one page at most.
const PAGE_MAX: usize = 100;
/// What is shown of a task's own log.
const LOG_BYTES: usize = 16 * 1024;
/// Tasks whose logs are shown.
const LOGS_MAX: usize = 4;
/// When to ask again for a result that is not there.
const ASK_AGAIN_MS: u64 = 5_000;

/// Answers `/api/jobs/{segments}`.
///
/// # Errors
/// What the caller is told instead.
pub async fn answer(app: &App, request: &Request, segments: &[&str]) -> Result<Response, Failure> {
    let catalogue = app.catalogue().await?;
    let wanted = match (&request.method, segments) {
        (&Method::GET | &Method::HEAD, [] | [_] | [_, "result" | "logs" | "webhooks"]) => Permission::Read,
        (&Method::POST, [_, "cancel" | "promote"]) | (&Method::DELETE, [_]) => Permission::Cancel,
        (_, [_, "cancel" | "promote"]) => return Err(Failure::method("POST")),
        (_, []) | (_, [_, "result" | "logs" | "webhooks"]) => return Err(Failure::method("GET, HEAD")),
        (_, [_]) => return Err(Failure::method("GET, HEAD, DELETE")),
        _ => return Err(Failure::not_found("nothing is here; see /api/openapi.json")),
    };
    let caller = auth::tenant(&catalogue, &request.headers, wanted)?;
    let knobs = app.knobs.knobs();
    let actor = caller.actor();
    let desk = Desk {
        app,
        catalogue: &catalogue,
        knobs: &knobs,
        tenant: &caller.tenant().id,
        by: (request, &actor),
    };
    let Some((id, rest)) = segments.split_first() else { return desk.list(request).await };
    let id = JobId::parse(id).ok_or_else(no_job)?;
    match (&request.method, rest) {
        (&Method::POST, ["cancel"]) => desk.cancel(&id).await,
        (&Method::POST, ["promote"]) => desk.promote(&id).await,
        (&Method::DELETE, _) => desk.erase(&id).await,
        (_, ["result"]) => desk.result(&id).await,
        (_, ["logs"]) => desk.logs(&id).await,
        (_, ["webhooks"]) => desk.webhooks(caller.tenant(), &id).await,
        _ => Ok(http::json(200, &desk.view(&desk.survey(&id).await?).await?)),
    }
}

/// One tenant's jobs.
struct Desk<'a> {
    app: &'a App,
    catalogue: &'a Arc<Catalogue>,
    knobs: &'a Knobs,
    tenant: &'a str,
    /// For the audit log.
    by: (&'a Request, &'a Actor),
}

impl Desk<'_> {
    fn world(&self) -> World<'_> {
        World { catalogue: self.catalogue, knobs: self.knobs }
    }

    async fn survey(&self, id: &JobId) -> Result<Survey, Failure> {
        let survey = self.app.jobs.survey(self.tenant, id, &Pass::of(self.world())).await;
        let survey = survey.map_err(trouble)?.ok_or_else(no_job)?;
        if survey.phase() == Phase::Finishing {
            self.app.jobs.hurry(self.tenant, id).await;
        }
        Ok(survey)
    }

    async fn view(&self, survey: &Survey) -> Result<JobView, Failure> {
        shown(self.app, self.world(), survey).await.map_err(trouble)
    }

    async fn list(&self, request: &Request) -> Result<Response, Failure> {
        let (limit, after) = page(request)?;
        let found = self.app.store.list(&key::index_of(self.tenant)).await;
        let found = found.map_err(|error| trouble(error.into()))?;
        let mut ids = found.iter().filter_map(|found| key::read_index(&found.key));
        if let Some(after) = after {
            ids.find(|id| *id == after).ok_or_else(|| cursor("`after` is no job that was listed here"))?;
        }
        let mut data = Vec::new();
        for id in ids.by_ref().take(limit) {
            match self.app.jobs.survey(self.tenant, &id, &Pass::of(self.world())).await {
                Ok(Some(survey)) => data.push(self.view(&survey).await?),
                // Erased since it was listed.
                Ok(None) => {}
                // One that this version cannot read hides none of the others.
                Err(error @ Trouble::Unreadable { .. }) => {
                    tracing::warn!(%error, job = %id, "a job is left out");
                }
                // What cannot be read now is not gone: half a page would say so.
                Err(error) => return Err(trouble(error)),
            }
        }
        let has_more = ids.next().is_some();
        Ok(http::json(200, &JobList { object: "list".to_owned(), data, has_more }))
    }

    async fn cancel(&self, id: &JobId) -> Result<Response, Failure> {
        let survey = self.survey(id).await?;
        if !matches!(survey.phase(), Phase::Ended | Phase::Finishing) {
            let reason = "the job was cancelled before this item was done";
            let jobs = &self.app.jobs;
            jobs.stop(&survey.job, StopWhy::Cancelled, reason).await.map_err(trouble)?;
            self.look_soon(id).await?;
            self.acted(Did::JobCancelled, &survey, "stopping").await;
        }
        Ok(http::json(200, &self.view(&self.survey(id).await?).await?))
    }

    async fn promote(&self, id: &JobId) -> Result<Response, Failure> {
        let survey = self.survey(id).await?;
        if survey.job.estimate.realtime_ms.is_none() {
            let message = "no realtime backend serves the job's model; add one to the catalogue";
            return Err(Failure::new(FailureKind::Infeasible, "not_served", message));
        }
        if matches!(survey.phase(), Phase::Waiting | Phase::Running) {
            let marked = self.app.store.create(&JobKeys::new(self.tenant, id).promote(), "").await;
            marked.map_err(|error| trouble(error.into()))?;
            self.look_soon(id).await?;
            self.acted(Did::JobPromoted, &survey, "promoted").await;
        }
        Ok(http::json(200, &self.view(&self.survey(id).await?).await?))
    }

    async fn acted(&self, did: Did, survey: &Survey, after: &str) {
        let before = view::status(survey.phase(), None);
        let target = format!("{}/{}", self.tenant, survey.job.job);
        super::acted(self.app, self.by, did, &target, (before.into(), after.into())).await;
    }

    /// The marker first: a ring may be lost.
    async fn look_soon(&self, id: &JobId) -> Result<(), Failure> {
        let marked = self.app.store.create(&key::due(key::NOW, self.tenant, id), "").await;
        marked.map_err(|error| trouble(error.into()))?;
        self.app.jobs.ring(self.tenant, id, None).await;
        Ok(())
    }

    /// Deletes an ended job's facts; one that is gone is gone already.
    async fn erase(&self, id: &JobId) -> Result<Response, Failure> {
        let survey = match self.survey(id).await {
            Ok(survey) => Some(survey),
            Err(failure) if failure.kind == FailureKind::NotFound => None,
            Err(failure) => return Err(failure),
        };
        if survey.as_ref().is_some_and(|survey| survey.phase() != Phase::Ended) {
            let message = "the job has not ended; cancel it first";
            return Err(Failure::new(FailureKind::Conflict, "job_not_ended", message));
        }
        self.app.jobs.erase(self.tenant, id).await.map_err(trouble)?;
        if let Some(survey) = &survey {
            self.acted(Did::JobDeleted, survey, "deleted").await;
        }
        Ok(http::json(200, &json!({ "id": id.as_str(), "object": "job", "deleted": true })))
    }

    /// The result of an ended job: of one request as the realtime lane would have answered it, of many
    /// as lines.
    async fn result(&self, id: &JobId) -> Result<Response, Failure> {
        let survey = self.survey(id).await?;
        if !survey.state.is_done() {
            let message = "the job has not ended; ask again, or see its state for what it waits for";
            let failure = Failure::new(FailureKind::Conflict, "job_not_finished", message);
            return Err(failure.retry_after(ASK_AGAIN_MS));
        }
        let keys = JobKeys::new(self.tenant, id);
        if let Kind::Request = survey.job.kind {
            let chunk = self.app.store.get(&keys.chunk(0, 0)).await.map_err(|error| trouble(error.into()))?;
            return single(&chunk.content);
        }
        for which in [Which::Output, Which::Errors] {
            let deleted = results::is_deleted(&self.app.store, self.tenant, id, which).await;
            if deleted.map_err(|error| trouble(error.into()))? {
                let message =
                    "a result file of this batch was deleted; what is left of the two is at /v1/files";
                return Err(Failure::new(FailureKind::Gone, "results_deleted", message));
            }
        }
        let end = self.app.jobs.end_of(&keys).await.map_err(trouble)?;
        let expires = end.and_then(|end| survey.job.output_expires_ms(end.at_ms));
        if expires.is_some_and(|expires| self.app.now().0 >= expires) {
            let message = "the batch's results have expired, as its `output_expires_after` asked";
            return Err(Failure::new(FailureKind::Gone, "results_expired", message));
        }
        let chunks: Vec<String> = (0..)
            .zip(&survey.job.shards)
            .flat_map(|(n, shard)| (0..shard.chunks(survey.job.chunk_lines)).map(move |c| (n, c)))
            .map(|(shard, c)| keys.chunk(shard, c))
            .collect();
        let store = self.app.store.clone();
        let parts = stream::iter(chunks).then(move |key| {
            let store = store.clone();
            async move { store.get(&key).await.map(|object| object.content) }
        });
        Ok(http::stream("application/jsonl", parts))
    }

    async fn webhooks(&self, tenant: &Tenant, id: &JobId) -> Result<Response, Failure> {
        let job = self.app.jobs.job_now(self.tenant, id).await.map_err(trouble)?.ok_or_else(no_job)?;
        let end = self.app.jobs.end_of(&JobKeys::new(self.tenant, id)).await.map_err(trouble)?;
        let told = webhooks::list(&self.app.store, tenant, &job, end.as_ref()).await;
        Ok(http::json(200, &told.map_err(trouble)?))
    }

    async fn logs(&self, id: &JobId) -> Result<Response, Failure> {
        let survey = self.survey(id).await?;
        let mut text = String::new();
        let tried = self.app.jobs.newest_packs(&survey, LOGS_MAX).await.map_err(trouble)?;
        for pack in tried {
            let log = self.app.jobs.log_about(&survey.job, &pack, LOG_BYTES).await.map_err(trouble)?;
            text.push_str(&format!("== task {pack}\n"));
            text.push_str(
                log.as_deref().unwrap_or("(not there: the task has not begun, or its node is gone)\n"),
            );
        }
        if text.is_empty() {
            text.push_str("no task has run for this job yet\n");
        }
        let mut response = http::bytes(200, text.into());
        http::set(&mut response, "content-type", "text/plain; charset=utf-8");
        Ok(response)
    }
}

/// The one answer of a job that was one request.
fn single(chunk: &Bytes) -> Result<Response, Failure> {
    #[derive(serde::Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        response: Option<Answer<'a>>,
        error: Option<line::ItemError>,
    }
    #[derive(serde::Deserialize)]
    struct Answer<'a> {
        status_code: u16,
        #[serde(borrow)]
        body: &'a RawValue,
    }
    let read: Option<Line<'_>> = line::split(chunk).next().and_then(|line| serde_json::from_slice(line).ok());
    match read {
        Some(Line { response: Some(answer), .. }) => {
            Ok(http::text_json(answer.status_code, answer.body.get().to_owned()))
        }
        Some(Line { error: Some(error), .. }) => {
            Err(Failure::new(FailureKind::Gone, "no_result", format!("{}: {}", error.code, error.message)))
        }
        _ => Err(Failure::new(FailureKind::Bug, "unreadable_result", "the result cannot be read")),
    }
}

fn page(request: &Request) -> Result<(usize, Option<JobId>), Failure> {
    let (mut limit, mut after) = (PAGE, None);
    for (name, value) in url::form_urlencoded::parse(request.query.as_deref().unwrap_or_default().as_bytes())
    {
        match &*name {
            "limit" => {
                let given = value
                    .parse()
                    .ok()
                    .map(|Whole(limit)| limit)
                    .filter(|limit| (1..=PAGE_MAX).contains(limit));
                let message = format!("`limit` must be from 1 to {PAGE_MAX}");
                limit = given.ok_or_else(|| Failure::invalid("limit", "invalid_value", message))?;
            }
            "after" => after = Some(JobId::parse(&value).ok_or_else(|| cursor("`after` is no job's id"))?),
            _ => {}
        }
    }
    Ok((limit, after))
}

fn cursor(message: &'static str) -> Failure {
    Failure::invalid("after", "invalid_cursor", message)
}

/// A job as its owner sees it, with what is known beside its facts.
///
/// # Errors
/// [`Trouble`].
pub async fn shown(app: &App, world: World<'_>, survey: &Survey) -> Result<JobView, Trouble> {
    let (jobs, job, now) = (&app.jobs, &survey.job, app.now());
    let keys = JobKeys::new(&job.tenant, &job.job);
    let beside = Beside {
        stop: if survey.state.stopped { jobs.stop_of(&keys).await? } else { None },
        end: if survey.state.ended { jobs.end_of(&keys).await? } else { None },
        offer: offer(app, world, survey).await,
        held_up: jobs.held_up().of(&Step::look(&job.tenant, &job.job), now),
        is_unrung: jobs.unrung().is_some(),
        pool: app.views.fresh(now).and_then(|view| view.pools.get(&job.pool).cloned()),
    };
    Ok(view::view(survey, &beside, now))
}

/// What the pool offers that a job waits for. Not knowing it must not hide the job.
async fn offer(app: &App, world: World<'_>, survey: &Survey) -> Offer {
    if survey.waiting().next().is_none() {
        return Offer::NotAsked;
    }
    let spent = observe::spent_this_hour(&app.metrics, &app.views, app.now());
    if let Some(reason) = dispatch::paused(world.knobs, spent, app.now()) {
        return Offer::Paused(reason);
    }
    let offer = app.jobs.offer_of(world, &survey.job.pool).await.unwrap_or(None);
    offer.map_or(Offer::None, Offer::Of)
}

/// The same for a job that is not there, one of another tenant, and what is no id at all.
fn no_job() -> Failure {
    Failure::new(FailureKind::NotFound, "job_not_found", "there is no such job; `GET /api/jobs` lists yours")
}

/// A dependency failed: nothing is lost, and waiting helps.
pub fn trouble(trouble: Trouble) -> Failure {
    tracing::warn!(error = %trouble, "a dependency of the deferred lane failed");
    let message = match trouble {
        Trouble::Unreadable { .. } => {
            "a fact of this job is of a version that cannot be read here; nothing is lost, tell the operator"
        }
        Trouble::Store(_) => "the blob store did not answer; nothing is lost, try again",
        Trouble::Batch(_) | Trouble::Pool(_) => "Azure Batch did not answer; nothing is lost, try again",
    };
    Failure::new(FailureKind::Unavailable, "dependency_failed", message).retry_after(2_000)
}
