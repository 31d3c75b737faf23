//! Processes that outlived a stand-in which was killed (kill -9): the next one over the same folder
//! ends them, as a service that restarts with empty machines would.
//!
//! Each running process has a note, `{folder}/.running/{pid}`, that names its task's folder. A
//! note is believed only if the process has that folder in its environment, so that a process
//! which got an old number is left alone. Only where there is `/proc`.

use std::path::{Path, PathBuf};

use crate::children;

/// The note of a running process; gone with it.
pub(super) struct Note(PathBuf);

impl Note {
    /// Notes a process. One that cannot be noted only loses this protection.
    pub(super) fn write(folder: &Path, pid: i32, task: &Path) -> Note {
        let file = notes(folder).join(pid.to_string());
        let written = std::fs::create_dir_all(notes(folder))
            .and_then(|()| std::fs::write(&file, task.display().to_string()));
        if let Err(error) = written {
            tracing::warn!(%error, file = %file.display(), "a task's process could not be noted");
        }
        Note(file)
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Kills what an earlier stand-in over this folder left running.
pub(super) fn end(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(notes(folder)) else { return };
    for file in entries.flatten().map(|entry| entry.path()) {
        let pid = file.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        if let (Some(pid), Ok(task)) = (pid, std::fs::read_to_string(&file))
            && runs_in(pid, &task)
        {
            tracing::warn!(pid, "ending a task of an earlier stand-in");
            children::kill_group(pid);
        }
        let _ = std::fs::remove_file(&file);
    }
}

fn runs_in(pid: i32, task: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let wanted = format!("AZ_BATCH_TASK_DIR={task}");
    environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
}

/// No pool has an id that begins with a point.
fn notes(folder: &Path) -> PathBuf {
    folder.join(".running")
}
