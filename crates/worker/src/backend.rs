//! What answers an item: a closed set, the machine's own model or a server.

use serde_json::value::RawValue;

use crate::encoder::Encoder;
use crate::upstream::Upstream;
use crate::vectors;

/// What answers with vectors.
const EMBEDDINGS: &str = "/v1/embeddings";

/// What answers items.
#[derive(Debug)]
pub enum Backend {
    /// A sentence encoder in this process.
    Model(Encoder),
    /// An OpenAI-compatible server.
    Server(Upstream),
}

/// One request of a line, checked as far as all backends agree on it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Number of its line, from 0.
    pub line: u64,
    /// As `/v1/embeddings`.
    pub url: &'a str,
    /// What was sent.
    pub body: &'a RawValue,
    /// The catalogue's id of the model, which answers name whatever alias was asked for; none:
    /// answers name what was asked for.
    pub model: Option<&'a str>,
}

/// What an item is answered with: final, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// 200, or 4xx with an error body.
    pub status: u16,
    /// The upstream's name of the request; empty where there is none.
    pub request_id: String,
    /// JSON without line feeds.
    pub body: Box<RawValue>,
}

/// Why an item has no answer: nothing is known of the item, the run cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The backend could not be reached, or asked for patience longer than ours lasts.
    #[error("the backend is down: {0}")]
    Down(String),
    /// The backend refuses this worker as such: its key, its path, its model.
    #[error("the backend refuses this worker: {0}")]
    Refused(String),
    /// The backend answered with vectors that cannot be right: a broken device or driver.
    #[error("the backend's vectors are unsound: {0}; look at this node's device and driver")]
    Unsound(String),
    /// The backend failed on this very item, again and again.
    #[error("the backend fails: {0}")]
    Failing(String),
}

impl Backend {
    /// `sha256:…` of the weights that answer, where it is known.
    pub fn digest(&self) -> Option<&str> {
        match self {
            Backend::Model(encoder) => Some(encoder.digest()),
            Backend::Server(upstream) => upstream.digest(),
        }
    }

    /// Whether it can answer what asks for `url` at all.
    pub fn serves(&self, url: &str) -> bool {
        match self {
            Backend::Model(_) => url == EMBEDDINGS,
            Backend::Server(_) => is_path(url),
        }
    }

    /// Items that it takes at once.
    pub fn items_at_once(&self) -> usize {
        match self {
            Backend::Model(encoder) => encoder.items_at_once(),
            Backend::Server(upstream) => upstream.items_at_once(),
        }
    }

    /// Answers one item.
    ///
    /// # Errors
    /// [`Trouble`]: then the item may be asked again, by anyone.
    pub async fn answer(&self, request: Request<'_>) -> Result<Answer, Trouble> {
        match self {
            Backend::Model(encoder) => encoder.answer(request).await,
            Backend::Server(upstream) => sound(request.url, upstream.answer(request).await?),
        }
    }
}

/// An answer whose vectors may become results.
fn sound(url: &str, answer: Answer) -> Result<Answer, Trouble> {
    let has_vectors = url == EMBEDDINGS && answer.status == 200;
    match has_vectors.then(|| vectors::wrong_in(&answer.body)).flatten() {
        Some(wrong) => Err(Trouble::Unsound(wrong)),
        None => Ok(answer),
    }
}

/// Whether `url` is a plain path below `/v1/`: a line must not be able to name another host.
fn is_path(url: &str) -> bool {
    let safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '/' | '-' | '_');
    url.starts_with("/v1/") && url.chars().all(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_name_another_host() {
        for fine in ["/v1/embeddings", "/v1/chat/completions", "/v1/images/generations"] {
            assert!(is_path(fine), "{fine}");
        }
        for wrong in ["", "/", "@evil.example/v1/", "/v1/../admin", "/v1/x?y", "/v1/%2e%2e", "http://x/v1/"] {
            assert!(!is_path(wrong), "{wrong}");
        }
    }
}
