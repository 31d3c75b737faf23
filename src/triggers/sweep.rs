//! Function `Sweep`: the one observer, every 30 s. It would finish every job by itself; the queue only
//! makes it sooner. Two sweeps at once do no harm.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use facts::fold::Found;
use facts::{JobId, StoreError, key};
use futures_util::{StreamExt as _, stream};
use policy::dispatch;
use policy::units::UnixMs;
use tracing::Instrument as _;
use wire::envelope::{Done, Envelope};

use crate::act::jobs::Trouble;
use crate::act::jobs::accept::minute;
use crate::act::jobs::held_up::Step;
use crate::act::jobs::look::{Look, World};
use crate::act::jobs::survey::Pass;
use crate::act::jobs::trace;
use crate::act::merge::merge;
use crate::app::App;
use crate::failure::Failure;
use crate::observe;

/// No new look begins after this; the next sweep goes on from the markers.
const LOOKS_WITHIN: Duration = Duration::from_secs(14);
/// Jobs looked at beside each other.
const AT_ONCE: usize = 8;
/// Minutes and markers that a sweep searches where more jobs are open than one listing holds: more than it
/// has time to look at.
const MINUTES_MAX: usize = 64;
const MARKERS_MAX: usize = 10_000;
/// A marker whose job was never written is taken away after this.
const ORPHAN_AFTER_MS: u64 = 600_000;

/// Looks at what is due, sends what is ready, and merges what was seen.
///
/// # Errors
/// 503 while there is no catalogue; the next tick tries again.
pub async fn run(app: &App, envelope: &Envelope) -> Result<Done, Failure> {
    let began = Instant::now();
    if envelope.timer("timer").is_some_and(|timer| timer.is_past_due) {
        tracing::debug!("this sweep is late");
    }
    let catalogue = app.catalogue().await?;
    let knobs = app.knobs.knobs();
    let world = World { catalogue: &catalogue, knobs: &knobs };
    let pass = Pass::of(world);

    let due = due(app).await;
    app.jobs.held_up().note(Step::Due, &due, app.now());
    let looked = match due {
        Ok(due) => look_at(app, world, &pass, due, began).await,
        Err(error) => {
            tracing::warn!(%error, "what is due cannot be listed; the next sweep tries again");
            0
        }
    };
    app.webhooks.begin(&catalogue);
    let mut sent = 0;
    let spent = observe::spent_this_hour(&app.metrics, &app.views, app.now());
    let paused = dispatch::paused(&knobs, spent, app.now());
    if let Some(reason) = &paused {
        tracing::info!(%reason, "nothing is sent to pools");
    }
    for pool in catalogue.pools.iter().filter(|_| paused.is_none()) {
        let dispatched = app.jobs.dispatch(world, pool, None, &pass).await;
        app.jobs.held_up().note(Step::Dispatch(pool.facts.name.clone()), &dispatched, app.now());
        match dispatched {
            Ok(tasks) => sent += tasks,
            Err(error) => tracing::warn!(%error, pool = pool.facts.name, "not dispatched; trying again"),
        }
    }
    let merged = merge(&app.jobs, &app.today, world, app.now()).await;
    app.jobs.held_up().note(Step::View, &merged, app.now());
    match merged {
        Ok(view) => {
            let now = UnixMs(view.observed_at);
            if let Err(error) = app.last_minute.write(&app.store, world, &view, now).await {
                tracing::warn!(%error, "a minute is missing in the ledger");
            }
        }
        Err(error) => tracing::warn!(%error, "the view was not merged; decisions are made without it"),
    }
    app.jobs.retire(&catalogue.pools).await;
    Ok(Done { logs: vec![format!("{looked} jobs looked at, {sent} tasks added")] })
}

/// A job that is due, with all its markers up to now.
struct Due {
    tenant: String,
    job: JobId,
    markers: Vec<Marker>,
}

struct Marker {
    key: String,
    modified_ms: u64,
}

async fn due(app: &App) -> Result<Vec<Due>, Trouble> {
    let now = minute(app.now());
    let mut found: BTreeMap<(String, JobId), Due> = BTreeMap::new();
    let markers = match app.store.list(key::DUE).await {
        Err(StoreError::TooLarge(_)) => nearest(app).await?,
        listed => listed?,
    };
    for object in markers {
        let Some((at, tenant, job)) = key::read_due(&object.key) else { continue };
        // Sorted by minute: nothing after this is due.
        if at > now {
            break;
        }
        let due = found.entry((tenant.to_owned(), job.clone())).or_insert_with(|| Due {
            tenant: tenant.to_owned(),
            job,
            markers: Vec::new(),
        });
        due.markers.push(Marker { key: object.key, modified_ms: object.modified_ms });
    }
    Ok(found.into_values().collect())
}

/// The markers of the nearest minutes: with more jobs open than one listing holds, the others are not searched.
async fn nearest(app: &App) -> Result<Vec<Found>, StoreError> {
    let mut minutes = app.store.folders(key::DUE).await?;
    minutes.truncate(MINUTES_MAX);
    let mut markers = Vec::new();
    for minute in minutes {
        markers.extend(app.store.list_some(&minute, MARKERS_MAX - markers.len()).await?);
    }
    Ok(markers)
}

async fn look_at(app: &App, world: World<'_>, pass: &Pass, due: Vec<Due>, began: Instant) -> usize {
    let looks: Vec<_> = due.iter().map(|due| look_unless_late(app, world, pass, due, began)).collect();
    let looked: Vec<bool> = stream::iter(looks).buffer_unordered(AT_ONCE).collect().await;
    looked.into_iter().filter(|looked| *looked).count()
}

async fn look_unless_late(app: &App, world: World<'_>, pass: &Pass, due: &Due, began: Instant) -> bool {
    let is_late = began.elapsed() > LOOKS_WITHIN;
    if !is_late {
        look_or_warn(app, world, pass, due).instrument(trace::span(&due.tenant, &due.job)).await;
    }
    !is_late
}

async fn look_or_warn(app: &App, world: World<'_>, pass: &Pass, due: &Due) {
    let Err(error) = look(app, world, pass, due).await else { return };
    tracing::warn!(%error, "the look broke off; the next sweep goes on");
    // What asked for it may have been the hint, which is gone: the job's own marker is minutes away then.
    let hint = key::due(key::NOW, &due.tenant, &due.job);
    if let Err(error) = app.store.create(&hint, "").await {
        tracing::warn!(%error, "no marker for the next sweep; the job's own next look is later");
    }
}

async fn look(app: &App, world: World<'_>, pass: &Pass, due: &Due) -> Result<(), Trouble> {
    let jobs = &app.jobs;
    // The hint of a worker goes before the facts are read: one that comes after is seen next time. An
    // open job always has a marker beside it.
    let hint = key::due(key::NOW, &due.tenant, &due.job);
    app.store.delete(&hint).await?;
    let expects = super::dispatch::expects(app, world.catalogue);
    let realtime = super::dispatch::lane(app, world, &expects);
    let looked = jobs.look_and_check(world, (&due.tenant, &due.job), pass, &realtime).await?;
    if let Look::Again(at) = looked {
        let old: Vec<String> = due.markers.iter().map(|marker| marker.key.clone()).collect();
        return jobs.mark(&due.tenant, &due.job, at, &old).await;
    }
    for marker in &due.markers {
        // A young marker's job may be on its way: the marker comes first, and then nobody else would look.
        if looked == Look::Ended || jobs.age_ms(marker.modified_ms) >= ORPHAN_AFTER_MS {
            app.store.delete(&marker.key).await?;
        }
    }
    Ok(())
}
