//! Who this process is to services that are opened without a key: a token for each of them. No token is
//! ever shown; of what it says only the object id is told, which is no secret and is what roles are given to.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wire::doctor::Finding;

use super::check::{Check, of};
use crate::azure::identity::{Chain, scope};
use crate::settings::storage::Access;
use crate::settings::{Blobs, Identity, Knobs, Settings};

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Queues and blobs.
    Storage,
    /// The vault of knobs.
    Vault,
    /// The Azure Batch account.
    Batch,
}

impl Audience {
    fn scope(self) -> &'static str {
        match self {
            Audience::Storage => scope::STORAGE,
            Audience::Vault => scope::KEY_VAULT,
            Audience::Batch => scope::BATCH,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Audience::Storage => "storage",
            Audience::Vault => "vault",
            Audience::Batch => "batch",
        }
    }
}

/// What came of asking for tokens.
#[derive(Debug, Default)]
pub struct Tokens {
    /// One for each audience, or one that says that none is needed.
    pub findings: Vec<Finding>,
    had: Vec<(Audience, Result<Option<String>, ()>)>,
}

impl Tokens {
    /// The object id of who has a token for this, where the token tells it.
    ///
    /// # Errors
    /// Where a token is needed and could not be had.
    pub fn principal(&self, audience: Audience) -> Result<Option<String>, ()> {
        let had = self.had.iter().find(|(of, _)| *of == audience);
        had.map_or(Ok(None), |(_, principal)| principal.clone())
    }
}

/// Asks for a token for each service that settings open by an identity.
pub async fn ask(settings: &Settings, identities: &Chain) -> Tokens {
    let wanted = wanted(settings);
    if wanted.is_empty() {
        let findings =
            vec![Check::Identity.ok("no token is needed: every service is opened by a key, a SAS or a path")];
        return Tokens { findings, had: Vec::new() };
    }
    let asked = wanted.into_iter().map(|(audience, chosen)| async move {
        let token = match identities.open(chosen) {
            Ok(identity) => identity.token(audience.scope()).await,
            Err(told) => Err(told),
        };
        match token {
            Ok(token) => {
                let principal = object_id(token.token.secret());
                let whose = principal.as_ref().map_or(String::new(), |id| format!(", object id {id}"));
                let finding = Check::Identity.ok(format!("{}{whose}: a token was given", describe(chosen)));
                (audience, of(audience.name(), finding), Ok(principal))
            }
            Err(told) => (audience, of(audience.name(), Check::Identity.broken_as_told(&told)), Err(())),
        }
    });
    let mut tokens = Tokens::default();
    for (audience, finding, principal) in futures_util::future::join_all(asked).await {
        tokens.findings.push(finding);
        tokens.had.push((audience, principal));
    }
    tokens
}

/// Which services need a token, and whose.
fn wanted(settings: &Settings) -> Vec<(Audience, &Identity)> {
    let mut wanted = Vec::new();
    let of_account = settings.doorbell.as_ref().and_then(|doorbell| match &doorbell.storage.access {
        Access::Identity(identity) => Some(identity),
        Access::Key { .. } | Access::Sas(_) => None,
    });
    let blobs = matches!(&settings.blobs, Blobs::Container { url, key: None } if !url.reveal().contains('?'));
    match of_account {
        Some(identity) => wanted.push((Audience::Storage, identity)),
        None if blobs => wanted.push((Audience::Storage, &settings.identity)),
        None => {}
    }
    if matches!(settings.knobs, Knobs::Vault(_)) {
        wanted.push((Audience::Vault, &settings.identity));
    }
    if settings.batch.as_ref().is_some_and(|account| account.key.is_none()) {
        wanted.push((Audience::Batch, &settings.identity));
    }
    wanted
}

fn describe(chosen: &Identity) -> String {
    match chosen {
        Identity::Workload { client_id, .. } => format!("workload identity, client id {client_id}"),
        Identity::Managed { client_id: Some(id) } => format!("user-assigned identity, client id {id}"),
        Identity::Managed { client_id: None } => "system-assigned identity".to_owned(),
        Identity::Developer => "whoever is logged in to `az` or `azd`".to_owned(),
    }
}

/// The claim `oid` of a token, where it is one of Entra ID's.
fn object_id(token: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let id = claims.get("oid")?.as_str()?;
    let is_id =
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_id.then(|| id.to_owned())
}

/// The chain that all checks share.
pub type Identities = Arc<Chain>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_id_of_a_token_is_told_and_nothing_else() {
        let token = |claims: &str| format!("head.{}.signature", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(
            object_id(&token(r#"{"oid":"11111111-2222","name":"x"}"#)).as_deref(),
            Some("11111111-2222")
        );
        for odd in [
            token("{}"),
            token(r#"{"oid":"a; rm -rf"}"#),
            token(r#"{"oid":7}"#),
            "opaque".to_owned(),
            "a.%.c".to_owned(),
        ] {
            assert_eq!(object_id(&odd), None, "{odd}");
        }
    }
}
