//! The file of requests. It is read twice: once to check every line and to take the digest, once to
//! send it; nothing of it is kept in memory but the names of its lines.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use futures_util::Stream;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::wishes::Endpoint;

/// Length of a file, its lines and one line, at most: what the server takes (the first two are the
/// vendor's own limits).
const FILE_BYTES_MAX: u64 = 200 * 1000 * 1000;
const LINES_MAX: u64 = 50_000;
const LINE_BYTES_MAX: u64 = 1024 * 1024;
/// Longest `custom_id` that the server takes.
const CUSTOM_ID_BYTES_MAX: usize = 512;
/// Wrong lines that are shown: enough to see what is wrong with the rest.
const WRONG_MAX: usize = 10;
/// What is sent at once.
const PIECE_BYTES: usize = 64 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What FILE holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Lines in the OpenAI batch form, sent as they are.
    Batch,
    /// Texts, each made a line in that form.
    Texts {
        /// The model that they are for.
        model: String,
        /// What it does with them.
        endpoint: Endpoint,
    },
}

/// A file whose every line passed.
#[derive(Debug)]
pub(super) struct Input {
    path: PathBuf,
    form: Form,
    /// Requests.
    pub(super) lines: u64,
    /// Bytes that are sent.
    pub(super) bytes: u64,
    /// Of these bytes.
    pub(super) sha256: String,
    /// As `/v1/embeddings`.
    pub(super) endpoint: String,
    /// Of all lines.
    pub(super) model: String,
}

/// A line that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// As an editor counts, from 1.
    pub(super) line: u64,
    /// The cause, and the remedy where it is not plain.
    pub(super) message: String,
}

/// Why a file cannot be submitted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// As a whole.
    #[error("{0}")]
    Unfit(&'static str),
    /// Lines of it.
    #[error("{total} wrong lines")]
    Wrong {
        /// The first ones.
        wrong: Vec<Wrong>,
        /// All of them.
        total: u64,
    },
}

/// Wrong lines as people read them: neighbours with the same mistake together.
pub(super) fn told(wrong: &[Wrong]) -> Vec<String> {
    let alike = |one: &Wrong, next: &Wrong| one.message == next.message && one.line + 1 == next.line;
    let group = |group: &[Wrong]| match group {
        [one] => format!("line {}: {}", one.line, one.message),
        [first, .., last] => format!("lines {} to {}: {}", first.line, last.line, first.message),
        [] => String::new(),
    };
    wrong.chunk_by(alike).map(group).collect()
}

impl Input {
    /// Reads and checks all of it.
    pub(super) fn check(path: &Path, form: Form) -> Result<Input, Error> {
        let mut reader = BufReader::new(File::open(path)?);
        let mut check = Check::default();
        let mut hash = Sha256::new();
        let (mut bytes, mut number) = (0, 0);
        while let Some(raw) = next_line(&mut reader)? {
            number += 1;
            let line = match form.encode(number, &raw) {
                Ok(line) => line,
                Err(message) => {
                    check.wrong(number, message);
                    continue;
                }
            };
            bytes += line.len() as u64;
            if bytes > FILE_BYTES_MAX {
                return Err(Error::Unfit("it has more than 200 MB; split it into several files"));
            }
            hash.update(&line);
            check.line(number, &line);
            if check.lines > LINES_MAX {
                return Err(Error::Unfit("it has more than 50,000 requests; split it into several files"));
            }
        }
        let (lines, Of { url, model }) = check.finish()?;
        let sha256 = hex(&hash.finalize());
        Ok(Input { path: path.to_owned(), form, lines, bytes, sha256, endpoint: url, model })
    }

    /// What it is called there: the digest tells the next submit that it is there already.
    pub(super) fn remote_name(&self) -> String {
        let stem = self.path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        let stem: String = stem.chars().take(64).map(plain).collect();
        format!("{stem}-{}.jsonl", &self.sha256[..32])
    }

    /// Its bytes, read as they are asked for. Ends with an error when they are no longer those that were
    /// checked.
    pub(super) fn pieces(&self) -> io::Result<impl Stream<Item = io::Result<Vec<u8>>> + Send + 'static> {
        let reader = BufReader::new(File::open(&self.path)?);
        let (form, sha256) = (self.form.clone(), self.sha256.clone());
        let pieces = Pieces { reader, form, number: 0, hash: Sha256::new(), sha256 };
        Ok(futures_util::stream::try_unfold(pieces, |mut pieces| async move {
            let next = tokio::task::spawn_blocking(move || pieces.next().map(|piece| (piece, pieces)));
            let (piece, pieces) = next.await.map_err(io::Error::other)??;
            Ok((!piece.is_empty()).then_some((piece, pieces)))
        }))
    }
}

/// The second reading.
struct Pieces {
    reader: BufReader<File>,
    form: Form,
    number: u64,
    hash: Sha256,
    sha256: String,
}

impl Pieces {
    /// Some lines; none at the end.
    fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        while piece.len() < PIECE_BYTES {
            let Some(raw) = next_line(&mut self.reader)? else { break };
            self.number += 1;
            piece.extend_from_slice(&self.form.encode(self.number, &raw).map_err(io::Error::other)?);
        }
        self.hash.update(&piece);
        // Before the last piece goes: a body of the right length must be of the right bytes.
        if self.reader.fill_buf()?.is_empty() && hex(&self.hash.clone().finalize()) != self.sha256 {
            return Err(io::Error::other("the file changed while it was sent; submit it again"));
        }
        Ok(piece)
    }
}

impl Form {
    /// What is sent for a line of the file, its end included; nothing for a text that is empty.
    fn encode<'a>(&self, number: u64, raw: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        if raw.len() as u64 > LINE_BYTES_MAX + 1 {
            return Err(format!("it has more than {LINE_BYTES_MAX} bytes"));
        }
        let Form::Texts { model, endpoint } = self else { return Ok(Cow::Borrowed(raw)) };
        let raw = raw.strip_prefix(BYTE_ORDER_MARK).filter(|_| number == 1).unwrap_or(raw);
        let text = std::str::from_utf8(raw).map_err(|_| NO_UTF8.to_owned())?.trim();
        if text.is_empty() {
            return Ok(Cow::Borrowed(b""));
        }
        // Computed as texts, such lines would be paid for and be of no use.
        if text.starts_with('{') && serde_json::from_str::<Line<'_>>(text).is_ok() {
            return Err("it is in the OpenAI batch form already; leave --model out".to_owned());
        }
        let body = match endpoint {
            Endpoint::Embeddings => json!({ "model": model, "input": text }),
            Endpoint::ChatCompletions => {
                json!({ "model": model, "messages": [{ "role": "user", "content": text }] })
            }
            Endpoint::Completions => json!({ "model": model, "prompt": text }),
        };
        let custom_id = format!("line-{number}");
        let line = json!({ "custom_id": custom_id, "method": "POST", "url": endpoint.path(), "body": body });
        Ok(Cow::Owned(format!("{line}\n").into_bytes()))
    }
}

const NO_UTF8: &str = "it is not UTF-8; encode the file as UTF-8";

/// The next line with its end; more than [`LINE_BYTES_MAX`] of one that is too long are not kept.
fn next_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    // One more for the end, and one more to tell a line that is too long.
    let read = reader.by_ref().take(LINE_BYTES_MAX + 2).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') && read as u64 > LINE_BYTES_MAX {
        reader.skip_until(b'\n')?;
    }
    Ok(Some(line))
}

/// A line's members. The server looks closer, at the body above all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    custom_id: Cow<'a, str>,
    method: Cow<'a, str>,
    url: Cow<'a, str>,
    body: LineBody,
}

#[derive(Deserialize)]
struct LineBody {
    model: String,
}

/// What all lines have in common.
struct Of {
    url: String,
    model: String,
}

/// What has been seen of the lines.
#[derive(Default)]
struct Check {
    seen: HashMap<String, u64>,
    of: Option<Of>,
    lines: u64,
    wrong: Vec<Wrong>,
    wrong_total: u64,
}

impl Check {
    fn line(&mut self, number: u64, raw: &[u8]) {
        let raw = raw.strip_prefix(BYTE_ORDER_MARK).filter(|_| number == 1).unwrap_or(raw).trim_ascii();
        if raw.is_empty() {
            return;
        }
        self.lines += 1;
        if let Err(message) = self.judge(number, raw) {
            self.wrong(number, message);
        }
    }

    fn wrong(&mut self, line: u64, message: String) {
        self.wrong_total += 1;
        if self.wrong.len() < WRONG_MAX {
            self.wrong.push(Wrong { line, message });
        }
    }

    fn judge(&mut self, number: u64, raw: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(raw).map_err(|_| NO_UTF8.to_owned())?;
        if !text.starts_with('{') {
            return Err("it is no JSON object; give --model MODEL if the file holds plain texts".to_owned());
        }
        let line: Line<'_> = serde_json::from_str(text)
            .map_err(|error| error.to_string().replace(" at line 1 column ", " at column "))?;
        if line.custom_id.is_empty() || line.custom_id.len() > CUSTOM_ID_BYTES_MAX {
            return Err(format!("`custom_id` must have from 1 to {CUSTOM_ID_BYTES_MAX} bytes"));
        }
        if line.method != "POST" {
            return Err("`method` must be POST".to_owned());
        }
        if !line.url.starts_with("/v1/") {
            return Err(format!("`url` is `{}`; it must be a path as /v1/embeddings", line.url));
        }
        let model = line.body.model;
        match &self.of {
            None => self.of = Some(Of { url: line.url.into_owned(), model }),
            Some(of) if of.url != line.url => {
                return Err(format!("`url` is `{}`, but `{}` before; a file has one", line.url, of.url));
            }
            Some(of) if of.model != model => {
                return Err(format!("`body.model` is `{model}`, but `{}` before; a file has one", of.model));
            }
            Some(_) => {}
        }
        match self.seen.insert(line.custom_id.into_owned(), number) {
            Some(first) => Err(format!("`custom_id` is that of line {first} too; each line needs its own")),
            None => Ok(()),
        }
    }

    fn finish(self) -> Result<(u64, Of), Error> {
        if self.wrong_total > 0 {
            return Err(Error::Wrong { wrong: self.wrong, total: self.wrong_total });
        }
        let of = self.of.ok_or(Error::Unfit("it has no lines; give one request a line"))?;
        Ok((self.lines, of))
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
