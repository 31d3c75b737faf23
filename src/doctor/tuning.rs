//! The vault or file of knobs, and the set that it holds.

use policy::Knobs;
use serde_json::Value;
use wire::doctor::Finding;

use super::check::{Check, of};
use super::denied::{Denied, Opened};
use super::role::Role;
use super::tokens::{Audience, Tokens};
use super::within;
use crate::azure::vault::{Vault, VaultError};
use crate::knobs::{self, Given, set};
use crate::settings::name;

/// What is in force after a read.
#[derive(Debug)]
pub struct Tuned {
    /// Of the vault and of the set.
    pub findings: Vec<Finding>,
    /// The set; the defaults where it could not be had.
    pub knobs: Knobs,
}

impl Tuned {
    /// The defaults, because nothing was read.
    pub fn unread(findings: Vec<Finding>) -> Tuned {
        Tuned { findings, knobs: Knobs::default() }
    }
}

/// Reads the file.
pub async fn of_file(file: &std::path::Path) -> Tuned {
    let no_vault = Check::Vault.needs(&format!("{}; knobs come from a file", name::KEY_VAULT_URL));
    let read = match tokio::fs::read_to_string(file).await {
        Ok(text) => serde_json::from_str::<Given>(&text)
            .map_err(|error| format!("{} is not a JSON object: {error}", name::KNOBS_FILE)),
        Err(error) => Err(format!("{} cannot be read: {error}", name::KNOBS_FILE)),
    };
    match read {
        Ok(given) => judged(vec![no_vault], given),
        Err(told) => Tuned::unread(vec![
            no_vault,
            Check::Knobs.broken(
                told,
                format!("write a JSON object into {}; `{{}}` means every default", file.display()),
            ),
        ]),
    }
}

/// Reads the vault's secrets that are named as knobs are.
pub async fn of_vault(vault: &Vault, url: &url::Url, tokens: &Tokens) -> Tuned {
    let needs = |what: &str| Tuned::unread(vec![Check::Vault.needs(what), Check::Knobs.needs("vault")]);
    let Ok(principal) = tokens.principal(Audience::Vault) else { return needs("identity") };
    let host = url.host_str().unwrap_or_default();
    let vault_name = host.split('.').next().unwrap_or_default();
    let names: Vec<&'static str> = knobs::known().iter().map(|known| known.name).collect();
    let told = match within(vault.read(&names)).await {
        Some(Ok(read)) => {
            let found = format!("{host}: secrets are listed and read, {} of them are knobs", read.len());
            let given = read.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value)));
            return judged(vec![Check::Vault.ok(found)], given.collect());
        }
        Some(Err(VaultError::Denied { told, .. })) => {
            let service = format!("vault `{vault_name}`");
            let (check, role, told) = (Check::Vault, Role::SecretsUser, told.as_str());
            Denied { check, service: &service, resource: vault_name, role, told }
                .finding(&Opened::Identity(principal))
        }
        Some(Err(VaultError::NoToken { told, .. })) => Check::Vault.broken_as_told(&told),
        Some(Err(VaultError::Throttled(_))) => Check::Vault.warning(
            format!("vault `{vault_name}` is throttled"),
            "give the knobs a vault of their own, or look at what else reads this one",
        ),
        Some(Err(VaultError::Refused { told, .. })) => Check::Vault.broken(
            format!("vault `{vault_name}` answered {told}"),
            "look at the vault in the portal: whether it is deleted, its network rules, its region's health",
        ),
        Some(Err(VaultError::Unreachable { .. } | VaultError::TimedOut(_))) | None => Check::Vault.broken(
            format!("vault `{host}` cannot be reached"),
            format!(
                "check {} and the way to it: name resolution, firewall, private endpoint",
                name::KEY_VAULT_URL
            ),
        ),
    };
    Tuned::unread(vec![told, Check::Knobs.needs("vault")])
}

/// The settings of knobs could not be read.
pub fn unknown() -> Tuned {
    Tuned::unread(vec![Check::Vault.needs("settings"), Check::Knobs.needs("settings")])
}

/// Before a deployment there may be no vault to read.
pub fn unread_before_deploy() -> Tuned {
    Tuned::unread(vec![Check::Knobs.needs("the vault, which is looked at after the deployment")])
}

fn judged(mut findings: Vec<Finding>, given: Given) -> Tuned {
    let count = given.len();
    match set::of(given) {
        Ok(knobs) => {
            let defaults = knobs::known().len() - count;
            findings.push(Check::Knobs.ok(format!("given: {count}; at their defaults: {defaults}")));
            Tuned { findings, knobs }
        }
        Err(problems) => {
            let broken = problems.iter().map(|problem| {
                let (subject, what) = problem.split_once(' ').unwrap_or((problem, ""));
                of(subject, Check::Knobs.broken_as_told(&format!("{subject} {what}")))
            });
            findings.extend(broken);
            Tuned::unread(findings)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wire::doctor::Outcome;

    use super::*;

    #[test]
    fn every_refused_knob_is_a_line_of_its_own() {
        let given = json!({ "rescue-share": 101, "no-knob": 1, "max-aca-replicas": 7 });
        let tuned = judged(Vec::new(), given.as_object().unwrap().clone());
        let told: Vec<_> = tuned
            .findings
            .iter()
            .map(|finding| {
                (finding.subject.as_deref().unwrap(), finding.outcome, finding.remedy.as_deref().unwrap())
            })
            .collect();
        let expected = [
            ("rescue-share", Outcome::Broken, "give a whole number from 0 to 100"),
            ("no-knob", Outcome::Broken, "remove it"),
        ];
        assert_eq!(told, expected);
        assert_eq!(tuned.knobs, Knobs::default());
    }

    #[test]
    fn a_good_set_says_which_are_defaults() {
        let tuned = judged(Vec::new(), json!({ "max-aca-replicas": "7" }).as_object().unwrap().clone());
        assert_eq!(tuned.knobs.max_replicas, 7);
        assert!(tuned.findings[0].found.starts_with("given: 1; "), "{:?}", tuned.findings);
    }
}
