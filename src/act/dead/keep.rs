//! Writes down, once, a message that nobody will work on.

use facts::dead::{Letter, Returned};
use facts::key::{self, Dead};
use facts::{Put, StoreError, VERSION};

use super::DeadLetters;

/// Letters of a day that are kept. A flood of nonsense must not fill the store: the queue
/// `batch-inference-dlq` has all of them. Soft by what other processes keep at the same time.
pub const KEPT_A_DAY_MAX: u64 = 1_000;
const DAY_MS: u64 = 24 * 3_600_000;

/// What became of a message that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is a new letter.
    New,
    /// It was one before: delivered twice, a message is one dead letter.
    Known,
    /// It was replayed since, and given up again.
    Returned,
    /// It was not kept: the day has [`KEPT_A_DAY_MAX`] letters already.
    Beyond,
}

/// Letters of a Unix day.
#[derive(Debug, Default)]
pub(super) struct Day {
    day: u64,
    /// In the store, as far as this process knows.
    kept: u64,
    /// That this process did not keep.
    beyond: u64,
}

impl DeadLetters {
    /// Keeps a letter whose whole text hashes to `id`.
    ///
    /// # Errors
    /// When the store failed: the message must then stay where it is.
    pub async fn keep(&self, id: &str, letter: &Letter) -> Result<Kept, StoreError> {
        let key = key::dead_letter_of(id);
        if self.store().exists(&key).await? {
            return self.again(id, letter).await;
        }
        if !self.take_place().await? {
            return Ok(Kept::Beyond);
        }
        let text = serde_json::to_vec(letter).expect("a letter is plain data, which always serializes");
        match self.store().create(&key, text).await? {
            Put::Created => Ok(Kept::New),
            Put::Existed => self.again(id, letter).await,
        }
    }

    /// Letters of today that this process did not keep.
    pub async fn not_kept_today(&self) -> u64 {
        let day = self.day.lock().await;
        if day.day == self.today() { day.beyond } else { 0 }
    }

    /// A letter that is there came once more: news where it was replayed since it last came.
    async fn again(&self, id: &str, letter: &Letter) -> Result<Kept, StoreError> {
        let marks = self.store().list(&key::dead_marks(id)).await?;
        let replayed = marks.iter().filter_map(|mark| match key::read_dead(&mark.key) {
            Some((_, Dead::Replayed(at))) => Some(at),
            _ => None,
        });
        let Some(newest) = replayed.max() else { return Ok(Kept::Known) };
        let returned = Returned { v: VERSION, at_unix_ms: letter.at_unix_ms, reason: letter.reason.clone() };
        let text = serde_json::to_vec(&returned).expect("a mark is plain data, which always serializes");
        match self.store().create(&key::dead_returned(id, newest), text).await? {
            Put::Created => Ok(Kept::Returned),
            Put::Existed => Ok(Kept::Known),
        }
    }

    /// Takes one of the day's places. The first of a day counts what is in the store.
    async fn take_place(&self) -> Result<bool, StoreError> {
        let today = self.today();
        let mut day = self.day.lock().await;
        if day.day != today {
            *day = Day { day: today, kept: self.kept_on(today).await?, beyond: 0 };
        }
        if day.kept >= KEPT_A_DAY_MAX {
            day.beyond += 1;
            return Ok(false);
        }
        day.kept += 1;
        Ok(true)
    }

    async fn kept_on(&self, day: u64) -> Result<u64, StoreError> {
        let found = match self.store().list(key::DEAD).await {
            Ok(found) => found,
            // More than can be listed is more than may be kept.
            Err(StoreError::TooLarge(_)) => return Ok(KEPT_A_DAY_MAX),
            Err(error) => return Err(error),
        };
        let kept = found.iter().filter(|found| {
            let is_letter = matches!(key::read_dead(&found.key), Some((_, Dead::Letter)));
            is_letter && self.clock.at_ms(found.modified_ms) / DAY_MS == day
        });
        Ok(kept.count() as u64)
    }

    fn today(&self) -> u64 {
        self.clock.now_ms() / DAY_MS
    }
}
