//! The HTTP server under the stand-ins: one accept loop, owned connections, a bounded end; with TLS where
//! clients of the real service refuse to go without.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// What a stand-in answers with.
pub(crate) type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// How long answers under way may take once the server is asked to stop. A local stack is stopped
/// by somebody who waits for the prompt.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// A client that sends its headers slower than this is gone.
const HEADER_LIMIT: Duration = Duration::from_secs(30);
/// How long to wait after a failed accept, which is nearly always a shortage of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A running server; dropping it ends it without waiting.
pub(crate) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers every request on `listener` with `answer`.
    pub(crate) fn start<A, F>(listener: std::net::TcpListener, answer: A) -> std::io::Result<Server>
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Server::start_with(listener, None, answer)
    }

    /// As [`Server::start`], over TLS where `tls` is given.
    pub(crate) fn start_with<A, F>(
        listener: std::net::TcpListener,
        tls: Option<TlsAcceptor>,
        answer: A,
    ) -> std::io::Result<Server>
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let stop = CancellationToken::new();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let task = tokio::spawn(accept(listener, tls, answer, stop.clone()));
        Ok(Server { address, scheme, stop, task })
    }

    /// `http://127.0.0.1:PORT`, or https.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Finishes the answers under way, for [`DRAIN_LIMIT`] at most.
    pub(crate) async fn stop(mut self) {
        self.close().await;
    }

    /// As [`Server::stop`], for owners that have a `Drop` of their own.
    pub(crate) async fn close(&mut self) {
        self.stop.cancel();
        if self.task.is_finished() {
            return;
        }
        if let Err(panic) = (&mut self.task).await {
            tracing::error!(%panic, "a stand-in's accept loop panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept<A, F>(
    listener: tokio::net::TcpListener,
    tls: Option<TlsAcceptor>,
    answer: A,
    stop: CancellationToken,
) where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let socket = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let _ = socket.set_nodelay(true);
        let (answer, tls, watcher) = (answer.clone(), tls.clone(), graceful.watcher());
        connections.spawn(async move {
            let Some(tls) = tls else { return serve(socket, answer, watcher).await };
            match tokio::time::timeout(HEADER_LIMIT, tls.accept(socket)).await {
                Ok(Ok(socket)) => serve(socket, answer, watcher).await,
                Ok(Err(error)) => tracing::debug!(%error, "a client did not finish its TLS handshake"),
                Err(_) => {}
            }
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN_LIMIT, graceful.shutdown()).await;
    connections.shutdown().await;
}

async fn serve<S, A, F>(socket: S, answer: A, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT);
    let connection = server.serve_connection(TokioIo::new(socket), service).into_owned();
    // A client that went away is its own business.
    let _ = watcher.watch(connection).await;
}

/// A whole body.
pub(crate) fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    let mut answer = Response::new(full(body.to_string()));
    *answer.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    answer
}

/// A listener on a free port of the loopback address.
pub(crate) fn any_port() -> std::io::Result<std::net::TcpListener> {
    std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))
}
