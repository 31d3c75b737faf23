//! The doorbell: a message in a storage queue that says "look at this job". It makes work start
//! sooner and nothing more; whoever cannot ring goes on, and the sweep finds the job.

mod look;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_core::error::ErrorKind;
use azure_core::http::StatusCode;
use azure_storage_queue::models::{
    QueueClientGetPropertiesResultHeaders as _, QueueClientSendMessageOptions, QueueMessage,
};
use azure_storage_queue::{QueueClient, QueueServiceClient, QueueServiceClientOptions};
use facts::fault::{Act, Fault};
use wire::ticket::Ticket;

pub use look::{PEEKED_MAX, Seen};

use super::identity::Chain;
use super::sdk::{client_options, reason};
use super::storage_key::SharedKey;
use crate::settings::storage::{Access, Storage};
use crate::settings::{is_loopback, name};

/// Largest text of a message, in bytes: the service's own limit.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Longest delay of a ring. The service drops a message after 7 days, shown or not; ringing early
/// costs one read.
pub const DELAY_MAX: Duration = Duration::from_secs(6 * 24 * 60 * 60);
/// Longest call with all its tries: clients of HTTP paths wait for it.
const CALL_MAX: Duration = Duration::from_secs(5);
/// The newest version that Azurite takes as its users start it; the SDK's own is newer.
const LOOPBACK_API_VERSION: &str = "2025-11-05";

/// A queue that rings for work, and its account. Cheap to clone.
#[derive(Clone)]
pub struct Doorbell {
    account: Arc<QueueServiceClient>,
    queue: String,
    fault: Option<Arc<Fault>>,
}

/// Why a message was not put, or a queue not counted. Never shows a key or a SAS.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The text is longer than a message may be.
    #[error("a message of {0} bytes is longer than a queue takes, {MESSAGE_BYTES_MAX}")]
    TooLong(usize),
    /// The account does not let this process in; somebody must act.
    #[error(
        "{setting} does not open queue `{queue}` ({told}); give the account's current key, or a SAS or role that lets messages be added and queues be made",
        setting = name::STORAGE
    )]
    Denied {
        /// The queue.
        queue: String,
        /// Status and code of the service, or what the identity answered.
        told: String,
    },
    /// The service answered, and not with what was asked for.
    #[error("queue `{queue}` was refused: {told}")]
    Refused {
        /// The queue.
        queue: String,
        /// Status and code of the service.
        told: String,
    },
    /// No try had an answer.
    #[error("the queue service cannot be reached: {0}")]
    Unreachable(String),
    /// All tries together took too long.
    #[error("the queue service did not answer within {}s", CALL_MAX.as_secs())]
    TimedOut,
}

impl Doorbell {
    /// A queue of an account. `http` is the client that the process shares; it must not follow
    /// redirects. Calls nothing.
    ///
    /// # Errors
    /// Why the SDK does not take the account.
    pub fn open(
        storage: &Storage,
        queue: &str,
        http: reqwest::Client,
        identities: &Chain,
    ) -> Result<Doorbell, String> {
        let mut url = storage.queues.clone();
        let mut options = client_options(http);
        let mut credential: Option<Arc<dyn TokenCredential>> = None;
        match &storage.access {
            Access::Key { account, key } => {
                options.per_try_policies.push(Arc::new(SharedKey::new(account, key.reveal())?));
            }
            Access::Sas(sas) => url.set_query(Some(sas.reveal())),
            Access::Identity(chosen) => credential = Some(identities.open(chosen)?),
        }
        let mut options = QueueServiceClientOptions { client_options: options, ..Default::default() };
        if is_loopback(&url) {
            LOOPBACK_API_VERSION.clone_into(&mut options.version);
        }
        let account =
            QueueServiceClient::new(url, credential, Some(options)).map_err(|error| reason(&error))?;
        Ok(Doorbell { account: Arc::new(account), queue: queue.to_owned(), fault: None })
    }

    /// The same doorbell, with sends that meet this fault.
    #[must_use]
    pub fn with_fault(self, fault: Option<Arc<Fault>>) -> Doorbell {
        Doorbell { fault, ..self }
    }

    /// Tells whoever listens to look at a job now. A ring may arrive twice.
    ///
    /// # Errors
    /// [`RingError`]; the ring may have arrived all the same.
    pub async fn ring(&self, ticket: &Ticket) -> Result<(), RingError> {
        self.put(&self.queue, &text(ticket), None).await
    }

    /// As [`Doorbell::ring`], but after a delay, in the time of the service: whole seconds, rounded
    /// up, at most [`DELAY_MAX`].
    ///
    /// # Errors
    /// [`RingError`]; the ring may have arrived all the same.
    pub async fn ring_after(&self, ticket: &Ticket, delay: Duration) -> Result<(), RingError> {
        self.put(&self.queue, &text(ticket), whole_seconds(delay)).await
    }

    /// Puts a text that nobody could use into another queue of the account. As XML carries it: a
    /// carriage return arrives as a line feed.
    ///
    /// # Errors
    /// [`RingError`]; the text may have arrived all the same.
    pub async fn dead_letter(&self, queue: &str, text: &str) -> Result<(), RingError> {
        self.put(queue, text, None).await
    }

    /// About how many messages the queue holds, hidden ones included; none where there is no queue.
    ///
    /// # Errors
    /// [`RingError`].
    pub async fn length(&self) -> Result<u64, RingError> {
        let queue = self.client(&self.queue)?;
        let counted = bounded(async {
            match queue.get_properties(None).await.and_then(|found| found.approximate_messages_count()) {
                Ok(count) => Ok(count.and_then(|count| u64::try_from(count).ok())),
                Err(error) if is_missing(&error) => Ok(Some(0)),
                Err(error) => Err(told(&self.queue, &error)),
            }
        });
        let no_count =
            || RingError::Refused { queue: self.queue.clone(), told: "it told no count".to_owned() };
        counted.await?.ok_or_else(no_count)
    }

    async fn put(&self, queue: &str, text: &str, delay_s: Option<i32>) -> Result<(), RingError> {
        if text.len() > MESSAGE_BYTES_MAX {
            return Err(RingError::TooLong(text.len()));
        }
        let client = self.client(queue)?;
        let send = async {
            match send(&client, text, delay_s).await {
                Err(error) if is_missing(&error) => {
                    tracing::info!(queue, "the queue did not exist and is made");
                    client.create(None).await?;
                    send(&client, text, delay_s).await
                }
                sent => sent,
            }
        };
        let send = bounded(async { send.await.map_err(|error| told(queue, &error)) });
        // Outside the bound: a task that met its fault must not go on when the time is up.
        Fault::around(self.fault.as_deref(), Act::Send, send).await
    }

    fn client(&self, queue: &str) -> Result<QueueClient, RingError> {
        self.account.queue_client(queue).map_err(|error| told(queue, &error))
    }
}

impl fmt::Debug for Doorbell {
    /// Without the account's address, which may hold a SAS.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell").field("queue", &self.queue).finish_non_exhaustive()
    }
}

fn text(ticket: &Ticket) -> String {
    serde_json::to_string(ticket).expect("a ticket is text and numbers")
}

fn whole_seconds(delay: Duration) -> Option<i32> {
    let delay = delay.min(DELAY_MAX);
    let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
    i32::try_from(seconds).ok().filter(|seconds| *seconds > 0)
}

async fn send(queue: &QueueClient, text: &str, delay_s: Option<i32>) -> azure_core::Result<()> {
    let message = QueueMessage { message_text: Some(text.to_owned()) };
    let options = QueueClientSendMessageOptions { visibility_timeout: delay_s, ..Default::default() };
    queue.send_message(message.try_into()?, Some(options)).await.map(drop)
}

async fn bounded<T>(work: impl Future<Output = Result<T, RingError>>) -> Result<T, RingError> {
    tokio::time::timeout(CALL_MAX, work).await.unwrap_or(Err(RingError::TimedOut))
}

fn is_missing(error: &azure_core::Error) -> bool {
    matches!(error.kind(), ErrorKind::HttpResponse { error_code: Some(code), .. } if code == "QueueNotFound")
}

fn told(queue: &str, error: &azure_core::Error) -> RingError {
    let queue = queue.to_owned();
    match error.kind() {
        ErrorKind::HttpResponse { status, error_code, .. } => {
            let code = error_code.as_deref().unwrap_or("without a code");
            let told = format!("{} {code}", u16::from(*status));
            match status {
                StatusCode::Unauthorized | StatusCode::Forbidden => RingError::Denied { queue, told },
                _ => RingError::Refused { queue, told },
            }
        }
        ErrorKind::Credential => RingError::Denied { queue, told: reason(error) },
        _ => RingError::Unreachable(reason(error)),
    }
}
