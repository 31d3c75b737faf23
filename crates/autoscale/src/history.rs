//! The samples that an evaluation may look at: rows of a fixed period, each with the metrics that
//! were measured at that moment. What is missing counts against a wanted percentage.

use std::collections::VecDeque;

use crate::{Interval, Metric, Timestamp};

/// Rows that a history keeps: a week at one row every 30 s. The oldest leave first.
pub const ROWS_MAX: usize = 20_160;

/// Samples of one pool, oldest first. Whoever pushes decides how late a sample becomes visible;
/// an evaluation sees what is in here.
#[derive(Clone, Debug)]
pub struct History {
    period: Interval,
    rows: VecDeque<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    at: Timestamp,
    values: [Option<f64>; Metric::ALL.len()],
}

impl History {
    /// An empty history whose samples are `period` apart (the service: 30 s). A period that is not
    /// positive is taken as one tick.
    pub fn new(period: Interval) -> History {
        History { period: Interval(period.0.max(1)), rows: VecDeque::new() }
    }

    /// The time between two samples.
    pub fn period(&self) -> Interval {
        self.period
    }

    /// Adds what was measured at `at`. Rows may come in any order; what comes for a time that is
    /// known already is added to its row. Past [`ROWS_MAX`] the oldest row leaves. A value that is
    /// no number is taken as missing.
    pub fn push(&mut self, at: Timestamp, samples: &[(Metric, f64)]) {
        let place = self.rows.partition_point(|row| row.at < at);
        if self.rows.get(place).is_none_or(|row| row.at != at) {
            self.rows.insert(place, Row { at, values: [None; Metric::ALL.len()] });
        }
        for (metric, value) in samples {
            self.rows[place].values[*metric as usize] = (!value.is_nan()).then_some(*value);
        }
        while self.rows.len() > ROWS_MAX {
            self.rows.pop_front();
        }
    }

    /// Drops every row older than `at`.
    pub fn forget_before(&mut self, at: Timestamp) {
        let kept = self.rows.partition_point(|row| row.at < at);
        self.rows.drain(..kept);
    }

    /// The samples of a metric, oldest first.
    pub fn samples(&self, metric: Metric) -> impl DoubleEndedIterator<Item = (Timestamp, f64)> + '_ {
        self.rows.iter().filter_map(move |row| Some((row.at, row.values[metric as usize]?)))
    }

    /// Rows in the history, whatever they hold.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
