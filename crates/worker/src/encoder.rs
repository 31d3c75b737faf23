//! Items answered by a sentence encoder in this process, in the form of the server's own answers.

use std::path::Path;
use std::sync::Arc;

use engine::cpu::Cpu;
use engine::{Engine, Limits, LoadError, Model, Sequence, Tokeniser};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::Semaphore;
use wire::embeddings::{self, Inputs, Invalid, TOKENS_MAX};

use crate::backend::{Answer, Request, Trouble};
use crate::vectors;

/// Tokens of one engine batch: what the server takes as well.
const BATCH_TOKENS: usize = 1024;
/// Tokens that wait in the engine. Past this more waiting only costs memory; an item that is larger
/// runs when it is alone.
const QUEUED_TOKENS: usize = 65_536;

/// A model with its engine.
pub struct Encoder {
    tokeniser: Arc<Tokeniser>,
    engine: Engine,
    digest: String,
    items_at_once: usize,
    /// Held by items from submission to answer, so that the engine's queue never overflows.
    queue: Semaphore,
    /// Held while tokenising or writing: one a core.
    cores: Arc<Semaphore>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// Why a model did not come up.
#[derive(Debug, thiserror::Error)]
pub enum NotLoaded {
    /// Its folder.
    #[error(transparent)]
    Model(#[from] LoadError),
    /// No thread.
    #[error("cannot start the engine's thread: {0}; allow this process more threads")]
    Thread(#[from] std::io::Error),
}

impl Encoder {
    /// Reads a model's folder and starts its engine. Blocks for as long as the model takes to load.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn load(folder: &Path, threads: usize, items_at_once: usize) -> Result<Encoder, NotLoaded> {
        let model = Model::load(folder, None)?;
        let (tokeniser, digest) = (Arc::new(model.tokeniser.clone()), model.digest.clone());
        let limits = Limits { batch_tokens: BATCH_TOKENS, queued_tokens: QUEUED_TOKENS };
        let engine = Engine::start(Cpu::new(Arc::new(model), threads), limits)?;
        Ok(Encoder {
            tokeniser,
            engine,
            digest: format!("sha256:{digest}"),
            items_at_once: items_at_once.max(1),
            queue: Semaphore::new(QUEUED_TOKENS),
            cores: Arc::new(Semaphore::new(threads.max(1))),
        })
    }

    /// `sha256:…` of its weights.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Items under way at once.
    pub fn items_at_once(&self) -> usize {
        self.items_at_once
    }

    /// Answers one item: its vectors, or what is wrong with it.
    ///
    /// # Errors
    /// When the engine failed.
    pub async fn answer(&self, request: Request<'_>) -> Result<Answer, Trouble> {
        let (asked, sequences) = match self.prepare(request.body).await? {
            Ok(prepared) => prepared,
            Err(invalid) => return Ok(refusal(invalid)),
        };
        let tokens: usize = sequences.iter().map(|sequence| sequence.ids().len()).sum();
        let share = u32::try_from(tokens.min(QUEUED_TOKENS)).expect("the queue's bound fits 32 bits");
        let held = self.queue.acquire_many(share).await.expect("the semaphore is never closed");
        let failing = |problem: String| Trouble::Failing(problem);
        let pending = self.engine.submit(sequences).map_err(|refused| failing(refused.to_string()))?;
        let mut vectors = pending.await.map_err(|error| failing(error.to_string()))?;
        drop(held);
        if let Some(wrong) = vectors.iter().find_map(|vector| vectors::wrong(vector)) {
            return Err(Trouble::Unsound(wrong));
        }
        let model = request.model.map_or(asked.model, str::to_owned);
        let (dimensions, format) = (asked.dimensions, asked.format);
        self.crunch(move || {
            if let Some(dimensions) = dimensions {
                vectors.iter_mut().for_each(|vector| engine::shorten(vector, dimensions));
            }
            let answer = embeddings::answer(model, format, vectors, tokens as u64);
            let body = to_raw_value(&answer).expect("an answer of finite numbers and texts is JSON");
            Answer { status: 200, request_id: String::new(), body }
        })
        .await
    }

    /// Reads and tokenises a body away from the async threads.
    async fn prepare(
        &self,
        body: &RawValue,
    ) -> Result<Result<(embeddings::Request, Vec<Sequence>), Invalid>, Trouble> {
        let (body, tokeniser, dimensions) =
            (body.to_owned(), self.tokeniser.clone(), self.engine.dimensions());
        self.crunch(move || {
            let mut asked = embeddings::read(body.get().as_bytes())?;
            asked.check_dimensions(dimensions)?;
            // They are not needed again, and may be large.
            let inputs = std::mem::replace(&mut asked.inputs, Inputs::Texts(Vec::new()));
            Ok((asked, tokenise(&tokeniser, &inputs)?))
        })
        .await
    }

    async fn crunch<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Trouble> {
        let permit = self.cores.clone().acquire_owned().await.expect("the semaphore is never closed");
        // The permit goes along: work that nobody awaits any more still keeps its core.
        let work = move || {
            let _permit = permit;
            work()
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| Trouble::Failing(format!("an item's work panicked: {error}")))
    }
}

fn tokenise(tokeniser: &Tokeniser, inputs: &Inputs) -> Result<Vec<Sequence>, Invalid> {
    let sequences = match inputs {
        Inputs::Texts(texts) => engine::gather(texts.iter().map(|text| tokeniser.text(text)), TOKENS_MAX),
        Inputs::Tokens(lists) => engine::gather(lists.iter().map(|ids| tokeniser.ids(ids)), TOKENS_MAX),
    };
    sequences.map_err(|error| Invalid::new("input", error.to_string()))
}

/// The answer to an item that makes no sense, as the realtime API would have given it.
pub fn refusal(invalid: Invalid) -> Answer {
    let body = to_raw_value(&invalid.body()).expect("an error body has only texts");
    Answer { status: 400, request_id: String::new(), body }
}
