//! Which identity this process has, where a service is opened without a key.

use std::path::PathBuf;

use super::{Reader, name};

/// An identity, chosen by what the platform set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A workload's on Kubernetes: a token in a file is exchanged for one of Entra ID.
    Workload {
        /// The directory.
        tenant_id: String,
        /// The application.
        client_id: String,
        /// The file.
        token_file: PathBuf,
    },
    /// A managed identity: the platform gives tokens on loopback (App Service, Functions) or at the
    /// metadata address of a virtual machine.
    Managed {
        /// Of a user-assigned identity; none: the system-assigned one.
        client_id: Option<String>,
    },
    /// Whoever is logged in to `az` or `azd` on this machine.
    Developer,
}

impl Identity {
    /// The first of the chain that the settings speak of.
    pub fn read(given: impl Fn(&'static str) -> Option<String>) -> Identity {
        let client_id = given(name::CLIENT_ID);
        match (given(name::TENANT_ID), given(name::FEDERATED_TOKEN_FILE), client_id) {
            (Some(tenant_id), Some(token_file), Some(client_id)) => {
                Identity::Workload { tenant_id, client_id, token_file: PathBuf::from(token_file) }
            }
            (_, _, client_id) if client_id.is_some() || given(name::IDENTITY_ENDPOINT).is_some() => {
                Identity::Managed { client_id }
            }
            _ => Identity::Developer,
        }
    }
}

impl Reader {
    pub(super) fn identity(&mut self) -> Identity {
        let wants_exchange = self.text(name::FEDERATED_TOKEN_FILE).is_some();
        for name in [name::CLIENT_ID, name::TENANT_ID] {
            if wants_exchange && self.text(name).is_none() {
                self.problem(
                    name,
                    "is not set beside AZURE_FEDERATED_TOKEN_FILE; a workload identity needs it",
                );
            }
        }
        Identity::read(|name| self.text(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_takes_the_first_that_is_set() {
        let workload = Identity::Workload {
            tenant_id: "t".to_owned(),
            client_id: "c".to_owned(),
            token_file: PathBuf::from("/f"),
        };
        let managed = |client_id: Option<&str>| Identity::Managed { client_id: client_id.map(str::to_owned) };
        let (tenant, file) = ((name::TENANT_ID, "t"), (name::FEDERATED_TOKEN_FILE, "/f"));
        let (client, endpoint) = ((name::CLIENT_ID, "c"), (name::IDENTITY_ENDPOINT, "http://127.0.0.1:1"));
        let cases: [(&[(&'static str, &str)], Identity); 6] = [
            (&[tenant, file, client, endpoint], workload),
            (&[client, endpoint], managed(Some("c"))),
            (&[endpoint], managed(None)),
            (&[client], managed(Some("c"))),
            (&[tenant, file, endpoint], managed(None)),
            (&[], Identity::Developer),
        ];
        for (pairs, expected) in cases {
            let found = Identity::read(|asked| {
                pairs.iter().find(|(name, _)| *name == asked).map(|(_, value)| (*value).to_owned())
            });
            assert_eq!(found, expected, "{pairs:?}");
        }
    }
}
