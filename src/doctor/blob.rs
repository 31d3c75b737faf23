//! The store of facts: a probe is put if absent, twice, listed and deleted; and what a lifecycle rule should
//! have taken away by now is looked for.

use facts::store::Put;
use facts::{Store, StoreError};
use jiff::{Timestamp, ToSpan as _};
use url::Url;
use wire::doctor::Finding;

use super::check::Check;
use super::denied::{Denied, Opened};
use super::role::Role;
use super::tokens::{Audience, Tokens};
use super::within;
use crate::settings::{Blobs, Settings, name};

/// What a rule may be late by before it is missed: Azure applies rules once a day, a new one after two.
const LATE_DAYS: i64 = 4;

/// A store and how it was opened.
pub struct Place<'a> {
    /// The store.
    pub store: &'a Store,
    /// The settings that name it.
    pub settings: &'a Settings,
    /// Who is asking.
    pub tokens: &'a Tokens,
}

/// What answered a call on the store, taken from the library's text, which itself may hold a SAS.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: Option<u16>,
    code: Option<String>,
}

impl Place<'_> {
    /// Writes, lists and deletes `state/doctor-….json`.
    pub async fn probe(&self) -> Finding {
        if self.tokens.principal(Audience::Storage).is_err()
            && opened(self.settings, self.tokens).is_identity()
        {
            return Check::Blob.needs("identity");
        }
        let key = format!("state/doctor-{:016x}.json", getrandom::u64().unwrap_or_default());
        let probed = within(async {
            let probed = probe(self.store, &key).await;
            // Whatever came of it: what may have been written goes.
            if !matches!(probed, Ok(true)) {
                let _ = self.store.delete(&key).await;
            }
            probed
        });
        match probed.await {
            None => Check::Blob.broken(
                format!("{} did not answer in time", self.name()),
                format!("check {} and the way to it: name resolution, firewall, private endpoint", name::BLOB_URL),
            ),
            Some(Ok(true)) => {
                Check::Blob.ok(format!("{}: put-if-absent, list and delete work (wrote and deleted {key})", self.name()))
            }
            Some(Ok(false)) => Check::Blob.broken(
                format!("{} replaced an object that was to be put only if absent", self.name()),
                "use a storage account or an emulator that honours `If-None-Match: *`; jobs would be lost on this one",
            ),
            Some(Err(error)) => self.told(&error),
        }
    }

    /// Looks for decisions that are older than a lifecycle rule would keep.
    pub async fn retention(&self, retention_days: u32) -> Finding {
        let Blobs::Container { .. } = self.settings.blobs else {
            return Check::Retention
                .needs("a container; nothing deletes packs/, audit/ and dead/ of a folder");
        };
        let days = i64::from(retention_days) + LATE_DAYS;
        let now = i64::try_from(self.settings.clock.now_ms())
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let old = now.and_then(|now| now.checked_sub((days * 24).hours()).ok());
        let Some(day) = old.map(|old| old.strftime("%Y-%m-%d").to_string()) else {
            return Check::Retention.needs("a date that can be reckoned with");
        };
        match within(self.store.list(&format!("audit/{day}/"))).await {
            Some(Ok(found)) if found.is_empty() => {
                Check::Retention.ok(format!("nothing of {day} is left under audit/"))
            }
            Some(Ok(found)) => Check::Retention.warning(
                format!("{} objects of {day} are left under audit/: no lifecycle rule deletes them", found.len()),
                format!(
                    "az storage account management-policy create --account-name {} --resource-group GROUP --policy @rule.json, \
                     which deletes packs/, audit/, dead/ after {} days",
                    self.account(),
                    retention_days + 2
                ),
            ),
            Some(Err(_)) | None => Check::Retention.needs("blob"),
        }
    }

    fn told(&self, error: &StoreError) -> Finding {
        let Answer { status, code } = answer(error);
        let told = [status.map(|status| status.to_string()), code.clone()];
        let told = told.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let service = self.name();
        if code.as_deref() == Some("ContainerNotFound") || matches!(error, StoreError::NotFound(_)) {
            return Check::Blob.broken(
                format!("{service} does not exist"),
                format!(
                    "az storage container create --account-name {} --name {} --auth-mode login",
                    self.account(),
                    self.container()
                ),
            );
        }
        match status {
            Some(401 | 403) => {
                let account = self.account();
                let (role, told) = (Role::BlobOwner, told.as_str());
                let denied = Denied { check: Check::Blob, service: &service, resource: &account, role, told };
                denied.finding(&opened(self.settings, self.tokens))
            }
            Some(_) => Check::Blob.broken(
                format!("{service} answered {told}"),
                "look at the account in the portal: its state, its limits, its region's health",
            ),
            None if matches!(self.settings.blobs, Blobs::Folder(_)) => Check::Blob.broken(
                format!("{service} cannot be written"),
                "give the handler's user the right to write there",
            ),
            None => Check::Blob.broken(
                format!("{service} cannot be reached"),
                format!(
                    "check {} and the way to it: name resolution, firewall, private endpoint",
                    name::BLOB_URL
                ),
            ),
        }
    }

    fn name(&self) -> String {
        match &self.settings.blobs {
            Blobs::Folder(folder) => format!("folder {}", folder.display()),
            Blobs::Container { .. } => {
                format!("container `{}` of account `{}`", self.container(), self.account())
            }
        }
    }

    fn account(&self) -> String {
        self.parts().0
    }

    fn container(&self) -> String {
        self.parts().1
    }

    /// Account and container: emulators have the account in the path.
    fn parts(&self) -> (String, String) {
        let Blobs::Container { url, .. } = &self.settings.blobs else { return Default::default() };
        let Ok(url) = Url::parse(url.reveal()) else { return Default::default() };
        let mut path = url.path_segments().into_iter().flatten().map(str::to_owned);
        let account = if crate::settings::is_loopback(&url) {
            path.next()
        } else {
            url.host_str().and_then(|host| host.split('.').next()).map(str::to_owned)
        };
        (account.unwrap_or_default(), path.next().unwrap_or_default())
    }
}

/// What opens the container.
fn opened(settings: &Settings, tokens: &Tokens) -> Opened {
    match &settings.blobs {
        Blobs::Container { key: Some(_), .. } => Opened::Key(name::STORAGE),
        Blobs::Container { url, key: None } if url.reveal().contains('?') => Opened::Sas(name::BLOB_URL),
        Blobs::Container { .. } => Opened::Identity(tokens.principal(Audience::Storage).unwrap_or_default()),
        Blobs::Folder(_) => Opened::Sas(name::BLOB_URL),
    }
}

/// Whether a second put found the first one's object.
async fn probe(store: &Store, key: &str) -> Result<bool, StoreError> {
    store.create(key, "{}").await?;
    let is_kept = store.create(key, "{}").await? == Put::Existed;
    store.list("config/").await?;
    store.delete(key).await?;
    Ok(is_kept)
}

fn answer(error: &StoreError) -> Answer {
    let StoreError::Failed(error) = error else { return Answer { status: None, code: None } };
    let text = error.to_string();
    let after = |mark: &str| text.split_once(mark).map(|(_, rest)| rest);
    let status = after("status code: ").and_then(|rest| rest.get(..3)?.parse().ok());
    let code = after("<Code>").and_then(|rest| Some(rest.split_once("</Code>")?.0));
    let is_code = |code: &&str| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    Answer { status, code: code.filter(is_code).map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_and_a_code_are_taken_from_the_librarys_text_and_nothing_else() {
        let failed = |text: &str| {
            StoreError::Failed(object_store::Error::Generic {
                store: "Azure",
                source: text.to_owned().into(),
            })
        };
        let seen = |text: &str| {
            let Answer { status, code } = answer(&failed(text));
            (status, code)
        };
        let told = "Error performing PUT https://a/c?sig=x in 1ms - Server returned non-2xx status code: 403 Forbidden: \
                    <?xml?><Error><Code>AuthorizationPermissionMismatch</Code>";
        assert_eq!(seen(told), (Some(403), Some("AuthorizationPermissionMismatch".to_owned())));
        assert_eq!(seen("Server returned non-2xx status code: 503 Busy: "), (Some(503), None));
        assert_eq!(seen("error sending request <Code>a b</Code>"), (None, None));
        assert_eq!(answer(&StoreError::TimedOut), Answer { status: None, code: None });
    }

    #[tokio::test]
    async fn a_probe_leaves_nothing_behind() {
        let store = Store::memory();
        assert!(probe(&store, "state/doctor-1.json").await.unwrap());
        assert!(store.list("state/").await.unwrap().is_empty());
    }
}
