//! One request for vectors: check, tokenise, run, write.
//!
//! Inputs longer than the model's limit are cut, as sentence-transformers does, not refused;
//! `usage.prompt_tokens` counts the tokens that ran, with `[CLS]` and `[SEP]`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine::{Sequence, TokenError, Tokeniser};
use wire::openai::{Embedding, EmbeddingsResponse, EncodingFormat, Usage, Vector};

use crate::app::{App, Loaded};
use crate::failure::Failure;
use crate::input::{self, Inputs, Request};

/// Tokens of one request, before cutting (the vendor's own limit).
pub const TOKENS_MAX: usize = 300_000;

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
        let mut request = input::read(&body)?;
        if !within.serves(&request.model) {
            return Err(within.unknown_model(&request.model));
        }
        let loaded = within.loaded().ok_or(Failure::Loading)?;
        check_dimensions(request.dimensions, loaded)?;
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

fn check_dimensions(dimensions: Option<usize>, loaded: &Loaded) -> Result<(), Failure> {
    let own = loaded.engine.dimensions();
    match dimensions {
        Some(asked) if !(1..=own).contains(&asked) => Err(Failure::invalid(
            "dimensions",
            format!("`dimensions` is {asked}; give 1 to {own}, or leave it out"),
        )),
        _ => Ok(()),
    }
}

fn tokenise(tokeniser: &Tokeniser, inputs: &Inputs) -> Result<Vec<Sequence>, Failure> {
    let mut sequences = Vec::with_capacity(inputs.len());
    let mut tokens = 0;
    let mut add = |sequence: Result<Sequence, TokenError>| {
        let index = sequences.len();
        let sequence =
            sequence.map_err(|error| Failure::invalid("input", format!("input {index}: {error}")))?;
        tokens += sequence.uncut();
        sequences.push(sequence);
        if tokens > TOKENS_MAX {
            let message = format!(
                "the inputs up to {index} have {tokens} tokens; give at most {TOKENS_MAX} a request and split larger ones"
            );
            return Err(Failure::invalid("input", message));
        }
        Ok(())
    };
    match inputs {
        Inputs::Texts(texts) => texts.iter().try_for_each(|text| add(tokeniser.text(text)))?,
        Inputs::Tokens(lists) => lists.iter().try_for_each(|ids| add(tokeniser.ids(ids)))?,
    }
    Ok(sequences)
}

fn answer(request: &Request, model: String, vectors: Vec<Vec<f32>>, tokens: u64) -> Vec<u8> {
    let write = |(index, mut vector): (usize, Vec<f32>)| {
        if let Some(dimensions) = request.dimensions {
            engine::shorten(&mut vector, dimensions);
        }
        let embedding = match request.format {
            EncodingFormat::Float => Vector::Float(vector),
            EncodingFormat::Base64 => Vector::Base64(base64(&vector)),
        };
        Embedding { object: "embedding".into(), index, embedding }
    };
    let response = EmbeddingsResponse {
        object: "list".into(),
        data: vectors.into_iter().enumerate().map(write).collect(),
        model,
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
    };
    serde_json::to_vec(&response).expect("an answer of finite numbers and texts is JSON")
}

fn base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}
