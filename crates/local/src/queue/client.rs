//! A small client of the Storage Queue service: what the Functions host's listener and output
//! bindings need of it. Speaks to the stand-in, to Azurite and to Azure alike.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::auth::Signed;
use super::connection::{Access, Connection};
use super::identity::Identity;
use super::{date, xml};

/// The newest version that Azurite accepts without `--skipApiVersionCheck`.
const LOOPBACK_API_VERSION: &str = "2025-11-05";
/// What the vendor's own client sent when this was written.
const API_VERSION: &str = "2026-04-06";
/// Tries of one call: a service that fails three times within seconds is down, and whoever calls
/// has a polling loop or a caller of its own to come back.
const TRIES_MAX: u32 = 3;
/// Pause before the second try; it doubles before the third.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Bound of one call with all its tries. Below the 30 s that a failed message stays hidden, so
/// that a late answer never meets its own redelivery.
const CALL_TIME_MAX: Duration = Duration::from_secs(25);
/// Bound of one try.
const TRY_TIME_MAX: Duration = Duration::from_secs(10);
/// Largest answer read: 32 messages of 64 KiB, six times escaped, and their elements.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A storage account's endpoints and how to be let in.
#[derive(Clone)]
pub struct Account {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) connection: Connection,
    version: &'static str,
    http: reqwest::Client,
}

/// One queue of an account.
#[derive(Clone)]
pub struct Queue {
    account: Account,
    name: String,
}

/// A message that was taken from a queue and is invisible to others for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The service's id of the message.
    pub id: String,
    /// Proof of being the last who took it; changes with every update. Empty when only peeked at.
    pub pop_receipt: String,
    /// The text as it lies in the queue.
    pub text: String,
    /// How often it was taken, this time included.
    pub dequeue_count: u32,
    /// RFC 1123, as the service writes it.
    pub inserted: String,
    /// RFC 1123, as the service writes it.
    pub expires: String,
    /// RFC 1123, as the service writes it. Empty when only peeked at.
    pub next_visible: String,
}

/// What went wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection string is not one; the text says what is missing.
    #[error("{0}")]
    ConnectionString(String),
    /// The queue or the message does not exist, or the pop receipt is stale.
    #[error("not found: {0}")]
    NotFound(String),
    /// The service refused or could not be reached.
    #[error("{0}")]
    Service(String),
}

impl Account {
    /// Parses `UseDevelopmentStorage=true`, a connection string with a key or with a SAS.
    ///
    /// # Errors
    /// [`Error::ConnectionString`] that names the missing part.
    pub fn parse(connection_string: &str) -> Result<Account, Error> {
        let connection = Connection::parse(connection_string)
            .map_err(|wrong| Error::ConnectionString(wrong.to_string()))?;
        Account::open(connection)
    }

    /// The account whose setting `NAME__queueServiceUri` is among `settings`, opened by the managed identity
    /// that IDENTITY_ENDPOINT and IDENTITY_HEADER give there, and `NAME__clientId` where it is user-assigned.
    ///
    /// # Errors
    /// [`Error::ConnectionString`] that names the setting.
    pub fn by_identity(name: &str, setting: impl Fn(&str) -> Option<String>) -> Result<Account, Error> {
        let url = |name: &str| {
            let text = setting(name).ok_or_else(|| Error::ConnectionString(format!("{name} is not set")))?;
            Url::parse(text.trim_end_matches('/'))
                .map_err(|_| Error::ConnectionString(format!("{name} is no URL")))
        };
        let queues = url(&format!("{name}__queueServiceUri"))?;
        let header = setting("IDENTITY_HEADER").unwrap_or_default();
        let client_id = setting(&format!("{name}__clientId"));
        let identity = Identity::new(url("IDENTITY_ENDPOINT")?, header, client_id);
        Account::open(Connection { queues, blobs: None, access: Access::Identity(identity) })
    }

    fn open(connection: Connection) -> Result<Account, Error> {
        let version = if is_loopback(&connection.queues) { LOOPBACK_API_VERSION } else { API_VERSION };
        let http = reqwest::Client::builder()
            .timeout(TRY_TIME_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Error::Service(format!("could not set up TLS: {error}")))?;
        Ok(Account { shared: Arc::new(Shared { connection, version, http }) })
    }

    /// Where its queues are.
    pub fn queues(&self) -> &Url {
        &self.shared.connection.queues
    }

    /// The queue of that name; it need not exist yet.
    pub fn queue(&self, name: &str) -> Queue {
        Queue { account: self.clone(), name: name.to_owned() }
    }
}

impl Queue {
    /// The queue's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Another queue of the same account.
    pub fn sibling(&self, name: &str) -> Queue {
        self.account.queue(name)
    }

    /// Creates the queue; an existing one is left as it is.
    ///
    /// # Errors
    /// [`Error::Service`].
    pub async fn create(&self) -> Result<(), Error> {
        match self.call(&Call::new(Method::PUT, "")).await {
            Err(Error::Service(reason)) if reason.contains("QueueAlreadyExists") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Deletes the queue with its messages.
    ///
    /// # Errors
    /// Any [`Error`] of a call.
    pub async fn delete_queue(&self) -> Result<(), Error> {
        self.call(&Call::new(Method::DELETE, "")).await.map(drop)
    }

    /// About how many messages the queue holds, invisible ones included.
    ///
    /// # Errors
    /// Any [`Error`] of a call.
    pub async fn count(&self) -> Result<u64, Error> {
        let answer = self.call(&Call::new(Method::GET, "").with("comp", "metadata")).await?;
        header(&answer.headers, "x-ms-approximate-messages-count")
            .parse()
            .map_err(|_| Error::Service("the answer has no approximate count".to_owned()))
    }

    /// Adds a message that never expires earlier than the service's default of seven days; the
    /// text is sent as it is.
    ///
    /// # Errors
    /// Any [`Error`] of a call.
    pub async fn put(&self, text: &str) -> Result<(), Error> {
        self.call(&Call::new(Method::POST, "/messages").body(text)).await.map(drop)
    }

    /// Takes up to 32 messages and hides them for `visibility`, in whole seconds of the service.
    ///
    /// # Errors
    /// Any [`Error`] of a call.
    pub async fn get(&self, count: u8, visibility: Duration) -> Result<Vec<Message>, Error> {
        let call = Call::new(Method::GET, "/messages")
            .with("numofmessages", &count.to_string())
            .with("visibilitytimeout", &visibility.as_secs().to_string());
        self.call(&call).await?.messages()
    }

    /// Shows up to 32 messages without taking them.
    ///
    /// # Errors
    /// Any [`Error`] of a call.
    pub async fn peek(&self, count: u8) -> Result<Vec<Message>, Error> {
        let call = Call::new(Method::GET, "/messages")
            .with("peekonly", "true")
            .with("numofmessages", &count.to_string());
        self.call(&call).await?.messages()
    }

    /// Hides a taken message for `visibility` from now on, in whole seconds of the service, and
    /// returns its new pop receipt.
    ///
    /// # Errors
    /// [`Error::NotFound`] when somebody else has it by now; any other [`Error`] of a call.
    pub async fn hide(&self, message: &Message, visibility: Duration) -> Result<String, Error> {
        let call = Call::new(Method::PUT, &message_path(message))
            .with("popreceipt", &message.pop_receipt)
            .with("visibilitytimeout", &visibility.as_secs().to_string());
        Ok(header(&self.call(&call).await?.headers, "x-ms-popreceipt").to_owned())
    }

    /// Deletes a taken message.
    ///
    /// # Errors
    /// [`Error::NotFound`] when somebody else has it by now; any other [`Error`] of a call.
    pub async fn delete(&self, message: &Message) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, &message_path(message)).with("popreceipt", &message.pop_receipt);
        self.call(&call).await.map(drop)
    }

    /// Deletes every message.
    ///
    /// # Errors
    /// Any [`Error`] of a call.
    pub async fn clear(&self) -> Result<(), Error> {
        self.call(&Call::new(Method::DELETE, "/messages")).await.map(drop)
    }

    async fn call(&self, call: &Call) -> Result<Answer, Error> {
        let tries = async {
            let mut pause = RETRY_PAUSE;
            for _ in 1..TRIES_MAX {
                match self.attempt(call).await {
                    Attempt::Done(outcome) => return outcome,
                    Attempt::Again(_) => tokio::time::sleep(pause).await,
                }
                pause *= 2;
            }
            match self.attempt(call).await {
                Attempt::Done(outcome) => outcome,
                Attempt::Again(error) => Err(error),
            }
        };
        tokio::time::timeout(CALL_TIME_MAX, tries).await.unwrap_or_else(|_| {
            Err(Error::Service(format!("no answer from the queue service in {CALL_TIME_MAX:?}")))
        })
    }

    async fn attempt(&self, call: &Call) -> Attempt {
        let shared = &self.account.shared;
        let mut url = shared.connection.queues.clone();
        url.set_path(&format!("{}/{}{}", url.path().trim_end_matches('/'), self.name, call.path));
        let response = match shared.send(url, call).await {
            Ok(response) => response,
            Err(error) => return Attempt::Again(error),
        };
        let status = response.status();
        if status.is_success() {
            return match Answer::read(response).await {
                Ok(answer) => Attempt::Done(Ok(answer)),
                Err(error) => Attempt::Again(error),
            };
        }
        let code = header(response.headers(), "x-ms-error-code").to_owned();
        let told = format!("queue {}: {status} {code}", self.name);
        match status {
            StatusCode::NOT_FOUND => Attempt::Done(Err(Error::NotFound(told))),
            _ if code == "PopReceiptMismatch" => Attempt::Done(Err(Error::NotFound(told))),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Attempt::Again(Error::Service(told))
            }
            status if status.is_server_error() => Attempt::Again(Error::Service(told)),
            _ => Attempt::Done(Err(Error::Service(told))),
        }
    }
}

/// How one try ended.
enum Attempt {
    Done(Result<Answer, Error>),
    /// It may go better another time; the error is for the last try.
    Again(Error),
}

pub(super) struct Call {
    method: Method,
    /// After the queue's name.
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<String>,
}

impl Call {
    pub(super) fn new(method: Method, path: &str) -> Call {
        Call { method, path: path.to_owned(), query: Vec::new(), body: None }
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Call {
        self.query.push((name, value.to_owned()));
        self
    }

    fn body(mut self, text: &str) -> Call {
        self.body = Some(xml::message_text(text));
        self
    }
}

impl Shared {
    /// Signed afresh for each try, because the date is part of it.
    pub(super) async fn send(&self, mut url: Url, call: &Call) -> Result<Response, Error> {
        if let Access::Sas(sas) = &self.connection.access {
            url.set_query(Some(sas));
        }
        for (name, value) in &call.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let body = call.body.clone().unwrap_or_default();
        let mut headers = HeaderMap::new();
        let mut set = |name, value: &str| {
            headers
                .insert(name, HeaderValue::from_str(value).expect("versions, dates and numbers are ASCII"));
        };
        set("x-ms-version", self.version);
        set("x-ms-date", &date::rfc1123(Clock::REAL.now_ms()));
        set(CONTENT_LENGTH.as_str(), &body.len().to_string());
        if call.body.is_some() {
            set(CONTENT_TYPE.as_str(), "application/xml");
        }
        if let Some(value) = self.authorization(call, &headers, &url).await? {
            let value = HeaderValue::from_str(&value);
            let mut value =
                value.map_err(|_| Error::Service("the platform's token is no token".to_owned()))?;
            value.set_sensitive(true);
            headers.insert("authorization", value);
        }
        let sent = self.http.request(call.method.clone(), url).headers(headers).body(body).send().await;
        // The address may hold a SAS.
        sent.map_err(|error| Error::Service(reason(&error.without_url())))
    }

    async fn authorization(
        &self,
        call: &Call,
        headers: &HeaderMap,
        url: &Url,
    ) -> Result<Option<String>, Error> {
        match &self.connection.access {
            Access::Key(credential) => {
                let signed = Signed {
                    method: call.method.as_str(),
                    headers,
                    path: url.path(),
                    query: url.query().unwrap_or_default(),
                };
                Ok(Some(credential.authorization(&signed)))
            }
            Access::Identity(identity) => Ok(Some(format!("Bearer {}", identity.token(&self.http).await?))),
            Access::Sas(_) => Ok(None),
        }
    }
}

struct Answer {
    headers: HeaderMap,
    body: String,
}

impl Answer {
    async fn read(mut response: Response) -> Result<Answer, Error> {
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        while let Some(part) =
            response.chunk().await.map_err(|error| Error::Service(reason(&error.without_url())))?
        {
            if body.len() + part.len() > ANSWER_BYTES_MAX {
                return Err(Error::Service("the answer of the queue service is too large".to_owned()));
            }
            body.extend_from_slice(&part);
        }
        let body = String::from_utf8(body)
            .map_err(|_| Error::Service("the answer of the queue service is not UTF-8".to_owned()))?;
        Ok(Answer { headers, body })
    }

    fn messages(&self) -> Result<Vec<Message>, Error> {
        let unreadable =
            || Error::Service("the answer of the queue service is not a list of messages".to_owned());
        let records = xml::records(&self.body, "QueueMessage").map_err(|_| unreadable())?;
        records.into_iter().map(|fields| message(fields).ok_or_else(unreadable)).collect()
    }
}

fn message(mut fields: HashMap<String, String>) -> Option<Message> {
    Some(Message {
        id: fields.remove("MessageId")?,
        pop_receipt: fields.remove("PopReceipt").unwrap_or_default(),
        text: fields.remove("MessageText").unwrap_or_default(),
        dequeue_count: fields.remove("DequeueCount")?.parse().ok()?,
        inserted: fields.remove("InsertionTime")?,
        expires: fields.remove("ExpirationTime")?,
        next_visible: fields.remove("TimeNextVisible").unwrap_or_default(),
    })
}

fn message_path(message: &Message) -> String {
    format!("/messages/{}", message.id)
}

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// An error with what caused it: reqwest's own text stops at "error sending request".
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Whether an address is on this machine.
pub(crate) fn is_loopback(endpoint: &Url) -> bool {
    match endpoint.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_storage_is_asked_in_a_version_that_azurite_knows() {
        let version = |text: &str| Account::parse(text).unwrap().shared.version;
        assert_eq!(version("UseDevelopmentStorage=true"), LOOPBACK_API_VERSION);
        assert_eq!(version("AccountName=a;AccountKey=aGk="), API_VERSION);
    }
}
