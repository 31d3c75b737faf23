//! The storage account that `AzureWebJobsStorage` names: where its queues and blobs are, and what
//! opens them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use url::Url;

use super::{Blobs, Identity, Problem, Secret, is_loopback, name};

/// The account and key that every storage emulator knows, published by the vendor, at the ports
/// that emulators take.
const DEVELOPMENT: &str = "AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1";

/// A storage account.
#[derive(Clone, Debug)]
pub struct Storage {
    /// Where its queues are, without a SAS: https, or http on loopback.
    pub queues: Url,
    /// What opens it.
    pub access: Access,
    /// Where its blobs are, if that was given; as it was given, so that it may hold anything.
    blobs: Option<Secret>,
}

/// What opens a storage account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// A key of the account, which signs every request.
    Key {
        /// The account's name.
        account: String,
        /// Base64.
        key: Secret,
    },
    /// A shared access signature: a query string without its question mark.
    Sas(Secret),
    /// An identity of this process.
    Identity(Identity),
}

impl Storage {
    /// Reads a connection string: `UseDevelopmentStorage=true`, or an account with a key or a SAS.
    ///
    /// # Errors
    /// What is wrong with it, without any of its values.
    pub fn parse(text: &str) -> Result<Storage, String> {
        let mut parts = parts(text)?;
        if parts.get("usedevelopmentstorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            parts = self::parts(DEVELOPMENT)?;
        }
        let account = parts.remove("accountname");
        if account.as_deref().is_some_and(|account| !is_account_name(account)) {
            return Err("has an AccountName that is not 3 to 24 small letters and digits".to_owned());
        }
        let protocol = parts.remove("defaultendpointsprotocol").unwrap_or_else(|| "https".to_owned());
        let suffix = parts.remove("endpointsuffix").unwrap_or_else(|| "core.windows.net".to_owned());
        let mut endpoint = |given: &str, kind: &str| {
            let usual = || account.as_ref().map(|account| format!("{protocol}://{account}.{kind}.{suffix}"));
            parts.remove(given).or_else(usual)
        };
        let (queues, blobs) = (endpoint("queueendpoint", "queue"), endpoint("blobendpoint", "blob"));
        let queues = queues.ok_or(
            "is no connection string; it needs AccountName and AccountKey, or QueueEndpoint and SharedAccessSignature",
        )?;
        let queues =
            address(&queues).ok_or("has a QueueEndpoint that is neither https nor http on loopback")?;
        let access = access(account, parts.remove("accountkey"), parts.remove("sharedaccesssignature"))?;
        Ok(Storage { queues, access, blobs: blobs.map(Secret) })
    }

    /// The account that is given, if any: a connection string, or else the form without a secret.
    pub(super) fn read(given: impl Fn(&'static str) -> Option<String>) -> Result<Option<Storage>, Problem> {
        match given(name::STORAGE) {
            Some(text) => {
                Storage::parse(&text).map(Some).map_err(|what| Problem { setting: name::STORAGE, what })
            }
            None => Storage::of_identity(given),
        }
    }

    fn of_identity(given: impl Fn(&'static str) -> Option<String>) -> Result<Option<Storage>, Problem> {
        let wrong = |setting, what: &str| Err(Problem { setting, what: what.to_owned() });
        let queues = match (given(name::STORAGE_QUEUES), given(name::STORAGE_ACCOUNT)) {
            (Some(text), _) => match address(&text).filter(|url| url.scheme() == "https") {
                Some(url) => url,
                None => {
                    return wrong(name::STORAGE_QUEUES, "is no https URL, which an identity's token needs");
                }
            },
            (None, Some(account)) => {
                match address(&format!("https://{account}.queue.core.windows.net"))
                    .filter(|_| is_account_name(&account))
                {
                    Some(url) => url,
                    None => return wrong(name::STORAGE_ACCOUNT, "is not 3 to 24 small letters and digits"),
                }
            }
            (None, None) => return Ok(None),
        };
        let credential = given(name::STORAGE_CREDENTIAL);
        let is_managed = credential.is_some();
        if credential.is_some_and(|credential| !credential.eq_ignore_ascii_case("managedidentity")) {
            return wrong(name::STORAGE_CREDENTIAL, "is not `managedidentity`, the only one there is");
        }
        let identity = match (given(name::STORAGE_CLIENT), Identity::read(given)) {
            (Some(client_id), _) => Identity::Managed { client_id: Some(client_id) },
            (None, Identity::Developer) if is_managed => Identity::Managed { client_id: None },
            (None, identity) => identity,
        };
        Ok(Some(Storage { queues, access: Access::Identity(identity), blobs: None }))
    }

    /// The container of facts, where the account's blobs are known.
    pub(super) fn container(&self) -> Option<Blobs> {
        let blobs = self.blobs.as_ref()?.reveal().trim_end_matches('/');
        let query = match &self.access {
            Access::Sas(sas) => format!("?{}", sas.reveal()),
            Access::Key { .. } | Access::Identity(_) => String::new(),
        };
        Some(Blobs::Container { url: Secret(format!("{blobs}/switchyard{query}")), key: self.key() })
    }

    /// The account's key, where that is what opens it.
    pub(super) fn key(&self) -> Option<Secret> {
        match &self.access {
            Access::Key { key, .. } => Some(key.clone()),
            Access::Sas(_) | Access::Identity(_) => None,
        }
    }
}

/// Whether the service takes this as the name of a queue.
pub(super) fn is_queue_name(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let hyphens = !name.starts_with('-') && !name.ends_with('-') && !name.contains("--");
    plain && hyphens && (3..=63).contains(&name.len())
}

fn is_account_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && (3..=24).contains(&name.len())
}

fn access(account: Option<String>, key: Option<String>, sas: Option<String>) -> Result<Access, String> {
    match (sas, account, key) {
        (Some(sas), ..) => Ok(Access::Sas(Secret(sas.trim_start_matches('?').to_owned()))),
        (None, Some(account), Some(key)) if BASE64.decode(&key).is_ok() => {
            Ok(Access::Key { account, key: Secret(key) })
        }
        (None, Some(_), Some(_)) => Err("has an AccountKey that is not base64".to_owned()),
        (None, None, Some(_)) => Err("has an AccountKey without AccountName".to_owned()),
        (None, _, None) => Err("has neither AccountKey nor SharedAccessSignature".to_owned()),
    }
}

/// An address that secrets may be sent to.
fn address(text: &str) -> Option<Url> {
    let url = Url::parse(text.trim_end_matches('/')).ok()?;
    let safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    (safe && url.has_host() && url.query().is_none()).then_some(url)
}

/// `Name=Value` between semicolons; names in lower case, values may hold further equals signs.
fn parts(text: &str) -> Result<HashMap<String, String>, String> {
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part
                .split_once('=')
                .ok_or("is no connection string: it has a part without an equals sign")?;
            Ok((name.trim().to_lowercase(), value.trim().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_strings_are_understood() {
        let cases = [
            ("UseDevelopmentStorage=true", "http://127.0.0.1:10001/devstoreaccount1", true),
            ("usedevelopmentstorage=True;", "http://127.0.0.1:10001/devstoreaccount1", true),
            ("AccountName=abc;AccountKey=aGk=", "https://abc.queue.core.windows.net/", true),
            (
                "DefaultEndpointsProtocol=https;AccountName=abc;AccountKey=aGk=;EndpointSuffix=core.chinacloudapi.cn",
                "https://abc.queue.core.chinacloudapi.cn/",
                true,
            ),
            (
                "AccountName=abc;AccountKey=aGk=;QueueEndpoint=http://127.0.0.1:7/abc/",
                "http://127.0.0.1:7/abc",
                true,
            ),
            (
                "QueueEndpoint=https://a.queue.x.net;SharedAccessSignature=?sv=1&sig=a%3D",
                "https://a.queue.x.net/",
                false,
            ),
        ];
        for (text, queues, has_key) in cases {
            let storage = Storage::parse(text).expect(text);
            assert_eq!((storage.queues.as_str(), storage.key().is_some()), (queues, has_key), "{text}");
        }
        let storage =
            Storage::parse("QueueEndpoint=https://a.x;SharedAccessSignature=?sv=1&sig=a%3D").unwrap();
        assert_eq!(storage.access, Access::Sas(Secret("sv=1&sig=a%3D".to_owned())));
    }

    #[test]
    fn a_sas_opens_the_container_of_its_account() {
        let text = "BlobEndpoint=https://a.x/;QueueEndpoint=https://q.x;SharedAccessSignature=sv=1&sig=a%3D";
        let Some(Blobs::Container { url, key }) = Storage::parse(text).unwrap().container() else {
            panic!("a container")
        };
        assert_eq!((url.reveal(), key), ("https://a.x/switchyard?sv=1&sig=a%3D", None));
        assert!(
            Storage::parse("QueueEndpoint=https://q.x;SharedAccessSignature=s")
                .unwrap()
                .container()
                .is_none()
        );
    }

    #[test]
    fn a_wrong_connection_string_is_told_without_its_secrets() {
        let cases = [
            ("", "AccountName"),
            ("nonsense", "equals sign"),
            ("AccountName=abc", "AccountKey"),
            ("AccountName=abc;AccountKey=s!cret", "not base64"),
            ("AccountName=s!cret;AccountKey=aGk=", "letters and digits"),
            ("AccountKey=c2VjcmV0;QueueEndpoint=http://127.0.0.1", "without AccountName"),
            ("AccountName=abc;AccountKey=aGk=;QueueEndpoint=ftp://x", "QueueEndpoint"),
            ("AccountName=abc;AccountKey=aGk=;QueueEndpoint=http://far.example", "loopback"),
            ("QueueEndpoint=https://a.x?sig=s!cret;SharedAccessSignature=s", "QueueEndpoint"),
        ];
        for (text, names) in cases {
            let told = Storage::parse(text).expect_err(text);
            assert!(told.contains(names) && !told.contains("s!cret") && !told.contains("c2VjcmV0"), "{told}");
        }
    }

    #[test]
    fn an_identity_needs_an_address_and_no_secret() {
        let read = |pairs: &[(&'static str, &str)]| {
            Storage::read(|asked| {
                pairs.iter().find(|(found, _)| *found == asked).map(|(_, value)| (*value).to_owned())
            })
        };
        let storage = read(&[
            (name::STORAGE_ACCOUNT, "abc"),
            (name::STORAGE_CREDENTIAL, "managedIdentity"),
            (name::STORAGE_CLIENT, "id"),
        ]);
        let storage = storage.unwrap().expect("an account");
        assert_eq!(storage.queues.as_str(), "https://abc.queue.core.windows.net/");
        let managed = Identity::Managed { client_id: Some("id".to_owned()) };
        assert_eq!(storage.access, Access::Identity(managed));
        let named = read(&[(name::STORAGE_QUEUES, "https://q.x/"), (name::STORAGE_ACCOUNT, "abc")]);
        let named = named.unwrap().expect("an account");
        assert_eq!(named.queues.as_str(), "https://q.x/");
        assert_eq!(named.access, Access::Identity(Identity::Developer), "outside Azure");
        assert!(read(&[(name::STORAGE_CLIENT, "id")]).unwrap().is_none());
        let wrong: [(&[(&'static str, &str)], _); 3] = [
            (&[(name::STORAGE_QUEUES, "http://127.0.0.1:1")], name::STORAGE_QUEUES),
            (&[(name::STORAGE_ACCOUNT, "a.b/c")], name::STORAGE_ACCOUNT),
            (&[(name::STORAGE_ACCOUNT, "abc"), (name::STORAGE_CREDENTIAL, "x")], name::STORAGE_CREDENTIAL),
        ];
        for (pairs, culprit) in wrong {
            assert_eq!(read(pairs).unwrap_err().setting, culprit, "{pairs:?}");
        }
    }

    #[test]
    fn names_of_queues() {
        for name in ["abc", "batch-inference-queue", "0-9"] {
            assert!(is_queue_name(name), "{name}");
        }
        for name in ["", "ab", "-ab", "ab-", "a--b", "Abc", "a_b", "a/b", &"a".repeat(64)] {
            assert!(!is_queue_name(name), "{name}");
        }
    }
}
