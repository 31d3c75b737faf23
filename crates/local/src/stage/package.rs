//! The zip that is deployed: a staged folder, the same bytes whoever packs it and whenever.
//!
//! Entries are sorted, their times are the format's first instant, and the run bit stands on the handler
//! alone, as Core Tools sets it. Flex Consumption starts what has it; nothing gives it later.

use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

use super::ignore::Rules;
use super::{Error, HANDLER, sibling};

/// Names what is left out, beside `host.json`.
pub const IGNORE: &str = ".funcignore";
/// Readable for the host, which runs as somebody else than who deployed.
const MODE_FILE: u32 = 0o644;
const MODE_HANDLER: u32 = 0o755;
/// Bytes that are copied at once.
const BUFFER: usize = 64 * 1024;

/// A file that was written to be sent somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The file.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its digest, in lower-case hexadecimal.
    pub sha256: String,
    /// What lies in it, sorted; empty for a plain file.
    pub entries: Vec<String>,
}

/// Packs a staged folder as `file`, which is replaced at once or not at all.
///
/// # Errors
/// [`Error`]: `.funcignore` leaves out what the app cannot be without, or the disk failed.
pub fn pack(folder: &Path, file: &Path) -> Result<Packed, Error> {
    let entries = chosen(folder)?;
    let mut packed = write(file, |next| {
        let mut zip = ZipWriter::new(BufWriter::new(next));
        for entry in &entries {
            let mode = if entry == HANDLER { MODE_HANDLER } else { MODE_FILE };
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Deflated)
                .last_modified_time(DateTime::default())
                .system(System::Unix)
                .unix_permissions(mode);
            zip.start_file(entry.as_str(), options)?;
            std::io::copy(&mut File::open(folder.join(entry))?, &mut zip)?;
        }
        zip.finish()?.flush()
    })?;
    packed.entries = entries;
    Ok(packed)
}

/// Copies a program as `file`, executable, replaced at once or not at all.
///
/// # Errors
/// [`Error::Disk`].
pub fn copy_program(program: &Path, file: &Path) -> Result<Packed, Error> {
    write(file, |mut next| {
        std::io::copy(&mut File::open(program)?, &mut next)?;
        super::make_executable(next)
    })
}

/// Writes beside the place and renames, so that nobody ever reads half of it.
fn write(file: &Path, fill: impl FnOnce(&File) -> std::io::Result<()>) -> Result<Packed, Error> {
    let file = super::absolute(file)?;
    let next = sibling(&file, "next");
    let written = File::create(&next)
        .and_then(|open| fill(&open).and_then(|()| open.sync_all()))
        .and_then(|()| digest(&next))
        .and_then(|(bytes, sha256)| {
            std::fs::rename(&next, &file)?;
            Ok(Packed { file: file.clone(), bytes, sha256, entries: Vec::new() })
        });
    written.map_err(|error| {
        let _ = std::fs::remove_file(&next);
        Error::Disk { path: file, error }
    })
}

fn digest(file: &Path) -> std::io::Result<(u64, String)> {
    let (mut open, mut digest, mut bytes) = (File::open(file)?, Sha256::new(), 0);
    let mut buffer = vec![0; BUFFER];
    loop {
        match open.read(&mut buffer)? {
            0 => break,
            read => {
                digest.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
    Ok((bytes, digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// The files of the app, sorted, named from the folder with slashes.
fn chosen(folder: &Path) -> Result<Vec<String>, Error> {
    let ignore = folder.join(IGNORE);
    let text = match std::fs::read_to_string(&ignore) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|error| Error::Disk { path: ignore.clone(), error })?,
    };
    let rules = Rules::parse(&text).map_err(|line| Error::Ignore(format!("{}: {line}", ignore.display())))?;
    let mut all = Vec::new();
    list(folder, "", &mut all)?;
    let (out, mut kept): (Vec<String>, Vec<String>) = all.into_iter().partition(|file| rules.leave_out(file));
    let needed =
        |file: &&String| *file == HANDLER || *file == "host.json" || file.ends_with("/function.json");
    if let Some(file) = out.iter().find(needed) {
        return Err(Error::Ignore(format!("{} leaves out {file}, which the app needs", ignore.display())));
    }
    kept.sort_unstable();
    Ok(kept)
}

fn list(folder: &Path, prefix: &str, files: &mut Vec<String>) -> Result<(), Error> {
    let disk = |error| Error::Disk { path: folder.to_owned(), error };
    for entry in std::fs::read_dir(folder).map_err(disk)? {
        let entry = entry.map_err(disk)?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            list(&entry.path(), &format!("{name}/"), files)?
        } else {
            files.push(name)
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "package_tests.rs"]
mod tests;
