//! Which check waits for which. What several of them need is done once, when the first of them asks for it.

use std::sync::Arc;

use facts::Store;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use wire::doctor::Finding;

use super::account::{self, Looked};
use super::asked::Asked;
use super::check::{self, Check, of};
use super::given::{self, Group};
use super::models::{self, Read};
use super::tokens::{self, Tokens};
use super::tuning::{self, Tuned};
use super::{blob, lanes, queue, reach, skew, usage};
use crate::azure::identity::Chain;
use crate::azure::queue::Doorbell;
use crate::azure::vault::Vault;
use crate::settings::{Blobs, Knobs, Settings, is_loopback};
use crate::{app, azure};

/// Saved output of `az` is some kilobytes.
const USAGES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What becomes known once, however many wait for it.
type Later<T> = Shared<BoxFuture<'static, Arc<T>>>;

/// A part of the report.
pub type Step = Later<Vec<Finding>>;

fn later<T: Send + Sync + 'static>(work: impl Future<Output = T> + Send + 'static) -> Later<T> {
    work.map(Arc::new).boxed().shared()
}

/// The steps of a report, in the order of [`Check::ALL`].
pub fn of_report(asked: Asked, read: given::Read) -> Vec<Step> {
    match World::open(asked, read) {
        Some(world) if world.asked.before_deploy => vec![later(before_deploy(world))],
        Some(world) => Plan::new(world).steps(),
        None => vec![later(async { unreadable() })],
    }
}

/// Not even with what is wrong left out could settings be read.
fn unreadable() -> Vec<Finding> {
    let checks = Check::ALL.into_iter().filter(|check| !matches!(check, Check::Settings | Check::Formula));
    checks.map(|check| check.needs("settings")).collect()
}

/// What every check is made of.
struct World {
    asked: Asked,
    settings: Settings,
    left_out: Vec<Group>,
    http: reqwest::Client,
    identities: Chain,
    /// None: the settings that name it are wrong. An error: it cannot be opened.
    store: Option<Result<Store, String>>,
}

impl World {
    fn open(asked: Asked, read: given::Read) -> Option<World> {
        let is_lost = read.lacks(Group::Blob);
        let settings = read.settings?;
        let http = azure::http().ok()?;
        let identities = Chain::new(http.clone());
        let store = (!is_lost).then(|| app::store(&settings, &identities));
        Some(World { asked, settings, left_out: read.left_out, http, identities, store })
    }

    fn lacks(&self, group: Group) -> bool {
        self.left_out.contains(&group)
    }

    fn store(&self) -> Option<&Store> {
        self.store.as_ref()?.as_ref().ok()
    }

    async fn tune(&self, tokens: &Tokens) -> Tuned {
        let url = match &self.settings.knobs {
            _ if self.lacks(Group::Knobs) => return tuning::unknown(),
            Knobs::File(file) => return tuning::of_file(file).await,
            Knobs::Vault(url) => url,
        };
        let identity = self.identities.open(&self.settings.identity);
        match identity.and_then(|identity| Vault::open(url, identity, self.http.clone())) {
            Ok(vault) => tuning::of_vault(&vault, url, tokens).await,
            Err(told) => Tuned::unread(vec![Check::Vault.broken_as_told(&told), Check::Knobs.needs("vault")]),
        }
    }

    async fn quotas(&self, tuned: &Tuned, read: &Read, sizes: &[(String, String)]) -> Vec<Finding> {
        let Some((_, file)) = &read.catalogue else { return vec![Check::Quota.needs("catalogue")] };
        let (mut quotas, mut findings) = (Vec::new(), Vec::new());
        for path in &self.asked.usages {
            let text =
                tokio::fs::read_to_string(path).await.map_err(|error| format!("cannot be read: {error}"));
            let fits = |text: &String| text.len() <= USAGES_BYTES_MAX;
            let text = text.and_then(|text| Some(text).filter(fits).ok_or_else(|| "is too large".to_owned()));
            match text.and_then(|text| usage::parse(&text)) {
                Ok(read) => quotas.extend(read),
                Err(told) => {
                    let remedy = "save the output of one of the three commands with `--output json`";
                    findings.push(of(path.display().to_string(), Check::Quota.broken(told, remedy)));
                }
            }
        }
        findings.extend(usage::judge(&usage::needs(&tuned.knobs, file, sizes), &quotas));
        findings
    }
}

/// What needs no service: what is wrong here would be wrong there.
async fn before_deploy(world: World) -> Vec<Finding> {
    let tuned = match (&world.settings.knobs, world.lacks(Group::Knobs)) {
        (_, true) => tuning::unknown(),
        (Knobs::File(file), false) => tuning::of_file(file).await,
        (Knobs::Vault(_), false) => tuning::unread_before_deploy(),
    };
    let is_here = world.settings.catalogue_file.is_some() || matches!(world.settings.blobs, Blobs::Folder(_));
    let read = match is_here {
        true => models::read(&world.settings, world.store()).await,
        false => Read::needs("MODEL_CATALOG, or --catalogue FILE"),
    };
    let (parity, pools) = match &read.catalogue {
        Some((catalogue, file)) => (lanes::parity(catalogue, &|_| None), &file.pools[..]),
        None => (vec![Check::Parity.needs("catalogue")], &[][..]),
    };
    let size = world.asked.vm_size.iter();
    let sizes = size.flat_map(|size| pools.iter().map(|pool| (pool.name.clone(), size.clone())));
    let quota = world.quotas(&tuned, &read, &sizes.collect::<Vec<_>>()).await;
    [tuned.findings, read.findings, quota, parity].concat()
}

/// What is looked at while services are there. Copies share everything.
#[derive(Clone)]
struct Plan {
    world: Arc<World>,
    tokens: Later<Tokens>,
    tuned: Later<Tuned>,
    read: Later<Read>,
}

impl Plan {
    fn new(world: World) -> Plan {
        let world = Arc::new(world);
        let w = Arc::clone(&world);
        let tokens = later(async move { tokens::ask(&w.settings, &w.identities).await });
        let (w, had) = (Arc::clone(&world), tokens.clone());
        let tuned = later(async move {
            let had = had.await;
            w.tune(&had).await
        });
        let w = Arc::clone(&world);
        let read = later(async move { models::read(&w.settings, w.store()).await });
        Plan { world, tokens, tuned, read }
    }

    fn steps(&self) -> Vec<Step> {
        let blob = self.step(|plan| async move { plan.blob().await });
        let probed = blob.clone();
        let looked: Later<Looked> = self.step(|plan| async move { plan.pools().await });
        let seen = looked.clone();
        vec![
            self.step(|plan| async move { plan.tokens.await.findings.clone() }),
            self.step(|plan| async move { skew::look(&plan.world.settings, &plan.world.http).await }),
            self.step(|plan| async move { plan.tuned.await.findings.clone() }),
            blob,
            self.step(|plan| async move { plan.retention(&probed.await).await }),
            self.step(|plan| async move { plan.read.await.findings.clone() }),
            self.step(|plan| async move { plan.doorbell().await }),
            self.step(|_| async move { looked.await.findings.clone() }),
            self.step(|plan| async move { plan.quotas(&seen.await.sizes).await }),
            self.step(|plan| async move { plan.backends().await }),
            self.step(|plan| async move { plan.around().await }),
        ]
    }

    fn step<T, F>(&self, work: impl FnOnce(Plan) -> F) -> Later<T>
    where
        T: Send + Sync + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        later(work(self.clone()))
    }

    async fn blob(self) -> Vec<Finding> {
        let tokens = self.tokens.await;
        let finding = match &self.world.store {
            None => Check::Blob.needs("settings"),
            Some(Err(told)) => Check::Blob.broken_as_told(told),
            Some(Ok(store)) => {
                blob::Place { store, settings: &self.world.settings, tokens: &tokens }.probe().await
            }
        };
        vec![finding]
    }

    async fn retention(self, blob: &[Finding]) -> Vec<Finding> {
        let (tokens, tuned) = (self.tokens.await, self.tuned.await);
        let finding = match self.world.store() {
            Some(store) if !check::is_broken(blob) => {
                let place = blob::Place { store, settings: &self.world.settings, tokens: &tokens };
                place.retention(tuned.knobs.retention_days).await
            }
            _ => Check::Retention.needs("blob"),
        };
        vec![finding]
    }

    async fn doorbell(self) -> Vec<Finding> {
        let world = &self.world;
        let needs = |what: &str| vec![Check::Queue.needs(what), Check::PoisonQueue.needs(what)];
        let asked = match &world.settings.doorbell {
            _ if world.lacks(Group::Storage) => return needs("settings"),
            None => return needs("AzureWebJobsStorage; without it work waits for the sweep"),
            Some(asked) => asked,
        };
        let clock = world.settings.clock;
        let now_ms = (!clock.is_scaled()).then(|| clock.now_ms());
        match Doorbell::open(&asked.storage, &asked.queue, world.http.clone(), &world.identities) {
            Ok(doorbell) => {
                let tokens = &self.tokens.await;
                queue::Place { asked, doorbell: &doorbell, tokens, now_ms }.look().await
            }
            Err(told) => vec![Check::Queue.broken_as_told(&told), Check::PoisonQueue.needs("queue")],
        }
    }

    async fn pools(self) -> Looked {
        let world = &self.world;
        let asked = match &world.settings.batch {
            _ if world.lacks(Group::Batch) => return Looked::needs("settings"),
            None => return Looked::needs("BATCH_ENDPOINT; without it the deferred lane takes no work"),
            Some(asked) => asked,
        };
        let client = match app::batch(asked, &world.settings, &world.identities, world.http.clone()) {
            Ok(client) => client,
            Err(told) => return Looked::of_account(Check::Batch.broken_as_told(&told), "batch"),
        };
        let (tokens, tuned, read) = (self.tokens.await, self.tuned.await, self.read.await);
        let now_ms = world.settings.clock.now_ms();
        let place = account::Place { asked, client: &client, tokens: &tokens, knobs: &tuned.knobs, now_ms };
        place.look(read.pools(&world.settings)).await
    }

    async fn quotas(self, sizes: &[(String, String)]) -> Vec<Finding> {
        let is_here =
            self.world.settings.batch.as_ref().is_some_and(|account| is_loopback(&account.endpoint));
        if is_here && self.world.asked.usages.is_empty() {
            return vec![Check::Quota.needs("an account of Azure; this one is on this machine")];
        }
        let (tuned, read) = (self.tuned.await, self.read.await);
        self.world.quotas(&tuned, &read, sizes).await
    }

    async fn backends(self) -> Vec<Finding> {
        match &self.read.await.catalogue {
            Some((catalogue, _)) => lanes::look(catalogue, &self.world.http).await,
            None => vec![Check::Backend.needs("catalogue"), Check::Parity.needs("catalogue")],
        }
    }

    /// Where telemetry goes, and the app that serves.
    async fn around(self) -> Vec<Finding> {
        let World { settings, asked, http, .. } = &*self.world;
        let telemetry = reach::telemetry(settings.telemetry.as_ref(), settings.workspace.as_deref(), http);
        let (telemetry, health) = tokio::join!(telemetry, reach::health(asked.url.as_ref(), http));
        vec![telemetry, health]
    }
}
