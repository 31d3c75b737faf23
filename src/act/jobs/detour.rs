//! The pool that takes what waits of a job: its own, or another one while that one cannot get a node. What
//! is in a task already stays in it; which pool a task is in says its pack.

use facts::{Job, JobId};
use policy::detour;
use policy::rescue::At;

use super::look::World;
use super::pack::runs;
use super::survey::{Pass, Survey};
use super::{Jobs, Trouble};
use crate::catalogue::Pool;

impl Jobs {
    /// The pool that takes what waits of a job now; none: the job is not there, or no pool of the catalogue is
    /// its.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn pool_now<'a>(
        &self,
        world: World<'a>,
        (tenant, id): (&str, &JobId),
        pass: &Pass,
    ) -> Result<Option<&'a Pool>, Trouble> {
        let Some(job) = self.job(tenant, id).await? else { return Ok(None) };
        if !self.is_starved(&job.pool) {
            return Ok(named(world, &job.pool));
        }
        let Some(survey) = self.survey(tenant, id, pass).await? else { return Ok(None) };
        Ok(named(world, self.pool_of(world, &survey)))
    }

    /// The same, by its name, of a job that was looked at.
    pub(super) fn pool_of<'a>(&self, world: World<'a>, survey: &'a Survey) -> &'a str {
        let runs = survey.open.iter().any(|open| open.at == At::Running);
        self.taken_by(world, &survey.job, runs)
    }

    /// The same, where `is_running` says whether something of the job runs in its own pool.
    pub(in crate::act) fn taken_by<'a>(&self, world: World<'a>, job: &'a Job, is_running: bool) -> &'a str {
        let able = world.catalogue.pools.iter().filter(|pool| {
            let serves = pool.models.contains(&job.model) && runs(pool, &job.model);
            serves && pool.facts.accepting
        });
        let able: Vec<detour::Pool<'a>> = able
            .map(|pool| {
                let name = pool.facts.name.as_str();
                detour::Pool { name, starved: self.is_starved(name) }
            })
            .collect();
        detour::pool(&job.pool, is_running, &able)
    }
}

fn named<'a>(world: World<'a>, name: &str) -> Option<&'a Pool> {
    world.catalogue.pools.iter().map(AsRef::as_ref).find(|pool| pool.facts.name == name)
}
