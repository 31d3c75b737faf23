//! The lives of jobs.

use super::job::{DisableTasks, Job, Spec, State};
use super::task::Outcome;
use super::{Account, Effect, JOBS_ACTIVE_MAX, JOBS_MAX, Key, Timer, task};
use crate::azure_batch::body::Object;
use crate::azure_batch::fault::{Code, Fault};

impl Account {
    /// A job by id.
    pub(in crate::azure_batch) fn job(&self, id: &str) -> Result<&Job, Fault> {
        self.jobs.get(&Key::of(id)).ok_or_else(|| Code::JobNotFound.into())
    }

    /// All jobs in the order of their ids.
    pub(in crate::azure_batch) fn jobs(&self) -> impl Iterator<Item = (&Key, &Job)> {
        self.jobs.iter()
    }

    /// Creates a job. Its pool need not exist; without one no task runs.
    pub(in crate::azure_batch) fn add_job(&mut self, object: Object, now_ms: u64) -> Result<(), Fault> {
        let spec = Spec::read(object)?;
        let key = Key::of(&spec.id);
        if self.jobs.contains_key(&key) {
            return Err(Code::JobExists.into());
        }
        if self.jobs.values().filter(|job| job.state != State::Completed).count() >= JOBS_ACTIVE_MAX {
            return Err(Code::ActiveJobAndScheduleQuotaReached.into());
        }
        if self.jobs.len() >= JOBS_MAX {
            return Err(Code::ServerBusy.into());
        }
        self.next_job += 1;
        let job = Job {
            spec,
            number: self.next_job,
            created_ms: now_ms,
            stamp: self.stamp(now_ms),
            state: State::Active,
            since_ms: now_ms,
            previous: None,
            ended_ms: None,
            end_reason: None,
            limit_ms: None,
            tasks: Default::default(),
            ready: Default::default(),
            open: 0,
            succeeded: 0,
            next_task: 0,
        };
        self.jobs.insert(key.clone(), job);
        self.limit_job(&key);
        self.end_if_all_complete(&key, now_ms);
        Ok(())
    }

    /// Replaces some properties.
    pub(in crate::azure_batch) fn patch_job(
        &mut self,
        id: &str,
        changes: Object,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let spec = self.open_job(id)?.spec.patched(changes)?;
        self.respecify(id, spec, now_ms);
        Ok(())
    }

    /// Replaces all properties that can change.
    pub(in crate::azure_batch) fn put_job(
        &mut self,
        id: &str,
        changes: &Object,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let spec = self.open_job(id)?.spec.replaced(changes)?;
        self.respecify(id, spec, now_ms);
        Ok(())
    }

    fn respecify(&mut self, id: &str, spec: Spec, now_ms: u64) {
        let (key, stamp) = (Key::of(id), self.stamp(now_ms));
        let job = self.jobs.get_mut(&key).expect("it was just found");
        (job.spec, job.stamp) = (spec, stamp);
        self.limit_job(&key);
        self.end_if_all_complete(&key, now_ms);
        self.place_tasks(now_ms);
    }

    /// Removes a job with its tasks and their files.
    pub(in crate::azure_batch) fn delete_job(&mut self, id: &str, now_ms: u64) -> Result<(), Fault> {
        let tasks: Vec<Key> = self.job(id)?.tasks.keys().cloned().collect();
        let key = Key::of(id);
        for task in tasks {
            self.drop_task(&key, &task, now_ms);
        }
        let job = self.jobs.remove(&key).expect("it was just found");
        self.disarm(job.limit_ms, Timer::JobLimit(key));
        self.place_tasks(now_ms);
        Ok(())
    }

    /// Ends a job on request.
    pub(in crate::azure_batch) fn terminate_job(
        &mut self,
        id: &str,
        reason: &str,
        now_ms: u64,
    ) -> Result<(), Fault> {
        self.open_job(id)?;
        self.end_job(&Key::of(id), reason, now_ms);
        self.place_tasks(now_ms);
        Ok(())
    }

    /// Starts no more tasks.
    pub(in crate::azure_batch) fn disable_job(
        &mut self,
        id: &str,
        body: &Object,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let fate = DisableTasks::read(body)?;
        if self.open_job(id)?.state != State::Active {
            return Err(Code::JobDisabled.into());
        }
        let key = Key::of(id);
        self.job_enters(&key, State::Disabling, now_ms);
        for task in self.running(&key) {
            match fate {
                DisableTasks::Wait => {}
                DisableTasks::Terminate => self.end_task(&key, &task, now_ms),
                DisableTasks::Requeue => {
                    if let Some(run) = self.jobs[&key].tasks[&task].run {
                        self.kill(run);
                    }
                    self.requeue(&key, &task, now_ms);
                }
            }
        }
        self.disabled(&key, now_ms);
        self.place_tasks(now_ms);
        Ok(())
    }

    /// Starts tasks again.
    pub(in crate::azure_batch) fn enable_job(&mut self, id: &str, now_ms: u64) -> Result<(), Fault> {
        if self.open_job(id)?.state == State::Active {
            return Err(Code::OperationInvalidForCurrentState.into());
        }
        let key = Key::of(id);
        self.job_enters(&key, State::Active, now_ms);
        self.end_if_all_complete(&key, now_ms);
        self.place_tasks(now_ms);
        Ok(())
    }

    /// A job that has not ended.
    pub(in crate::azure_batch) fn open_job(&self, id: &str) -> Result<&Job, Fault> {
        let job = self.job(id)?;
        if job.state == State::Completed { Err(Code::JobCompleted.into()) } else { Ok(job) }
    }

    /// Ends a job: running tasks are ended, active ones stay active and never run.
    pub(super) fn end_job(&mut self, key: &Key, reason: &str, now_ms: u64) {
        self.job_enters(key, State::Completed, now_ms);
        let job = self.jobs.get_mut(key).expect("the caller has it");
        (job.ended_ms, job.end_reason) = (Some(now_ms), Some(reason.to_owned()));
        let limit_ms = job.limit_ms.take();
        self.disarm(limit_ms, Timer::JobLimit(key.clone()));
        for task in self.running(key) {
            self.end_task(key, &task, now_ms);
        }
    }

    /// `terminatejob` ends a job whose tasks are all completed, even one that never had any.
    pub(super) fn end_if_all_complete(&mut self, key: &Key, now_ms: u64) {
        let job = &self.jobs[key];
        if job.state == State::Active && job.spec.ends_with_its_tasks && job.open == 0 {
            self.end_job(key, "AllTasksComplete", now_ms);
        }
    }

    /// A job that waited for its last running task is disabled.
    pub(super) fn disabled(&mut self, key: &Key, now_ms: u64) {
        if self.jobs[key].state == State::Disabling && self.running(key).is_empty() {
            self.job_enters(key, State::Disabled, now_ms);
        }
    }

    /// Removes a task, its process and its files.
    pub(super) fn drop_task(&mut self, job: &Key, task: &Key, now_ms: u64) {
        if let Some(run) = self.jobs[job].tasks[task].run {
            self.kill(run);
            self.complete(job, task, Outcome::ended(), now_ms);
        }
        let found = self.jobs.get_mut(job).expect("the caller has it");
        let removed = found.tasks.remove(task).expect("the caller has it");
        if removed.state != task::State::Completed {
            found.ready.remove(removed.number);
            found.open -= 1;
        } else if removed.succeeded() {
            found.succeeded -= 1;
        }
        self.tasks -= 1;
        if let Some(place) = removed.place {
            let (job, task) = (found.spec.id.clone(), removed.spec.id);
            self.effects.push(Effect::RemoveTask { pool: place.pool, node: place.node, job, task });
        }
    }

    fn end_task(&mut self, job: &Key, task: &Key, now_ms: u64) {
        if let Some(run) = self.jobs[job].tasks[task].run {
            self.kill(run);
        }
        self.complete(job, task, Outcome::ended(), now_ms);
    }

    fn running(&self, job: &Key) -> Vec<Key> {
        let tasks = self.jobs[job].tasks.iter();
        tasks.filter(|(_, task)| task.state == task::State::Running).map(|(key, _)| key.clone()).collect()
    }

    fn job_enters(&mut self, key: &Key, state: State, now_ms: u64) {
        let stamp = self.stamp(now_ms);
        let job = self.jobs.get_mut(key).expect("the caller has it");
        job.stamp = stamp;
        job.enter(state, now_ms);
    }

    /// Arms the job's own wall-clock limit, counted from its creation.
    fn limit_job(&mut self, key: &Key) {
        let job = self.jobs.get_mut(key).expect("the caller has it");
        let before_ms = job.limit_ms;
        let limit_ms = job.spec.wall_limit_ms.map(|limit_ms| job.created_ms.saturating_add(limit_ms));
        job.limit_ms = limit_ms;
        self.disarm(before_ms, Timer::JobLimit(key.clone()));
        if let Some(limit_ms) = limit_ms {
            self.arm(limit_ms, Timer::JobLimit(key.clone()));
        }
    }
}
