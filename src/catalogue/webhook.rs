//! A webhook of a tenant, checked: where it is, what it is told and what its requests are signed with.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use facts::key::hex_sha256;
use url::{Host, Url};
use wire::catalogue as file;
use wire::openai::EventKind;

use super::Context;
use crate::http::address::is_global;
use crate::settings::{Secret, is_loopback, name};

/// Webhooks of one tenant, at most: each end of a batch is told to all of them.
const WEBHOOKS_MAX: usize = 8;
/// What the names of settings with secrets end in, so that a catalogue cannot name any other secret.
const SECRET_SETTING: &str = "_WEBHOOK_SECRET";
/// Standard Webhooks: before the base64 of a secret's bytes.
const SECRET_PREFIX: &str = "whsec_";
/// Standard Webhooks: bytes of a secret.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Secrets at once: an old one, a new one, and one that somebody forgot.
const SECRETS_MAX: usize = 3;
/// Enough of the hash of its URL to tell a tenant's endpoints apart.
const ENDPOINT_CHARS: usize = 16;

/// A webhook.
pub struct Webhook {
    /// Its name in keys of facts: follows from its URL.
    pub endpoint: String,
    /// Where it is. Its query may hold a secret.
    pub url: Url,
    /// What it is told.
    pub events: Vec<EventKind>,
    /// Every request is signed with each of them.
    pub secrets: Vec<Vec<u8>>,
}

impl Webhook {
    /// Where it is, without what may be secret.
    pub fn shown(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.into()
    }
}

impl fmt::Debug for Webhook {
    /// Without its query and secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("url", &self.shown()).finish_non_exhaustive()
    }
}

/// Checks the webhooks of a tenant.
///
/// # Errors
/// The first problem.
pub fn webhooks(tenant: &file::Tenant, context: &Context) -> Result<Vec<Webhook>, String> {
    let wrong = |what: String| format!("tenant `{}`: webhook: {what}", tenant.id);
    if tenant.webhooks.len() > WEBHOOKS_MAX {
        return Err(wrong(format!("there are more than {WEBHOOKS_MAX}")));
    }
    let mut checked: Vec<Webhook> = Vec::new();
    for given in &tenant.webhooks {
        let webhook = webhook(given, context).map_err(wrong)?;
        if checked.iter().any(|other| other.endpoint == webhook.endpoint) {
            return Err(wrong(format!("`{}` stands there twice", webhook.shown())));
        }
        checked.push(webhook);
    }
    Ok(checked)
}

fn webhook(given: &file::Webhook, context: &Context) -> Result<Webhook, String> {
    let url = endpoint_url(&given.url, context)?;
    let setting = &given.secret_setting;
    if !setting.ends_with(SECRET_SETTING) {
        return Err(format!("secret_setting `{setting}` must end in {SECRET_SETTING}"));
    }
    let held = context.secrets.get(setting).ok_or_else(|| format!("setting {setting} is not set"))?;
    let form = || {
        format!(
            "setting {setting} must hold 1 to {SECRETS_MAX} secrets `{SECRET_PREFIX}…`, each base64 of 24 to 64 bytes"
        )
    };
    let secrets = secrets(&held).ok_or_else(form)?;
    let endpoint = hex_sha256(url.as_str().as_bytes())[..ENDPOINT_CHARS].to_owned();
    Ok(Webhook { endpoint, url, events: given.events.clone(), secrets })
}

/// Names are looked up, and their addresses checked, whenever something is sent.
fn endpoint_url(text: &str, context: &Context) -> Result<Url, String> {
    // Never shown: where it is no URL, nobody knows which part of it is secret.
    let mut url = Url::parse(text).map_err(|error| format!("url is no URL ({error})"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("url must hold no user name or password; requests are signed".to_owned());
    }
    url.set_fragment(None);
    let may_be_private = context.webhooks_allow_private;
    if !(url.scheme() == "https" || (url.scheme() == "http" && may_be_private)) {
        return Err(format!("url must be https; for tests on one machine, see {}", name::WEBHOOKS_PRIVATE));
    }
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(address.into()),
        Some(Host::Ipv6(address)) => Some(address.into()),
        Some(Host::Domain(_)) | None => None,
    };
    if address.is_some_and(|address| !is_global(address)) && !may_be_private {
        return Err(format!("url must lie in the open Internet; see {}", name::WEBHOOKS_PRIVATE));
    }
    if context.loopback_only && !is_loopback(&url) {
        return Err("time may run faster on one machine only, and this webhook is elsewhere".to_owned());
    }
    Ok(url)
}

fn secrets(held: &Secret) -> Option<Vec<Vec<u8>>> {
    let decode = |text: &str| BASE64.decode(text.strip_prefix(SECRET_PREFIX)?).ok();
    let decoded: Vec<Vec<u8>> = held.reveal().split_whitespace().map(decode).collect::<Option<_>>()?;
    let is_good = (1..=SECRETS_MAX).contains(&decoded.len())
        && decoded.iter().all(|bytes| SECRET_BYTES.contains(&bytes.len()));
    is_good.then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Lookup;

    const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";

    fn check(url: &str, setting: &str, change: fn(&mut Context)) -> Result<Webhook, String> {
        let secrets = Lookup::of(|name| match name {
            "A_WEBHOOK_SECRET" => Some(SECRET.to_owned()),
            "TWO_WEBHOOK_SECRET" => Some(format!("{SECRET}  {SECRET}")),
            "SHORT_WEBHOOK_SECRET" => Some("whsec_c2hvcnQ=".to_owned()),
            "PLAIN_WEBHOOK_SECRET" => Some("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz".to_owned()),
            "EMPTY_WEBHOOK_SECRET" => Some(" ".to_owned()),
            _ => None,
        });
        let mut context = Context {
            default_backend: None,
            default_pool: None,
            has_batch: false,
            secrets,
            loopback_only: false,
            webhooks_allow_private: false,
        };
        change(&mut context);
        let given = file::Webhook {
            url: url.to_owned(),
            events: EventKind::ALL.to_vec(),
            secret_setting: setting.to_owned(),
        };
        webhook(&given, &context)
    }

    #[test]
    fn urls_lead_to_the_open_internet_only() {
        let refused = [
            ("http://example.com/", "https"),
            ("ftp://example.com/", "https"),
            ("https://user@example.com/", "user name"),
            ("https://:word@example.com/", "password"),
            ("https://127.0.0.1/", "open Internet"),
            ("https://127.1/", "open Internet"),
            ("https://0x7f000001/", "open Internet"),
            ("https://2130706433/", "open Internet"),
            ("https://169.254.169.254/metadata", "open Internet"),
            ("https://[::1]/", "open Internet"),
            ("https://[::ffff:10.0.0.1]/", "open Internet"),
            ("not a url", "no URL"),
        ];
        for (url, told) in refused {
            let problem = check(url, "A_WEBHOOK_SECRET", |_| {}).unwrap_err();
            assert!(problem.contains(told), "{url}: {problem}");
        }
        let taken = check("https://example.com/hook?key=hidden#part", "A_WEBHOOK_SECRET", |_| {}).unwrap();
        assert_eq!(taken.url.as_str(), "https://example.com/hook?key=hidden");
        assert_eq!(taken.shown(), "https://example.com/hook");
        assert_eq!(taken.endpoint.len(), ENDPOINT_CHARS);
        let shown = format!("{taken:?}");
        assert!(!shown.contains("hidden") && !shown.contains("0123"), "{shown}");
    }

    #[test]
    fn one_machine_may_send_to_itself() {
        let private = |context: &mut Context| context.webhooks_allow_private = true;
        for url in ["http://127.0.0.1:9/", "http://[::1]:9/", "http://localhost:9/", "https://10.0.0.1/"] {
            assert!(check(url, "A_WEBHOOK_SECRET", private).is_ok(), "{url}");
        }
        let scaled = |context: &mut Context| {
            context.webhooks_allow_private = true;
            context.loopback_only = true;
        };
        assert!(check("http://127.0.0.1:9/", "A_WEBHOOK_SECRET", scaled).is_ok());
        assert!(check("https://example.com/", "A_WEBHOOK_SECRET", scaled).is_err());
    }

    #[test]
    fn secrets_come_from_settings_made_for_them() {
        let refused = [
            ("AzureWebJobsStorage", "must end in _WEBHOOK_SECRET"),
            ("NO_WEBHOOK_SECRET", "NO_WEBHOOK_SECRET is not set"),
            ("SHORT_WEBHOOK_SECRET", "24 to 64 bytes"),
            ("PLAIN_WEBHOOK_SECRET", "whsec_"),
            ("EMPTY_WEBHOOK_SECRET", "1 to 3"),
        ];
        for (setting, told) in refused {
            let problem = check("https://example.com/", setting, |_| {}).unwrap_err();
            assert!(problem.contains(told), "{setting}: {problem}");
        }
        let two = check("https://example.com/", "TWO_WEBHOOK_SECRET", |_| {}).unwrap();
        assert_eq!(two.secrets, vec![b"012345678901234567890123".to_vec(); 2]);
    }
}
