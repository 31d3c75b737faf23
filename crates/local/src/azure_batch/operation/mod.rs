//! The service's operations: from method, path and body to the account, and back to an answer.
//!
//! - here: what a request and an answer are, preconditions, and who answers
//! - `pools`: pools, their nodes and their autoscale
//! - `jobs`: jobs, tasks, collections of tasks and their files

mod jobs;
mod pools;

use hyper::HeaderMap;
use serde_json::Value;

use super::account::task::Place;
use super::account::{Account, Stamp};
use super::body::{self, Object};
use super::fault::{Code, Fault};
use super::list::Asked;
use super::show;
use super::version::Version;
use crate::queue::date;

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
    pub(super) version: Version,
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
