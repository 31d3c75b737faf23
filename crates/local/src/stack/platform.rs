//! What the platform does around a function app: gives it its settings, and starts the host
//! again when it has ended.

use std::path::PathBuf;
use std::time::Duration;

use clock::Clock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::catalogue::WEBHOOK_SECRET;
use super::storage::Storage;
use super::{DOORBELL_QUEUE, Error, Files, Ready};
use crate::azure_batch;
use crate::host::{self, Ending};
use crate::queue::client::Account;
use crate::telemetry::Receiver;

/// How soon the platform starts an instance again whose host has ended.
const PLATFORM_RESTART: Duration = Duration::from_secs(1);
/// A handler that does not answer by then will not.
pub(super) const READY_LIMIT: Duration = Duration::from_secs(60);
/// As `local.settings.sample.json` and the deployed app have it.
const BODY_SIZE_LIMIT: &str = "268435456";

/// App settings: what the deployed app has, pointed at this machine.
pub(super) fn app_settings(
    clock: Clock,
    files: &Files,
    ready: &Ready,
    (storage, batch, telemetry): (&Storage, &azure_batch::Server, &Receiver),
) -> Vec<(String, String)> {
    let mut settings: Vec<(String, String)> = [
        ("FUNCTIONS_WORKER_RUNTIME", "custom".to_owned()),
        ("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", BODY_SIZE_LIMIT.to_owned()),
        ("AzureWebJobsStorage", storage.connection_string.clone()),
        ("STORAGE_QUEUE_NAME", DOORBELL_QUEUE.to_owned()),
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", telemetry.connection_string()),
        ("BATCH_ENDPOINT", batch.url().to_owned()),
        ("BATCH_ACCOUNT_NAME", batch.account().to_owned()),
        ("BATCH_ACCOUNT_KEY", batch.key().to_owned()),
        ("ACA_ENDPOINT", ready.realtime_url.clone()),
        ("BLOB_URL", ready.blob_url.clone()),
        ("KNOBS_FILE", files.knobs.display().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if storage.is_emulator() {
        // It stays in the state folder, where `switchyard tenant` changes it.
        settings.push(("MODEL_CATALOG".to_owned(), files.catalogue().display().to_string()));
    }
    if let Some(secret) = &ready.webhook_secret {
        // Whoever has a webhook here has it on this machine.
        let set = [(WEBHOOK_SECRET, secret.as_str()), ("WEBHOOKS_ALLOW_PRIVATE", "1")];
        settings.extend(set.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    settings.extend(clock_settings(clock));
    settings
}

/// What gives a child process this clock.
pub(super) fn clock_settings(clock: Clock) -> Vec<(String, String)> {
    clock.settings().into_iter().flatten().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The host and what the platform does around it.
pub(super) struct HostRun {
    pub(super) app_root: PathBuf,
    pub(super) listener: std::net::TcpListener,
    pub(super) settings: Vec<(String, String)>,
    pub(super) clock: Clock,
}

impl HostRun {
    /// Starts the host again whenever it ends by itself, as the platform would.
    pub(super) async fn keep(self, storage: String, stop: CancellationToken) -> Result<(), host::StartError> {
        loop {
            let options = host::Options {
                app_root: self.app_root.clone(),
                listener: self.listener.try_clone()?,
                storage: Account::parse(&storage).ok(),
                keys: host::Keys::Off,
                settings: self.settings.clone(),
                clock: self.clock,
            };
            match host::run(options, stop.clone().cancelled_owned()).await? {
                Ending::Stopped => return Ok(()),
                ending => tracing::warn!(?ending, "the host ended; it is started again in 1 s"),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(PLATFORM_RESTART) => {}
            }
        }
    }
}

/// Returns when the handler answers through the host.
pub(super) async fn await_handler(
    base: &str,
    host: &mut JoinHandle<Result<(), host::StartError>>,
) -> Result<(), Error> {
    let client = reqwest::Client::new();
    let page = format!("{base}/api/health");
    let mut last = "none".to_owned();
    let answers = async {
        loop {
            match client.get(&page).timeout(READY_LIMIT).send().await {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) => last = answer.status().to_string(),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answered = tokio::select! {
        answered = tokio::time::timeout(READY_LIMIT, answers) => answered.is_ok(),
        ended = host => return match ended {
            Ok(Err(error)) => Err(error.into()),
            _ => Err(Error::HostEnded),
        },
    };
    if answered { Ok(()) } else { Err(Error::NotReady { last }) }
}
