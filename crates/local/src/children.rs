//! Child processes: the one home of spawning in this crate, and nothing survives its parent.

use std::ffi::OsStr;

use tokio::process::Command;

/// A command whose process is killed when its handle is dropped.
#[expect(clippy::disallowed_methods, reason = "the home of spawning")]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.kill_on_drop(true);
    command
}
