//! Who runs, as the kernel sees it.

use rustix::process::{Pid, Signal, getpid, kill_process, set_child_subreaper};

/// A process, known beyond doubt: its number may be used again, but not at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    parent: i32,
    pub name: String,
    /// Clock ticks since the machine started.
    started: u64,
}

/// Makes orphans of this process's children its own children, so that none can hide.
pub fn adopt_orphans() {
    set_child_subreaper(Some(getpid())).unwrap();
}

/// Everything that this process has started, directly or not, and that still runs.
pub fn of_this_test() -> Vec<Process> {
    below(getpid().as_raw_pid())
}

/// The processes below one.
pub fn below(root: i32) -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let all: Vec<Process> = pids.filter_map(look).collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|process| process.parent == parent) {
            parents.push(child.pid);
            found.push(child.clone());
        }
    }
    found
}

impl Process {
    pub fn is_alive(&self) -> bool {
        look(self.pid).is_some_and(|now| now.started == self.started)
    }

    /// Kills it; whether it was still there.
    pub fn kill(&self) -> bool {
        self.is_alive() && send(self.pid, Signal::KILL)
    }
}

/// Sends a signal; whether somebody was there.
pub fn send(pid: i32, signal: Signal) -> bool {
    kill_process(Pid::from_raw(pid).unwrap(), signal).is_ok()
}

/// `pid (name) state ppid …`, as in `/proc/PID/stat`; dead ones that nobody has asked after are no more.
fn look(pid: i32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let is_dead = matches!(*fields.first()?, "Z" | "X");
    let name = head.split_once('(')?.1.to_owned();
    let (parent, started) = (fields.get(1)?.parse().ok()?, fields.get(19)?.parse().ok()?);
    (!is_dead).then_some(Process { pid, parent, name, started })
}
