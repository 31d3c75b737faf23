//! The roles that the handler needs, by name and GUID, and the command that gives one.

/// Who is given a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// The object id; none: the token does not tell it.
    pub id: Option<String>,
    /// Whether it is a person, who is logged in on this machine, and not the app.
    pub is_person: bool,
}

/// A built-in role of Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Blobs of the account. The Functions host needs it too, and no less.
    BlobOwner,
    /// Queues of the account.
    QueueContributor,
    /// Pools, jobs and tasks.
    BatchContributor,
    /// Reads secrets.
    SecretsUser,
}

impl Role {
    /// Its name, as the portal shows it.
    pub fn name(self) -> &'static str {
        match self {
            Role::BlobOwner => "Storage Blob Data Owner",
            Role::QueueContributor => "Storage Queue Data Contributor",
            Role::BatchContributor => "Azure Batch Data Contributor",
            Role::SecretsUser => "Key Vault Secrets User",
        }
    }

    /// Its id, the same in every subscription.
    pub fn guid(self) -> &'static str {
        match self {
            Role::BlobOwner => "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
            Role::QueueContributor => "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
            Role::BatchContributor => "6aaa78f1-f7de-44ca-8722-c64a23943cae",
            Role::SecretsUser => "4633458b-17de-408a-b874-0445c86b69e6",
        }
    }

    /// The kind of resource that it is given on.
    fn provider(self) -> &'static str {
        match self {
            Role::BlobOwner | Role::QueueContributor => "Microsoft.Storage/storageAccounts",
            Role::BatchContributor => "Microsoft.Batch/batchAccounts",
            Role::SecretsUser => "Microsoft.KeyVault/vaults",
        }
    }

    /// The line that gives it to `principal` on the resource of this name. What only the operator knows
    /// stands in capitals.
    pub fn assignment(self, principal: &Principal, resource: &str) -> String {
        format!(
            "give the identity role `{}`: az role assignment create --assignee-object-id {} --assignee-principal-type \
             {} --role {} --scope /subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/{}/{resource} \
             (it counts some minutes later)",
            self.name(),
            principal.id.as_deref().unwrap_or("PRINCIPAL_ID"),
            if principal.is_person { "User" } else { "ServicePrincipal" },
            self.guid(),
            self.provider(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_role_identity_and_scope() {
        let app = Principal { id: Some("oid-1".to_owned()), is_person: false };
        let line = Role::QueueContributor.assignment(&app, "acct");
        for part in [
            "Storage Queue Data Contributor",
            "--role 974c5e8b-45b9-4653-ba55-5f855dd0fb88",
            "--assignee-object-id oid-1 ",
            "Microsoft.Storage/storageAccounts/acct",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        let person = Role::SecretsUser.assignment(&Principal { id: None, is_person: true }, "v");
        assert!(person.contains("PRINCIPAL_ID --assignee-principal-type User "), "{person}");
    }
}
