//! The catalogue in force, and what was said about newer ones.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Catalogue;

/// How long a request that comes during the first load waits for it.
const FIRST_LOAD_WAIT: Duration = Duration::from_secs(5);

/// Whether there is a catalogue.
#[derive(Clone, Debug)]
pub enum State {
    /// The first load is under way.
    Loading,
    /// None was ever good; the text says why.
    Missing(String),
    /// The last good one, when it was read, and why a newer one was refused.
    Loaded {
        /// The catalogue in force.
        catalogue: Arc<Catalogue>,
        /// Unix ms of the handler's clock.
        read_ms: u64,
        /// Why the newest was refused; none when it is in force.
        refused: Option<String>,
    },
}

/// Keeps the catalogue in force.
#[derive(Debug)]
pub struct Holding(watch::Sender<State>);

impl Default for Holding {
    fn default() -> Holding {
        Holding(watch::Sender::new(State::Loading))
    }
}

impl Holding {
    /// What is in force.
    pub fn state(&self) -> State {
        self.0.borrow().clone()
    }

    /// The catalogue in force; none before a good one was read. Never waits.
    pub fn now(&self) -> Option<Arc<Catalogue>> {
        match &*self.0.borrow() {
            State::Loaded { catalogue, .. } => Some(Arc::clone(catalogue)),
            _ => None,
        }
    }

    /// As [`Holding::now`], but waits for the first load, for a bounded time.
    pub async fn first(&self) -> Option<Arc<Catalogue>> {
        if matches!(&*self.0.borrow(), State::Loading) {
            let mut changes = self.0.subscribe();
            let loaded = changes.wait_for(|state| !matches!(state, State::Loading));
            let _ = tokio::time::timeout(FIRST_LOAD_WAIT, loaded).await;
        }
        self.now()
    }

    /// Puts a good catalogue in force.
    pub fn accept(&self, catalogue: Catalogue, read_ms: u64) {
        self.0.send_replace(State::Loaded { catalogue: Arc::new(catalogue), read_ms, refused: None });
    }

    /// Says that the one in force is still the newest.
    pub fn confirm(&self, now_ms: u64) {
        self.0.send_modify(|state| {
            if let State::Loaded { read_ms, refused, .. } = state {
                *read_ms = now_ms;
                *refused = None;
            }
        });
    }

    /// Says why the newest one is not taken.
    pub fn refuse(&self, why: String) {
        self.0.send_modify(|state| match state {
            State::Loaded { refused, .. } => *refused = Some(why),
            other => *other = State::Missing(why),
        });
    }
}
