//! Jobs: what tasks are added to.

use policy::units::UnixMs;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::add::Setting;
use super::call::Call;
use super::client::{Client, checked, escaped};
use super::error::CallError;
use super::iso8601;
use super::retry::CALL_MAX;

/// Pages of a list that are read. An account has at most 1,000 active jobs, a page may have as many;
/// this is enough even for a service that cuts it into pages of 100 twice over.
const PAGES_MAX: usize = 20;

/// A job to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Its id.
    pub id: String,
    /// The pool that runs its tasks.
    pub pool: String,
    /// From -1000 to 1000; a higher one goes first.
    pub priority: i16,
    /// Environment of all its tasks. Every reader of the account sees it: no place for a secret.
    pub environment: Vec<(String, String)>,
}

/// What creating a job did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is there now.
    Created,
    /// There was one of this id, in whatever state.
    Existed,
}

/// Why a job was not created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateJobError {
    /// The account has as many active jobs as it may. Ended ones do not count.
    #[error("the azure batch account has no room for another active job; end some or ask for more quota")]
    Quota,
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Tasks of a job, and the slots that they need, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// How many tasks.
    pub tasks: Counts,
    /// How many slots.
    pub slots: Counts,
}

/// One row of counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Counts {
    /// Waiting for a node.
    pub active: u64,
    /// On a node, those being prepared included.
    pub running: u64,
    /// Over.
    pub completed: u64,
    /// Over, with exit code 0.
    pub succeeded: u64,
    /// Over otherwise.
    pub failed: u64,
}

/// Why tasks could not be counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskCountsError {
    /// There is no such job.
    #[error("azure batch has no such job")]
    JobNotFound,
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Active jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jobs {
    /// Those that were found, in the service's order.
    pub jobs: Vec<Job>,
    /// Whether there are no more of them: a list is read to a bound.
    pub complete: bool,
}

/// One of a list of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// When it was created.
    pub created: Option<UnixMs>,
    /// Whether it ends by itself when its tasks are over.
    pub ends_when_done: bool,
}

impl Client {
    /// Creates a job that stays active when it is empty.
    ///
    /// # Errors
    /// When the account has no room, or the call failed.
    pub async fn create_job(&self, job: &NewJob) -> Result<Created, CreateJobError> {
        let body = NewJobBody {
            id: checked("job", &job.id)?,
            pool_info: PoolInfo { pool_id: checked("pool", &job.pool)? },
            priority: job.priority,
            common_environment_settings: Setting::all(&job.environment),
        };
        let call = Call::new("create job", Method::POST, self.url("/jobs", ""), 201).json(&body);
        match self.send(call).await {
            Ok(_) => Ok(Created::Created),
            Err(error) if error.is_one_of(&["JobExists"]) || error.says_job_is_over() => Ok(Created::Existed),
            Err(error) if error.is_one_of(&["ActiveJobAndScheduleQuotaReached"]) => {
                Err(CreateJobError::Quota)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Lets a job end when all its tasks are over: at once if it has none, which is why this is no
    /// part of creating it. A job that is over or gone is none to end.
    ///
    /// # Errors
    /// When the call failed.
    pub async fn end_job_when_done(&self, job: &str) -> Result<(), CallError> {
        let url = self.url(&format!("/jobs/{}", checked("job", job)?), "");
        let body = serde_json::json!({ "onAllTasksComplete": "terminatejob" });
        match self.send(Call::new("end job", Method::PATCH, url, 200).json(&body)).await {
            Ok(_) => Ok(()),
            Err(error) if error.says_job_is_over() || error.is_one_of(&["JobNotFound"]) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Lists the active jobs whose ids begin with `prefix`, page by page, all of them within
    /// [`CALL_MAX`].
    ///
    /// # Errors
    /// When a page could not be read.
    pub async fn jobs(&self, prefix: &str) -> Result<Jobs, CallError> {
        let deadline = Instant::now() + CALL_MAX;
        let query = format!(
            "&$filter={}&$select=id,state,creationTime,onAllTasksComplete",
            escaped("state eq 'active'")
        );
        let mut url = self.url("/jobs", &query);
        let mut found = Jobs::default();
        for _ in 0..PAGES_MAX {
            let call = Call::new("list jobs", Method::GET, url, 200);
            let page: JobsPage = self.send_by(deadline, call).await?.decode()?;
            let ours = page.value.into_iter().filter(|job| job.id.starts_with(prefix)).filter(is_active);
            found.jobs.extend(ours.map(Job::from));
            match page.next_link.filter(|next| !next.is_empty()) {
                Some(next) => url = self.next_page("/jobs", &next)?,
                None => return Ok(Jobs { complete: true, ..found }),
            }
        }
        Ok(found)
    }

    /// Counts a job's tasks.
    ///
    /// # Errors
    /// When there is no such job, or the call failed.
    pub async fn task_counts(&self, job: &str) -> Result<TaskCounts, TaskCountsError> {
        let url = self.url(&format!("/jobs/{}/taskcounts", checked("job", job)?), "");
        match self.send(Call::new("count tasks", Method::GET, url, 200)).await {
            Ok(answer) => {
                let body: CountsBody = answer.decode()?;
                Ok(TaskCounts { tasks: body.task_counts, slots: body.task_slot_counts })
            }
            Err(error) if error.is_one_of(&["JobNotFound"]) => Err(TaskCountsError::JobNotFound),
            Err(error) => Err(error.into()),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewJobBody<'a> {
    id: &'a str,
    pool_info: PoolInfo<'a>,
    priority: i16,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    common_environment_settings: Vec<Setting<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PoolInfo<'a> {
    pool_id: &'a str,
}

#[derive(Deserialize)]
struct JobsPage {
    value: Vec<JobBody>,
    #[serde(rename = "odata.nextLink")]
    next_link: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobBody {
    id: String,
    state: Option<String>,
    #[serde(default, deserialize_with = "iso8601::instant")]
    creation_time: Option<UnixMs>,
    on_all_tasks_complete: Option<String>,
}

/// The filter has seen to it, unless a service does not know it.
fn is_active(job: &JobBody) -> bool {
    job.state.as_deref().is_none_or(|state| state == "active")
}

impl From<JobBody> for Job {
    fn from(body: JobBody) -> Job {
        let ends_when_done = body.on_all_tasks_complete.is_some_and(|then| then == "terminatejob");
        Job { id: body.id, created: body.creation_time, ends_when_done }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CountsBody {
    task_counts: Counts,
    task_slot_counts: Counts,
}
