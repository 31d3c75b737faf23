//! The Azure Functions host (v4), as far as a custom handler can see it: it runs any staged
//! folder, in any language, and knows nothing of Switchyard.

pub mod app;
pub mod invocation;
pub mod queue;
pub mod schedule;
pub mod timer;

use std::future::Future;
use std::path::PathBuf;

/// What to run and how.
pub struct Options {
    /// The staged folder: `host.json`, function folders and the handler side by side.
    pub app_root: PathBuf,
    /// Where clients are answered; bound by the caller.
    pub listener: std::net::TcpListener,
    /// The account that queue triggers without a `connection` setting of their own use.
    pub storage: Option<crate::queue::client::Account>,
    /// Whether function and admin keys are checked.
    pub keys: Keys,
    /// App settings: environment of the handler, and what `%NAME%` and `connection` refer to.
    pub settings: Vec<(String, String)>,
    /// The clock that timers follow.
    pub clock: clock::Clock,
}

/// Whether keys are checked.
pub enum Keys {
    /// As Core Tools does it: every request may pass.
    Off,
    /// As Azure does it: made on first use and kept in this folder.
    KeptIn(PathBuf),
}

/// Why a host that had started came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to.
    Stopped,
    /// The handler failed three times without half an hour between.
    RestartsExhausted,
    /// Two invocations ran into `functionTimeout` together.
    TimedOutTogether,
}

/// Why a host could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The staged folder cannot be run; the text says what to change.
    #[error("{0}")]
    App(String),
    /// Something of this machine failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Runs the app until `stop` resolves or the host ends as the real one would.
///
/// # Errors
/// [`StartError`] when the folder is wrong; trouble with single functions is only logged.
pub async fn run(_options: Options, _stop: impl Future<Output = ()> + Send) -> Result<Ending, StartError> {
    todo!()
}
