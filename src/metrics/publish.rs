//! Counts as custom metrics. Labels come from the catalogue and closed lists only.

use facts::view::View;
use opentelemetry::KeyValue;
use policy::units::UnixMs;

use super::{Metrics, Totals};
use crate::catalogue::Catalogue;
use crate::telemetry::Telemetry;

impl Metrics {
    /// Records what is now, and what was counted since the last time.
    pub fn publish(&self, telemetry: &Telemetry, catalogue: Option<&Catalogue>, now: UnixMs) {
        let Some(meter) = telemetry.meter() else { return };
        let totals = self.totals();
        let last = {
            let mut published = self.published.lock().expect("no holder of this lock panics");
            std::mem::replace(&mut *published, totals.clone())
        };
        let answers = meter.u64_counter("switchyard.answers").build();
        for (class, count) in totals.by_status.iter().enumerate().skip(1) {
            let new = count - last.by_status[class];
            answers.add(new, &[KeyValue::new("status", format!("{class}xx"))]);
        }
        let decisions = meter.u64_counter("switchyard.decisions").build();
        for (code, count) in &totals.by_reason {
            decisions.add(count - last.of_reason(code), &[KeyValue::new("reason", *code)]);
        }
        meter.u64_counter("switchyard.retries").build().add(totals.retries - last.retries, &[]);
        meter.f64_counter("switchyard.estimated_usd").build().add(totals.cost.usd() - last.cost.usd(), &[]);
        let in_flight = meter.u64_gauge("switchyard.in_flight").build();
        let latency = meter.u64_gauge("switchyard.latency_p95_ms").build();
        for backend in catalogue.iter().flat_map(|catalogue| &catalogue.backends) {
            let seen = self.backend(&backend.name).observed(now);
            let label = [KeyValue::new("backend", backend.name.clone())];
            in_flight.record(seen.in_flight.into(), &label);
            if let Some(spread) = seen.latency {
                latency.record(spread.p95.0, &label);
            }
        }
    }
}

/// Records what is seen of pools: nodes, their use and their tasks.
pub fn pools(telemetry: &Telemetry, view: &View) {
    let Some(meter) = telemetry.meter() else { return };
    let used = meter.u64_gauge("switchyard.pool_utilization_percent").build();
    let counts = meter.u64_gauge("switchyard.pool_nodes").build();
    let tasks = meter.u64_gauge("switchyard.pool_queued_tasks").build();
    let evictions = meter.u64_gauge("switchyard.pool_evictions_last_hour").build();
    for (name, seen) in &view.pools {
        let pool = || KeyValue::new("pool", name.clone());
        // A pool without nodes is not used badly.
        if let Some(percent) = seen.utilization_percent() {
            used.record(percent, &[pool()]);
        }
        tasks.record(seen.queued_tasks, &[pool()]);
        evictions.record(seen.nodes.evictions.len() as u64, &[pool()]);
        for (kind, nodes) in [("spot", seen.spot), ("dedicated", seen.dedicated)] {
            let states = [
                ("target", nodes.target),
                ("busy", nodes.busy),
                ("idle", nodes.usable.saturating_sub(nodes.busy)),
                ("starting", nodes.starting),
                ("preempted", nodes.preempted),
                ("broken", nodes.broken),
            ];
            for (state, count) in states {
                let labels = [pool(), KeyValue::new("kind", kind), KeyValue::new("state", state)];
                counts.record(count.into(), &labels);
            }
        }
    }
}

impl Totals {
    fn of_reason(&self, code: &str) -> u64 {
        self.by_reason.iter().find(|(found, _)| *found == code).map_or(0, |(_, count)| *count)
    }
}
