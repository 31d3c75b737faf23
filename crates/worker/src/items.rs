//! Lines in, lines out: each line becomes exactly one line, whatever is in it.

use facts::line::{self, InLine};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use wire::embeddings::Invalid;

use crate::backend::{Answer, Backend, Request, Trouble};
use crate::encoder::refusal;
use crate::progress::Progress;

/// What all lines of a job agree on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    /// What they ask for; none: whatever the backend serves.
    pub url: Option<&'a str>,
    /// The catalogue's id of their model; none: answers name what was asked for.
    pub model: Option<&'a str>,
}

/// An item that has its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The line, with its line feed.
    pub text: String,
    /// Whether it is a result and no error.
    pub is_output: bool,
}

/// Runs lines, as many at once as the backend takes; the results are in the order of the lines.
/// `first` is the number of the first of them.
///
/// # Errors
/// With the first [`Trouble`]; what was done is lost, nothing is half done.
pub async fn run(
    backend: &Backend,
    terms: Terms<'_>,
    first: u64,
    lines: &[&[u8]],
    progress: &Progress,
) -> Result<Vec<Done>, Trouble> {
    let numbered = (first..).zip(lines).map(|(line, text)| async move {
        let done = run_one(backend, terms, line, text).await?;
        progress.item(done.is_output);
        Ok((line, done))
    });
    // Out of order, so that one long generation does not hold up the others.
    let mut done: Vec<(u64, Done)> =
        stream::iter(numbered).buffer_unordered(backend.items_at_once()).try_collect().await?;
    done.sort_unstable_by_key(|(line, _)| *line);
    Ok(done.into_iter().map(|(_, done)| done).collect())
}

/// Runs one line.
///
/// # Errors
/// [`Trouble`].
pub async fn run_one(backend: &Backend, terms: Terms<'_>, line: u64, text: &[u8]) -> Result<Done, Trouble> {
    let item: InLine<'_> = match serde_json::from_slice(text) {
        Ok(item) => item,
        Err(error) => {
            let message = format!("the line is no request: {error}");
            return Ok(failed(line, &custom_id(text), "invalid_json_line", &message));
        }
    };
    let answer = match check(backend, terms, &item) {
        Some(invalid) => refusal(invalid),
        None => {
            let request = Request { line, url: &item.url, body: item.body, model: terms.model };
            backend.answer(request).await?
        }
    };
    let Answer { status, request_id, body } = answer;
    let text = line::result(line, &item.custom_id, status, &request_id, &body);
    Ok(Done { text, is_output: status == 200 })
}

/// An error line.
pub fn failed(line: u64, custom_id: &str, code: &str, message: &str) -> Done {
    Done { text: line::error(line, custom_id, code, message), is_output: false }
}

/// What the client called an item; empty where nothing can be read.
pub fn custom_id(text: &[u8]) -> String {
    let value: Option<serde_json::Value> = serde_json::from_slice(text).ok();
    value.and_then(|value| Some(value.get("custom_id")?.as_str()?.to_owned())).unwrap_or_default()
}

fn check(backend: &Backend, terms: Terms<'_>, item: &InLine<'_>) -> Option<Invalid> {
    if item.method != "POST" {
        return Some(Invalid::new("method", format!("`method` is `{}`; give `POST`", item.method)));
    }
    match terms.url {
        Some(url) if url != item.url => Some(Invalid::new(
            "url",
            format!("`url` is `{}`; all lines of this job ask for `{url}`", item.url),
        )),
        _ if !backend.serves(&item.url) => {
            Some(Invalid::new("url", format!("`{}` is not served here; give `/v1/embeddings`", item.url)))
        }
        _ => None,
    }
}
