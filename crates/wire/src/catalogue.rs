//! `config/catalogue.json`: models, the backends and pools that run them, tenants and admins.
//! Unknown members are refused, so that a typo is found and not ignored.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::openai::EventKind;

/// The version that this code writes and reads.
pub const VERSION: u32 = 1;

/// The whole file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// [`VERSION`].
    pub v: u32,
    /// What can be asked for.
    #[serde(default)]
    pub models: Vec<Model>,
    /// Where it runs at once.
    #[serde(default)]
    pub backends: Vec<Backend>,
    /// Where it runs later, for less.
    #[serde(default)]
    pub pools: Vec<Pool>,
    /// Who may ask.
    #[serde(default)]
    pub tenants: Vec<Tenant>,
    /// Keys of operators.
    #[serde(default)]
    pub admins: Vec<AdminKey>,
}

/// Largest weight of a tenant: the others' wait grows with it.
const WEIGHT_MAX: u32 = 1_000;
/// Largest price in US dollars: more is a slip, and millionths of it still fit any sum.
const USD_MAX: f64 = 1e6;

impl Catalogue {
    /// What is wrong with tenants and keys by themselves. The handler and the command that edits them ask
    /// this alike.
    pub fn tenant_problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.tenants.iter().flat_map(Tenant::problems).collect();
        let mut names = BTreeSet::new();
        for tenant in self.tenants.iter().filter(|tenant| !names.insert(&tenant.id)) {
            problems.push(format!("tenant `{}` stands there twice", tenant.id));
        }
        let keys = self.tenants.iter().flat_map(|tenant| &tenant.keys).map(|key| (&key.prefix, &key.sha256));
        let admins = self.admins.iter().map(|key| (&key.prefix, &key.sha256));
        let mut prefixes = BTreeSet::new();
        for (prefix, sha256) in keys.chain(admins) {
            if !prefixes.insert(prefix) {
                problems.push(format!("key prefix `{prefix}` stands there twice"));
            }
            if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                problems.push(format!("key `{prefix}`: sha256 is not 64 hexadecimal digits"));
            }
        }
        problems
    }
}

impl Tenant {
    fn problems(&self) -> Vec<String> {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let usd = self.limits.usd_per_day;
        let rules = [
            (
                (1..=64).contains(&self.id.len()) && self.id.bytes().all(is_letter),
                "id must be 1 to 64 of letters, digits, - and _".to_owned(),
            ),
            ((1..=WEIGHT_MAX).contains(&self.weight), format!("weight must be from 1 to {WEIGHT_MAX}")),
            (!self.classes.is_empty(), "classes names none; leave it out for all".to_owned()),
            (
                usd.is_none_or(|usd| (0.0..=USD_MAX).contains(&usd)),
                format!("usd_per_day must be from 0 to {USD_MAX}"),
            ),
        ];
        let broken = rules.into_iter().filter(|(holds, _)| !holds);
        broken.map(|(_, rule)| format!("tenant `{}`: {rule}", self.id)).collect()
    }
}

/// A model.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name in requests.
    pub id: String,
    /// Other names that mean it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What it can do.
    pub operations: Vec<Operation>,
    /// Compared with knob `model-version`.
    pub version: String,
    /// `sha256:…` of the weights.
    #[serde(default)]
    pub digest: Option<String>,
    /// Longest input, in tokens.
    #[serde(default)]
    pub max_input_tokens: Option<u64>,
    /// Length of its vectors, for embeddings.
    #[serde(default)]
    pub dimensions: Option<u32>,
    /// GPU memory that weights and activations take, MiB.
    #[serde(default)]
    pub footprint_mib: u64,
    /// As `/v1/models` shows it.
    pub owned_by: String,
    /// Unix seconds, as `/v1/models` shows it.
    #[serde(default)]
    pub created: u64,
    /// Time to load it on a fresh node or replica.
    #[serde(default)]
    pub load_ms: Spread,
}

/// An operation of the OpenAI API.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `/v1/embeddings`
    Embeddings,
    /// `/v1/chat/completions`
    ChatCompletions,
    /// `/v1/completions`
    Completions,
}

/// A distribution by two quantiles, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Half of all cases are at most this.
    pub p50: u64,
    /// 19 of 20 cases are at most this.
    pub p95: u64,
}

/// Time of a request as a straight line over its items and tokens.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Speed {
    /// Of every request.
    pub base_ms: u64,
    /// Microseconds an item.
    #[serde(default)]
    pub per_item_us: u64,
    /// Microseconds a token that goes in.
    #[serde(default)]
    pub per_token_in_us: u64,
    /// Microseconds a token that comes out.
    #[serde(default)]
    pub per_token_out_us: u64,
    /// p95 in percent of the line; at least 100.
    pub p95_percent: u64,
}

/// How a backend wants to be spoken to.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// `{url}/v1/…` with a bearer key.
    Openai,
    /// `{url}/openai/deployments/{model}/…?api-version=…` with an `api-key` header.
    AzureOpenai,
}

/// A realtime backend.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Its name in decisions and on the status page.
    pub name: String,
    /// Base URL, without `/v1`.
    pub url: String,
    /// Azure region.
    pub region: String,
    /// Ids of models that it serves.
    pub models: Vec<String>,
    /// How it is spoken to.
    pub style: Style,
    /// Name of the environment setting that holds its key; must end in `_API_KEY`, so that a
    /// catalogue cannot send other secrets away.
    #[serde(default)]
    pub api_key_setting: Option<String>,
    /// For [`Style::AzureOpenai`] only.
    #[serde(default)]
    pub api_version: Option<String>,
    /// As `t4`, `a100`, `cpu`.
    #[serde(default)]
    pub gpu_class: Option<String>,
    /// Price of a replica for an hour; none: the built-in one of `gpu_class`, which is then told as assumed.
    #[serde(default)]
    pub usd_per_replica_hour: Option<f64>,
    /// When the price was read; needed where it is given.
    #[serde(default)]
    pub price_date: Option<String>,
    /// `price_date` once more, where the price is more than three times what it was, or less than a
    /// third: until it stands here, the old one stays in force.
    #[serde(default)]
    pub confirm_price: Option<String>,
    /// Requests that a replica runs at once.
    pub slots_per_replica: u32,
    /// Replicas at most.
    pub max_replicas: u32,
    /// How long requests take on a ready replica.
    pub speed: Speed,
    /// From zero replicas to the first answer.
    pub cold_start_ms: Spread,
}

/// A deferred pool.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// The Azure Batch pool's id.
    pub name: String,
    /// Azure region.
    pub region: String,
    /// Ids of models that it runs.
    pub models: Vec<String>,
    /// As `t4` or `Standard_NC4as_T4_v3`: where the price is not given.
    #[serde(default)]
    pub gpu_class: Option<String>,
    /// Price of a spot node for an hour; none: the built-in one of `gpu_class`, which is then told as
    /// assumed.
    #[serde(default)]
    pub usd_per_node_hour: Option<f64>,
    /// Price of a dedicated node for an hour; none: the rebalancer buys none.
    #[serde(default)]
    pub usd_per_dedicated_node_hour: Option<f64>,
    /// Whether the rebalancer buys spot nodes.
    #[serde(default = "yes")]
    pub spot: bool,
    /// When the prices were read; needed where one is given.
    #[serde(default)]
    pub price_date: Option<String>,
    /// `price_date` once more, where a price is more than three times what it was, or less than a third:
    /// until it stands here, the old ones stay in force.
    #[serde(default)]
    pub confirm_price: Option<String>,
    /// Nodes at most.
    pub max_nodes: u32,
    /// Tasks that a node runs at once.
    pub slots_per_node: u32,
    /// How long work takes on one slot.
    pub speed: Speed,
    /// From the decision to buy a node to its first task.
    pub boot_ms: Spread,
    /// Evictions of a node an hour.
    #[serde(default)]
    pub evictions_per_node_hour: f64,
    /// Cost of writing the facts of one job.
    #[serde(default)]
    pub write_usd: f64,
    /// How its nodes run work; none: the pool takes none.
    #[serde(default)]
    pub worker: Option<PoolWorker>,
}

fn yes() -> bool {
    true
}

/// How a pool's nodes run work: the arguments are ours, the rest is the operator's.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PoolWorker {
    /// The worker program, as a node or its image finds it.
    pub program: String,
    /// Folders of models on a node, by the models' ids. Missing where `backend_url` serves them.
    #[serde(default)]
    pub folders: BTreeMap<String, String>,
    /// An OpenAI-compatible server on the node that runs the work instead, as `http://127.0.0.1:8000`.
    #[serde(default)]
    pub backend_url: Option<String>,
    /// Image of the task's container, where the pool runs containers.
    #[serde(default)]
    pub image: Option<String>,
}

/// A tenant.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its name in keys of facts, logs and metrics.
    pub id: String,
    /// Keys that it may use.
    pub keys: Vec<TenantKey>,
    /// Share when work competes.
    #[serde(default = "one")]
    pub weight: u32,
    /// What it may use at most.
    #[serde(default)]
    pub limits: Limits,
    /// To whom its work is charged where a job does not say: `team`, `project`, `cost-center`,
    /// `environment`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Classes that its jobs may have; missing: all.
    #[serde(default = "all_classes")]
    pub classes: Vec<Class>,
    /// Who is told when its batches end.
    #[serde(default)]
    pub webhooks: Vec<Webhook>,
}

/// How pressing a job is.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Somebody waits for it.
    Interactive,
    /// The usual.
    Standard,
    /// Whenever there is room.
    Bulk,
}

fn all_classes() -> Vec<Class> {
    vec![Class::Interactive, Class::Standard, Class::Bulk]
}

/// An endpoint of a tenant that is told when its batches end.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where it is: https.
    pub url: String,
    /// What it is told; all where it is missing.
    #[serde(default = "all_events")]
    pub events: Vec<EventKind>,
    /// Setting that holds its secret, `whsec_…`; several, with spaces between them, while one is being
    /// replaced. The name ends in `_WEBHOOK_SECRET`.
    pub secret_setting: String,
}

fn all_events() -> Vec<EventKind> {
    EventKind::ALL.to_vec()
}

fn one() -> u32 {
    1
}

/// A key, by hash: the key itself is written nowhere.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TenantKey {
    /// The public part, by which it is found.
    pub prefix: String,
    /// Hex of SHA-256 of the whole key.
    pub sha256: String,
    /// What it may do.
    pub permissions: Vec<Permission>,
}

/// What a tenant's key may do.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Run inference and make jobs.
    Submit,
    /// See models, jobs and explanations.
    Read,
    /// End jobs.
    Cancel,
    /// Operate the installation, as an operator's key may: for tenants that run it themselves.
    Admin,
}

/// Limits of a tenant; none means unlimited.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests a minute.
    #[serde(default)]
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute, in and out.
    #[serde(default)]
    pub tokens_per_minute: Option<u64>,
    /// Items of jobs that have not ended.
    #[serde(default)]
    pub queued_items: Option<u64>,
    /// Money a day.
    #[serde(default)]
    pub usd_per_day: Option<f64>,
}

/// An operator's key, by hash.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AdminKey {
    /// The public part, by which it is found.
    pub prefix: String,
    /// Hex of SHA-256 of the whole key.
    pub sha256: String,
}
