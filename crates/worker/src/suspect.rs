//! A chunk in which tries died, item by item: a mark is put before each item and taken away after it.
//! An item whose marks stayed behind twice ends in an error line, so that the others get their results.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use facts::key::JobKeys;
use facts::{Store, StoreError};

use crate::backend::Trouble;
use crate::error::Error;
use crate::items::{self, Done, Terms};
use crate::pack::Run;

/// Processes that an item may kill before it is given up. One could have been an eviction.
const DEATHS_MAX: usize = 2;
/// Times that a mark is taken away before the store's failure is believed.
const TAKE_AWAY_TRIES: u32 = 4;
/// Code of the error line of an item that is given up.
pub const CODE: &str = "worker_crashed";

/// Marks that other processes left behind: who, by line.
#[derive(Debug, Default)]
pub struct Marks(BTreeMap<u64, Vec<String>>);

/// What the items of a chunk share.
pub(crate) struct Cell<'a> {
    pub run: &'a Run<'a>,
    pub keys: &'a JobKeys,
    pub terms: Terms<'a>,
    pub marks: &'a Marks,
}

impl<'a> FromIterator<&'a str> for Marks {
    /// From names of marks, `{line}-{by}`; others are ignored.
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Marks {
        let mut marks: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for (line, by) in names.into_iter().filter_map(|name| name.split_once('-')) {
            if let Ok(line) = line.parse() {
                marks.entry(line).or_default().push(by.to_owned());
            }
        }
        Marks(marks)
    }
}

impl Marks {
    /// Whether an item of these lines was under way in a process that died.
    pub fn any_in(&self, lines: &Range<u64>) -> bool {
        self.0.range(lines.clone()).next().is_some()
    }

    /// Takes away the marks of lines that have their results now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn clear(&self, store: &Store, keys: &JobKeys, lines: &Range<u64>) -> Result<(), Error> {
        for (line, by) in self.0.range(lines.clone()) {
            for by in by {
                store.delete(&keys.trying(*line, by)).await?;
            }
        }
        Ok(())
    }

    /// Processes that died while they ran this item.
    pub fn deaths(&self, line: u64) -> usize {
        self.0.get(&line).map_or(0, Vec::len)
    }
}

/// Runs one item behind a mark.
pub(crate) async fn run(cell: &Cell<'_>, line: u64, text: &[u8]) -> Result<Done, Error> {
    let Run { store, backend, stop, by, .. } = cell.run;
    let deaths = cell.marks.deaths(line);
    if deaths >= DEATHS_MAX {
        tracing::error!(line, deaths, "an item is given up");
        let message = format!("the worker or its model died {DEATHS_MAX} times while it ran this item");
        return Ok(items::failed(line, &items::custom_id(text), CODE, &message));
    }
    if stop.is_cancelled() {
        return Err(Error::Interrupted);
    }
    let mark = cell.keys.trying(line, by);
    if let Err(error) = store.create(&mark, Bytes::new()).await {
        // It may be there all the same, and would accuse an item that never ran.
        let _ = take_away(store, &mark).await;
        return Err(error.into());
    }
    let done = tokio::select! {
            biased;
        () = stop.cancelled() => Err(Error::Interrupted),
        done = items::run_one(backend, cell.terms, line, text) => done.map_err(Error::from),
    };
    // A backend that fails on this very item counts as a death; all else is not the item's doing.
    if !matches!(done, Err(Error::Backend(Trouble::Failing(_)))) {
        take_away(store, &mark).await?;
    }
    done
}

/// Takes a mark away. One that stays counts as a death, so a store that fails is asked again.
async fn take_away(store: &Store, mark: &str) -> Result<(), StoreError> {
    for _ in 1..TAKE_AWAY_TRIES {
        if store.delete(mark).await.is_ok() {
            return Ok(());
        }
    }
    store.delete(mark).await
}
