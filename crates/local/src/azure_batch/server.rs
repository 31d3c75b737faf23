//! The stand-in as a whole: its start, its end, what a test or a demo does to it, and the one task
//! that lets time pass and carries effects out.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clock::Clock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::account::pool::ResizeError;
use super::account::{Account, Boots, Capacity, NodeRefusal, Pace, Quota, Storm};
use super::auth::Credential;
use super::body;
use super::control::{Faults, Lost, Throttle};
use super::http::Shared;
use super::options::Options;
use super::processes::{Processes, Site};
use super::version::Version;
use crate::loopback;

/// How long the conductor sleeps when nothing is due; it is woken by every request.
const IDLE: Duration = Duration::from_secs(3600);

/// A running stand-in. Dropping it stops it and kills its processes without waiting.
pub struct Server {
    server: loopback::Server,
    shared: Arc<Shared>,
    key: String,
    stop: CancellationToken,
    conductor: AbortOnDropHandle<()>,
}

impl Server {
    /// Serves an account on a listener, on the current tokio runtime.
    ///
    /// # Errors
    /// When the listener or the folder cannot be used, the key is not base64, or a pool of the
    /// options would be refused by the service.
    pub fn start(listener: std::net::TcpListener, options: Options, clock: Clock) -> std::io::Result<Server> {
        let url = format!("http://{}", listener.local_addr()?);
        let invalid = |text: String| std::io::Error::new(std::io::ErrorKind::InvalidInput, text);
        let credential = Credential::new(&options.account, &options.key)
            .ok_or_else(|| invalid("the account's key is not base64".to_owned()))?;
        let mut account =
            Account::new(Pace::of(options.arrival, options.boot, options.restore), options.capacity);
        for pool in options.pools {
            let added = body::object(pool.to_string().as_bytes())
                .and_then(|pool| account.add_pool(pool, Version::V2025_06_01, clock.now_ms()));
            added.map_err(|fault| invalid(format!("a pool of the options is refused: {fault:?}")))?;
        }
        std::fs::create_dir_all(&options.folder)?;
        let mut environment = options.environment;
        let scaled = clock.settings().into_iter().flatten();
        environment.extend(scaled.map(|(name, value)| (name.to_owned(), value)));
        let site = Arc::new(Site {
            folder: std::path::absolute(&options.folder)?,
            programs: options.programs,
            environment,
            account: options.account,
            url: url.clone(),
        });
        let shared = Arc::new(Shared {
            account: Mutex::new(account),
            clock,
            credential,
            url,
            site: site.clone(),
            faults: Faults::default(),
            changed: Notify::new(),
            requests: AtomicU64::new(0),
        });
        let answering = shared.clone();
        let server = loopback::Server::start(listener, move |request| {
            let shared = answering.clone();
            async move { shared.answer(request).await }
        })?;
        let stop = CancellationToken::new();
        let conductor = tokio::spawn(conduct(shared.clone(), Processes::new(site), stop.clone()));
        Ok(Server { server, shared, key: options.key, stop, conductor: AbortOnDropHandle::new(conductor) })
    }

    /// The address of the account, without a closing slash.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The account's name.
    pub fn account(&self) -> &str {
        &self.shared.credential.account
    }

    /// The account's key, base64.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The folder of the nodes.
    pub fn folder(&self) -> &Path {
        &self.shared.site.folder
    }

    /// Takes a spot node away: kill -9 of everything on it, its disk gone, its tasks queued again.
    ///
    /// # Errors
    /// [`NodeRefusal`].
    pub fn evict(&self, pool: &str, node: &str) -> Result<(), NodeRefusal> {
        self.shared.change(|account, now_ms| account.evict(pool, node, now_ms))
    }

    /// The spot node of a pool that runs most tasks, the oldest of several.
    pub fn busiest_spot_node(&self, pool: &str) -> Option<String> {
        let account = self.shared.account();
        account.pool(pool).ok()?.spot_nodes_by_load().into_iter().next()
    }

    /// Takes every spot node of a pool away at once, and there is none to be had from now on. How many
    /// were taken.
    pub fn take_all_spot(&self, pool: &str) -> usize {
        self.set_capacity(Capacity { spot: 0, ..Capacity::UNLIMITED });
        let mut taken = 0;
        while let Some(node) = self.busiest_spot_node(pool) {
            if self.evict(pool, &node).is_err() {
                break;
            }
            taken += 1;
        }
        taken
    }

    /// Tasks whose process was killed so far because a pool that shrank took their node away.
    pub fn killed_by_shrinking(&self) -> u64 {
        self.shared.account().killed_by_shrinking()
    }

    /// How many machines there are from now on. Those that pools hold stay.
    pub fn set_capacity(&self, capacity: Capacity) {
        self.shared.change(|account, _| account.set_capacity(capacity));
    }

    /// How many cores of each kind pools may hold from now on. Those that pools hold stay.
    pub fn set_quota(&self, quota: Quota) {
        self.shared.change(|account, _| account.set_quota(quota));
    }

    /// What boots of machines are like from now on; [`Boots::default`] makes them as before.
    pub fn set_boots(&self, boots: Boots) {
        self.shared.change(|account, _| account.set_boots(boots));
    }

    /// Takes spot nodes of a pool away in waves and tells whom the first wave took. A storm of no
    /// waves ends the one before.
    ///
    /// # Errors
    /// [`NodeRefusal::NoSuchNode`] when there is no such pool.
    pub fn storm(&self, pool: &str, storm: Storm) -> Result<Vec<String>, NodeRefusal> {
        self.shared.change(|account, now_ms| account.storm(pool, storm, now_ms))
    }

    /// Makes a pool show resize errors of these codes, whatever its resizes do, until others are
    /// kept: the service's old errors outlive their causes.
    ///
    /// # Errors
    /// When there is no such pool or code; the text says which.
    pub fn keep_resize_errors(&self, pool: &str, codes: &[&str]) -> Result<(), String> {
        let known = |code: &&str| {
            ResizeError::named(code).ok_or_else(|| format!("no resize error has the code {code}"))
        };
        let errors = codes.iter().map(known).collect::<Result<Vec<_>, _>>()?;
        let kept = self.shared.change(|account, _| account.keep_resize_errors(pool, errors));
        kept.map_err(|_| format!("there is no pool {pool}"))
    }

    /// Makes a pool's formula be evaluated no more, or again. Switching autoscale off and on, or
    /// giving it an interval, makes it be evaluated again too.
    ///
    /// # Errors
    /// When no pool of this id has autoscale on; the text says so.
    pub fn set_evaluating(&self, pool: &str, evaluating: bool) -> Result<(), String> {
        let set = self.shared.change(|account, now_ms| account.set_evaluating(pool, evaluating, now_ms));
        set.map_err(|_| format!("no pool {pool} has autoscale on"))
    }

    /// Refuses the next requests, as a busy service does.
    pub fn throttle(&self, throttle: Throttle) {
        self.shared.faults.set_throttle(throttle);
    }

    /// Carries the next requests out and answers 500.
    pub fn lose_answers(&self, lost: Lost) {
        self.shared.faults.set_lost(lost);
    }

    /// Answers every request 503 until [`Server::come_back`]. Tasks go on.
    pub fn go_down(&self) {
        self.shared.faults.set_down(true);
    }

    /// Answers every request 503 for so long on the account's clock, or until [`Server::come_back`].
    pub fn go_down_for(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.shared.faults.set_down_until(self.shared.clock.now_ms().saturating_add(ms));
    }

    /// Ends [`Server::go_down`].
    pub fn come_back(&self) {
        self.shared.faults.set_down(false);
    }

    /// Stops it: running requests are answered, processes are killed and gone.
    pub async fn stop(self) {
        // Nobody may add a task any more while the processes end.
        self.server.stop().await;
        self.stop.cancel();
        if let Err(panic) = self.conductor.await {
            tracing::error!(%panic, "the Azure Batch stand-in's conductor panicked");
        }
    }
}

/// Lets time pass, carries effects out in their order, and tells the account how processes ended.
async fn conduct(shared: Arc<Shared>, mut processes: Processes, stop: CancellationToken) {
    loop {
        let (effects, due_ms) = {
            let mut account = shared.account();
            account.advance(shared.clock.now_ms());
            (account.take_effects(), account.due_ms())
        };
        for effect in effects {
            processes.carry_out(effect).await;
        }
        let wait = due_ms.map_or(IDLE, |due_ms| {
            let left_ms = due_ms.saturating_sub(shared.clock.now_ms());
            shared.clock.real(Duration::from_millis(left_ms)).min(IDLE)
        });
        tokio::select! {
            () = stop.cancelled() => break,
            (run, end) = processes.next_end() => shared.change(|account, now_ms| account.ended(run, end, now_ms)),
            () = shared.changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    processes.end().await;
}
