//! Counts as custom metrics. Labels come from the catalogue and closed lists only.

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

impl Totals {
    fn of_reason(&self, code: &str) -> u64 {
        self.by_reason.iter().find(|(found, _)| *found == code).map_or(0, |(_, count)| *count)
    }
}
