//! What a store or a service in trouble holds up. Each process remembers the steps of its own that broke off;
//! no fact can tell, because writing facts may be what fails.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use facts::JobId;
use facts::key::JobKeys;
use policy::reason::{Code, Evidence, Reason};
use policy::units::{Millis, UnixMs};

use super::Trouble;

/// Steps remembered at most. Whatever holds up more is told by these.
const STEPS_MAX: usize = 1_024;
/// A step that broke off is made again by the next sweep, in 30 s, by whichever process that is: one that was
/// not seen to break off for this long is well.
const FRESH: Millis = Millis::from_secs(90);

/// What is done again and again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Finding the jobs that are due.
    Due,
    /// Looking at a job, by the folder of its facts.
    Look(String),
    /// Sending what waits to a pool.
    Dispatch(String),
    /// Merging what is seen of backends and pools.
    View,
}

impl Step {
    /// The look at this job.
    pub fn look(tenant: &str, id: &JobId) -> Step {
        Step::Look(JobKeys::new(tenant, id).folder().to_owned())
    }
}

/// How a step is held up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldUp {
    /// Since when.
    pub since: UnixMs,
    /// When it broke off last.
    pub at: UnixMs,
    /// How often it did.
    pub times: u64,
    /// By what: a word of a closed list.
    pub by: &'static str,
    /// What that said, for operators.
    pub told: String,
}

impl HeldUp {
    /// As a reason why a job waits.
    pub fn reason(&self) -> Reason {
        let mut reason = Reason::new(Code::LookBrokeOff)
            .with("failed", Evidence::Name(self.by.to_owned()))
            .with("times", Evidence::Count(self.times))
            .next("the next sweep looks again, within 30 s", None);
        reason.since = Some(self.since);
        reason
    }
}

/// Steps of this process that are held up.
#[derive(Debug, Default)]
pub struct Steps(Mutex<BTreeMap<Step, HeldUp>>);

impl Steps {
    /// Notes how a step went.
    pub fn note<T>(&self, step: Step, went: &Result<T, Trouble>, now: UnixMs) {
        let mut steps = self.0.lock().expect("no holder of this lock panics");
        let Err(trouble) = went else {
            steps.remove(&step);
            return;
        };
        if steps.len() >= STEPS_MAX {
            steps.retain(|_, held| held.is_fresh(now));
        }
        let before = steps.get(&step).filter(|held| held.is_fresh(now));
        if steps.len() < STEPS_MAX || before.is_some() {
            let held = HeldUp {
                since: before.map_or(now, |held| held.since),
                at: now,
                times: before.map_or(0, |held| held.times) + 1,
                by: trouble.by(),
                told: trouble.to_string(),
            };
            steps.insert(step, held);
        }
    }

    /// How a step is held up now; none: it is not.
    pub fn of(&self, step: &Step, now: UnixMs) -> Option<HeldUp> {
        let steps = self.0.lock().expect("no holder of this lock panics");
        steps.get(step).filter(|held| held.is_fresh(now)).cloned()
    }

    /// A line for operators; none: nothing is held up.
    pub fn line(&self, now: UnixMs) -> Option<String> {
        let steps = self.0.lock().expect("no holder of this lock panics");
        let held: Vec<_> = steps.iter().filter(|(_, held)| held.is_fresh(now)).collect();
        let (_, newest) = held.iter().max_by_key(|(_, held)| held.at)?;
        let looks = held.iter().filter(|(step, _)| matches!(step, Step::Look(_))).count();
        let looks =
            (looks > 0).then(|| format!("the look at {looks} {}", if looks == 1 { "job" } else { "jobs" }));
        let others = held.iter().filter(|(step, _)| !matches!(step, Step::Look(_)));
        let steps: Vec<String> = looks.into_iter().chain(others.map(|(step, _)| step.to_string())).collect();
        let told = &newest.told;
        Some(format!("{} broke off ({told}); nothing is lost, the next sweep goes on", steps.join(", ")))
    }
}

impl HeldUp {
    fn is_fresh(&self, now: UnixMs) -> bool {
        now.since(self.at) <= FRESH
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Due => f.write_str("the search for what is due"),
            Step::Look(_) => f.write_str("the look at a job"),
            Step::Dispatch(pool) => write!(f, "sending to pool {pool}"),
            Step::View => f.write_str("the merging of the view"),
        }
    }
}

#[cfg(test)]
mod tests {
    use facts::StoreError;

    use super::*;

    #[test]
    fn what_breaks_off_is_told_until_it_goes_well_or_nobody_says_so_any_more() {
        let steps = Steps::default();
        let at = |s: u64| UnixMs(1_000 + s * 1_000);
        let down = || Err::<(), _>(Trouble::Store(StoreError::TimedOut));
        let job = JobId::random();
        assert_eq!(steps.line(at(0)), None);
        steps.note(Step::look("a", &job), &down(), at(0));
        steps.note(Step::look("a", &job), &down(), at(30));
        steps.note(Step::look("b", &job), &down(), at(40));
        steps.note(Step::Dispatch("spot".to_owned()), &down(), at(50));
        let held = steps.of(&Step::look("a", &job), at(60)).unwrap();
        assert_eq!((held.since, held.at, held.times, held.by), (at(0), at(30), 2, "blob store"));
        let line = steps.line(at(60)).unwrap();
        assert!(
            line.starts_with("the look at 2 jobs, sending to pool spot broke off (the store did not"),
            "{line}"
        );
        steps.note(Step::look("b", &job), &Ok(()), at(60));
        assert!(steps.line(at(60)).unwrap().starts_with("the look at 1 job, "));
        assert_eq!(steps.of(&Step::look("b", &job), at(60)), None);
        assert_eq!(steps.line(at(141)), None, "another process made them");
        steps.note(Step::look("a", &job), &down(), at(200));
        assert_eq!(steps.of(&Step::look("a", &job), at(200)).unwrap().since, at(200));
    }

    #[test]
    fn no_more_is_remembered_than_is_said() {
        let steps = Steps::default();
        for n in 0..2 * STEPS_MAX {
            let down = Err::<(), _>(Trouble::Store(StoreError::TimedOut));
            steps.note(Step::Dispatch(n.to_string()), &down, UnixMs(1));
        }
        assert_eq!(steps.0.lock().unwrap().len(), STEPS_MAX);
        let down = Err::<(), _>(Trouble::Store(StoreError::TimedOut));
        steps.note(Step::Due, &down, UnixMs(1_000_000));
        assert_eq!(steps.0.lock().unwrap().len(), 1);
    }
}
