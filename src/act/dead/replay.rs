//! Another look at the job that a letter names. Three steps, and a process may die after each: the marker
//! makes sure that Sweep looks, the record says who asked, the ring makes it soon. Before the first step
//! nothing happened, and after it nothing is lost.

use facts::dead::Replayed;
use facts::key::{self, JobKeys};
use facts::{JobId, VERSION};
use wire::dead::Outcome;
use wire::ticket::{self, Ticket};

use super::DeadLetters;
use super::list::Known;
use crate::act::jobs::Trouble;
use crate::catalogue::Catalogue;

/// Replays of one letter. Whoever needs more has another trouble.
const REPLAYS_MAX: usize = 100;

/// What is to be done with a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run<'a> {
    /// Nothing; only its outcome is told.
    Dry,
    /// It is carried out for the key with this public part.
    By(&'a str),
}

/// What a ticket asks for.
struct Asked {
    tenant: String,
    job: JobId,
    rescue: Option<(u32, u32)>,
}

impl DeadLetters {
    /// Looks at the job of a letter once more, or tells why that is not done.
    pub async fn replay(&self, catalogue: &Catalogue, known: &Known, run: Run<'_>) -> Outcome {
        let done = async {
            let asked = match self.asked(catalogue, known).await? {
                Ok(asked) => asked,
                Err(outcome) => return Ok(outcome),
            };
            match run {
                Run::Dry => Ok(Outcome::WouldRing),
                Run::By(by) => self.ring(&asked, &known.id, by).await,
            }
        };
        done.await.unwrap_or_else(|error: Trouble| {
            tracing::warn!(%error, letter = known.id, "a dead letter could not be replayed");
            Outcome::Failed
        })
    }

    /// What is to be looked at, or why nothing is.
    async fn asked(&self, catalogue: &Catalogue, known: &Known) -> Result<Result<Asked, Outcome>, Trouble> {
        let letter = &known.letter;
        // What was cut was longer than any ticket.
        let read: Option<Ticket> = serde_json::from_str(&letter.body).ok().filter(|_| !letter.is_cut());
        let Some(Ticket { v: ticket::VERSION, tenant, job_id, shard, k }) = read else {
            return Ok(Err(Outcome::NotATicket));
        };
        let Some(job) = JobId::parse(&job_id) else { return Ok(Err(Outcome::NotATicket)) };
        // A name that is no tenant's must not enter a key.
        if catalogue.tenant(&tenant).is_none() {
            return Ok(Err(Outcome::UnknownTenant));
        }
        let keys = JobKeys::new(&tenant, &job);
        if self.store().exists(&keys.end()).await? {
            return Ok(Err(Outcome::JobEnded));
        }
        if self.jobs.job_now(&tenant, &job).await?.is_none() {
            return Ok(Err(Outcome::NoSuchJob));
        }
        if known.marks.replays >= REPLAYS_MAX {
            return Ok(Err(Outcome::TooOften));
        }
        Ok(Ok(Asked { tenant, job, rescue: shard.zip(k) }))
    }

    async fn ring(&self, asked: &Asked, letter: &str, by: &str) -> Result<Outcome, Trouble> {
        let Asked { tenant, job, rescue } = asked;
        self.store().create(&key::due(key::NOW, tenant, job), "").await?;
        let at_unix_ms = self.clock.now_ms();
        let record = Replayed { v: VERSION, at_unix_ms, by: by.to_owned() };
        let record = serde_json::to_vec(&record).expect("a mark is plain data, which always serializes");
        let mark =
            key::dead_replayed(letter, at_unix_ms, &format!("{:08x}", getrandom::u32().unwrap_or_default()));
        self.store().create(&mark, record).await?;
        let heard = self.jobs.ring(tenant, job, *rescue).await;
        Ok(if heard { Outcome::Rung } else { Outcome::Marked })
    }
}
