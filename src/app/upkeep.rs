//! What goes on beside requests: knobs, catalogue and view are re-read, and this process's own
//! state is written for the others.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use audit::action::{Action, Actor, Did};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::App;
use crate::act::ledger::tally;
use crate::catalogue::prices::InForce;
use crate::catalogue::{self, Backend, Catalogue, Context, State};
use crate::knobs::Origin;
use crate::metrics::{self, names};
use crate::observe;
use crate::telemetry;
use facts::view::{BackendState, ProcessState, Quantiles};
use facts::{StoreError, key};

/// How often the catalogue and a file of knobs are read again.
/// A key that was revoked is refused this much later at the latest, with the jitter below: 65 s.
const REFRESH_EVERY: Duration = Duration::from_secs(60);
/// Added at random, so that many processes do not read at once.
const JITTER_MAX_MS: u64 = 5_000;
/// How often a vault is read: 17 reads a time, and the service's advice is to hold values in memory. An
/// operator who cannot wait refreshes by hand.
const VAULT_EVERY: Duration = Duration::from_secs(180);
/// Added at random: the processes of one app share the vault's limits, and so does all else that reads it.
const VAULT_JITTER_MAX_MS: u64 = 60_000;
/// While no catalogue was ever good, it is looked for this often: nobody is let in without it.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How long the first knobs may hold up the first catalogue, for which requests wait 5 s.
const FIRST_KNOBS_MAX: Duration = Duration::from_secs(3);
/// How often state is written; readers ignore it after 60 s.
const STATE_EVERY: Duration = Duration::from_secs(10);

/// How often every process tells what it has: function `Metrics` runs in one of them and tells what all see, and
/// without a host it does not run at all.
const METRICS_EVERY: Duration = Duration::from_secs(60);

/// Where the catalogue comes from.
pub struct Sources {
    file: Option<PathBuf>,
    context: Context,
    etag: Mutex<Option<String>>,
    /// What the catalogue in force is, for the audit log; none before the first.
    in_force: Mutex<Option<Value>>,
}

impl Sources {
    /// From a file if one is named, else from the store.
    pub fn new(file: Option<PathBuf>, context: Context) -> Sources {
        Sources { file, context, etag: Mutex::default(), in_force: Mutex::default() }
    }

    /// Remembers what is in force now, and says what was.
    fn follow(&self, after: Value) -> Option<Value> {
        self.in_force.lock().expect("no holder of this lock panics").replace(after)
    }
}

/// Runs until it is aborted with the process.
pub async fn run(app: Arc<App>) {
    let state = async {
        loop {
            sleep(app.clock.real(STATE_EVERY)).await;
            write_state(&app).await;
            app.views.refresh(&app.store).await;
            keep_conditions(&app);
        }
    };
    let catalogue = async {
        // Nobody is let in before the catalogue is there, and so nobody is served by knobs that are not.
        first_knobs(&app).await;
        loop {
            tokio::join!(refresh_catalogue(&app), app.views.refresh(&app.store));
            let pause = match app.catalogue.now() {
                Some(_) => REFRESH_EVERY + jitter(JITTER_MAX_MS),
                None => RETRY_EVERY,
            };
            sleep(app.clock.real(pause)).await;
        }
    };
    let knobs = async {
        loop {
            let pause = match app.knobs.origin() {
                Origin::File(_) => REFRESH_EVERY + jitter(JITTER_MAX_MS),
                Origin::Vault(_) => VAULT_EVERY + jitter(VAULT_JITTER_MAX_MS),
            };
            refresh_knobs(&app).await;
            sleep(app.clock.real(pause)).await;
        }
    };
    let metrics = async {
        loop {
            // Not by the handler's clock: the platform reads them by its own.
            sleep(METRICS_EVERY).await;
            app.publish();
        }
    };
    let tally = async {
        loop {
            sleep(app.clock.real(tally::WRITE_EVERY)).await;
            write_tally(&app).await;
        }
    };
    tokio::join!(state, catalogue, knobs, metrics, tally);
}

/// Writes requests into the ledger that are not there yet.
pub async fn write_tally(app: &App) {
    if let Err(error) = app.tally.write(&app.store, &app.process(), app.now()).await {
        tracing::warn!(%error, "requests are not in the ledger yet; trying again in a minute");
    }
}

/// Reads knobs, catalogue and view.
pub async fn refresh(app: &App) {
    tokio::join!(refresh_knobs(app), refresh_catalogue(app), app.views.refresh(&app.store));
    keep_conditions(app);
}

/// Tells the deferred lane how fast the realtime lane works now, and which pools get no node.
fn keep_conditions(app: &App) {
    let Some(catalogue) = app.catalogue.now() else { return };
    app.jobs.keep_conditions(observe::conditions(&catalogue, &app.metrics, &app.views, app.now()));
    app.jobs.keep_starved(observe::starved(&app.views, app.now()));
}

/// Waits for knobs that somebody read: those that the store keeps while the vault is asked; else the
/// first read that is under way, for a bounded time.
async fn first_knobs(app: &App) {
    let is_restored = app.knobs.restore(&app.store).await;
    if !(is_restored && matches!(app.knobs.origin(), Origin::Vault(_))) {
        let _ = timeout(FIRST_KNOBS_MAX, app.knobs.first()).await;
    }
}

async fn refresh_knobs(app: &App) {
    if let Err(problem) = app.knobs.refresh(&app.store, app.clock.now_ms()).await {
        telemetry::measure(&names::KNOBS_REFUSED, 1.0, &[]);
        tracing::error!(problem, "knobs refused; the last good set stays in force");
    }
}

fn jitter(max_ms: u64) -> Duration {
    Duration::from_millis(getrandom::u64().unwrap_or_default() % max_ms)
}

/// What the audit log says of a catalogue: enough to find it, and none of its hashes of keys.
fn named(text: &[u8], catalogue: &Catalogue) -> Value {
    json!({
        "sha256": key::hex_sha256(text),
        "models": catalogue.models.len(),
        "backends": catalogue.backends.len(),
        "pools": catalogue.pools.len(),
        "tenants": catalogue.tenants.len(),
    })
}

/// Writes into the audit log that this process follows another catalogue; the first is none.
async fn record(app: &App, after: Value) {
    let before = app.upkeep.follow(after.clone());
    let Some(before) = before.filter(|before| *before != after) else { return };
    let action = Action {
        at: app.now().0,
        actor: Actor::Function("upkeep"),
        request_id: None,
        did: Did::CatalogueChanged,
        target: "catalogue",
        before,
        after,
    };
    app.records.act(action).await;
}

async fn refresh_catalogue(app: &App) {
    let text = match read_catalogue(app).await {
        Ok(Some(text)) => text,
        Ok(None) => return app.catalogue.confirm(app.clock.now_ms()),
        Err(problem) => return refuse(app, problem),
    };
    match catalogue::parse(&text, &app.upkeep.context) {
        Ok(catalogue) => {
            let after = named(&text, &catalogue);
            accept(app, catalogue).await;
            record(app, after).await;
        }
        Err(problems) => refuse(app, problems.join("; ")),
    }
}

/// Puts a catalogue in force, but for leaps of prices that nobody confirmed.
async fn accept(app: &App, mut catalogue: Catalogue) {
    let before = app.catalogue.now();
    let in_force = match &before {
        Some(before) => InForce::of(before),
        None => prices_of_store(app).await,
    };
    catalogue.hold_leaps(&in_force);
    let told = before.map(|before| before.held_prices.clone()).unwrap_or_default();
    for held in catalogue.held_prices.iter().filter(|held| !told.contains(held)) {
        tracing::error!(held, "a price leaps and is not taken");
    }
    let taken = InForce::of(&catalogue);
    app.metrics.keep_only(&catalogue);
    app.catalogue.accept(catalogue, app.clock.now_ms());
    if taken != in_force {
        let text = serde_json::to_string(&taken).expect("prices are plain data, which always serializes");
        if let Err(error) = app.store.overwrite(key::PRICES, text).await {
            tracing::warn!(%error, "prices in force were not kept; a process that begins takes any");
        }
    }
}

/// Prices that other processes took; none where there are none, or nobody can tell.
async fn prices_of_store(app: &App) -> InForce {
    match app.store.get(key::PRICES).await {
        Ok(object) => serde_json::from_slice(&object.content).unwrap_or_default(),
        Err(StoreError::NotFound(_)) => InForce::default(),
        Err(error) => {
            tracing::warn!(%error, "prices in force cannot be read; those of the catalogue are taken");
            InForce::default()
        }
    }
}

fn refuse(app: &App, problem: String) {
    telemetry::measure(&names::CATALOGUE_REFUSED, 1.0, &[]);
    let told = match app.catalogue.state() {
        State::Missing(told) | State::Loaded { refused: Some(told), .. } => told == problem,
        State::Loading | State::Loaded { refused: None, .. } => false,
    };
    if !told {
        tracing::error!(problem, "catalogue refused; the last good one, if any, stays in force");
    }
    // Read it whole next time: what was refused is not what is in force.
    *app.upkeep.etag.lock().expect("no holder of this lock panics") = None;
    app.catalogue.refuse(problem);
}

/// The catalogue's text, or none when it has not changed.
async fn read_catalogue(app: &App) -> Result<Option<bytes::Bytes>, String> {
    if let Some(file) = &app.upkeep.file {
        let read = tokio::fs::read(file).await;
        return read
            .map(|text| Some(text.into()))
            .map_err(|error| format!("MODEL_CATALOG cannot be read: {error}"));
    }
    let known = app.upkeep.etag.lock().expect("no holder of this lock panics").clone();
    let read = app.store.get_if_changed(key::CATALOGUE, known.as_deref()).await;
    let Some(object) = read.map_err(|error| error.to_string())? else { return Ok(None) };
    *app.upkeep.etag.lock().expect("no holder of this lock panics") = object.etag;
    Ok(Some(object.content))
}

/// Writes what this process sees of its backends, for the sweep to merge.
async fn write_state(app: &App) {
    let Some(catalogue) = app.catalogue.now() else { return };
    let now = app.now();
    let state = |backend: &Arc<Backend>| {
        let seen = app.metrics.backend(&backend.name).observed(now);
        BackendState {
            in_flight: seen.in_flight,
            sent: seen.sent,
            failed: seen.failed,
            latency_ms: seen.latency.map(|spread| Quantiles { p50: spread.p50.0, p95: spread.p95.0 }),
            last_good_unix_ms: seen.last_good.map(|at| at.0),
            last_failed_unix_ms: seen.last_failed.map(|at| at.0),
            breaker_closed: seen.breaker == policy::breaker::State::Closed,
            replicas: observe::replicas(backend, &app.metrics, now),
            pace: metrics::pace::shared(seen.pace),
        }
    };
    let backends = catalogue.backends.iter().map(|backend| (backend.name.clone(), state(backend)));
    let state = ProcessState {
        v: facts::VERSION,
        written_at: now.0,
        backends: backends.collect(),
        spent_this_hour_micro_usd: app.metrics.spent_this_hour(now).0,
        tenants: app.metrics.tenant_states(now),
    };
    let state = serde_json::to_string(&state).expect("a state is plain data, which always serializes");
    if let Err(error) = app.store.overwrite(&key::process_state(&app.process()), state).await {
        tracing::warn!(%error, "state could not be written; others decide without it");
    }
}
