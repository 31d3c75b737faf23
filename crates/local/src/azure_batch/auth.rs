//! SharedKey of the Azure Batch data plane: the string to sign has the Storage scheme's lines, but
//! the client's own date and every header `ocp-*` instead of `x-ms-*`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use sha2::Sha256;

/// What of a request is signed.
#[derive(Clone, Copy)]
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    pub(super) headers: &'a HeaderMap,
    /// As it was sent, percent-encoded.
    pub(super) path: &'a str,
    /// As it was sent, without the question mark.
    pub(super) query: &'a str,
}

/// An account's name and key.
pub(super) struct Credential {
    pub(super) account: String,
    key: Vec<u8>,
}

impl Credential {
    /// `None` when the key is not base64.
    pub(super) fn new(account: &str, key: &str) -> Option<Credential> {
        Some(Credential { account: account.to_owned(), key: BASE64.decode(key).ok()? })
    }

    /// Whether the Authorization header is this account's signature of the request. The age of
    /// `ocp-date` is not checked: on a scaled clock the client's date may be any.
    pub(super) fn lets_in(&self, request: &Signed<'_>) -> bool {
        let signature = request
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| {
                value.strip_prefix("SharedKey ")?.strip_prefix(&self.account)?.strip_prefix(':')
            })
            .and_then(|signature| BASE64.decode(signature).ok());
        let dated = request.headers.contains_key("ocp-date") || request.headers.contains_key("date");
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(self.string_to_sign(request).as_bytes());
        dated && signature.is_some_and(|signature| mac.verify_slice(&signature).is_ok())
    }

    fn string_to_sign(&self, request: &Signed<'_>) -> String {
        let header =
            |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut text = format!("{}\n", request.method);
        for name in [
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
        ] {
            text.push_str(header(name));
            text.push('\n');
        }
        let own: BTreeMap<&str, &str> = request
            .headers
            .keys()
            .filter(|name| name.as_str().starts_with("ocp-"))
            .map(|name| (name.as_str(), header(name.as_str()).trim()))
            .collect();
        own.iter().for_each(|(name, value)| text.push_str(&format!("{name}:{value}\n")));
        text.push_str(&format!("/{}{}", self.account, request.path));
        let mut query: Vec<(String, String)> =
            url::form_urlencoded::parse(request.query.as_bytes()).into_owned().collect();
        query.sort();
        // The official client leaves parameters without a value out.
        let valued = query.iter().filter(|(_, value)| !value.is_empty());
        valued.for_each(|(name, value)| text.push_str(&format!("\n{name}:{value}")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::{DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY};
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let typed = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        typed.collect()
    }

    #[test]
    fn recorded_requests_of_the_official_client_are_let_in_and_changed_ones_are_not() {
        let recordings = include_str!("../../../../tests/fixtures/wire/batch-shared-key.jsonl");
        for line in recordings.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| row[name].as_str().unwrap();
            let pairs: Vec<(&str, &str)> = row["headers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
                .collect();
            let headers = headers(&pairs);
            let (path, query) = text("path").split_once('?').unwrap();
            let key = Credential::new("acct", text("key")).unwrap();
            let signed = Signed { method: text("method"), headers: &headers, path, query };
            assert!(key.lets_in(&signed), "{line}");
            assert!(!key.lets_in(&Signed { path: "/jobs/other", ..signed }), "{line}");
            let other = Credential::new("acct", DEVELOPMENT_KEY).unwrap();
            assert!(!other.lets_in(&Signed { path, ..signed }), "{line}");
        }
    }

    #[test]
    fn conditions_are_signed() {
        // Signed by azure-batch 15.1.0.
        let authorization =
            format!("SharedKey {DEVELOPMENT_ACCOUNT}:nFEx2nrVxTFli4hgqAoNrQ9fYSVzOyRSZs8kLt25mkw=");
        let mut headers = headers(&[
            ("ocp-date", "Fri, 20 Nov 2026 15:37:13 GMT"),
            ("content-type", "application/json; odata=minimalmetadata"),
            ("content-length", "27"),
            ("if-match", "\"0x8D0\""),
            ("authorization", &authorization),
        ]);
        let key = Credential::new(DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY).unwrap();
        let (path, query) = ("/jobs/job-1/terminate", "api-version=2025-06-01");
        assert!(key.lets_in(&Signed { method: "POST", headers: &headers, path, query }));
        headers.insert("if-match", "*".parse().unwrap());
        assert!(!key.lets_in(&Signed { method: "POST", headers: &headers, path, query }));
    }
}
