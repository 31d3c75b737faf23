//! Carries out the scaling plan: starts replicas, watches them, replaces the dead, ends the idle.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::launch::{Launch, Running};
use super::pool::Pool;
use super::scale::{self, Failures, Limits, Wanted};

/// How often idle times are looked at; growth does not wait for it.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often a starting replica is asked whether it is ready.
const READY_EVERY: Duration = Duration::from_millis(25);
/// A replica that is not ready by then has failed, as Container Apps' startup probe says after
/// its default of 240 s.
const START_LIMIT: Duration = Duration::from_secs(240);

/// Owns the replicas.
pub(super) struct Scaler {
    pub(super) pool: Arc<Pool>,
    pub(super) launch: Launch,
    pub(super) limits: Limits,
    pub(super) cold_start: Duration,
    pub(super) stop: CancellationToken,
}

enum End {
    Stopped,
    Died(String),
    NeverReady(String),
}

#[derive(Default)]
struct Fleet {
    tasks: JoinSet<(u64, End)>,
    stops: HashMap<u64, CancellationToken>,
    last_id: u64,
    failures: Failures,
    /// Dead replicas whose image needs no second pull.
    to_replace: u32,
}

impl Scaler {
    pub(super) async fn run(&self, mut wanted: watch::Receiver<Wanted>) {
        let mut fleet = Fleet::default();
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let plan_now = scale::plan(
                self.limits,
                *wanted.borrow_and_update(),
                self.pool.held(),
                &self.pool.views(),
                Instant::now(),
            );
            self.act(&mut fleet, plan_now);
            tokio::select! {
                () = self.stop.cancelled() => break,
                _ = look.tick() => {}
                () = self.pool.waiting.notified() => {}
                Ok(()) = wanted.changed() => {}
                Some(ended) = fleet.tasks.join_next() => match ended {
                    Ok((id, end)) => self.note(&mut fleet, id, end),
                    Err(panic) => tracing::error!(%panic, "a replica's task panicked"),
                },
            }
        }
        fleet.stops.values().for_each(CancellationToken::cancel);
        while fleet.tasks.join_next().await.is_some() {}
    }

    fn act(&self, fleet: &mut Fleet, plan: scale::Plan) {
        for id in plan.stop {
            if self.pool.remove_idle(id)
                && let Some(stop) = fleet.stops.get(&id)
            {
                tracing::info!(replica = id, "ends an idle replica");
                stop.cancel();
            }
        }
        if !fleet.failures.allow(Instant::now()) {
            return;
        }
        for _ in 0..plan.start {
            fleet.last_id += 1;
            let id = fleet.last_id;
            let delay = if fleet.to_replace > 0 { Duration::ZERO } else { self.cold_start };
            fleet.to_replace = fleet.to_replace.saturating_sub(1);
            let stop = CancellationToken::new();
            fleet.stops.insert(id, stop.clone());
            self.pool.add(id);
            let (pool, launch) = (Arc::clone(&self.pool), self.launch.clone());
            fleet.tasks.spawn(async move {
                let end = live(&pool, &launch, id, delay, &stop).await;
                pool.remove(id);
                (id, end)
            });
        }
    }

    fn note(&self, fleet: &mut Fleet, id: u64, end: End) {
        fleet.stops.remove(&id);
        match end {
            End::Stopped => fleet.failures.clear(),
            End::Died(why) => {
                tracing::warn!(replica = id, why, "a replica died and is replaced");
                fleet.failures.clear();
                fleet.to_replace += 1;
            }
            End::NeverReady(why) => {
                tracing::warn!(replica = id, why, "a replica did not start");
                fleet.failures.note(Instant::now());
                self.pool.failed(why);
            }
        }
    }
}

/// One replica from its start to its end.
async fn live(pool: &Arc<Pool>, launch: &Launch, id: u64, delay: Duration, stop: &CancellationToken) -> End {
    let started = async {
        tokio::time::sleep(delay).await;
        launch.start().await
    };
    let Running { url, pid, mut ended, guard } = tokio::select! {
        () = stop.cancelled() => return End::Stopped,
        started = started => match started {
            Ok(running) => running,
            Err(error) => return End::NeverReady(error.to_string()),
        },
    };
    pool.started(id, pid);
    let became_ready = tokio::select! {
        () = stop.cancelled() => None,
        why = &mut ended => return End::NeverReady(why),
        ready = tokio::time::timeout(START_LIMIT, ready(&url)) => Some(ready),
    };
    let end = match became_ready {
        None => End::Stopped,
        Some(Err(_)) => End::NeverReady(format!("not ready within {} s", START_LIMIT.as_secs())),
        Some(Ok(())) => {
            pool.ready(id, url);
            tokio::select! {
                () = stop.cancelled() => End::Stopped,
                why = &mut ended => return End::Died(why),
            }
        }
    };
    pool.remove(id);
    drop(guard);
    // Whoever stops a stack wants the processes gone, not just told.
    ended.await;
    end
}

async fn ready(url: &str) {
    let client = reqwest::Client::new();
    let page = format!("{url}/ready");
    loop {
        let answer = client.get(&page).timeout(START_LIMIT).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        tokio::time::sleep(READY_EVERY).await;
    }
}
