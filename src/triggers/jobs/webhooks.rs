//! What came of telling a tenant's webhooks that a job ended.

use facts::JobId;
use facts::job::{End, Kind};
use facts::{Job, Store};
use policy::units::UnixMs;
use wire::jobs::{WebhookList, WebhookView};
use wire::openai::Event;

use super::view::instant;
use crate::act::jobs::Trouble;
use crate::act::webhooks::{self, Seen};
use crate::catalogue::Tenant;

/// Webhooks of the tenant that hear of this job's end.
///
/// # Errors
/// [`Trouble`].
pub async fn list(
    store: &Store,
    tenant: &Tenant,
    job: &Job,
    end: Option<&End>,
) -> Result<WebhookList, Trouble> {
    let mut data = Vec::new();
    if let (Some(end), Kind::OpenaiBatch { .. }) = (end, &job.kind) {
        data = told(store, tenant, &job.job, end).await?;
    }
    Ok(WebhookList { object: "list".to_owned(), data })
}

async fn told(store: &Store, tenant: &Tenant, job: &JobId, end: &End) -> Result<Vec<WebhookView>, Trouble> {
    let event = webhooks::event(job, end);
    let seen = webhooks::seen(store, tenant, job).await?;
    let hears = |seen: &&Seen<'_>| seen.webhook.events.contains(&event.kind);
    Ok(seen.iter().filter(hears).map(|seen| view(&event, seen)).collect())
}

fn view(event: &Event, seen: &Seen<'_>) -> WebhookView {
    let last = seen.last.as_ref();
    let at = |ms: u64| instant(UnixMs(ms));
    WebhookView {
        url: seen.webhook.shown(),
        event_id: event.id.clone(),
        event: event.kind.as_str().to_owned(),
        status: last.map_or("waiting", |last| last.outcome.as_str()).to_owned(),
        attempts: seen.attempts,
        last_attempt: last.map(|last| at(last.at_ms)),
        last_status: last.and_then(|last| last.status),
        last_problem: last.and_then(|last| last.problem).map(|problem| problem.as_str().to_owned()),
        next_attempt: last.and_then(|last| last.next_ms).map(at),
    }
}
