//! Asks a Switchyard over HTTP: which one, with which key, and what its errors say.
//!
//! The key goes into one header, which nothing prints.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use local::stack::{READY_FILE, Ready};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use wire::jobs::{JobList, JobView};
use wire::openai::{ErrorBody, ErrorDetail};

use crate::Failure;
use crate::cli::Target;
use crate::place::Place;

/// Tries of a request beyond the first, where the answer says that waiting helps.
const RETRIES_MAX: usize = 3;
/// Pause after a failure that names none, as in the vendor's SDKs.
const PAUSE_DEFAULT: Duration = Duration::from_millis(500);
/// The longest pause that is made; a person waits in front of it.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Nobody listens, or a network drops everything.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Silence of an answer; a deployment that was scaled to zero needs half a minute to start.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// Largest answer that is kept in memory: a page of 100 jobs is below 1 MiB.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Characters shown of an answer that is no JSON.
const SHOWN_CHARS_MAX: usize = 200;
/// Characters of a job's id.
const ID_CHARS: usize = 26;

/// An API key. Neither `Debug` nor an error shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Wraps it.
    pub fn new(text: String) -> Key {
        Key(text)
    }

    fn header(&self) -> Result<HeaderValue, Failure> {
        let header = HeaderValue::from_str(&format!("Bearer {}", self.0));
        let mut header = header
            .map_err(|_| Failure("the API key holds a character that no header can carry".to_owned()))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

impl FromStr for Key {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Key, Self::Err> {
        Ok(Key::new(text.to_owned()))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// A job's id, without `batch_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobId(String);

impl JobId {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobId {
    type Err = String;

    fn from_str(text: &str) -> Result<JobId, String> {
        let id = text.strip_prefix("batch_").unwrap_or(text);
        let is_id = id.len() == ID_CHARS && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let wanted =
            || format!("an id has {ID_CHARS} lower-case letters and digits; `switchyard jobs` shows it");
        if is_id { Ok(JobId(id.to_owned())) } else { Err(wanted()) }
    }
}

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why there is no answer to use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It answered that it will not.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// Nobody answered.
    #[error("nothing answers at {at}: {why}{hint}")]
    Unreachable {
        /// Scheme, host and port.
        at: String,
        /// What the network said.
        why: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// Somebody answered, and it is no Switchyard.
    #[error("{at} sent an answer that is not understood: {why}")]
    Unreadable {
        /// Scheme, host and port.
        at: String,
        /// What was wrong with it.
        why: String,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::of(error)
    }
}

impl Error {
    /// Whether the same question may be answered later.
    pub fn may_pass(&self) -> bool {
        match self {
            Error::Refused(refusal) => refusal.may_pass,
            Error::Unreachable { .. } => true,
            Error::Unreadable { .. } => false,
        }
    }
}

/// An answer outside 2xx.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// What the body says.
    pub detail: ErrorDetail,
    may_pass: bool,
    pause: Duration,
}

impl Refusal {
    /// For programs, as `job_not_found`.
    pub fn code(&self) -> &str {
        self.detail.code.as_deref().unwrap_or("no_code")
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {})", self.detail.message, self.code(), self.status)
    }
}

/// What is asked of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The realtime lane.
    Promote,
    /// An end.
    Cancel,
}

/// Whose key is taken where the command line gives none.
struct Whose<'a> {
    /// What the settings name.
    given: Option<&'a Key>,
    /// That of a stack in this working copy.
    of: fn(Ready) -> String,
    missing: &'static str,
}

/// Asks one Switchyard.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    /// Scheme, host and port.
    root: Url,
    authorization: HeaderValue,
    hint: &'static str,
}

impl Client {
    /// The Switchyard that flags and settings name, else the one that runs in this working copy.
    ///
    /// # Errors
    /// When none is named, the address is none or the key is missing.
    pub fn find(target: &Target, place: &Place) -> Result<Client, Failure> {
        let tenant = Whose {
            given: place.key(),
            of: |ready| ready.api_key,
            missing: "no API key; give --key or set SWITCHYARD_API_KEY",
        };
        Client::of(target, place, tenant)
    }

    /// The same, with an operator's key.
    ///
    /// # Errors
    /// As [`Client::find`].
    pub fn find_as_operator(target: &Target, place: &Place) -> Result<Client, Failure> {
        let operator = Whose {
            given: place.admin_key(),
            of: |ready| ready.admin_key,
            missing: "no admin key; give --key or set SWITCHYARD_ADMIN_KEY",
        };
        Client::of(target, place, operator)
    }

    fn of(target: &Target, place: &Place, whose: Whose<'_>) -> Result<Client, Failure> {
        let state = target.state.clone().unwrap_or_else(|| place.state());
        let named = target.url.as_deref().or_else(|| place.url().filter(|_| target.state.is_none()));
        let (url, key, hint) = match named {
            Some(url) => {
                let key = target.key.clone().or_else(|| whose.given.cloned());
                let missing = || Failure(format!("{url}: {}", whose.missing));
                // An address that is none is the first thing to tell.
                (root(url)?, key.ok_or_else(missing)?, "")
            }
            None => {
                let ready = running(&state, target.state.is_some())?;
                // A key from the settings belongs to the address there, not to this stack.
                let url = root(&ready.host_url)?;
                let key = target.key.clone().unwrap_or_else(|| Key::new((whose.of)(ready)));
                (url, key, "; start it again by `switchyard up`")
            }
        };
        Client::new(url, &key, hint)
    }

    fn new(root: Url, key: &Key, hint: &'static str) -> Result<Client, Failure> {
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(SILENCE_MAX)
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&root) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(Failure::of)?;
        Ok(Client { http, root, authorization: key.header()?, hint })
    }

    /// A job.
    ///
    /// # Errors
    /// 404 alike for one that is not there and somebody else's.
    pub async fn job(&self, id: &JobId) -> Result<JobView, Error> {
        self.json(|| self.request(Method::GET, &["jobs", id.as_str()])).await
    }

    /// A page of jobs, the newest first, from the one after `after`.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn jobs(&self, limit: u32, after: Option<&str>) -> Result<JobList, Error> {
        let limit = limit.to_string();
        let pairs = [("limit", Some(limit.as_str())), ("after", after)];
        self.json(|| self.query(&["jobs"], &pairs)).await
    }

    /// The status page, as it came; for operators.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn status(&self) -> Result<serde_json::Value, Error> {
        self.json(|| self.request(Method::GET, &["status"])).await
    }

    /// What a job's last tasks wrote.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn logs(&self, id: &JobId) -> Result<String, Error> {
        let answer = self.send(|| self.request(Method::GET, &["jobs", id.as_str(), "logs"])).await?;
        Ok(String::from_utf8_lossy(&self.bytes(answer).await?).into_owned())
    }

    /// Asks something of a job; how it is then.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn act(&self, id: &JobId, act: Act) -> Result<JobView, Error> {
        let act = match act {
            Act::Promote => "promote",
            Act::Cancel => "cancel",
        };
        self.json(|| self.request(Method::POST, &["jobs", id.as_str(), act])).await
    }

    /// A request for `/api/{segments}`.
    pub(crate) fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        self.builder(method, self.url(segments))
    }

    /// `GET /api/{segments}?…` with the pairs that have a value.
    pub(crate) fn query(&self, segments: &[&str], pairs: &[(&str, Option<&str>)]) -> RequestBuilder {
        let mut url = self.url(segments);
        for (name, value) in pairs {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        self.builder(Method::GET, url)
    }

    fn builder(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url).header(AUTHORIZATION, self.authorization.clone())
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.root.clone();
        let mut path = url.path_segments_mut().expect("the root is http or https, which has a path");
        path.clear().push("api").extend(segments);
        drop(path);
        url
    }

    /// The answer's JSON.
    ///
    /// # Errors
    /// [`Error`]
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<T, Error> {
        let answer = self.send(request).await?;
        let body = self.bytes(answer).await?;
        serde_json::from_slice(&body).map_err(|error| self.unreadable(error))
    }

    /// An answer of 2xx. Asks again where the answer says that waiting helps.
    ///
    /// # Errors
    /// [`Error`]
    pub(crate) async fn send(&self, request: impl Fn() -> RequestBuilder) -> Result<Response, Error> {
        for _ in 0..RETRIES_MAX {
            match self.send_once(request()).await {
                Err(Error::Refused(refusal)) if refusal.may_pass => {
                    tokio::time::sleep(refusal.pause.min(PAUSE_MAX)).await;
                }
                done => return done,
            }
        }
        self.send_once(request()).await
    }

    async fn send_once(&self, request: RequestBuilder) -> Result<Response, Error> {
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = self.bytes(answer).await?;
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let may_pass = match text("x-should-retry") {
            Some("true") => true,
            Some("false") => false,
            _ => matches!(status.as_u16(), 408 | 429) || status.is_server_error(),
        };
        let millis = text("retry-after-ms").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
        let seconds = || text("retry-after").and_then(|s| s.parse().ok()).map(Duration::from_secs);
        let pause = millis.or_else(seconds).unwrap_or(PAUSE_DEFAULT);
        let detail = detail(status, &body);
        Err(Error::Refused(Box::new(Refusal { status: status.as_u16(), detail, may_pass, pause })))
    }

    async fn bytes(&self, mut answer: Response) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| self.unreachable(error))? {
            if bytes.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(self.unreadable(format!("it has more than {ANSWER_BYTES_MAX} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// What the network said, without the address, which stands there already.
    pub(crate) fn unreachable(&self, error: reqwest::Error) -> Error {
        let error = error.without_url();
        let mut why = error.to_string();
        let mut cause = std::error::Error::source(&error);
        // The last cause is the one that a person can act on, as `Connection refused`.
        while let Some(error) = cause {
            why = error.to_string();
            cause = error.source();
        }
        let hint = if error.is_connect() { self.hint } else { "" };
        Error::Unreachable { at: self.at(), why, hint }
    }

    fn unreadable(&self, why: impl std::fmt::Display) -> Error {
        Error::Unreadable { at: self.at(), why: why.to_string() }
    }

    fn at(&self) -> String {
        self.root.origin().ascii_serialization()
    }
}

fn running(state: &Path, is_named: bool) -> Result<Ready, Failure> {
    let file = state.join(READY_FILE);
    let named = state.display();
    Ready::read(&file).map_err(|error| {
        match error.kind() {
        std::io::ErrorKind::NotFound if is_named => {
            Failure(format!("no stack runs with state folder {named}; start one by `switchyard up --state {named}`"))
        }
        std::io::ErrorKind::NotFound => Failure(
            "no stack runs in this working copy; start one by `switchyard up`, or name a deployment by --url \
             and --key (settings SWITCHYARD_URL and SWITCHYARD_API_KEY)"
                .to_owned(),
        ),
        _ => Failure(format!("{} cannot be read: {error}", file.display())),
    }
    })
}

/// Scheme, host and port of an address; `/api` and `/api/v1` may follow, as OpenAI clients have them.
fn root(text: &str) -> Result<Url, Failure> {
    let wanted = "give an address as https://HOST or http://127.0.0.1:7071";
    // The text itself is not shown: it may hold a password.
    let mut url =
        Url::parse(text).map_err(|error| Failure(format!("the URL is none ({error}); {wanted}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Failure(format!("the URL is neither http nor https; {wanted}")));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(Failure("the URL holds a password or a query; give the key by --key".to_owned()));
    }
    if !matches!(url.path().trim_end_matches('/'), "" | "/api" | "/api/v1") {
        return Err(Failure(format!("the URL has another path than /api; {wanted}")));
    }
    url.set_path("");
    url.set_fragment(None);
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str().map(|host| host.trim_matches(['[', ']'])) {
        Some("localhost") => true,
        Some(host) => host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback()),
        None => false,
    }
}

/// What the body says; the host and proxies answer some requests by themselves, in no shape of ours.
fn detail(status: StatusCode, body: &[u8]) -> ErrorDetail {
    if let Ok(body) = serde_json::from_slice::<ErrorBody>(body) {
        return body.error;
    }
    let text: String = String::from_utf8_lossy(body).chars().take(SHOWN_CHARS_MAX).collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let message = if text.is_empty() { "no reason was given".to_owned() } else { text };
    let kind = status.canonical_reason().unwrap_or("error");
    ErrorDetail { message, kind: kind.into(), param: None, code: None, alternatives: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_what_is_none() {
        for good in ["http://h:7071", "http://h:7071/", "http://h:7071/api", "http://h:7071/api/v1/"] {
            assert_eq!(root(good).unwrap().as_str(), "http://h:7071/", "{good}");
        }
        let bad = ["h:7071", "ftp://h", "http://me:hunter2@h", "https://h/?code=hunter2", "https://h/other"];
        for bad in bad {
            let said = root(bad).unwrap_err().to_string();
            assert!(!said.contains("hunter2") && said.contains("give"), "{bad}: {said}");
        }
    }

    #[test]
    fn ids_are_taken_with_and_without_their_prefix() {
        let id = "abcdefghijklmnopqrstuvwxyz";
        for text in [id, &format!("batch_{id}")] {
            assert_eq!(text.parse::<JobId>().unwrap().as_str(), id);
        }
        for wrong in ["", "batch_", "../../status", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", &format!("{id}a")] {
            assert!(wrong.parse::<JobId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_are_never_shown() {
        let key = Key::new("sk-hunter2".to_owned());
        let client = Client::new(root("http://127.0.0.1:1").unwrap(), &key, "").unwrap();
        assert!(!format!("{key:?} {client:?}").contains("hunter2"));
        let said = Key::new("sk-\nhunter2".to_owned()).header().unwrap_err().to_string();
        assert!(!said.contains("hunter2"), "{said}");
    }

    #[test]
    fn loopback_needs_no_proxy() {
        for (url, expected) in
            [("http://127.0.0.1:1", true), ("http://[::1]:1", true), ("http://localhost", true)]
                .into_iter()
                .chain([("https://example.org", false), ("http://10.0.0.1", false)])
        {
            assert_eq!(is_loopback(&root(url).unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn answers_in_a_foreign_shape_are_shown_in_short() {
        let page = format!("<html>\n  Bad   Gateway {}", "x".repeat(1_000));
        let detail = detail(StatusCode::BAD_GATEWAY, page.as_bytes());
        assert!(detail.message.starts_with("<html> Bad Gateway x"), "{}", detail.message);
        assert!(detail.message.len() <= SHOWN_CHARS_MAX);
    }
}
