//! What a kill left of objects that were being written. A folder as a store writes `NAME#1` beside `NAME`
//! and renames it; a process that is killed in between leaves the first, which no listing shows and no
//! deletion finds.

use std::path::Path;

/// Deletes what is half-written in a store's folder, all the way down. Only while nobody writes there.
/// Says how much there was.
///
/// # Errors
/// When a folder cannot be listed, or a file not deleted.
pub(super) fn delete(folder: &Path) -> std::io::Result<usize> {
    let mut deleted = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if is_half_written(&entry.file_name().to_string_lossy()) {
                std::fs::remove_file(entry.path())?;
                deleted += 1;
            }
        }
    }
    Ok(deleted)
}

/// `NAME#N`; no key of ours has a `#`.
fn is_half_written(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(name, n)| !name.is_empty() && n.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_half_written_goes() {
        let folder = std::env::temp_dir().join(format!("switchyard-half-{:016x}", getrandom::u64().unwrap()));
        let out = folder.join("t/dev/jobs/j/out");
        std::fs::create_dir_all(&out).unwrap();
        for name in ["000000-0000.jsonl", "000000-0001.jsonl#1", "000000-0001.jsonl#12", "#1", "a#b"] {
            std::fs::write(out.join(name), "").unwrap();
        }
        assert_eq!(delete(&folder).unwrap(), 2);
        let mut kept: Vec<_> =
            std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        kept.sort();
        assert_eq!(kept, ["#1", "000000-0000.jsonl", "a#b"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
