//! The lives of tasks.

use super::task::{Outcome, Spec, State, Task};
use super::{Account, Key, TASKS_MAX};
use crate::azure_batch::body::{self, Object, Property};
use crate::azure_batch::fault::{Code, Fault};

impl Account {
    /// A task by ids.
    pub(in crate::azure_batch) fn task(&self, job: &str, task: &str) -> Result<&Task, Fault> {
        self.job(job)?.tasks.get(&Key::of(task)).ok_or_else(|| Code::TaskNotFound.into())
    }

    /// Adds a task; it starts as soon as there is room.
    pub(in crate::azure_batch) fn add_task(
        &mut self,
        job: &str,
        object: Object,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let found = self.open_job(job)?;
        let spec = Spec::read(object)?;
        if found.tasks.contains_key(&Key::of(&spec.id)) {
            return Err(Code::TaskExists.into());
        }
        if let Some(pool) = self.pools.get(&found.spec.pool) {
            fits(&spec, &pool.spec)?;
        }
        if self.tasks >= TASKS_MAX {
            return Err(Code::ServerBusy.into());
        }
        let stamp = self.stamp(now_ms);
        let job = self.jobs.get_mut(&Key::of(job)).expect("it was just found");
        let key = Key::of(&spec.id);
        job.ready.insert(job.next_task, key.clone(), spec.instances);
        job.tasks.insert(key, Task::new(spec, job.next_task, stamp));
        job.next_task += 1;
        job.open += 1;
        self.tasks += 1;
        self.place_tasks(now_ms);
        Ok(())
    }

    /// Other constraints for a task that is not completed.
    pub(in crate::azure_batch) fn constrain_task(
        &mut self,
        job: &str,
        task: &str,
        changes: &Object,
        now_ms: u64,
    ) -> Result<(), Fault> {
        body::check(changes, &[("constraints", Property::Taken)])?;
        let found = self.open_task(job, task)?;
        let spec = found.spec.constrained(changes)?;
        let (run, stamp) = (found.run, self.stamp(now_ms));
        let task = self.task_mut(&Key::of(job), &Key::of(task));
        (task.spec, task.stamp) = (spec, stamp);
        if let Some(run) = run {
            self.limit_run(run);
        }
        Ok(())
    }

    /// Removes a task.
    pub(in crate::azure_batch) fn delete_task(
        &mut self,
        job: &str,
        task: &str,
        now_ms: u64,
    ) -> Result<(), Fault> {
        self.task(job, task)?;
        let key = Key::of(job);
        self.drop_task(&key, &Key::of(task), now_ms);
        self.end_if_all_complete(&key, now_ms);
        self.place_tasks(now_ms);
        Ok(())
    }

    /// Ends a task, running or not.
    pub(in crate::azure_batch) fn terminate_task(
        &mut self,
        job: &str,
        task: &str,
        now_ms: u64,
    ) -> Result<(), Fault> {
        if let Some(run) = self.open_task(job, task)?.run {
            self.kill(run);
        }
        self.complete(&Key::of(job), &Key::of(task), Outcome::ended(), now_ms);
        self.place_tasks(now_ms);
        Ok(())
    }

    /// Runs a failed task again.
    pub(in crate::azure_batch) fn reactivate_task(
        &mut self,
        job: &str,
        task: &str,
        now_ms: u64,
    ) -> Result<(), Fault> {
        self.open_job(job)?;
        let found = self.task(job, task)?;
        if found.state != State::Completed {
            return Err(Code::TaskNotCompleted.into());
        }
        if found.succeeded() {
            return Err(Code::TaskSucceeded.into());
        }
        let (job, task) = (Key::of(job), Key::of(task));
        self.activate(&job, &task, now_ms);
        self.jobs.get_mut(&job).expect("it was just found").open += 1;
        let found = self.task_mut(&job, &task);
        (found.retries, found.retried_ms, found.ended_ms) = (0, None, None);
        self.place_tasks(now_ms);
        Ok(())
    }

    /// A task that is not completed.
    fn open_task(&self, job: &str, task: &str) -> Result<&Task, Fault> {
        let task = self.task(job, task)?;
        if task.state == State::Completed { Err(Code::TaskCompleted.into()) } else { Ok(task) }
    }

    /// A run that failed is tried again on the account of the task.
    pub(super) fn retry(&mut self, job: &Key, task: &Key, now_ms: u64) {
        self.activate(job, task, now_ms);
        let task = self.task_mut(job, task);
        task.retries += 1;
        task.retried_ms = Some(now_ms);
        self.disabled(job, now_ms);
    }

    /// A run that was taken away is repeated on nobody's account.
    pub(super) fn requeue(&mut self, job: &Key, task: &Key, now_ms: u64) {
        self.activate(job, task, now_ms);
        let task = self.task_mut(job, task);
        task.requeues += 1;
        task.requeued_ms = Some(now_ms);
        self.disabled(job, now_ms);
    }

    /// The end of a task.
    pub(super) fn complete(&mut self, job: &Key, task: &Key, outcome: Outcome, now_ms: u64) {
        let found = self.task_mut(job, task);
        found.enter(State::Completed, now_ms);
        found.outcome = Some(outcome);
        found.ended_ms = Some(now_ms);
        let (number, succeeded) = (found.number, found.succeeded());
        let found = self.jobs.get_mut(job).expect("the caller has it");
        found.ready.remove(number);
        found.open -= 1;
        found.succeeded += usize::from(succeeded);
        self.disabled(job, now_ms);
        self.end_if_all_complete(job, now_ms);
    }

    fn activate(&mut self, job: &Key, task: &Key, now_ms: u64) {
        let found = self.task_mut(job, task);
        found.enter(State::Active, now_ms);
        (found.outcome, found.place) = (None, None);
        let (number, instances) = (found.number, found.spec.instances);
        self.jobs.get_mut(job).expect("the caller has it").ready.insert(number, task.clone(), instances);
    }

    pub(super) fn task_mut(&mut self, job: &Key, task: &Key) -> &mut Task {
        let job = self.jobs.get_mut(job).expect("the caller has it");
        job.tasks.get_mut(task).expect("the caller has it")
    }
}

/// Pools with containers run only container tasks, and others none.
fn fits(task: &Spec, pool: &super::pool::Spec) -> Result<(), Fault> {
    match (&task.image, pool.containers) {
        (None, true) => Err(body::missing("containerSettings")),
        (Some(_), false) => Err(body::invalid("containerSettings", "the pool has no containerConfiguration")),
        _ if task.slots > pool.slots => {
            Err(body::invalid("requiredSlots", "the pool's nodes have fewer slots"))
        }
        _ => Ok(()),
    }
}
