//! What the process says at its end: codes of `sysexits.h`, so that they mean the same elsewhere.

use std::process::ExitCode;

use crate::backend::Trouble;
use crate::error::Error;

/// Exit codes. [`HELP`] says after which of them the same command may be given again as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All that was to be done is done.
    Done = 0,
    /// The command line or the environment makes no sense.
    Usage = 2,
    /// A fact or an input cannot be read.
    Unreadable = 65,
    /// The pack or the input is not there.
    Missing = 66,
    /// The backend is down or fails.
    Backend = 69,
    /// The backend's vectors are unsound; nothing of the open chunk was kept.
    Unsound = 70,
    /// The system gives no thread or no signals.
    System = 71,
    /// A disk or a quota is full, or the output is there already.
    CannotCreate = 73,
    /// The store fails.
    Store = 74,
    /// Interrupted: nothing is lost, run it again.
    Interrupted = 75,
    /// The model cannot be loaded, or is not the one that was promised.
    Model = 78,
}

/// The codes as `--help` shows them.
pub const HELP: &str = "\
Exit codes:
   0  done, or nothing to do
   2  the command line or the environment makes no sense
  65  a pack, job or input cannot be read
  66  the pack or the input file is not there
  69  the backend is down, refuses this worker or fails          (run again)
  70  the backend's vectors are not finite or have no length     (on another node)
  71  the system refuses a thread or a signal handler            (run again)
  73  the disk is full, or --output exists already
  74  the store fails                                            (run again)
  75  interrupted by SIGTERM, SIGINT or a Preempt notice         (run again)
  78  the model cannot be loaded or is not the one that was promised
Whatever the code, finished chunks are kept and nothing runs twice into two results.";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl From<&Error> for Exit {
    fn from(error: &Error) -> Exit {
        match error {
            error if error.is_full() => Exit::CannotCreate,
            Error::Interrupted => Exit::Interrupted,
            Error::PackMissing(_) => Exit::Missing,
            Error::Unreadable { .. } => Exit::Unreadable,
            Error::WrongModel { .. } | Error::NotServed { .. } => Exit::Model,
            Error::Backend(Trouble::Unsound(_)) => Exit::Unsound,
            Error::Backend(_) => Exit::Backend,
            Error::Store(_) => Exit::Store,
            Error::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Exit::Missing,
            Error::File { .. } => Exit::CannotCreate,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn help_and_documents_list_every_code() {
        use Exit::{
            Backend, CannotCreate, Done, Interrupted, Missing, Model, Store, System, Unreadable, Unsound,
            Usage,
        };
        let all = [
            Done,
            Usage,
            Unreadable,
            Missing,
            Backend,
            Unsound,
            System,
            CannotCreate,
            Store,
            Interrupted,
            Model,
        ];
        let page = include_str!("../../../docs/operations.md");
        for exit in all {
            let code = format!("{:>4}  ", exit as u8);
            assert!(HELP.lines().any(|line| line.starts_with(&code)), "{exit:?}");
            let row = format!("| {} |", exit as u8);
            assert!(page.lines().any(|line| line.starts_with(&row)), "{exit:?}");
        }
    }

    #[test]
    fn a_full_disk_is_told_from_other_trouble() {
        let file = |kind: ErrorKind| Error::File { path: "out".into(), source: kind.into() };
        assert_eq!(Exit::from(&file(ErrorKind::StorageFull)), Exit::CannotCreate);
        assert_eq!(Exit::from(&file(ErrorKind::NotFound)), Exit::Missing);
        assert!(!file(ErrorKind::PermissionDenied).is_full());
        assert_eq!(Exit::from(&Error::Store(facts::StoreError::TimedOut)), Exit::Store);
    }
}
