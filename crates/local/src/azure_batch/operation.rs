//! The service's operations: from method, path and body to the account, and back to an answer.

use hyper::HeaderMap;
use serde_json::{Value, json};

use super::account::pool::Resize;
use super::account::task::Place;
use super::account::{Account, Stamp, pool, task};
use super::body::{self, Object};
use super::fault::{Code, Fault};
use super::list::Asked;
use super::show;
use crate::queue::date;

/// The service takes at most so many tasks in one collection.
const COLLECTION_MAX: usize = 100;

/// The parameters of a query, decoded.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn read(query: &str) -> Query {
        Query(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// By name; names do not mind the case.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The same query for the page after a key.
    pub(super) fn after(&self, key: &str) -> String {
        let kept = self.0.iter().filter(|(name, _)| name != "$skiptoken");
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(kept)
            .append_pair("$skiptoken", key)
            .finish()
    }
}

/// A request that has been let in.
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    pub(super) segments: &'a [&'a str],
    pub(super) query: &'a Query,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    pub(super) now_ms: u64,
    /// The address of the account.
    pub(super) base: &'a str,
}

/// A success.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) stamp: Option<Stamp>,
    /// Where a created object is.
    pub(super) location: Option<String>,
    pub(super) content: Content,
}

/// What a success carries.
pub(super) enum Content {
    Nothing,
    Json(Value),
    /// Files of a task, which are read without holding the account.
    Files(TaskFiles),
}

/// Whose files are asked for, and which.
pub(super) struct TaskFiles {
    pub(super) place: Place,
    pub(super) job: String,
    pub(super) task: String,
    /// None lists them.
    pub(super) path: Option<String>,
}

impl Reply {
    fn nothing(status: u16) -> Reply {
        Reply { status, stamp: None, location: None, content: Content::Nothing }
    }

    fn json(value: Value) -> Reply {
        Reply { content: Content::Json(value), ..Reply::nothing(200) }
    }
}

type Answer = Result<Reply, Fault>;

impl Call<'_> {
    /// Does what is asked for.
    pub(super) fn run(&self, account: &mut Account) -> Answer {
        match self.segments {
            ["pools", rest @ ..] => self.pools(rest, account),
            ["nodecounts"] if self.method == "GET" => {
                let asked = Asked::read(self.query)?;
                let pools = account.pools().map(|(key, pool)| (key.as_str(), pool));
                Ok(Reply::json(asked.page(pools, show::node_counts, |key| self.next(key))))
            }
            ["supportedimages"] if self.method == "GET" => Ok(Reply::json(show::supported_images())),
            ["jobs", job, "tasks", rest @ ..] => self.tasks(job, rest, account),
            ["jobs", job, "addtaskcollection"] if self.method == "POST" => self.add_collection(job, account),
            ["jobs", rest @ ..] => self.jobs(rest, account),
            _ => Err(Code::NotImplemented.into()),
        }
    }

    fn pools(&self, path: &[&str], account: &mut Account) -> Answer {
        let now_ms = self.now_ms;
        match (self.method, path) {
            ("POST", []) => {
                let object = self.object()?;
                let id = body::id(&object)?;
                account.add_pool(object, now_ms)?;
                Ok(self.created(account.pool(&id)?.stamp, format!("{}/pools/{id}", self.base)))
            }
            ("GET", []) => {
                let pools = account.pools().map(|(key, pool)| (key.as_str(), pool));
                self.list(pools, |pool| show::pool(pool, self.base))
            }
            ("GET" | "HEAD", [id]) => {
                let pool = account.pool(id)?;
                self.object_reply(pool.stamp, || show::pool(pool, self.base))
            }
            (_, [id, "nodes", rest @ ..]) => self.nodes(id, rest, account),
            (_, [_, "enableautoscale" | "disableautoscale" | "evaluateautoscale"]) => {
                Err(Code::OperationNotValidOnPool.into())
            }
            (_, [id, ..]) => {
                self.precondition(account.pool(id)?.stamp)?;
                let status = self.change_pool(id, &path[1..], account)?;
                let stamp = account.pool(id).ok().map(|pool| pool.stamp);
                Ok(Reply { stamp, ..Reply::nothing(status) })
            }
            _ => Err(Code::NotImplemented.into()),
        }
    }

    fn change_pool(&self, id: &str, verb: &[&str], account: &mut Account) -> Result<u16, Fault> {
        let now_ms = self.now_ms;
        match (self.method, verb) {
            ("PATCH", []) => account.patch_pool(id, self.object()?, now_ms).map(|()| 200),
            ("DELETE", []) => account.delete_pool(id, now_ms).map(|()| 202),
            ("POST", ["resize"]) => account.resize(id, Resize::read(&self.object()?)?, now_ms).map(|()| 202),
            ("POST", ["stopresize"]) => account.stop_resize(id, now_ms).map(|()| 202),
            _ => Err(Code::NotImplemented.into()),
        }
    }

    fn nodes(&self, id: &str, path: &[&str], account: &Account) -> Answer {
        let pool: &pool::Pool = account.pool(id)?;
        match (self.method, path) {
            ("GET", []) => {
                let nodes = pool.nodes.iter().map(|(id, node)| (id.as_str(), (id, node)));
                self.list(nodes, |(id, node)| show::node(id, node, pool, self.base))
            }
            ("GET", [node]) => {
                let shown = show::node(node, account.node(id, node)?, pool, self.base);
                Ok(Reply::json(Asked::read(self.query)?.selected(shown)))
            }
            _ => Err(Code::NotImplemented.into()),
        }
    }

    fn jobs(&self, path: &[&str], account: &mut Account) -> Answer {
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

    fn tasks(&self, job: &str, path: &[&str], account: &mut Account) -> Answer {
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
    fn add_collection(&self, job: &str, account: &mut Account) -> Answer {
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

    fn object(&self) -> Result<Object, Fault> {
        body::object(self.body)
    }

    fn created(&self, stamp: Stamp, location: String) -> Reply {
        Reply { stamp: Some(stamp), location: Some(location), ..Reply::nothing(201) }
    }

    fn list<'a, T>(&self, items: impl Iterator<Item = (&'a str, T)>, show: impl Fn(T) -> Value) -> Answer {
        Ok(Reply::json(Asked::read(self.query)?.page(items, show, |key| self.next(key))))
    }

    fn next(&self, key: &str) -> String {
        format!("{}/{}?{}", self.base, self.segments.join("/"), self.query.after(key))
    }

    /// One object, unless the client has this version of it already.
    fn object_reply(&self, stamp: Stamp, show: impl FnOnce() -> Value) -> Answer {
        self.if_match(stamp)?;
        let known = self.names(stamp, "if-none-match")
            || self.header_ms("if-modified-since").is_some_and(|since_ms| second(stamp) <= since_ms);
        let reply =
            if known { Reply::nothing(304) } else { Reply::json(Asked::read(self.query)?.selected(show())) };
        Ok(Reply { stamp: Some(stamp), ..reply })
    }

    /// What a change asks of the version that it changes.
    fn precondition(&self, stamp: Stamp) -> Result<(), Fault> {
        self.if_match(stamp)?;
        let known = self.names(stamp, "if-none-match")
            || self.header_ms("if-modified-since").is_some_and(|since_ms| second(stamp) <= since_ms);
        if known { Err(Code::ConditionNotMet.into()) } else { Ok(()) }
    }

    fn if_match(&self, stamp: Stamp) -> Result<(), Fault> {
        let other = self.headers.contains_key("if-match") && !self.names(stamp, "if-match");
        let newer = self.header_ms("if-unmodified-since").is_some_and(|since_ms| second(stamp) > since_ms);
        if other || newer { Err(Code::ConditionNotMet.into()) } else { Ok(()) }
    }

    fn names(&self, stamp: Stamp, header: &str) -> bool {
        let value = self.headers.get(header).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(',').map(|tag| tag.trim().trim_matches('"')).any(|tag| tag == "*" || tag == stamp.etag())
    }

    fn header_ms(&self, header: &str) -> Option<u64> {
        date::parse_rfc1123(self.headers.get(header)?.to_str().ok()?)
    }
}

/// HTTP dates have no fractions of a second.
fn second(stamp: Stamp) -> u64 {
    stamp.modified_ms / 1000 * 1000
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
