//! The ready file: where a stack is, for programs that are not part of it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::keys::Keys;
use super::storage::Storage;
use super::{Files, processes};
use crate::azure_batch;
use crate::realtime::Front;
use crate::telemetry::Receiver;

/// The ready file of a state folder.
pub const READY_FILE: &str = "ready.json";

/// Addresses, keys and processes of a stack.
#[derive(Clone, Deserialize, Serialize)]
pub struct Ready {
    /// For OpenAI clients: `…/api/v1`.
    pub base_url: String,
    /// Tenant `dev`.
    pub api_key: String,
    /// For status and operate.
    pub admin_key: String,
    /// Where the tenant's webhook is, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
    /// What its requests are signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_secret: Option<String>,
    /// The Functions host.
    pub host_url: String,
    /// The queues: the stand-in's, or the emulator's.
    pub queue_url: String,
    /// The Azure Batch stand-in.
    pub batch_url: String,
    /// The name of its account.
    #[serde(default)]
    pub batch_account: String,
    /// The account's key, which opens nothing but the stand-in.
    #[serde(default)]
    pub batch_key: String,
    /// The facts: `file:///…`, or a container of the emulator without what opens it.
    pub blob_url: String,
    /// The front before the replicas.
    pub realtime_url: String,
    /// The Application Insights receiver.
    pub telemetry_url: String,
    /// The staged folder.
    pub app_root: String,
    /// App settings of the handler, but keys of further backends: for programs that start it a second time.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// `handler` and `replica-N`, as they run now.
    pub pids: BTreeMap<String, u32>,
}

impl Ready {
    pub(super) fn new(
        base: &str,
        keys: &Keys,
        files: &Files,
        (front, storage, batch, telemetry): (&Front, &Storage, &azure_batch::Server, &Receiver),
    ) -> Ready {
        Ready {
            base_url: format!("{base}/api/v1"),
            api_key: keys.api.reveal().to_owned(),
            admin_key: keys.admin.reveal().to_owned(),
            webhook_url: None,
            webhook_secret: None,
            host_url: base.to_owned(),
            queue_url: storage.queue_url.clone(),
            batch_url: batch.url().to_owned(),
            batch_account: batch.account().to_owned(),
            batch_key: batch.key().to_owned(),
            blob_url: storage.blob_url.clone(),
            realtime_url: front.url(),
            telemetry_url: telemetry.url(),
            app_root: files.app.display().to_string(),
            settings: BTreeMap::new(),
            pids: BTreeMap::new(),
        }
    }

    /// With the processes of this moment.
    pub(super) fn with_pids(&self, front: &Front) -> Ready {
        let handler =
            processes::Record::now().children().iter().find(|child| child.name == "handler").map(|h| h.pid);
        let replicas = front.replicas();
        let replicas =
            replicas.iter().filter_map(|replica| Some((format!("replica-{}", replica.id), replica.pid?)));
        let pids = handler.map(|pid| ("handler".to_owned(), pid)).into_iter().chain(replicas).collect();
        Ready { pids, ..self.clone() }
    }

    /// What a stack has written to `file`.
    ///
    /// # Errors
    /// When it cannot be read, or another program wrote it.
    pub fn read(file: &Path) -> std::io::Result<Ready> {
        Ok(serde_json::from_slice(&std::fs::read(file)?)?)
    }

    pub(super) fn write(&self, file: &Path) -> std::io::Result<()> {
        super::write_whole(file, &serde_json::to_vec_pretty(self)?)
    }
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready")
            .field("host_url", &self.host_url)
            .field("pids", &self.pids)
            .finish_non_exhaustive()
    }
}
