//! `/v1/uploads`: large files in parts, each small enough for whatever stands before the handler.
//! [`create`] begins one, [`part`] takes a part in, [`complete`] makes a file of them.
//!
//! Clients see `upload_` and `part_` before ids. An upload of another tenant does not exist.

mod complete;
mod create;
mod part;

use std::borrow::Cow;

use facts::id;
use facts::upload::Ended;
use wire::catalogue::Permission;
use wire::openai::{Upload, UploadStatus};

use super::files;
use crate::act::uploads::{self, Seen};
use crate::app::App;
use crate::auth;
use crate::failure::{Failure, Kind};
use crate::http::{self, Method, Request, Response};

const PREFIX: &str = "upload_";
const PART_PREFIX: &str = "part_";

/// Answers `/v1/uploads{/segments}`.
///
/// # Errors
/// What the caller is told instead.
pub async fn answer(app: &App, mut request: Request, segments: &[&str]) -> Result<Response, Failure> {
    let answered = route(app, &mut request, segments).await;
    if answered.is_err() {
        request.discard().await;
    }
    answered
}

async fn route(app: &App, request: &mut Request, segments: &[&str]) -> Result<Response, Failure> {
    let wanted = match (segments, &request.method) {
        ([], &Method::POST) | ([_, "parts" | "complete" | "cancel"], &Method::POST) => Permission::Submit,
        ([_], &Method::GET | &Method::HEAD) => Permission::Read,
        ([] | [_, "parts" | "complete" | "cancel"], _) => return Err(Failure::method("POST")),
        ([_], _) => return Err(Failure::method("GET, HEAD")),
        _ => return Err(Failure::not_found("nothing is here; see /api/openapi.json")),
    };
    let catalogue = app.catalogue().await?;
    let caller = auth::tenant(&catalogue, &request.headers, wanted)?;
    let tenant = &caller.tenant().id;
    let [id, what @ ..] = segments else { return create::answer(app, request, tenant).await };
    let seen = find(app, tenant, id).await?;
    match what {
        [] => Ok(http::json(200, &shown(app, &seen))),
        ["parts"] => part::answer(app, request, &seen).await,
        ["complete"] => complete::answer(app, request, seen).await,
        _ => cancel(app, seen).await,
    }
}

/// Ends an upload without a file. Sent again, it answers as before.
async fn cancel(app: &App, mut seen: Seen) -> Result<Response, Failure> {
    if seen.end.is_none() && !seen.is_expired(app.now().0) {
        let end = uploads::end(&app.store, &app.clock, &seen.meta, Ended::Cancelled).await;
        seen.end = Some(end.map_err(files::failed)?);
    }
    match seen.end {
        Some(Ended::Cancelled) => Ok(http::json(200, &shown(app, &seen))),
        _ => Err(closed(app, &seen)),
    }
}

/// 409: the upload has ended in another way than this needs.
fn closed(app: &App, seen: &Seen) -> Failure {
    let (code, message) = match status(app, seen) {
        UploadStatus::Pending => unreachable!("asked of ended uploads only"),
        UploadStatus::Completed => ("upload_completed", "the upload is complete already; its file is there"),
        UploadStatus::Cancelled => ("upload_cancelled", "the upload was cancelled; begin another"),
        UploadStatus::Expired => {
            ("upload_expired", "the upload was not completed within an hour; begin another")
        }
    };
    Failure::new(Kind::Conflict, code, message).of("upload_id")
}

/// The tenant's upload that clients call `shown`; nothing else may enter a key.
async fn find(app: &App, tenant: &str, shown: &str) -> Result<Seen, Failure> {
    let unknown = || {
        let shown: String = shown.chars().take(64).collect();
        let message = format!("there is no upload `{shown}`; `POST /v1/uploads` begins one");
        Failure::new(Kind::NotFound, "upload_not_found", message).of("upload_id")
    };
    let upload = shown.strip_prefix(PREFIX).filter(|id| id::is_id(id)).ok_or_else(unknown)?;
    let seen = uploads::read(&app.store, tenant, upload).await;
    seen.map_err(files::failed)?.ok_or_else(unknown)
}

fn status(app: &App, seen: &Seen) -> UploadStatus {
    match seen.end {
        Some(Ended::Completed { .. }) => UploadStatus::Completed,
        Some(Ended::Cancelled) => UploadStatus::Cancelled,
        _ if seen.is_expired(app.now().0) => UploadStatus::Expired,
        _ => UploadStatus::Pending,
    }
}

/// An upload as clients see it.
fn shown(app: &App, seen: &Seen) -> Upload {
    let meta = &seen.meta;
    Upload {
        id: format!("{PREFIX}{}", meta.upload),
        object: Cow::Borrowed("upload"),
        bytes: meta.bytes,
        created_at: meta.created_ms / 1_000,
        expires_at: meta.expires_ms / 1_000,
        filename: meta.filename.clone(),
        purpose: meta.purpose.clone(),
        status: status(app, seen),
        file: match &seen.end {
            Some(Ended::Completed { file, .. }) => Some(files::shown(file)),
            _ => None,
        },
    }
}
