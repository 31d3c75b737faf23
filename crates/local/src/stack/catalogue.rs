//! The catalogue of a local stack: one model, one backend, one pool, one tenant, one admin.

use std::path::Path;
use std::time::Duration;

use clock::Clock;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::keys::Keys;

/// The model's name in requests.
pub const MODEL: &str = "minilm";
/// The backend's name in decisions and on the status page.
pub const BACKEND: &str = "local-replicas";
/// The pool's id.
pub const POOL: &str = "local-pool";
/// The tenant of the development key.
const TENANT: &str = "dev";
/// The worker, as command lines of the pool's tasks name it.
pub(super) const WORKER: &str = "worker";
/// The handler's setting with the secret of the tenant's webhook.
pub(super) const WEBHOOK_SECRET: &str = "DEV_WEBHOOK_SECRET";
/// Other names that clients know it by.
pub(super) const ALIASES: [&str; 2] = ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"];
/// Requests that a replica runs at once; its own batcher joins them.
pub(super) const SLOTS_PER_REPLICA: u32 = 4;
/// An NC8as T4 v3 serverless GPU of Container Apps costs this an hour where the local stack
/// pretends to be: prices must look real for decisions to look real.
const USD_PER_REPLICA_HOUR: f64 = 1.559;
/// A spot NC4as T4 v3 node costs about this an hour.
const USD_PER_NODE_HOUR: f64 = 0.16;
/// And one that is not taken away.
const USD_PER_DEDICATED_NODE_HOUR: f64 = 0.526;
const PRICE_DATE: &str = "2026-11-01";
/// What Azure asks for 10,000 writes, times the writes of a small job.
const WRITE_USD: f64 = 0.000_05;

/// What the catalogue says of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelFacts {
    digest: String,
    dimensions: u64,
    max_input_tokens: u64,
}

impl ModelFacts {
    /// Read from the model's folder; takes a tenth of a second for MiniLM's weights.
    pub(super) fn read(folder: &Path) -> std::io::Result<ModelFacts> {
        let config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
        let number = |name: &str| {
            let missing = || std::io::Error::other(format!("config.json of the model has no {name}"));
            config[name].as_u64().ok_or_else(missing)
        };
        let positions = number("max_position_embeddings")?;
        // sentence-transformers cuts where this file says, which is earlier than the weights allow.
        let cut = std::fs::read(folder.join("sentence_bert_config.json")).ok();
        let cut = cut.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        let cut = cut.and_then(|config| config["max_seq_length"].as_u64()).unwrap_or(positions);
        let weights = std::fs::read(folder.join("model.safetensors"))?;
        let hex: String = Sha256::digest(&weights).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(ModelFacts {
            digest: format!("sha256:{hex}"),
            dimensions: number("hidden_size")?,
            max_input_tokens: cut.min(positions),
        })
    }
}

/// Adds the entries of a catalogue file: a further backend, model or tenant. One that has the id or name of
/// an entry here takes its place. What they say is the handler's to check.
pub(super) fn add_from(catalogue: &mut Value, file: &Path) -> std::io::Result<()> {
    let wrong = |what: String| std::io::Error::other(format!("{}: {what}", file.display()));
    add(catalogue, read_further(file)?).map_err(wrong)
}

/// The JSON of a further catalogue.
pub(super) fn read_further(file: &Path) -> std::io::Result<Value> {
    let wrong = |what: String| std::io::Error::other(format!("{}: {what}", file.display()));
    let text = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| wrong(format!("is no JSON: {error}")))
}

fn add(catalogue: &mut Value, further: Value) -> Result<(), String> {
    let Value::Object(further) = further else { return Err("is no JSON object".to_owned()) };
    for (section, entries) in further.into_iter().filter(|(section, _)| section != "v") {
        let Value::Array(entries) = entries else { return Err(format!("`{section}` is no list")) };
        let Some(own) = catalogue[&section].as_array_mut() else {
            return Err(format!("`{section}` is no section of a catalogue"));
        };
        for entry in entries {
            let name = |entry: &Value| ["id", "name", "prefix"].map(|name| entry[name].clone());
            own.retain(|other| name(other) != name(&entry));
            own.push(entry);
        }
    }
    Ok(())
}

/// What the stack is made of, as far as decisions look at it.
pub(super) struct Made<'a> {
    pub(super) backend_url: &'a str,
    pub(super) replicas: u32,
    pub(super) cold_start: Duration,
    pub(super) nodes: u32,
    pub(super) boot: Duration,
    /// The folder of the model, for the pool's workers.
    pub(super) model: &'a Path,
    /// Where the tenant's webhook is, if it has one.
    pub(super) webhook: Option<String>,
    pub(super) clock: Clock,
    pub(super) keys: &'a Keys,
}

/// `config/catalogue.json`.
pub(super) fn catalogue(model: &ModelFacts, made: &Made<'_>) -> Value {
    let keys = made.keys;
    let mut tenant_key = keys.api.entry();
    tenant_key["permissions"] = json!(["submit", "read", "cancel"]);
    let webhooks: Vec<Value> =
        made.webhook.iter().map(|url| json!({"url": url, "secret_setting": WEBHOOK_SECRET})).collect();
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    // Computing is not scaled: while it runs, a fast clock goes on.
    let shown = |real: f64| (real * made.clock.speed()).ceil() as u64;
    let cold_start_ms = ms(made.cold_start);
    let boot_ms = ms(made.boot);
    // First guesses; what the handler measures corrects them.
    let speed = |base_ms: f64, per_item_us: f64, per_token_us: f64| {
        json!({
            "base_ms": shown(base_ms),
            "per_item_us": shown(per_item_us),
            "per_token_in_us": shown(per_token_us),
            "per_token_out_us": 0,
            "p95_percent": 200,
        })
    };
    json!({
        "v": 1,
        "models": [{
            "id": MODEL,
            "aliases": ALIASES,
            "operations": ["embeddings"],
            "version": "v1.0",
            "digest": model.digest,
            "max_input_tokens": model.max_input_tokens,
            "dimensions": model.dimensions,
            "footprint_mib": 512,
            "owned_by": "local",
            "created": 1_760_000_000,
            "load_ms": {"p50": shown(300.0), "p95": shown(800.0)},
        }],
        "backends": [{
            "name": BACKEND,
            "url": made.backend_url,
            "region": "local",
            "models": [MODEL],
            "style": "openai",
            "gpu_class": "cpu",
            "usd_per_replica_hour": USD_PER_REPLICA_HOUR,
            "price_date": PRICE_DATE,
            "slots_per_replica": SLOTS_PER_REPLICA,
            "max_replicas": made.replicas,
            "speed": speed(6.0, 500.0, 250.0),
            // The replica itself is ready half a second after its process starts.
            "cold_start_ms": {"p50": cold_start_ms + shown(500.0), "p95": 2 * cold_start_ms + shown(1000.0)},
        }],
        "pools": [{
            "name": POOL,
            "region": "local",
            "models": [MODEL],
            "usd_per_node_hour": USD_PER_NODE_HOUR,
            "usd_per_dedicated_node_hour": USD_PER_DEDICATED_NODE_HOUR,
            "price_date": PRICE_DATE,
            "max_nodes": made.nodes,
            "slots_per_node": 1,
            "speed": speed(0.0, 500.0, 250.0),
            "boot_ms": {"p50": boot_ms, "p95": 2 * boot_ms},
            "evictions_per_node_hour": 0.05,
            "write_usd": WRITE_USD,
            "worker": {"program": WORKER, "folders": {MODEL: made.model}},
        }],
        "tenants": [{
            "id": TENANT,
            "keys": [tenant_key],
            "weight": 1,
            "limits": {"requests_per_minute": 60_000, "tokens_per_minute": 100_000_000, "usd_per_day": 10.0},
            "webhooks": webhooks,
        }],
        "admins": [keys.admin.entry()],
    })
}

/// Keeps the tenants that an operator added to the catalogue of an earlier start.
pub(super) fn keep_tenants(catalogue: &mut Value, earlier: Option<&[u8]>) {
    let earlier: Value = earlier.and_then(|text| serde_json::from_slice(text).ok()).unwrap_or_default();
    let added = earlier["tenants"].as_array().into_iter().flatten().filter(|tenant| tenant["id"] != TENANT);
    if let Some(tenants) = catalogue["tenants"].as_array_mut() {
        tenants.extend(added.cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_entries_are_added_and_take_the_place_of_their_namesakes() {
        let own = || json!({"v": 1, "models": [{"id": "m"}], "backends": [{"name": "b", "url": "x"}]});
        let mut catalogue = own();
        let further = json!({"v": 1, "models": [{"id": "chat"}], "backends": [{"name": "b", "url": "y"}]});
        add(&mut catalogue, further).unwrap();
        assert_eq!(catalogue["models"], json!([{"id": "m"}, {"id": "chat"}]));
        assert_eq!(catalogue["backends"], json!([{"name": "b", "url": "y"}]));
        for (wrong, told) in [
            (json!([]), "no JSON object"),
            (json!({"models": {}}), "`models` is no list"),
            (json!({"modles": []}), "`modles` is no section"),
        ] {
            assert!(add(&mut own(), wrong).unwrap_err().contains(told), "{told}");
        }
    }
}
