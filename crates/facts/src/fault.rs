//! Killing at a chosen write, so that tests can enumerate every instant at which a process may die.
//! Debug builds honour `SWITCHYARD_FAULT`; release builds have no way to be asked.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names the fault: `kill-before-put:N`, `kill-after-put:N`, `kill-before-send:N` or
/// `kill-after-send:N`, with `@FILE` that is made when it fires, so that it fires once per run.
pub const SETTING: &str = "SWITCHYARD_FAULT";

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A write or deletion in the store.
    Put,
    /// A call that another service acts on.
    Send,
}

/// A fault that is set: the `n`-th act (from 1) of one kind is the last thing that happens.
#[derive(Debug)]
pub struct Fault {
    act: Act,
    after: bool,
    n: u64,
    seen: AtomicU64,
    death: Death,
}

#[derive(Debug)]
enum Death {
    /// The process ends at once, without any destructor; the file says that it did.
    Process(PathBuf),
    /// The task that acts never goes on; the notification tells who is to drop it.
    Task(tokio::sync::Notify),
}

impl Fault {
    /// Reads the text of [`SETTING`]; none where its file says that it has fired.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn from_setting(text: &str) -> Result<Option<Fault>, String> {
        let form = || format!("{SETTING} is `{text}`; give kill-before-put:N@FILE, or after, or send");
        let (what, file) = text.split_once('@').ok_or_else(form)?;
        let (what, n) = what.split_once(':').ok_or_else(form)?;
        let (after, act) = match what {
            "kill-before-put" => (false, Act::Put),
            "kill-after-put" => (true, Act::Put),
            "kill-before-send" => (false, Act::Send),
            "kill-after-send" => (true, Act::Send),
            _ => return Err(form()),
        };
        let n = n.parse().map_err(|_| form())?;
        let file = PathBuf::from(file);
        if file.exists() {
            return Ok(None);
        }
        Ok(Some(Fault { act, after, n, seen: AtomicU64::new(0), death: Death::Process(file) }))
    }

    /// A fault that stops the acting task for ever instead of its process.
    pub fn of_task(act: Act, after: bool, n: u64) -> Fault {
        let death = Death::Task(tokio::sync::Notify::new());
        Fault { act, after, n, seen: AtomicU64::new(0), death }
    }

    /// Resolves when a task has met its fault; never for a fault of processes.
    pub async fn met(&self) {
        match &self.death {
            Death::Task(notify) => notify.notified().await,
            Death::Process(_) => std::future::pending().await,
        }
    }

    /// Runs `work`, which is an act of this kind, and dies before or after it where that is due.
    pub async fn around<T>(fault: Option<&Fault>, act: Act, work: impl Future<Output = T>) -> T {
        let Some(fault) = fault.filter(|fault| fault.act == act) else { return work.await };
        let due = fault.seen.fetch_add(1, Ordering::Relaxed) + 1 == fault.n;
        if due && !fault.after {
            fault.die().await;
        }
        let done = work.await;
        if due && fault.after {
            fault.die().await;
        }
        done
    }

    async fn die(&self) {
        match &self.death {
            Death::Process(file) => {
                if std::fs::write(file, b"fired\n").is_ok() {
                    std::process::abort();
                }
            }
            Death::Task(notify) => {
                notify.notify_one();
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        let none = std::env::temp_dir().join("switchyard-no-such-fault-file");
        let fault = Fault::from_setting(&format!("kill-after-put:3@{}", none.display())).unwrap().unwrap();
        assert_eq!((fault.act, fault.after, fault.n), (Act::Put, true, 3));
        assert!(
            Fault::from_setting(&format!("kill-after-put:3@{}", std::env::temp_dir().display()))
                .unwrap()
                .is_none()
        );
        for wrong in ["", "kill", "kill-after-put:x@/tmp", "kill-after-put:1", "kill-after-get:1@/tmp/x"] {
            assert!(Fault::from_setting(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_task_stops_at_its_fault() {
        let fault = Fault::of_task(Act::Put, false, 2);
        let mut done = 0;
        let work = async {
            for _ in 0..3 {
                Fault::around(Some(&fault), Act::Put, async { done += 1 }).await;
            }
        };
        tokio::select! {
            () = work => panic!("it should have stopped"),
            () = fault.met() => {}
        }
        assert_eq!(done, 1);
    }
}
