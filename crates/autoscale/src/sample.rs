//! The methods of the sampled variables: `GetSample` and its companions.
//!
//! A window runs from its older end, not included, to its newer end, included, so that ten full
//! minutes at one sample every 30 s hold twenty. An end is a moment, or an age counted back from
//! now; a pair of ages is the span between both, in either order (the documentation writes
//! 1 min, 6 min; formulas in use write 180 s, 70 s).

use crate::types::Type;
use crate::{History, Interval, Metric, Timestamp, Value};

/// A method of a sampled variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// The samples of a window, or the newest ones, as a doubleVec.
    GetSample,
    /// How many percent of a window's samples are there.
    GetSamplePercent,
    /// The time between two samples.
    GetSamplePeriod,
    /// How many samples there are.
    Count,
    /// The time of the oldest sample; without any, now (not documented).
    HistoryBeginTime,
}

/// What a method takes in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// A number.
    Double,
    /// A moment or an age.
    Time,
}

impl Parameter {
    /// Whether a value of that type may stand there.
    pub const fn takes(self, ty: Type) -> bool {
        match self {
            Parameter::Double => matches!(ty, Type::Double),
            Parameter::Time => matches!(ty, Type::Timestamp | Type::TimeInterval),
        }
    }
}

impl Method {
    /// Every method.
    pub const ALL: [Method; 5] = [
        Method::GetSample,
        Method::GetSamplePercent,
        Method::GetSamplePeriod,
        Method::Count,
        Method::HistoryBeginTime,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Method::GetSample => "GetSample",
            Method::GetSamplePercent => "GetSamplePercent",
            Method::GetSamplePeriod => "GetSamplePeriod",
            Method::Count => "Count",
            Method::HistoryBeginTime => "HistoryBeginTime",
        }
    }

    /// The method of that name.
    pub fn named(name: &str) -> Option<Method> {
        Method::ALL.into_iter().find(|method| method.name() == name)
    }

    /// What it may be called with.
    pub const fn overloads(self) -> &'static [&'static [Parameter]] {
        use Parameter::{Double, Time};
        match self {
            Method::GetSample => &[&[Double], &[Time], &[Time, Double], &[Time, Time], &[Time, Time, Double]],
            Method::GetSamplePercent => &[&[Time], &[Time, Time]],
            Method::GetSamplePeriod | Method::Count | Method::HistoryBeginTime => &[&[]],
        }
    }

    /// What it gives.
    pub const fn result(self) -> Type {
        match self {
            Method::GetSample => Type::DoubleVec,
            Method::GetSamplePercent | Method::Count => Type::Double,
            Method::GetSamplePeriod => Type::TimeInterval,
            Method::HistoryBeginTime => Type::Timestamp,
        }
    }
}

/// Fewer samples than a formula wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Insufficient {
    pub wanted: f64,
    pub received: f64,
}

/// One variable's samples as they are seen now.
pub(crate) struct Samples<'a> {
    pub history: &'a History,
    pub metric: Metric,
    pub now: Timestamp,
}

struct Window {
    after: Timestamp,
    until: Timestamp,
}

impl Samples<'_> {
    /// The newest sample.
    pub fn latest(&self) -> Option<f64> {
        self.history.samples(self.metric).next_back().map(|(_, value)| value)
    }

    /// Calls a method. The arguments fit one of its overloads.
    pub fn call(&self, method: Method, arguments: &[Value]) -> Result<Value, Insufficient> {
        Ok(match method {
            Method::GetSample => Value::Vector(self.get(arguments)?),
            Method::GetSamplePercent => Value::Double(self.percent(&self.window(arguments))),
            Method::GetSamplePeriod => Value::Interval(self.history.period()),
            Method::Count => Value::Double(self.history.samples(self.metric).count() as f64),
            Method::HistoryBeginTime => {
                let oldest = self.history.samples(self.metric).next();
                Value::Timestamp(oldest.map_or(self.now, |(at, _)| at))
            }
        })
    }

    fn get(&self, arguments: &[Value]) -> Result<Vec<f64>, Insufficient> {
        if let [Value::Double(count)] = arguments {
            return Ok(self.newest(*count));
        }
        let window = self.window(arguments);
        if let Some(Value::Double(wanted)) = arguments.last() {
            let received = self.percent(&window);
            // A wanted NaN is never met.
            let enough = received >= *wanted;
            if !enough {
                return Err(Insufficient { wanted: *wanted, received });
            }
        }
        Ok(self.within(&window).collect())
    }

    /// The newest samples, oldest first. A count is truncated; one that is not positive gives none.
    fn newest(&self, count: f64) -> Vec<f64> {
        let newest = self.history.samples(self.metric).rev().take(count as usize);
        let mut newest: Vec<f64> = newest.map(|(_, value)| value).collect();
        newest.reverse();
        newest
    }

    fn within(&self, window: &Window) -> impl Iterator<Item = f64> {
        let (after, until) = (window.after, window.until);
        let inside = move |at: Timestamp| after < at && at <= until;
        self.history.samples(self.metric).filter(move |(at, _)| inside(*at)).map(|(_, value)| value)
    }

    /// Samples there are of those that a full window would hold, at most 100. A window shorter
    /// than the period should hold one; an empty one holds nothing of nothing: 0 (not documented).
    fn percent(&self, window: &Window) -> f64 {
        let span = window.until.0.saturating_sub(window.after.0);
        if span <= 0 {
            return 0.0;
        }
        let full = (span / self.history.period().0).max(1);
        (self.within(window).count() as f64 * 100.0 / full as f64).min(100.0)
    }

    fn window(&self, arguments: &[Value]) -> Window {
        let mut ends = arguments.iter().filter_map(|argument| match argument {
            Value::Timestamp(at) => Some(*at),
            Value::Interval(Interval(age)) => Some(Timestamp(self.now.0.saturating_sub(*age))),
            _ => None,
        });
        let start = ends.next().unwrap_or(self.now);
        let end = ends.next().unwrap_or(self.now);
        Window { after: start.min(end), until: start.max(end) }
    }
}
