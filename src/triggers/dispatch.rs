//! Function `Dispatch`: a message says "look at this job". What it names is looked up; nothing else in
//! it is believed. Everything that is understood is answered with 200, because a message that comes
//! again changes nothing: the sweep would have looked anyway. `message` reads its text.

mod message;

use facts::JobId;
use policy::request::Operation;
use policy::units::Millis;
use tracing::Instrument as _;
use wire::envelope::{Done, Envelope};
use wire::ticket::Ticket;

use super::dead_letter;
use super::openai::infer;
use crate::act::jobs::look::{Look, World};
use crate::act::jobs::rescue::Rescued;
use crate::act::jobs::survey::Pass;
use crate::act::jobs::trace;
use crate::act::realtime::{Expects, Realtime};
use crate::app::App;
use crate::catalogue::{Backend, Catalogue};
use crate::failure::Failure;
use crate::observe;

/// Looks at the job of a message, or runs the rescue that it names.
///
/// # Errors
/// When a message that cannot be understood could not be kept; the host then delivers it again.
pub async fn run(app: &App, envelope: &Envelope) -> Result<Done, Failure> {
    let text = envelope.text("ticket").unwrap_or_default();
    let Ticket { tenant, job_id, shard, k, .. } = match message::read(&text) {
        Ok(ticket) => ticket,
        Err(unread) => return dead_letter::keep(app, envelope, unread.reason()).await,
    };
    let catalogue = app.catalogue().await?;
    let known = catalogue.tenants.iter().any(|known| known.id == tenant);
    let (true, Some(id)) = (known, JobId::parse(&job_id)) else {
        return dead_letter::keep(app, envelope, "unknown_owner").await;
    };
    let act = async {
        match (shard, k) {
            (Some(shard), Some(k)) => rescue(app, &catalogue, (&tenant, &id), (shard, k)).await,
            _ => look(app, &catalogue, &tenant, &id).await,
        }
    };
    Ok(Done { logs: vec![act.instrument(trace::span(&tenant, &id)).await] })
}

async fn look(app: &App, catalogue: &Catalogue, tenant: &str, id: &JobId) -> String {
    let knobs = app.knobs.knobs();
    let world = World { catalogue, knobs: &knobs };
    let pass = Pass::of(world);
    let expects = expects(app, catalogue);
    let looked = app.jobs.look_and_check(world, (tenant, id), &pass, &lane(app, world, &expects)).await;
    let again = match looked {
        // A check that could not be kept is made again.
        Ok(Look::Check) => app.now(),
        Ok(Look::NoJob) => return format!("{id}: no such job"),
        Ok(Look::Ended) => return format!("{id}: ended"),
        Ok(Look::Again(at)) => at,
        Err(error) => return format!("{id}: the sweep goes on, because {error}"),
    };
    let mut sent = 0;
    let spent = observe::spent_this_hour(&app.metrics, &app.views, app.now());
    if policy::dispatch::paused(&knobs, spent, app.now()).is_none()
        && let Ok(Some(job)) = app.jobs.job(tenant, id).await
        && let Some(pool) = catalogue.pools.iter().find(|pool| pool.facts.name == job.pool)
    {
        match app.jobs.dispatch(world, pool, Some((tenant, id)), &pass).await {
            Ok(tasks) => sent = tasks,
            Err(error) => tracing::warn!(%error, "not dispatched; the sweep goes on"),
        }
    }
    if let Err(error) = app.jobs.mark(tenant, id, again, &[]).await {
        tracing::warn!(%error, "no marker for the next look; the one before stays");
    }
    format!("{id}: {sent} tasks added")
}

/// What lines in the realtime lane are measured against.
pub fn expects(
    app: &App,
    catalogue: &Catalogue,
) -> impl Fn(&Backend, Operation, &[u8]) -> Option<Millis> + Sync {
    |backend, operation, body| infer::expected(app, catalogue, backend, (operation, body))
}

/// The realtime lane for deferred work.
pub fn lane<'a>(app: &'a App, world: World<'a>, expects: &'a Expects<'a>) -> Realtime<'a> {
    Realtime {
        client: &app.client,
        metrics: &app.metrics,
        catalogue: world.catalogue,
        knobs: world.knobs,
        clock: app.clock,
        expects,
    }
}

async fn rescue(app: &App, catalogue: &Catalogue, owner: (&str, &JobId), shard: (u32, u32)) -> String {
    let knobs = app.knobs.knobs();
    let world = World { catalogue, knobs: &knobs };
    let rescued = app.jobs.rescue(world, owner, shard, &lane(app, world, &expects(app, catalogue))).await;
    let (id, (shard, k)) = (owner.1, shard);
    match rescued {
        Ok(Rescued::NotDue) => format!("{id}: shard {shard} needs no rescue {k}"),
        Ok(Rescued::Done) => {
            tracing::info!(shard, k, "rescued");
            // Its last chunk may have been the job's last.
            look(app, catalogue, owner.0, id).await
        }
        Ok(Rescued::Broke) => format!("{id}: rescue {k} of shard {shard} broke off; the sweep rings again"),
        Err(error) => format!("{id}: rescue {k} of shard {shard} broke off, because {error}"),
    }
}
