//! The effects: a task's folders, environment and process on this machine, and their end.
//!
//! A node is a folder, `{folder}/{pool}/{node}`, laid out as on the service's Linux nodes. A task
//! runs in a process group of its own, and whatever is left of the group ends with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::account::task::Failure;
use super::account::{Effect, End, RunId, Start};
use super::command_line;
use super::leftovers::{self, Note};
use super::options::Programs;
use crate::children::{self, Group};

/// What processes are started with, whatever the task.
pub(super) struct Site {
    pub(super) folder: PathBuf,
    pub(super) programs: Programs,
    pub(super) environment: Vec<(String, String)>,
    pub(super) account: String,
    pub(super) url: String,
}

impl Site {
    /// The folder of a task on a node.
    pub(super) fn task_folder(&self, pool: &str, node: &str, job: &str, task: &str) -> PathBuf {
        self.node_folder(pool, node).join("workitems").join(job).join("job-1").join(task)
    }

    fn node_folder(&self, pool: &str, node: &str) -> PathBuf {
        self.folder.join(pool).join(node)
    }
}

/// The running processes. Dropping them kills them.
pub(super) struct Processes {
    site: std::sync::Arc<Site>,
    running: BTreeMap<RunId, Running>,
    /// Without a bound of its own: every run says one thing, once.
    ending: mpsc::UnboundedSender<(RunId, End)>,
    ended: mpsc::UnboundedReceiver<(RunId, End)>,
}

struct Running {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Processes {
    /// Ends what an earlier stand-in left in the folder.
    pub(super) fn new(site: std::sync::Arc<Site>) -> Processes {
        leftovers::end(&site.folder);
        let (ending, ended) = mpsc::unbounded_channel();
        Processes { site, running: BTreeMap::new(), ending, ended }
    }

    /// Does one effect. A killed process is gone when this returns, so that the next one may use
    /// its folder.
    pub(super) async fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Start(start) => self.start(*start),
            Effect::Kill(run) => self.kill(run).await,
            Effect::RemoveNode { pool, node } => remove(&self.site.node_folder(&pool, &node)),
            Effect::RemoveTask { pool, node, job, task } => {
                remove(&self.site.task_folder(&pool, &node, &job, &task));
            }
        }
    }

    /// The next process that ended by itself, or could not be started.
    pub(super) async fn next_end(&mut self) -> (RunId, End) {
        let (run, end) = self.ended.recv().await.expect("the sender is beside it");
        self.running.remove(&run);
        (run, end)
    }

    /// Kills all of them and waits until they are gone.
    pub(super) async fn end(mut self) {
        let runs: Vec<RunId> = self.running.keys().copied().collect();
        for run in runs {
            self.kill(run).await;
        }
    }

    async fn kill(&mut self, run: RunId) {
        if let Some(running) = self.running.remove(&run) {
            running.stop.cancel();
            let _ = running.task.await;
        }
    }

    fn start(&mut self, start: Start) {
        let (run, ending) = (start.run, self.ending.clone());
        match self.site.spawn(&start) {
            Ok((mut group, note)) => {
                let stop = CancellationToken::new();
                let stopped = stop.clone();
                let attend = async move {
                    let _note = note;
                    tokio::select! {
                        biased;
                        () = stopped.cancelled() => group.kill().await,
                        status = group.wait() => {
                            drop(group);
                            let _ = ending.send((run, End::Exited(exit_code(status))));
                        }
                    }
                };
                let task = AbortOnDropHandle::new(tokio::spawn(attend));
                self.running.insert(run, Running { stop, task });
            }
            Err(failure) => {
                let _ = ending.send((run, End::NotStarted(failure)));
            }
        }
    }
}

/// As a shell counts it: 128 and the signal for a process that was killed.
fn exit_code(status: std::io::Result<ExitStatus>) -> i32 {
    match status {
        Ok(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
        Err(error) => {
            tracing::error!(%error, "waiting for a task's process failed");
            -1
        }
    }
}

fn remove(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(%error, folder = %folder.display(), "a node's folder could not be removed")
        }
    }
}

impl Site {
    fn spawn(&self, start: &Start) -> Result<(Group, Option<Note>), Failure> {
        let launch_failed = |error: std::io::Error| Failure {
            code: "CommandLaunchFailed",
            message: format!("The task's command could not be launched: {error}"),
        };
        let (program, arguments) = self.program(start)?;
        let task = self.task_folder(&start.pool, &start.node, &start.job, &start.task);
        let work = task.join("wd");
        std::fs::create_dir_all(&work).map_err(launch_failed)?;
        for shared in ["shared", "startup/wd", "mounts"] {
            let folder = self.node_folder(&start.pool, &start.node).join(shared);
            std::fs::create_dir_all(folder).map_err(launch_failed)?;
        }
        let output = |name: &str| File::create(task.join(name)).map(Stdio::from).map_err(launch_failed);
        let mut command = children::command(&program);
        command
            .args(arguments)
            .current_dir(&work)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("HOME", &work)
            .envs(self.task_environment(start))
            .envs(start.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output("stdout.txt")?)
            .stderr(output("stderr.txt")?);
        let group = Group::spawn(&mut command).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => not_found(&program.display().to_string()),
            _ => launch_failed(error),
        })?;
        let note = group.number().map(|number| Note::write(&self.folder, number, &task));
        Ok((group, note))
    }

    /// What is started, and with which arguments.
    fn program(&self, start: &Start) -> Result<(PathBuf, Vec<String>), Failure> {
        let mut words = command_line::split(&start.command_line).ok_or_else(|| Failure {
            code: "CommandLaunchFailed",
            message: "The task's command line has a quote that is not closed".to_owned(),
        })?;
        if let (Programs::Named(programs), Some(image)) = (&self.programs, &start.image)
            && let Some(program) = programs.get(image)
        {
            return Ok((program.clone(), words));
        }
        if words.is_empty() {
            return Err(not_found(start.image.as_deref().unwrap_or_default()));
        }
        let name = words.remove(0);
        let program = match &self.programs {
            Programs::Any => PathBuf::from(&name),
            Programs::Named(programs) => programs.get(&name).ok_or_else(|| not_found(&name))?.clone(),
        };
        Ok((program, words))
    }

    fn task_environment(&self, start: &Start) -> Vec<(&'static str, String)> {
        let node = self.node_folder(&start.pool, &start.node);
        let task = self.task_folder(&start.pool, &start.node, &start.job, &start.task);
        let path = |path: &Path| path.display().to_string();
        let mut environment = vec![
            ("AZ_BATCH_ACCOUNT_NAME", self.account.clone()),
            ("AZ_BATCH_ACCOUNT_URL", format!("{}/", self.url)),
            ("AZ_BATCH_POOL_ID", start.pool.clone()),
            ("AZ_BATCH_NODE_ID", start.node.clone()),
            ("AZ_BATCH_NODE_IS_DEDICATED", start.dedicated.to_string()),
            ("AZ_BATCH_JOB_ID", start.job.clone()),
            ("AZ_BATCH_TASK_ID", start.task.clone()),
            ("AZ_BATCH_NODE_ROOT_DIR", path(&node)),
            ("AZ_BATCH_NODE_SHARED_DIR", path(&node.join("shared"))),
            ("AZ_BATCH_NODE_STARTUP_DIR", path(&node.join("startup"))),
            ("AZ_BATCH_NODE_MOUNTS_DIR", path(&node.join("mounts"))),
            ("AZ_BATCH_TASK_DIR", path(&task)),
            ("AZ_BATCH_TASK_WORKING_DIR", path(&task.join("wd"))),
        ];
        if start.nodes.len() > 1 {
            // All nodes are this machine.
            let hosts = vec!["127.0.0.1"; start.nodes.len()].join(",");
            environment.extend([
                ("AZ_BATCH_NODE_LIST", start.nodes.join(";")),
                ("AZ_BATCH_HOST_LIST", hosts),
                ("AZ_BATCH_MASTER_NODE", "127.0.0.1".to_owned()),
                ("AZ_BATCH_IS_CURRENT_NODE_MASTER", "true".to_owned()),
            ]);
        }
        environment
    }
}

fn not_found(program: &str) -> Failure {
    Failure {
        code: "CommandProgramNotFound",
        message: format!("The specified command program is not found: `{program}`"),
    }
}
