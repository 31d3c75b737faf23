//! `POST /v1/batches`: a file becomes a job. Only the file's meta is read: its lines were checked and
//! counted when they came in.

use facts::file::{FileMeta, Lines};
use facts::job::Kind as JobKind;
use facts::key::{self, FileKeys};
use facts::{Job, JobId};
use policy::estimate::Choice;
use policy::request::{Answer, LaneWish, Tier};
use policy::route::Verdict;
use policy::units::Tokens;
use policy::{Decision, route};
use wire::catalogue::Permission;
use wire::openai::Batch;

use super::wish::{self, Wish};
use super::{answer_of, shown};
use crate::act::files as uploads;
use crate::act::jobs::accept::{Accepted, New, NewLines};
use crate::app::App;
use crate::auth;
use crate::catalogue::{self, Catalogue, Model};
use crate::failure::Failure;
use crate::http::{self, Request, Response};
use crate::triggers::jobs::trouble;
use crate::triggers::openai::infer::Work;
use crate::triggers::openai::{controls, defer, files, models, refuse};

/// A body holds a few names and at most 16 pairs.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// What keys of batches name, beside those of inference.
const OPERATION: &str = "batches";

/// Makes a batch of a file.
///
/// # Errors
/// What the caller is told instead; then there is none.
pub async fn answer(app: &App, mut request: Request) -> Result<Response, Failure> {
    let now = app.now();
    let catalogue = app.catalogue().await?;
    let caller = auth::tenant(&catalogue, &request.headers, Permission::Submit)?;
    let tenant = &caller.tenant().id;
    let mut controls = controls::read_unjudged(&request.headers, now)?;
    if controls.lane == LaneWish::Realtime {
        let message = "a batch runs in the deferred lane; drop the header";
        return Err(Failure::invalid("Switchyard-Lane", "contradictory_headers", message));
    }
    let body = request.body(BODY_BYTES_MAX).await?;
    let body_hash = key::hex_sha256(&[OPERATION.as_bytes(), b"\n", &body].concat());
    let id = controls.key.as_ref().map(|key| JobId::of_key(tenant, OPERATION, key));
    // Before the wish is judged: what made a batch then makes the same one now, whatever has passed since.
    if let Some(job) = made_before(app, &request, tenant, id.as_ref(), &body_hash).await? {
        return answer_of(app, &job).await;
    }
    controls.judge(now)?;
    let wish = wish::read(&body, now)?;
    controls.deadline = controls.deadline.or(wish.deadline);
    controls.class = Some(caller.class(controls.class.or(wish.class))?);
    let input = input(app, tenant, &wish).await?;
    if let Some(failed) = shown::failed(&input) {
        return Ok(http::json(200, &as_asked(failed, &wish)));
    }
    let lines = lines(&input)?;
    let model = model(&catalogue, &app.knobs.knobs().model_version, lines, &wish)?;
    let wanted = policy::Request {
        lane: LaneWish::Deferred,
        answer: Answer::LaterWelcome,
        deadline: Some(controls.deadline.unwrap_or(now + defer::WINDOW)),
        max_cost: controls.max_cost,
        ..sizes(lines, model, &wish, now)
    };
    let work =
        Work { app, catalogue: &catalogue, model, wanted, controls, request: &request, caller: &caller };
    let made = Made { id: id.unwrap_or_else(JobId::random), body_hash, wish: &wish, input: &input, lines };
    made.run(&work).await
}

/// The job that this very request made before: by its key, or because the SDK marks it as a repeat.
async fn made_before(
    app: &App,
    request: &Request,
    tenant: &str,
    id: Option<&JobId>,
    body_hash: &str,
) -> Result<Option<std::sync::Arc<Job>>, Failure> {
    if let Some(id) = id {
        return match app.jobs.accepted_before(tenant, id, body_hash).await.map_err(trouble)? {
            Some(Accepted::Job(job)) => Ok(Some(job)),
            Some(Accepted::OtherBody) => Err(defer::other_body()),
            None => Ok(None),
        };
    }
    if request.header("x-stainless-retry-count").is_none_or(|count| count == "0") {
        return Ok(None);
    }
    app.jobs.made_lately(tenant, body_hash, defer::REPEAT_WITHIN_MS).await.map_err(trouble)
}

async fn input(app: &App, tenant: &str, wish: &Wish) -> Result<FileMeta, Failure> {
    let found = files::input(app, tenant, &wish.create.input_file_id).await;
    found.map_err(|failure| failure.of("input_file_id"))
}

fn lines(input: &FileMeta) -> Result<&Lines, Failure> {
    let message = "the file is no input of a batch; upload it with the purpose `batch`";
    input.lines.as_ref().ok_or_else(|| Failure::invalid("input_file_id", "invalid_purpose", message))
}

fn model<'a>(
    catalogue: &'a Catalogue,
    version: &str,
    lines: &Lines,
    wish: &Wish,
) -> Result<&'a Model, Failure> {
    if lines.url != wish.create.endpoint {
        let message = format!("`endpoint` differs from the file's `url`, which is `{}`", lines.url);
        return Err(Failure::invalid("endpoint", "mismatched_endpoint", message));
    }
    let model = catalogue.asked(&lines.model, version).ok_or_else(|| models::unknown(&lines.model))?;
    if !model.spec.operations.contains(&catalogue::operation(wish.operation)) {
        let message =
            format!("`{}`, the model of the file, does not do {}", model.spec.id, wish.create.endpoint);
        return Err(Failure::invalid("endpoint", "operation_not_supported", message));
    }
    Ok(model)
}

/// The work of all lines, as one request.
fn sizes(lines: &Lines, model: &Model, wish: &Wish, now: policy::units::UnixMs) -> policy::Request {
    let sum = |of: fn(&facts::file::Block) -> u64| lines.blocks.iter().map(of).sum();
    policy::Request {
        model: model.spec.id.clone(),
        operation: wish.operation,
        items: sum(|block| block.items),
        tokens_in: Tokens(sum(|block| block.tokens_in)),
        tokens_out: Tokens(sum(|block| block.tokens_out)),
        arrived: now,
        deadline: None,
        lane: LaneWish::Deferred,
        answer: Answer::LaterWelcome,
        tier: Tier::Default,
        max_cost: None,
        residency: None,
    }
}

/// A batch that is being made.
struct Made<'a> {
    id: JobId,
    body_hash: String,
    wish: &'a Wish,
    input: &'a FileMeta,
    lines: &'a Lines,
}

impl Made<'_> {
    async fn run(self, work: &Work<'_>) -> Result<Response, Failure> {
        let snapshot = work.see(&[]);
        let decision = route(&work.app.knobs.knobs(), &work.wanted, &snapshot);
        work.record(&snapshot, &decision);
        let choice = match &decision.verdict {
            Verdict::Deferred(choice) | Verdict::Realtime(choice) => choice,
            Verdict::Refuse(refusal) => return Ok(refuse::answer(&decision, refusal)),
        };
        if let Err(limited) = work.admit(choice, self.lines.count()) {
            return Ok(work.tell_limits(refuse::limited(&limited)));
        }
        self.accept(work, &decision, choice).await
    }

    async fn accept(
        self,
        work: &Work<'_>,
        decision: &Decision,
        choice: &Choice,
    ) -> Result<Response, Failure> {
        let (app, input) = (work.app, self.input);
        let held = uploads::hold(&app.store, &input.tenant, &input.file, &self.id).await;
        if !held.map_err(|error| files::store_failed(&error))? {
            return Err(files::unknown(&self.wish.create.input_file_id).of("input_file_id"));
        }
        let new = self.job(work, decision, choice)?;
        match app.jobs.accept(new).await.map_err(trouble)? {
            Accepted::Job(job) => Ok(work.tell(answer_of(app, &job).await?, decision, choice)),
            Accepted::OtherBody => Err(defer::other_body()),
        }
    }

    fn job(self, work: &Work<'_>, decision: &Decision, choice: &Choice) -> Result<New, Failure> {
        let (wanted, model) = (&work.wanted, work.model);
        let pool = work.catalogue.pool(&choice.place).ok_or_else(|| defer::gone(&choice.place))?;
        let lines = self.lines.count().max(1);
        let one = policy::Request {
            items: wanted.items.div_ceil(lines),
            tokens_out: Tokens(wanted.tokens_out.0.div_ceil(lines)),
            ..wanted.clone()
        };
        let keys = FileKeys::new(&self.input.tenant, &self.input.file);
        Ok(New {
            id: self.id,
            tenant: self.input.tenant.clone(),
            kind: JobKind::OpenaiBatch {
                file: self.input.file.clone(),
                completion_window: self.wish.create.completion_window.clone(),
                output_expires_s: self.wish.create.output_expires_after.as_ref().map(|after| after.seconds),
            },
            url: self.lines.url.clone(),
            model: (model.spec.id.clone(), model.spec.digest.clone()),
            class: defer::class(work.caller.class(work.controls.class)?),
            body_hash: self.body_hash,
            deadline: wanted.deadline.unwrap_or(wanted.arrived + defer::WINDOW),
            max_cost: wanted.max_cost,
            labels: self.wish.create.metadata.clone().unwrap_or_default(),
            traceparent: Some(work.request.trace()),
            pool: choice.place.clone(),
            speed: pool.facts.speed,
            bytes_per_line: defer::bytes_per_line(model, &one),
            estimate: defer::estimate(work, decision, choice, lines),
            lines: NewLines::Object(keys.content(), self.lines.blocks.clone()),
        })
    }
}

/// A batch that failed from the start, with what was asked for.
fn as_asked(failed: Batch, wish: &Wish) -> Batch {
    Batch { endpoint: wish.create.endpoint.clone(), metadata: wish.create.metadata.clone(), ..failed }
}
