//! `handler --doctor --json`: what is wrong with settings and services, each line with its remedy.
//!
//! It uses the handler's own settings and clients, so what it finds is what the handler would meet. Checks
//! run side by side, each within [`CHECK_MAX`], and none hides another: what depends on something that does
//! not work says what it needs.
//!
//! - [`check`]: the closed list; [`asked`]: what is asked for; [`given`]: settings, as far as they can be read
//! - [`tokens`], [`role`], [`denied`]: who we are, what we may, and what a refusal means
//! - [`skew`], [`tuning`], [`blob`], [`queue`], [`models`]: clock, knobs, store, doorbell, catalogue
//! - [`account`], [`sizing`], [`machine`], [`usage`]: pools, their size, their machines, their quotas
//! - [`lanes`], [`reach`]: backends and parity, telemetry and the app that serves
//!
//! It writes one object, `state/doctor-….json`, and deletes it; asking a backend for its models starts a
//! replica where it has none. Everything else is read.

pub mod account;
pub mod asked;
pub mod blob;
pub mod check;
pub mod denied;
pub mod given;
pub mod lanes;
pub mod machine;
pub mod models;
pub mod queue;
pub mod reach;
pub mod role;
pub mod sizing;
pub mod skew;
pub mod tokens;
pub mod tuning;
pub mod usage;

use std::sync::Arc;
use std::time::Duration;

use facts::Store;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, join_all};
use wire::doctor::{Finding, Report, VERSION};

use crate::app;
use crate::azure;
use crate::azure::identity::Chain;
use crate::azure::queue::Doorbell;
use crate::azure::vault::Vault;
use crate::settings::{Knobs, Settings};
use account::Looked;
use asked::Asked;
use check::{Check, of};
use given::{Given, Group};
use models::Read;
use tokens::Tokens;
use tuning::Tuned;

/// Longest call of a check. Longer than any service takes that is well, shorter than one's patience.
pub const CHECK_MAX: Duration = Duration::from_secs(10);
/// Saved output of `az` is some kilobytes.
const USAGES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What of a call came within [`CHECK_MAX`].
async fn within<T>(call: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(CHECK_MAX, call).await.ok()
}

/// Something that several checks wait for, done once.
type Later<T> = Shared<BoxFuture<'static, Arc<T>>>;

fn later<T: Send + Sync + 'static>(work: impl Future<Output = T> + Send + 'static) -> Later<T> {
    work.map(Arc::new).boxed().shared()
}

/// Looks at everything. `tell` hears each finding as soon as it and all before it are known.
pub async fn run(asked: Asked, given: Given, mut tell: impl FnMut(&Finding)) -> Report {
    let read = given::read(&given);
    let mut findings = read.findings.clone();
    findings.iter().for_each(&mut tell);
    let steps = match (World::open(asked, read), azure::http()) {
        (Some(world), Ok(http)) if world.asked.before_deploy => before_deploy(Arc::new(world), http),
        (Some(world), Ok(http)) => live(&Arc::new(world), http),
        _ => vec![later(async {
            Check::ALL
                .into_iter()
                .skip(1)
                .filter(|check| *check != Check::Formula)
                .map(|check| check.needs("settings"))
                .collect()
        })],
    };
    let all = join_all(steps.iter().cloned());
    let in_order = async {
        for step in steps.clone() {
            for finding in step.await.iter() {
                tell(finding);
                findings.push(finding.clone());
            }
        }
    };
    tokio::join!(all, in_order);
    Report { v: VERSION, handler: env!("CARGO_PKG_VERSION").to_owned(), findings }
}

/// What every check is made of.
struct World {
    asked: Asked,
    settings: Settings,
    left_out: Vec<Group>,
    identities: Chain,
    /// None: settings do not name one that could be read. An error: it cannot be opened.
    store: Option<Result<Store, String>>,
}

impl World {
    fn open(asked: Asked, read: given::Read) -> Option<World> {
        let is_lost = read.lacks(Group::Blob);
        let settings = read.settings?;
        let identities = Chain::new(azure::http().ok()?);
        let store = (!is_lost).then(|| app::store(&settings, &identities));
        Some(World { asked, settings, left_out: read.left_out, identities, store })
    }

    fn lacks(&self, group: Group) -> bool {
        self.left_out.contains(&group)
    }

    fn store(&self) -> Option<&Store> {
        self.store.as_ref()?.as_ref().ok()
    }

    /// Now, where a service has the same time.
    fn now_ms(&self) -> Option<u64> {
        (!self.settings.clock.is_scaled()).then(|| self.settings.clock.now_ms())
    }
}

/// Everything, in the order of [`Check::ALL`].
fn live(world: &Arc<World>, http: reqwest::Client) -> Vec<Later<Vec<Finding>>> {
    let (w, client) = (Arc::clone(world), http.clone());
    let tokens: Later<Tokens> = later(async move { tokens::ask(&w.settings, &w.identities).await });
    let (w, clock) = (Arc::clone(world), http.clone());
    let clock = later(async move { skew::look(&w.settings, &clock).await });
    let (w, of, knobs) = (Arc::clone(world), tokens.clone(), http.clone());
    let tuned: Later<Tuned> = later(async move { tune(&w, &*of.await, knobs).await });
    let (w, of) = (Arc::clone(world), tokens.clone());
    let blob = later(async move { probe(&w, &*of.await).await });
    let (w, of, by, first) = (Arc::clone(world), tokens.clone(), tuned.clone(), blob.clone());
    let retention = later(async move { retention(&w, &*of.await, &*by.await, &first.await).await });
    let w = Arc::clone(world);
    let models: Later<Read> = later(async move { catalogue(&w).await });
    let (w, of, rings) = (Arc::clone(world), tokens.clone(), http.clone());
    let queue = later(async move { doorbell(&w, &*of.await, rings).await });
    let (w, of, by, read, batch) =
        (Arc::clone(world), tokens.clone(), tuned.clone(), models.clone(), http.clone());
    let account: Later<Looked> =
        later(async move { pools(&w, &*of.await, &*by.await, &*read.await, batch).await });
    let (w, by, read, seen) = (Arc::clone(world), tuned.clone(), models.clone(), account.clone());
    let quota = later(async move { quotas(&w, &*by.await, &*read.await, &seen.await.sizes).await });
    let read = models.clone();
    let lanes = later(async move {
        match &read.await.catalogue {
            Some((catalogue, _)) => lanes::look(catalogue, &client).await,
            None => vec![Check::Backend.needs("catalogue"), Check::Parity.needs("catalogue")],
        }
    });
    let (w, client) = (Arc::clone(world), http);
    let served = later(async move {
        let (sent, health) = tokio::join!(
            reach::telemetry(w.settings.telemetry.as_ref(), &client),
            reach::health(w.asked.url.as_ref(), &client)
        );
        vec![sent, health]
    });
    vec![
        said(&tokens, |tokens| &tokens.findings),
        clock,
        said(&tuned, |tuned| &tuned.findings),
        blob,
        retention,
        said(&models, |read| &read.findings),
        queue,
        said(&account, |looked| &looked.findings),
        quota,
        lanes,
        served,
    ]
}

/// What needs no service: what is wrong here would be wrong there.
fn before_deploy(world: Arc<World>, http: reqwest::Client) -> Vec<Later<Vec<Finding>>> {
    drop(http);
    vec![later(async move {
        let tuned = match (&world.settings.knobs, world.lacks(Group::Knobs)) {
            (_, true) => tuning::unknown(),
            (Knobs::File(file), false) => tuning::of_file(file).await,
            (Knobs::Vault(_), false) => tuning::unread_before_deploy(),
        };
        let is_here = world.settings.catalogue_file.is_some()
            || matches!(world.settings.blobs, crate::settings::Blobs::Folder(_));
        let read =
            if is_here { catalogue(&world).await } else { Read::needs("MODEL_CATALOG, or --catalogue FILE") };
        let parity = match &read.catalogue {
            Some((catalogue, _)) => lanes::parity(catalogue, &|_| None),
            None => vec![Check::Parity.needs("catalogue")],
        };
        let sizes = match (&read.catalogue, &world.asked.vm_size) {
            (Some((_, file)), Some(size)) => {
                file.pools.iter().map(|pool| (pool.name.clone(), size.clone())).collect()
            }
            _ => Vec::new(),
        };
        let quota = quotas(&world, &tuned, &read, &sizes).await;
        [tuned.findings, read.findings, quota, parity].concat()
    })]
}

/// The findings of something that others wait for too.
fn said<T: Send + Sync + 'static>(step: &Later<T>, of: fn(&T) -> &Vec<Finding>) -> Later<Vec<Finding>> {
    let step = step.clone();
    later(async move { of(&*step.await).clone() })
}

async fn tune(world: &World, tokens: &Tokens, http: reqwest::Client) -> Tuned {
    let url = match &world.settings.knobs {
        _ if world.lacks(Group::Knobs) => return tuning::unknown(),
        Knobs::File(file) => return tuning::of_file(file).await,
        Knobs::Vault(url) => url,
    };
    let identity = world.identities.open(&world.settings.identity);
    match identity.and_then(|identity| Vault::open(url, identity, http)) {
        Ok(vault) => tuning::of_vault(&vault, url, tokens).await,
        Err(told) => Tuned::unread(vec![Check::Vault.broken_as_told(&told), Check::Knobs.needs("vault")]),
    }
}

async fn probe(world: &World, tokens: &Tokens) -> Vec<Finding> {
    let finding = match &world.store {
        None => Check::Blob.needs("settings"),
        Some(Err(told)) => Check::Blob.broken_as_told(told),
        Some(Ok(store)) => blob::Place { store, settings: &world.settings, tokens }.probe().await,
    };
    vec![finding]
}

async fn retention(world: &World, tokens: &Tokens, tuned: &Tuned, blob: &[Finding]) -> Vec<Finding> {
    let finding = match world.store() {
        Some(store) if !check::is_broken(blob) => {
            let place = blob::Place { store, settings: &world.settings, tokens };
            place.retention(tuned.knobs.retention_days).await
        }
        _ => Check::Retention.needs("blob"),
    };
    vec![finding]
}

async fn catalogue(world: &World) -> Read {
    models::read(&world.settings, world.store()).await
}

async fn doorbell(world: &World, tokens: &Tokens, http: reqwest::Client) -> Vec<Finding> {
    let needs = |what: &str| vec![Check::Queue.needs(what), Check::PoisonQueue.needs(what)];
    let asked = match &world.settings.doorbell {
        _ if world.lacks(Group::Storage) => return needs("settings"),
        None => return needs("AzureWebJobsStorage; without it work waits for the sweep"),
        Some(asked) => asked,
    };
    match Doorbell::open(&asked.storage, &asked.queue, http, &world.identities) {
        Ok(doorbell) => {
            queue::Place { asked, doorbell: &doorbell, tokens, now_ms: world.now_ms() }.look().await
        }
        Err(told) => vec![Check::Queue.broken_as_told(&told), Check::PoisonQueue.needs("queue")],
    }
}

async fn pools(world: &World, tokens: &Tokens, tuned: &Tuned, read: &Read, http: reqwest::Client) -> Looked {
    let asked = match &world.settings.batch {
        _ if world.lacks(Group::Batch) => return Looked::needs("settings"),
        None => return Looked::needs("BATCH_ENDPOINT; without it the deferred lane takes no work"),
        Some(asked) => asked,
    };
    let client = match app::batch(asked, &world.settings, &world.identities, http) {
        Ok(client) => client,
        Err(told) => {
            let mut looked = Looked::needs("batch");
            looked.findings[0] = Check::Batch.broken_as_told(&told);
            return looked;
        }
    };
    let now_ms = world.settings.clock.now_ms();
    let place = account::Place { asked, client: &client, tokens, knobs: &tuned.knobs, now_ms };
    place.look(read.pools(&world.settings)).await
}

async fn quotas(world: &World, tuned: &Tuned, read: &Read, sizes: &[(String, String)]) -> Vec<Finding> {
    let Some((_, file)) = &read.catalogue else { return vec![Check::Quota.needs("catalogue")] };
    let (mut quotas, mut findings) = (Vec::new(), Vec::new());
    for path in &world.asked.usages {
        let text = tokio::fs::read_to_string(path).await.map_err(|error| format!("cannot be read: {error}"));
        let text = text.and_then(|text| {
            if text.len() > USAGES_BYTES_MAX { Err("is too large".to_owned()) } else { Ok(text) }
        });
        match text.and_then(|text| usage::parse(&text)) {
            Ok(read) => quotas.extend(read),
            Err(told) => {
                let finding = Check::Quota
                    .broken(told, "save the output of one of the three commands with `--output json`");
                findings.push(of(path.display().to_string(), finding));
            }
        }
    }
    findings.extend(usage::judge(&usage::needs(&tuned.knobs, file, sizes), &quotas));
    findings
}
