//! `POST /v1/files`: written to the store and indexed while it comes in. Memory is that of two parts
//! on their way, whatever the length.

use facts::VERSION;
use facts::file::FileMeta;

use super::index::{FILE_BYTES_MAX, Index, Indexed, Refused};
use super::store_failed;
use crate::act::files::Incoming;
use crate::app::App;
use crate::failure::{Failure, Kind};
use crate::http::Request;
use crate::http::multipart::{Event, Head, Multipart};

/// Longest value of a field that is no file.
const FIELD_BYTES_MAX: usize = 256;
/// Longest name of a file.
const FILENAME_BYTES_MAX: usize = 255;
/// How soon a file may go, in seconds, and how late (the vendor's own limits).
const EXPIRES_AFTER_S: std::ops::RangeInclusive<u64> = 3_600..=2_592_000;

/// Takes in a file of this tenant.
///
/// # Errors
/// 400 that names the field, 413, 429 while too many others upload.
pub async fn take(app: &App, request: &mut Request, tenant: &str) -> Result<FileMeta, Failure> {
    let Ok(_place) = app.uploads.try_acquire() else {
        let message = "too many uploads are under way here; try again";
        return Err(Failure::new(Kind::Overloaded, "too_many_uploads", message).retry_after(1_000));
    };
    let announced = request.header("content-length").and_then(|text| text.parse::<u64>().ok());
    // Heads and fields are small beside it.
    if announced.is_some_and(|bytes| bytes > FILE_BYTES_MAX + 64 * 1024) {
        return Err(refused(Refused::TooLarge));
    }
    let mut form = Form { app, tenant, fields: Fields::default(), file: None };
    match form.read(&mut Multipart::of(request)?).await {
        Ok(()) => form.commit().await,
        Err(failure) => {
            form.abort().await;
            Err(failure)
        }
    }
}

/// What has come in of the form.
struct Form<'a> {
    app: &'a App,
    tenant: &'a str,
    fields: Fields,
    file: Option<Came>,
}

#[derive(Default)]
struct Fields {
    purpose: Option<String>,
    anchor: Option<String>,
    seconds: Option<String>,
}

struct Came {
    incoming: Incoming,
    filename: String,
    /// None until its end was seen.
    indexed: Option<Indexed>,
}

impl Form<'_> {
    /// Reads the fields in whatever order they come.
    async fn read(&mut self, body: &mut Multipart<'_>) -> Result<(), Failure> {
        loop {
            match body.next().await? {
                Event::Part(head) if head.name == "file" => self.read_file(body, head).await?,
                Event::Part(head) => self.fields.read(body, &head.name).await?,
                Event::End => return Ok(()),
                // Whoever reads a part reads it to its end.
                Event::Data(_) | Event::PartEnd => {}
            }
        }
    }

    async fn read_file(&mut self, body: &mut Multipart<'_>, head: Head) -> Result<(), Failure> {
        if self.file.is_some() {
            return Err(repeated("file"));
        }
        let filename = filename(head)?;
        let incoming = Incoming::begin(&self.app.store, self.tenant).await;
        let incoming = incoming.map_err(|error| store_failed(&error))?;
        let came = self.file.insert(Came { incoming, filename, indexed: None });
        let mut index = Index::default();
        while let Event::Data(piece) = body.next().await? {
            index.push(&piece).map_err(refused)?;
            came.incoming.write(piece).await.map_err(|error| store_failed(&error))?;
        }
        came.indexed = Some(index.finish().map_err(refused)?);
        Ok(())
    }

    async fn commit(self) -> Result<FileMeta, Failure> {
        let Form { app, tenant, fields, file } = self;
        let now_ms = app.now().0;
        let expires_after_s = match fields.check() {
            Ok(expires_after_s) => expires_after_s,
            Err(failure) => {
                abort(file).await;
                return Err(failure);
            }
        };
        let Some(Came { incoming, filename, indexed: Some(indexed) }) = file else {
            return Err(missing("file"));
        };
        let meta = FileMeta {
            v: VERSION,
            file: incoming.id().to_owned(),
            tenant: tenant.to_owned(),
            filename,
            purpose: "batch".to_owned(),
            bytes: indexed.bytes,
            sha256: indexed.sha256,
            created_ms: now_ms,
            expires_ms: expires_after_s.map(|seconds| now_ms + seconds * 1_000),
            lines: Some(indexed.lines),
        };
        incoming.commit(&app.store, &meta).await.map_err(|error| store_failed(&error))?;
        Ok(meta)
    }

    async fn abort(self) {
        abort(self.file).await;
    }
}

async fn abort(file: Option<Came>) {
    if let Some(came) = file {
        came.incoming.abort().await;
    }
}

impl Fields {
    async fn read(&mut self, body: &mut Multipart<'_>, name: &str) -> Result<(), Failure> {
        let field = match name {
            "purpose" => &mut self.purpose,
            "expires_after[anchor]" => &mut self.anchor,
            "expires_after[seconds]" => &mut self.seconds,
            _ => {
                let name: String = name.chars().take(FIELD_BYTES_MAX).collect();
                let message = format!("`{name}` is no field of an upload; leave it out");
                return Err(Failure::invalid("body", "unknown_parameter", message).of(name));
            }
        };
        if field.is_some() {
            return Err(repeated(name));
        }
        *field = Some(body.text(name, FIELD_BYTES_MAX).await?);
        // A file of the wrong purpose need not be sent to its end.
        self.purpose.as_deref().map_or(Ok(()), purpose)
    }

    /// Checks them; after how many seconds the file goes.
    fn check(&self) -> Result<Option<u64>, Failure> {
        purpose(self.purpose.as_deref().ok_or_else(|| missing("purpose"))?)?;
        let (anchor, seconds) = match (self.anchor.as_deref(), self.seconds.as_deref()) {
            (None, None) => return Ok(None),
            (Some(anchor), Some(seconds)) => (anchor, seconds),
            (None, Some(_)) => return Err(missing("expires_after[anchor]")),
            (Some(_), None) => return Err(missing("expires_after[seconds]")),
        };
        if anchor != "created_at" {
            let message = "`expires_after[anchor]` must be `created_at`";
            return Err(Failure::invalid("expires_after[anchor]", "invalid_value", message));
        }
        let seconds = seconds.parse().ok().filter(|seconds| EXPIRES_AFTER_S.contains(seconds));
        seconds.map(Some).ok_or_else(|| {
            let (least, most) = (EXPIRES_AFTER_S.start(), EXPIRES_AFTER_S.end());
            let message = format!("`expires_after[seconds]` must be a whole number from {least} to {most}");
            Failure::invalid("expires_after[seconds]", "invalid_value", message)
        })
    }
}

fn purpose(purpose: &str) -> Result<(), Failure> {
    if purpose == "batch" {
        return Ok(());
    }
    let message = format!("`purpose` is `{purpose}`; only `batch` is served here");
    Err(Failure::invalid("purpose", "unsupported_purpose", message))
}

fn filename(head: Head) -> Result<String, Failure> {
    let message = "`file` has no file name; send it as a file";
    let name = head.filename.ok_or_else(|| Failure::invalid("file", "missing_filename", message))?;
    let fits = (1..=FILENAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    let message =
        format!("the file's name must have from 1 to {FILENAME_BYTES_MAX} bytes, without control characters");
    if fits { Ok(name) } else { Err(Failure::invalid("file", "invalid_filename", message)) }
}

fn missing(name: &'static str) -> Failure {
    let message = format!("`{name}` is missing; add it to the form");
    Failure::invalid(name, "missing_required_parameter", message)
}

fn repeated(name: &str) -> Failure {
    let message = format!("`{name}` stands there twice; send one");
    Failure::invalid("body", "repeated_parameter", message).of(name.to_owned())
}

fn refused(refused: Refused) -> Failure {
    let (kind, code) = match refused {
        Refused::Empty => (Kind::Invalid, "empty_file"),
        Refused::TooManyLines => (Kind::Invalid, "too_many_lines"),
        Refused::TooLarge => (Kind::TooLarge, "file_too_large"),
    };
    Failure::new(kind, code, refused.to_string()).of("file")
}
