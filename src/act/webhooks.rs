//! Webhooks: the end of a batch told to whom its tenant named. What is told follows from `end.json`,
//! which never changes, and so does its id; it is told at least once, in no promised order.
//!
//! [`announce`] puts a marker for each endpoint when a job has ended. Sweep begins a pass
//! ([`Webhooks::begin`]) and does not wait for it: a pass tells one event at a time to an endpoint, many
//! endpoints beside each other, and writes down what came of it before it moves the marker. What dies
//! between these steps is done again by the next pass.
//!
//! - [`schedule`]: what an attempt came to and when the next one is made
//! - [`send`]: one signed request

pub mod schedule;
pub mod send;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use facts::fault::{Act, Fault};
use facts::hook::{Attempt, Outcome, Problem};
use facts::job::{End, Kind, Status};
use facts::key::{self, JobKeys};
use facts::{Job, JobId, Store};
use futures_util::{StreamExt as _, stream};
use policy::units::UnixMs;
use tokio::task::JoinSet;
use wire::openai::{BATCH_PREFIX, Event, EventData, EventKind};

use super::fact;
use super::jobs::accept::minute;
use super::jobs::{Jobs, Trouble, trace};
use crate::catalogue::{Catalogue, Tenant, Webhook};
use crate::metrics::names;
use crate::telemetry;
use schedule::{Ended, Made, WITHIN_MS};
use send::{Message, Reach, Sender};

/// No attempt of a pass begins after this: with the longest attempt, it has ended when Sweep comes
/// again after 30 s.
const BEGIN_WITHIN: Duration = Duration::from_secs(15);
/// Endpoints that are told at the same time; each has one request.
const ENDPOINTS_AT_ONCE: usize = 32;
/// Events of one endpoint in one pass.
const EVENTS_MAX: usize = 1_000;

/// Tells webhooks. Attempts under way end with it.
pub struct Webhooks {
    hands: Arc<Hands>,
    pass: Mutex<JoinSet<()>>,
}

struct Hands {
    jobs: Jobs,
    sender: Sender,
    /// Tenants' endpoints that failed when they were last told something: the others come first.
    failing: Mutex<HashSet<Line>>,
}

/// A tenant's endpoint: what is told there is told one after the other.
type Line = (String, String);

/// An event that is due at one endpoint.
struct Due {
    job: JobId,
    marker: String,
    modified_ms: u64,
}

/// What came of an event that was due.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// The endpoint answered well.
    Well,
    /// The endpoint failed.
    Badly,
    /// It was not asked.
    Nothing,
}

/// What is known of telling one endpoint.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The endpoint.
    pub webhook: &'a Webhook,
    /// Attempts so far.
    pub attempts: u32,
    /// The newest of them.
    pub last: Option<Attempt>,
}

/// Asks for every webhook of the job's tenant to be told that it ended; again does no harm.
///
/// # Errors
/// [`Trouble`].
pub async fn announce(store: &Store, catalogue: &Catalogue, job: &Job) -> Result<(), Trouble> {
    if let (Kind::OpenaiBatch { .. }, Some(tenant)) = (&job.kind, catalogue.tenant(&job.tenant)) {
        for webhook in &tenant.webhooks {
            let marker = key::hook(key::NOW, &tenant.id, &job.job, &webhook.endpoint);
            store.create(&marker, "").await?;
        }
    }
    Ok(())
}

/// The event of a batch's end.
pub fn event(job: &JobId, end: &End) -> Event {
    Event {
        id: format!("evt_{job}"),
        object: Cow::Borrowed("event"),
        created_at: end.at_ms / 1_000,
        kind: match end.status {
            Status::Completed => EventKind::BatchCompleted,
            Status::Cancelled => EventKind::BatchCancelled,
            Status::Expired => EventKind::BatchExpired,
            Status::Failed => EventKind::BatchFailed,
        },
        data: EventData { id: format!("{BATCH_PREFIX}{job}") },
    }
}

/// What came of telling a tenant's webhooks that this job ended.
///
/// # Errors
/// [`Trouble`].
pub async fn seen<'a>(store: &Store, tenant: &'a Tenant, job: &JobId) -> Result<Vec<Seen<'a>>, Trouble> {
    let keys = JobKeys::new(&tenant.id, job);
    let mut all = Vec::new();
    for webhook in &tenant.webhooks {
        let (attempts, last) = newest(store, &keys, &webhook.endpoint).await?;
        all.push(Seen { webhook, attempts, last });
    }
    Ok(all)
}

/// The number of the newest attempt, and it; 0 where there is none.
async fn newest(store: &Store, keys: &JobKeys, endpoint: &str) -> Result<(u32, Option<Attempt>), Trouble> {
    let found = store.list(&keys.attempts_at(endpoint)).await?;
    let Some((_, n)) = found.iter().rev().find_map(|found| key::read_attempt(&found.key)) else {
        return Ok((0, None));
    };
    Ok((n, fact::read(store, &keys.attempt(endpoint, n)).await?))
}

impl Webhooks {
    /// Webhooks of these jobs. Calls nothing.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(jobs: Jobs, may_be_private: bool) -> Result<Webhooks, reqwest::Error> {
        let sender = Sender::new(if may_be_private { Reach::Anywhere } else { Reach::Global })?;
        let hands = Arc::new(Hands { jobs, sender, failing: Mutex::default() });
        Ok(Webhooks { hands, pass: Mutex::default() })
    }

    /// Begins to tell what is due, unless that is still under way. Returns at once.
    pub fn begin(&self, catalogue: &Arc<Catalogue>) {
        if catalogue.tenants.iter().all(|tenant| tenant.webhooks.is_empty()) {
            return;
        }
        let mut pass = self.pass.lock().expect("no holder of this lock panics");
        while let Some(ended) = pass.try_join_next() {
            if let Err(panic) = ended {
                tracing::error!(%panic, "telling webhooks broke off; the next pass goes on");
            }
        }
        if pass.is_empty() {
            let (hands, catalogue) = (Arc::clone(&self.hands), Arc::clone(catalogue));
            pass.spawn(telemetry::carried(async move { hands.pass(&catalogue).await }));
        }
    }
}

impl Hands {
    async fn pass(&self, catalogue: &Catalogue) {
        let began = Instant::now();
        let due = match self.due().await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "due webhooks cannot be listed; the next pass tries again");
                return;
            }
        };
        let mut lines: Vec<(Line, Vec<Due>)> = due.into_iter().collect();
        {
            let failing = self.failing.lock().expect("no holder of this lock panics");
            lines.sort_by_key(|(line, _)| failing.contains(line));
        }
        let work = stream::iter(lines);
        work.for_each_concurrent(ENDPOINTS_AT_ONCE, |(line, due)| self.work_off(catalogue, line, due, began))
            .await;
    }

    /// What is due now, by endpoint, what was due first in front.
    async fn due(&self) -> Result<BTreeMap<Line, Vec<Due>>, Trouble> {
        let now = minute(self.jobs.now());
        let mut lines: BTreeMap<Line, Vec<Due>> = BTreeMap::new();
        for found in self.jobs.store().list(key::HOOKS).await? {
            let Some((at, tenant, job, endpoint)) = key::read_hook(&found.key) else { continue };
            // Sorted by minute: nothing after this is due.
            if at > now {
                break;
            }
            let line = lines.entry((tenant.to_owned(), endpoint.to_owned())).or_default();
            line.push(Due { job, modified_ms: found.modified_ms, marker: found.key });
        }
        Ok(lines)
    }

    async fn work_off(&self, catalogue: &Catalogue, line: Line, due: Vec<Due>, began: Instant) {
        let (tenant, endpoint) = &line;
        let tenant = catalogue.tenant(tenant);
        let webhook =
            tenant.and_then(|tenant| tenant.webhooks.iter().find(|hook| hook.endpoint == *endpoint));
        let mut is_down = false;
        for due in due.iter().take(EVENTS_MAX) {
            if began.elapsed() > BEGIN_WITHIN {
                break;
            }
            let told = match (tenant, webhook) {
                (Some(tenant), Some(webhook)) => self.tell(&tenant.id, webhook, due, is_down).await,
                _ => self.move_on(catalogue, &line.0, due).await,
            };
            match told {
                Ok(Told::Nothing) => {}
                Ok(told) => {
                    is_down = told == Told::Badly;
                    self.remember(&line, is_down);
                }
                Err(error) => trace::span(&line.0, &due.job)
                    .in_scope(|| tracing::warn!(%error, "a webhook's turn broke off; it comes again")),
            }
        }
    }

    fn remember(&self, line: &Line, is_down: bool) {
        let mut failing = self.failing.lock().expect("no holder of this lock panics");
        if is_down {
            failing.insert(line.clone());
        } else {
            failing.remove(line);
        }
    }

    /// The endpoint is not in the catalogue any more: those that are there instead are told.
    async fn move_on(&self, catalogue: &Catalogue, tenant: &str, due: &Due) -> Result<Told, Trouble> {
        if let Some(job) = fact::read::<Job>(self.jobs.store(), &JobKeys::new(tenant, &due.job).job()).await?
        {
            announce(self.jobs.store(), catalogue, &job).await?;
        }
        self.jobs.store().delete(&due.marker).await?;
        Ok(Told::Nothing)
    }

    /// One event's turn at one endpoint.
    async fn tell(&self, tenant: &str, webhook: &Webhook, due: &Due, is_down: bool) -> Result<Told, Trouble> {
        // An endpoint that failed a moment ago is not asked again; but what waits for it must not pile up.
        if is_down && self.jobs.age_ms(due.modified_ms) < WITHIN_MS {
            return Ok(Told::Nothing);
        }
        let (store, keys) = (self.jobs.store(), JobKeys::new(tenant, &due.job));
        let (n, last) = newest(store, &keys, &webhook.endpoint).await?;
        if let Some(last) = last {
            match last.next_ms {
                None => return self.settle(tenant, webhook, due, None).await,
                Some(next) if next > self.jobs.now().0 => {
                    return self.settle(tenant, webhook, due, Some(next)).await;
                }
                Some(_) => {}
            }
        }
        let (job, end) = (fact::read::<Job>(store, &keys.job()).await?, self.jobs.end_of(&keys).await?);
        // Its owner deleted it, and with it what was done for this webhook.
        let (Some(job), Some(end)) = (job, end) else { return self.settle(tenant, webhook, due, None).await };
        let event = event(&job.job, &end);
        if !webhook.events.contains(&event.kind) {
            return self.settle(tenant, webhook, due, None).await;
        }
        let attempt =
            if is_down { self.given_up() } else { self.attempt(webhook, &event, (n + 1, end.at_ms)).await };
        log(&job, webhook, n + 1, &attempt);
        let text = serde_json::to_string(&attempt).expect("facts are plain data, which always serializes");
        store.create(&keys.attempt(&webhook.endpoint, n + 1), text).await?;
        self.settle(tenant, webhook, due, attempt.next_ms).await?;
        let is_well = matches!(attempt.outcome, Outcome::Delivered | Outcome::Gone);
        Ok(if is_well { Told::Well } else { Told::Badly })
    }

    async fn attempt(&self, webhook: &Webhook, event: &Event, (n, event_ms): (u32, u64)) -> Attempt {
        let body = serde_json::to_string(event).expect("an event is plain data, which always serializes");
        let message = Message { id: event.id.clone(), body };
        let (at_ms, began) = (self.jobs.now().0, Instant::now());
        // Of the URL only where it leads: the rest may hold what is secret.
        let mut origin = webhook.url.clone();
        origin.set_path("");
        let span = telemetry::dependency("POST", "webhook", &origin, None);
        let send = self.sender.send(webhook, &message);
        let ended = Fault::around(self.jobs.store().fault(), Act::Send, send).await;
        match ended {
            Ended::Answered { status, .. } => span.status(status),
            Ended::Unanswered(_) => span.failed(),
        }
        drop(span);
        let random = getrandom::u64().unwrap_or_default();
        let now_ms = self.jobs.now().0;
        let (outcome, next_ms) = schedule::after(ended, Made { n, event_ms, now_ms, random });
        let (status, problem) = match ended {
            Ended::Answered { status, .. } => (Some(status), None),
            Ended::Unanswered(problem) => (None, Some(problem)),
        };
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Attempt { v: facts::VERSION, at_ms, took_ms, status, problem, outcome, next_ms }
    }

    /// The end of an event that waited all its time for an endpoint that is down.
    fn given_up(&self) -> Attempt {
        Attempt {
            v: facts::VERSION,
            at_ms: self.jobs.now().0,
            took_ms: 0,
            status: None,
            problem: Some(Problem::Down),
            outcome: Outcome::GaveUp,
            next_ms: None,
        }
    }

    /// Moves the marker to the next attempt, or takes it away.
    async fn settle(
        &self,
        tenant: &str,
        webhook: &Webhook,
        due: &Due,
        next_ms: Option<u64>,
    ) -> Result<Told, Trouble> {
        let store = self.jobs.store();
        let next = next_ms.map(|ms| key::hook(minute(UnixMs(ms)), tenant, &due.job, &webhook.endpoint));
        if let Some(next) = &next {
            store.create(next, "").await?;
        }
        if next.as_ref() != Some(&due.marker) {
            store.delete(&due.marker).await?;
        }
        Ok(Told::Nothing)
    }
}

/// Of the URL only the host: the rest may hold what is secret.
fn log(job: &Job, webhook: &Webhook, n: u32, attempt: &Attempt) {
    let _entered = trace::span_of(job).entered();
    let Attempt { status, took_ms, .. } = *attempt;
    let (host, problem) = (webhook.url.host_str(), attempt.problem.map(Problem::as_str));
    telemetry::measure(&names::WEBHOOKS, 1.0, &[attempt.outcome.as_str()]);
    match attempt.outcome {
        Outcome::Delivered => tracing::info!(host, n, status, took_ms, "webhook told"),
        outcome => {
            let outcome = outcome.as_str();
            tracing::warn!(host, n, status, problem, outcome, took_ms, "webhook not told");
        }
    }
}
