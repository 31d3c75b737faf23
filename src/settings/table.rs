//! Every setting that the handler reads: name, default, meaning. The README shows this table.

/// One row of the README's table of settings; a test compares the two.
#[derive(Debug)]
pub struct Setting {
    /// Name in the environment.
    pub name: &'static str,
    /// What counts when it is not set; none where nothing does.
    pub default: Option<&'static str>,
    /// Whether the handler starts without it.
    pub required: Required,
    /// What it means and what a wrong value does.
    pub meaning: &'static str,
}

/// Whether a setting must be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Required {
    /// Always.
    Yes,
    /// Never.
    No,
    /// The Functions host sets it.
    ByHost,
}

/// Names of settings that code refers to.
pub mod name {
    /// Port on 127.0.0.1 that the host expects the handler on.
    pub const PORT: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
    /// Where facts are kept.
    pub const BLOB_URL: &str = "BLOB_URL";
    /// Connection string of the storage account.
    pub const STORAGE: &str = "AzureWebJobsStorage";
    /// Name of the storage account that an identity opens.
    pub const STORAGE_ACCOUNT: &str = "AzureWebJobsStorage__accountName";
    /// Where the queues of the account are that an identity opens.
    pub const STORAGE_QUEUES: &str = "AzureWebJobsStorage__queueServiceUri";
    /// Where the blobs of that account are.
    pub const STORAGE_BLOBS: &str = "AzureWebJobsStorage__blobServiceUri";
    /// What kind of identity that is.
    pub const STORAGE_CREDENTIAL: &str = "AzureWebJobsStorage__credential";
    /// Which identity that is.
    pub const STORAGE_CLIENT: &str = "AzureWebJobsStorage__clientId";
    /// Queue that rings for new work.
    pub const QUEUE: &str = "STORAGE_QUEUE_NAME";
    /// File of knobs.
    pub const KNOBS_FILE: &str = "KNOBS_FILE";
    /// Vault of knobs.
    pub const KEY_VAULT_URL: &str = "KEY_VAULT_URL";
    /// File that replaces the catalogue in the store.
    pub const MODEL_CATALOG: &str = "MODEL_CATALOG";
    /// Realtime backend of a catalogue that names none with this URL.
    pub const ACA_ENDPOINT: &str = "ACA_ENDPOINT";
    /// Deferred pool of a catalogue that names none of this name.
    pub const BATCH_POOL_ID: &str = "BATCH_POOL_ID";
    /// The Azure Batch account's endpoint.
    pub const BATCH_ENDPOINT: &str = "BATCH_ENDPOINT";
    /// The Azure Batch account.
    pub const BATCH_ACCOUNT_NAME: &str = "BATCH_ACCOUNT_NAME";
    /// Its key.
    pub const BATCH_ACCOUNT_KEY: &str = "BATCH_ACCOUNT_KEY";
    /// Client id of a user-assigned or a workload identity.
    pub const CLIENT_ID: &str = "AZURE_CLIENT_ID";
    /// Directory of a workload identity.
    pub const TENANT_ID: &str = "AZURE_TENANT_ID";
    /// Token file of a workload identity.
    pub const FEDERATED_TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
    /// Where the platform gives tokens.
    pub const IDENTITY_ENDPOINT: &str = "IDENTITY_ENDPOINT";
    /// What the platform wants to see before it gives one.
    pub const IDENTITY_HEADER: &str = "IDENTITY_HEADER";
    /// Where telemetry goes.
    pub const TELEMETRY: &str = "APPLICATIONINSIGHTS_CONNECTION_STRING";
    /// The Log Analytics workspace behind it.
    pub const WORKSPACE: &str = "LOG_ANALYTICS_WORKSPACE_ID";
    /// Whether webhooks may lie on this machine or in a private network.
    pub const WEBHOOKS_PRIVATE: &str = "WEBHOOKS_ALLOW_PRIVATE";
    /// What is logged.
    pub const LOG: &str = "SWITCHYARD_LOG";
    /// Set by the platform: which instance this is.
    pub const INSTANCE: &str = "WEBSITE_INSTANCE_ID";
}

/// The queue that `functions/Dispatch` listens to.
pub const DOORBELL_QUEUE: &str = "batch-inference-queue";

const fn setting(
    name: &'static str,
    default: Option<&'static str>,
    required: Required,
    meaning: &'static str,
) -> Setting {
    Setting { name, default, required, meaning }
}

/// Every setting that the handler reads.
#[rustfmt::skip]
pub const ALL: &[Setting] = &[
    setting(name::PORT, None, Required::ByHost, "port on 127.0.0.1 that the Functions host expects the handler on; not needed with `--listen ADDR`"),
    setting(name::BLOB_URL, None, Required::Yes, "where facts are kept: `https://ACCOUNT.blob.core.windows.net/CONTAINER`, with a SAS as its query or by managed identity; `file:///FOLDER` on one machine (refused in Azure); not needed where AzureWebJobsStorage tells where the account's blobs are: then container `switchyard` there"),
    setting(name::STORAGE, None, Required::No, "connection string of the storage account whose queue rings for new work: with a key, a SAS, or `UseDevelopmentStorage=true` (with DevelopmentStorageProxyUri, if need be); its key or SAS also opens a BLOB_URL of that account; without an account work waits for the sweep"),
    setting(name::STORAGE_ACCOUNT, None, Required::No, "instead of a connection string: name of the account, opened by managed identity"),
    setting(name::STORAGE_QUEUES, None, Required::No, "instead of the name: https URL of the account's queues"),
    setting(name::STORAGE_BLOBS, None, Required::No, "beside it: https URL of the account's blobs, whose container `switchyard` holds the facts where BLOB_URL is not set"),
    setting(name::STORAGE_CREDENTIAL, None, Required::No, "with one of these: `managedidentity`, the only one there is"),
    setting(name::STORAGE_CLIENT, None, Required::No, "with one of these: client id of a user-assigned identity, where it is not the one of AZURE_CLIENT_ID"),
    setting(name::QUEUE, Some(DOORBELL_QUEUE), Required::No, "queue of that account that rings for new work; the one that `Dispatch/function.json` names, else work waits for the sweep"),
    setting(name::KEY_VAULT_URL, None, Required::No, "vault whose secrets are the knobs, as `https://NAME.vault.azure.net`, opened by the identity below; re-read about every three minutes; see \"Knobs in Key Vault\""),
    setting(name::KNOBS_FILE, None, Required::Yes, "JSON file of knobs, re-read every minute; `{}` means every default; not needed, and not read, where KEY_VAULT_URL is set"),
    setting(name::MODEL_CATALOG, None, Required::No, "path or `file://` URL of a catalogue that replaces `config/catalogue.json` of the store"),
    setting(name::ACA_ENDPOINT, None, Required::No, "URL of a realtime backend named `default`, added to a catalogue that has none with this URL"),
    setting(name::BATCH_POOL_ID, None, Required::No, "id of a deferred pool, added to a catalogue that has none of this name"),
    setting(name::BATCH_ENDPOINT, None, Required::No, "endpoint of the Azure Batch account, `https://ACCOUNT.REGION.batch.azure.com`; without it the deferred lane takes no work"),
    setting(name::BATCH_ACCOUNT_NAME, None, Required::No, "name of that account, where the endpoint does not begin with it"),
    setting(name::BATCH_ACCOUNT_KEY, None, Required::No, "key of that account; without it the identity below opens it, over https only"),
    setting(name::CLIENT_ID, None, Required::No, "client id of the user-assigned identity that opens what has no key; without it the system-assigned one, and outside Azure whoever is logged in to `az` or `azd`"),
    setting(name::TENANT_ID, None, Required::No, "with the next, set on Kubernetes: directory of a workload identity"),
    setting(name::FEDERATED_TOKEN_FILE, None, Required::No, "set on Kubernetes: token file of a workload identity, which AZURE_CLIENT_ID names"),
    setting(name::IDENTITY_ENDPOINT, None, Required::ByHost, "set by Azure: where a managed identity's tokens are given"),
    setting(name::IDENTITY_HEADER, None, Required::ByHost, "set by Azure: what that endpoint wants to see"),
    setting(name::WEBHOOKS_PRIVATE, Some("0"), Required::No, "for one machine only, refused in Azure: `1` lets webhooks be http and lie on this machine or in a private network"),
    setting(name::TELEMETRY, None, Required::No, "connection string of Application Insights; without it no telemetry is sent"),
    setting(name::WORKSPACE, None, Required::No, "id of the Log Analytics workspace that keeps what Application Insights is sent; `doctor` says where logs lie by it"),
    setting(name::LOG, Some("info"), Required::No, "what is logged to standard output, as `info` or `access=debug,info`; answers below 400 are logged at debug"),
    setting(name::INSTANCE, None, Required::No, "set by Azure: names this instance; without it a random name"),
    setting(clock::EPOCH_SETTING, None, Required::No, "with the next: instant in Unix ms from which time runs faster; refused unless every endpoint is loopback"),
    setting(clock::SPEED_SETTING, None, Required::No, "how many seconds pass in a real one, from 1"),
    setting(facts::fault::SETTING, None, Required::No, "for tests, debug builds only: `kill-after-put:N@FILE` and its kin end the process at its N-th write"),
];
