//! Jobs, tasks, collections of tasks and the files of tasks.

use serde_json::{Value, json};

use super::{Answer, Call, Content, Reply, TaskFiles};
use crate::azure_batch::account::{Account, Stamp, task};
use crate::azure_batch::body;
use crate::azure_batch::fault::{Code, Fault};
use crate::azure_batch::show;
use crate::queue::date;

/// The service takes at most so many tasks in one collection.
const COLLECTION_MAX: usize = 100;

impl Call<'_> {
    pub(super) fn jobs(&self, path: &[&str], account: &mut Account) -> Answer {
        match (self.method, path) {
            ("POST", []) => {
                let object = self.object()?;
                let id = body::id(&object)?;
                account.add_job(object, self.now_ms)?;
                Ok(self.created(account.job(&id)?.stamp, format!("{}/jobs/{id}", self.base)))
            }
            ("GET", []) => {
                let jobs = account.jobs().map(|(key, job)| (key.as_str(), job));
                self.list(jobs, |job| show::job(job, self.base))
            }
            ("GET", [id]) => {
                let job = account.job(id)?;
                self.object_reply(job.stamp, || show::job(job, self.base))
            }
            ("GET", [id, "taskcounts"]) => Ok(Reply::json(show::task_counts(account.job(id)?))),
            (_, [id, ..]) => {
                self.precondition(account.job(id)?.stamp)?;
                let status = self.change_job(id, &path[1..], account)?;
                let stamp = account.job(id).ok().map(|job| job.stamp);
                Ok(Reply { stamp, ..Reply::nothing(status) })
            }
            _ => Err(Code::NotImplemented.into()),
        }
    }

    fn change_job(&self, id: &str, verb: &[&str], account: &mut Account) -> Result<u16, Fault> {
        let now_ms = self.now_ms;
        match (self.method, verb) {
            ("PATCH", []) => account.patch_job(id, self.object()?, now_ms).map(|()| 200),
            ("PUT", []) => account.put_job(id, &self.object()?, now_ms).map(|()| 200),
            ("DELETE", []) => account.delete_job(id, now_ms).map(|()| 202),
            ("POST", ["terminate"]) => {
                let object = self.object()?;
                body::check(&object, &[("terminateReason", body::Property::Taken)])?;
                let reason = body::text(&object, "terminateReason")?.unwrap_or("UserTerminate");
                account.terminate_job(id, reason, now_ms).map(|()| 202)
            }
            ("POST", ["disable"]) => account.disable_job(id, &self.object()?, now_ms).map(|()| 202),
            ("POST", ["enable"]) => account.enable_job(id, now_ms).map(|()| 202),
            _ => Err(Code::NotImplemented.into()),
        }
    }

    pub(super) fn tasks(&self, job: &str, path: &[&str], account: &mut Account) -> Answer {
        match (self.method, path) {
            ("POST", []) => {
                let object = self.object()?;
                let id = body::id(&object)?;
                account.add_task(job, object, self.now_ms)?;
                let (job, task) = (account.job(job)?, account.task(job, &id)?);
                Ok(self.created(task.stamp, show::task_url(task, job, self.base)))
            }
            ("GET", []) => {
                let job = account.job(job)?;
                let tasks = job.tasks.iter().map(|(key, task)| (key.as_str(), task));
                self.list(tasks, |task| show::task(task, job, self.base))
            }
            ("GET", [id]) => {
                let (job, task) = (account.job(job)?, account.task(job, id)?);
                self.object_reply(task.stamp, || show::task(task, job, self.base))
            }
            ("GET" | "HEAD", [id, "files", path @ ..]) => task_files(job, id, path, account),
            (_, [id, ..]) => {
                self.precondition(account.task(job, id)?.stamp)?;
                let status = self.change_task(job, id, &path[1..], account)?;
                let stamp = account.task(job, id).ok().map(|task| task.stamp);
                Ok(Reply { stamp, ..Reply::nothing(status) })
            }
            _ => Err(Code::NotImplemented.into()),
        }
    }

    fn change_task(&self, job: &str, id: &str, verb: &[&str], account: &mut Account) -> Result<u16, Fault> {
        let now_ms = self.now_ms;
        match (self.method, verb) {
            ("PUT", []) => {
                let object = self.object()?;
                account.constrain_task(job, id, &object, now_ms).map(|()| 200)
            }
            ("DELETE", []) => account.delete_task(job, id, now_ms).map(|()| 200),
            ("POST", ["terminate"]) => account.terminate_task(job, id, now_ms).map(|()| 204),
            ("POST", ["reactivate"]) => account.reactivate_task(job, id, now_ms).map(|()| 204),
            _ => Err(Code::NotImplemented.into()),
        }
    }

    /// Tasks one by one, each with a status of its own.
    pub(super) fn add_collection(&self, job: &str, account: &mut Account) -> Answer {
        account.open_job(job)?;
        let object = self.object()?;
        body::check(&object, &[("value", body::Property::Taken)])?;
        let items = object.get("value").and_then(Value::as_array).ok_or_else(|| body::missing("value"))?;
        if items.is_empty() || items.len() > COLLECTION_MAX {
            return Err(Fault::property(Code::OutOfRangeInput, "value", "it has 1 to 100 tasks"));
        }
        let added = items.iter().map(|item| {
            let id = item.get("id").and_then(Value::as_str).unwrap_or_default();
            match self.add_item(job, item, account) {
                Ok((stamp, location)) => json!({
                    "status": "success",
                    "taskId": id,
                    "eTag": stamp.etag(),
                    "lastModified": date::iso(stamp.modified_ms),
                    "location": location,
                }),
                Err(fault) => {
                    let status = if fault.status() < 500 { "clienterror" } else { "servererror" };
                    let error = fault.body("", &date::iso(self.now_ms));
                    json!({"status": status, "taskId": id, "error": error})
                }
            }
        });
        Ok(Reply::json(json!({"value": added.collect::<Vec<_>>()})))
    }

    fn add_item(&self, job: &str, item: &Value, account: &mut Account) -> Result<(Stamp, String), Fault> {
        let object = item.as_object().ok_or(Code::InvalidRequestBody)?.clone();
        let id = body::id(&object)?;
        account.add_task(job, object, self.now_ms)?;
        let (job, task): (_, &task::Task) = (account.job(job)?, account.task(job, &id)?);
        Ok((task.stamp, show::task_url(task, job, self.base)))
    }
}

fn task_files(job: &str, task: &str, path: &[&str], account: &Account) -> Answer {
    let (job, task) = (account.job(job)?, account.task(job, task)?);
    let place = task.place.clone().ok_or(Code::TaskFilesUnavailable)?;
    let node = account.node(&place.pool, &place.node).map_err(|_| Code::TaskFilesUnavailable)?;
    if !show::has_disk(node) {
        return Err(Code::TaskFilesUnavailable.into());
    }
    let files = TaskFiles {
        place,
        job: job.spec.id.clone(),
        task: task.spec.id.clone(),
        path: (!path.is_empty()).then(|| path.join("/")),
    };
    Ok(Reply { content: Content::Files(files), ..Reply::nothing(200) })
}
