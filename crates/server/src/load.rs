//! The model comes up: read, started, and proved by one inference.

use std::sync::Arc;
use std::time::Instant;

use engine::cpu::Cpu;
use engine::test::Test;
use engine::{Engine, LoadError, Model, Refused};

use crate::app::{App, Loaded};
use crate::settings::{BackendKind, Load};

/// Why the model did not come up.
#[derive(Debug, thiserror::Error)]
pub enum NotLoaded {
    /// Its folder.
    #[error(transparent)]
    Model(#[from] LoadError),
    /// No thread.
    #[error("cannot start the engine's thread: {0}; allow this process more threads")]
    Thread(#[from] std::io::Error),
    /// The first inference was refused.
    #[error("the warm-up was refused: {0}")]
    Refused(#[from] Refused),
    /// The first inference failed or gave something that is no unit vector.
    #[error("the warm-up gave no usable vector: {0}; fetch the model again")]
    WarmUp(String),
}

/// What the warm-up embeds.
const WARM_UP_TEXT: &str = "The quick brown fox jumps over the lazy dog.";
/// How far the length of the warm-up's vector may be from 1: a thousand times what float32 leaves.
const LENGTH_TOLERANCE: f32 = 1e-3;

/// Loads the model, proves it and hands it to `app`.
///
/// # Errors
/// When the model cannot be served; the process should end.
pub async fn load(app: &App, settings: Load) -> Result<(), NotLoaded> {
    let started = Instant::now();
    let test_load = settings.test_load;
    let name = app.name().to_owned();
    let loading = tokio::task::spawn_blocking(move || bring_up(&settings, &name));
    let loaded = loading.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    tokio::time::sleep(test_load).await;
    warm_up(&loaded).await?;
    tracing::info!(model = loaded.identity, took_ms = started.elapsed().as_millis() as u64, "model ready");
    app.metrics.loaded(started.elapsed());
    app.set_loaded(loaded);
    Ok(())
}

fn bring_up(settings: &Load, name: &str) -> Result<Loaded, NotLoaded> {
    let model = Model::load(&settings.folder, settings.max_tokens)?;
    let identity = format!("{name}@sha256:{}", model.digest);
    let tokeniser = model.tokeniser.clone();
    let engine = match settings.backend {
        BackendKind::Cpu => Engine::start(Cpu::new(Arc::new(model), settings.threads), settings.limits)?,
        BackendKind::Test => {
            let backend = Test { dimensions: model.shape.hidden, delay: settings.test_delay };
            Engine::start(backend, settings.limits)?
        }
    };
    Ok(Loaded { tokeniser, engine, identity })
}

async fn warm_up(loaded: &Loaded) -> Result<(), NotLoaded> {
    let no_vector = |problem: String| NotLoaded::WarmUp(problem);
    let sequence = loaded.tokeniser.text(WARM_UP_TEXT).map_err(|error| no_vector(error.to_string()))?;
    let vectors =
        loaded.engine.submit(vec![sequence])?.await.map_err(|error| no_vector(error.to_string()))?;
    let length = vectors[0].iter().map(|value| value * value).sum::<f32>().sqrt();
    // Not a number compares false, so it is refused too.
    match (length - 1.0).abs() < LENGTH_TOLERANCE {
        true => Ok(()),
        false => Err(no_vector(format!("its length is {length}"))),
    }
}
