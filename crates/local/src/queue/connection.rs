//! Connection strings of storage accounts, as far as queues need them.

use std::collections::HashMap;

use url::Url;

use super::auth::{self, Credential};

/// Where the queues of an account are and how to be let in. Deliberately without `Debug`.
pub(super) struct Connection {
    pub(super) endpoint: Url,
    pub(super) access: Access,
}

/// How to be let in.
pub(super) enum Access {
    Key(Credential),
    /// A query string without its question mark.
    Sas(String),
}

/// What is wrong with a connection string, without any of its values.
#[derive(Debug, thiserror::Error)]
#[error("the storage connection string {0}")]
pub(super) struct Wrong(&'static str);

impl Connection {
    /// Reads `UseDevelopmentStorage=true`, or an account with a key or a SAS.
    pub(super) fn parse(text: &str) -> Result<Connection, Wrong> {
        let parts = parts(text)?;
        let part = |name: &str| parts.get(&name.to_lowercase()).map(String::as_str);
        if part("UseDevelopmentStorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            // The ports are the emulators' convention; 10001 is queues.
            let address = format!("http://127.0.0.1:10001/{}", auth::DEVELOPMENT_ACCOUNT);
            return Ok(Connection {
                endpoint: endpoint(&address)?,
                access: Access::Key(Credential::development()),
            });
        }
        let letters_and_digits = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if part("AccountName").is_some_and(|name| !letters_and_digits(name)) {
            return Err(Wrong("has an AccountName that is not letters and digits"));
        }
        let address = match (part("QueueEndpoint"), part("AccountName")) {
            (Some(address), _) => address.to_owned(),
            (None, Some(account)) => {
                let scheme = part("DefaultEndpointsProtocol").unwrap_or("https");
                let suffix = part("EndpointSuffix").unwrap_or("core.windows.net");
                format!("{scheme}://{account}.queue.{suffix}")
            }
            (None, None) => return Err(Wrong("has neither AccountName nor QueueEndpoint")),
        };
        let access = match (part("SharedAccessSignature"), part("AccountName"), part("AccountKey")) {
            (Some(sas), ..) => Access::Sas(sas.trim_start_matches('?').to_owned()),
            (None, Some(account), Some(key)) => {
                let credential = Credential::new(account, key);
                Access::Key(credential.ok_or(Wrong("has an AccountKey that is not base64"))?)
            }
            (None, None, Some(_)) => return Err(Wrong("has an AccountKey without AccountName")),
            (None, _, None) => return Err(Wrong("has neither AccountKey nor SharedAccessSignature")),
        };
        Ok(Connection { endpoint: endpoint(&address)?, access })
    }
}

fn endpoint(address: &str) -> Result<Url, Wrong> {
    Url::parse(address.trim_end_matches('/'))
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
        .ok_or(Wrong("has a QueueEndpoint that is not an http or https address"))
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

    fn endpoint(connection_string: &str) -> Result<String, String> {
        match Connection::parse(connection_string) {
            Ok(connection) => Ok(connection.endpoint.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn connection_strings_are_understood() {
        let cases = [
            ("UseDevelopmentStorage=true", "http://127.0.0.1:10001/devstoreaccount1"),
            ("usedevelopmentstorage=True;", "http://127.0.0.1:10001/devstoreaccount1"),
            ("AccountName=a;AccountKey=aGk=", "https://a.queue.core.windows.net/"),
            (
                "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=aGk=;EndpointSuffix=core.chinacloudapi.cn",
                "http://a.queue.core.chinacloudapi.cn/",
            ),
            ("AccountName=a;AccountKey=aGk=;QueueEndpoint=http://127.0.0.1:7/a/", "http://127.0.0.1:7/a"),
            (
                "QueueEndpoint=https://a.queue.x.net;SharedAccessSignature=sv=1&sig=a%3D",
                "https://a.queue.x.net/",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(endpoint(text).as_deref(), Ok(expected), "{text}");
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
        ];
        for (text, names) in cases {
            let told = endpoint(text).expect_err(text);
            assert!(told.contains(names) && !told.contains("s!cret") && !told.contains("c2VjcmV0"), "{told}");
        }
    }
}
