//! The handler's process: its environment, readiness, restarts and end.
//!
//! One process a host, on one port for the host's whole life. Exit code 0 means "do not restart",
//! 200 "restart, this is no error", anything else is an error; the third error ends the host.

use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::insights::Insights;
use super::{Ending, identity};
use crate::children;

/// Between connection attempts while the handler does not listen yet (recorded: 25-30 ms).
const PROBE_PAUSE: Duration = Duration::from_millis(25);
/// Times that a probe is sent when its connection closes without an answer (recorded: `probe-close`).
const PROBE_SENDS: usize = 4;
/// The error that ends the host (`HttpFunctionInvocationDispatcher`).
const ERRORS_MAX: usize = 3;
/// Errors further apart than this do not add up.
const ERRORS_FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 60);
/// Between a function's time-out and the kill of its process.
const TIMEOUT_GRACE: Duration = Duration::from_secs(2);
/// The exit code that asks for a restart.
const RESTART_EXIT_CODE: i32 = 200;
/// Lines of standard error that are told when the handler fails.
const LAST_LINES: usize = 3;

/// What the rest of the host knows of the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It does not answer yet; invocations wait.
    Starting,
    /// It answers.
    Ready,
    /// It ended with 0 and is not restarted; invocations fail at once.
    Gone,
}

/// What a supervisor works with.
pub(super) struct Supervisor<'a> {
    pub(super) app: &'a App,
    pub(super) settings: &'a [(String, String)],
    pub(super) port: u16,
    pub(super) phase: &'a watch::Sender<Phase>,
    /// One message for every invocation that ran into `functionTimeout`.
    pub(super) timeouts: mpsc::Receiver<()>,
    pub(super) stop: CancellationToken,
}

/// Why one process is over.
enum Over {
    /// The host is asked to stop.
    Stopped,
    /// It was killed for a time-out, which is no error.
    TimedOut,
    /// The whole host must end.
    TimedOutTogether,
    /// It ended by itself, or never became ready.
    Ended(Option<ExitStatus>),
}

impl Supervisor<'_> {
    /// Keeps the handler running until the host must end.
    pub(super) async fn run(mut self) -> std::io::Result<Ending> {
        let mut errors: VecDeque<Instant> = VecDeque::new();
        loop {
            self.phase.send_replace(Phase::Starting);
            let mut child = self.spawn()?;
            let over = self.attend(&mut child).await?;
            // SIGKILL and nothing before it, as the real host does. Grandchildren survive there too.
            let _ = child.kill().await;
            let status = match over {
                Over::Stopped => return Ok(Ending::Stopped),
                Over::TimedOutTogether => return Ok(Ending::TimedOutTogether),
                Over::TimedOut => continue,
                Over::Ended(status) => status,
            };
            match status.and_then(|status| status.code()) {
                Some(0) => {
                    tracing::warn!(
                        "the handler ended with exit code 0 and is not restarted; every invocation fails now"
                    );
                    self.phase.send_replace(Phase::Gone);
                    self.stop.cancelled().await;
                    return Ok(Ending::Stopped);
                }
                Some(RESTART_EXIT_CODE) => continue,
                code => tracing::error!(?code, "the handler failed and is restarted"),
            }
            let now = Instant::now();
            if errors.back().is_some_and(|last| now - *last > ERRORS_FORGOTTEN_AFTER) {
                errors.clear();
            }
            errors.push_back(now);
            if errors.len() >= ERRORS_MAX {
                tracing::error!("exceeded the handler's restart count; the host ends");
                return Ok(Ending::RestartsExhausted);
            }
        }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let port = self.port.to_string();
        let worker = identity::guid();
        let root = self.app.root.display().to_string();
        let mut command = children::command(&self.app.executable);
        command
            .args(&self.app.arguments)
            .current_dir(&self.app.working_directory)
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", &port)
            .env("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", &worker)
            .env("FUNCTIONS_HTTPWORKER_PORT", &port)
            .env("FUNCTIONS_HTTPWORKER_ID", &worker)
            .env("FUNCTIONS_APP_ROOT_PATH", &root)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        tracing::debug!(pid = child.id(), port, "handler started");
        let insights = Insights::of(self.settings);
        if let Some(output) = child.stdout.take() {
            tokio::spawn(relay_output(output, insights.clone()));
        }
        if let Some(errors) = child.stderr.take() {
            tokio::spawn(relay_errors(errors, insights));
        }
        Ok(child)
    }

    async fn attend(&mut self, child: &mut Child) -> std::io::Result<Over> {
        let ready = probe(self.port, self.app.initialization_timeout);
        tokio::select! {
            () = self.stop.cancelled() => return Ok(Over::Stopped),
            status = child.wait() => return Ok(Over::Ended(Some(status?))),
            ready = ready => {
                if !ready {
                    let limit = self.app.initialization_timeout;
                    tracing::error!(?limit, port = self.port, "the handler did not listen on its port in time");
                    return Ok(Over::Ended(None));
                }
            }
        }
        self.phase.send_replace(Phase::Ready);
        tokio::select! {
            () = self.stop.cancelled() => Ok(Over::Stopped),
            status = child.wait() => Ok(Over::Ended(Some(status?))),
            Some(()) = self.timeouts.recv() => Ok(self.after_timeout().await),
        }
    }

    /// A second invocation that times out before the kill takes the whole host with it.
    async fn after_timeout(&mut self) -> Over {
        tokio::select! {
            () = self.stop.cancelled() => Over::Stopped,
            Some(()) = self.timeouts.recv() => Over::TimedOutTogether,
            () = tokio::time::sleep(TIMEOUT_GRACE) => Over::TimedOut,
        }
    }
}

/// Connects until somebody listens, then asks `GET /` once. Any answer will do, none as well.
/// The limit is counted in pauses, as the real host does it, so a refused connect is free.
pub(super) async fn probe(port: u16, limit: Duration) -> bool {
    let attempts = limit.as_millis() / PROBE_PAUSE.as_millis();
    for _ in 0..attempts.max(1) {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => {
                ask(stream, port).await;
                return true;
            }
            Err(_) => tokio::time::sleep(PROBE_PAUSE).await,
        }
    }
    false
}

/// Asks `GET /` until something is answered; a connection that closes at once is tried anew some times.
async fn ask(stream: TcpStream, port: u16) {
    let request = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let mut connected = Some(stream);
    for sent in 1..=PROBE_SENDS {
        let Some(mut stream) = connected.take() else { return };
        let _ = stream.write_all(request.as_bytes()).await;
        let answered = stream.read(&mut [0; 64]).await.is_ok_and(|count| count > 0);
        if answered || sent == PROBE_SENDS {
            return;
        }
        connected = TcpStream::connect(("127.0.0.1", port)).await.ok();
    }
}

async fn relay_output(output: impl AsyncRead + Unpin, insights: Option<Insights>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // Lines with this mark go to the system's log, not to the user's.
        if !line.starts_with("LanguageWorkerConsoleLog") {
            insights.iter().for_each(|insights| insights.take(&line, 1));
            tracing::info!(target: "Host.Function.Console", "{line}");
        }
    }
}

async fn relay_errors(errors: impl AsyncRead + Unpin, insights: Option<Insights>) {
    let mut lines = BufReader::new(errors).lines();
    let mut last: VecDeque<String> = VecDeque::new();
    while let Ok(Some(line)) = lines.next_line().await {
        let is_warning = line.to_lowercase().contains("warn");
        insights.iter().for_each(|insights| insights.take(&line, if is_warning { 2 } else { 3 }));
        if is_warning {
            tracing::warn!(target: "Host.Function.Console", "{line}");
        } else {
            tracing::error!(target: "Host.Function.Console", "{line}");
        }
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    if !last.is_empty() {
        tracing::debug!(lines = ?last, "the handler's last words");
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::net::TcpSocket;

    use super::*;

    /// What somebody on the port does with a connection, by the recorded `probe-` case that it stands for.
    const ANSWERS: &[(&str, &[u8])] = &[
        ("probe-404", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        ("probe-500", b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"),
        ("probe-garbage", b"what?"),
    ];

    #[tokio::test]
    async fn any_answer_counts_as_ready_and_is_asked_for_once() {
        for (case, answer) in ANSWERS {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let port = listener.local_addr().expect("a bound port").port();
            let somebody = async {
                let (mut stream, _) = listener.accept().await.expect("the probe connects");
                let mut request = [0; 256];
                let count = stream.read(&mut request).await.expect("the probe asks");
                stream.write_all(answer).await.expect("the probe reads");
                String::from_utf8_lossy(&request[..count]).into_owned()
            };
            let (ready, request) = tokio::join!(probe(port, Duration::from_secs(30)), somebody);
            assert!(ready, "{case}");
            assert_eq!(request, format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"), "{case}");
        }
    }

    /// A port that refuses connections until somebody listens on it.
    fn bound() -> (TcpSocket, u16) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        (socket, port)
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_listener_is_found_at_once() {
        // Recorded as probe-late-listener, and as A.probe.get of the whole host.
        for late in [Duration::from_millis(1_500), Duration::from_millis(400)] {
            let (socket, port) = bound();
            let began = Instant::now();
            let somebody = async {
                tokio::time::sleep(late).await;
                let listener = socket.listen(8).expect("the port is ours");
                let (mut stream, _) = listener.accept().await.expect("the probe connects");
                let count = stream.read(&mut [0; 256]).await.expect("the probe asks");
                stream.write_all(b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n").await.expect("it reads");
                count
            };
            let (ready, count) = tokio::join!(probe(port, Duration::from_secs(30)), somebody);
            assert!(ready && count > 0);
            let after = began.elapsed() - late;
            assert!(after <= PROBE_PAUSE + Duration::from_millis(2), "found {after:?} after it listened");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_is_waited_for() {
        // Recorded as probe-slow-answer: one request, ready after the 2.5 s that the answer took.
        let (socket, port) = bound();
        let listener = socket.listen(8).expect("the port is ours");
        let slow = Duration::from_millis(2_500);
        let somebody = async {
            let (mut stream, _) = listener.accept().await.expect("the probe connects");
            tokio::time::sleep(slow).await;
            stream.write_all(b"HTTP/1.1 200 late\r\nContent-Length: 0\r\n\r\n").await.expect("it reads");
            listener
        };
        let began = Instant::now();
        let (ready, listener) = tokio::join!(probe(port, Duration::from_secs(30)), somebody);
        assert!(ready && began.elapsed() >= slow);
        assert!(listener.accept().now_or_never().is_none(), "it was not asked again");
    }

    #[tokio::test]
    async fn a_closed_connection_is_tried_four_times() {
        // Recorded as probe-close: four requests, and then it counts as ready.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        let mut requests = 0;
        let somebody = async {
            loop {
                let (mut stream, _) = listener.accept().await.expect("the probe connects");
                requests += usize::from(stream.read(&mut [0; 256]).await.is_ok_and(|count| count > 0));
            }
        };
        tokio::select! {
            ready = probe(port, Duration::from_secs(30)) => assert!(ready),
            () = somebody => {}
        }
        assert_eq!(requests, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_given_up_after_the_limit() {
        // Recorded as H.neverlisten.30s: an attempt lasts 30 s, the default.
        let port = crate::loopback::any_port().expect("a port").local_addr().expect("bound").port();
        let began = Instant::now();
        assert!(!probe(port, Duration::from_secs(30)).await);
        assert_eq!(began.elapsed(), Duration::from_secs(30));
    }
}
