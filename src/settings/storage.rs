//! The storage account that `AzureWebJobsStorage` names: where its queues and blobs are, and what
//! opens them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use url::Url;

use super::{Blobs, Identity, Problem, Secret, is_loopback, name};

/// The account that every storage emulator has, published by the vendor.
const DEVELOPMENT_ACCOUNT: &str = "devstoreaccount1";
/// Its key.
const DEVELOPMENT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// The ports that emulators take, as the vendor's SDKs expect them.
const DEVELOPMENT_PORTS: [(&str, u16); 2] = [("blobendpoint", 10_000), ("queueendpoint", 10_001)];
/// The container of facts, where BLOB_URL names none.
const CONTAINER: &str = "switchyard";

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
            parts =
                emulator(parts.get("developmentstorageproxyuri").map_or("http://127.0.0.1", String::as_str))?;
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
        let wrong = |setting, what: &str| Problem { setting, what: what.to_owned() };
        let account = given(name::STORAGE_ACCOUNT);
        if account.as_deref().is_some_and(|account| !is_account_name(account)) {
            return Err(wrong(name::STORAGE_ACCOUNT, "is not 3 to 24 small letters and digits"));
        }
        let service = |setting, kind: &str| {
            let usual =
                || account.as_ref().map(|account| format!("https://{account}.{kind}.core.windows.net"));
            let Some(text) = given(setting).or_else(usual) else { return Ok(None) };
            match address(&text).filter(|url| url.scheme() == "https") {
                Some(url) => Ok(Some(url)),
                None => Err(wrong(setting, "is no https URL, which an identity's token needs")),
            }
        };
        let blobs = service(name::STORAGE_BLOBS, "blob")?;
        let queues = match service(name::STORAGE_QUEUES, "queue")? {
            Some(queues) => queues,
            None if blobs.is_none() => return Ok(None),
            None => {
                let what = "is not set beside AzureWebJobsStorage__blobServiceUri; give https://ACCOUNT.queue.core.windows.net";
                return Err(wrong(name::STORAGE_QUEUES, what));
            }
        };
        let credential = given(name::STORAGE_CREDENTIAL);
        let is_managed = credential.is_some();
        if credential.is_some_and(|credential| !credential.eq_ignore_ascii_case("managedidentity")) {
            return Err(wrong(name::STORAGE_CREDENTIAL, "is not `managedidentity`, the only one there is"));
        }
        let identity = match (given(name::STORAGE_CLIENT), Identity::read(given)) {
            (Some(client_id), _) => Identity::Managed { client_id: Some(client_id) },
            (None, Identity::Developer) if is_managed => Identity::Managed { client_id: None },
            (None, identity) => identity,
        };
        let blobs = blobs.map(|url| Secret(url.to_string()));
        Ok(Some(Storage { queues, access: Access::Identity(identity), blobs }))
    }

    /// The container of facts, where the account's blobs are known.
    pub(super) fn container(&self) -> Option<Blobs> {
        let blobs = self.blobs.as_ref()?.reveal().trim_end_matches('/');
        let url = format!("{blobs}/{CONTAINER}{}", self.query());
        Some(Blobs::Container { url: Secret(url), key: self.key() })
    }

    /// The container at this URL. The account's key opens it; so does its SAS, where the URL has none
    /// and lies in this account: a SAS is shown to nobody else.
    pub(super) fn open(&self, url: &str) -> Blobs {
        let blobs = self.blobs.as_ref().map(|blobs| format!("{}/", blobs.reveal().trim_end_matches('/')));
        let is_own = blobs.is_some_and(|blobs| url.starts_with(&blobs)) && !url.contains('?');
        let query = if is_own { self.query() } else { String::new() };
        Blobs::Container { url: Secret(format!("{url}{query}")), key: self.key() }
    }

    /// The account's SAS as a query, where that is what opens it.
    fn query(&self) -> String {
        match &self.access {
            Access::Sas(sas) => format!("?{}", sas.reveal()),
            Access::Key { .. } | Access::Identity(_) => String::new(),
        }
    }

    /// The account's key, where that is what opens it.
    fn key(&self) -> Option<Secret> {
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

/// An address that secrets may be sent to, and that holds none itself.
fn address(text: &str) -> Option<Url> {
    let url = Url::parse(text.trim_end_matches('/')).ok()?;
    let safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    let plain = url.query().is_none() && url.username().is_empty() && url.password().is_none();
    (safe && url.has_host() && plain).then_some(url)
}

/// The parts of an emulator's connection string: the account that all of them have, at this address.
fn emulator(proxy: &str) -> Result<HashMap<String, String>, String> {
    let wrong = "has a DevelopmentStorageProxyUri that is neither https nor http on loopback";
    let mut url = address(proxy).ok_or(wrong)?;
    url.set_path(DEVELOPMENT_ACCOUNT);
    let mut parts: HashMap<String, String> =
        [("accountname", DEVELOPMENT_ACCOUNT), ("accountkey", DEVELOPMENT_KEY)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    for (service, port) in DEVELOPMENT_PORTS {
        url.set_port(Some(port)).map_err(|()| wrong)?;
        parts.insert(service.to_owned(), url.to_string());
    }
    Ok(parts)
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
            (
                "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://localhost",
                "http://localhost:10001/devstoreaccount1",
                true,
            ),
            (
                "DevelopmentStorageProxyUri=https://azurite.example/;UseDevelopmentStorage=true",
                "https://azurite.example:10001/devstoreaccount1",
                true,
            ),
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
            ("QueueEndpoint=https://s!cret@a.x;SharedAccessSignature=s", "QueueEndpoint"),
            (
                "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite",
                "DevelopmentStorageProxyUri",
            ),
            ("UseDevelopmentStorage=false", "AccountName"),
        ];
        for (text, names) in cases {
            let told = Storage::parse(text).expect_err(text);
            assert!(told.contains(names) && !told.contains("s!cret") && !told.contains("c2VjcmV0"), "{told}");
        }
    }

    #[test]
    fn what_opens_an_account_is_never_shown() {
        for text in [
            "AccountName=abc;AccountKey=c2VjcmV0;BlobEndpoint=https://b.x",
            "QueueEndpoint=https://q.x;BlobEndpoint=https://b.x?sig=c2VjcmV0;SharedAccessSignature=sig=c2VjcmV0",
        ] {
            let storage = Storage::parse(text).unwrap();
            let shown = format!("{storage:?} {:?} {:?}", storage.container(), storage.open("https://b.x/c"));
            assert!(!shown.contains("c2VjcmV0"), "{shown}");
        }
    }

    fn read(pairs: &[(&'static str, &str)]) -> Result<Option<Storage>, Problem> {
        Storage::read(|asked| {
            pairs.iter().find(|(found, _)| *found == asked).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_identity_needs_addresses_and_no_secret() {
        const QUEUES: (&str, &str) = (name::STORAGE_QUEUES, "https://q.x/");
        const BLOBS: (&str, &str) = (name::STORAGE_BLOBS, "https://b.x/");
        const ACCOUNT: (&str, &str) = (name::STORAGE_ACCOUNT, "abc");
        let usual = "https://abc.queue.core.windows.net/";
        let own = Some("https://abc.blob.core.windows.net/switchyard");
        let managed = |id: Option<&str>| Identity::Managed { client_id: id.map(str::to_owned) };
        let cases: [(&[(&'static str, &str)], &str, Option<&str>, Identity); 6] = [
            (&[ACCOUNT], usual, own, Identity::Developer),
            (&[ACCOUNT, (name::STORAGE_CREDENTIAL, "managedIdentity")], usual, own, managed(None)),
            (
                &[ACCOUNT, (name::STORAGE_CREDENTIAL, "managedidentity"), (name::STORAGE_CLIENT, "id")],
                usual,
                own,
                managed(Some("id")),
            ),
            (&[QUEUES, BLOBS, ACCOUNT], "https://q.x/", Some("https://b.x/switchyard"), Identity::Developer),
            (&[QUEUES, (name::IDENTITY_ENDPOINT, "http://127.0.0.1:1")], "https://q.x/", None, managed(None)),
            (
                &[
                    (name::STORAGE_QUEUES, "https://127.0.0.1:10001/devstoreaccount1"),
                    (name::STORAGE_BLOBS, "https://127.0.0.1:10000/devstoreaccount1"),
                    (name::CLIENT_ID, "id"),
                ],
                "https://127.0.0.1:10001/devstoreaccount1",
                Some("https://127.0.0.1:10000/devstoreaccount1/switchyard"),
                managed(Some("id")),
            ),
        ];
        for (pairs, queues, container, identity) in cases {
            let storage = read(pairs).unwrap().expect("an account");
            assert_eq!(storage.queues.as_str(), queues, "{pairs:?}");
            let found = match storage.container() {
                Some(Blobs::Container { url, key: None }) => Some(url.reveal().to_owned()),
                Some(other) => panic!("{pairs:?}: {other:?}"),
                None => None,
            };
            assert_eq!(found.as_deref(), container, "{pairs:?}");
            assert_eq!(storage.access, Access::Identity(identity), "{pairs:?}");
        }
        assert!(read(&[(name::STORAGE_CLIENT, "id")]).unwrap().is_none());
    }

    #[test]
    fn a_wrong_identity_names_its_setting() {
        let wrong: [(&[(&'static str, &str)], _); 6] = [
            (&[(name::STORAGE_QUEUES, "http://127.0.0.1:1")], name::STORAGE_QUEUES),
            (&[(name::STORAGE_BLOBS, "https://b.x")], name::STORAGE_QUEUES),
            (
                &[(name::STORAGE_QUEUES, "https://q.x"), (name::STORAGE_BLOBS, "http://127.0.0.1:1")],
                name::STORAGE_BLOBS,
            ),
            (
                &[(name::STORAGE_ACCOUNT, "abc"), (name::STORAGE_BLOBS, "https://b.x?sig=a")],
                name::STORAGE_BLOBS,
            ),
            (&[(name::STORAGE_ACCOUNT, "a.b/c")], name::STORAGE_ACCOUNT),
            (&[(name::STORAGE_ACCOUNT, "abc"), (name::STORAGE_CREDENTIAL, "x")], name::STORAGE_CREDENTIAL),
        ];
        for (pairs, culprit) in wrong {
            assert_eq!(read(pairs).unwrap_err().setting, culprit, "{pairs:?}");
        }
    }

    #[test]
    fn a_sas_is_shown_to_its_own_account_only() {
        let storage = Storage::parse(
            "BlobEndpoint=https://a.x/;QueueEndpoint=https://q.x;SharedAccessSignature=sv=1&sig=a",
        );
        let storage = storage.unwrap();
        for (url, opened) in [
            ("https://a.x/facts", "https://a.x/facts?sv=1&sig=a"),
            ("https://a.x/facts?sig=own", "https://a.x/facts?sig=own"),
            ("https://a.x.far.example/facts", "https://a.x.far.example/facts"),
        ] {
            let Blobs::Container { url, key: None } = storage.open(url) else { panic!("a container") };
            assert_eq!(url.reveal(), opened);
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
