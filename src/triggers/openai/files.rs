//! `/v1/files`: what tenants upload for batches. [`upload`] takes files in, [`index`] learns their
//! lines on the way, [`check`] judges one line, [`rules`] are those that uploads in parts share.
//!
//! Clients see `file-` before an id. A file of another tenant does not exist: 404 alike.

pub mod check;
pub mod index;
pub mod rules;
pub mod upload;

use std::borrow::Cow;

use facts::file::FileMeta;
use facts::job::End;
use facts::{Job, JobId, StoreError, id};
use wire::catalogue::Permission;
use wire::openai::{FileDeleted, FileList, FileObject, FileStatus};
use wire::whole::Whole;

use super::batches;
use super::batches::shown::{ERRORS, OUTPUT};
use crate::act::fact::FactError;
use crate::act::files::list::{self, Kinds, Listed, Listing, Name, Order};
use crate::act::files::{self, Deletion};
use crate::act::progress;
use crate::act::results::{self, Which};
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
    let page = match query.listing {
        Some(listing) => {
            let now_ms = app.now().0;
            let shown = |listed| match listed {
                Listed::Upload(meta) => Some(shown(&meta)),
                Listed::Result(ended, which) => batches::shown::file(&ended.0, &ended.1, which, now_ms),
            };
            let page = list::list((&app.store, &app.clock), &caller.tenant().id, &listing, shown).await;
            let unknown = "`after` is no file that was listed here; give the id of one";
            page.map_err(failed)?.ok_or_else(|| Failure::invalid("after", "invalid_cursor", unknown))?
        }
        None => list::Page { files: Vec::new(), has_more: false },
    };
    let data: Vec<FileObject> = page.files;
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
    let shown = match Named::parse(id)? {
        Named::Upload(file) => shown(&find(app, &caller.tenant().id, file).await?),
        Named::Result(job, which) => {
            result(app, &caller.tenant().id, (&job, which)).await?.ok_or_else(|| unknown(id))?.file
        }
    };
    Ok(http::json(200, &shown))
}

async fn content(app: &App, request: &Request, id: &str) -> Result<Response, Failure> {
    let caller = caller(app, request, Permission::Read).await?;
    let tenant = &caller.tenant().id;
    match Named::parse(id)? {
        Named::Upload(file) => {
            let meta = find(app, tenant, file).await?;
            let open = |range| files::content(&app.store, &meta.tenant, &meta.file, range);
            Ok(range::answer(request, meta.bytes, &meta.sha256, open))
        }
        Named::Result(job, which) => {
            let found = result(app, tenant, (&job, which)).await?.ok_or_else(|| unknown(id))?;
            let Brought { job, end, file } = found;
            let open = |range| results::content(&app.store, &job, &end, which, range);
            // An ended job's results never change, so their name names their content.
            Ok(range::answer(request, file.bytes, id, open))
        }
    }
}

async fn delete(app: &App, request: &Request, id: &str) -> Result<Response, Failure> {
    let caller = caller(app, request, Permission::Submit).await?;
    let tenant = &caller.tenant().id;
    match Named::parse(id)? {
        Named::Upload(file) => {
            let done = files::delete(&app.store, &app.clock, tenant, file).await;
            match done.map_err(failed)? {
                Deletion::Gone => {}
                Deletion::NotThere => return Err(unknown(id)),
                Deletion::InUse => {
                    let message =
                        "a batch that has not ended reads this file; cancel it, or wait for its end";
                    return Err(Failure::new(Kind::Conflict, "file_in_use", message).of("id"));
                }
            }
        }
        Named::Result(job, which) => delete_result(app, tenant, (&job, which), id).await?,
    }
    Ok(http::json(200, &FileDeleted { id: id.to_owned(), object: Cow::Borrowed("file"), deleted: true }))
}

/// Deletes what a batch brought; sent again, it answers as before.
async fn delete_result(app: &App, tenant: &str, of: (&JobId, Which), id: &str) -> Result<(), Failure> {
    let (job, which) = of;
    let deleted = results::is_deleted(&app.store, tenant, job, which).await;
    if deleted.map_err(|error| store_failed(&error))? {
        return Ok(());
    }
    if result(app, tenant, of).await?.is_none() {
        return Err(unknown(id));
    }
    results::delete(&app.store, tenant, job, which).await.map_err(|error| store_failed(&error))
}

/// One of an ended batch's files, with what it is read from.
struct Brought {
    job: Job,
    end: End,
    file: FileObject,
}

/// What a batch brought; none where it has not ended, or the file is empty, expired or deleted.
async fn result(app: &App, tenant: &str, (job, which): (&JobId, Which)) -> Result<Option<Brought>, Failure> {
    let Some((job, end)) = progress::ended(&app.store, tenant, job).await.map_err(failed)? else {
        return Ok(None);
    };
    let deleted = results::is_deleted(&app.store, tenant, &job.job, which).await;
    if deleted.map_err(|error| store_failed(&error))? {
        return Ok(None);
    }
    let file = batches::shown::file(&job, &end, which, app.now().0);
    Ok(file.map(|file| Brought { job, end, file }))
}

async fn caller(app: &App, request: &Request, wanted: Permission) -> Result<auth::Caller, Failure> {
    let catalogue = app.catalogue().await?;
    auth::tenant(&catalogue, &request.headers, wanted)
}

/// The tenant's file of this id.
///
/// # Errors
/// 404 when there is none, or none any more.
pub async fn find(app: &App, tenant: &str, file: &str) -> Result<FileMeta, Failure> {
    let found = files::read(&app.store, tenant, file, app.now().0).await;
    found.map_err(failed)?.ok_or_else(|| unknown(&format!("{PREFIX}{file}")))
}

/// The tenant's file that a batch is to read.
///
/// # Errors
/// 404 when there is none; 400 for one that a batch brought.
pub async fn input(app: &App, tenant: &str, shown: &str) -> Result<FileMeta, Failure> {
    match Named::parse(shown)? {
        Named::Upload(file) => find(app, tenant, file).await,
        Named::Result(job, which) => {
            result(app, tenant, (&job, which)).await?.ok_or_else(|| unknown(shown))?;
            let message = "a batch brought this file (purpose `batch_output`); an input is uploaded with the purpose `batch`";
            Err(Failure::invalid("input_file_id", "invalid_purpose", message))
        }
    }
}

/// What an id of clients names; nothing else may enter a key.
enum Named<'a> {
    /// A file that was uploaded.
    Upload(&'a str),
    /// What a job brought.
    Result(JobId, Which),
}

impl Named<'_> {
    fn parse(shown: &str) -> Result<Named<'_>, Failure> {
        for (prefix, which) in [(OUTPUT, Which::Output), (ERRORS, Which::Errors)] {
            if let Some(job) = shown.strip_prefix(prefix).and_then(JobId::parse) {
                return Ok(Named::Result(job, which));
            }
        }
        parse(shown).map(Named::Upload)
    }

    /// As lists know it.
    fn name(&self) -> Name {
        match self {
            Named::Upload(file) => Name::Upload((*file).to_owned()),
            Named::Result(job, which) => Name::Result(job.to_string(), *which),
        }
    }
}

/// The id behind what clients see of an upload.
///
/// # Errors
/// 404 where it is none.
pub fn parse(shown: &str) -> Result<&str, Failure> {
    shown.strip_prefix(PREFIX).filter(|file| id::is_id(file)).ok_or_else(|| unknown(shown))
}

/// 404: nothing of this name is the tenant's.
pub fn unknown(shown: &str) -> Failure {
    let shown: String = shown.chars().take(64).collect();
    let message = format!("there is no file `{shown}`; `GET /v1/files` lists yours");
    Failure::new(Kind::NotFound, "file_not_found", message).of("id")
}

/// A fact that could not be read, as the caller is told.
pub fn failed(error: FactError) -> Failure {
    match error {
        FactError::Store(error) => store_failed(&error),
        FactError::Unreadable(..) => {
            tracing::error!(%error, "a fact cannot be read");
            Failure::new(Kind::Bug, "internal_error", "an error of ours; report the x-request-id")
        }
    }
}

/// 503: what the store said is for us, not for the caller.
pub fn store_failed(error: &StoreError) -> Failure {
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
    /// None: of this purpose there are no files.
    listing: Option<Listing>,
}

impl Query {
    fn read(text: &str) -> Result<Query, Failure> {
        let mut listing =
            Listing { limit: LIMIT_MAX, after: None, order: Order::default(), kinds: Kinds::default() };
        let mut is_there = true;
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            match name.as_ref() {
                "purpose" => match value.as_ref() {
                    "batch" => listing.kinds = Kinds::Uploads,
                    "batch_output" => listing.kinds = Kinds::Results,
                    _ => is_there = false,
                },
                "after" => {
                    let file = Named::parse(&value).map_err(|_| {
                        Failure::invalid("after", "invalid_cursor", "`after` is no file's id")
                    })?;
                    listing.after = Some(file.name());
                }
                "limit" => {
                    let limit = value
                        .parse()
                        .ok()
                        .map(|Whole(limit)| limit)
                        .filter(|limit| (1..=LIMIT_MAX).contains(limit));
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
        Ok(Query { listing: is_there.then_some(listing) })
    }
}
