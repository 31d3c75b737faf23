//! What operators tune while the system runs. Names and units are those of the Key Vault secrets.

use crate::units::{MicroUsd, Millis};

/// One consistent set of knobs. Every value is inside its range: whoever builds one checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knobs {
    /// `realtime-threshold-ms`: a deadline within this is realtime only, and the soft target of
    /// requests that set none. 1..=3,600,000.
    pub realtime_threshold: Millis,
    /// `batch-cost-threshold`, USD for the whole request or job: where realtime would cost more,
    /// deferred is taken whenever it meets the deadline.
    pub batch_cost_threshold: MicroUsd,
    /// `max-aca-replicas`: realtime replicas of a backend, at most. 0..=1,000 (Container Apps' own limit).
    pub max_replicas: u32,
    /// `min-aca-replicas`: replicas kept warm.
    pub min_replicas: u32,
    /// `max-batch-nodes`: nodes of the pool, dedicated and spot together.
    pub max_nodes: u32,
    /// `max-dedicated-nodes`: of these, dedicated at most.
    pub max_dedicated_nodes: u32,
    /// `min-spot-nodes`: spot nodes that are kept whatever happens.
    pub min_spot_nodes: u32,
    /// `min-dedicated-nodes`: dedicated nodes that are kept whatever happens.
    pub min_dedicated_nodes: u32,
    /// `model-version`: the version new work is sent to.
    pub model_version: String,
    /// `gpu-memory-limit`, MiB: a model whose footprint exceeds it is refused.
    pub gpu_memory_limit_mib: u64,
    /// `max-usd-per-hour`: spend over all lanes; none means no cap.
    pub max_usd_per_hour: Option<MicroUsd>,
    /// `rescue-share`, percent of realtime slots that rescues of deferred work may use. 0..=100.
    pub rescue_share_percent: u32,
    /// `autoscale-mode`.
    pub autoscale: AutoscaleMode,
    /// `autoscale-interval-minutes`: how often pools evaluate their formulas. 5..=10080, the service's
    /// own limits.
    pub autoscale_interval_minutes: u32,
    /// `retention-days` of job facts. 1..=365.
    pub retention_days: u32,
    /// `confidence-percent`: the wanted certainty that a deadline is met. 50 uses p50, more uses p95.
    pub confidence_percent: u32,
}

/// What the rebalancer may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoscaleMode {
    /// Look and report.
    Observe,
    /// Say what it would do.
    #[default]
    Recommend,
    /// Do it.
    Act,
}

impl Default for Knobs {
    /// The documented defaults.
    fn default() -> Knobs {
        Knobs {
            realtime_threshold: Millis(2_000),
            batch_cost_threshold: MicroUsd(500_000),
            max_replicas: 10,
            min_replicas: 0,
            max_nodes: 4,
            max_dedicated_nodes: 1,
            min_spot_nodes: 0,
            min_dedicated_nodes: 0,
            model_version: "v1.0".to_owned(),
            gpu_memory_limit_mib: 16_384,
            max_usd_per_hour: None,
            rescue_share_percent: 25,
            autoscale: AutoscaleMode::Recommend,
            autoscale_interval_minutes: 5,
            retention_days: 30,
            confidence_percent: 95,
        }
    }
}
