//! What operators tune while the system runs: read from a vault or a file, typed and ranged, refused as
//! a whole when one is wrong; the last good set stays, here and in the store.
//!
//! - [`Source`]: the set in force, read anew by a timer or by hand, changed and rolled back
//! - [`set`]: what a knob may be
//! - [`origin`]: the vault or the file
//! - `state`: what is kept in the store, for a process that starts while the vault is down
//!
//! No request waits for the origin: it decides with the set in force.

pub mod origin;
pub mod set;
mod state;

use std::sync::{Arc, RwLock};

use facts::Store;
use policy::Knobs;
use tokio::sync::{Mutex, watch};

pub use origin::Origin;
pub use set::{Given, Known, known, micro_usd, parse, shown};

/// The set in force.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The knobs.
    pub knobs: Arc<Knobs>,
    /// What of them was given; the others have their defaults.
    pub given: Arc<Given>,
    /// When they were last read, in Unix ms of the handler's clock, or were first read by the process that
    /// kept them; none: these are the defaults, because no good set was read so far, by any process.
    pub read_ms: Option<u64>,
    /// Whether another process read them, earlier: this one could not yet.
    pub is_kept: bool,
    /// Why the newest set was refused; none when it is in force.
    pub refused: Option<String>,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The set would be wrong; nothing was written.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// There is no set before the one in force.
    #[error("no earlier set is kept: nothing was changed through the handler yet")]
    NoPrevious,
    /// The origin or the store failed. What was written until then counts with the next refresh, if the
    /// set is a good one.
    #[error("{0}")]
    Failed(String),
}

/// Reads, keeps and changes knobs.
#[derive(Debug)]
pub struct Source {
    origin: Origin,
    in_force: RwLock<InForce>,
    /// Held while the origin is read or written, so that an older read never replaces a newer one. The set
    /// that this process keeps in the store; none yet.
    turn: Mutex<Option<Arc<Given>>>,
    /// Whether this process read the origin once, well or not.
    tried: watch::Sender<bool>,
}

impl Source {
    /// Knobs of `origin`, not yet read.
    pub fn new(origin: Origin) -> Source {
        let in_force = InForce {
            knobs: Arc::new(set::unread()),
            given: Arc::default(),
            read_ms: None,
            is_kept: false,
            refused: None,
        };
        Source {
            origin,
            in_force: RwLock::new(in_force),
            turn: Mutex::default(),
            tried: watch::Sender::new(false),
        }
    }

    /// Where they come from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The set in force.
    pub fn now(&self) -> InForce {
        self.in_force.read().expect("no reader or writer panics while holding it").clone()
    }

    /// The knobs in force.
    pub fn knobs(&self) -> Arc<Knobs> {
        Arc::clone(&self.in_force.read().expect("no reader or writer panics while holding it").knobs)
    }

    /// Takes the set that the store keeps, unless one was read already. For a process that starts.
    /// Returns whether a set is in force that somebody read.
    pub async fn restore(&self, store: &Store) -> bool {
        let kept = state::last_good(store).await;
        let good = kept.and_then(|kept| Some((set::of(kept.knobs.clone()).ok()?, kept)));
        let mut in_force = self.in_force.write().expect("no reader or writer panics while holding it");
        if in_force.read_ms.is_some() {
            return true;
        }
        let Some((knobs, kept)) = good else { return false };
        *in_force = InForce {
            knobs: Arc::new(knobs),
            given: Arc::new(kept.knobs),
            read_ms: Some(kept.read_unix_ms),
            is_kept: true,
            refused: in_force.refused.clone(),
        };
        true
    }

    /// Waits until this process has read the origin once, well or not.
    pub async fn first(&self) {
        // The sender lives as long as this does.
        let _ = self.tried.subscribe().wait_for(|tried| *tried).await;
    }

    /// Reads the origin again, and keeps a good set in `store` where it is another one than before.
    ///
    /// # Errors
    /// Every problem in one text; the last good set stays in force.
    pub async fn refresh(&self, store: &Store, now_ms: u64) -> Result<(), String> {
        let mut turn = self.turn.lock().await;
        self.read(store, now_ms, &mut turn).await
    }

    /// Sets knobs in the origin, or returns those to their defaults that are null, and reads it again. The
    /// set before is kept for [`Source::roll_back`].
    ///
    /// # Errors
    /// [`ChangeError`]; a wrong set is refused as a whole before anything is written.
    pub async fn change(&self, store: &Store, now_ms: u64, changes: &Given) -> Result<(), ChangeError> {
        let mut turn = self.turn.lock().await;
        let before = self.origin.read().await.map_err(ChangeError::Failed)?;
        let mut after = before.clone();
        for (name, value) in changes {
            if value.is_null() && known().iter().any(|known| known.name == name) {
                after.shift_remove(name);
            } else {
                after.insert(name.clone(), value.clone());
            }
        }
        self.replace((store, now_ms), before, after, &mut turn).await
    }

    /// Makes the set that was before the last change the current one, and the reverse: a second one undoes
    /// the first.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn roll_back(&self, store: &Store, now_ms: u64) -> Result<(), ChangeError> {
        let mut turn = self.turn.lock().await;
        let previous = state::previous(store).await.map_err(ChangeError::Failed)?;
        let after = previous.ok_or(ChangeError::NoPrevious)?.knobs;
        let before = self.origin.read().await.map_err(ChangeError::Failed)?;
        self.replace((store, now_ms), before, after, &mut turn).await
    }

    async fn replace(
        &self,
        (store, now_ms): (&Store, u64),
        before: Given,
        after: Given,
        kept: &mut Option<Arc<Given>>,
    ) -> Result<(), ChangeError> {
        set::of(after.clone()).map_err(ChangeError::Invalid)?;
        if before != after {
            // A set that was wrong is none to come back to.
            if set::of(before.clone()).is_ok() {
                state::keep_previous(store, now_ms, &before).await.map_err(ChangeError::Failed)?;
            }
            self.origin.write(&before, &after).await.map_err(ChangeError::Failed)?;
        }
        self.read(store, now_ms, kept).await.map_err(ChangeError::Failed)
    }

    async fn read(&self, store: &Store, now_ms: u64, kept: &mut Option<Arc<Given>>) -> Result<(), String> {
        let read = self.origin.read().await;
        let read = read.and_then(|given| match set::of(given.clone()) {
            Ok(knobs) => Ok((Arc::new(given), Arc::new(knobs))),
            Err(problems) => Err(problems.join("; ")),
        });
        match &read {
            Ok((given, knobs)) => {
                let (knobs, given) = (Arc::clone(knobs), Arc::clone(given));
                let read = InForce { knobs, given, read_ms: Some(now_ms), is_kept: false, refused: None };
                *self.in_force.write().expect("no reader or writer panics while holding it") = read;
            }
            Err(problem) => {
                let mut in_force =
                    self.in_force.write().expect("no reader or writer panics while holding it");
                in_force.refused = Some(problem.clone());
            }
        }
        self.tried.send_replace(true);
        // After it is in force: a slow store holds up the next read, and nothing else.
        let (given, _) = read?;
        if kept.as_ref() != Some(&given) && state::keep_last_good(store, now_ms, &given).await {
            *kept = Some(given);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "knobs/tests.rs"]
mod tests;
