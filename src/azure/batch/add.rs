//! Adding tasks to a job, one by one or by the hundred. A task that is already there counts as added:
//! its id says that it is the same.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::client::{Client, checked};
use super::command_line::command_line;
use super::error::{CallError, ErrorBody, Problem};
use super::iso8601;
use crate::settings::Secret;

/// Tasks that one call may add; the service's limit.
const COLLECTION_TASKS_MAX: usize = 100;
/// Bytes of one call's body; the service's limit is "less than 1 MB".
const COLLECTION_BYTES_MAX: usize = 999_000;
const COLLECTION_BEGINS: &[u8] = br#"{"value":["#;
const COLLECTION_ENDS: &[u8] = b"]}";

/// A task to add.
#[derive(Clone, PartialEq, Eq)]
pub struct NewTask {
    /// Its id, by which adding it twice is the same as once.
    pub id: String,
    /// The program to start, without a shell.
    pub program: String,
    /// Its arguments, as [`command_line`] takes them.
    pub arguments: Vec<String>,
    /// Its environment. Readers of the account see it; it is not shown in logs.
    pub environment: Vec<(String, String)>,
    /// The image to run it in: given exactly when [`super::Pool::containers`] holds.
    pub container_image: Option<String>,
    /// It is ended when it takes longer, and counts as failed.
    pub max_wall_clock: Duration,
    /// Runs after the first that ended with a nonzero exit code. An eviction is none of them.
    pub max_retries: u32,
    /// Slots of a node that it needs.
    pub required_slots: u32,
    /// What is uploaded when it is over.
    pub outputs: Vec<Output>,
}

/// Files of a task that the node uploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Which, relative to the working directory, as `../std*.txt`.
    pub pattern: String,
    /// URL of a blob container, with a signature if there is no `identity`.
    pub container: Secret,
    /// Where in the container: a folder when the pattern has wildcards.
    pub path: String,
    /// Resource id of the pool's identity that may write there.
    pub identity: Option<String>,
    /// When.
    pub when: UploadWhen,
}

/// When files are uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum UploadWhen {
    /// After exit code 0.
    #[serde(rename = "tasksuccess")]
    Success,
    /// After any other end.
    #[serde(rename = "taskfailure")]
    Failure,
    /// After any end.
    #[serde(rename = "taskcompletion")]
    Completion,
}

/// What adding a task did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is there now.
    Added,
    /// It was there: added before, perhaps by an attempt whose answer was lost.
    Existed,
}

/// Why a task was not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// The job takes no tasks any more; another one must.
    #[error("the azure batch job takes no tasks any more ({code})")]
    JobNotActive {
        /// The service's code.
        code: String,
    },
    /// There is no such job.
    #[error("azure batch has no such job")]
    JobNotFound,
    /// The call failed. After a timeout or a lost connection the task may be there nevertheless.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl AddError {
    fn of(error: CallError) -> AddError {
        match error {
            CallError::Rejected { code, .. } if code == "JobNotFound" => AddError::JobNotFound,
            error if error.says_job_is_over() => match error {
                CallError::Rejected { code, .. } => AddError::JobNotActive { code },
                other => AddError::Call(other),
            },
            other => AddError::Call(other),
        }
    }
}

impl Client {
    /// Adds a task.
    ///
    /// # Errors
    /// When the job does not take it, or the call failed.
    pub async fn add_task(&self, job: &str, task: &NewTask) -> Result<Added, AddError> {
        let url = self.url(&format!("/jobs/{}/tasks", checked("job", job)?), "");
        let call = Call::new("add task", Method::POST, url, 201).bytes(body(task)?);
        match self.send(call).await {
            Ok(_) => Ok(Added::Added),
            Err(error) if error.is_one_of(&["TaskExists"]) => Ok(Added::Existed),
            Err(error) => Err(AddError::of(error)),
        }
    }

    /// Adds tasks, in as few calls as the service's limits allow, each of them bounded as a call is.
    /// What became of each task stands at its place. A task that cannot be sent does not hold up the
    /// others; after a call that failed no further one is made, and the rest have its error.
    pub async fn add_tasks(&self, job: &str, tasks: &[NewTask]) -> Vec<Result<Added, AddError>> {
        let bodies: Vec<Result<Vec<u8>, CallError>> = tasks.iter().map(body).collect();
        let mut outcomes: Vec<Option<Result<Added, AddError>>> =
            bodies.iter().map(|body| body.as_ref().err().map(|error| Err(error.clone().into()))).collect();
        let sendable: Vec<(usize, &[u8])> = bodies
            .iter()
            .enumerate()
            .filter_map(|(at, body)| Some((at, body.as_ref().ok()?.as_slice())))
            .collect();

        let mut open = collections(&sendable);
        open.reverse();
        let mut failed = None;
        while let (Some(part), None) = (open.pop(), &failed) {
            let collection = &sendable[part.clone()];
            match self.add_collection(job, collection).await {
                Ok(items) => {
                    let mut items = by_id(items);
                    for (at, _) in collection {
                        outcomes[*at] = Some(take(&mut items, &tasks[*at].id));
                    }
                }
                // A front door may have a smaller limit than the service.
                Err(error) if part.len() > 1 && is_too_large(&error) => {
                    let middle = part.start + part.len() / 2;
                    open.extend([middle..part.end, part.start..middle]);
                }
                Err(error) => failed = Some(error),
            }
        }
        let rest = failed.unwrap_or_else(|| CallError::unreadable("a task has no outcome").into());
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Err(rest.clone()))).collect()
    }

    async fn add_collection(&self, job: &str, tasks: &[(usize, &[u8])]) -> Result<Vec<ItemBody>, AddError> {
        let url = self.url(&format!("/jobs/{}/addtaskcollection", checked("job", job)?), "");
        let bodies: Vec<&[u8]> = tasks.iter().map(|(_, body)| *body).collect();
        let body = [COLLECTION_BEGINS, &bodies.join(&b','), COLLECTION_ENDS].concat();
        let answer = self.send(Call::new("add tasks", Method::POST, url, 200).bytes(body)).await;
        let items: Items = answer.map_err(AddError::of)?.decode()?;
        Ok(items.value)
    }
}

/// A task as JSON, if it can be sent at all.
fn body(task: &NewTask) -> Result<Vec<u8>, CallError> {
    let line = command_line(&task.program, &task.arguments);
    let settings = task.container_image.as_deref().map(|image_name| ContainerSettings { image_name });
    let body = TaskBody {
        id: checked("task", &task.id)?,
        command_line: line.map_err(|error| CallError::not_sent(error.to_string()))?,
        container_settings: settings,
        environment_settings: Setting::all(&task.environment),
        constraints: Constraints {
            max_wall_clock_time: iso8601::duration(task.max_wall_clock),
            max_task_retry_count: task.max_retries,
        },
        required_slots: task.required_slots,
        output_files: task.outputs.iter().map(OutputFile::from).collect(),
    };
    let body = serde_json::to_vec(&body).expect("our shapes have text keys and finite numbers");
    if body.len() > COLLECTION_BYTES_MAX - COLLECTION_BEGINS.len() - COLLECTION_ENDS.len() {
        let what = format!("the task has {} bytes; {COLLECTION_BYTES_MAX} are the most", body.len());
        return Err(CallError::not_sent(what));
    }
    Ok(body)
}

/// Cuts tasks into runs that fit one call each.
fn collections(bodies: &[(usize, &[u8])]) -> Vec<Range<usize>> {
    let frame = COLLECTION_BEGINS.len() + COLLECTION_ENDS.len();
    let mut cut: Vec<Range<usize>> = Vec::new();
    let mut bytes = frame;
    for (at, (_, body)) in bodies.iter().enumerate() {
        let with_comma = body.len() + 1;
        match cut.last_mut() {
            Some(last) if last.len() < COLLECTION_TASKS_MAX && bytes + with_comma <= COLLECTION_BYTES_MAX => {
                last.end = at + 1;
                bytes += with_comma;
            }
            _ => {
                cut.push(at..at + 1);
                bytes = frame + body.len();
            }
        }
    }
    cut
}

fn is_too_large(error: &AddError) -> bool {
    matches!(error, AddError::Call(error) if error.is_one_of(&["RequestBodyTooLarge", "http-413"]))
}

type Outcomes = HashMap<String, Vec<Result<Added, AddError>>>;

/// Outcomes by task: the service answers in an order of its own.
fn by_id(items: Vec<ItemBody>) -> Outcomes {
    let mut found = Outcomes::new();
    for item in items.into_iter().rev() {
        let (id, outcome) = item.outcome();
        found.entry(id).or_default().push(outcome);
    }
    found
}

fn take(items: &mut Outcomes, id: &str) -> Result<Added, AddError> {
    let outcome = items.get_mut(id).and_then(Vec::pop);
    outcome.unwrap_or_else(|| Err(CallError::unreadable("it does not say what became of a task").into()))
}

impl fmt::Debug for NewTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.environment.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("NewTask")
            .field("id", &self.id)
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .field("environment", &names)
            .field("container_image", &self.container_image)
            .finish_non_exhaustive()
    }
}

/// One variable of an environment.
#[derive(Serialize)]
pub(super) struct Setting<'a> {
    name: &'a str,
    value: &'a str,
}

impl Setting<'_> {
    /// All of an environment.
    pub(super) fn all(environment: &[(String, String)]) -> Vec<Setting<'_>> {
        environment.iter().map(|(name, value)| Setting { name, value }).collect()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskBody<'a> {
    id: &'a str,
    command_line: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_settings: Option<ContainerSettings<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    environment_settings: Vec<Setting<'a>>,
    constraints: Constraints,
    required_slots: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    output_files: Vec<OutputFile<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerSettings<'a> {
    image_name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Constraints {
    max_wall_clock_time: String,
    max_task_retry_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OutputFile<'a> {
    file_pattern: &'a str,
    destination: Destination<'a>,
    upload_options: UploadOptions,
}

#[derive(Serialize)]
struct Destination<'a> {
    container: Container<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Container<'a> {
    container_url: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity_reference: Option<IdentityReference<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IdentityReference<'a> {
    resource_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UploadOptions {
    upload_condition: UploadWhen,
}

impl<'a> From<&'a Output> for OutputFile<'a> {
    fn from(output: &'a Output) -> OutputFile<'a> {
        let identity = output.identity.as_deref().map(|resource_id| IdentityReference { resource_id });
        let container_url = output.container.reveal();
        OutputFile {
            file_pattern: &output.pattern,
            destination: Destination {
                container: Container { container_url, path: &output.path, identity_reference: identity },
            },
            upload_options: UploadOptions { upload_condition: output.when },
        }
    }
}

#[derive(Deserialize)]
struct Items {
    value: Vec<ItemBody>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemBody {
    status: String,
    task_id: String,
    error: Option<ErrorBody>,
}

impl ItemBody {
    fn outcome(self) -> (String, Result<Added, AddError>) {
        let Problem { code, message } = self.error.map(Problem::from).unwrap_or_default();
        let outcome = match (self.status.as_str(), code.as_str()) {
            ("success", _) => Ok(Added::Added),
            (_, "TaskExists") => Ok(Added::Existed),
            ("clienterror", _) => Err(AddError::of(CallError::Rejected { code, message })),
            ("servererror", _) => {
                Err(CallError::Unavailable { what: format!("a task failed with {code}") }.into())
            }
            _ => Err(CallError::unreadable("the outcome of a task is none that is known").into()),
        };
        (self.task_id, outcome)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn collections_hold_every_task_once_in_order_and_keep_both_limits(
            sizes in proptest::collection::vec(prop_oneof![1..2_000_usize, 100_000..900_000_usize], 0..300),
        ) {
            let longest = vec![b' '; 900_000];
            let bodies: Vec<(usize, &[u8])> =
                sizes.iter().enumerate().map(|(at, size)| (at, &longest[..*size])).collect();
            let cut = collections(&bodies);
            let held: Vec<usize> = cut.iter().cloned().flatten().collect();
            prop_assert_eq!(held, (0..sizes.len()).collect::<Vec<_>>());
            for part in cut {
                let bytes: usize = sizes[part.clone()].iter().sum();
                let sent = bytes + part.len() - 1 + COLLECTION_BEGINS.len() + COLLECTION_ENDS.len();
                prop_assert!(part.len() <= COLLECTION_TASKS_MAX && sent <= COLLECTION_BYTES_MAX);
            }
        }
    }
}
