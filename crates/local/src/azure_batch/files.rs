//! What tasks have written: listed and read from the nodes' folders.

use std::collections::VecDeque;
use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clock::Clock;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{HeaderMap, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::fault::{Code, Fault};
use super::list::Asked;
use crate::loopback::{self, Body};
use crate::queue::date;

/// Files that one list may walk over. A task with more is not one whose files are read by hand.
const FILES_MAX: usize = 10_000;

/// A file's name relative to the task's folder, what it is and when it changed.
struct Found {
    name: String,
    folder: bool,
    bytes: u64,
    modified_ms: u64,
}

/// The folder of a task.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Its address, which names of files follow.
    pub(super) url: String,
    /// Files are as old on this clock as everything else.
    pub(super) clock: Clock,
}

impl Folder {
    /// One page of its files; with `recursive`, of everything below it.
    pub(super) fn list(
        &self,
        recursive: bool,
        asked: &Asked,
        next: impl Fn(&str) -> String,
    ) -> Result<Value, Fault> {
        let mut found = walk(&self.path, recursive, self.clock).map_err(|_| Code::TaskFilesUnavailable)?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let items = found.iter().map(|file| (file.name.as_str(), file));
        Ok(asked.page(items, |file| self.show(file), next))
    }

    fn show(&self, file: &Found) -> Value {
        let url = format!("{}/{}", self.url, file.name);
        let mut shown = json!({"name": file.name, "url": url, "isDirectory": file.folder});
        if !file.folder {
            shown["properties"] = json!({
                "lastModified": date::iso(file.modified_ms),
                "creationTime": date::iso(file.modified_ms),
                "contentLength": file.bytes.to_string(),
                "contentType": "application/octet-stream",
            });
        }
        shown
    }

    /// A file, or the part of it that `ocp-range` names; for HEAD its headers only.
    pub(super) async fn read(
        &self,
        name: &str,
        method: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Fault> {
        let path = inside(&self.path, name).ok_or(Code::FileNotFound)?;
        let mut file = tokio::fs::File::open(&path).await.map_err(|_| Code::FileNotFound)?;
        let meta = file.metadata().await.map_err(|_| Code::FileNotFound)?;
        let (begin, length) = if meta.is_dir() { (0, 0) } else { range(headers, meta.len())? };
        file.seek(SeekFrom::Start(begin)).await.map_err(|_| Code::InternalError)?;
        let body = if method == "HEAD" || meta.is_dir() {
            loopback::full("")
        } else {
            let stream = ReaderStream::new(file.take(length)).map_ok(Frame::data);
            BodyExt::map_err(StreamBody::new(stream), Into::into).boxed_unsync()
        };
        let mut response = Response::new(body);
        let modified = date::rfc1123(modified_ms(&meta, self.clock));
        for (name, value) in [
            ("content-length", length.to_string()),
            ("content-type", "application/octet-stream".to_owned()),
            ("last-modified", modified.clone()),
            ("ocp-creation-time", modified),
            ("ocp-batch-file-isdirectory", meta.is_dir().to_string()),
            ("ocp-batch-file-mode", format!("{:#o}", meta.mode())),
            ("ocp-batch-file-url", format!("{}/{name}", self.url)),
        ] {
            if let Ok(value) = value.parse() {
                response.headers_mut().insert(name, value);
            }
        }
        Ok(response)
    }
}

fn walk(root: &Path, recursive: bool, clock: Clock) -> std::io::Result<Vec<Found>> {
    let mut open = VecDeque::from([root.to_path_buf()]);
    let mut found = Vec::new();
    while let Some(folder) = open.pop_front() {
        for entry in std::fs::read_dir(&folder)? {
            if found.len() == FILES_MAX {
                return Ok(found);
            }
            let path = entry?.path();
            // Links lead out of the folder; what vanished meanwhile was the task's to remove.
            let Ok(meta) = path.symlink_metadata() else { continue };
            if meta.is_symlink() {
                continue;
            }
            let name = path.strip_prefix(root).expect("walked from the root").display().to_string();
            let modified_ms = modified_ms(&meta, clock);
            found.push(Found { name, folder: meta.is_dir(), bytes: meta.len(), modified_ms });
            if recursive && meta.is_dir() {
                open.push_back(path);
            }
        }
    }
    Ok(found)
}

fn modified_ms(meta: &std::fs::Metadata, clock: Clock) -> u64 {
    let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let real_ms = modified.duration_since(UNIX_EPOCH).map(|time| time.as_millis()).unwrap_or_default();
    clock.at_ms(u64::try_from(real_ms).unwrap_or_default())
}

/// The path of a task's file; none when it would lead out of the task's folder, by its text or by
/// a link.
fn inside(folder: &Path, name: &str) -> Option<PathBuf> {
    let name = Path::new(name);
    if !name.components().all(|part| matches!(part, Component::Normal(_))) {
        return None;
    }
    let (folder, path) = (folder.canonicalize().ok()?, folder.join(name).canonicalize().ok()?);
    path.starts_with(folder).then_some(path)
}

/// First byte and length of what is asked for: `bytes=a-b`, both included, or `bytes=a-`.
fn range(headers: &HeaderMap, bytes: u64) -> Result<(u64, u64), Fault> {
    let Some(given) = headers.get("ocp-range").and_then(|value| value.to_str().ok()) else {
        return Ok((0, bytes));
    };
    let wrong =
        || Fault::property(Code::OutOfRangeInput, "ocp-range", "it is bytes=first-last within the file");
    let (first, last) =
        given.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(wrong)?;
    let first: u64 = first.parse().map_err(|_| wrong())?;
    let last = if last.is_empty() { u64::MAX } else { last.parse().map_err(|_| wrong())? };
    let end = last.saturating_add(1).min(bytes);
    if first > last || (first >= bytes && first > 0) {
        return Err(wrong());
    }
    Ok((first, end - first))
}
