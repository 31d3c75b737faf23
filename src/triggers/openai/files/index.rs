//! The lines of a batch's input, checked and counted while they come in, so that nothing reads the
//! content again to accept a job. What is kept does not grow with the content: a sparse index, the
//! first errors, one line at most and a hash of every `custom_id`.
//!
//! Lines are cut as [`facts::line::split`] cuts them: at LF only, a trailing CR is not theirs, empty
//! ones do not count. A byte order mark at the start belongs to no block.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use facts::file::{Block, LineError, Lines};
use facts::key;
use facts::line::LINE_BYTES_MAX;
use sha2::{Digest, Sha256};

use super::check::{self, Checked, Wrong};

/// Length of a file, at most (the vendor's own limit).
pub const FILE_BYTES_MAX: u64 = 200 * 1000 * 1000;
/// Lines of a file, at most (the vendor's own limit).
pub const LINES_MAX: u64 = 50_000;
/// Errors that are kept of a file: enough to mend it, few enough to read.
pub const ERRORS_MAX: usize = 100;
/// A block ends with its line of this number: a shard holds whole blocks, and is never much larger
/// than its work wants it.
const BLOCK_LINES_MAX: u32 = 64;
/// A block ends with the line that brings it to this length.
const BLOCK_BYTES_MAX: u64 = 256 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// What is held of a line: a byte order mark and a CR may come on top.
const HELD_BYTES_MAX: usize = LINE_BYTES_MAX + BYTE_ORDER_MARK.len() + 1;

/// Why a content cannot be an input at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No line is in it.
    #[error("the file has no lines; give one request a line")]
    Empty,
    /// Above [`LINES_MAX`].
    #[error("the file has more than {LINES_MAX} requests; split it into several files")]
    TooManyLines,
    /// Above [`FILE_BYTES_MAX`].
    #[error("the file has more than {FILE_BYTES_MAX} bytes; split it into several files")]
    TooLarge,
}

/// A content as it comes in.
#[derive(Debug, Default)]
pub struct Index {
    bytes: u64,
    hash: Sha256,
    /// What is here of a line whose end is not, but for what is above [`HELD_BYTES_MAX`].
    partial: Vec<u8>,
    /// Its true length.
    partial_bytes: u64,
    /// Lines seen, empty ones included: what an editor counts.
    number: u64,
    /// Lines that count.
    lines: u64,
    open: Block,
    blocks: Vec<Block>,
    errors: Vec<LineError>,
    /// The first valid line's.
    url: Option<&'static str>,
    model: Option<String>,
    /// Where each `custom_id` was seen first, by the first half of its SHA-256: ids may be long.
    seen: HashMap<[u8; 16], u64>,
}

/// What was learnt of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// Its length.
    pub bytes: u64,
    /// `sha256`, in hex.
    pub sha256: String,
    /// Its lines.
    pub lines: Lines,
}

impl Index {
    /// Takes the next piece of the content; where pieces are cut does not matter.
    ///
    /// # Errors
    /// [`Refused::TooLarge`] and [`Refused::TooManyLines`].
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Refused> {
        self.bytes += piece.len() as u64;
        if self.bytes > FILE_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        self.hash.update(piece);
        let mut rest = piece;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&rest[..at], &rest[at + 1..]);
            if self.partial_bytes == 0 {
                self.line(line, line.len() as u64, 1)?;
            } else {
                self.hold(line);
                self.held_line(1)?;
            }
            rest = after;
        }
        self.hold(rest);
        Ok(())
    }

    /// What was learnt, once the content is over.
    ///
    /// # Errors
    /// [`Refused::Empty`], and what the last line brings.
    pub fn finish(mut self) -> Result<Indexed, Refused> {
        if self.partial_bytes > 0 {
            self.held_line(0)?;
        }
        if self.open.lines > 0 {
            self.close();
        } else if let Some(last) = self.blocks.last_mut() {
            // Empty lines at the end.
            last.bytes += self.open.bytes;
        }
        if self.lines == 0 {
            return Err(Refused::Empty);
        }
        let lines = Lines {
            url: self.url.unwrap_or_default().to_owned(),
            model: self.model.unwrap_or_default(),
            errors: self.errors,
            blocks: self.blocks,
        };
        Ok(Indexed { bytes: self.bytes, sha256: key::hex(&self.hash.finalize()), lines })
    }

    fn hold(&mut self, piece: &[u8]) {
        self.partial_bytes += piece.len() as u64;
        let room = HELD_BYTES_MAX.saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn held_line(&mut self, ending: u64) -> Result<(), Refused> {
        let mut held = std::mem::take(&mut self.partial);
        let bytes = std::mem::take(&mut self.partial_bytes);
        self.line(&held, bytes, ending)?;
        held.clear();
        self.partial = held;
        Ok(())
    }

    /// Takes a line of `bytes` bytes, of which `raw` may miss what is above the limit, and its line
    /// feed of `ending` bytes.
    fn line(&mut self, raw: &[u8], bytes: u64, ending: u64) -> Result<(), Refused> {
        self.number += 1;
        let mut line = raw;
        if self.number == 1
            && let Some(text) = line.strip_prefix(BYTE_ORDER_MARK)
        {
            line = text;
            let mark = BYTE_ORDER_MARK.len() as u64;
            self.open.offset += mark;
            self.open.bytes += bytes - mark + ending;
        } else {
            self.open.bytes += bytes + ending;
        }
        let whole = raw.len() as u64 == bytes;
        if whole {
            line = line.strip_suffix(b"\r").unwrap_or(line);
        }
        if line.is_empty() {
            return Ok(());
        }
        self.lines += 1;
        if self.lines > LINES_MAX {
            return Err(Refused::TooManyLines);
        }
        let checked =
            if whole && line.len() <= LINE_BYTES_MAX { check::line(line) } else { Err(check::too_long()) };
        match checked.and_then(|checked| self.fits(checked)) {
            Ok(checked) => {
                self.open.items += checked.items;
                self.open.tokens_in += checked.tokens_in;
                self.open.tokens_out += checked.tokens_out;
            }
            Err(wrong) => self.note(wrong),
        }
        self.open.lines += 1;
        if self.open.lines == BLOCK_LINES_MAX || self.open.bytes >= BLOCK_BYTES_MAX {
            self.close();
        }
        Ok(())
    }

    /// Whether the line goes with those before it.
    fn fits<'a>(&mut self, checked: Checked<'a>) -> Result<Checked<'a>, Wrong> {
        let hash: [u8; 32] = Sha256::digest(checked.custom_id.as_bytes()).into();
        let id = *hash.first_chunk().expect("32 bytes hold 16");
        match self.seen.entry(id) {
            Entry::Occupied(first) => return Err(check::duplicate(&checked.custom_id, *first.get())),
            Entry::Vacant(new) => new.insert(self.number),
        };
        let url = *self.url.get_or_insert(checked.url);
        if url != checked.url {
            return Err(check::mixed("url", "mismatched_url", checked.url, url));
        }
        let model = self.model.get_or_insert_with(|| checked.model.clone().into_owned());
        if **model != *checked.model {
            return Err(check::mixed("body.model", "mismatched_model", &checked.model, model));
        }
        Ok(checked)
    }

    fn note(&mut self, wrong: Wrong) {
        if self.errors.len() < ERRORS_MAX {
            let Wrong { code, message, param } = wrong;
            self.errors.push(LineError { line: self.number, code: code.to_owned(), message, param });
        }
    }

    fn close(&mut self) {
        let next = Block {
            offset: self.open.offset + self.open.bytes,
            first_line: self.open.first_line + u64::from(self.open.lines),
            ..Block::default()
        };
        self.blocks.push(std::mem::replace(&mut self.open, next));
    }
}

#[cfg(test)]
mod tests;
