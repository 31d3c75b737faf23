//! Where a stack keeps facts and rings: a folder and the queue stand-in, or an emulator that runs already.

use clock::Clock;

use super::{DOORBELL_QUEUE, Error, Files, OTHER_QUEUES, io};
use crate::loopback;
use crate::queue;
use crate::queue::client::{self, Account};

/// The container of facts, as a deployment has it.
const CONTAINER: &str = "switchyard";

/// The storage of a stack.
pub(super) struct Storage {
    /// For host and handler.
    pub(super) connection_string: String,
    /// Where the queues are.
    pub(super) queue_url: String,
    /// Where the facts are, without what opens them.
    pub(super) blob_url: String,
    /// What opens them on a node; none where nothing need be opened.
    pub(super) node_setting: Option<(String, String)>,
    stand_in: Option<queue::Server>,
}

impl Storage {
    /// Takes the emulator of this connection string, or starts the stand-in, and makes queues and container.
    pub(super) async fn start(named: Option<&str>, files: &Files, clock: Clock) -> Result<Storage, Error> {
        let storage = match named {
            Some(connection_string) => emulator(connection_string, clock).await?,
            None => stand_in(files, clock)?,
        };
        let account = Account::parse(&storage.connection_string)?;
        for name in [DOORBELL_QUEUE].into_iter().chain(OTHER_QUEUES) {
            account.queue(name).create().await?;
        }
        Ok(storage)
    }

    /// Whether it was there before and stays when the stack ends.
    pub(super) fn is_emulator(&self) -> bool {
        self.stand_in.is_none()
    }

    /// Ends what was started.
    pub(super) async fn stop(self) {
        if let Some(stand_in) = self.stand_in {
            stand_in.stop().await;
        }
    }
}

fn stand_in(files: &Files, clock: Clock) -> Result<Storage, Error> {
    let listener = loopback::any_port().map_err(io("no free port"))?;
    let queue = queue::Server::start(listener, clock).map_err(io("the queue stand-in"))?;
    let blobs = url::Url::from_file_path(&files.blobs).expect("the state folder was made absolute");
    Ok(Storage {
        connection_string: queue.connection_string(),
        queue_url: queue.url(),
        blob_url: blobs.to_string(),
        node_setting: None,
        stand_in: Some(queue),
    })
}

/// What a connection string opens, as far as it can be told without asking anybody.
struct Emulator {
    account: Account,
    key: String,
    blobs: url::Url,
}

/// Whether `--storage` may be what it is.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(connection_string: &str, clock: Clock) -> Result<(), Error> {
    read(connection_string, clock).map(drop)
}

fn read(connection_string: &str, clock: Clock) -> Result<Emulator, Error> {
    if clock.is_scaled() {
        return Err(Error::StorageClock);
    }
    let account = Account::parse(connection_string).map_err(Error::StorageString)?;
    // By a SAS of the account, Azurite deletes nothing: it has no permission for the call that deletes.
    let key = account.key().ok_or(Error::StorageKey)?;
    let blobs = account.container(CONTAINER)?;
    for url in [account.queues(), &blobs] {
        if !client::is_loopback(url) {
            return Err(Error::StorageElsewhere(url.origin().ascii_serialization()));
        }
    }
    Ok(Emulator { account, key, blobs })
}

async fn emulator(connection_string: &str, clock: Clock) -> Result<Storage, Error> {
    let Emulator { account, key, blobs } = read(connection_string, clock)?;
    account.create_container(CONTAINER).await.map_err(|error| match error {
        client::Error::Service(told) => Error::Storage { url: blobs.origin().ascii_serialization(), told },
        other => other.into(),
    })?;
    Ok(Storage {
        connection_string: connection_string.to_owned(),
        queue_url: account.queues().to_string(),
        blob_url: blobs.to_string(),
        node_setting: Some(("AZURE_STORAGE_KEY".to_owned(), key)),
        stand_in: None,
    })
}
