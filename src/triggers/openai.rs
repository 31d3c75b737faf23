//! Function `Openai`: the OpenAI API. [`infer`] routes and forwards inference, [`tier`] tells the service
//! tier; [`models`] lists; [`files`] takes uploads, [`mod@uploads`] those in parts, [`batches`] makes jobs of them.

pub mod batches;
mod charge;
pub mod controls;
pub mod defer;
pub mod files;
pub mod infer;
pub mod models;
pub mod refuse;
pub mod shape;
pub mod tier;
pub mod uploads;

use policy::request::Operation;

use crate::app::App;
use crate::failure::{Failure, Kind};
use crate::http::{Method, Request, Response};

/// Answers `/api/v1/{segments}`.
///
/// # Errors
/// What the caller is told instead.
pub async fn answer(app: &App, request: Request, segments: &[&str]) -> Result<Response, Failure> {
    let operation = match segments {
        ["embeddings"] => Operation::Embeddings,
        ["chat", "completions"] => Operation::ChatCompletions,
        ["completions"] => Operation::Completions,
        ["models"] | ["models", _] => {
            return match request.method {
                Method::GET | Method::HEAD => models::answer(app, &request, segments.get(1).copied()).await,
                _ => Err(Failure::method("GET, HEAD")),
            };
        }
        // Beside inference these are rare, and not to make every request as large as they are.
        ["batches", rest @ ..] => return Box::pin(batches::answer(app, request, rest)).await,
        ["uploads", rest @ ..] => return Box::pin(uploads::answer(app, request, rest)).await,
        ["files", rest @ ..] => return Box::pin(files::answer(app, request, rest)).await,
        _ => return Err(unsupported(&segments.join("/"))),
    };
    match request.method {
        Method::POST => infer::answer(app, request, operation).await,
        _ => Err(Failure::method("POST")),
    }
}

/// Never a made-up answer for what this version does not do.
pub(super) fn unsupported(path: &str) -> Failure {
    let message = format!(
        "/v1/{path} is not served here; this version serves embeddings, chat/completions, completions, models, files, uploads and batches"
    );
    Failure::new(Kind::NotFound, "unsupported_endpoint", message)
}
