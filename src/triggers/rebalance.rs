//! Function `Rebalance`: every five minutes, how many nodes each pool shall have becomes the formula that
//! the pool follows by itself until the next. Two rebalances at once do no harm: they write the same.

use std::sync::Arc;

use audit::action::{Action, Actor, Did};
use facts::VERSION;
use facts::view::pool::{Planned, PoolState, Why};
use facts::view::{Quantiles, View};
use futures_util::{StreamExt as _, stream};
use policy::knobs::AutoscaleMode;
use policy::rebalance::{Alert, Decision, Observed, rebalance};
use policy::snapshot::Sight as Seeing;
use policy::units::MicroUsd;
use serde_json::json;
use wire::envelope::{Done, Envelope};

use crate::act::jobs::look::World;
use crate::act::rebalance::carry_out::{CarriedOut, Outcome, carry_out};
use crate::act::rebalance::demand::{Demands, demands};
use crate::act::rebalance::sight::{self, Sight};
use crate::act::rebalance::{alerts, formula, state};
use crate::app::App;
use crate::catalogue::Pool;
use crate::failure::Failure;
use crate::observe::{self, pools};

/// Pools beside each other: each waits for Azure Batch most of its time.
const POOLS_AT_ONCE: usize = 8;

/// Plans every pool and carries the plans out, as far as knob `autoscale-mode` allows.
///
/// # Errors
/// 503 while there is no catalogue; the next tick tries again.
pub async fn run(app: &App, envelope: &Envelope) -> Result<Done, Failure> {
    if envelope.timer("timer").is_some_and(|timer| timer.is_past_due) {
        tracing::debug!("this rebalance is late");
    }
    let catalogue = app.catalogue().await?;
    let knobs = app.knobs.knobs();
    let world = World { catalogue: &catalogue, knobs: &knobs };
    let around = Around::see(app, world).await;
    let pools = catalogue.pools.iter().filter(|pool| pool.worker.is_some());
    let each: Vec<_> = pools.map(|pool| one(app, world, pool, &around)).collect();
    let logs = stream::iter(each).buffered(POOLS_AT_ONCE).collect().await;
    Ok(Done { logs })
}

/// What is the same for all pools.
struct Around {
    /// None: it is too old, or there is none.
    view: Option<Arc<View>>,
    /// None: the work could not be read whole.
    demands: Option<Demands>,
    alerts: Vec<Alert>,
    spent_this_hour: MicroUsd,
}

impl Around {
    async fn see(app: &App, world: World<'_>) -> Around {
        app.views.refresh(&app.store).await;
        let (demands, alerts) = tokio::join!(demands(&app.jobs, world), alerts::standing(&app.jobs));
        let demands = demands.map_err(|error| tracing::warn!(%error, "open work cannot be read; holding"));
        let alerts = alerts.unwrap_or_else(|error| {
            tracing::warn!(%error, "alerts cannot be read; planning without them");
            Vec::new()
        });
        let now = app.now();
        Around {
            view: app.views.fresh(now),
            demands: demands.ok(),
            alerts,
            spent_this_hour: observe::spent_this_hour(&app.metrics, &app.views, now),
        }
    }
}

/// One pool: what is seen of it, what that means, what is done about it.
async fn one(app: &App, world: World<'_>, pool: &Pool, around: &Around) -> String {
    let name = &pool.facts.name;
    let before = around.view.as_ref().and_then(|view| view.pools.get(name)).cloned().unwrap_or_default();
    let sight = match sight::look(&app.jobs, pool, &before).await {
        Ok(sight) => sight,
        Err(error) => {
            tracing::error!(pool = name, %error, "the pool cannot be looked at; its formula goes on by itself");
            return format!("{name}: not seen, because {error}");
        }
    };
    let observed = observed(app, world, pool, around, &sight);

    let decision = match world.knobs.autoscale {
        AutoscaleMode::Observe => None,
        AutoscaleMode::Recommend | AutoscaleMode::Act => Some(rebalance(world.knobs, &observed)),
    };

    let last = sight.state.as_ref().map(|state| &state.planned);
    let done = match &decision {
        Some(decision) => carry_out(&app.jobs, world, (pool, &sight), decision, last).await,
        None => CarriedOut { outcome: Outcome::Observed, formula: None },
    };
    tell(name, &sight, decision.as_ref(), &done);
    record(app, name, &sight, &done).await;
    let made = made(world, &sight, &observed, decision.as_ref(), &done);
    state::write(&app.store, name, &made).await;
    said(name, decision.as_ref(), &done)
}

fn observed(app: &App, world: World<'_>, pool: &Pool, around: &Around, sight: &Sight) -> Observed {
    let sees = around.view.is_some() && around.demands.is_some();
    let demand = around.demands.as_ref().map_or(&[][..], |demands| demands.of(&pool.facts.name));
    let beside = pools::Beside {
        now: app.now(),
        sight: if sees { Seeing::Fresh } else { Seeing::Blind },
        demand,
        alerts: &around.alerts,
        previous: sight.previous(),
        spent_this_hour: around.spent_this_hour,
    };
    pools::observed(world.catalogue, pool, &sight.view, beside)
}

/// Logs what changed: the plan, its reasons and its formula, and every trouble.
fn tell(pool: &str, sight: &Sight, decision: Option<&Decision>, done: &CarriedOut) {
    let shown = sight.state.as_ref().map_or("", |state| state.formula.as_str());
    let is_new = done.formula.as_deref().is_some_and(|text| !formula::says_the_same(shown, text));
    let reasons: Vec<String> =
        decision.iter().flat_map(|decision| &decision.reasons).map(ToString::to_string).collect();
    let plan = decision.and_then(|decision| decision.plan);
    let text = done.formula.as_deref().unwrap_or_default();
    match &done.outcome {
        Outcome::Refused(why) => {
            tracing::error!(pool, why, ?plan, ?reasons, formula = text, "the plan cannot be carried out");
        }
        Outcome::Later(why) => tracing::warn!(pool, why, ?plan, "the plan waits for the next rebalance"),
        Outcome::Enabled => {
            tracing::info!(pool, ?plan, ?reasons, formula = text, "a formula was put into force");
        }
        Outcome::Recommended if is_new => {
            tracing::info!(pool, ?plan, ?reasons, formula = text, "a plan is recommended");
        }
        outcome => tracing::debug!(pool, outcome = outcome.as_str(), ?plan, ?reasons, "nothing new"),
    }
}

/// Writes into the audit log which formula replaced which.
async fn record(app: &App, pool: &str, sight: &Sight, done: &CarriedOut) {
    if done.outcome != Outcome::Enabled {
        return;
    }
    let before = sight.pool.as_ref().filter(|pool| pool.auto_scale).and_then(|pool| pool.formula.as_deref());
    let action = Action {
        at: app.now().0,
        actor: Actor::Function("Rebalance"),
        request_id: None,
        did: Did::FormulaEnabled,
        target: pool,
        before: json!(before),
        after: json!(done.formula),
    };
    app.records.act(action).await;
}

/// What is written down for the view, the status page and the next rebalance.
fn made(
    world: World<'_>,
    sight: &Sight,
    observed: &Observed,
    decision: Option<&Decision>,
    done: &CarriedOut,
) -> PoolState {
    let last = sight.state.clone().unwrap_or_default();
    let plan = decision.and_then(|decision| decision.plan.as_ref()).map(state::plan_view);
    let reasons: Vec<Why> = decision.iter().flat_map(|decision| &decision.reasons).map(state::why).collect();
    let enabled = (done.outcome == Outcome::Enabled).then_some(observed.now.0);
    let planned = Planned {
        at: observed.now.0,
        mode: state::mode(world.knobs.autoscale).to_owned(),
        plan: plan.or(last.planned.plan),
        reasons,
        outcome: done.outcome.as_str().to_owned(),
        error: done.outcome.trouble().map(str::to_owned),
        enabled_at: enabled.or(last.planned.enabled_at),
        lead_ms: Quantiles { p50: observed.lead.p50.0, p95: observed.lead.p95.0 },
        jobs: observed.demand.len() as u64,
    };
    PoolState { v: VERSION, planned, formula: done.formula.clone().unwrap_or(last.formula) }
}

fn said(pool: &str, decision: Option<&Decision>, done: &CarriedOut) -> String {
    let plan = decision.and_then(|decision| decision.plan);
    let nodes =
        plan.map_or_else(String::new, |plan| format!(" {} spot, {} dedicated;", plan.spot, plan.dedicated));
    let reasons = decision.iter().flat_map(|decision| &decision.reasons).map(|reason| reason.code.as_str());
    let reasons: Vec<&str> = reasons.collect();
    let trouble = done.outcome.trouble().map(|why| format!(", because {why}")).unwrap_or_default();
    format!("{pool}:{nodes} {} ({}){trouble}", done.outcome.as_str(), reasons.join(", "))
}
