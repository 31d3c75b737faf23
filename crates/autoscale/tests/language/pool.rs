//! Worlds for tests: a pool with samples every 30 s, the newest at `now`.

use autoscale::{Deallocation, Evaluation, History, Interval, Metric, Targets, Timestamp, World, parse};

/// The service's sampling period.
pub const PERIOD: Interval = Interval(30 * 10_000_000);

/// The moment of the documentation's example.
pub fn thursday() -> Timestamp {
    Timestamp::parse("2016-10-13T19:18:47.805Z").expect("a moment")
}

pub struct Pool {
    pub now: Timestamp,
    pub history: History,
    pub targets: Targets,
}

pub fn pool() -> Pool {
    Pool { now: thursday(), history: History::new(PERIOD), targets: Targets::default() }
}

impl Pool {
    pub fn at(mut self, now: Timestamp) -> Pool {
        self.now = now;
        self
    }

    pub fn targeting(mut self, dedicated: u32, low_priority: u32) -> Pool {
        self.targets = Targets { dedicated, low_priority };
        self
    }

    /// Samples oldest to newest, one period apart, the newest at `now`.
    pub fn with(self, metric: Metric, samples: &[f64]) -> Pool {
        let all: Vec<Option<f64>> = samples.iter().copied().map(Some).collect();
        self.with_gaps(metric, &all)
    }

    pub fn with_gaps(mut self, metric: Metric, samples: &[Option<f64>]) -> Pool {
        for (age, sample) in samples.iter().rev().enumerate() {
            let at = Timestamp(self.now.0 - PERIOD.0 * i64::try_from(age).expect("few samples"));
            if let Some(value) = sample {
                self.history.push(at, &[(metric, *value)]);
            }
        }
        self
    }

    pub fn world(&self) -> World<'_> {
        let deallocation = Deallocation::Requeue;
        World { now: self.now, history: &self.history, targets: self.targets, deallocation, seed: 1 }
    }

    pub fn evaluate(&self, formula: &str) -> Evaluation {
        let formula = parse(formula).unwrap_or_else(|error| panic!("{formula}\n{error}"));
        formula.evaluate(&self.world())
    }

    /// The results string of a formula that must succeed.
    pub fn results(&self, formula: &str) -> String {
        let evaluation = self.evaluate(formula);
        assert_eq!(evaluation.error, None, "{formula}");
        evaluation.results.to_string()
    }

    /// The value of `x` after `x = expression`.
    pub fn x(&self, expression: &str) -> String {
        let evaluation = self.evaluate(&format!("x = {expression}"));
        match evaluation.error {
            Some(error) => error.to_string(),
            None => evaluation.results.variable("x").expect("x is assigned").to_string(),
        }
    }
}
