//! Which task runs where and when: by priority, then by age; and what its end means.

use std::cmp::Reverse;

use super::pool::Kind;
use super::task::{Outcome, Place, State};
use super::{Account, Effect, End, Key, Run, RunId, Start, Timer, job};

impl Account {
    /// A process has ended by itself, or could not be started. Ends of killed ones mean nothing.
    pub(in crate::azure_batch) fn ended(&mut self, run: RunId, end: End, now_ms: u64) {
        let Some(Run { job, task, pool, nodes, .. }) = self.forget(run) else { return };
        for node in &nodes {
            let Some(node) = self.pools.get_mut(&pool).and_then(|pool| pool.nodes.get_mut(node)) else {
                continue;
            };
            node.tasks_run += 1;
            node.tasks_succeeded += u64::from(end == End::Exited(0));
        }
        match end {
            // Only a nonzero exit is retried.
            End::Exited(code) if code != 0 && self.may_retry(&job, &task) => self.retry(&job, &task, now_ms),
            End::Exited(code) => self.complete(&job, &task, Outcome::exited(code), now_ms),
            End::NotStarted(failure) => {
                let outcome = Outcome { exit_code: None, failure: Some(failure) };
                self.complete(&job, &task, outcome, now_ms);
            }
        }
        self.place_tasks(now_ms);
    }

    fn may_retry(&self, job: &Key, task: &Key) -> bool {
        let job = &self.jobs[job];
        let task = &job.tasks[task];
        let allowed = task.spec.retries.unwrap_or(job.spec.retries);
        job.state != job::State::Completed && (allowed == -1 || task.retries < allowed)
    }

    /// A run whose wall-clock time is over. It is not retried.
    pub(super) fn out_of_time(&mut self, run: RunId, now_ms: u64) {
        if let Some((job, task)) = self.kill(run) {
            self.complete(&job, &task, Outcome::ended(), now_ms);
        }
    }

    /// Kills a run and tells whose it was.
    pub(super) fn kill(&mut self, run: RunId) -> Option<(Key, Key)> {
        let Run { job, task, .. } = self.forget(run)?;
        self.effects.push(Effect::Kill(run));
        Some((job, task))
    }

    fn forget(&mut self, id: RunId) -> Option<Run> {
        let run = self.runs.remove(&id)?;
        self.disarm(run.limit_ms, Timer::TaskLimit(id));
        for node in &run.nodes {
            if let Some(node) = self.pools.get_mut(&run.pool).and_then(|pool| pool.nodes.get_mut(node)) {
                node.runs.remove(&id);
            }
        }
        self.task_mut(&run.job, &run.task).run = None;
        Some(run)
    }

    /// Starts what can be started. In one job the first task that finds no room holds those behind
    /// it, so that a wide one is not passed for ever.
    pub(super) fn place_tasks(&mut self, now_ms: u64) {
        self.leave_drained(now_ms);
        let waiting =
            self.jobs.iter().filter(|(_, job)| job.state == job::State::Active && !job.ready.is_empty());
        let mut jobs: Vec<_> =
            waiting.map(|(key, job)| (Reverse(job.spec.priority), job.number, key.clone())).collect();
        jobs.sort();
        for (_, _, job) in jobs {
            while self.place_first(&job, now_ms).is_some() {}
        }
    }

    fn place_first(&mut self, key: &Key, now_ms: u64) -> Option<()> {
        let job = &self.jobs[key];
        let task = job.ready.first()?;
        let pool = self.pools.get(&job.spec.pool)?;
        let spec = &job.tasks[task].spec;
        let nodes = pool.room_for(spec.slots, usize::try_from(spec.instances).ok()?)?;
        let (task, pool) = (task.clone(), job.spec.pool.clone());
        self.start(key, &task, (pool, nodes), now_ms);
        Some(())
    }

    fn start(&mut self, job_key: &Key, task_key: &Key, (pool_key, nodes): (Key, Vec<String>), now_ms: u64) {
        self.next_run += 1;
        let id = RunId(self.next_run);
        let pool = self.pools.get_mut(&pool_key).expect("the caller found room there");
        let pool_id = pool.spec.id.clone();
        let job = self.jobs.get_mut(job_key).expect("the caller has it");
        let task = job.tasks.get_mut(task_key).expect("ready tasks are there");
        job.ready.remove(task.number);
        task.enter(State::Running, now_ms);
        task.started_ms = Some(now_ms);
        task.run = Some(id);
        let node = nodes.first().expect("a task has at least one instance").clone();
        task.place = Some(Place { pool: pool_id.clone(), node: node.clone() });
        for node in &nodes {
            let place = pool.nodes.get_mut(node).expect("the caller found room there");
            place.runs.insert(id, task.spec.slots);
        }
        let start = Start {
            run: id,
            pool: pool_id,
            dedicated: pool.nodes[&node].kind == Kind::Dedicated,
            node,
            nodes: nodes.clone(),
            job: job.spec.id.clone(),
            task: task.spec.id.clone(),
            command_line: task.spec.command_line.clone(),
            image: task.spec.image.clone(),
            environment: [job.spec.environment.as_slice(), task.spec.environment.as_slice()].concat(),
        };
        let run = Run { job: job_key.clone(), task: task_key.clone(), pool: pool_key, nodes, limit_ms: None };
        self.runs.insert(id, run);
        self.limit_run(id);
        self.effects.push(Effect::Start(Box::new(start)));
    }

    /// Arms the wall-clock limit of a run, counted from its start.
    pub(super) fn limit_run(&mut self, id: RunId) {
        let run = self.runs.get_mut(&id).expect("the caller has it");
        let task = &self.jobs[&run.job].tasks[&run.task];
        let started_ms = task.started_ms.expect("a running task has started");
        let limit_ms = task.spec.wall_limit_ms.map(|limit_ms| started_ms.saturating_add(limit_ms));
        let before_ms = std::mem::replace(&mut run.limit_ms, limit_ms);
        self.disarm(before_ms, Timer::TaskLimit(id));
        if let Some(limit_ms) = limit_ms {
            self.arm(limit_ms, Timer::TaskLimit(id));
        }
    }
}
