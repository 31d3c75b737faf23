//! Tasks that were added: what became of them, ending them, and what they wrote.

use bytes::Bytes;
use policy::units::UnixMs;
use reqwest::Method;
use reqwest::header::CONTENT_LENGTH;
use serde::Deserialize;
use tokio::time::Instant;

use super::call::Call;
use super::client::{Client, checked, escaped};
use super::error::{CallError, ErrorBody, Problem};
use super::iso8601;
use super::retry::CALL_MAX;

/// The service's own words for "there is no such task". A bare 404 of something in between is none:
/// that a task is gone is proof that nobody works on it.
const GONE: &[&str] = &["TaskNotFound", "JobNotFound"];
/// Codes that say that a task is over, or that the service is ending it with its job.
const ENDING: &[&str] = &["TaskCompleted", "JobCompleted", "JobBeingTerminated", "JobBeingDeleted"];
/// Codes that say that a file is not there: never was, not yet, or no longer.
const NO_FILE: &[&str] = &[
    "FileNotFound",
    "TaskNotFound",
    "JobNotFound",
    "NodeNotFound",
    "TaskFilesUnavailable",
    "TaskFilesCleanedup",
    "OperationInvalidForCurrentState",
    // A HEAD has no body to say it in.
    "http-404",
    "http-409",
];
/// Longest path of a task's file that is asked for.
const FILE_NAME_BYTES_MAX: usize = 256;

/// A task as the service keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// How far it is.
    pub state: TaskState,
    /// How it ended; none before.
    pub result: Option<TaskResult>,
    /// The exit code of the last run that had one.
    pub exit_code: Option<i32>,
    /// Why it failed; a nonzero exit code is told here, too.
    pub failure: Option<TaskFailure>,
    /// The node that it runs or ran on.
    pub node: Option<String>,
    /// Runs after the first that ended with a nonzero exit code.
    pub retries: u32,
    /// How often it went back to the queue, as far as the service counts: evictions need not.
    pub requeues: u32,
    /// When the last run began.
    pub started: Option<UnixMs>,
    /// When it was over.
    pub ended: Option<UnixMs>,
}

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Waiting for a node.
    Active,
    /// On a node, not yet running.
    Preparing,
    /// Running.
    Running,
    /// Over.
    Completed,
    /// Something newer than this client.
    #[serde(other)]
    Unknown,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskResult {
    /// Exit code 0.
    Success,
    /// Anything else.
    Failure,
    /// Something newer than this client.
    #[serde(other)]
    Unknown,
}

/// Why a task failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFailure {
    /// Whose fault it is.
    pub category: Category,
    /// As `FailureExitCode`, `TaskEnded`, `DiskFull`.
    pub problem: Problem,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// The task's.
    UserError,
    /// The service's.
    ServerError,
    /// Something newer than this client.
    #[serde(other)]
    Unknown,
}

impl Client {
    /// Looks at a task; none: there is none of this id, or no such job.
    ///
    /// # Errors
    /// When the call failed.
    pub async fn task(&self, job: &str, task: &str) -> Result<Option<Task>, CallError> {
        let url = self.url(&path(job, task)?, "");
        match self.send(Call::new("get task", Method::GET, url, 200)).await {
            Ok(answer) => Ok(Some(answer.decode::<TaskBody>()?.into())),
            Err(error) if error.is_one_of(GONE) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for the end of a task; one that is over or gone needs none. Whether it is over says
    /// [`Client::task`].
    ///
    /// # Errors
    /// When the call failed.
    pub async fn terminate_task(&self, job: &str, task: &str) -> Result<(), CallError> {
        let url = self.url(&format!("{}/terminate", path(job, task)?), "");
        match self.send(Call::new("terminate task", Method::POST, url, 204)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_one_of(GONE) || error.is_one_of(ENDING) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes a task with its files; one that is gone needs no deleting.
    ///
    /// # Errors
    /// When the call failed.
    pub async fn delete_task(&self, job: &str, task: &str) -> Result<(), CallError> {
        let url = self.url(&path(job, task)?, "");
        match self.send(Call::new("delete task", Method::DELETE, url, 200)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_one_of(GONE) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The last bytes of a file of a task, as `stderr.txt`, at most `bytes_max`; none: it is not there,
    /// because the task has not begun or its node is gone.
    ///
    /// # Errors
    /// When the call failed.
    pub async fn task_file_tail(
        &self,
        job: &str,
        task: &str,
        file: &str,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, CallError> {
        let deadline = Instant::now() + CALL_MAX;
        let url = self.url(&format!("{}/files/{}", path(job, task)?, escaped(file_name(file)?)), "");
        let head = self.send_by(deadline, Call::new("measure file", Method::HEAD, url.clone(), 200)).await;
        let Some(head) = unless_missing(head)? else { return Ok(None) };
        let length =
            head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let length = length.ok_or_else(|| CallError::unreadable("a file has no length"))?;
        if length == 0 || bytes_max == 0 {
            return Ok(Some(Bytes::new()));
        }
        let first = length.saturating_sub(bytes_max as u64);
        let get = Call::new("read file", Method::GET, url, 200).range(first, length - 1).at_most(bytes_max);
        let read = self.send_by(deadline, get).await;
        Ok(unless_missing(read)?.map(|answer| answer.body))
    }
}

fn unless_missing<T>(answer: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_one_of(NO_FILE) => Ok(None),
        Err(error) => Err(error),
    }
}

fn path(job: &str, task: &str) -> Result<String, CallError> {
    Ok(format!("/jobs/{}/tasks/{}", checked("job", job)?, checked("task", task)?))
}

/// A path inside a task's directory that leads nowhere else.
fn file_name(name: &str) -> Result<&str, CallError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    let leads_on = |part: &str| !part.is_empty() && part != "." && part != "..";
    if name.len() > FILE_NAME_BYTES_MAX || !name.bytes().all(plain) || !name.split('/').all(leads_on) {
        return Err(CallError::not_sent("the file is no plain path inside the task's directory"));
    }
    Ok(name)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskBody {
    state: TaskState,
    execution_info: Option<ExecutionBody>,
    node_info: Option<NodeBody>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecutionBody {
    #[serde(default, deserialize_with = "iso8601::instant")]
    start_time: Option<UnixMs>,
    #[serde(default, deserialize_with = "iso8601::instant")]
    end_time: Option<UnixMs>,
    exit_code: Option<i32>,
    failure_info: Option<FailureBody>,
    #[serde(default)]
    retry_count: u32,
    #[serde(default)]
    requeue_count: u32,
    result: Option<TaskResult>,
}

#[derive(Deserialize)]
struct FailureBody {
    category: Category,
    #[serde(flatten)]
    error: ErrorBody,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeBody {
    node_id: Option<String>,
}

impl From<TaskBody> for Task {
    fn from(body: TaskBody) -> Task {
        let execution = body.execution_info.unwrap_or_default();
        let failure = |body: FailureBody| TaskFailure { category: body.category, problem: body.error.into() };
        Task {
            state: body.state,
            result: execution.result,
            exit_code: execution.exit_code,
            failure: execution.failure_info.map(failure),
            node: body.node_info.and_then(|node| node.node_id),
            retries: execution.retry_count,
            requeues: execution.requeue_count,
            started: execution.start_time,
            ended: execution.end_time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_stay_inside_the_task() {
        for name in ["stderr.txt", "wd/out.json", "a-b_c.d"] {
            assert_eq!(file_name(name), Ok(name));
        }
        for name in
            ["", ".", "..", "../x", "a/../b", "a//b", "/a", "a/", "a b", "a?b", "a%2e", &"a".repeat(257)]
        {
            assert!(file_name(name).is_err(), "{name}");
        }
    }
}
