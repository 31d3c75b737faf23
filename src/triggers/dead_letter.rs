//! Function `DeadLetter`: keeps what the host gave up on, once, with the reason. A message is
//! answered with 200 only when it is kept: nothing is lost.

use facts::dead::{Letter, Reason};
use facts::{JobId, key};
use serde_json::Value;
use wire::envelope::{Done, Envelope};
use wire::ticket::Ticket;

use crate::act::dead::keep::{KEPT_A_DAY_MAX, Kept};
use crate::app::App;
use crate::failure::{Failure, Kind};
use crate::metrics::names;
use crate::telemetry;

/// Keeps the message.
///
/// # Errors
/// When it could not be kept; the host then keeps it in its queue.
pub async fn run(app: &App, envelope: &Envelope) -> Result<Done, Failure> {
    keep(app, envelope, Reason::TriesUsedUp.as_str()).await
}

/// Keeps the message of `envelope` as a dead letter for `reason`, a code of [`Reason`].
///
/// # Errors
/// When it could not be kept.
pub async fn keep(app: &App, envelope: &Envelope, reason: &'static str) -> Result<Done, Failure> {
    debug_assert!(Reason::parse(reason).is_some(), "`{reason}` is no reason of the closed list");
    let text = envelope.text("ticket").ok_or_else(|| {
        Failure::invalid("ticket", "invalid_envelope", "the envelope has no value `ticket`")
    })?;
    let letter = letter(app, envelope, reason, &text).await;
    let id = key::hex_sha256(text.as_bytes());
    let kept = app.dead_letters.keep(&id, &letter).await;
    let kept = kept.map_err(|error| not_kept(&error.to_string()))?;
    let key = key::dead_letter_of(&id);
    match kept {
        Kept::Known => {}
        Kept::New | Kept::Returned => {
            telemetry::measure(&names::DEAD_LETTERS, 1.0, &[reason]);
            app.jobs.tell_dead_letter(&told(&letter)).await;
        }
        Kept::Beyond => {
            telemetry::measure(&names::DEAD_LETTERS, 1.0, &[reason]);
            // The queue is all that has it.
            if !app.jobs.tell_dead_letter(&told(&letter)).await {
                return Err(not_kept("the day has its letters, and the queue did not take it"));
            }
            tracing::error!(
                reason,
                "a dead letter is in its queue alone: {KEPT_A_DAY_MAX} of today are kept; \
                 look who writes into the queue"
            );
            return Ok(Done { logs: vec![format!("beyond {KEPT_A_DAY_MAX} a day: {reason}")] });
        }
    }
    tracing::warn!(reason, key, ?kept, "dead letter kept");
    Ok(Done { logs: vec![format!("kept as {key}: {reason}")] })
}

/// A message with what its ticket and the host say. That is for people: not knowing it keeps nothing up.
async fn letter(app: &App, envelope: &Envelope, reason: &str, text: &str) -> Letter {
    let said = |name: &str| envelope.metadata.get(name).map(plain);
    let dequeue_count = said("DequeueCount").and_then(|count| count.parse().ok());
    let letter = Letter::new(app.now().0, reason, text).said_by_host(dequeue_count, said("InsertionTime"));
    let Ok(ticket) = serde_json::from_str::<Ticket>(text) else { return letter };
    let model = model(app, &ticket).await;
    Letter { tenant: Some(ticket.tenant), job: Some(ticket.job_id), model, ..letter }
}

async fn model(app: &App, ticket: &Ticket) -> Option<String> {
    let catalogue = app.catalogue().await.ok()?;
    // A name that is no tenant's must not enter a key.
    let tenant = &catalogue.tenant(&ticket.tenant)?.id;
    let job = app.jobs.job(tenant, &JobId::parse(&ticket.job_id)?).await.ok()??;
    Some(job.model.clone())
}

/// The host writes values as JSON text of JSON text, and as they are where a member of the message
/// overwrote them.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => serde_json::from_str::<String>(text).unwrap_or_else(|_| text.clone()),
        other => other.to_string(),
    }
}

fn told(letter: &Letter) -> String {
    serde_json::to_string(letter).expect("a letter is plain data, which always serializes")
}

fn not_kept(why: &str) -> Failure {
    Failure::new(Kind::Bug, "not_kept", format!("dead letter not kept: {why}"))
}
