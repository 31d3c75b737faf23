//! A small client of the Storage Queue service: what the Functions host's listener and output
//! bindings need of it. Speaks to the stand-in, to Azurite and to Azure alike.

use std::time::Duration;

/// A storage account's queue endpoint and how to sign for it.
#[derive(Clone)]
pub struct Account {}

/// One queue of an account.
#[derive(Clone)]
pub struct Queue {}

/// A message that was taken from a queue and is invisible to others for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The service's id of the message.
    pub id: String,
    /// Proof of being the last who took it; changes with every update.
    pub pop_receipt: String,
    /// The text as it lies in the queue.
    pub text: String,
    /// How often it was taken, this time included.
    pub dequeue_count: u32,
    /// RFC 1123, as the service writes it.
    pub inserted: String,
    /// RFC 1123, as the service writes it.
    pub expires: String,
    /// RFC 1123, as the service writes it.
    pub next_visible: String,
}

/// What went wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection string is not one; the text says what is missing.
    #[error("{0}")]
    ConnectionString(String),
    /// The queue or the message does not exist, or the pop receipt is stale.
    #[error("not found: {0}")]
    NotFound(String),
    /// The service refused or could not be reached.
    #[error("{0}")]
    Service(String),
}

impl Account {
    /// Parses `UseDevelopmentStorage=true`, a connection string with a key or with a SAS.
    ///
    /// # Errors
    /// [`Error::ConnectionString`] that names the missing part.
    pub fn parse(_connection_string: &str) -> Result<Account, Error> {
        todo!()
    }

    /// The queue of that name; it need not exist yet.
    pub fn queue(&self, _name: &str) -> Queue {
        todo!()
    }
}

#[allow(missing_docs)]
impl Queue {
    /// Creates the queue; an existing one is left as it is.
    pub async fn create(&self) -> Result<(), Error> {
        todo!()
    }

    /// Adds a message; the text is sent as it is.
    pub async fn put(&self, _text: &str) -> Result<(), Error> {
        todo!()
    }

    /// Takes up to 32 messages and hides them for `visibility`.
    pub async fn get(&self, _count: u8, _visibility: Duration) -> Result<Vec<Message>, Error> {
        todo!()
    }

    /// Hides a taken message for `visibility` from now on, and returns its new pop receipt.
    pub async fn hide(&self, _message: &Message, _visibility: Duration) -> Result<String, Error> {
        todo!()
    }

    /// Deletes a taken message.
    pub async fn delete(&self, _message: &Message) -> Result<(), Error> {
        todo!()
    }
}
