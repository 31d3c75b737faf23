use serde_json::json;

use super::*;
use crate::catalogue::{self, Context};
use crate::settings::Lookup;

/// A model `m` (alias `org/m`), a backend that serves it and a pool that runs it.
fn catalogue(digest: Option<&str>, worker: Value) -> Catalogue {
    let (speed, spread) = (json!({ "base_ms": 1, "p95_percent": 100 }), json!({ "p50": 1, "p95": 1 }));
    let text = json!({ "v": 1,
        "models": [{ "id": "m", "aliases": ["org/m"], "operations": ["embeddings"], "version": "v1", "digest": digest, "owned_by": "o" }],
        "backends": [{ "name": "b", "url": "http://b", "region": "r", "models": ["m"], "style": "openai", "usd_per_replica_hour": 1,
            "price_date": "d", "slots_per_replica": 1, "max_replicas": 1, "speed": speed, "cold_start_ms": spread }],
        "pools": [{ "name": "p", "region": "r", "models": ["m"], "usd_per_node_hour": 1, "price_date": "d", "max_nodes": 1,
            "slots_per_node": 1, "speed": speed, "boot_ms": spread, "worker": worker }],
    });
    let context = Context {
        default_backend: None,
        default_pool: None,
        has_batch: true,
        secrets: Lookup::of(|_| None),
        loopback_only: false,
        webhooks_allow_private: false,
    };
    catalogue::parse(text.to_string().as_bytes(), &context).unwrap()
}

fn folder() -> Value {
    json!({ "program": "worker", "folders": { "m": "/models/m" } })
}

#[test]
fn a_backend_is_judged_by_what_it_says() {
    let catalogue = catalogue(None, folder());
    let says = |status: u16, models: Option<&[&str]>| {
        let models = models.map(|models| models.iter().map(|id| (*id).to_owned()).collect());
        Ok(Said { status, models, digest: None })
    };
    let cases = [
        (says(200, Some(&["m"])), Outcome::Ok, "serves m"),
        (says(200, Some(&["org/m", "x"])), Outcome::Ok, "serves m"),
        (says(200, Some(&["x"])), Outcome::Broken, "does not serve m"),
        (says(200, None), Outcome::Broken, "not with a list"),
        (says(401, None), Outcome::Broken, "key"),
        (says(404, None), Outcome::Broken, "404"),
        (says(500, None), Outcome::Broken, "500"),
        (says(503, None), Outcome::Warning, "starting"),
        (Err(Silence::TimedOut), Outcome::Warning, "no replica"),
        (Err(Silence::NotConnected), Outcome::Broken, "cannot be reached"),
    ];
    for (said, outcome, words) in cases {
        let finding = judge(&catalogue, &catalogue.backends[0], &said);
        assert!(finding.outcome == outcome && finding.found.contains(words), "{said:?}: {finding:?}");
        assert_eq!(finding.remedy.is_none(), outcome == Outcome::Ok, "{finding:?}");
    }
}

#[test]
fn both_lanes_must_run_the_same_weights() {
    let same = Some("sha256:ab12");
    let cases = [
        (same, folder(), Some("sha256:ab12"), Outcome::Ok, "both lanes run sha256:ab12"),
        (same, folder(), Some("sha256:cd34"), Outcome::Broken, "sha256:cd34"),
        (same, folder(), None, Outcome::NotChecked, "does not tell"),
        (None, folder(), Some("sha256:ab12"), Outcome::Warning, "no digest"),
        (same, json!({ "program": "worker" }), Some("sha256:ab12"), Outcome::Broken, "no folder"),
        (
            same,
            json!({ "program": "worker", "backend_url": "http://127.0.0.1:1" }),
            Some("sha256:ab12"),
            Outcome::Ok,
            "both",
        ),
        (same, Value::Null, Some("sha256:ab12"), Outcome::NotChecked, "a model that a backend and a pool"),
    ];
    for (digest, worker, told, outcome, words) in cases {
        let catalogue = catalogue(digest, worker);
        let findings = parity(&catalogue, &|_| told.map(str::to_owned));
        assert!(
            findings.len() == 1 && findings[0].outcome == outcome && findings[0].found.contains(words),
            "{findings:?}"
        );
    }
}
