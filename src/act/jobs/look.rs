//! One look at a job: fold its facts, do what they ask for, say when to look again. Two looks at once
//! do no harm: every act of theirs is put-if-absent or repeats itself.

use std::sync::atomic::Ordering;

use facts::fold::Phase;
use facts::job::StopWhy;
use facts::key::{self, JobKeys};
use facts::{Job, JobId};
use policy::Knobs;
use policy::canary::Gate;
use policy::rescue::{self, At, Shard};
use policy::tries;
use policy::units::{Millis, UnixMs};

use super::accept::{minute, ready_marker};
use super::survey::{Pass, Survey};
use super::{Jobs, Trouble, ended};
use crate::act::webhooks;
use crate::catalogue::Catalogue;

/// Longest time between two looks at a job.
const LOOK_EVERY: Millis = Millis::from_secs(600);
/// While tasks of a job run or wait, a lost one is noticed within this.
const LOOK_WHILE_RUNNING: Millis = Millis::from_secs(120);

/// What everything here is decided with.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// Models, pools, backends.
    pub catalogue: &'a Catalogue,
    /// What operators tuned.
    pub knobs: &'a Knobs,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// There is no such job.
    NoJob,
    /// It has ended; nothing is to be done.
    Ended,
    /// Its first chunk is to be checked before anything else is done.
    Check,
    /// It goes on; to be looked at again then.
    Again(UnixMs),
}

impl Jobs {
    /// Looks at a job and does what is due.
    ///
    /// # Errors
    /// [`Trouble`]: nothing is lost, the next look goes on.
    pub async fn look(
        &self,
        world: World<'_>,
        tenant: &str,
        id: &JobId,
        pass: &Pass,
    ) -> Result<Look, Trouble> {
        let Some(mut survey) = self.survey(tenant, id, pass).await? else { return Ok(Look::NoJob) };
        if matches!(survey.phase(), Phase::Waiting | Phase::Running) {
            self.stop_if_due(&survey).await?;
            survey.state.stopped = self.stop_of(&JobKeys::new(tenant, id)).await?.is_some();
        }
        if survey.phase() == Phase::Stopping {
            self.seal(&survey.job, &survey.state).await?;
            survey = self.survey(tenant, id, pass).await?.unwrap_or(survey);
        }
        if matches!(survey.phase(), Phase::Waiting | Phase::Running) && survey.canary_due() {
            return Ok(Look::Check);
        }
        match survey.phase() {
            Phase::Ended => {
                // Its writer may have died before the rest.
                if let Some(end) = self.fact(&JobKeys::new(tenant, id).end()).await? {
                    self.charge(world.catalogue, &survey.job, &end).await?;
                }
                self.clear(&survey.job, world.knobs.retention_days).await?;
                webhooks::announce(self.store(), world.catalogue, &survey.job).await?;
                return Ok(Look::Ended);
            }
            Phase::Finishing => {
                if let Some((began_ms, end)) = self.finish(&survey, world).await? {
                    ended::tell(world, &survey.job, began_ms, &end);
                }
                webhooks::announce(self.store(), world.catalogue, &survey.job).await?;
                return Ok(Look::Ended);
            }
            // A chunk came in between; the next look finds it.
            Phase::Stopping => return Ok(Look::Again(self.now())),
            Phase::Waiting | Phase::Running => {}
        }
        self.ring_rescues(world, &survey, pass).await;
        let pool = self.pool_of(world, &survey);
        let marker = ready_marker(&survey.job, pool);
        if pool != survey.job.pool {
            self.store().delete(&ready_marker(&survey.job, &survey.job.pool)).await?;
        }
        if survey.waiting().next().is_some() && is_for_pool(world, &survey) {
            self.store().create(&marker, "").await?;
        } else {
            self.store().delete(&marker).await?;
        }
        self.list(&survey.job).await?;
        Ok(Look::Again(self.next_look(&survey)))
    }

    /// Puts the marker of the next look and takes the others away, the last one last.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn mark(&self, tenant: &str, id: &JobId, next: UnixMs, old: &[String]) -> Result<(), Trouble> {
        let marker = key::due(minute(next), tenant, id);
        self.store().create(&marker, "").await?;
        for old in old.iter().filter(|old| **old != marker) {
            self.store().delete(old).await?;
        }
        Ok(())
    }

    async fn stop_if_due(&self, survey: &Survey) -> Result<(), Trouble> {
        let job = &survey.job;
        if self.now().0 >= job.deadline_ms {
            let reason = "the deadline passed before this item was done";
            return self.stop(job, StopWhy::Expired, reason).await;
        }
        if survey.waiting().filter_map(|open| open.tried.as_ref()).any(tries::is_given_up) {
            let reason = "a part of the job failed too often; its logs say why";
            return self.stop(job, StopWhy::Failed, reason).await;
        }
        Ok(())
    }

    async fn ring_rescues(&self, world: World<'_>, survey: &Survey, pass: &Pass) {
        let job = &survey.job;
        if !is_served(world, survey) {
            return;
        }
        let now = self.now();
        let take = || {
            let one_less = |left: u32| left.checked_sub(1);
            pass.rescues_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
        };
        let (due, rest): (Vec<_>, Vec<_>) =
            survey.open.iter().partition(|open| rescue::due(&shard_for_rescue(survey, open), now));
        // Those under way have their share already.
        for _ in rest.iter().filter(|open| matches!(open.at, At::Rescue { .. })) {
            take();
        }
        for open in due {
            if !take() {
                break;
            }
            tracing::info!(shard = open.shard, k = open.k + 1, "rescue rung");
            self.ring(&job.tenant, &job.job, Some((open.shard, open.k + 1))).await;
        }
    }

    fn next_look(&self, survey: &Survey) -> UnixMs {
        let now = self.now();
        let deadline = UnixMs(survey.job.deadline_ms);
        let mut next = (now + LOOK_EVERY).min(deadline);
        if let Gate::Held { until } = survey.gate {
            next = next.min(until);
        }
        for open in &survey.open {
            let shard = shard_for_rescue(survey, open);
            let due = match open.at {
                At::Rescue { claimed, last_chunk } => Some(rescue::silent_at(&shard, claimed, last_chunk)),
                _ => rescue::begins(&shard),
            };
            let watched = open.pack.is_some().then(|| now + LOOK_WHILE_RUNNING);
            next = due.into_iter().chain(watched).chain(open.pauses_until).fold(next, UnixMs::min);
        }
        next.max(now)
    }
}

pub(super) fn shard_for_rescue(survey: &Survey, open: &super::survey::Open) -> Shard {
    Shard {
        deadline: UnixMs(survey.job.deadline_ms),
        promoted: survey.promoted,
        left: open.left,
        realtime: survey.realtime_left(),
        chunk: survey.realtime_chunk(),
        at: open.at,
        again: open.pauses_until.unwrap_or_default(),
    }
}

/// Whether the pool runs what waits of this job: what was promoted is rescued, where that can be.
pub(super) fn is_for_pool(world: World<'_>, survey: &Survey) -> bool {
    let is_rescued = survey.promoted && survey.realtime_left().is_some() && is_served(world, survey);
    !survey.state.stopped && !is_rescued
}

/// Whether a backend serves the job's model with the weights that it was promised.
pub(super) fn is_served(world: World<'_>, survey: &Survey) -> bool {
    serves(world, &survey.job)
}

/// The same, of a job alone.
pub(in crate::act) fn serves(world: World<'_>, job: &Job) -> bool {
    let same = world.catalogue.model(&job.model).is_some_and(|model| model.spec.digest == job.digest);
    same && world.catalogue.backends.iter().any(|backend| backend.models.contains(&job.model))
}
