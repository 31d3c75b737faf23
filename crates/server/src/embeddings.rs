//! One request for vectors: check, tokenise, run, write.
//!
//! Inputs longer than the model's limit are cut, as sentence-transformers does, not refused;
//! `usage.prompt_tokens` counts the tokens that ran, with `[CLS]` and `[SEP]`.

use std::sync::Arc;

use bytes::Bytes;
use engine::{Sequence, Tokeniser};
use wire::embeddings::{self, Inputs, Request, TOKENS_MAX};

use crate::app::App;
use crate::failure::Failure;

/// Answers `POST /v1/embeddings` with the bytes of its JSON.
///
/// # Errors
/// When the request is wrong, the model is not up, too much waits or inference failed.
pub async fn embed(app: &Arc<App>, body: Bytes) -> Result<Vec<u8>, Failure> {
    // Draining does not matter here: a request that came in is answered while there is time.
    let loaded = app.loaded().ok_or(Failure::Loading)?;
    let (request, sequences) = prepare(app, body).await?;
    let tokens: u64 = sequences.iter().map(|sequence| sequence.ids().len() as u64).sum();
    let vectors = loaded.engine.submit(sequences)?.await.map_err(|error| {
        tracing::error!(%error, "a batch failed");
        Failure::Internal
    })?;
    app.metrics.embedded(vectors.len(), tokens);
    let model = app.name().to_owned();
    crunch(app, move || Ok(answer(&request, model, vectors, tokens))).await
}

/// Reads and tokenises a body away from the async threads.
async fn prepare(app: &Arc<App>, body: Bytes) -> Result<(Request, Vec<Sequence>), Failure> {
    let within = app.clone();
    crunch(app, move || {
        let mut request = embeddings::read(&body)?;
        if !within.serves(&request.model) {
            return Err(within.unknown_model(&request.model));
        }
        let loaded = within.loaded().ok_or(Failure::Loading)?;
        request.check_dimensions(loaded.engine.dimensions())?;
        // They are not needed again, and may be large.
        let inputs = std::mem::replace(&mut request.inputs, Inputs::Texts(Vec::new()));
        let sequences = tokenise(&loaded.tokeniser, &inputs)?;
        Ok((request, sequences))
    })
    .await
}

/// Runs what takes processor time on a blocking thread, as many at once as there are cores.
async fn crunch<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let permit = app.crunching.clone().acquire_owned().await.expect("the semaphore is never closed");
    // The permit goes along: work whose caller has gone still keeps its core.
    let work = move || {
        let _permit = permit;
        work()
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request's work panicked");
        Err(Failure::Internal)
    })
}

fn tokenise(tokeniser: &Tokeniser, inputs: &Inputs) -> Result<Vec<Sequence>, Failure> {
    let sequences = match inputs {
        Inputs::Texts(texts) => engine::gather(texts.iter().map(|text| tokeniser.text(text)), TOKENS_MAX),
        Inputs::Tokens(lists) => engine::gather(lists.iter().map(|ids| tokeniser.ids(ids)), TOKENS_MAX),
    };
    sequences.map_err(|error| Failure::invalid("input", error.to_string()))
}

fn answer(request: &Request, model: String, mut vectors: Vec<Vec<f32>>, tokens: u64) -> Vec<u8> {
    if let Some(dimensions) = request.dimensions {
        vectors.iter_mut().for_each(|vector| engine::shorten(vector, dimensions));
    }
    let response = embeddings::answer(model, request.format, vectors, tokens);
    serde_json::to_vec(&response).expect("an answer of finite numbers and texts is JSON")
}
