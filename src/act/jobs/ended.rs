//! What telemetry is told of a job's end, once, by the process that wrote its summary.

use facts::Job;
use facts::job::{Class, End, Status};
use facts::ledger::What;

use super::look::World;
use crate::metrics::{self, names};
use crate::telemetry::{self, measure};

/// Tells how a job ended, how long it took, what it cost, and what was done twice for it.
pub(super) fn tell(world: World<'_>, job: &Job, began_ms: Option<u64>, end: &End) {
    let pool = job.pool.as_str();
    let class = match job.class {
        Class::Interactive => "interactive",
        Class::Standard => "standard",
        Class::Bulk => "bulk",
    };
    let outcome = match end.status {
        Status::Completed => "completed",
        Status::Failed => "failed",
        Status::Expired => "expired",
        Status::Cancelled => "cancelled",
    };
    measure(&names::JOBS_ENDED, 1.0, &[pool, class, outcome]);
    measure(&names::TRIES, job.shards.len() as f64, &[pool, "done"]);
    measure(&names::TRIES, end.retries as f64, &[pool, "lost"]);
    let again = end.spent.iter().filter(|part| part.place == pool && part.what != What::Useful);
    measure(&names::DUPLICATE, again.map(|part| part.us).sum::<u64>() as f64 / 1e6, &[pool]);
    let team = metrics::team(world.catalogue, &job.tenant, job.labels.get("team").map(String::as_str));
    measure(&names::COST, end.cost_micro_usd as f64 / 1e6, &["deferred", team]);

    let route = job.url.trim_start_matches("/v1/").replace('/', "_");
    let began_ms = began_ms.unwrap_or(end.finished_ms);
    let stages = [
        ("queue_wait", job.created_ms, began_ms),
        ("compute", began_ms, end.finished_ms),
        ("total", job.created_ms, end.finished_ms),
    ];
    for (stage, from, to) in stages {
        let took_ms = to.saturating_sub(from) as f64;
        measure(&names::LATENCY, took_ms, &[stage, "deferred", &route, &job.model, "batch"]);
    }
    let facts = [("job", job.job.as_str()), ("pool", pool), ("outcome", outcome)];
    let span = (job.created_ms, end.finished_ms);
    telemetry::lasted("job", job.traceparent.as_deref(), span, &facts);
}
