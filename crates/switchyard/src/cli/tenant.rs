//! What `switchyard tenant` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `switchyard tenant`
#[derive(Debug, Args)]
pub struct Tenant {
    /// The catalogue's file; else that of the stack in the state folder.
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "state")]
    pub catalogue: Option<PathBuf>,
    /// State folder of the stack, if it was started with one.
    #[arg(long, value_name = "DIR", global = true)]
    pub state: Option<PathBuf>,
    /// Print one JSON object a line.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: TenantCommand,
}

/// What is done with tenants.
#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Show all of them; of keys, the public prefixes.
    List,
    /// Make a key, and its tenant if there is none of this name. The key is printed this once.
    Add {
        /// 1 to 64 letters, digits, - and _.
        name: String,
        /// What the key may do.
        #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "submit,read,cancel", value_parser = ["submit", "read", "cancel", "admin"])]
        permissions: Vec<String>,
        #[command(flatten)]
        #[expect(missing_docs, reason = "a doc comment here would replace the command's own help")]
        limits: Limits,
    },
    /// Change what a tenant may use; what is not named stays.
    Limit {
        /// Its name.
        name: String,
        #[command(flatten)]
        #[expect(missing_docs, reason = "a doc comment here would replace the command's own help")]
        limits: Limits,
    },
    /// Take a key away; it is refused within 65 s.
    Revoke {
        /// The tenant's name.
        name: String,
        /// The public prefix of the key, as `list` shows it.
        prefix: String,
    },
    /// Change who is told when a tenant's batches end.
    Webhook {
        /// The tenant's name.
        name: String,
        /// What to do.
        #[command(subcommand)]
        what: TenantWebhook,
    },
}

/// What is done with webhooks.
#[derive(Debug, Subcommand)]
pub enum TenantWebhook {
    /// Tell an address of all ends of batches.
    Add {
        /// https, and an address on the internet.
        url: String,
        /// The handler's setting with its secret; ends in _WEBHOOK_SECRET.
        #[arg(long, value_name = "NAME")]
        secret_setting: String,
    },
    /// Tell an address no more.
    Remove {
        /// As it was added.
        url: String,
    },
}

/// What a tenant may use.
#[derive(Debug, Default, PartialEq, Args)]
pub struct Limits {
    /// Requests a minute.
    #[arg(long, value_name = "N")]
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute, in and out.
    #[arg(long, value_name = "N")]
    pub tokens_per_minute: Option<u64>,
    /// Lines of jobs that have not ended.
    #[arg(long, value_name = "N")]
    pub queued_items: Option<u64>,
    /// US dollars a UTC day.
    #[arg(long, value_name = "USD")]
    pub usd_per_day: Option<f64>,
    /// Its share beside others that wait for the same pool, from 1 to 1000.
    #[arg(long, value_name = "N")]
    pub weight: Option<u32>,
    /// Classes that its jobs may have.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = ["interactive", "standard", "bulk"])]
    pub classes: Vec<String>,
    /// Limits to take away.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = ["requests_per_minute", "tokens_per_minute", "queued_items", "usd_per_day"])]
    pub unlimited: Vec<String>,
}
