//! The bounded queue in front of a backend and the one thread that empties it.
//!
//! Work is admitted by tokens: what does not fit is refused at once with the time after which it
//! may, never left waiting. A caller that drops its [`Pending`] takes its waiting sequences with it.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::backend::{Backend, BackendError};
use crate::batch::Waiting;
use crate::tokenise::Sequence;

/// What [`Refused::Overloaded`] says before the first batch has shown how fast the backend is.
const RETRY_AFTER_UNMEASURED: Duration = Duration::from_secs(1);
/// Sooner would only be refused again: a round trip takes longer.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(50);
/// Longer estimates are guesses; half a minute is enough to calm a client down.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// Weight of the newest batch in the measured speed: about the last ten batches count.
const SPEED_WEIGHT: f64 = 0.2;

/// How much runs and waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tokens of one batch, at most; a longer sequence runs alone.
    pub batch_tokens: usize,
    /// Tokens that wait, at most; a larger request is admitted when nothing waits.
    pub queued_tokens: usize,
}

/// Why work was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The queue is full.
    #[error("{waiting_tokens} tokens wait already; try again in {} ms", retry_after.as_millis())]
    Overloaded {
        /// Tokens that wait.
        waiting_tokens: usize,
        /// When there should be room, by the speed measured so far.
        retry_after: Duration,
    },
    /// The engine is ending.
    #[error("the engine takes no more work because it is ending; ask another replica")]
    Closed,
}

/// A view of the engine for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Tokens that wait.
    pub waiting_tokens: usize,
    /// Sequences that wait.
    pub waiting_sequences: usize,
    /// Tokens of the batch that runs now.
    pub running_tokens: usize,
    /// Batches that have run.
    pub batches: u64,
    /// Tokens that have run.
    pub tokens: u64,
    /// Measured over the last batches; 0 before the first.
    pub tokens_per_second: f64,
}

/// A backend with its queue. Dropping it ends the worker after the batch that runs.
pub struct Engine {
    shared: Arc<Shared>,
    dimensions: usize,
    worker: Option<JoinHandle<()>>,
}

/// The vectors of a submitted request, to be awaited. Dropping it withdraws what still waits.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Answer>);

type Answer = Result<Vec<Vec<f32>>, BackendError>;

struct Shared {
    limits: Limits,
    state: Mutex<State>,
    /// Signalled when work arrives, when a batch ends and when the engine closes.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Waiting<Entry>,
    load: Load,
    closed: bool,
}

/// One sequence of a request.
struct Entry {
    request: Arc<Request>,
    index: usize,
    sequence: Sequence,
}

struct Request(Mutex<Option<Open>>);

/// A request that has not been answered.
struct Open {
    caller: oneshot::Sender<Answer>,
    vectors: Vec<Vec<f32>>,
    missing: usize,
}

impl Engine {
    /// Starts the worker thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(backend: impl Backend + 'static, limits: Limits) -> std::io::Result<Engine> {
        let shared = Arc::new(Shared { limits, state: Mutex::default(), changed: Condvar::new() });
        let dimensions = backend.dimensions();
        let for_worker = shared.clone();
        let worker = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || work(&for_worker, backend))?;
        Ok(Engine { shared, dimensions, worker: Some(worker) })
    }

    /// Length of the vectors.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Queues the sequences of one request. They run in arrival order, in as many batches as the
    /// budget asks for; the answer has one vector a sequence, in order.
    ///
    /// # Errors
    /// When the queue is full or the engine is closed.
    pub fn submit(&self, sequences: Vec<Sequence>) -> Result<Pending, Refused> {
        let tokens: usize = sequences.iter().map(|sequence| sequence.ids().len()).sum();
        let mut state = self.shared.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        let limit = self.shared.limits.queued_tokens;
        if state.waiting.tokens() + tokens > limit {
            state.waiting.retain(|entry| entry.request.is_wanted());
        }
        let waiting_tokens = state.waiting.tokens();
        if waiting_tokens + tokens > limit && !state.waiting.is_empty() {
            let ahead = (waiting_tokens + tokens - limit).min(waiting_tokens) + state.load.running_tokens;
            let retry_after = retry_after(ahead, state.load.tokens_per_second);
            return Err(Refused::Overloaded { waiting_tokens, retry_after });
        }

        let (caller, answer) = oneshot::channel();
        if sequences.is_empty() {
            // The receiver is ours and alive.
            let _ = caller.send(Ok(Vec::new()));
            return Ok(Pending(answer));
        }
        let (missing, vectors) = (sequences.len(), vec![Vec::new(); sequences.len()]);
        let request = Arc::new(Request(Mutex::new(Some(Open { caller, vectors, missing }))));
        for (index, sequence) in sequences.into_iter().enumerate() {
            state.waiting.push(sequence.ids().len(), Entry { request: request.clone(), index, sequence });
        }
        self.shared.changed.notify_all();
        Ok(Pending(answer))
    }

    /// What waits and runs.
    pub fn load(&self) -> Load {
        let state = self.shared.lock();
        let (waiting_tokens, waiting_sequences) = (state.waiting.tokens(), state.waiting.len());
        Load { waiting_tokens, waiting_sequences, ..state.load }
    }

    /// Refuses new work from now on. What waits still runs.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }

    /// Closes and blocks until all accepted work is done, at most `bound`. Whether it is done.
    pub fn drain(&self, bound: Duration) -> bool {
        self.close();
        let busy = |state: &mut State| !state.waiting.is_empty() || state.load.running_tokens > 0;
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), bound, busy);
        !waited.expect(UNPOISONED).1.timed_out()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        // Dropped callers' ends tell them that nothing will come.
        state.waiting = Waiting::default();
        drop(state);
        self.shared.changed.notify_all();
        if let Some(worker) = self.worker.take() {
            // It catches the backend's panics, so there is no news in how it ended.
            let _ = worker.join();
        }
    }
}

impl Future for Pending {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let ended = |_| Err(BackendError("the engine ended before the work was done".to_owned()));
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or_else(ended))
    }
}

const UNPOISONED: &str = "nothing panics while it holds this lock";

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }

    /// Waits for work. `None` when the engine is closed and nothing waits.
    fn next_batch(&self) -> Option<Vec<Entry>> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
        loop {
            let mut state = self.changed.wait_while(self.lock(), idle).expect(UNPOISONED);
            state.waiting.retain(|entry| entry.request.is_wanted());
            if state.waiting.is_empty() {
                // A drain may wait for this.
                self.changed.notify_all();
                if state.closed {
                    return None;
                }
                continue;
            }
            let batch = state.waiting.take(self.limits.batch_tokens);
            state.load.running_tokens = tokens_of(&batch);
            return Some(batch);
        }
    }

    fn batch_done(&self, tokens: usize, took: Duration) {
        let mut state = self.lock();
        let load = &mut state.load;
        load.running_tokens = 0;
        load.batches += 1;
        load.tokens += tokens as u64;
        let speed = tokens as f64 / took.as_secs_f64().max(1e-6);
        load.tokens_per_second = match load.batches {
            1 => speed,
            _ => load.tokens_per_second * (1.0 - SPEED_WEIGHT) + speed * SPEED_WEIGHT,
        };
        self.changed.notify_all();
    }
}

fn tokens_of(batch: &[Entry]) -> usize {
    batch.iter().map(|entry| entry.sequence.ids().len()).sum()
}

fn retry_after(tokens: usize, tokens_per_second: f64) -> Duration {
    if tokens_per_second <= 0.0 {
        return RETRY_AFTER_UNMEASURED;
    }
    let seconds = (tokens as f64 / tokens_per_second).min(RETRY_AFTER_MAX.as_secs_f64());
    Duration::from_secs_f64(seconds).max(RETRY_AFTER_MIN)
}

fn work(shared: &Shared, mut backend: impl Backend) {
    while let Some(batch) = shared.next_batch() {
        let started = Instant::now();
        let sequences: Vec<&Sequence> = batch.iter().map(|entry| &entry.sequence).collect();
        // A backend keeps nothing between batches but buffers that it overwrites.
        let answer = std::panic::catch_unwind(AssertUnwindSafe(|| backend.encode(&sequences)))
            .unwrap_or_else(|_| Err(BackendError("the backend panicked".to_owned())));
        let (tokens, took) = (tokens_of(&batch), started.elapsed());
        match answer {
            Ok(vectors) => {
                batch
                    .into_iter()
                    .zip(vectors)
                    .for_each(|(entry, vector)| entry.request.put(entry.index, vector));
            }
            Err(error) => batch.into_iter().for_each(|entry| entry.request.fail(&error)),
        }
        shared.batch_done(tokens, took);
    }
}

impl Request {
    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.0.lock().expect(UNPOISONED)
    }

    /// Whether it is unanswered and its caller still waits.
    fn is_wanted(&self) -> bool {
        self.open().as_ref().is_some_and(|open| !open.caller.is_closed())
    }

    fn put(&self, index: usize, vector: Vec<f32>) {
        let mut slot = self.open();
        let Some(open) = slot.as_mut() else { return };
        open.vectors[index] = vector;
        open.missing -= 1;
        if open.missing == 0
            && let Some(Open { caller, vectors, .. }) = slot.take()
        {
            // A caller that has just gone needs no answer.
            let _ = caller.send(Ok(vectors));
        }
    }

    fn fail(&self, error: &BackendError) {
        if let Some(open) = self.open().take() {
            // As above.
            let _ = open.caller.send(Err(error.clone()));
        }
    }
}
