//! How a replica is started: as a process of its own, or inside this one by a test.

use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::children;

/// What a program says on standard output once its port is open, followed by its URL.
const ANNOUNCEMENT: &str = "listening on ";

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How replicas are started.
#[derive(Clone)]
pub enum Launch {
    /// A program that opens a port of its own choice and prints `listening on http://…`.
    Command {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
        /// Environment beside this process's own.
        settings: Vec<(String, String)>,
    },
    /// Anything else that answers at a URL.
    InProcess(Arc<dyn Fn() -> Boxed<std::io::Result<Running>> + Send + Sync>),
}

/// A started replica; dropping it ends it.
pub struct Running {
    /// Where it answers.
    pub url: String,
    /// Its process, if it has one of its own.
    pub pid: Option<u32>,
    /// Resolves when it has ended by itself, with what is known of the cause.
    pub ended: Boxed<String>,
    /// Whatever keeps it alive.
    pub guard: Box<dyn Send + Sync>,
}

impl Launch {
    /// Starts one and waits until its port is open, not until it is ready.
    pub(super) async fn start(&self) -> std::io::Result<Running> {
        match self {
            Launch::Command { program, arguments, settings } => {
                let mut command = children::command(program);
                command.args(arguments).envs(settings.iter().cloned());
                // Ctrl-C in a terminal reaches the whole group; a replica is ended by its front.
                #[cfg(unix)]
                command.process_group(0);
                command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
                spawn(command).await
            }
            Launch::InProcess(start) => start().await,
        }
    }
}

async fn spawn(mut command: tokio::process::Command) -> std::io::Result<Running> {
    let mut child = command.spawn()?;
    let pid = child.id();
    let mut output = BufReader::new(child.stdout.take().expect("the caller asked for a pipe")).lines();
    let mut errors = BufReader::new(child.stderr.take().expect("the caller asked for a pipe")).lines();
    let mut last_error = String::new();
    let url = loop {
        tokio::select! {
            line = output.next_line() => match line? {
                Some(line) => match line.split_once(ANNOUNCEMENT) {
                    Some((_, url)) => break url.trim().to_owned(),
                    None => tracing::info!(target: "replica", "{line}"),
                },
                None => {
                    let status = child.wait().await?;
                    return Err(std::io::Error::other(format!("ended ({status}) before it listened: {last_error}")));
                }
            },
            Ok(Some(line)) = errors.next_line() => last_error = line,
        }
    };
    // The task owns the child: aborting it drops the child, which kills the process.
    let watch = tokio::spawn(async move {
        loop {
            tokio::select! {
                Ok(Some(line)) = output.next_line() => tracing::info!(target: "replica", "{line}"),
                Ok(Some(line)) = errors.next_line() => tracing::info!(target: "replica", "{line}"),
                status = child.wait() => break match status {
                    Ok(status) => status.to_string(),
                    Err(error) => error.to_string(),
                },
            }
        }
    });
    let guard = AbortOnDrop(watch.abort_handle());
    let ended = Box::pin(async move { watch.await.unwrap_or_else(|error| error.to_string()) });
    Ok(Running { url, pid, ended, guard: Box::new(guard) })
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
