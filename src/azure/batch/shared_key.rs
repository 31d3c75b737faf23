//! Shared-key signatures of Azure Batch: an HMAC over method, some headers, path and query.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};
use sha2::Sha256;
use url::Url;

use crate::settings::Secret;

/// Headers whose values are signed, in this order, with an empty one for each that is not sent.
const SIGNED_HEADERS: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// An account's name and one of its two keys.
#[derive(Clone)]
pub struct SharedKey {
    account: String,
    keyed: Hmac<Sha256>,
}

/// Why a name and a key are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Names of accounts are `[a-z0-9]{3,24}`.
    #[error("the name of an Azure Batch account has 3 to 24 characters of a-z and 0-9")]
    Account,
    /// The key is not base64, or is empty.
    #[error("the key of an Azure Batch account is base64; copy it from the account's keys")]
    Key,
}

impl SharedKey {
    /// Checks both.
    ///
    /// # Errors
    /// Which of the two is none.
    pub fn new(account: &str, key: &Secret) -> Result<SharedKey, BadKey> {
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !(3..=24).contains(&account.len()) || !account.chars().all(known) {
            return Err(BadKey::Account);
        }
        let key = BASE64.decode(key.reveal().trim()).ok().filter(|key| !key.is_empty()).ok_or(BadKey::Key)?;
        let keyed = Hmac::new_from_slice(&key).expect("HMAC takes keys of any length");
        Ok(SharedKey { account: account.to_owned(), keyed })
    }

    /// The account's name.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The value of `Authorization`. `headers` are all that will be sent but `Content-Length`.
    pub(super) fn authorization(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body_bytes: usize,
    ) -> HeaderValue {
        let text = self.text_to_sign(method, url, headers, body_bytes);
        let signature = self.keyed.clone().chain_update(text).finalize().into_bytes();
        let value = format!("SharedKey {}:{}", self.account, BASE64.encode(signature));
        let mut value = HeaderValue::try_from(value).expect("account and base64 are plain characters");
        value.set_sensitive(true);
        value
    }

    fn text_to_sign(&self, method: &Method, url: &Url, headers: &HeaderMap, body_bytes: usize) -> String {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut text = format!("{method}\n");
        for name in SIGNED_HEADERS {
            match name {
                "content-length" if matches!(*method, Method::GET | Method::HEAD) => {}
                "content-length" => text.push_str(&body_bytes.to_string()),
                _ => text.push_str(header(name)),
            }
            text.push('\n');
        }
        let mut ocp: Vec<&str> =
            headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("ocp-")).collect();
        ocp.sort_unstable();
        for name in ocp {
            text.push_str(&format!("{name}:{}\n", header(name)));
        }
        // The path is signed as it is sent, percent-encoded; the query is signed decoded.
        text.push_str(&format!("/{}{}", self.account, url.path()));
        let mut query: Vec<_> = url.query_pairs().filter(|(_, value)| !value.is_empty()).collect();
        query.sort();
        for (name, value) in query {
            text.push_str(&format!("\n{name}:{value}"));
        }
        text
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKey").field("account", &self.account).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_official_client() {
        let recordings = include_str!("../../../tests/fixtures/wire/batch-shared-key.jsonl");
        let mut checked = 0;
        for line in recordings.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| row[name].as_str().unwrap();
            let key = SharedKey::new("acct", &Secret::new(text("key").to_owned())).unwrap();
            let mut headers = HeaderMap::new();
            for pair in row["headers"].as_array().unwrap() {
                let name = reqwest::header::HeaderName::try_from(pair[0].as_str().unwrap()).unwrap();
                headers.insert(name, HeaderValue::from_str(pair[1].as_str().unwrap()).unwrap());
            }
            let recorded = headers.remove("authorization").unwrap();
            let url = Url::parse(&format!("http://127.0.0.1{}", text("path"))).unwrap();
            let method: Method = text("method").parse().unwrap();
            let body_bytes = row["body"].as_str().map_or(0, str::len);
            assert_eq!(key.authorization(&method, &url, &headers, body_bytes), recorded, "{}", text("case"));
            checked += 1;
        }
        assert_eq!(checked, 13);
    }

    #[test]
    fn wrong_names_and_keys_are_refused_and_keys_are_never_shown() {
        let key = |text: &str| Secret::new(text.to_owned());
        for account in ["", "ab", "Upper", "a b c", "x\ny", &"a".repeat(25)] {
            assert_eq!(SharedKey::new(account, &key("a2V5")).unwrap_err(), BadKey::Account, "{account}");
        }
        for bad in ["", "not base64!"] {
            assert_eq!(SharedKey::new("acct", &key(bad)).unwrap_err(), BadKey::Key, "{bad}");
        }
        let shown = format!("{:?}", SharedKey::new("acct", &key("a2V5")).unwrap());
        assert_eq!(shown, r#"SharedKey { account: "acct", .. }"#);
    }
}
