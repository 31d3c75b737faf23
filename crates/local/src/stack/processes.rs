//! Which processes a stack has, kept in its state folder, so that the next start can end what
//! a killed one left behind. A pid alone proves nothing, because pids are used again: the time
//! at which the process started must be the same. Linux only; elsewhere nothing is recorded.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a killed process may take to disappear.
const END_LIMIT: Duration = Duration::from_secs(5);

/// A process, known beyond doubt.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// Clock ticks since the machine started: field 22 of `/proc/PID/stat`.
    started: u64,
    /// The program's name, cut to 15 characters by the kernel.
    pub(super) name: String,
}

/// What the state folder holds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Record {
    owner: Option<Process>,
    children: Vec<Process>,
}

impl Record {
    /// This process and its children of this moment.
    pub(super) fn now() -> Record {
        let own = std::process::id();
        Record { owner: look(own).map(|(process, _)| process), children: children_of(own) }
    }

    pub(super) fn children(&self) -> &[Process] {
        &self.children
    }

    pub(super) fn write(&self, file: &Path) -> std::io::Result<()> {
        super::write_whole(file, &serde_json::to_vec(self)?)
    }
}

/// Ends what an earlier stack left behind and returns how many processes that were.
///
/// # Errors
/// With the pid of the other stack, when it is still running.
pub(super) async fn end_leftovers(file: &Path) -> Result<usize, u32> {
    let Some(record) = std::fs::read(file).ok().and_then(|text| serde_json::from_slice::<Record>(&text).ok())
    else {
        return Ok(0);
    };
    if let Some(owner) = record.owner.filter(Process::is_alive)
        && owner.pid != std::process::id()
    {
        return Err(owner.pid);
    }
    let left: Vec<Process> = record.children.into_iter().filter(Process::is_alive).collect();
    left.iter().for_each(Process::kill);
    let gone = async {
        while left.iter().any(Process::is_alive) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(END_LIMIT, gone).await.is_err() {
        tracing::warn!("processes of an earlier stack could not be ended");
    }
    Ok(left.len())
}

impl Process {
    fn is_alive(&self) -> bool {
        look(self.pid).is_some_and(|(now, _)| now.started == self.started)
    }

    #[cfg(unix)]
    fn kill(&self) {
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself in this moment.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    #[cfg(not(unix))]
    fn kill(&self) {}
}

fn children_of(parent: u32) -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let found = pids.filter_map(look).filter(|(_, its_parent)| *its_parent == parent);
    let mut children: Vec<Process> = found.map(|(process, _)| process).collect();
    children.sort_by_key(|process| process.pid);
    children
}

/// A process that is not a zombie, and its parent.
fn look(pid: u32) -> Option<(Process, u32)> {
    parse(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `pid (name) state ppid …`; the name may hold blanks and brackets.
fn parse(pid: u32, stat: &str) -> Option<(Process, u32)> {
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = tail.split_whitespace().collect();
    // `tail` begins with field 3, the state; Z and X are dead.
    let is_dead = matches!(*fields.first()?, "Z" | "X");
    let parent = fields.get(1)?.parse().ok()?;
    let started = fields.get(19)?.parse().ok()?;
    (!is_dead).then_some((Process { pid, started, name }, parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_are_read_whatever_the_name() {
        let rest = "1 1 1 0 -1 4194560 100 0 0 0 1 1 0 0 20 0 4 0 98765 1000 100";
        let process = |name: &str| Process { pid: 7, started: 98765, name: name.to_owned() };
        let cases = [
            (format!("7 (server) S {rest}"), Some((process("server"), 1))),
            (format!("7 (a) b (c) R {rest}"), Some((process("a) b (c"), 1))),
            (format!("7 (server) Z {rest}"), None),
            ("7 (server)".to_owned(), None),
        ];
        for (stat, expected) in cases {
            assert_eq!(parse(7, &stat), expected, "{stat}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn leftovers_are_ended_and_strangers_are_not() {
        let file = std::env::temp_dir().join(format!("switchyard-pids-{}.json", std::process::id()));
        assert_eq!(end_leftovers(&file).await, Ok(0), "no record, nothing to do");

        let spawn = || crate::children::command("sleep").arg("1000").spawn().unwrap();
        let (mut left, mut stranger) = (spawn(), spawn());
        let of = |child: &tokio::process::Child| look(child.id().unwrap()).unwrap().0;
        let reused_pid = Process { started: of(&stranger).started + 1, ..of(&stranger) };
        Record { owner: None, children: vec![of(&left), reused_pid] }.write(&file).unwrap();
        assert_eq!(end_leftovers(&file).await, Ok(1));
        assert!(!left.wait().await.unwrap().success());
        assert!(stranger.try_wait().unwrap().is_none(), "same pid, other process: left alone");

        let owner = of(&stranger);
        Record { owner: Some(owner.clone()), children: vec![] }.write(&file).unwrap();
        assert_eq!(end_leftovers(&file).await, Err(owner.pid), "that stack is still running");
        assert!(Record::now().children().contains(&owner));
        stranger.kill().await.unwrap();
        std::fs::remove_file(&file).unwrap();
    }
}
