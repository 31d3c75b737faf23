//! Dead letters: messages that nobody works on, kept as facts until somebody looks at them.
//!
//! - [`keep`]: a letter comes to be, once for each text and at most 1,000 a day
//! - [`list`]: letters with what was done about them, the newest first
//! - [`replay`]: another look at the job that a letter names
//!
//! A ticket is only a doorbell, so a replay that is made twice, or by a process that dies in the middle of
//! it, costs a look and nothing else.

pub mod keep;
pub mod list;
pub mod replay;

use clock::Clock;
use facts::{Store, StoreError, key};
use tokio::sync::Mutex;

use super::jobs::Jobs;

/// Everything that is done with dead letters.
pub struct DeadLetters {
    jobs: Jobs,
    clock: Clock,
    day: Mutex<keep::Day>,
}

impl DeadLetters {
    /// Dead letters in the store of these jobs.
    pub fn new(jobs: Jobs, clock: Clock) -> DeadLetters {
        DeadLetters { jobs, clock, day: Mutex::default() }
    }

    fn store(&self) -> &Store {
        self.jobs.store()
    }

    /// Deletes a letter and what was done about it; one that is gone is gone already. The same message, given
    /// up again, is a new letter.
    ///
    /// # Errors
    /// [`StoreError`]: then the letter may be there still.
    pub async fn delete(&self, id: &str) -> Result<(), StoreError> {
        for mark in self.store().list(&key::dead_marks(id)).await? {
            self.store().delete(&mark.key).await?;
        }
        // Last: while it is there, a repeat finds what is left.
        self.store().delete(&key::dead_letter_of(id)).await
    }
}
