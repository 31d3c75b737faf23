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

#[cfg(test)]
mod tests {
    use clock::Clock;
    use facts::Store;
    use facts::dead::Replayed;

    use super::*;
    use crate::act::dead::list::Filter;
    use crate::act::jobs::Jobs;

    fn desk(store: &Store) -> DeadLetters {
        let jobs = Jobs::new(store.clone(), Clock::REAL, None, None, String::new());
        DeadLetters::new(jobs, Clock::REAL)
    }

    async fn keep(desk: &DeadLetters, text: &str) -> Kept {
        let letter = Letter::new(desk.clock.now_ms(), "no_ticket", text);
        desk.keep(&key::hex_sha256(text.as_bytes()), &letter).await.unwrap()
    }

    #[tokio::test]
    async fn a_day_has_its_bound_and_what_is_beyond_is_told() {
        let store = Store::memory();
        let one = desk(&store);
        for n in 0..KEPT_A_DAY_MAX {
            assert_eq!(keep(&one, &n.to_string()).await, Kept::New, "{n}");
        }
        assert_eq!(keep(&one, "more").await, Kept::Beyond);
        assert_eq!(keep(&one, "7").await, Kept::Known, "what is there is no new letter");
        // A process that starts counts what is in the store.
        let other = desk(&store);
        assert_eq!(keep(&other, "more").await, Kept::Beyond);
        assert_eq!((one.not_kept_today().await, other.not_kept_today().await), (1, 1));
        assert_eq!(store.list(key::DEAD).await.unwrap().len() as u64, KEPT_A_DAY_MAX);
        other.delete(&key::hex_sha256(b"7")).await.unwrap();
        assert_eq!(keep(&desk(&store), "more").await, Kept::New, "a letter that is deleted makes room");
    }

    #[tokio::test]
    async fn a_letter_that_was_replayed_comes_back_once_for_each_replay() {
        let store = Store::memory();
        let desk = desk(&store);
        let id = key::hex_sha256(b"x");
        assert_eq!(keep(&desk, "x").await, Kept::New);
        assert_eq!(keep(&desk, "x").await, Kept::Known);
        for at in [5, 7] {
            let replayed = Replayed { v: VERSION, at_unix_ms: at, by: "operator".to_owned() };
            let replayed = serde_json::to_string(&replayed).unwrap();
            store.create(&key::dead_replayed(&id, at, "ab"), replayed).await.unwrap();
            let waiting = Filter { waiting_only: true, ..Filter::default() };
            assert_eq!(desk.list(&waiting, 9, None).await.unwrap().letters.len(), 0);
            assert_eq!(keep(&desk, "x").await, Kept::Returned);
            assert_eq!(keep(&desk, "x").await, Kept::Known, "the same message again");
            assert_eq!(desk.list(&waiting, 9, None).await.unwrap().letters.len(), 1);
        }
        let known = desk.find(&id).await.unwrap().unwrap();
        assert_eq!((known.marks.replays, desk.last_by(&known.marks).await.as_deref()), (2, Some("operator")));
        desk.delete(&id).await.unwrap();
        assert!(store.list(key::DEAD).await.unwrap().is_empty(), "nothing is left of it");
    }

    #[tokio::test]
    async fn pages_meet_every_letter_once_and_one_that_is_unreadable_hides_no_other() {
        let store = Store::memory();
        let desk = desk(&store);
        for n in 0..70 {
            keep(&desk, &n.to_string()).await;
        }
        let foreign = key::dead_letter(b"of a later version");
        store.create(&foreign, r#"{"v":9}"#).await.unwrap();
        let (mut seen, mut after) = (std::collections::BTreeSet::new(), None);
        loop {
            let page = desk.list(&Filter::default(), 16, after.as_ref()).await.unwrap();
            assert!(page.letters.len() <= 16);
            for known in page.letters {
                assert!(seen.insert(known.id), "a letter comes twice");
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 70);
        let rare = Filter { reason: Some("tries_used_up".to_owned()), ..Filter::default() };
        assert!(desk.list(&rare, 16, None).await.unwrap().letters.is_empty());
        let past = Filter { until_ms: Some(1), ..Filter::default() };
        assert!(desk.list(&past, 16, None).await.unwrap().letters.is_empty());
    }
}
