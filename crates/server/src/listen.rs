//! Connections, their bounds and the end.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::app::App;
use crate::routes::routes;

/// Connections at once. Past them new ones wait in the system's backlog.
const CONNECTIONS_MAX: usize = 1024;
/// From a connection's start, or its last answer, to the end of the next head.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// What accepting waits when the system has no file descriptor to give.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves until `ended` is done, then gives what is under way `drain` to finish.
///
/// Readiness fails from then on, no connection is accepted, idle ones are closed. Whether all
/// accepted work was answered.
pub async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    ended: impl Future<Output = ()>,
    drain: Duration,
) -> bool {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut ended = std::pin::pin!(ended);
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            // Finished connections are forgotten.
            Some(_) = connections.join_next() => continue,
            () = &mut ended => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = converse(app.clone(), stream, graceful.watcher());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    app.set_draining();
    tracing::info!("draining");
    let drained = tokio::time::timeout(drain, graceful.shutdown()).await.is_ok();
    connections.shutdown().await;
    drained
}

async fn converse(app: Arc<App>, stream: TcpStream, watcher: hyper_util::server::graceful::Watcher) {
    // Answers are small and whole: waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(warp::service(routes(app)));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    builder.http2().timer(TokioTimer::new());
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        // Clients go away; that is their right.
        tracing::debug!(error, "a connection ended early");
    }
}
