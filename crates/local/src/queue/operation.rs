//! The operations of the service: read from a request, carried out on a store, answered. Pure:
//! the server around it knows the sockets, the clock and the key.

use std::collections::HashMap;

use hyper::HeaderMap;

use super::auth::Needs;
use super::date;
use super::fault::Fault;
use super::store::{Created, MESSAGE_BYTES_MAX, Metadata, Store};
use super::xml::{self, Shown};

/// Longest visibility timeout: seven days in seconds, as the service documents it.
const VISIBILITY_SECONDS_MAX: i64 = 7 * 24 * 60 * 60;
/// What a message lives when nothing is said: seven days in seconds.
const TTL_SECONDS_DEFAULT: i64 = 7 * 24 * 60 * 60;
/// Visibility of Get Messages when nothing is said, in seconds.
const VISIBILITY_SECONDS_DEFAULT: i64 = 30;
/// Most messages of one Get or Peek.
const MESSAGES_MAX: i64 = 32;
/// Most queues of one page, and what a page holds when nothing is said.
const PAGE_MAX: i64 = 5_000;
const METADATA_PREFIX: &str = "x-ms-meta-";

/// A request after its address was taken apart.
pub struct Asked<'a> {
    /// `GET` and so on.
    pub method: &'a str,
    /// The path's segments after the account, decoded.
    pub segments: Vec<String>,
    /// The query, decoded; names in lower case.
    pub query: HashMap<String, String>,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a str,
}

/// An operation with its parameters, all of them valid.
#[derive(Debug, PartialEq, Eq)]
pub enum Operation {
    /// List Queues: names from `marker` on that start with `prefix`, `page` of them.
    List { prefix: String, marker: String, max_results: String, page: usize, with_metadata: bool },
    /// Get Service Properties.
    ServiceProperties,
    /// One of a queue.
    Queue(String, OnQueue),
    /// One of a queue's messages.
    Messages(String, OnMessages),
    /// One of a message: queue, message id and pop receipt.
    Message(String, (String, String), OnMessage),
}

/// Operations of a queue.
#[derive(Debug, PartialEq, Eq)]
pub enum OnQueue {
    Create(Metadata),
    Delete,
    Describe,
    SetMetadata(Metadata),
}

/// Operations of a queue's messages; times in milliseconds.
#[derive(Debug, PartialEq, Eq)]
pub enum OnMessages {
    Put { text: String, hidden_ms: u64, ttl_ms: Option<u64> },
    Take { count: usize, hidden_ms: u64 },
    Peek { count: usize },
    Clear,
}

/// Operations of one message.
#[derive(Debug, PartialEq, Eq)]
pub enum OnMessage {
    Update { hidden_ms: u64, text: Option<String> },
    Delete,
}

/// What is answered, but for the headers that every answer has.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers of this operation.
    pub headers: Vec<(String, String)>,
    /// XML, or nothing.
    pub body: Option<String>,
}

impl Operation {
    /// Reads a request.
    ///
    /// # Errors
    /// A [`Fault`] of the request itself.
    pub fn read(asked: &Asked<'_>) -> Result<Operation, Fault> {
        let segments: Vec<&str> = asked.segments.iter().map(String::as_str).collect();
        match segments[..] {
            [] => asked.service(),
            [queue] => Ok(Operation::Queue(queue_name(queue)?, asked.on_queue()?)),
            [queue, "messages"] => Ok(Operation::Messages(queue_name(queue)?, asked.on_messages()?)),
            [queue, "messages", id] => {
                let receipt = asked.required("popreceipt")?.to_owned();
                Ok(Operation::Message(queue_name(queue)?, (id.to_owned(), receipt), asked.on_message()?))
            }
            _ => Err(Fault::ResourceNotFound),
        }
    }

    /// What a SAS must allow for it.
    pub fn needs(&self) -> Needs {
        let (resource, permissions) = match self {
            Operation::List { .. } => ('s', "l"),
            Operation::ServiceProperties => ('s', "r"),
            Operation::Queue(_, OnQueue::Create(_)) => ('c', "cw"),
            Operation::Queue(_, OnQueue::SetMetadata(_)) => ('c', "w"),
            Operation::Queue(_, OnQueue::Delete) => ('c', "d"),
            Operation::Queue(_, OnQueue::Describe) => ('c', "r"),
            Operation::Messages(_, OnMessages::Put { .. }) => ('o', "a"),
            Operation::Messages(_, OnMessages::Take { .. }) => ('o', "p"),
            Operation::Messages(_, OnMessages::Peek { .. }) => ('o', "r"),
            Operation::Messages(_, OnMessages::Clear) => ('o', "d"),
            Operation::Message(_, _, OnMessage::Update { .. }) => ('o', "u"),
            Operation::Message(_, _, OnMessage::Delete) => ('o', "p"),
        };
        Needs { resource, permissions }
    }

    /// Carries it out. `endpoint` is the account's address, which listings repeat.
    ///
    /// # Errors
    /// [`Fault::Refused`].
    pub fn run(&self, store: &mut Store, now_ms: u64, endpoint: &str) -> Result<Reply, Fault> {
        match self {
            Operation::ServiceProperties => Ok(Reply::xml(200, xml::SERVICE_PROPERTIES.to_owned())),
            Operation::List { prefix, marker, max_results, page, with_metadata } => {
                let asked =
                    xml::Listing { endpoint, prefix, marker, max_results, with_metadata: *with_metadata };
                Ok(Reply::xml(200, xml::queues(&asked, &store.list(prefix, marker, *page))))
            }
            Operation::Queue(name, operation) => operation.run(store, name, now_ms),
            Operation::Messages(name, operation) => operation.run(store, name, now_ms),
            Operation::Message(name, (id, receipt), operation) => {
                operation.run(store, name, (id, receipt), now_ms)
            }
        }
    }
}

impl OnQueue {
    fn run(&self, store: &mut Store, name: &str, now_ms: u64) -> Result<Reply, Fault> {
        match self {
            OnQueue::Create(metadata) => Ok(match store.create(name, metadata.clone())? {
                Created::New => Reply::empty(201),
                Created::Existed => Reply::empty(204),
            }),
            OnQueue::Delete => store.delete(name).map(|()| Reply::empty(204)).map_err(Fault::from),
            OnQueue::SetMetadata(metadata) => {
                store.set_metadata(name, metadata.clone())?;
                Ok(Reply::empty(204))
            }
            OnQueue::Describe => {
                let (metadata, count) = store.describe(name, now_ms)?;
                let mut reply = Reply::empty(200);
                reply.headers = metadata
                    .into_iter()
                    .map(|(name, value)| (format!("{METADATA_PREFIX}{name}"), value))
                    .chain([("x-ms-approximate-messages-count".to_owned(), count.to_string())])
                    .collect();
                Ok(reply)
            }
        }
    }
}

impl OnMessages {
    fn run(&self, store: &mut Store, name: &str, now_ms: u64) -> Result<Reply, Fault> {
        match self {
            OnMessages::Put { text, hidden_ms, ttl_ms } => {
                let message = store.put(name, text, (*hidden_ms, *ttl_ms), now_ms)?;
                Ok(Reply::xml(201, xml::messages(&[message], Shown::Put)))
            }
            OnMessages::Take { count, hidden_ms } => {
                let taken = store.take(name, *count, *hidden_ms, now_ms)?;
                Ok(Reply::xml(200, xml::messages(&taken, Shown::Taken)))
            }
            OnMessages::Peek { count } => {
                Ok(Reply::xml(200, xml::messages(&store.peek(name, *count, now_ms)?, Shown::Peeked)))
            }
            OnMessages::Clear => store.clear(name).map(|()| Reply::empty(204)).map_err(Fault::from),
        }
    }
}

impl OnMessage {
    fn run(&self, store: &mut Store, name: &str, holder: (&str, &str), now_ms: u64) -> Result<Reply, Fault> {
        match self {
            OnMessage::Delete => {
                store.delete_message(name, holder, now_ms)?;
                Ok(Reply::empty(204))
            }
            OnMessage::Update { hidden_ms, text } => {
                let message = store.update(name, holder, (*hidden_ms, text.as_deref()), now_ms)?;
                let mut reply = Reply::empty(204);
                reply.headers = vec![
                    ("x-ms-popreceipt".to_owned(), message.pop_receipt),
                    ("x-ms-time-next-visible".to_owned(), date::rfc1123(message.next_visible_ms)),
                ];
                Ok(reply)
            }
        }
    }
}

impl Reply {
    fn empty(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: None }
    }

    fn xml(status: u16, body: String) -> Reply {
        Reply { status, headers: Vec::new(), body: Some(body) }
    }
}

impl Asked<'_> {
    fn service(&self) -> Result<Operation, Fault> {
        let owned = |name: &str| self.parameter(name).unwrap_or_default().to_owned();
        match (self.method, self.parameter("restype"), self.parameter("comp")) {
            ("GET", None, Some("list")) => Ok(Operation::List {
                prefix: owned("prefix"),
                marker: owned("marker"),
                max_results: owned("maxresults"),
                page: self.number("maxresults", (1, PAGE_MAX))?.unwrap_or(PAGE_MAX) as usize,
                with_metadata: owned("include").split(',').any(|part| part == "metadata"),
            }),
            ("GET", Some("service"), Some("properties")) => Ok(Operation::ServiceProperties),
            _ => Err(Fault::NotImplemented),
        }
    }

    fn on_queue(&self) -> Result<OnQueue, Fault> {
        match (self.method, self.parameter("comp")) {
            ("PUT", None) => Ok(OnQueue::Create(self.metadata()?)),
            ("DELETE", None) => Ok(OnQueue::Delete),
            ("GET" | "HEAD", Some("metadata")) => Ok(OnQueue::Describe),
            ("PUT", Some("metadata")) => Ok(OnQueue::SetMetadata(self.metadata()?)),
            _ => Err(Fault::NotImplemented),
        }
    }

    fn on_messages(&self) -> Result<OnMessages, Fault> {
        match (self.method, self.parameter("peekonly")) {
            ("POST", _) => self.put(),
            ("DELETE", _) => Ok(OnMessages::Clear),
            ("GET", Some("true")) => Ok(OnMessages::Peek { count: self.count()? }),
            ("GET", _) => {
                let seconds = self.number("visibilitytimeout", (1, VISIBILITY_SECONDS_MAX))?;
                let hidden_ms = milliseconds(seconds.unwrap_or(VISIBILITY_SECONDS_DEFAULT));
                Ok(OnMessages::Take { count: self.count()?, hidden_ms })
            }
            _ => Err(Fault::NotImplemented),
        }
    }

    fn put(&self) -> Result<OnMessages, Fault> {
        let text = self.text()?.ok_or(Fault::InvalidXmlDocument)?;
        let hidden = self.number("visibilitytimeout", (0, VISIBILITY_SECONDS_MAX))?.unwrap_or(0);
        let ttl_ms = match self.number("messagettl", (i64::MIN, i64::MAX))?.unwrap_or(TTL_SECONDS_DEFAULT) {
            -1 => None,
            ttl if ttl < 1 => {
                let reason = "Value must be greater than or equal to 1, or -1 to indicate an infinite TTL.";
                return Err(Fault::InvalidQuery("messagettl", ttl.to_string(), reason));
            }
            // Without a messagettl of its own even the longest visibility is taken.
            ttl if hidden >= ttl && self.parameter("messagettl").is_some() => {
                let reason = "messagettl must be greater than visibilitytimeout.";
                return Err(Fault::InvalidQuery("visibilitytimeout", hidden.to_string(), reason));
            }
            ttl => Some(milliseconds(ttl)),
        };
        Ok(OnMessages::Put { text, hidden_ms: milliseconds(hidden), ttl_ms })
    }

    fn on_message(&self) -> Result<OnMessage, Fault> {
        match self.method {
            "DELETE" => Ok(OnMessage::Delete),
            "PUT" => {
                self.required("visibilitytimeout")?;
                let seconds = self.number("visibilitytimeout", (0, VISIBILITY_SECONDS_MAX))?.unwrap_or(0);
                let text = if self.body.is_empty() { None } else { self.text()? };
                Ok(OnMessage::Update { hidden_ms: milliseconds(seconds), text })
            }
            _ => Err(Fault::NotImplemented),
        }
    }

    fn text(&self) -> Result<Option<String>, Fault> {
        let mut messages =
            xml::records(self.body, "QueueMessage").map_err(|_| Fault::InvalidXmlDocument)?.into_iter();
        let mut fields = messages.next().ok_or(Fault::InvalidXmlDocument)?;
        match fields.remove("MessageText") {
            Some(text) if text.len() > MESSAGE_BYTES_MAX => Err(Fault::RequestBodyTooLarge),
            text => Ok(text),
        }
    }

    fn count(&self) -> Result<usize, Fault> {
        Ok(self.number("numofmessages", (1, MESSAGES_MAX))?.unwrap_or(1) as usize)
    }

    fn metadata(&self) -> Result<Metadata, Fault> {
        let mut metadata = Metadata::new();
        for (name, value) in self.headers {
            let Some(name) = name.as_str().strip_prefix(METADATA_PREFIX) else { continue };
            let mut characters = name.chars();
            let identifier = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && characters.all(|c| c.is_ascii_alphanumeric() || c == '_');
            let value = value.to_str().ok().filter(|_| identifier).ok_or(Fault::InvalidMetadata)?;
            metadata.insert(name.to_owned(), value.to_owned());
        }
        Ok(metadata)
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    fn required(&self, name: &'static str) -> Result<&str, Fault> {
        self.parameter(name).filter(|value| !value.is_empty()).ok_or(Fault::MissingQuery(name))
    }

    fn number(&self, name: &'static str, allowed: (i64, i64)) -> Result<Option<i64>, Fault> {
        let Some(value) = self.parameter(name) else { return Ok(None) };
        match value.parse() {
            Ok(number) if (allowed.0..=allowed.1).contains(&number) => Ok(Some(number)),
            Ok(_) => Err(Fault::OutOfRange { name, value: value.to_owned(), allowed }),
            Err(_) => Err(Fault::InvalidQuery(name, value.to_owned(), "Value must be a whole number.")),
        }
    }
}

/// 3 to 63 lower-case letters, digits and single hyphens, with a letter or digit at both ends.
fn queue_name(name: &str) -> Result<String, Fault> {
    let characters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !characters || name.starts_with('-') || name.ends_with('-') || name.contains("--") {
        return Err(Fault::InvalidResourceName);
    }
    if (3..=63).contains(&name.len()) { Ok(name.to_owned()) } else { Err(Fault::NameLength) }
}

fn milliseconds(seconds: i64) -> u64 {
    u64::try_from(seconds).expect("ranges start at 0").saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, path: &str, query: &str, body: &str) -> Result<Operation, Fault> {
        let headers = HeaderMap::new();
        Operation::read(&Asked {
            method,
            segments: path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect(),
            query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            headers: &headers,
            body,
        })
    }

    #[test]
    fn parameters_are_checked() {
        let text = "<QueueMessage><MessageText>a</MessageText></QueueMessage>";
        let cases = [
            ("GET", "jobs/messages", "numofmessages=33", "", "OutOfRangeQueryParameterValue"),
            ("GET", "jobs/messages", "numofmessages=0", "", "OutOfRangeQueryParameterValue"),
            ("GET", "jobs/messages", "numofmessages=x", "", "InvalidQueryParameterValue"),
            ("GET", "jobs/messages", "visibilitytimeout=0", "", "OutOfRangeQueryParameterValue"),
            ("GET", "jobs/messages", "visibilitytimeout=604801", "", "OutOfRangeQueryParameterValue"),
            ("POST", "jobs/messages", "messagettl=0", text, "InvalidQueryParameterValue"),
            ("POST", "jobs/messages", "messagettl=5&visibilitytimeout=5", text, "InvalidQueryParameterValue"),
            ("POST", "jobs/messages", "", "<a>", "InvalidXmlDocument"),
            ("POST", "jobs/messages", "", "", "InvalidXmlDocument"),
            ("PUT", "jobs/messages/1", "popreceipt=x", text, "MissingRequiredQueryParameter"),
            ("DELETE", "jobs/messages/1", "", "", "MissingRequiredQueryParameter"),
            ("PUT", "Jobs", "", "", "InvalidResourceName"),
            ("PUT", "a--b", "", "", "InvalidResourceName"),
            ("PUT", "-ab", "", "", "InvalidResourceName"),
            ("PUT", "ab", "", "", "OutOfRangeInput"),
            ("GET", "jobs", "comp=acl", "", "NotImplemented"),
            ("GET", "jobs/other", "", "", "ResourceNotFound"),
        ];
        for (method, path, query, body, code) in cases {
            let fault = read(method, path, query, body).expect_err(path);
            assert_eq!(fault.told().code, code, "{method} {path}?{query}");
        }
    }

    #[test]
    fn a_text_of_64_kib_passes_and_one_byte_more_does_not() {
        let put = |bytes: usize| read("POST", "jobs/messages", "", &xml::message_text(&"x".repeat(bytes)));
        assert!(put(MESSAGE_BYTES_MAX).is_ok());
        assert_eq!(put(MESSAGE_BYTES_MAX + 1), Err(Fault::RequestBodyTooLarge));
    }

    #[test]
    fn a_time_to_live_of_minus_one_is_for_ever() {
        let text = "<QueueMessage><MessageText>a</MessageText></QueueMessage>";
        let Ok(Operation::Messages(_, OnMessages::Put { ttl_ms, .. })) =
            read("POST", "jobs/messages", "messagettl=-1", text)
        else {
            panic!("a put is read");
        };
        assert_eq!(ttl_ms, None);
    }
}
