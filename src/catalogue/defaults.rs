//! What settings alone add to a catalogue.

use wire::catalogue as file;

use super::Context;

/// Adds the backend and the pool that settings name. Their numbers are guesses for one T4, to be
/// replaced by a catalogue entry; reports tell their prices as assumed.
pub(super) fn add(read: &mut file::Catalogue, context: &Context) {
    let models: Vec<String> = read.models.iter().map(|model| model.id.clone()).collect();
    let guess = file::Speed {
        base_ms: 20,
        per_item_us: 1_000,
        per_token_in_us: 50,
        per_token_out_us: 20_000,
        p95_percent: 200,
    };
    if let Some(url) = &context.default_backend {
        let text = url.as_str().trim_end_matches('/');
        if !read.backends.iter().any(|backend| backend.url.trim_end_matches('/') == text) {
            read.backends.push(file::Backend {
                name: "default".to_owned(),
                url: text.to_owned(),
                region: "unknown".to_owned(),
                models: models.clone(),
                style: file::Style::Openai,
                api_key_setting: None,
                api_version: None,
                gpu_class: Some("t4".to_owned()),
                usd_per_replica_hour: None,
                price_date: None,
                confirm_price: None,
                slots_per_replica: 4,
                max_replicas: 10,
                speed: guess,
                cold_start_ms: file::Spread { p50: 60_000, p95: 120_000 },
            });
        }
    }
    if let Some(name) = &context.default_pool
        && !read.pools.iter().any(|pool| pool.name == *name)
    {
        read.pools.push(file::Pool {
            name: name.clone(),
            region: "unknown".to_owned(),
            models,
            gpu_class: Some("t4".to_owned()),
            usd_per_node_hour: None,
            usd_per_dedicated_node_hour: None,
            spot: true,
            price_date: None,
            confirm_price: None,
            max_nodes: 4,
            slots_per_node: 1,
            speed: guess,
            boot_ms: file::Spread { p50: 300_000, p95: 480_000 },
            evictions_per_node_hour: 0.05,
            write_usd: 0.000_02,
            worker: None,
        });
    }
}
