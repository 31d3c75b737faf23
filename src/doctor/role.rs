//! The roles that the handler needs, by name and GUID, and the command that gives one.

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

    /// The line that gives it to `principal`, an object id, on the resource of this name. What only the
    /// operator knows stands in capitals.
    pub fn assignment(self, principal: Option<&str>, resource: &str) -> String {
        format!(
            "give the identity role `{}`: az role assignment create --assignee-object-id {} --assignee-principal-type \
             ServicePrincipal --role {} --scope /subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/{}/{resource} \
             (it counts some minutes later)",
            self.name(),
            principal.unwrap_or("PRINCIPAL_ID"),
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
        let line = Role::QueueContributor.assignment(Some("oid-1"), "acct");
        for part in [
            "Storage Queue Data Contributor",
            "--role 974c5e8b-45b9-4653-ba55-5f855dd0fb88",
            "--assignee-object-id oid-1 ",
            "Microsoft.Storage/storageAccounts/acct",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(Role::SecretsUser.assignment(None, "v").contains("PRINCIPAL_ID"));
    }
}
