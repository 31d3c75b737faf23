//! `POST /v1/files`: written to the store and indexed while it comes in. Memory is that of two parts
//! on their way, whatever the length.

use facts::VERSION;
use facts::file::FileMeta;
use wire::whole::Whole;

use super::index::{FILE_BYTES_MAX, Index, Indexed, Refused};
use super::rules::{self, EXPIRES_AFTER_S};
use super::store_failed;
use crate::act::files::{self, Incoming};
use crate::app::App;
use crate::failure::Failure;
use crate::http::Request;
use crate::http::multipart::{Event, Head, Multipart};

/// Longest value of a field that is no file.
const FIELD_BYTES_MAX: usize = 256;

/// Takes in a file of this tenant.
///
/// # Errors
/// 400 that names the field, 413, 429 while too many others upload.
pub async fn take(app: &App, request: &mut Request, tenant: &str) -> Result<FileMeta, Failure> {
    let _place = rules::place(app)?;
    let announced = request.header("content-length").and_then(|text| text.parse::<u64>().ok());
    // Heads and fields are small beside it.
    if announced.is_some_and(|bytes| bytes > FILE_BYTES_MAX + 64 * 1024) {
        return Err(rules::refused(Refused::TooLarge).of("file"));
    }
    let mut form = Form { app, tenant, fields: Fields::default(), file: None };
    match form.read(&mut Multipart::of(request)?).await {
        Ok(()) => form.commit().await,
        Err(failure) => {
            abort(app, form.file).await;
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
        let now_ms = self.app.now().0;
        let incoming = Incoming::begin(&self.app.store, self.tenant, now_ms).await;
        let incoming = incoming.map_err(|error| store_failed(&error))?;
        let came = self.file.insert(Came { incoming, filename, indexed: None });
        let mut index = Index::default();
        while let Event::Data(piece) = body.next().await? {
            index.push(&piece).map_err(in_file)?;
            came.incoming.write(piece).await.map_err(|error| store_failed(&error))?;
        }
        came.indexed = Some(index.finish().map_err(in_file)?);
        Ok(())
    }

    async fn commit(self) -> Result<FileMeta, Failure> {
        let Form { app, tenant, fields, file } = self;
        let expires_after_s = match fields.check() {
            Ok(expires_after_s) => expires_after_s,
            Err(failure) => {
                abort(app, file).await;
                return Err(failure);
            }
        };
        let Some(Came { incoming, filename, indexed: Some(indexed) }) = file else {
            return Err(missing("file"));
        };
        let owned = Owned { tenant, file: incoming.id(), filename: &filename, expires_after_s };
        let meta = meta(app, owned, indexed);
        incoming.finish().await.map_err(|error| store_failed(&error))?;
        files::commit(&app.store, &meta).await.map_err(|error| store_failed(&error))?;
        Ok(meta)
    }
}

async fn abort(app: &App, file: Option<Came>) {
    if let Some(came) = file {
        came.incoming.abort(&app.store).await;
    }
}

/// What is known of a content besides itself.
pub struct Owned<'a> {
    /// Whose it is.
    pub tenant: &'a str,
    /// Its id.
    pub file: &'a str,
    /// As the client gave it.
    pub filename: &'a str,
    /// How long it lives; none: as the knob `retention-days` says.
    pub expires_after_s: Option<u64>,
}

/// What commits a content that is there now.
pub fn meta(app: &App, owned: Owned<'_>, indexed: Indexed) -> FileMeta {
    let now_ms = app.now().0;
    let usual_s = u64::from(app.knobs.knobs().retention_days) * 86_400;
    FileMeta {
        v: VERSION,
        file: owned.file.to_owned(),
        tenant: owned.tenant.to_owned(),
        filename: owned.filename.to_owned(),
        purpose: rules::PURPOSE.to_owned(),
        bytes: indexed.bytes,
        sha256: indexed.sha256,
        created_ms: now_ms,
        expires_ms: Some(now_ms + owned.expires_after_s.unwrap_or(usual_s) * 1_000),
        lines: Some(indexed.lines),
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
        self.purpose.as_deref().map_or(Ok(()), rules::purpose)
    }

    /// Checks them; after how many seconds the file goes.
    fn check(&self) -> Result<Option<u64>, Failure> {
        rules::purpose(self.purpose.as_deref().ok_or_else(|| missing("purpose"))?)?;
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
        let seconds = seconds
            .parse()
            .ok()
            .map(|Whole(seconds)| seconds)
            .filter(|seconds| EXPIRES_AFTER_S.contains(seconds));
        seconds.map(Some).ok_or_else(|| {
            let (least, most) = (EXPIRES_AFTER_S.start(), EXPIRES_AFTER_S.end());
            let message = format!("`expires_after[seconds]` must be a whole number from {least} to {most}");
            Failure::invalid("expires_after[seconds]", "invalid_value", message)
        })
    }
}

fn filename(head: Head) -> Result<String, Failure> {
    let message = "`file` has no file name; send it as a file";
    let name = head.filename.ok_or_else(|| Failure::invalid("file", "missing_filename", message))?;
    rules::filename("file", &name)?;
    Ok(name)
}

fn missing(name: &'static str) -> Failure {
    let message = format!("`{name}` is missing; add it to the form");
    Failure::invalid(name, "missing_required_parameter", message)
}

fn repeated(name: &str) -> Failure {
    let message = format!("`{name}` stands there twice; send one");
    Failure::invalid("body", "repeated_parameter", message).of(name.to_owned())
}

fn in_file(why: Refused) -> Failure {
    rules::refused(why).of("file")
}
