//! Letters with what was done about them, the newest first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::str::FromStr;

use facts::dead::{Letter, Replayed};
use facts::fold::Found;
use facts::key::{self, Dead};
use futures_util::future::join_all;

use super::DeadLetters;
use crate::act::fact::{self, FactError};

/// Letters that one page reads to find those that are wanted; the next page goes on after them.
const LOOKED_AT_MAX: usize = 1_000;
/// Letters that are read beside each other.
const READS_AT_ONCE: usize = 32;

/// Which letters are wanted; what is none asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// With this reason.
    pub reason: Option<String>,
    /// Of jobs with this model.
    pub model: Option<String>,
    /// Of this tenant's jobs.
    pub tenant: Option<String>,
    /// Kept then or later, Unix ms.
    pub since_ms: Option<u64>,
    /// Kept before, Unix ms.
    pub until_ms: Option<u64>,
    /// Only those that wait for somebody.
    pub waiting_only: bool,
}

impl Filter {
    fn fits_time(&self, at_ms: u64) -> bool {
        self.since_ms.is_none_or(|since| since <= at_ms) && self.until_ms.is_none_or(|until| at_ms < until)
    }

    fn fits(&self, letter: &Letter) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        same(&self.reason, Some(&letter.reason))
            && same(&self.model, letter.model.as_deref())
            && same(&self.tenant, letter.tenant.as_deref())
    }
}

/// Where a letter stands in the list: by when the store took it, in Unix ms of the handler's clock, then by
/// its id. As text it is a cursor, good whether the letter is there still or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(Reverse<u64>, String);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:013}-{}", self.0.0, self.1)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Place, ()> {
        let (at, id) = text.split_once('-').ok_or(())?;
        let is_time = at.len() == 13 && at.bytes().all(|b| b.is_ascii_digit());
        let at = at.parse().ok().filter(|_| is_time && key::is_dead_letter_id(id)).ok_or(())?;
        Ok(Place(Reverse(at), id.to_owned()))
    }
}

/// A letter, and what was done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: String,
    /// It.
    pub letter: Letter,
    /// What was done.
    pub marks: Marks,
}

/// What was done about a letter; times in Unix ms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// How often it was replayed.
    pub replays: usize,
    /// The newest replay: when, and the key of its mark.
    pub last: Option<(u64, String)>,
    /// The newest replay after which it came back.
    pub returned: Option<u64>,
}

impl Marks {
    /// Whether somebody has to look at it: never replayed, or back since.
    pub fn is_waiting(&self) -> bool {
        self.last.as_ref().is_none_or(|(last, _)| self.returned >= Some(*last))
    }

    fn add(&mut self, key: &str, mark: Dead) {
        match mark {
            Dead::Letter => {}
            Dead::Replayed(at) => {
                self.replays += 1;
                self.last = self.last.take().max(Some((at, key.to_owned())));
            }
            Dead::Returned(at) => self.returned = self.returned.max(Some(at)),
        }
    }
}

/// Some letters, the newest first.
#[derive(Debug, Default)]
pub struct Page {
    /// They.
    pub letters: Vec<Known>,
    /// After which place the next page begins; none: this was the last.
    pub next: Option<Place>,
}

impl DeadLetters {
    /// Letters that fit, at most so many, beginning after a place.
    ///
    /// # Errors
    /// [`FactError`].
    pub async fn list(
        &self,
        filter: &Filter,
        limit: usize,
        after: Option<&Place>,
    ) -> Result<Page, FactError> {
        let found = self.store().list(key::DEAD).await?;
        let (places, mut marks) = self.places(&found);
        let wanted = |place: &&Place| {
            after.is_none_or(|after| *place > after)
                && filter.fits_time(place.0.0)
                && (!filter.waiting_only || marks.get(&place.1).is_none_or(Marks::is_waiting))
        };
        let places: Vec<&Place> = places.iter().filter(wanted).collect();
        let mut page = Page::default();
        let mut last: Option<&Place> = None;
        for (n, some) in places.chunks(READS_AT_ONCE).enumerate() {
            let letters = join_all(some.iter().map(|place| self.letter(&place.1))).await;
            for (place, letter) in some.iter().zip(letters) {
                if page.letters.len() == limit || n * READS_AT_ONCE >= LOOKED_AT_MAX {
                    page.next = last.cloned();
                    return Ok(page);
                }
                last = Some(*place);
                if let Some(letter) = letter?.filter(|letter| filter.fits(letter)) {
                    let id = place.1.clone();
                    page.letters.push(Known { marks: marks.remove(&id).unwrap_or_default(), id, letter });
                }
            }
        }
        Ok(page)
    }

    /// The letter of this id; none where there is none.
    ///
    /// # Errors
    /// [`FactError`].
    pub async fn find(&self, id: &str) -> Result<Option<Known>, FactError> {
        let Some(letter) = fact::read(self.store(), &key::dead_letter_of(id)).await? else { return Ok(None) };
        let mut marks = Marks::default();
        for found in self.store().list(&key::dead_marks(id)).await? {
            if let Some((_, mark)) = key::read_dead(&found.key) {
                marks.add(&found.key, mark);
            }
        }
        Ok(Some(Known { id: id.to_owned(), letter, marks }))
    }

    /// Who asked for the newest replay; none where that cannot be read.
    pub async fn last_by(&self, marks: &Marks) -> Option<String> {
        let (_, key) = marks.last.as_ref()?;
        let read = fact::read::<Replayed>(self.store(), key).await.ok().flatten();
        read.map(|replayed| replayed.by)
    }

    /// One that this version cannot read hides none of the others.
    async fn letter(&self, id: &str) -> Result<Option<Letter>, FactError> {
        match fact::read(self.store(), &key::dead_letter_of(id)).await {
            Err(error @ FactError::Unreadable(..)) => {
                tracing::warn!(%error, "a dead letter is left out");
                Ok(None)
            }
            read => read,
        }
    }

    fn places(&self, found: &[Found]) -> (Vec<Place>, HashMap<String, Marks>) {
        let (mut places, mut marks) = (Vec::new(), HashMap::<String, Marks>::new());
        for found in found {
            match key::read_dead(&found.key) {
                Some((id, Dead::Letter)) => {
                    places.push(Place(Reverse(self.clock.at_ms(found.modified_ms)), id.to_owned()));
                }
                Some((id, mark)) => marks.entry(id.to_owned()).or_default().add(&found.key, mark),
                None => {}
            }
        }
        places.sort_unstable();
        (places, marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_and_nothing_else_is() {
        let place = Place(Reverse(1_793_534_400_000), "ab".repeat(32));
        assert_eq!(place.to_string().parse(), Ok(place));
        for wrong in ["", "-", "7-x", &format!("{}-{}", "1".repeat(13), "AB".repeat(32)), &"9".repeat(78)] {
            assert_eq!(wrong.parse::<Place>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn a_letter_waits_until_it_is_replayed_and_again_when_it_is_back() {
        let mut marks = Marks::default();
        assert!(marks.is_waiting());
        for (mark, waits) in [
            (Dead::Replayed(7), false),
            (Dead::Returned(7), true),
            (Dead::Replayed(9), false),
            (Dead::Returned(7), false),
            (Dead::Returned(9), true),
        ] {
            marks.add("k", mark);
            assert_eq!(marks.is_waiting(), waits, "{mark:?}");
        }
        assert_eq!((marks.replays, marks.last), (2, Some((9, "k".to_owned()))));
    }
}
