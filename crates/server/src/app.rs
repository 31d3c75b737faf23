//! What all requests share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use engine::{Engine, Tokeniser};
use tokio::sync::Semaphore;

use crate::failure::Failure;
use crate::metrics::Metrics;

/// Requests whose bodies may be in memory at once. With 8 MiB each that is 1 GiB at the very worst;
/// real ones have kilobytes.
const REQUESTS_MAX: usize = 128;

/// One served model.
pub struct App {
    /// The model's id and aliases, the id first.
    pub names: Vec<String>,
    /// Unix seconds of this process's start.
    pub created: u64,
    /// Counters and histograms.
    pub metrics: Metrics,
    /// Bodies in memory.
    pub requests: Semaphore,
    /// Texts being tokenised or answers being written: one a core, so that the runtime's blocking
    /// threads stay few.
    pub crunching: Arc<Semaphore>,
    loaded: OnceLock<Loaded>,
    draining: AtomicBool,
}

/// A model that has proved itself.
pub struct Loaded {
    /// Texts to tokens.
    pub tokeniser: Tokeniser,
    /// Tokens to vectors.
    pub engine: Engine,
    /// `name@sha256:digest`.
    pub identity: String,
}

impl App {
    /// An app whose model is still to come.
    ///
    /// # Panics
    /// When there is no name.
    pub fn new(names: Vec<String>, created: u64, threads: usize) -> App {
        assert!(!names.is_empty(), "a model has a name");
        App {
            names,
            created,
            metrics: Metrics::default(),
            requests: Semaphore::new(REQUESTS_MAX),
            crunching: Arc::new(Semaphore::new(threads)),
            loaded: OnceLock::new(),
            draining: AtomicBool::new(false),
        }
    }

    /// The model's id.
    pub fn name(&self) -> &str {
        &self.names[0]
    }

    /// Whether a request means this model.
    pub fn serves(&self, model: &str) -> bool {
        self.names.iter().any(|name| name == model)
    }

    /// Refuses a model that is not served.
    pub fn unknown_model(&self, asked: &str) -> Failure {
        // A client's mistake must not come back as a megabyte.
        let asked = asked.chars().take(100).collect();
        let served = self.names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
        Failure::UnknownModel { asked, served }
    }

    /// The model, from the moment it is up; also while draining.
    pub fn loaded(&self) -> Option<&Loaded> {
        self.loaded.get()
    }

    /// The model, if new work should come here.
    ///
    /// # Errors
    /// While loading and while draining.
    pub fn ready(&self) -> Result<&Loaded, Failure> {
        match self.loaded.get() {
            _ if self.draining.load(Ordering::Relaxed) => Err(Failure::Draining),
            None => Err(Failure::Loading),
            Some(loaded) => Ok(loaded),
        }
    }

    /// The model is up. A second call changes nothing.
    pub fn set_loaded(&self, loaded: Loaded) {
        // `OnceLock` hands a second value back, and with it the engine ends.
        let _ = self.loaded.set(loaded);
    }

    /// From now on readiness says no. Requests that still come are served.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}
