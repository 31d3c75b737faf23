//! A front with inference replicas that scale from zero, as Container Apps does.
//!
//! - [`scale`]: how many replicas there should be; pure
//! - [`pool`](self): which replica takes a request, and who waits how long
//! - [`launch`](self): how a replica is started
//! - `replicas`: carries out the plan; owns every replica
//! - `answer`: forwards requests, streaming both ways
//!
//! Requests are held, within bounds, while the first replica starts. The number of replicas
//! follows the page that the KEDA rule reads in Azure. `GET /front/replicas` lists them.

mod answer;
mod launch;
mod pool;
mod replicas;
pub mod scale;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use launch::{Launch, Running};
pub use pool::{Bounds, Refusal, ReplicaView};

use crate::loopback::Server;
use pool::Pool;
use scale::{Limits, Wanted};

/// What a front is made of.
pub struct Options {
    /// Where requests arrive; bound by the caller.
    pub listener: std::net::TcpListener,
    /// How replicas are started.
    pub launch: Launch,
    /// Bounds on their number.
    pub limits: Limits,
    /// Bounds on the requests that wait.
    pub bounds: Bounds,
    /// Extra delay before a new replica is started, as pulling an image takes. A replica that
    /// died is replaced without it.
    pub cold_start: Duration,
    /// The page that says how many are wanted; without it only activation counts.
    pub follow: Option<Follow>,
    /// Cooldown, cold start and the polling follow it.
    pub clock: clock::Clock,
}

/// The status page that the KEDA metrics-api rule reads in Azure.
#[derive(Clone)]
pub struct Follow {
    /// `…/api/status/replicas/{backend}`.
    pub url: String,
    /// An admin key.
    pub key: String,
    /// KEDA's `pollingInterval`.
    pub every: Duration,
}

impl std::fmt::Debug for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follow").field("url", &self.url).field("every", &self.every).finish_non_exhaustive()
    }
}

/// A running front; dropping it ends the replicas too.
pub struct Front {
    server: Server,
    pool: Arc<Pool>,
    stop: CancellationToken,
    scaler: JoinHandle<()>,
}

impl Front {
    /// Opens the port; replicas start when they are wanted.
    ///
    /// # Errors
    /// When the listener cannot be handed to the runtime.
    pub fn start(options: Options) -> std::io::Result<Front> {
        let Options { listener, launch, limits, bounds, cold_start, follow, clock } = options;
        let limits = Limits { cooldown: clock.real(limits.cooldown), ..limits };
        let pool = Pool::new(bounds);
        let server = answer::serve(listener, Arc::clone(&pool))?;
        let stop = CancellationToken::new();
        let scaler = replicas::Scaler {
            pool: Arc::clone(&pool),
            launch,
            limits,
            cold_start: clock.real(cold_start),
            stop: stop.clone(),
        };
        let scaler = tokio::spawn(async move {
            let initial = if follow.is_some() { Wanted::Unknown } else { Wanted::Replicas(0) };
            let (wanted, changes) = watch::channel(initial);
            match follow {
                Some(follow) => {
                    let every = clock.real(follow.every);
                    tokio::select! {
                        () = scaler.run(changes) => {}
                        never = poll(&follow, every, wanted) => never,
                    }
                }
                None => scaler.run(changes).await,
            }
        });
        Ok(Front { server, pool, stop, scaler })
    }

    /// Where requests are sent.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The replicas of this moment, those that are starting included.
    pub fn replicas(&self) -> Vec<ReplicaView> {
        self.pool.replicas()
    }

    /// Ends the front, then the replicas, and returns when their processes are gone.
    pub async fn stop(mut self) {
        let Front { server, stop, scaler, .. } = &mut self;
        server.close().await;
        stop.cancel();
        if let Err(panic) = scaler.await {
            tracing::error!(%panic, "the scaler panicked");
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn poll(follow: &Follow, every: Duration, wanted: watch::Sender<Wanted>) {
    let client = reqwest::Client::new();
    // A page that answers slower than it is asked is as good as down.
    let limit = every.max(Duration::from_secs(1));
    loop {
        let said = match ask(&client, follow, limit).await {
            Ok(count) => Wanted::Replicas(count),
            Err(error) => {
                tracing::debug!(%error, "the replicas page did not answer; keeping what there is");
                Wanted::Unknown
            }
        };
        wanted.send_if_modified(|now| std::mem::replace(now, said) != said);
        tokio::time::sleep(every).await;
    }
}

async fn ask(client: &reqwest::Client, follow: &Follow, limit: Duration) -> reqwest::Result<u32> {
    #[derive(serde::Deserialize)]
    struct Page {
        replicas: u32,
    }
    let page = client.get(&follow.url).bearer_auth(&follow.key).timeout(limit).send().await?;
    Ok(page.error_for_status()?.json::<Page>().await?.replicas)
}

#[cfg(test)]
#[path = "front_tests.rs"]
mod tests;
