//! What each expression of a formula can be worth, read without evaluating it: bounds, the samples
//! whose values reach it, and the percentages that were asked before it. Bounds are never tighter
//! than what is true, as far as samples are a minute late; both branches of a condition count unless its bounds decide it.

use std::collections::{BTreeMap, BTreeSet};

use crate::Metric;
use crate::function::Function;
use crate::sample::{Method, Parameter};
use crate::time::Field;
use crate::tree::{Action, Expr, ExprKind, Formula, Position, Spelling, Variable};
use crate::types::{BinaryOperator, Type, UnaryOperator};

/// Ticks of 100 ns in a second.
const TICKS_PER_SECOND: f64 = 1e7;
/// A sample is seen about so many seconds after it was taken.
pub(super) const LATE_S: f64 = 60.0;

/// What is known of a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    /// Not less than this; of an interval in ticks, of a vector each element.
    pub low: f64,
    /// Not more than this.
    pub high: f64,
    /// Metrics whose sampled values reach it; not those that only decide between values.
    pub carried: BTreeSet<Metric>,
    /// Metrics of whose samples the number or percentage was looked at for it.
    pub counted: BTreeSet<Metric>,
    /// Where `min` is taken over samples that reach it.
    pub minima: BTreeSet<Position>,
}

impl Known {
    fn within(low: f64, high: f64) -> Known {
        let (low, high) = (
            if low.is_nan() { f64::NEG_INFINITY } else { low },
            if high.is_nan() { f64::INFINITY } else { high },
        );
        Known { low, high, carried: BTreeSet::new(), counted: BTreeSet::new(), minima: BTreeSet::new() }
    }

    fn anything() -> Known {
        Known::within(f64::NEG_INFINITY, f64::INFINITY)
    }

    /// Its value, where only one is possible.
    pub fn constant(&self) -> Option<f64> {
        (self.low == self.high).then_some(self.low)
    }

    /// These bounds, with all that reaches it through `parts`.
    fn from(self, parts: &[&Known]) -> Known {
        let mut all = self;
        for part in parts {
            all.carried.extend(&part.carried);
            all.minima.extend(&part.minima);
            all.counted.extend(&part.counted);
        }
        all
    }

    /// These bounds, decided by `parts` but without their values.
    fn decided_by(self, parts: &[&Known]) -> Known {
        let mut all = self;
        parts.iter().for_each(|part| all.counted.extend(&part.counted));
        all
    }
}

/// A formula and what is known of its parts.
pub(super) struct Flow<'a> {
    pub formula: &'a Formula,
    known: BTreeMap<*const Expr, Known>,
    /// Samples that are used only after their percentage or number was looked at.
    guarded: BTreeSet<*const Expr>,
    variables: BTreeMap<Variable, Known>,
}

impl<'a> Flow<'a> {
    /// Reads a formula.
    pub fn of(formula: &'a Formula) -> Flow<'a> {
        let mut flow =
            Flow { formula, known: BTreeMap::new(), guarded: BTreeSet::new(), variables: BTreeMap::new() };
        for statement in formula.statements() {
            let Action::Assign { to, value } = &statement.action else { break };
            let known = flow.read(value, &BTreeSet::new());
            flow.variables.insert(to.clone(), known);
        }
        flow
    }

    /// What is known of an expression; nothing where no statement reaches it.
    pub fn known(&self, expr: &Expr) -> Option<&Known> {
        self.known.get(&std::ptr::from_ref(expr))
    }

    /// Whether a use of samples comes after a look at how many there are.
    pub fn is_guarded(&self, expr: &Expr) -> bool {
        self.guarded.contains(&std::ptr::from_ref(expr))
    }

    /// What is known of a variable after the last statement; `None` where it is not assigned.
    pub fn variable(&self, variable: &Variable) -> Option<&Known> {
        use Variable::{Dedicated, LowPriority};
        let find = |all: [Variable; 2]| all.into_iter().find_map(|name| self.variables.get(&name));
        match variable {
            Dedicated(_) => find([Dedicated(Spelling::Full), Dedicated(Spelling::Alias)]),
            LowPriority(_) => find([LowPriority(Spelling::Full), LowPriority(Spelling::Alias)]),
            other => self.variables.get(other),
        }
    }

    /// A constant age in seconds; `None` for what depends or is a moment.
    pub fn age_s(&self, end: &Expr) -> Option<f64> {
        let ticks = self.known(end).filter(|_| end.ty == Type::TimeInterval)?.constant()?;
        Some(ticks / TICKS_PER_SECOND)
    }

    /// The two ends of a window as seconds before now, the older first, where they are constant ages.
    pub fn window_s(&self, arguments: &[Expr]) -> Option<(f64, f64)> {
        let ends = arguments.iter().filter(|argument| Parameter::Time.takes(argument.ty));
        let ages: Option<Vec<f64>> = ends.map(|end| self.age_s(end)).collect();
        match ages?[..] {
            [start] => Some((start, 0.0)),
            [start, end] => Some((start.max(end), start.min(end))),
            _ => None,
        }
    }

    fn read(&mut self, expr: &'a Expr, looked_at: &BTreeSet<Metric>) -> Known {
        let known = match &expr.kind {
            ExprKind::Number(number) => Known::within(*number, *number),
            ExprKind::Unit(unit) => {
                let ticks = unit.interval().0 as f64;
                Known::within(ticks, ticks)
            }
            ExprKind::Text(_) | ExprKind::Deallocation(_) => Known::anything(),
            ExprKind::Read(variable) => self.variable(variable).cloned().unwrap_or_else(|| {
                // A target is what the pool has.
                Known::within(0.0, f64::INFINITY)
            }),
            ExprKind::Latest(metric) => sampled(*metric),
            ExprKind::Sample { metric, method, arguments } => {
                arguments.iter().for_each(|argument| drop(self.read(argument, looked_at)));
                if looked_at.contains(metric) {
                    self.guarded.insert(expr);
                }
                let known = method_gives(*metric, *method);
                let there = self.window_s(arguments).map_or(100.0, percent_there);
                if *method == Method::GetSamplePercent { Known { high: there, ..known } } else { known }
            }
            ExprKind::Member(of, field) => {
                self.read(of, looked_at);
                field_bounds(*field)
            }
            ExprKind::Call(function, arguments) => {
                let known: Vec<Known> =
                    arguments.iter().map(|argument| self.read(argument, looked_at)).collect();
                called(*function, arguments, &known, expr.at)
            }
            ExprKind::Unary(operator, of) => {
                let of = self.read(of, looked_at);
                match operator {
                    UnaryOperator::Minus => Known::within(-of.high, -of.low).from(&[&of]),
                    UnaryOperator::Not => Known::within(0.0, 1.0).decided_by(&[&of]),
                }
            }
            ExprKind::Binary(operator, left, right) => {
                let left = self.read(left, looked_at);
                let after: BTreeSet<Metric> = looked_at.union(&left.counted).copied().collect();
                let lazy = matches!(operator, BinaryOperator::And | BinaryOperator::Or);
                let right = self.read(right, if lazy { &after } else { looked_at });
                combined(*operator, &left, &right)
            }
            ExprKind::Conditional { condition, yes, no } => {
                let condition = self.read(condition, looked_at);
                let after: BTreeSet<Metric> = looked_at.union(&condition.counted).copied().collect();
                let (yes, no) = (self.read(yes, &after), self.read(no, &after));
                chosen(&condition, &yes, &no)
            }
        };
        self.known.insert(expr, known.clone());
        known
    }
}

fn sampled(metric: Metric) -> Known {
    let mut known = Known::within(0.0, f64::INFINITY);
    known.carried.insert(metric);
    known
}

/// The percentage of a window's samples that can be there, for the newest come late.
pub(super) fn percent_there((older, newer): (f64, f64)) -> f64 {
    let there = (older - newer.max(LATE_S)).max(0.0) / (older - newer);
    if there.is_finite() { there * 100.0 } else { 0.0 }
}

fn method_gives(metric: Metric, method: Method) -> Known {
    let counted = |low, high| {
        let mut known = Known::within(low, high);
        known.counted.insert(metric);
        known
    };
    match method {
        Method::GetSample => sampled(metric),
        Method::GetSamplePercent => counted(0.0, 100.0),
        Method::Count => counted(0.0, f64::INFINITY),
        Method::GetSamplePeriod | Method::HistoryBeginTime => Known::anything(),
    }
}

fn field_bounds(field: Field) -> Known {
    match field {
        Field::Year => Known::anything(),
        Field::Month => Known::within(1.0, 12.0),
        Field::Day => Known::within(1.0, 31.0),
        Field::Weekday => Known::within(1.0, 7.0),
        Field::Hour => Known::within(0.0, 23.0),
        Field::Minute | Field::Second => Known::within(0.0, 59.0),
    }
}

fn called(function: Function, arguments: &[Expr], known: &[Known], at: Position) -> Known {
    let parts: Vec<&Known> = known.iter().collect();
    let lowest = known.iter().map(|part| part.low).fold(f64::INFINITY, f64::min);
    let highest = known.iter().map(|part| part.high).fold(f64::NEG_INFINITY, f64::max);
    // A vector may be empty, so only what is no vector bounds for sure.
    let sure = || known.iter().zip(arguments).filter(|(_, argument)| argument.ty == Type::Double);
    let gives = match function {
        Function::Min => {
            let mut least = Known::within(lowest, sure().map(|(part, _)| part.high).fold(highest, f64::min));
            let over_samples = |(part, argument): (&Known, &Expr)| {
                argument.ty == Type::DoubleVec && !part.carried.is_empty() && !is_newest(argument)
            };
            if known.iter().zip(arguments).any(over_samples) {
                least.minima.insert(at);
            }
            least
        }
        Function::Max => Known::within(sure().map(|(part, _)| part.low).fold(lowest, f64::max), highest),
        Function::Avg | Function::Vec => Known::within(lowest, highest),
        Function::Percentile | Function::Val => {
            known.first().map_or_else(Known::anything, |list| Known::within(list.low, list.high))
        }
        Function::Sum if lowest >= 0.0 => Known::within(lowest, f64::INFINITY),
        Function::Len | Function::Norm | Function::Range | Function::Std => Known::within(0.0, f64::INFINITY),
        Function::Ceil => Known::within(lowest.ceil(), highest.ceil()),
        Function::Floor => Known::within(lowest.floor(), highest.floor()),
        Function::Round => Known::within(lowest.round(), highest.round()),
        Function::Rand => Known::within(0.0, 1.0),
        _ => Known::anything(),
    };
    gives.from(&parts)
}

/// Whether a vector is the newest sample alone: `GetSample(1)`.
fn is_newest(vector: &Expr) -> bool {
    let ExprKind::Sample { arguments, .. } = &vector.kind else { return false };
    matches!(&arguments[..], [one] if one.kind == ExprKind::Number(1.0))
}

fn combined(operator: BinaryOperator, left: &Known, right: &Known) -> Known {
    let span = |ends: [f64; 4]| {
        if ends.iter().any(|end| end.is_nan()) {
            return Known::anything();
        }
        let low = ends.into_iter().fold(f64::INFINITY, f64::min);
        Known::within(low, ends.into_iter().fold(f64::NEG_INFINITY, f64::max))
    };
    let ends = |f: fn(f64, f64) -> f64| {
        let (a, b, c, d) = (left.low, left.high, right.low, right.high);
        span([f(a, c), f(a, d), f(b, c), f(b, d)])
    };
    match operator {
        BinaryOperator::Add => Known::within(left.low + right.low, left.high + right.high),
        BinaryOperator::Subtract => Known::within(left.low - right.high, left.high - right.low),
        // An end that is infinite is not reached, so nothing times it stays nothing.
        BinaryOperator::Multiply => ends(|a, b| if a == 0.0 || b == 0.0 { 0.0 } else { a * b }),
        BinaryOperator::Divide if right.low > 0.0 || right.high < 0.0 => ends(|a, b| a / b),
        BinaryOperator::Divide => Known::anything(),
        _ => return Known::within(0.0, 1.0).decided_by(&[left, right]),
    }
    .from(&[left, right])
}

fn chosen(condition: &Known, yes: &Known, no: &Known) -> Known {
    let known = match condition.constant() {
        Some(0.0) => no.clone(),
        Some(_) => yes.clone(),
        None => Known::within(yes.low.min(no.low), yes.high.max(no.high)).from(&[yes, no]),
    };
    known.decided_by(&[condition])
}
