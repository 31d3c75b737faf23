//! `/v1/files`: what tenants upload for batches. [`upload`] takes files in, [`index`] learns their
//! lines on the way, [`check`] judges one line.
//!
//! Clients see `file-` before an id. A file of another tenant does not exist: 404 alike.

pub mod check;
pub mod index;
mod upload;

use std::borrow::Cow;

use facts::file::FileMeta;
use facts::{StoreError, id};
use wire::catalogue::Permission;
use wire::openai::{FileDeleted, FileList, FileObject, FileStatus};

use crate::act::files::{self, FileError, Listing, Order};
use crate::app::App;
use crate::auth;
use crate::failure::{Failure, Kind};
use crate::http::{self, Method, Request, Response, range};

/// What clients see before an id.
const PREFIX: &str = "file-";
/// Largest `limit` of a list, and the usual one (the vendor's own).
const LIMIT_MAX: usize = 10_000;

/// Answers `/v1/files{/segments}`.
///
/// # Errors
/// What the caller is told instead.
pub async fn answer(app: &App, mut request: Request, segments: &[&str]) -> Result<Response, Failure> {
    let get = matches!(request.method, Method::GET | Method::HEAD);
    match segments {
        [] if request.method == Method::POST => upload(app, &mut request).await,
        [] if get => list(app, &request).await,
        [] => Err(Failure::method("GET, HEAD, POST")),
        [id] if get => show(app, &request, id).await,
        [id] if request.method == Method::DELETE => delete(app, &request, id).await,
        [_] => Err(Failure::method("GET, HEAD, DELETE")),
        [id, "content"] if get => content(app, &request, id).await,
        [_, "content"] => Err(Failure::method("GET, HEAD")),
        _ => Err(Failure::not_found("nothing is here; see /api/openapi.json")),
    }
}

async fn upload(app: &App, request: &mut Request) -> Result<Response, Failure> {
    let taken = async {
        let catalogue = app.catalogue().await?;
        let caller = auth::tenant(&catalogue, &request.headers, Permission::Submit)?;
        upload::take(app, request, &caller.tenant().id).await
    };
    match taken.await {
        Ok(meta) => Ok(http::json(200, &shown(&meta))),
        Err(failure) => {
            request.discard().await;
            Err(failure)
        }
    }
}

async fn list(app: &App, request: &Request) -> Result<Response, Failure> {
    let caller = caller(app, request, Permission::Read).await?;
    let query = Query::read(request.query.as_deref().unwrap_or_default())?;
    let page = match query.purpose.as_deref() {
        None | Some("batch") => {
            let page = files::list(&app.store, &caller.tenant().id, &query.listing, app.now().0).await;
            let unknown = "`after` is no file that was listed here; give the id of one";
            page.map_err(failed)?.ok_or_else(|| Failure::invalid("after", "invalid_cursor", unknown))?
        }
        Some(_) => files::Page { files: Vec::new(), has_more: false },
    };
    let data: Vec<FileObject> = page.files.iter().map(shown).collect();
    Ok(http::json(
        200,
        &FileList {
            object: Cow::Borrowed("list"),
            first_id: data.first().map(|file| file.id.clone()),
            last_id: data.last().map(|file| file.id.clone()),
            has_more: page.has_more,
            data,
        },
    ))
}

async fn show(app: &App, request: &Request, id: &str) -> Result<Response, Failure> {
    let caller = caller(app, request, Permission::Read).await?;
    let meta = find(app, &caller.tenant().id, id).await?;
    Ok(http::json(200, &shown(&meta)))
}

async fn content(app: &App, request: &Request, id: &str) -> Result<Response, Failure> {
    let caller = caller(app, request, Permission::Read).await?;
    let meta = find(app, &caller.tenant().id, id).await?;
    let open = |range| files::content(&app.store, &meta.tenant, &meta.file, range);
    Ok(range::answer(request, meta.bytes, &meta.sha256, open))
}

async fn delete(app: &App, request: &Request, id: &str) -> Result<Response, Failure> {
    let caller = caller(app, request, Permission::Submit).await?;
    let file = parse(id)?;
    let found = files::delete(&app.store, &caller.tenant().id, file, app.now().0).await;
    if !found.map_err(|error| store_failed(&error))? {
        return Err(unknown(id));
    }
    Ok(http::json(200, &FileDeleted { id: id.to_owned(), object: Cow::Borrowed("file"), deleted: true }))
}

async fn caller(app: &App, request: &Request, wanted: Permission) -> Result<auth::Caller, Failure> {
    let catalogue = app.catalogue().await?;
    auth::tenant(&catalogue, &request.headers, wanted)
}

/// The tenant's file that clients call `id`.
///
/// # Errors
/// 404 when there is none, or none any more.
pub async fn find(app: &App, tenant: &str, id: &str) -> Result<FileMeta, Failure> {
    let found = files::read(&app.store, tenant, parse(id)?, app.now().0).await;
    found.map_err(failed)?.ok_or_else(|| unknown(id))
}

/// The id behind what clients see; nothing else may enter a key.
fn parse(shown: &str) -> Result<&str, Failure> {
    shown.strip_prefix(PREFIX).filter(|file| id::is_id(file)).ok_or_else(|| unknown(shown))
}

fn unknown(shown: &str) -> Failure {
    let shown: String = shown.chars().take(64).collect();
    let message = format!("there is no file `{shown}`; `GET /v1/files` lists yours");
    Failure::new(Kind::NotFound, "file_not_found", message).of("id")
}

fn failed(error: FileError) -> Failure {
    match error {
        FileError::Store(error) => store_failed(&error),
        FileError::Unreadable(..) => {
            tracing::error!(%error, "a file's facts cannot be read");
            Failure::new(Kind::Bug, "internal_error", "an error of ours; report the x-request-id")
        }
    }
}

/// 503: what the store said is for us, not for the caller.
fn store_failed(error: &StoreError) -> Failure {
    tracing::warn!(%error, "the store failed a request");
    let message = "the store does not answer now; try again";
    Failure::new(Kind::Unavailable, "store_unavailable", message).retry_after(1_000)
}

/// A file as clients see it.
pub fn shown(meta: &FileMeta) -> FileObject {
    let first_error = meta.lines.as_ref().and_then(|lines| lines.errors.first());
    FileObject {
        id: format!("{PREFIX}{}", meta.file),
        object: Cow::Borrowed("file"),
        bytes: meta.bytes,
        created_at: meta.created_ms / 1_000,
        expires_at: meta.expires_ms.map(|ms| ms / 1_000),
        filename: meta.filename.clone(),
        purpose: Cow::Owned(meta.purpose.clone()),
        status: if first_error.is_some() { FileStatus::Error } else { FileStatus::Processed },
        status_details: first_error.map(|error| format!("line {}: {}", error.line, error.message)),
    }
}

/// The query of a list. Names that we do not know are ignored, as the vendor does.
struct Query {
    purpose: Option<String>,
    listing: Listing,
}

impl Query {
    fn read(text: &str) -> Result<Query, Failure> {
        let mut listing = Listing { limit: LIMIT_MAX, after: None, order: Order::default() };
        let mut purpose = None;
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            match name.as_ref() {
                "purpose" => purpose = Some(value.into_owned()),
                "after" => {
                    let file = parse(&value).map_err(|_| {
                        Failure::invalid("after", "invalid_cursor", "`after` is no file's id")
                    })?;
                    listing.after = Some(file.to_owned());
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    let message = format!("`limit` must be a whole number from 1 to {LIMIT_MAX}");
                    listing.limit =
                        limit.ok_or_else(|| Failure::invalid("limit", "invalid_value", message))?;
                }
                "order" => {
                    listing.order = match value.as_ref() {
                        "asc" => Order::Ascending,
                        "desc" => Order::Descending,
                        _ => {
                            let message = "`order` must be asc or desc";
                            return Err(Failure::invalid("order", "invalid_value", message));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(Query { purpose, listing })
    }
}
