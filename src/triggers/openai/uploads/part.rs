//! `POST /v1/uploads/{id}/parts`: a part goes to the store as it comes in. It is there whole or not at
//! all.

use std::borrow::Cow;

use wire::openai::UploadPart;

use super::super::files::{rules, store_failed};
use super::{PART_PREFIX, PREFIX};
use crate::act::uploads::{self, Incoming, PART_BYTES_MAX, PARTS_MAX, Seen};
use crate::app::App;
use crate::failure::{Failure, Kind};
use crate::http::multipart::{Event, Multipart};
use crate::http::{self, Request, Response};

/// What a form needs around its part.
const FORM_BYTES_MAX: u64 = 64 * 1024;

/// Takes a part in.
///
/// # Errors
/// 400 that names the field, 409 where the upload has ended, 413 above what it may hold, 429 while too
/// many others upload.
pub async fn answer(app: &App, request: &mut Request, seen: &Seen) -> Result<Response, Failure> {
    if seen.end.is_some() || seen.is_expired(app.now().0) {
        return Err(super::closed(app, seen));
    }
    let _place = rules::place(app)?;
    let room = room(app, seen).await?;
    let announced = request.header("content-length").and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > room + FORM_BYTES_MAX) {
        return Err(too_large(room));
    }
    let part = take(app, &mut Multipart::of(request)?, seen, room).await?;
    Ok(http::json(
        200,
        &UploadPart {
            id: format!("{PART_PREFIX}{part}"),
            object: Cow::Borrowed("upload.part"),
            created_at: app.now().0 / 1_000,
            upload_id: format!("{PREFIX}{}", seen.meta.upload),
        },
    ))
}

/// How large another part may be. Parts that come in beside each other do not see each other: as many
/// as there are places may come on top.
async fn room(app: &App, seen: &Seen) -> Result<u64, Failure> {
    let parts = uploads::parts(&app.store, &seen.meta).await.map_err(|error| store_failed(&error))?;
    let held: u64 = parts.iter().map(|part| part.bytes).sum();
    let left = uploads::held_bytes_max(seen.meta.bytes).saturating_sub(held);
    if parts.len() < PARTS_MAX && left > 0 {
        return Ok(left.min(PART_BYTES_MAX).min(seen.meta.bytes));
    }
    let message = format!(
        "the upload has {} parts of {held} bytes in all; it takes at most {PARTS_MAX} parts, and twice its `bytes`",
        parts.len()
    );
    Err(Failure::new(Kind::TooLarge, "too_many_parts", message).of("data"))
}

/// Reads the form; the part's id. Nothing is kept of a form that breaks off, not even a whole part.
async fn take(app: &App, form: &mut Multipart<'_>, seen: &Seen, room: u64) -> Result<String, Failure> {
    let mut part = None;
    match read(app, form, seen, room, &mut part).await {
        Ok(()) => {
            let missing = "`data` is missing; add it to the form";
            let part = part.ok_or_else(|| Failure::invalid("data", "missing_required_parameter", missing))?;
            part.finish().await.map_err(|error| store_failed(&error))
        }
        Err(failure) => {
            if let Some(part) = part {
                part.abort().await;
            }
            Err(failure)
        }
    }
}

async fn read(
    app: &App,
    form: &mut Multipart<'_>,
    seen: &Seen,
    room: u64,
    part: &mut Option<Incoming>,
) -> Result<(), Failure> {
    loop {
        match form.next().await? {
            Event::Part(head) if head.name == "data" && part.is_none() => {
                let incoming = Incoming::begin(&app.store, &seen.meta).await;
                let incoming = part.insert(incoming.map_err(|error| store_failed(&error))?);
                write(form, incoming, room).await?;
            }
            Event::Part(head) if head.name == "data" => {
                let message = "`data` stands there twice; send one";
                return Err(Failure::invalid("data", "repeated_parameter", message));
            }
            Event::Part(head) => {
                let name: String = head.name.chars().take(64).collect();
                let message = format!("`{name}` is no field of a part; leave it out");
                return Err(Failure::invalid("body", "unknown_parameter", message).of(name));
            }
            Event::End => return Ok(()),
            // Whoever reads a part reads it to its end.
            Event::Data(_) | Event::PartEnd => {}
        }
    }
}

async fn write(form: &mut Multipart<'_>, incoming: &mut Incoming, room: u64) -> Result<(), Failure> {
    let mut bytes = 0;
    while let Event::Data(piece) = form.next().await? {
        bytes += piece.len() as u64;
        if bytes > room {
            return Err(too_large(room));
        }
        incoming.write(piece).await.map_err(|error| store_failed(&error))?;
    }
    if bytes == 0 {
        return Err(Failure::invalid("data", "empty_part", "`data` is empty; send at least a byte"));
    }
    Ok(())
}

fn too_large(room: u64) -> Failure {
    let message = format!("the part is too large; the upload takes at most {room} bytes in this one");
    Failure::new(Kind::TooLarge, "part_too_large", message).of("data")
}
