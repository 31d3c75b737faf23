//! An instrument for each row of [`crate::metrics::names`], made once; nothing else can be measured.

use std::collections::HashMap;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter};

use crate::metrics::names::{self, Kind, Metric};

/// All instruments, by their metrics' names.
pub(super) struct Instruments(HashMap<&'static str, Instrument>);

enum Instrument {
    Counter(Counter<f64>),
    Gauge(Gauge<f64>),
    Histogram(Histogram<f64>),
}

impl Instruments {
    pub(super) fn new(meter: &Meter) -> Instruments {
        let instrument = |metric: &Metric| match metric.kind {
            Kind::Counter => Instrument::Counter(meter.f64_counter(metric.name).build()),
            Kind::Gauge => Instrument::Gauge(meter.f64_gauge(metric.name).build()),
            // Application Insights takes no buckets.
            Kind::Histogram => {
                let histogram = meter.f64_histogram(metric.name).with_boundaries(Vec::new());
                Instrument::Histogram(histogram.build())
            }
        };
        Instruments(names::ALL.iter().map(|metric| (metric.name, instrument(metric))).collect())
    }

    /// Measures `value` under `labels`, the values of the metric's labels in their order.
    pub(super) fn measure(&self, metric: &Metric, value: f64, labels: &[&str]) {
        assert_eq!(labels.len(), metric.labels.len(), "`{}` has other labels", metric.name);
        let told = |(label, value): (&names::Label, &&str)| {
            KeyValue::new(label.name, label.values.bounded(value).to_owned())
        };
        let labels: Vec<KeyValue> = metric.labels.iter().zip(labels).map(told).collect();
        match self.0.get(metric.name) {
            Some(Instrument::Counter(counter)) => counter.add(value, &labels),
            Some(Instrument::Gauge(gauge)) => gauge.record(value, &labels),
            Some(Instrument::Histogram(histogram)) => histogram.record(value, &labels),
            None => unreachable!("an instrument is made for every row of the table"),
        }
    }
}
