//! A pool that sizes itself: its formula, when it is evaluated, what the last evaluation gave.
//!
//! Where the service's documents are silent:
//! - the first evaluation is made when autoscale is switched on, then one an interval; a new
//!   formula alone waits for the next one, an interval that is given starts over at once
//! - an evaluation that meets a pool still resizing is recorded and changes nothing: only a steady
//!   pool is resized, by a client or by its formula, so nodes that drain hold growth up
//! - targets that the nodes meet already are no resize: errors of the last resize stay; targets
//!   that were not reached are tried for again
//! - for its first formula a pool must be steady; one that has a formula takes another at any time
//! - `retaineddata` drains as `taskcompletion` does; the data's retention is not waited for

use autoscale::{Evaluation, Formula, RunError, Targets, Timestamp, World};

use super::pool::{Allocation, Deallocation, Kind, Nodes, Pool, Resize};
use super::{Account, Key, Timer};
use crate::azure_batch::body::{self, Object, Property};
use crate::azure_batch::fault::{Code, Fault};
use crate::azure_batch::version::Version;

/// The service's interval unless told otherwise, and its bounds.
const INTERVAL_MS: u64 = 15 * 60 * 1000;
const INTERVAL_MS_MIN: u64 = 5 * 60 * 1000;
const INTERVAL_MS_MAX: u64 = 168 * 60 * 60 * 1000;
/// The service takes one `enableautoscale` a pool in so many milliseconds.
const ENABLE_GAP_MS: u64 = 30_000;

/// A pool's autoscale that is switched on.
pub(in crate::azure_batch) struct Autoscale {
    text: String,
    formula: Formula,
    pub(in crate::azure_batch) interval_ms: u64,
    /// When it is evaluated next. None once it was made to stop: trouble on request.
    due_ms: Option<u64>,
    pub(in crate::azure_batch) last: Option<Run>,
}

impl Autoscale {
    /// The formula as it was given.
    pub(in crate::azure_batch) fn text(&self) -> &str {
        &self.text
    }
}

/// One evaluation, as the service tells it.
pub(in crate::azure_batch) struct Run {
    pub(in crate::azure_batch) at_ms: u64,
    pub(in crate::azure_batch) results: String,
    pub(in crate::azure_batch) error: Option<RunError>,
}

impl Run {
    fn of(evaluation: Evaluation, at_ms: u64) -> Run {
        Run { at_ms, results: evaluation.results.to_string(), error: evaluation.error }
    }
}

/// What a pool's creation or `enableautoscale` asks for.
#[derive(Debug)]
pub(in crate::azure_batch) struct Asked {
    formula: Option<(String, Formula)>,
    interval_ms: Option<u64>,
}

impl Asked {
    /// The body of `enableautoscale`.
    pub(in crate::azure_batch) fn read(object: &Object, version: Version) -> Result<Asked, Fault> {
        body::check(
            object,
            &[("autoScaleFormula", Property::Taken), ("autoScaleEvaluationInterval", Property::Taken)],
        )?;
        Asked::members(object, version)
    }

    /// A new pool's members, which must hold a formula.
    pub(super) fn of_new_pool(object: &Object, version: Version) -> Result<Asked, Fault> {
        for target in ["targetDedicatedNodes", "targetLowPriorityNodes"] {
            if !object.get(target).is_none_or(serde_json::Value::is_null) {
                let reason = "it must not be specified if enableAutoScale is true";
                return Err(Fault::property(Code::InvalidAutoScalingSettings, target, reason));
            }
        }
        let asked = Asked::members(object, version)?;
        if asked.formula.is_none() {
            return Err(body::missing("autoScaleFormula"));
        }
        Ok(asked)
    }

    fn members(object: &Object, version: Version) -> Result<Asked, Fault> {
        let interval_ms = body::duration_ms(object, "autoScaleEvaluationInterval")?;
        if interval_ms.is_some_and(|interval_ms| !(INTERVAL_MS_MIN..=INTERVAL_MS_MAX).contains(&interval_ms))
        {
            return Err(body::invalid("autoScaleEvaluationInterval", "it is from PT5M to P7D"));
        }
        let formula = match body::text(object, "autoScaleFormula")? {
            Some(text) => Some((text.to_owned(), parse(text, version)?)),
            None => None,
        };
        Ok(Asked { formula, interval_ms })
    }
}

/// The formula of `evaluateautoscale`.
pub(in crate::azure_batch) fn formula(object: &Object, version: Version) -> Result<Formula, Fault> {
    body::check(object, &[("autoScaleFormula", Property::Taken)])?;
    let text = body::text(object, "autoScaleFormula")?.ok_or_else(|| body::missing("autoScaleFormula"))?;
    parse(text, version)
}

fn parse(text: &str, version: Version) -> Result<Formula, Fault> {
    let refused = |code, details: String| Fault { code, values: vec![("Message", details)] };
    let formula = autoscale::parse(text).map_err(|error| match error.kind {
        autoscale::ErrorKind::TooLong => refused(Code::AutoScalingFormulaTooLong, error.to_string()),
        _ => refused(Code::AutoScalingFormulaSyntaxError, error.to_string()),
    })?;
    if !version.knows_retained_data() && names_retained_data(text) {
        let details = "retaineddata is not a deallocation option since api-version 2026-10-01".to_owned();
        return Err(refused(Code::AutoScalingFormulaSyntaxError, details));
    }
    Ok(formula)
}

/// Whether the word stands in a formula outside its comments.
fn names_retained_data(text: &str) -> bool {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let mut words = code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$'));
    words.any(|word| word == "retaineddata")
}

impl Account {
    /// Switches a pool's autoscale on, or changes it.
    pub(in crate::azure_batch) fn enable_autoscale(
        &mut self,
        id: &str,
        asked: Asked,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let pool = self.pool(id)?;
        match &pool.autoscale {
            None if asked.formula.is_none() => return Err(body::missing("autoScaleFormula")),
            None if pool.allocation != Allocation::Steady => return Err(Code::PoolBeingResized.into()),
            Some(_) if asked.formula.is_none() && asked.interval_ms.is_none() => {
                return Err(body::missing("autoScaleFormula"));
            }
            _ => {}
        }
        if pool.enabled_ms.is_some_and(|enabled_ms| now_ms < enabled_ms + ENABLE_GAP_MS) {
            return Err(Code::TooManyEnableAutoScaleRequests.into());
        }
        let (key, stamp) = (Key::of(id), self.stamp(now_ms));
        let pool = self.pools.get_mut(&key).expect("it was just found");
        (pool.enabled_ms, pool.stamp) = (Some(now_ms), stamp);
        self.scale(&key, asked, now_ms);
        self.place_tasks(now_ms);
        Ok(())
    }

    /// Carries out what was asked for; an omitted member keeps its value.
    pub(super) fn scale(&mut self, key: &Key, asked: Asked, now_ms: u64) {
        let pool = self.pools.get_mut(key).expect("the caller has it");
        match (&mut pool.autoscale, asked.formula) {
            (Some(autoscale), formula) => {
                if let Some((text, formula)) = formula {
                    (autoscale.text, autoscale.formula) = (text, formula);
                }
                let Some(interval_ms) = asked.interval_ms else { return };
                autoscale.interval_ms = interval_ms;
            }
            (off, Some((text, formula))) => {
                let interval_ms = asked.interval_ms.unwrap_or(INTERVAL_MS);
                *off = Some(Autoscale { text, formula, interval_ms, due_ms: None, last: None });
            }
            (None, None) => return,
        }
        self.autoscale_due(key, now_ms);
    }

    /// Switches a pool's autoscale off; its targets stay.
    pub(in crate::azure_batch) fn disable_autoscale(&mut self, id: &str, now_ms: u64) -> Result<(), Fault> {
        if self.pool(id)?.autoscale.is_none() {
            return Err(Code::OperationNotValidOnPool.into());
        }
        let (key, stamp) = (Key::of(id), self.stamp(now_ms));
        self.autoscale_due_at(&key, None);
        let pool = self.pools.get_mut(&key).expect("it was just found");
        (pool.autoscale, pool.stamp) = (None, stamp);
        Ok(())
    }

    /// What a formula would give now; applies nothing.
    pub(in crate::azure_batch) fn evaluate_autoscale(
        &mut self,
        id: &str,
        formula: &Formula,
        now_ms: u64,
    ) -> Result<Run, Fault> {
        if self.pool(id)?.autoscale.is_none() {
            return Err(Code::OperationNotValidOnPool.into());
        }
        let seed = self.revision;
        let pool = self.pools.get_mut(&Key::of(id)).expect("it was just found");
        pool.samples.release(now_ms);
        Ok(Run::of(pool.evaluate(formula, seed, now_ms), now_ms))
    }

    /// Makes a pool's formula be evaluated no more, or again. What starts the schedule over, an
    /// interval given or off and on, ends it too.
    pub(in crate::azure_batch) fn set_evaluating(
        &mut self,
        id: &str,
        evaluating: bool,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let key = Key::of(id);
        let Some(autoscale) = &self.pool(id)?.autoscale else {
            return Err(Code::OperationNotValidOnPool.into());
        };
        let due_ms = evaluating.then(|| autoscale.due_ms.unwrap_or(now_ms + autoscale.interval_ms));
        self.autoscale_due_at(&key, due_ms);
        Ok(())
    }

    /// It is time for a pool's formula.
    pub(super) fn autoscale_due(&mut self, key: &Key, now_ms: u64) {
        let seed = self.revision;
        let pool = self.pools.get_mut(key).expect("its timer ends with it");
        pool.samples.release(now_ms);
        let Some(autoscale) = &pool.autoscale else { return };
        let evaluation = pool.evaluate(&autoscale.formula, seed, now_ms);
        let wanted = if evaluation.error.is_none() { pool.wanted(&evaluation) } else { None };
        let Some(autoscale) = &mut pool.autoscale else { return };
        autoscale.last = Some(Run::of(evaluation, now_ms));
        let due_ms = now_ms + autoscale.interval_ms;
        self.autoscale_due_at(key, Some(due_ms));
        if let Some(resize) = wanted {
            self.retarget(key, resize, now_ms);
        }
    }

    pub(super) fn autoscale_due_at(&mut self, key: &Key, due_ms: Option<u64>) {
        let pool = self.pools.get_mut(key).expect("the caller has it");
        let Some(autoscale) = &mut pool.autoscale else { return };
        let before_ms = std::mem::replace(&mut autoscale.due_ms, due_ms);
        self.disarm(before_ms, Timer::Autoscale(key.clone()));
        if let Some(due_ms) = due_ms {
            self.arm(due_ms, Timer::Autoscale(key.clone()));
        }
    }
}

impl Pool {
    fn evaluate(&self, formula: &Formula, seed: u64, now_ms: u64) -> Evaluation {
        let number = |nodes: usize| u32::try_from(nodes).unwrap_or(u32::MAX);
        formula.evaluate(&World {
            now: Timestamp::from_unix_ms(now_ms),
            history: self.samples.history(),
            targets: Targets {
                dedicated: number(self.target.dedicated),
                low_priority: number(self.target.spot),
            },
            deallocation: autoscale::Deallocation::Requeue,
            seed,
        })
    }

    /// The resize that an evaluation asks for; none when the pool is as wanted or still resizing.
    fn wanted(&mut self, evaluation: &Evaluation) -> Option<Resize> {
        if self.allocation != Allocation::Steady {
            return None;
        }
        let number = |nodes: u32| usize::try_from(nodes).unwrap_or(usize::MAX);
        let target = Nodes {
            dedicated: evaluation.results.dedicated().map_or(self.target.dedicated, number),
            spot: evaluation.results.low_priority().map_or(self.target.spot, number),
        };
        if [Kind::Dedicated, Kind::Spot].iter().all(|kind| self.staying(*kind).count() == target.of(*kind)) {
            self.target = target;
            return None;
        }
        let deallocation = match evaluation.results.deallocation() {
            autoscale::Deallocation::Requeue => Deallocation::Requeue,
            autoscale::Deallocation::Terminate => Deallocation::Terminate,
            autoscale::Deallocation::TaskCompletion | autoscale::Deallocation::RetainedData => {
                Deallocation::TaskCompletion
            }
        };
        Some(Resize { dedicated: Some(target.dedicated), spot: Some(target.spot), deallocation })
    }
}
