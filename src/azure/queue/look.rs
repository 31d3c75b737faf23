//! Looks at a queue without touching it: what is peeked stays as visible as it was.

use azure_core::time::OffsetDateTime;
use azure_storage_queue::QueueClient;
use azure_storage_queue::models::{
    PeekedMessage, QueueClientGetPropertiesResultHeaders as _, QueueClientPeekMessagesOptions,
};

use super::{Doorbell, RingError, bounded, is_missing, told};

/// Messages that are peeked at: the most that the service shows at once.
pub const PEEKED_MAX: i32 = 32;

/// What a queue holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// About how many messages, hidden ones included.
    pub about: u64,
    /// Texts of the visible ones at its head, at most [`PEEKED_MAX`].
    pub texts: Vec<String>,
    /// When the oldest of these was put, in Unix ms of the service.
    pub oldest_unix_ms: Option<u64>,
}

impl Doorbell {
    /// Looks at a queue of the account; none where there is no such queue.
    ///
    /// # Errors
    /// [`RingError`].
    pub async fn look(&self, queue: &str) -> Result<Option<Seen>, RingError> {
        let client = self.client(queue)?;
        bounded(async {
            match look(&client).await {
                Ok(seen) => Ok(Some(seen)),
                Err(error) if is_missing(&error) => Ok(None),
                Err(error) => Err(told(queue, &error)),
            }
        })
        .await
    }
}

async fn look(queue: &QueueClient) -> azure_core::Result<Seen> {
    let about = queue.get_properties(None).await?.approximate_messages_count()?;
    let options =
        QueueClientPeekMessagesOptions { number_of_messages: Some(PEEKED_MAX), ..Default::default() };
    let peeked = queue.peek_messages(Some(options)).await?.into_model()?.items.unwrap_or_default();
    let oldest = peeked.iter().filter_map(|message| message.insertion_time).min();
    Ok(Seen {
        about: about.and_then(|about| u64::try_from(about).ok()).unwrap_or(0),
        texts: peeked.into_iter().filter_map(text).collect(),
        oldest_unix_ms: oldest.and_then(unix_ms),
    })
}

fn text(message: PeekedMessage) -> Option<String> {
    message.message_text
}

fn unix_ms(at: OffsetDateTime) -> Option<u64> {
    u64::try_from(at.unix_timestamp()).ok().map(|seconds| seconds * 1_000)
}
