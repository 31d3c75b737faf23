//! Signs requests of the vendor's SDK with an account's key (SharedKey), which the SDK itself does
//! not: its clients take identities only.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request};
use azure_core::time::{OffsetDateTime, to_rfc7231};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clock::Clock;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Headers that are signed in this order and without their names, after verb and length.
const SIGNED: [&str; 8] = [
    "content-md5",
    "content-type",
    // Always empty, because x-ms-date is always there.
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// A policy for each try, after all that set headers: a signature holds the date.
pub struct SharedKey {
    account: String,
    keyed: Hmac<Sha256>,
}

impl std::fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedKey").field("account", &self.account).finish_non_exhaustive()
    }
}

impl SharedKey {
    /// Signs for this account with its key, base64.
    ///
    /// # Errors
    /// When the key is no base64.
    pub fn new(account: &str, key: &str) -> Result<SharedKey, String> {
        let key = BASE64.decode(key.trim()).map_err(|_| "the account's key is no base64".to_owned())?;
        let keyed = Hmac::new_from_slice(&key).expect("HMAC takes keys of any length");
        Ok(SharedKey { account: account.to_owned(), keyed })
    }

    fn authorization(&self, request: &Request) -> String {
        let mut keyed = self.keyed.clone();
        keyed.update(string_to_sign(&self.account, request).as_bytes());
        format!("SharedKey {}:{}", self.account, BASE64.encode(keyed.finalize().into_bytes()))
    }
}

#[async_trait]
impl Policy for SharedKey {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        // Real time even where ours runs faster: the service refuses dates 15 minutes away.
        request.insert_header("x-ms-date", http_date(Clock::REAL.now_ms()));
        let authorization = self.authorization(request);
        request.insert_header("authorization", authorization);
        next[0].send(context, request, &next[1..]).await
    }
}

fn http_date(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
    to_rfc7231(&OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH))
}

/// The scheme of version 2009-09-19 and later.
fn string_to_sign(account: &str, request: &Request) -> String {
    let headers: BTreeMap<String, &str> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_ascii_lowercase(), value.as_str().trim()))
        .collect();
    let header = |name: &str| headers.get(name).copied().unwrap_or_default();
    // An empty body is signed as an absent length, since 2015-02-21. The header itself is set later.
    let length = request.body().len().filter(|length| *length > 0).map(|length| length.to_string());
    let mut text = [
        request.method().as_str(),
        header("content-encoding"),
        header("content-language"),
        length.as_deref().unwrap_or_default(),
    ]
    .join("\n");
    for name in SIGNED {
        text.push('\n');
        text.push_str(header(name));
    }
    text.push('\n');
    for (name, value) in headers.iter().filter(|(name, _)| name.starts_with("x-ms-")) {
        text.push_str(&format!("{name}:{value}\n"));
    }
    text + &canonical_resource(account, request)
}

/// With path-style addresses the account's name stands here twice.
fn canonical_resource(account: &str, request: &Request) -> String {
    let mut sorted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in request.url().query_pairs() {
        sorted.entry(name.to_lowercase()).or_default().push(value.into_owned());
    }
    let mut text = format!("/{account}{}", request.url().path());
    for (name, mut values) in sorted {
        values.sort();
        text.push_str(&format!("\n{name}:{}", values.join(",")));
    }
    text
}

#[cfg(test)]
mod tests {
    use azure_core::http::Method;

    use super::*;

    /// The key that every storage emulator knows, published by the vendor.
    const KEY: &str =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

    #[test]
    fn it_signs_as_the_official_python_client_does() {
        let url = "http://127.0.0.1/devstoreaccount1/q1/messages?messagettl=-1";
        let mut request = Request::new(url.parse().unwrap(), Method::Post);
        // Sent by azure-storage-queue 12.13.0.
        for (name, value) in [
            ("x-ms-version", "2025-07-05"),
            ("content-type", "application/xml"),
            ("x-ms-date", "Sat, 21 Nov 2026 04:41:07 GMT"),
            ("x-ms-client-request-id", "c486ecb6-e565-11f1-b32a-02fc00000001"),
        ] {
            request.insert_header(name, value);
        }
        request.set_body(vec![b' '; 105]);
        let signer = SharedKey::new("devstoreaccount1", KEY).unwrap();
        assert_eq!(
            signer.authorization(&request),
            "SharedKey devstoreaccount1:B1QMiLu7orp7qHeP1hzQ7Lfsw033GUM0NPnhsba+o8w="
        );
        assert!(!format!("{signer:?}").contains("Eby8"));
    }

    #[test]
    fn dates_headers_and_queries_are_in_the_schemes_order() {
        let url = "https://a.queue.x/q?Timeout=5&comp=metadata&b=%20z&b=y";
        let mut request = Request::new(url.parse().unwrap(), Method::Get);
        request.insert_header("x-ms-version", "1");
        request.insert_header("x-ms-date", http_date(784_111_777_000));
        assert_eq!(
            string_to_sign("a", &request),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Sun, 06 Nov 1994 08:49:37 GMT\nx-ms-version:1\n/a/q\nb: z,y\ncomp:metadata\ntimeout:5"
        );
    }
}
