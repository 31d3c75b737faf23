//! The catalogue as decisions need it: checked once, indexed by name, re-read in the background;
//! a bad version is refused as a whole and the last good one stays.

mod defaults;
mod holding;
pub mod prices;
mod webhook;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use policy::admit::Limits;
use policy::dispatch::Class;
use policy::snapshot::{self, Spread};
use policy::units::{MicroUsd, Millis};
use reqwest::header::{HeaderName, HeaderValue};
use url::Url;
use wire::catalogue::{self as file, Operation, Permission};

pub use holding::{Holding, State};
pub use webhook::Webhook;

use crate::knobs::micro_usd;
use crate::settings::{Lookup, is_loopback};

/// Requests of a replica beside each other, at most: some batching servers take hundreds.
const SLOTS_MAX: u32 = 4_096;
/// Slots of a node at most, as of Azure Batch (four a core, 256 in all).
const NODE_SLOTS_MAX: u32 = 256;

/// A checked catalogue.
#[derive(Debug)]
pub struct Catalogue {
    /// Models, in the file's order.
    pub models: Vec<Model>,
    /// Backends, in the file's order.
    pub backends: Vec<Arc<Backend>>,
    /// Pools, in the file's order.
    pub pools: Vec<Arc<Pool>>,
    /// Tenants, in the file's order.
    pub tenants: Vec<Tenant>,
    /// Prices of the file that are not in force, because nobody confirmed them.
    pub held_prices: Vec<String>,
    /// Places in `models`; more than one for an alias that several versions share.
    models_by_name: HashMap<String, Vec<usize>>,
    keys: HashMap<String, Key>,
}

/// A model.
#[derive(Debug)]
pub struct Model {
    /// As the file describes it.
    pub spec: file::Model,
    /// What decisions look at.
    pub facts: snapshot::Model,
    /// `id@digest`, for the header; none where the digest is unknown.
    pub label: HeaderValue,
}

/// A realtime backend.
#[derive(Debug)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Base URL without a slash at its end.
    pub url: String,
    /// How it is spoken to.
    pub style: file::Style,
    /// For Azure OpenAI.
    pub api_version: Option<String>,
    /// Header with its key.
    pub key: Option<(HeaderName, HeaderValue)>,
    /// Ids of models.
    pub models: Vec<String>,
    /// When its price was read.
    pub price_date: String,
    /// Whether it is the built-in one.
    pub price_assumed: bool,
    /// The price's date, where somebody confirmed it.
    pub price_confirmed: Option<String>,
    /// The numbers of the file; what is observed is filled in by `observe`.
    pub facts: snapshot::Backend,
}

/// A deferred pool.
#[derive(Debug)]
pub struct Pool {
    /// Ids of models.
    pub models: Vec<String>,
    /// When its prices were read.
    pub price_date: String,
    /// Whether that of a spot node is the built-in one.
    pub price_assumed: bool,
    /// The prices' date, where somebody confirmed them.
    pub price_confirmed: Option<String>,
    /// Price of a dedicated node for an hour; none: none is bought.
    pub dedicated_price: Option<MicroUsd>,
    /// Whether spot nodes are bought.
    pub buys_spot: bool,
    /// How its nodes run work; none: it takes none.
    pub worker: Option<file::PoolWorker>,
    /// The numbers of the file.
    pub facts: snapshot::Pool,
}

impl Pool {
    /// What a dedicated node costs for an hour. One that somebody else bought, where there is no price for it,
    /// costs no less than a spot node.
    pub fn dedicated_node_hour(&self) -> MicroUsd {
        self.dedicated_price.unwrap_or(self.facts.price_per_node_hour)
    }
}

/// A tenant.
#[derive(Debug)]
pub struct Tenant {
    /// Its name.
    pub id: String,
    /// What it may use.
    pub limits: Limits,
    /// Its share when work competes.
    pub weight: u32,
    /// Classes that its jobs may have, the most pressing first.
    pub classes: Vec<Class>,
    /// To whom its work is charged where a job does not say.
    pub labels: BTreeMap<String, String>,
    /// Who is told when its batches end.
    pub webhooks: Vec<Webhook>,
}

/// A key, by hash.
#[derive(Debug)]
pub struct Key {
    /// SHA-256 of the whole key.
    pub sha256: [u8; 32],
    /// Whose it is.
    pub holder: Holder,
}

/// Whose key it is.
#[derive(Clone, Debug)]
pub enum Holder {
    /// A tenant's: index into [`Catalogue::tenants`], and what it may do.
    Tenant(usize, Vec<Permission>),
    /// An operator's.
    Admin,
}

impl Catalogue {
    /// The model of this id; of an alias, the first that has it.
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.models_by_name.get(name).map(|at| &self.models[at[0]])
    }

    /// The model that new work means by a name: an id is itself, and an alias that several versions share
    /// is the one of knob `model-version`, else the first of them.
    pub fn asked(&self, name: &str, version: &str) -> Option<&Model> {
        let mut named = self.models_by_name.get(name)?.iter().map(|at| &self.models[*at]);
        named.find(|model| model.spec.version == version).or_else(|| self.model(name))
    }

    /// The key with this public prefix.
    pub fn key(&self, prefix: &str) -> Option<&Key> {
        self.keys.get(prefix)
    }

    /// The tenant of this name.
    pub fn tenant(&self, id: &str) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| tenant.id == id)
    }

    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.iter().find(|pool| pool.facts.name == name)
    }

    /// The backend of this name.
    pub fn backend(&self, name: &str) -> Option<&Arc<Backend>> {
        self.backends.iter().find(|backend| backend.name == name)
    }
}

/// What a catalogue is checked with.
#[derive(Clone, Debug)]
pub struct Context {
    /// Backend to add when none has this URL.
    pub default_backend: Option<Url>,
    /// Pool to add when none has this name.
    pub default_pool: Option<String>,
    /// Whether there is an account of Azure Batch; without one, pools take no work.
    pub has_batch: bool,
    /// Secrets that backends name.
    pub secrets: Lookup,
    /// Refuse backends and webhooks that are not on this machine, because time is scaled.
    pub loopback_only: bool,
    /// Let webhooks lie outside the open Internet.
    pub webhooks_allow_private: bool,
}

/// Checks the text of a catalogue.
///
/// # Errors
/// Every problem.
pub fn parse(text: &[u8], context: &Context) -> Result<Catalogue, Vec<String>> {
    let mut read: file::Catalogue =
        serde_json::from_slice(text).map_err(|error| vec![format!("not a catalogue: {error}")])?;
    defaults::add(&mut read, context);
    let mut problems = Vec::new();
    if read.v != file::VERSION {
        problems.push(format!("v is {}; this version reads {}", read.v, file::VERSION));
    }
    let models_by_name = index_models(&read.models, &mut problems);
    let known = |id: &String| read.models.iter().any(|model| model.id == *id);
    for (owner, id) in read
        .backends
        .iter()
        .flat_map(|backend| backend.models.iter().map(move |id| (&backend.name, id)))
        .chain(read.pools.iter().flat_map(|pool| pool.models.iter().map(move |id| (&pool.name, id))))
        .filter(|(_, id)| !known(id))
    {
        problems.push(format!("`{owner}` serves `{id}`, which is no model of the catalogue"));
    }
    problems.extend(read.tenant_problems());
    let keys = index_keys(&read);
    let backends =
        read.backends.iter().filter_map(|spec| keep(backend(spec, context), &mut problems)).collect();
    let pools = read.pools.iter().filter_map(|spec| keep(pool(spec, context), &mut problems)).collect();
    let models = read.models.iter().filter_map(|spec| keep(model(spec), &mut problems)).collect();
    let tenants = read.tenants.iter().filter_map(|spec| keep(tenant(spec, context), &mut problems)).collect();
    find_doubles(read.backends.iter().map(|backend| backend.name.as_str()), "backend", &mut problems);
    find_doubles(read.pools.iter().map(|pool| pool.name.as_str()), "pool", &mut problems);
    if problems.is_empty() {
        Ok(Catalogue { models, backends, pools, tenants, held_prices: Vec::new(), models_by_name, keys })
    } else {
        Err(problems)
    }
}

fn keep<T>(checked: Result<T, String>, problems: &mut Vec<String>) -> Option<T> {
    checked.map_err(|problem| problems.push(problem)).ok()
}

fn find_doubles<'a>(names: impl Iterator<Item = &'a str>, what: &str, problems: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    for name in names.filter(|name| !seen.insert(*name)) {
        problems.push(format!("{what} `{name}` stands there twice"));
    }
}

/// Ids are unique; an alias may be shared by versions of a model, which knob `model-version` tells apart.
fn index_models(models: &[file::Model], problems: &mut Vec<String>) -> HashMap<String, Vec<usize>> {
    let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, model) in models.iter().enumerate() {
        for name in std::iter::once(&model.id).chain(&model.aliases) {
            let named = by_name.entry(name.clone()).or_default();
            let is_other = |other: &usize| {
                models[*other].id != *name && model.id != *name && models[*other].version != model.version
            };
            if !named.iter().all(is_other) {
                problems.push(format!("model name `{name}` stands there twice"));
            }
            named.push(at);
        }
    }
    by_name
}

fn index_keys(read: &file::Catalogue) -> HashMap<String, Key> {
    let tenants = read.tenants.iter().enumerate().flat_map(|(at, tenant)| {
        tenant
            .keys
            .iter()
            .map(move |key| (&key.prefix, &key.sha256, Holder::Tenant(at, key.permissions.clone())))
    });
    let admins = read.admins.iter().map(|key| (&key.prefix, &key.sha256, Holder::Admin));
    let mut keys = HashMap::new();
    for (prefix, sha256, holder) in tenants.chain(admins) {
        // What is no hash, or doubled, is a problem that refuses the catalogue.
        if let Some(sha256) = hash_from_hex(sha256) {
            keys.insert(prefix.clone(), Key { sha256, holder });
        }
    }
    keys
}

fn hash_from_hex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

fn model(spec: &file::Model) -> Result<Model, String> {
    let label = match &spec.digest {
        Some(digest) => format!("{}@{digest}", spec.id),
        None => spec.id.clone(),
    };
    let label = HeaderValue::from_str(&label)
        .map_err(|_| format!("model `{}`: id and digest must be visible ASCII", spec.id))?;
    let facts = snapshot::Model { footprint_mib: spec.footprint_mib, load: spread(spec.load_ms) };
    Ok(Model { spec: spec.clone(), facts, label })
}

fn backend(spec: &file::Backend, context: &Context) -> Result<Arc<Backend>, String> {
    let wrong = |what: &str| Err(format!("backend `{}`: {what}", spec.name));
    let Ok(url) = Url::parse(&spec.url) else { return wrong("url is no URL") };
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() {
        return wrong("url must be http(s) without a query");
    }
    if context.loopback_only && !is_loopback(&url) {
        return wrong("url is not on this machine, which faster time demands");
    }
    if HeaderValue::from_str(&spec.name).is_err() {
        return wrong("name must be visible ASCII");
    }
    if spec.style == file::Style::AzureOpenai && spec.api_version.is_none() {
        return wrong("style azure_openai needs api_version");
    }
    let price = prices::of_replica(spec).map_err(|what| format!("backend `{}`: {what}", spec.name))?;
    if !(1..=SLOTS_MAX).contains(&spec.slots_per_replica) {
        return wrong(&format!("slots_per_replica must be from 1 to {SLOTS_MAX}"));
    }
    let key = match &spec.api_key_setting {
        None => None,
        Some(setting) => Some(key_header(spec, setting, context)?),
    };
    Ok(Arc::new(Backend {
        name: spec.name.clone(),
        url: spec.url.trim_end_matches('/').to_owned(),
        style: spec.style,
        api_version: spec.api_version.clone(),
        key,
        models: spec.models.clone(),
        price_date: price.read_on,
        price_assumed: price.assumed,
        price_confirmed: spec.confirm_price.clone(),
        facts: snapshot::Backend {
            name: spec.name.clone(),
            region: spec.region.clone(),
            price_per_replica_hour: price.per_hour,
            slots_per_replica: spec.slots_per_replica,
            max_replicas: spec.max_replicas,
            ready_replicas: 0,
            starting_replicas: 0,
            in_flight: 0,
            speed: speed(spec.speed),
            pace: policy::pace::Pace::CATALOGUE,
            cold_start: spread(spec.cold_start_ms),
            breaker: policy::breaker::State::Closed,
            last_used: None,
        },
    }))
}

fn key_header(
    spec: &file::Backend,
    setting: &str,
    context: &Context,
) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = |what: String| format!("backend `{}`: {what}", spec.name);
    if !setting.ends_with("_API_KEY") {
        return Err(wrong(format!("api_key_setting `{setting}` must end in _API_KEY")));
    }
    let key = context.secrets.get(setting).ok_or_else(|| wrong(format!("setting {setting} is not set")))?;
    let (name, text) = match spec.style {
        file::Style::Openai => ("authorization", format!("Bearer {}", key.reveal())),
        file::Style::AzureOpenai => ("api-key", key.reveal().to_owned()),
    };
    let mut value =
        HeaderValue::from_str(&text).map_err(|_| wrong(format!("setting {setting} is no header value")))?;
    value.set_sensitive(true);
    Ok((HeaderName::from_static(name), value))
}

fn pool(spec: &file::Pool, context: &Context) -> Result<Arc<Pool>, String> {
    let wrong = |what: &str| Err(format!("pool `{}`: {what}", spec.name));
    let price = prices::of_node(spec).map_err(|what| format!("pool `{}`: {what}", spec.name))?;
    let dedicated_price = match spec.usd_per_dedicated_node_hour.map(micro_usd) {
        Some(None) => return wrong("usd_per_dedicated_node_hour is no price"),
        price => price.flatten(),
    };
    if !spec.spot && dedicated_price.is_none() {
        return wrong("spot is false: give usd_per_dedicated_node_hour, or no node can be bought");
    }
    let Some(write_cost) = micro_usd(spec.write_usd) else { return wrong("write_usd is no price") };
    if !(1..=NODE_SLOTS_MAX).contains(&spec.slots_per_node) {
        return wrong(&format!("slots_per_node must be from 1 to {NODE_SLOTS_MAX}"));
    }
    if !(0.0..=1_000.0).contains(&spec.evictions_per_node_hour) {
        return wrong("evictions_per_node_hour must be from 0 to 1000");
    }
    let facts = snapshot::Pool {
        name: spec.name.clone(),
        region: spec.region.clone(),
        price_per_node_hour: price.per_hour,
        ready_nodes: 0,
        max_nodes: spec.max_nodes,
        slots_per_node: spec.slots_per_node,
        speed: speed(spec.speed),
        backlog: Millis(0),
        boot: spread(spec.boot_ms),
        evictions_per_node_hour_milli: (spec.evictions_per_node_hour * 1_000.0).round() as u64,
        write_cost,
        accepting: spec.worker.is_some() && context.has_batch,
        starved: false,
    };
    Ok(Arc::new(Pool {
        models: spec.models.clone(),
        price_date: price.read_on,
        price_assumed: price.assumed,
        price_confirmed: spec.confirm_price.clone(),
        dedicated_price,
        buys_spot: spec.spot,
        worker: spec.worker.clone(),
        facts,
    }))
}

fn tenant(spec: &file::Tenant, context: &Context) -> Result<Tenant, String> {
    let given = spec.limits;
    // What is no price is told by `tenant_problems`, and refuses the catalogue.
    let usd_per_day = given.usd_per_day.map(|usd| micro_usd(usd).unwrap_or_default());
    let limits = Limits {
        requests_per_minute: given.requests_per_minute,
        tokens_per_minute: given.tokens_per_minute,
        queued_items: given.queued_items,
        usd_per_day,
    };
    let mut classes: Vec<Class> = spec.classes.iter().map(class).collect();
    classes.sort();
    classes.dedup();
    if let Some(problem) = prices::label_problem(&spec.labels) {
        return Err(format!("tenant `{}`: {problem}", spec.id));
    }
    let (labels, webhooks) = (spec.labels.clone(), webhook::webhooks(spec, context)?);
    Ok(Tenant { id: spec.id.clone(), limits, weight: spec.weight, classes, labels, webhooks })
}

fn class(given: &file::Class) -> Class {
    match given {
        file::Class::Interactive => Class::Interactive,
        file::Class::Standard => Class::Standard,
        file::Class::Bulk => Class::Bulk,
    }
}

fn spread(given: file::Spread) -> Spread {
    Spread { p50: Millis(given.p50), p95: Millis(given.p95.max(given.p50)) }
}

fn speed(given: file::Speed) -> snapshot::Speed {
    snapshot::Speed {
        base: Millis(given.base_ms),
        per_item_us: given.per_item_us,
        per_token_in_us: given.per_token_in_us,
        per_token_out_us: given.per_token_out_us,
        p95_percent: given.p95_percent.max(100),
    }
}

/// The wire's name of an operation.
pub fn operation(operation: policy::request::Operation) -> Operation {
    match operation {
        policy::request::Operation::Embeddings => Operation::Embeddings,
        policy::request::Operation::ChatCompletions => Operation::ChatCompletions,
        policy::request::Operation::Completions => Operation::Completions,
    }
}

#[cfg(test)]
pub(crate) mod tests;
