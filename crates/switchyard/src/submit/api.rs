//! The calls of a submit: the vendor's files and batches.

use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method, Response};
use wire::openai::{Batch, BatchCreate, FileList, FileObject, FileStatus};

use super::input::Input;
use super::wishes::MaxCost;
use crate::client::{Client, Error};

/// Files asked for at once, and pages of them, while looking for one that was sent before. One that is
/// older is sent again, and the batch's key tells that it is the same.
const FILES_PAGE: &str = "100";
const FILES_PAGES_MAX: usize = 10;

/// The id of a file with this content that an earlier submit has sent.
pub(super) async fn find_file(client: &Client, input: &Input) -> Result<Option<String>, Error> {
    let name = input.remote_name();
    let is_it = |file: &FileObject| {
        file.filename == name && file.bytes == input.bytes && file.status == FileStatus::Processed
    };
    let mut after: Option<String> = None;
    for _ in 0..FILES_PAGES_MAX {
        let pairs = [("purpose", Some("batch")), ("limit", Some(FILES_PAGE)), ("after", after.as_deref())];
        let page: FileList = client.json(|| client.query(&["v1", "files"], &pairs)).await?;
        if let Some(file) = page.data.iter().find(|file| is_it(file)) {
            return Ok(Some(file.id.clone()));
        }
        after = page.data.last().map(|file| file.id.clone());
        if !page.has_more || after.is_none() {
            break;
        }
    }
    Ok(None)
}

/// Sends the file; its id.
pub(super) async fn upload(client: &Client, input: &Input) -> Result<String, Error> {
    let request = || {
        let body = match input.pieces() {
            Ok(pieces) => Body::wrap_stream(pieces),
            // Told as the body's own error, which ends the request.
            Err(error) => Body::wrap_stream(futures_util::stream::iter([Err::<Vec<u8>, _>(error)])),
        };
        // The Functions host takes no chunked body while it forwards, so the length is said.
        let file = Part::stream_with_length(body, input.bytes).file_name(input.remote_name());
        let file = file.mime_str("application/octet-stream").expect("that is a media type");
        let form = Form::new().text("purpose", "batch").part("file", file);
        client.request(Method::POST, &["v1", "files"]).multipart(form)
    };
    let file: FileObject = client.json(request).await?;
    Ok(file.id)
}

/// Makes the batch, or finds the one that was made under this key.
pub(super) async fn create(
    client: &Client,
    wanted: &BatchCreate,
    key: &str,
    max_cost: Option<&MaxCost>,
) -> Result<Batch, Error> {
    let request = || {
        let mut request = client.request(Method::POST, &["v1", "batches"]).header("idempotency-key", key);
        if let Some(cost) = max_cost {
            request = request.header("switchyard-max-cost", cost.as_str());
        }
        request.json(wanted)
    };
    client.json(request).await
}

/// A batch.
pub(super) async fn batch(client: &Client, id: &str) -> Result<Batch, Error> {
    client.json(|| client.request(Method::GET, &["v1", "batches", id])).await
}

/// A file's content, as it comes.
pub(super) async fn content(client: &Client, id: &str) -> Result<Response, Error> {
    client.send(|| client.request(Method::GET, &["v1", "files", id, "content"])).await
}
