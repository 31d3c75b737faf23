//! The same filter from file to file. Results gather in a partial file beside the output, which gets
//! its name when all are there; the partial file's name holds the hash of the input and of what
//! answers it, so that nothing goes on behind the results of something else.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use facts::key::hex;
use facts::line::LINE_BYTES_MAX;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::error::Error;
use crate::items::{self, Terms};
use crate::progress::{Progress, Seen};

/// Lines that are run and written together: what an interruption costs at most.
const CHUNK_LINES: usize = 256;
/// Digits of the hash in the partial file's name.
const HASH_CHARS: usize = 12;

/// Runs the lines of a file. Cancelling `stop` abandons the open chunk; the same call goes on behind it.
///
/// # Errors
/// [`Error`]; [`Error::File`] where `output` exists already.
pub async fn run(
    input: &Path,
    output: &Path,
    backend: &Backend,
    stop: &CancellationToken,
) -> Result<Seen, Error> {
    if output.exists() {
        return Err(file(output)(std::io::ErrorKind::AlreadyExists.into()));
    }
    let (hash, total) = scan(input, backend)?;
    let part = beside(output, &hash);
    let (mut results, before) = open(&part).map_err(file(&part))?;
    if before > 0 {
        tracing::info!(before, total, "going on behind earlier results");
    }
    let progress = Progress::new(total, before);
    let mut lines = Lines::open(input)?;
    for _ in 0..before {
        lines.next()?;
    }
    let work = async {
        let mut first = before;
        loop {
            let chunk = lines.chunk()?;
            if chunk.is_empty() {
                return Ok(());
            }
            let own: Vec<&[u8]> = chunk.iter().map(Vec::as_slice).collect();
            let done = tokio::select! {
            biased;
                () = stop.cancelled() => return Err(Error::Interrupted),
                done = items::run(backend, Terms::default(), first, &own, &progress) => done?,
            };
            let text: String = done.into_iter().map(|done| done.text).collect();
            results.write_all(text.as_bytes()).and_then(|()| results.sync_data()).map_err(file(&part))?;
            first += chunk.len() as u64;
        }
    };
    progress.told(work).await?;
    std::fs::rename(&part, output).map_err(file(output))?;
    progress.seen().tell("done");
    Ok(progress.seen())
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

/// Hash of the input and of what answers it, and the input's lines.
fn scan(input: &Path, backend: &Backend) -> Result<(String, u64), Error> {
    let mut hash = Sha256::new();
    hash.update(backend.digest().unwrap_or_default());
    let mut lines = Lines::open(input)?;
    let mut total = 0;
    while let Some(line) = lines.next()? {
        hash.update((line.len() as u64).to_be_bytes());
        hash.update(&line);
        total += 1;
    }
    let mut hash = hex(&hash.finalize());
    hash.truncate(HASH_CHARS);
    Ok((hash, total))
}

fn beside(output: &Path, hash: &str) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{hash}.part"));
    output.with_file_name(name)
}

/// Opens the partial file behind its last whole line, and counts those.
fn open(part: &Path) -> std::io::Result<(File, u64)> {
    let mut results = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(part)?;
    let (mut whole, mut count) = (0, 0);
    let mut reader = BufReader::new(&results);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        whole += length as u64;
        count += 1;
    }
    // A line that broke off in the middle of a write is no result.
    results.set_len(whole)?;
    results.seek(SeekFrom::Start(whole))?;
    Ok((results, count))
}

/// The lines of a file, as [`facts::line::split`] cuts them, without holding the file.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
}

impl Lines {
    fn open(path: &Path) -> Result<Lines, Error> {
        let mut reader = BufReader::new(File::open(path).map_err(file(path))?);
        // Some editors put a byte order mark before the first line.
        if reader.fill_buf().map_err(file(path))?.starts_with(b"\xef\xbb\xbf") {
            reader.consume(3);
        }
        Ok(Lines { path: path.to_owned(), reader })
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            let mut line = Vec::new();
            // The line's end may take two bytes, and one more shows that it is too long.
            let most = LINE_BYTES_MAX as u64 + 3;
            let length = (&mut self.reader).take(most).read_until(b'\n', &mut line);
            if length.map_err(file(&self.path))? == 0 {
                return Ok(None);
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if line.len() > LINE_BYTES_MAX {
                let problem = format!("a line is longer than {LINE_BYTES_MAX} bytes");
                return Err(Error::Unreadable { key: self.path.display().to_string(), problem });
            }
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }

    fn chunk(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK_LINES
            && let Some(line) = self.next()?
        {
            chunk.push(line);
        }
        Ok(chunk)
    }
}
