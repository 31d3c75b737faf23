//! The client itself, and the addresses of what it calls.

use std::fmt;
use std::sync::Arc;

use clock::Clock;
use policy::units::UnixMs;
use tokio::time::Instant;
use url::Url;

use super::call::{Answer, Call};
use super::error::CallError;
use super::retry::{self, CALL_MAX};
use super::shared_key::SharedKey;
use crate::azure::identity::Identity;

/// The newest version that a released SDK sends, and the oldest that is not being retired.
const API_VERSION: &str = "2025-06-01";
/// Longest id that Azure Batch takes.
const ID_BYTES_MAX: usize = 64;

/// How the account knows us.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Credential {
    /// By one of the account's keys.
    SharedKey(SharedKey),
    /// By a token of this process's identity, which is sent over https only.
    Identity {
        /// The account's name, for people.
        account: String,
        /// Gives tokens.
        identity: Arc<Identity>,
    },
}

impl Credential {
    /// The account's name.
    pub fn account(&self) -> &str {
        match self {
            Credential::SharedKey(key) => key.account(),
            Credential::Identity { account, .. } => account,
        }
    }
}

/// Speaks to one Azure Batch account. Copies share everything.
#[derive(Clone)]
pub struct Client(Arc<Account>);

struct Account {
    endpoint: Url,
    credential: Credential,
    http: reqwest::Client,
    clock: Clock,
}

impl Client {
    /// A client of the account at `endpoint`, as `https://ACCOUNT.REGION.batch.azure.com`; it calls
    /// nothing yet. `http` must follow no redirect: take the one of [`crate::azure::http`].
    pub fn new(endpoint: Url, credential: Credential, http: reqwest::Client, clock: Clock) -> Client {
        Client(Arc::new(Account { endpoint, credential, http, clock }))
    }

    /// The account's name.
    pub fn account(&self) -> &str {
        self.0.credential.account()
    }

    pub(super) fn credential(&self) -> &Credential {
        &self.0.credential
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.0.http
    }

    pub(super) fn now(&self) -> UnixMs {
        UnixMs(self.0.clock.now_ms())
    }

    /// The address of `path`, which begins with `/` and holds only checked ids, with `query`, as
    /// `&name=value`, behind the version.
    pub(super) fn url(&self, path: &str, query: &str) -> Url {
        let mut url = self.0.endpoint.clone();
        url.set_path(&format!("{}{path}", self.0.endpoint.path().trim_end_matches('/')));
        url.set_query(Some(&format!("api-version={API_VERSION}{query}")));
        url
    }

    /// Where a list goes on. Only the query of `next` is taken: the address stays ours, so that no
    /// answer can send a signed request elsewhere.
    pub(super) fn next_page(&self, path: &str, next: &str) -> Result<Url, CallError> {
        let next =
            self.0.endpoint.join(next).map_err(|_| CallError::unreadable("its next page is no URL"))?;
        let mut url = self.url(path, "");
        let rest = next.query_pairs().filter(|(name, _)| name != "api-version");
        let rest: String =
            rest.map(|(name, value)| format!("&{}={}", escaped(&name), escaped(&value))).collect();
        url.set_query(Some(&format!("api-version={API_VERSION}{rest}")));
        Ok(url)
    }

    /// One call, its retries included, within [`CALL_MAX`].
    pub(super) async fn send(&self, call: Call) -> Result<Answer, CallError> {
        self.send_by(Instant::now() + CALL_MAX, call).await
    }

    /// One call, its retries included, that ends at `deadline`.
    pub(super) async fn send_by(&self, deadline: Instant, call: Call) -> Result<Answer, CallError> {
        let id = request_id();
        retry::persist(self.0.clock, deadline, || call.attempt(self, &id)).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("account", &self.account()).finish_non_exhaustive()
    }
}

/// An id that may stand in a path: `[A-Za-z0-9_-]{1,64}`, as Azure Batch demands.
pub(super) fn checked<'a>(kind: &str, id: &'a str) -> Result<&'a str, CallError> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if id.is_empty() || id.len() > ID_BYTES_MAX || !id.bytes().all(known) {
        let what = format!("the {kind} id is not 1 to {ID_BYTES_MAX} characters of A-Z, a-z, 0-9, _ and -");
        return Err(CallError::not_sent(what));
    }
    Ok(id)
}

/// A value as it may stand in a query or as one segment of a path, escaped as the official client does.
pub(super) fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~,$".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// A random name for one call, in the form of a UUID, by which the service's support finds it.
fn request_id() -> String {
    let random = getrandom::u64().unwrap_or_default();
    let more = getrandom::u64().unwrap_or_default();
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        random >> 32,
        random >> 16 & 0xffff,
        random & 0xfff,
        more >> 48 & 0x3fff | 0x8000,
        more & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Secret;

    fn client(endpoint: &str) -> Client {
        let key = SharedKey::new("acct", &Secret::new("a2V5".to_owned())).unwrap();
        let http = crate::azure::http().unwrap();
        Client::new(Url::parse(endpoint).unwrap(), Credential::SharedKey(key), http, Clock::REAL)
    }

    #[test]
    fn ids_that_could_lead_elsewhere_are_not_sent() {
        for id in ["", ".", "..", "a/b", "a%2Fb", "a b", "a?b", "ä", "a.b", &"a".repeat(65)] {
            assert!(matches!(checked("job", id), Err(CallError::NotSent { .. })), "{id}");
        }
        for id in ["a", "sy-pool_1-A", &"a".repeat(64)] {
            assert_eq!(checked("job", id), Ok(id));
        }
    }

    #[test]
    fn addresses_are_those_of_the_official_client() {
        let filter = format!("&$filter={}", escaped("poolId eq 'gpu-pool'"));
        let cases = [
            ("https://acct.r.batch.azure.com", "https://acct.r.batch.azure.com/nodecounts"),
            ("http://127.0.0.1:1/", "http://127.0.0.1:1/nodecounts"),
            ("http://127.0.0.1:1/prefix/", "http://127.0.0.1:1/prefix/nodecounts"),
        ];
        for (endpoint, expected) in cases {
            let url = client(endpoint).url("/nodecounts", &filter);
            let query = "?api-version=2025-06-01&$filter=poolId%20eq%20%27gpu-pool%27";
            assert_eq!(url.as_str(), format!("{expected}{query}"));
        }
        let file = client("http://h").url(&format!("/files/{}", escaped("wd/out.json")), "");
        assert_eq!(file.path(), "/files/wd%2Fout.json");
    }

    #[test]
    fn a_next_page_never_leaves_the_account() {
        let client = client("https://acct.r.batch.azure.com");
        let cases = [
            (
                "https://acct.r.batch.azure.com/jobs?api-version=2025-06-01&$skiptoken=a%20b",
                "&$skiptoken=a%20b",
            ),
            ("https://evil.example/elsewhere?$skiptoken=x&api-version=1", "&$skiptoken=x"),
            ("//evil.example/?$skiptoken=x", "&$skiptoken=x"),
            ("/jobs?$skiptoken=a%2Bb%26c", "&$skiptoken=a%2Bb%26c"),
        ];
        for (next, rest) in cases {
            let url = client.next_page("/jobs", next).unwrap();
            let expected = format!("https://acct.r.batch.azure.com/jobs?api-version=2025-06-01{rest}");
            assert_eq!(url.as_str(), expected, "{next}");
        }
        assert!(client.next_page("/jobs", "http://[").is_err());
    }

    #[test]
    fn request_ids_have_the_form_of_a_uuid() {
        let id = request_id();
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        assert_ne!(id, request_id());
    }

    #[test]
    fn calls_may_be_made_from_any_task() {
        fn is_send(_: impl Send) {}
        let client = client("http://h");
        is_send(client.add_tasks("j", &[]));
        is_send(client.jobs(""));
        is_send(client.task_file_tail("j", "t", "f", 1));
    }

    #[test]
    fn nothing_secret_is_shown() {
        assert_eq!(format!("{:?}", client("http://user:pass@h")), r#"Client { account: "acct", .. }"#);
    }
}
