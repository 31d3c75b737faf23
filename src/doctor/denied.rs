//! What a refusal means: the service's code and how it was opened tell a wrong key from a missing role and
//! from a closed network. Pure.

use wire::doctor::Finding;

use super::check::Check;
use super::role::Role;

/// What opened a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// A key, which this setting holds.
    Key(&'static str),
    /// A shared access signature, which this setting holds.
    Sas(&'static str),
    /// The identity with this object id, where that is known.
    Identity(Option<String>),
}

impl Opened {
    /// Whether a token opened it.
    pub fn is_identity(&self) -> bool {
        matches!(self, Opened::Identity(_))
    }
}

/// A refusal of a service.
#[derive(Clone, Copy, Debug)]
pub struct Denied<'a> {
    /// Which check met it.
    pub check: Check,
    /// The service, as `queue account `a``.
    pub service: &'a str,
    /// Name of the resource that a role is given on.
    pub resource: &'a str,
    /// The role that lets this process do what was refused.
    pub role: Role,
    /// What the service answered, as `403 AuthorizationPermissionMismatch`.
    pub told: &'a str,
}

/// The service does not know who asks.
const UNKNOWN_CALLER: &[&str] =
    &["AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation", "Unauthorized"];
/// The service knows, and the network or a rule of the account keeps the caller out.
const NETWORK: &[&str] = &[
    "AuthorizationFailure",
    "IpAuthorizationFailure",
    "ForbiddenByFirewall",
    "ForbiddenByConnection",
    "PublicNetworkAccessDisabled",
];
/// The account is opened by identities alone.
const NO_KEYS: &[&str] = &["KeyBasedAuthenticationNotPermitted", "SharedKeyAccessNotAllowed"];

impl Denied<'_> {
    /// What it means and the one thing to do.
    pub fn finding(&self, opened: &Opened) -> Finding {
        let says = |codes: &[&str]| codes.iter().any(|code| self.told.contains(code));
        let found = |what: &str| format!("{} {what} ({})", self.service, self.told);
        match opened {
            Opened::Key(setting) if says(NO_KEYS) => {
                self.check.broken(found("takes no keys"), format!("unset {setting} and let an identity open the account"))
            }
            _ if says(NETWORK) => self.check.broken(
                found("lets nobody in from this network"),
                "allow this network in the account's firewall, or run where the app runs",
            ),
            Opened::Key(setting) => {
                self.check.broken(found("refuses the key"), format!("put a current key of the account into {setting}"))
            }
            Opened::Sas(setting) => self.check.broken(
                found("refuses the SAS"),
                format!("put a SAS into {setting} that has not ended and allows read, write, delete, list, add, create, update and process"),
            ),
            Opened::Identity(_) if says(UNKNOWN_CALLER) => self.check.broken(
                found("does not take the identity's token"),
                "use an identity of the directory (tenant) that the account's subscription belongs to; check the clock above",
            ),
            Opened::Identity(principal) => self.check.broken(
                found("refuses the identity, which has no role there"),
                self.role.assignment(principal.as_deref(), self.resource),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_its_code_and_by_what_opened_the_service() {
        let identity = || Opened::Identity(Some("oid-1".to_owned()));
        let cases = [
            (
                Opened::Key("K"),
                "403 AuthenticationFailed",
                "refuses the key",
                "put a current key of the account into K",
            ),
            (Opened::Key("K"), "403 KeyBasedAuthenticationNotPermitted", "takes no keys", "unset K"),
            (Opened::Sas("S"), "403 AuthorizationPermissionMismatch", "refuses the SAS", "put a SAS into S"),
            (
                identity(),
                "403 AuthorizationPermissionMismatch",
                "no role",
                "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
            ),
            (
                identity(),
                "403 AuthorizationPermissionMismatch",
                "no role",
                "az role assignment create --assignee-object-id oid-1 ",
            ),
            (identity(), "403 InsufficientAccountPermissions", "no role", "Storage Queue Data Contributor"),
            (identity(), "401 InvalidAuthenticationInfo", "token", "directory (tenant)"),
            (identity(), "403 AuthorizationFailure", "network", "firewall"),
            (Opened::Key("K"), "403 AuthorizationFailure", "network", "firewall"),
        ];
        for (opened, told, found, remedy) in cases {
            let denied = Denied {
                check: Check::Queue,
                service: "account `a`",
                resource: "a",
                role: Role::QueueContributor,
                told,
            };
            let finding = denied.finding(&opened);
            let (seen, todo) = (finding.found, finding.remedy.unwrap());
            assert!(
                seen.contains(found) && seen.contains(told) && todo.contains(remedy),
                "{told}: {seen} / {todo}"
            );
        }
    }
}
