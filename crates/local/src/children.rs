//! Child processes: the one home of spawning in this crate, and nothing survives its parent.

use std::ffi::OsStr;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// A command whose process is killed when its handle is dropped.
#[expect(clippy::disallowed_methods, reason = "the home of spawning")]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.kill_on_drop(true);
    command
}

/// A process with all that it starts: they share a process group, which is killed when this is
/// dropped. Only a descendant that made a group of its own gets away.
pub struct Group {
    leader: Child,
    group: Option<Pid>,
}

impl Group {
    /// Starts a command as the leader of a group of its own.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn spawn(command: &mut Command) -> std::io::Result<Group> {
        let leader = command.process_group(0).spawn()?;
        let group = leader.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Group { leader, group })
    }

    /// Waits for the leader to end.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.leader.wait().await
    }

    /// Kills the group and waits until its leader is gone.
    pub async fn kill(mut self) {
        self.kill_group();
        let _ = self.leader.wait().await;
    }

    /// The number of the group, which is the leader's process id.
    pub fn number(&self) -> Option<i32> {
        self.group.map(Pid::as_raw_pid)
    }

    fn kill_group(&mut self) {
        if let Some(group) = self.group.take() {
            kill_group(group.as_raw_pid());
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Kills every process of a group; nothing happens where there is none.
pub fn kill_group(number: i32) {
    if let Some(group) = Pid::from_raw(number) {
        // An error says that nobody of the group is left.
        let _ = kill_process_group(group, Signal::KILL);
    }
}
