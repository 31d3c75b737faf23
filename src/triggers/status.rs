//! Function `Status`: what is broken, at risk and wasted, in three lines and as data; what a month cost; and
//! the number of replicas that a scaler asks for.

mod cost;
mod pools;
mod prices;
mod tenants;

use facts::view::View;
use policy::units::UnixMs;
use policy::{breaker, replicas};
use serde_json::{Value, json};

use crate::app::App;
use crate::auth;
use crate::catalogue::{self, Backend, Catalogue, State};
use crate::failure::{Failure, Kind};
use crate::http::{self, Request, Response};
use crate::knobs;
use crate::observe;

/// From twice the catalogue's time on a backend is told to be slow.
const PACE_SLOW_PERCENT: u32 = 200;

/// Answers `/api/status`, `/api/status/cost` and `/api/status/replicas/{backend}`.
///
/// # Errors
/// Without an operator's key; 404 for other pages.
pub async fn answer(app: &App, request: &Request, page: &[&str]) -> Result<Response, Failure> {
    let catalogue = app.catalogue().await?;
    auth::admin(&catalogue, &request.headers)?;
    match page {
        [] | [""] => Ok(overview(app, &catalogue, request).await),
        ["cost"] => cost::answer(app, request).await,
        ["replicas", name] => {
            let backend = catalogue.backend(name).ok_or_else(|| {
                Failure::new(
                    Kind::NotFound,
                    "backend_not_found",
                    format!("the catalogue names no backend `{name}`"),
                )
            })?;
            Ok(wanted_replicas(app, backend))
        }
        _ => Err(Failure::not_found(
            "the pages are /api/status, /api/status/cost and /api/status/replicas/{backend}",
        )),
    }
}

/// What the scaler reads: KEDA's metrics-api rule takes `replicas`.
fn wanted_replicas(app: &App, backend: &Backend) -> Response {
    let now = app.now();
    let seen = observe::backend_now(backend, &app.metrics, &app.views, now);
    let counts = app.metrics.backend(&backend.name);
    let plan = replicas::replicas(&app.knobs.knobs(), &seen, counts.turned_away(now), now);
    counts.plan(plan.replicas);
    let reason = audit::Reason(&plan.reason);
    http::json(200, &json!({ "backend": backend.name, "replicas": plan.replicas, "reason": reason }))
}

/// What is broken, at risk and wasted, a line each.
pub fn lines(app: &App, catalogue: &Catalogue) -> [String; 3] {
    let (view, now) = (app.views.newest(), app.now());
    [
        line("broken", broken(app, catalogue, &view, now)),
        line("at risk", at_risk(app, catalogue, &view, now)),
        line("wasted", wasted(app, catalogue, &view, now)),
    ]
}

async fn overview(app: &App, catalogue: &Catalogue, request: &Request) -> Response {
    let (view, now) = (app.views.newest(), app.now());
    let lines = lines(app, catalogue);
    if request.header("accept").is_some_and(|kinds| kinds.starts_with("text/plain")) {
        let text = format!("{}\n", lines.join("\n"));
        let mut response = http::bytes(200, text.into());
        http::set(&mut response, "content-type", "text/plain; charset=utf-8");
        return response;
    }
    let backends: Vec<Value> = catalogue.backends.iter().map(|found| backend(app, found, now)).collect();
    let knobs_in_force = app.knobs.now();
    let totals = app.metrics.totals();
    let by_reason: serde_json::Map<_, _> =
        totals.by_reason.iter().map(|(code, count)| ((*code).to_owned(), json!(count))).collect();
    let shown = json!({
        "lines": lines,
        "instance": app.instance,
        "now_unix_ms": now.0,
        "up_s": now.since(app.started).0 / 1_000,
        "backends": backends,
        "knobs": {
            "from": app.knobs.origin().kind(),
            "is_kept": knobs_in_force.is_kept,
            "in_force": knobs::shown(&knobs_in_force.knobs),
            "age_s": knobs_in_force.read_ms.map(|read| now.since(UnixMs(read)).0 / 1_000),
            "refused": knobs_in_force.refused,
        },
        "catalogue": catalogue_state(app, now),
        "totals": {
            "answers_by_status_class": totals.by_status,
            "decisions_by_reason": by_reason,
            "retries": totals.retries,
            "marked_repeats": totals.marked_repeats,
            "estimated_usd": totals.cost.usd(),
            "decisions_not_recorded": app.records.dropped(),
        },
        "spent_this_hour_usd": observe::spent_this_hour(&app.metrics, &app.views, now).usd(),
        "pools": pools::shown(app, catalogue, &view, now).await,
        "tenants": tenants::shown(app, catalogue, now),
    });
    http::json(200, &shown)
}

fn line(what: &str, found: Vec<String>) -> String {
    if found.is_empty() { format!("{what}: nothing") } else { format!("{what}: {}", found.join("; ")) }
}

fn broken(app: &App, catalogue: &Catalogue, view: &View, now: UnixMs) -> Vec<String> {
    let state = |backend: &&std::sync::Arc<Backend>| app.metrics.backend(&backend.name).observed(now).breaker;
    let down: Vec<&str> = catalogue
        .backends
        .iter()
        .filter(|backend| state(backend) != breaker::State::Closed)
        .map(|backend| backend.name.as_str())
        .collect();
    let mut found = pools::broken(catalogue, view);
    if !down.is_empty() {
        found.insert(0, format!("no answer from {}", down.join(", ")));
    }
    found.extend(app.jobs.held_up().line(now));
    if let Some(told) = app.jobs.unrung() {
        found.push(format!("the doorbell cannot be rung, work waits for the sweep, up to 30 s ({told})"));
    }
    found
}

fn at_risk(app: &App, catalogue: &Catalogue, view: &View, now: UnixMs) -> Vec<String> {
    let knobs = app.knobs.now();
    let mut risks = Vec::new();
    if let Some(refused) = &knobs.refused {
        risks.push(format!("newest knobs refused ({refused})"));
    }
    if let State::Loaded { refused: Some(refused), .. } = app.catalogue.state() {
        risks.push(format!("newest catalogue refused ({refused})"));
    }
    risks.extend(catalogue.held_prices.iter().cloned());
    if let Some(cap) = knobs.knobs.max_usd_per_hour {
        let spent = observe::spent_this_hour(&app.metrics, &app.views, now);
        // Four fifths of a budget is where one still has time to act.
        if spent.0.saturating_mul(5) > cap.0.saturating_mul(4) {
            risks.push(format!("{:.2} of {:.2} USD of this hour are spent", spent.usd(), cap.usd()));
        }
    }
    risks.extend(prices::at_risk(catalogue, now));
    risks.extend(slow(app, catalogue, now));
    risks.extend(pools::at_risk(catalogue, view, &knobs.knobs));
    risks.extend(app.telemetry.unsent());
    risks.extend(view.skew_ms.iter().map(|(process, skew)| {
        let (seconds, side) = (skew.unsigned_abs() / 1_000, if *skew > 0 { "behind" } else { "ahead of" });
        format!("the clock of {process} is {seconds} s {side} the store's, which judges deadlines")
    }));
    risks
}

/// Backends that work at less than half of what the catalogue says: what is promised by it is corrected, what
/// is bought by it is not.
fn slow(app: &App, catalogue: &Catalogue, now: UnixMs) -> Vec<String> {
    let told = |found: &std::sync::Arc<Backend>| {
        let percent = observe::measured_now(found, &app.metrics, &app.views, now).pace(now).percent();
        let times = f64::from(percent) / 100.0;
        (percent >= PACE_SLOW_PERCENT).then(|| {
            format!("{} takes {times:.1} times what the catalogue says: measure its speed anew", found.name)
        })
    };
    catalogue.backends.iter().filter_map(told).collect()
}

fn wasted(app: &App, catalogue: &Catalogue, view: &View, now: UnixMs) -> Vec<String> {
    let floor = app.knobs.knobs().min_replicas;
    let idle = |backend: &&std::sync::Arc<Backend>| {
        let seen = observe::backend_now(backend, &app.metrics, &app.views, now);
        let used_lately = seen.last_used.is_some_and(|used| now.since(used) < replicas::COOLDOWN);
        floor > 0 && !used_lately
    };
    let idle: Vec<&std::sync::Arc<Backend>> = catalogue.backends.iter().filter(idle).collect();
    let mut found = pools::wasted(catalogue, view);
    if !idle.is_empty() {
        let each_hour: f64 = idle.iter().map(|backend| backend.facts.price_per_replica_hour.usd()).sum();
        let cost = each_hour * f64::from(floor);
        let count = idle.len();
        found.insert(0, format!(
            "{cost:.2} USD an hour for {floor} idle replica(s) each of {count} backend(s), kept by min-aca-replicas"
        ));
    }
    found
}

fn backend(app: &App, backend: &Backend, now: UnixMs) -> Value {
    let own = app.metrics.backend(&backend.name).observed(now);
    let seen = observe::backend_now(backend, &app.metrics, &app.views, now);
    let measured = observe::measured_now(backend, &app.metrics, &app.views, now);
    let breaker = match own.breaker {
        breaker::State::Closed => json!({ "state": "closed" }),
        breaker::State::Open { until } => json!({ "state": "open", "until_unix_ms": until.0 }),
        breaker::State::HalfOpen => json!({ "state": "half_open" }),
    };
    json!({
        "name": backend.name,
        "region": backend.facts.region,
        "models": backend.models,
        "ready_replicas": seen.ready_replicas,
        "starting_replicas": seen.starting_replicas,
        "in_flight": seen.in_flight,
        "sent": own.sent,
        "failed": own.failed,
        "breaker": breaker,
        "latency_measured_ms": own.latency.map(|spread| json!({ "p50": spread.p50.0, "p95": spread.p95.0 })),
        "cold_start_catalogue_ms": { "p50": backend.facts.cold_start.p50.0, "p95": backend.facts.cold_start.p95.0 },
        "usd_per_replica_hour": backend.facts.price_per_replica_hour.usd(),
        "price_date": backend.price_date,
        "price_age_days": catalogue::prices::age_days(&backend.price_date, now),
        "speed_catalogue": {
            "base_ms": seen.speed.base.0,
            "per_item_us": seen.speed.per_item_us,
            "per_token_in_us": seen.speed.per_token_in_us,
            "per_token_out_us": seen.speed.per_token_out_us,
        },
        "pace_percent": measured.pace(now).percent(),
        "pace_answers": measured.answers(),
    })
}

fn catalogue_state(app: &App, now: UnixMs) -> Value {
    match app.catalogue.state() {
        State::Loaded { read_ms, refused, .. } => {
            json!({ "age_s": now.since(UnixMs(read_ms)).0 / 1_000, "refused": refused })
        }
        State::Loading | State::Missing(_) => Value::Null,
    }
}
