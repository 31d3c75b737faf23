//! One inference request: gather what is seen, ask policy, carry it out; a try that fails before its
//! first byte goes back to policy with that failure in the snapshot.

use std::time::{Duration, Instant};

use bytes::Bytes;
use policy::admit::{Ask, Limited};
use policy::estimate::{self, Choice};
use policy::reason::Code;
use policy::request::{Answer, Lane, Operation, Tier};
use policy::snapshot::{Attempt, Failure as TryFailure, Snapshot};
use policy::units::Millis;
use policy::{Decision, route, route::Verdict};
use wire::catalogue::Permission;

use super::charge::{self, Account};
use super::controls::{self, Controls, HEADERS_WITHIN};
use super::defer::{self, Sent};
use super::models::unknown;
use super::refuse;
use super::shape::{self, Shape};
use super::tier;
use crate::act::forward::{Ended, Outcome, Try, forward};
use crate::app::App;
use crate::auth::{self, Caller};
use crate::catalogue::{self, Catalogue, Model};
use crate::failure::{Failure, Kind};
use crate::http::{self, BODY_BYTES_MAX, HeaderMap, Request, Response};
use crate::metrics::{Elsewhere, names};
use crate::observe;
use crate::telemetry;

/// Tries of one request, at most: policy stops earlier unless many backends serve the model.
const TRIES_MAX: usize = 6;

/// Routes and forwards.
///
/// # Errors
/// What the caller is told when its request is wrong.
pub async fn answer(app: &App, mut request: Request, operation: Operation) -> Result<Response, Failure> {
    let now = app.now();
    let catalogue = app.catalogue().await?;
    let caller = auth::tenant(&catalogue, &request.headers, Permission::Submit)?;
    let controls = controls::read_unjudged(&request.headers, now)?;
    caller.class(controls.class)?;
    let body = request.body(BODY_BYTES_MAX).await?;
    let shape = shape::read(operation, &body)?;
    let model = model_for(&catalogue, &app.knobs.knobs().model_version, &shape, operation)?;
    shape.check(model)?;
    if request.header("x-stainless-retry-count").is_some_and(|count| count != "0") {
        app.metrics.marked_repeat();
    }
    let wanted = wanted(model, operation, &shape, &controls, now);
    let sent = Sent::new(operation, body.clone());
    let tier = shape.tier_named.then_some(shape.tier);
    let body = shape.named(&body, &model.spec.id);
    let work =
        Work { app, catalogue: &catalogue, model, wanted, controls, request: &request, caller: &caller };
    if let Some(known) = defer::made_before(&work, &sent).await? {
        return Ok(known);
    }
    work.controls.judge(now)?;
    let answer = work.run(body, &sent).await?;
    match tier {
        Some(asked) => tier::tell(answer, operation, asked).await,
        None => Ok(answer),
    }
}

/// The model that a body names, of `version` where an alias means several.
///
/// # Errors
/// 404 when it is unknown, 400 when it cannot do this.
pub fn model_for<'a>(
    catalogue: &'a Catalogue,
    version: &str,
    shape: &Shape<'_>,
    operation: Operation,
) -> Result<&'a Model, Failure> {
    let model = catalogue.asked(&shape.model, version).ok_or_else(|| unknown(&shape.model))?;
    if !model.spec.operations.contains(&catalogue::operation(operation)) {
        let what =
            format!("`{}` does not do {}; choose another model", model.spec.id, audit::operation(operation));
        return Err(Failure::invalid("model", "operation_not_supported", what));
    }
    Ok(model)
}

/// What policy looks at.
pub fn wanted(
    model: &Model,
    operation: Operation,
    shape: &Shape<'_>,
    controls: &Controls,
    now: policy::units::UnixMs,
) -> policy::Request {
    policy::Request {
        model: model.spec.id.clone(),
        operation,
        items: shape.items,
        tokens_in: shape.tokens_in,
        tokens_out: shape.tokens_out,
        arrived: now,
        deadline: controls.deadline,
        lane: controls.lane,
        answer: controls.answer,
        tier: shape.tier,
        max_cost: controls.max_cost,
        residency: None,
    }
}

/// How long a backend should take by the catalogue for this body of a job's line, sent to it now; none where
/// that cannot be told.
pub fn expected(
    app: &App,
    catalogue: &Catalogue,
    backend: &catalogue::Backend,
    (operation, body): (Operation, &[u8]),
) -> Option<Millis> {
    let shape = shape::read(operation, body).ok()?;
    let now = app.now();
    let controls = controls::read_unjudged(&HeaderMap::new(), now).ok()?;
    let wanted = wanted(catalogue.model(&shape.model)?, operation, &shape, &controls, now);
    let seen = observe::backend_now(backend, &app.metrics, &app.views, now);
    estimate::expected(&seen, &wanted)
}

/// Where a decision sends the work, as metrics have it.
fn decided_lane(decision: &Decision) -> &'static str {
    match &decision.verdict {
        Verdict::Realtime(_) => audit::lane(Lane::Realtime),
        Verdict::Deferred(_) => audit::lane(Lane::Deferred),
        Verdict::Refuse(_) => "refused",
    }
}

/// What a try takes besides its place.
struct Sending {
    body: Bytes,
    /// How long the answer should take by the catalogue.
    expected: Option<Millis>,
    /// Who charges it.
    ended: Option<Ended>,
    is_first: bool,
}

/// Everything that one request is decided and carried out with.
pub struct Work<'a> {
    /// The process.
    pub app: &'a App,
    /// Models, backends, pools.
    pub catalogue: &'a Catalogue,
    /// The model.
    pub model: &'a Model,
    /// What policy looks at.
    pub wanted: policy::Request,
    /// What headers ask for.
    pub controls: Controls,
    /// The request.
    pub request: &'a Request,
    /// Who asks.
    pub caller: &'a Caller,
}

impl Work<'_> {
    async fn run(&self, body: Bytes, sent: &Sent) -> Result<Response, Failure> {
        let mut tried = Vec::new();
        let mut account = None;
        for _ in 0..TRIES_MAX {
            let began = Instant::now();
            let snapshot = self.see(&tried);
            let decision = route(&self.app.knobs.knobs(), &self.wanted, &snapshot);
            self.took("decide", decided_lane(&decision), began);
            self.record(&snapshot, &decision);
            let choice = match &decision.verdict {
                Verdict::Realtime(choice) => choice,
                Verdict::Deferred(choice) => choice,
                Verdict::Refuse(refusal) => {
                    self.note_turned_away(&decision);
                    return Ok(refuse::answer(&decision, refusal));
                }
            };
            // What no backend could answer is let in once more, to wait: of that its tenant's limits know nothing.
            let waiting = u64::from(choice.lane == Lane::Deferred);
            if (account.is_none() || waiting > 0)
                && let Err(limited) = self.admit(choice, waiting)
            {
                return Ok(self.tell_limits(refuse::limited(&limited)));
            }
            if choice.lane == Lane::Deferred {
                return Box::pin(defer::accept(self, &decision, choice, &body, sent)).await;
            }
            let account = account.get_or_insert_with(|| Account::open(self, choice.cost));
            let seen = snapshot.backends.iter().find(|backend| backend.name == choice.place);
            let charged = seen.and_then(|backend| charge::tried(self, backend));
            let began = Instant::now();
            let sending = Sending {
                body: body.clone(),
                expected: seen.and_then(|backend| estimate::expected(backend, &self.wanted)),
                ended: charged.map(|tried| account.begin(tried)),
                is_first: tried.is_empty(),
            };
            match self.attempt(&decision, choice, sending).await {
                Some(Outcome::Answered(response)) => {
                    let lane = audit::lane(choice.lane);
                    self.took("first_byte", lane, began);
                    self.took("total", lane, self.request.began);
                    return Ok(self.tell(response, &decision, choice));
                }
                Some(Outcome::Refused(response)) => {
                    account.over(None);
                    return Ok(response);
                }
                Some(Outcome::Failed(failure)) => {
                    account.over(Some(failure));
                    tried.push(Attempt { backend: choice.place.clone(), failure });
                }
                // The breaker closed the way since it was looked at: the next look shows it.
                None => account.over(None),
            }
        }
        let message = "every try at a backend failed; try again";
        Err(Failure::new(Kind::Upstream, "backends_failed", message).retry_after(1_000))
    }

    /// Measures how long a stage of this request took.
    fn took(&self, stage: &str, lane: &str, began: Instant) {
        let route = match self.wanted.operation {
            Operation::Embeddings => "embeddings",
            Operation::ChatCompletions => "chat_completions",
            Operation::Completions => "completions",
        };
        let tier = match self.wanted.tier {
            Tier::Default => "default",
            Tier::Priority => "priority",
            Tier::Flex => "flex",
        };
        let took_ms = began.elapsed().as_secs_f64() * 1_000.0;
        let labels = [stage, lane, route, &self.model.spec.id, tier];
        telemetry::measure(&names::LATENCY, took_ms, &labels);
    }

    pub(super) fn see(&self, tried: &[Attempt]) -> Snapshot {
        let app = self.app;
        let mut snapshot =
            observe::snapshot(self.catalogue, Some(self.model), &app.metrics, &app.views, app.now());
        snapshot.tried = tried.to_vec();
        snapshot
    }

    /// Books the request on its tenant's limits; `queued_items` of it wait in the deferred lane.
    pub(super) fn admit(&self, choice: &Choice, queued_items: u64) -> Result<(), Limited> {
        let tokens = policy::units::Tokens(self.wanted.tokens_in.0.saturating_add(self.wanted.tokens_out.0));
        let ask = Ask { tokens, cost: choice.cost, queued_items };
        let (tenant, now) = (self.caller.tenant(), self.app.now());
        self.app.metrics.let_in((&tenant.id, &tenant.limits), self.elsewhere(), &ask, now)
    }

    /// Says what is left of the tenant's limits, in the vendor's headers.
    pub(super) fn tell_limits(&self, mut response: Response) -> Response {
        let tenant = self.caller.tenant();
        let limits = (tenant.id.as_str(), &tenant.limits);
        refuse::tell(&mut response, self.app.metrics.left(limits, self.elsewhere(), self.app.now()));
        response
    }

    fn elsewhere(&self) -> Option<Elsewhere> {
        self.app.views.tenant(&self.caller.tenant().id, &self.app.process(), self.app.now())
    }

    async fn attempt(&self, decision: &Decision, choice: &Choice, sending: Sending) -> Option<Outcome> {
        let app = self.app;
        let backend = self.catalogue.backend(&choice.place)?;
        let counts = app.metrics.backend(&backend.name);
        let mut under_way = counts.begin(app.now())?;
        if decision.reasons.iter().any(|reason| reason.code == Code::ColdStart) {
            under_way.expect_start();
        }
        if !sending.is_first {
            app.metrics.retried();
        }
        let request = self.request;
        let tried = Try {
            backend,
            operation: self.wanted.operation,
            model: &self.model.spec.id,
            headers: &request.headers,
            id: &request.id,
            body: sending.body,
            within: self.time_left(),
            expected: sending.expected,
            asked_by: None,
            ended: sending.ended,
        };
        let outcome = forward(&app.client, tried, under_way, || app.now()).await;
        if let Outcome::Failed(TryFailure::Warming { .. } | TryFailure::Overloaded { .. }) = outcome {
            counts.turn_away(app.now());
        }
        Some(outcome)
    }

    /// How long headers may still take, in real time.
    fn time_left(&self) -> Duration {
        let now = self.app.now();
        let within = match self.wanted.answer {
            Answer::Now { within } => within,
            Answer::LaterWelcome => HEADERS_WITHIN,
        };
        let left = Millis(within.0.saturating_sub(now.since(self.wanted.arrived).0));
        let left = self.wanted.deadline.map_or(left, |deadline| left.min(deadline.since(now)));
        self.app.clock.real(Duration::from_millis(left.0))
    }

    pub(super) fn record(&self, snapshot: &Snapshot, decision: &Decision) {
        let reason = decision.reasons.first().expect("a decision has at least one reason");
        let lane = decided_lane(decision);
        let class = self.controls.class.unwrap_or_default();
        self.app.metrics.decided(lane, &self.model.spec.id, class, reason.code);
        let facts = audit::Facts {
            tenant: &self.caller.tenant().id,
            request_id: self.request.id.to_str().unwrap_or_default(),
            request: &self.wanted,
            snapshot,
            decision,
        };
        self.app.records.add(audit::line(&facts));
    }

    /// A refused request is demand too: the scaler must see it.
    fn note_turned_away(&self, decision: &Decision) {
        let code = decision.reasons.first().map(|reason| reason.code);
        if matches!(code, Some(Code::Overloaded | Code::Warming)) {
            let realtime = decision.choices.iter().filter(|choice| choice.lane == Lane::Realtime);
            realtime.for_each(|choice| self.app.metrics.backend(&choice.place).turn_away(self.app.now()));
        }
    }

    /// Says what was decided, and why, in headers.
    pub fn tell(&self, mut response: Response, decision: &Decision, choice: &Choice) -> Response {
        let codes: Vec<&str> = decision.reasons.iter().map(|reason| reason.code.as_str()).collect();
        let backend = self.catalogue.backend(&choice.place).map(|backend| &backend.price_date);
        let pool = self.catalogue.pool(&choice.place).map(|pool| &pool.price_date);
        let prices = backend.or(pool).map_or("unknown", String::as_str);
        let cost = choice.cost.usd();
        http::set(&mut response, "switchyard-lane", audit::lane(choice.lane));
        http::set(&mut response, "switchyard-reason", &codes.join(", "));
        http::set(&mut response, "switchyard-cost", &format!("estimate={cost};currency=USD;prices={prices}"));
        let eta = format!("p50={};p95={}", choice.eta.p50.0, choice.eta.p95.0);
        http::set(&mut response, "switchyard-eta", &eta);
        response.headers_mut().insert("switchyard-model", self.model.label.clone());
        // A deferred answer is a fact, and found again.
        if self.controls.key.is_some() && choice.lane == Lane::Realtime {
            http::set(&mut response, "switchyard-idempotency", "not-stored");
        }
        self.tell_limits(response)
    }
}
