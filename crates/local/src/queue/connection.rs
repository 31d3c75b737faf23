//! Connection strings of storage accounts, as far as queues and the container of a stack need them.

use std::collections::HashMap;

use url::Url;

use super::auth::{self, Credential};
use super::identity::Identity;

/// Where the queues and blobs of an account are and how to be let in. Deliberately without `Debug`.
pub(super) struct Connection {
    pub(super) queues: Url,
    pub(super) blobs: Option<Url>,
    pub(super) access: Access,
}

/// How to be let in.
pub(super) enum Access {
    Key(Credential),
    /// A query string without its question mark.
    Sas(String),
    Identity(Identity),
}

/// What is wrong with a connection string, without any of its values.
#[derive(Debug, thiserror::Error)]
#[error("the storage connection string {0}")]
pub(super) struct Wrong(&'static str);

const NO_QUEUES: Wrong = Wrong("has a QueueEndpoint that is not an http or https address");
const NO_BLOBS: Wrong = Wrong("has a BlobEndpoint that is not an http or https address");
const NO_PROXY: Wrong = Wrong("has a DevelopmentStorageProxyUri that is not an http or https address");

impl Connection {
    /// Reads `UseDevelopmentStorage=true`, or an account with a key or a SAS.
    pub(super) fn parse(text: &str) -> Result<Connection, Wrong> {
        let parts = parts(text)?;
        let part = |name: &str| parts.get(&name.to_lowercase()).map(String::as_str);
        if part("UseDevelopmentStorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Connection::emulator(part("DevelopmentStorageProxyUri").unwrap_or("http://127.0.0.1"));
        }
        let letters_and_digits = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if part("AccountName").is_some_and(|name| !letters_and_digits(name)) {
            return Err(Wrong("has an AccountName that is not letters and digits"));
        }
        let address = |given: &str, kind: &str| match (part(given), part("AccountName")) {
            (Some(address), _) => Some(address.to_owned()),
            (None, Some(account)) => {
                let scheme = part("DefaultEndpointsProtocol").unwrap_or("https");
                let suffix = part("EndpointSuffix").unwrap_or("core.windows.net");
                Some(format!("{scheme}://{account}.{kind}.{suffix}"))
            }
            (None, None) => None,
        };
        let queues = address("QueueEndpoint", "queue");
        let queues = queues.ok_or(Wrong("has neither AccountName nor QueueEndpoint"))?;
        let blobs = address("BlobEndpoint", "blob");
        let access = match (part("SharedAccessSignature"), part("AccountName"), part("AccountKey")) {
            (Some(sas), ..) => Access::Sas(sas.trim_start_matches('?').to_owned()),
            (None, Some(account), Some(key)) => {
                let credential = Credential::new(account, key);
                Access::Key(credential.ok_or(Wrong("has an AccountKey that is not base64"))?)
            }
            (None, None, Some(_)) => return Err(Wrong("has an AccountKey without AccountName")),
            (None, _, None) => return Err(Wrong("has neither AccountKey nor SharedAccessSignature")),
        };
        Ok(Connection {
            queues: endpoint(&queues).ok_or(NO_QUEUES)?,
            blobs: blobs.map(|address| endpoint(&address).ok_or(NO_BLOBS)).transpose()?,
            access,
        })
    }

    /// The account that all emulators have, on this machine or behind this proxy, at the emulators' ports.
    fn emulator(proxy: &str) -> Result<Connection, Wrong> {
        let at = |port| {
            let mut url = endpoint(proxy)?;
            url.set_port(Some(port)).ok()?;
            url.set_path(auth::DEVELOPMENT_ACCOUNT);
            Some(url)
        };
        Ok(Connection {
            queues: at(10_001).ok_or(NO_PROXY)?,
            blobs: Some(at(10_000).ok_or(NO_PROXY)?),
            access: Access::Key(Credential::development()),
        })
    }
}

fn endpoint(address: &str) -> Option<Url> {
    let url = Url::parse(address.trim_end_matches('/')).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.host_str().is_some()).then_some(url)
}

/// `Name=Value` between semicolons; names in lower case, values may hold further equals signs.
fn parts(text: &str) -> Result<HashMap<String, String>, Wrong> {
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').ok_or(Wrong("has a part without an equals sign"))?;
            Ok((name.trim().to_lowercase(), value.trim().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(connection_string: &str) -> Result<(String, String), String> {
        let connection = Connection::parse(connection_string).map_err(|error| error.to_string())?;
        let blobs = connection.blobs.map(|url| url.to_string());
        Ok((connection.queues.to_string(), blobs.unwrap_or_default()))
    }

    #[test]
    fn connection_strings_are_understood() {
        let emulated = "http://127.0.0.1:10001/devstoreaccount1";
        let emulated_blobs = "http://127.0.0.1:10000/devstoreaccount1";
        let cases = [
            ("UseDevelopmentStorage=true", emulated, emulated_blobs),
            ("usedevelopmentstorage=True;", emulated, emulated_blobs),
            (
                "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite/",
                "http://azurite:10001/devstoreaccount1",
                "http://azurite:10000/devstoreaccount1",
            ),
            (
                "AccountName=a;AccountKey=aGk=",
                "https://a.queue.core.windows.net/",
                "https://a.blob.core.windows.net/",
            ),
            (
                "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=aGk=;EndpointSuffix=core.chinacloudapi.cn",
                "http://a.queue.core.chinacloudapi.cn/",
                "http://a.blob.core.chinacloudapi.cn/",
            ),
            (
                "AccountName=a;AccountKey=aGk=;QueueEndpoint=http://127.0.0.1:7/a/;BlobEndpoint=http://127.0.0.1:8/a",
                "http://127.0.0.1:7/a",
                "http://127.0.0.1:8/a",
            ),
            (
                "QueueEndpoint=https://a.queue.x.net;SharedAccessSignature=sv=1&sig=a%3D",
                "https://a.queue.x.net/",
                "",
            ),
        ];
        for (text, queues, blobs) in cases {
            assert_eq!(endpoints(text), Ok((queues.to_owned(), blobs.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_wrong_connection_string_is_told_without_its_secrets() {
        let cases = [
            ("", "AccountName"),
            ("nonsense", "equals sign"),
            ("AccountName=a", "AccountKey"),
            ("AccountName=a;AccountKey=s!cret", "not base64"),
            ("AccountName=s!cret;AccountKey=aGk=", "letters and digits"),
            ("AccountKey=c2VjcmV0;QueueEndpoint=http://127.0.0.1", "without AccountName"),
            ("AccountName=a;AccountKey=aGk=;QueueEndpoint=ftp://x", "QueueEndpoint"),
            ("AccountName=a;AccountKey=aGk=;BlobEndpoint=x", "BlobEndpoint"),
            ("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=azurite", "DevelopmentStorageProxyUri"),
        ];
        for (text, names) in cases {
            let told = endpoints(text).expect_err(text);
            assert!(told.contains(names) && !told.contains("s!cret") && !told.contains("c2VjcmV0"), "{told}");
        }
    }
}
