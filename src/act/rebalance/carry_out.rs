//! A plan becomes the pool's formula: written, tried here, tried by the service, and put into force
//! where it says something new. Every refusal is an outcome; the next rebalance tries again.

use std::time::Duration;

use facts::key;
use facts::view::pool::Planned;
use policy::knobs::AutoscaleMode;
use policy::rebalance::{Decision, Plan};
use policy::units::Millis;

use super::formula;
use super::sight::Sight;
use crate::act::jobs::Jobs;
use crate::act::jobs::look::World;
use crate::azure::batch::autoscale::ENABLE_EVERY;
use crate::azure::batch::pool::Allocation;
use crate::azure::batch::{self, AutoScaleError};
use crate::catalogue::Pool;

/// What became of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was asked for: the mode is observe.
    Observed,
    /// The decision holds what is.
    Held,
    /// The plan is shown and nobody acts on it: the mode is recommend.
    Recommended,
    /// The formula in force says the same.
    Unchanged,
    /// The formula is in force.
    Enabled,
    /// Not now; the next rebalance tries again.
    Later(String),
    /// It will not do by itself: somebody must look.
    Refused(String),
}

impl Outcome {
    /// Its name on the status page and in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Observed => "observed",
            Outcome::Held => "held",
            Outcome::Recommended => "recommended",
            Outcome::Unchanged => "unchanged",
            Outcome::Enabled => "enabled",
            Outcome::Later(_) => "later",
            Outcome::Refused(_) => "refused",
        }
    }

    /// Why it came to less than was decided.
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Outcome::Later(why) | Outcome::Refused(why) => Some(why),
            _ => None,
        }
    }
}

/// What was carried out, and the formula that was written; none: no plan, or none could be written.
#[derive(Clone, Debug)]
pub struct CarriedOut {
    /// What became of it.
    pub outcome: Outcome,
    /// The formula.
    pub formula: Option<String>,
}

/// Carries a decision out as far as the mode allows. `last` is what was made of the pool before.
pub async fn carry_out(
    jobs: &Jobs,
    world: World<'_>,
    (pool, sight): (&Pool, &Sight),
    decision: &Decision,
    last: Option<&Planned>,
) -> CarriedOut {
    let Some(plan) = &decision.plan else {
        return CarriedOut { outcome: Outcome::Held, formula: None };
    };
    let text = match formula::write(plan, &sight.view) {
        Ok(text) => text,
        // Ours to mend: the service is not asked what we would refuse.
        Err(why) => return CarriedOut { outcome: Outcome::Refused(why), formula: None },
    };
    let outcome = match (world.knobs.autoscale, jobs.batch(), &sight.pool) {
        (AutoscaleMode::Act, Some(batch), Some(seen)) => {
            let act = Act { jobs, batch, name: &pool.facts.name, seen, interval: interval(world) };
            act.put_into_force(&text, plan, decision.kick, last).await
        }
        (AutoscaleMode::Act, ..) => Outcome::Later("the pool takes no work".to_owned()),
        (AutoscaleMode::Observe, ..) => Outcome::Observed,
        (AutoscaleMode::Recommend, ..) => Outcome::Recommended,
    };
    CarriedOut { outcome, formula: Some(text) }
}

/// How often formulas are to be evaluated.
fn interval(world: World<'_>) -> Duration {
    Duration::from_secs(u64::from(world.knobs.autoscale_interval_minutes) * 60)
}

/// One pool that is acted on.
struct Act<'a> {
    jobs: &'a Jobs,
    batch: &'a batch::Client,
    name: &'a str,
    seen: &'a batch::Pool,
    interval: Duration,
}

impl Act<'_> {
    async fn put_into_force(&self, text: &str, plan: &Plan, kick: bool, last: Option<&Planned>) -> Outcome {
        let in_force = self.seen.formula.as_deref().filter(|_| self.seen.auto_scale);
        let same = in_force.is_some_and(|old| formula::says_the_same(old, text));
        // An interval begins anew whenever it is named: only where it shall change, or where the old
        // one has stopped.
        let interval = (kick || self.seen.interval != Some(self.interval) || !self.seen.auto_scale)
            .then_some(self.interval);
        if same && interval.is_none() {
            return Outcome::Unchanged;
        }
        if let Some(why) = self.not_now(last) {
            return Outcome::Later(why);
        }
        let ready = self.try_and_keep(text, plan, in_force).await;
        if let Err(outcome) = ready {
            return outcome;
        }
        if kick {
            tracing::error!(
                pool = self.name,
                "the pool's formula is not evaluated any more; enabling it anew"
            );
        }
        match self.batch.enable_autoscale(self.name, Some(text), interval).await {
            Ok(()) => Outcome::Enabled,
            Err(error) => outcome_of(&error),
        }
    }

    /// Why the service would refuse at this moment, as far as it is known here.
    fn not_now(&self, last: Option<&Planned>) -> Option<String> {
        let enabled = last.and_then(|last| last.enabled_at);
        let age = enabled.map(|at| Millis(self.jobs.now().0.saturating_sub(at)));
        if age.is_some_and(|age| u128::from(age.0) < ENABLE_EVERY.as_millis()) {
            return Some(AutoScaleError::Later.to_string());
        }
        // A pool that was resized by hand is taken over once it has come to rest.
        let resizing = !self.seen.auto_scale && self.seen.allocation != Allocation::Steady;
        resizing.then(|| "the pool is being resized by hand; it is taken over at rest".to_owned())
    }

    /// Has the service try the formula, and keeps the one that it replaces where that is not ours. A
    /// pool without a formula can try none: there, enabling it is the test.
    async fn try_and_keep(&self, text: &str, plan: &Plan, in_force: Option<&str>) -> Result<(), Outcome> {
        let Some(old) = in_force else { return Ok(()) };
        let run = self.batch.evaluate_autoscale(self.name, text).await;
        let run = run.map_err(|error| outcome_of(&error))?;
        if let Some(error) = &run.error {
            let why = format!("azure batch evaluates the formula to {}: {}", error.code, error.message);
            return Err(Outcome::Refused(why));
        }
        if let Some(nodes) = targets(&run.results).filter(|nodes| *nodes > u64::from(plan.max_nodes)) {
            let why = format!("azure batch evaluates the formula to {nodes} nodes, above {}", plan.max_nodes);
            return Err(Outcome::Refused(why));
        }
        if formula::previous(old).is_some() {
            return Ok(());
        }
        let kept = key::replaced_formula(self.name);
        if let Err(error) = self.jobs.store().overwrite(&kept, old.to_owned()).await {
            return Err(Outcome::Later(format!("the formula in force cannot be kept: {error}")));
        }
        tracing::warn!(
            pool = self.name,
            formula = old,
            kept,
            "the pool has a formula that is not ours; it is kept and replaced, because autoscale-mode is act"
        );
        Ok(())
    }
}

fn outcome_of(error: &AutoScaleError) -> Outcome {
    let why = error.to_string();
    match error {
        AutoScaleError::Formula { .. } | AutoScaleError::NotFound => Outcome::Refused(why),
        // The pool was changed since it was looked at.
        AutoScaleError::NotEnabled | AutoScaleError::Later | AutoScaleError::Busy { .. } => {
            Outcome::Later(why)
        }
        AutoScaleError::Call(batch::CallError::Refused { .. } | batch::CallError::Rejected { .. }) => {
            Outcome::Refused(why)
        }
        AutoScaleError::Call(_) => Outcome::Later(why),
    }
}

/// Nodes of both kinds in the results of a run, `$TargetDedicatedNodes=1;$TargetLowPriorityNodes=2;…`;
/// none: it sets none.
fn targets(results: &str) -> Option<u64> {
    let value = |wanted: &str| {
        let mut pairs = results.split(';').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(name, _)| name.trim() == wanted)?;
        Some(value.trim().parse::<f64>().ok()?.max(0.0) as u64)
    };
    let (dedicated, spot) = (value("$TargetDedicatedNodes"), value("$TargetLowPriorityNodes"));
    (dedicated.is_some() || spot.is_some()).then(|| dedicated.unwrap_or(0) + spot.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_a_run_are_added_up() {
        let cases = [
            (
                "$TargetDedicatedNodes=1;$TargetLowPriorityNodes=2;$NodeDeallocationOption=taskcompletion",
                Some(3),
            ),
            ("$TargetLowPriorityNodes=2.7", Some(2)),
            ("$TargetDedicatedNodes=0;x=9", Some(0)),
            ("x=9", None),
            ("", None),
        ];
        for (results, expected) in cases {
            assert_eq!(targets(results), expected, "{results}");
        }
    }
}
