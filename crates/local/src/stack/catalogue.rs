//! The catalogue of a local stack: one model, one backend, one tenant, one admin.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::keys::Keys;

/// The model's name in requests.
pub const MODEL: &str = "minilm";
/// The backend's name in decisions and on the status page.
pub const BACKEND: &str = "local-replicas";
/// Other names that clients know it by.
pub(super) const ALIASES: [&str; 2] = ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"];
/// Requests that a replica runs at once; its own batcher joins them.
pub(super) const SLOTS_PER_REPLICA: u32 = 4;
/// An NC8as T4 v3 serverless GPU of Container Apps costs this an hour where the local stack
/// pretends to be: prices must look real for decisions to look real.
const USD_PER_REPLICA_HOUR: f64 = 1.559;
const PRICE_DATE: &str = "2026-11-01";

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

/// `config/catalogue.json`.
pub(super) fn catalogue(
    model: &ModelFacts,
    backend_url: &str,
    replicas: u32,
    cold_start_ms: u64,
    keys: &Keys,
) -> Value {
    let mut tenant_key = keys.api.entry();
    tenant_key["permissions"] = json!(["submit", "read", "cancel"]);
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
            "load_ms": {"p50": 300, "p95": 800},
        }],
        "backends": [{
            "name": BACKEND,
            "url": backend_url,
            "region": "local",
            "models": [MODEL],
            "style": "openai",
            "gpu_class": "cpu",
            "usd_per_replica_hour": USD_PER_REPLICA_HOUR,
            "price_date": PRICE_DATE,
            "slots_per_replica": SLOTS_PER_REPLICA,
            "max_replicas": replicas,
            // First guesses; what the handler measures corrects them.
            "speed": {"base_ms": 4, "per_item_us": 300, "per_token_in_us": 60, "per_token_out_us": 0, "p95_percent": 150},
            // The replica itself is ready half a second after its process starts.
            "cold_start_ms": {"p50": cold_start_ms + 500, "p95": 2 * cold_start_ms + 1000},
        }],
        "pools": [],
        "tenants": [{
            "id": "dev",
            "keys": [tenant_key],
            "weight": 1,
            "limits": {"requests_per_minute": 60_000, "tokens_per_minute": 100_000_000, "usd_per_day": 10.0},
        }],
        "admins": [keys.admin.entry()],
    })
}
