//! Signatures of the Storage services: SharedKey, as the client makes and the stand-in checks it,
//! and account SAS, which the stand-in only checks.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use sha2::Sha256;

use super::date;

/// The account that every storage emulator has. Its key is public, printed in the vendor's docs.
pub const DEVELOPMENT_ACCOUNT: &str = "devstoreaccount1";
/// The key of [`DEVELOPMENT_ACCOUNT`].
pub const DEVELOPMENT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// An account with its key. Deliberately without `Debug`.
#[derive(Clone)]
pub struct Credential {
    /// The account's name.
    pub account: String,
    key: Vec<u8>,
}

/// The parts of a request that a signature covers. `path` and `query` are as they were sent.
pub struct Signed<'a> {
    /// `GET` and so on.
    pub method: &'a str,
    /// All headers; those the scheme does not cover are ignored.
    pub headers: &'a HeaderMap,
    /// Starts with `/`.
    pub path: &'a str,
    /// Without the question mark.
    pub query: &'a str,
}

/// What an operation asks of a SAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// `s` service, `c` queue, `o` message.
    pub resource: char,
    /// Any of these permissions is enough.
    pub permissions: &'static str,
}

/// Why a request is not let in. All are answered 403.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No signature, a wrong one, or one that is not valid now.
    Authentication,
    /// The SAS is for other services, resource types or operations.
    Permission,
}

impl Credential {
    /// `None` when the key is not base64.
    pub fn new(account: &str, key: &str) -> Option<Credential> {
        Some(Credential { account: account.to_owned(), key: BASE64.decode(key).ok()? })
    }

    /// The emulators' account.
    pub fn development() -> Credential {
        Credential::new(DEVELOPMENT_ACCOUNT, DEVELOPMENT_KEY).expect("the well-known key is base64")
    }

    /// The key, base64.
    pub(super) fn key(&self) -> String {
        BASE64.encode(&self.key)
    }

    /// The value of the Authorization header. `x-ms-date` or `Date` must already be among the
    /// headers.
    pub fn authorization(&self, request: &Signed<'_>) -> String {
        let signature = self.mac(&string_to_sign(&self.account, request)).finalize().into_bytes();
        format!("SharedKey {}:{}", self.account, BASE64.encode(signature))
    }

    /// Lets a request in by its Authorization header or else by a SAS in its query. The age of
    /// `x-ms-date` is not checked: on a scaled clock the client's date may be any.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check(&self, request: &Signed<'_>, needs: Needs, now_ms: u64) -> Result<(), Denied> {
        match request.headers.get(AUTHORIZATION) {
            Some(value) => self.check_shared_key(value.to_str().unwrap_or_default(), request),
            None => self.check_sas(&Sas::read(request.query), needs, now_ms),
        }
    }

    fn check_shared_key(&self, authorization: &str, request: &Signed<'_>) -> Result<(), Denied> {
        let signature = authorization
            .strip_prefix("SharedKey ")
            .and_then(|rest| rest.strip_prefix(&self.account)?.strip_prefix(':'))
            .ok_or(Denied::Authentication)?;
        self.verify(&string_to_sign(&self.account, request), signature)
    }

    fn check_sas(&self, sas: &Sas, needs: Needs, now_ms: u64) -> Result<(), Denied> {
        self.verify(&sas.string_to_sign(&self.account), sas.get("sig"))?;
        let expires = date::parse_sas(sas.get("se")).ok_or(Denied::Authentication)?;
        let starts = date::parse_sas(sas.get("st")).unwrap_or(0);
        if now_ms < starts || now_ms >= expires {
            return Err(Denied::Authentication);
        }
        let allowed = sas.get("ss").contains('q')
            && sas.get("srt").contains(needs.resource)
            && sas.get("sp").contains(|permission| needs.permissions.contains(permission));
        if allowed { Ok(()) } else { Err(Denied::Permission) }
    }

    fn verify(&self, text: &str, signature: &str) -> Result<(), Denied> {
        let signature = BASE64.decode(signature).map_err(|_| Denied::Authentication)?;
        self.mac(text).verify_slice(&signature).map_err(|_| Denied::Authentication)
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(text.as_bytes());
        mac
    }
}

/// The parameters of an account SAS, decoded.
struct Sas(BTreeMap<String, String>);

impl Sas {
    fn read(query: &str) -> Sas {
        Sas(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// The scheme since 2015-04-05; since 2020-12-06 it has a line for the encryption scope.
    fn string_to_sign(&self, account: &str) -> String {
        let mut names = vec!["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"];
        if self.get("sv") >= "2020-12-06" {
            names.push("ses");
        }
        let lines: String = names.iter().map(|name| format!("{}\n", self.get(name))).collect();
        format!("{account}\n{lines}")
    }
}

/// Version 2009-09-19 and later of the SharedKey scheme.
fn string_to_sign(account: &str, request: &Signed<'_>) -> String {
    let header =
        |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // An empty body is signed as an absent length, since 2015-02-21.
    let length = Some(header("content-length")).filter(|length| *length != "0").unwrap_or_default();
    let date = if request.headers.contains_key("x-ms-date") { "" } else { header("date") };
    let mut text =
        [request.method, header("content-encoding"), header("content-language"), length].join("\n");
    for value in [
        header("content-md5"),
        header("content-type"),
        date,
        header("if-modified-since"),
        header("if-match"),
        header("if-none-match"),
        header("if-unmodified-since"),
        header("range"),
    ] {
        text.push('\n');
        text.push_str(value);
    }
    text.push('\n');
    text + &canonical_headers(request.headers) + &canonical_resource(account, request)
}

fn canonical_headers(headers: &HeaderMap) -> String {
    let mut sorted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| name.as_str().starts_with("x-ms-")) {
        sorted.entry(name.as_str()).or_default().push(value.to_str().unwrap_or_default().trim());
    }
    sorted.iter().map(|(name, values)| format!("{name}:{}\n", values.join(","))).collect()
}

/// With path-style addresses the account's name stands here twice.
fn canonical_resource(account: &str, request: &Signed<'_>) -> String {
    let mut sorted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(request.query.as_bytes()) {
        sorted.entry(name.to_lowercase()).or_default().push(value.into_owned());
    }
    let mut text = format!("/{account}{}", request.path);
    for (name, mut values) in sorted {
        values.sort();
        text.push_str(&format!("\n{name}:{}", values.join(",")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    const MESSAGE: Needs = Needs { resource: 'o', permissions: "a" };

    #[test]
    fn a_request_of_the_official_python_client_is_let_in() {
        // Sent by azure-storage-queue 12.13.0.
        let headers = headers(&[
            ("content-length", "105"),
            ("x-ms-version", "2025-07-05"),
            ("content-type", "application/xml"),
            ("x-ms-date", "Sat, 21 Nov 2026 04:41:07 GMT"),
            ("x-ms-client-request-id", "c486ecb6-e565-11f1-b32a-02fc00000001"),
            ("authorization", "SharedKey devstoreaccount1:B1QMiLu7orp7qHeP1hzQ7Lfsw033GUM0NPnhsba+o8w="),
        ]);
        let mut request = Signed {
            method: "POST",
            headers: &headers,
            path: "/devstoreaccount1/q1/messages",
            query: "messagettl=-1",
        };
        let key = Credential::development();
        assert_eq!(key.check(&request, MESSAGE, 0), Ok(()));
        request.query = "messagettl=1";
        assert_eq!(key.check(&request, MESSAGE, 0), Err(Denied::Authentication));
    }

    #[test]
    fn a_sas_opens_what_it_names_while_it_lasts() {
        let key = Credential::development();
        let unsigned = "sv=2021-06-08&ss=q&srt=o&sp=a&st=2026-11-21&se=2026-11-22T00:00:00Z&spr=https,http";
        let signature = BASE64
            .encode(key.mac(&Sas::read(unsigned).string_to_sign("devstoreaccount1")).finalize().into_bytes());
        let signed = url::form_urlencoded::Serializer::new(format!("{unsigned}&"))
            .append_pair("sig", &signature)
            .finish();
        let headers = HeaderMap::new();
        let check = |query: &str, needs, now_ms| {
            key.check(&Signed { method: "POST", headers: &headers, path: "/x", query }, needs, now_ms)
        };
        let day = 24 * 60 * 60 * 1000;
        let midnight = 1_795_219_200_000;
        assert_eq!(check(&signed, MESSAGE, midnight), Ok(()));
        assert_eq!(check(&signed, MESSAGE, midnight + day), Err(Denied::Authentication));
        assert_eq!(check(&signed, MESSAGE, midnight - 1), Err(Denied::Authentication));
        assert_eq!(check(&signed, Needs { resource: 'c', ..MESSAGE }, midnight), Err(Denied::Permission));
        assert_eq!(check(&signed, Needs { permissions: "r", ..MESSAGE }, midnight), Err(Denied::Permission));
        assert_eq!(check(&signed.replace("sp=a", "sp=ar"), MESSAGE, midnight), Err(Denied::Authentication));
        assert_eq!(check("", MESSAGE, midnight), Err(Denied::Authentication));
    }
}
