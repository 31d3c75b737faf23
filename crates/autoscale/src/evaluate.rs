//! From a tree and a world to results.
//!
//! Doubles follow IEEE 754: a division by zero is an infinity, 0/0 is NaN, and a comparison with
//! NaN is false. What is not finite fails only where it would become a target, a time or an
//! interval. Targets are truncated and never negative; intervals and timestamps saturate. `&&`,
//! `||` and `?:` leave alone what they do not need. None of this is documented by the service,
//! except that the branch not taken is not evaluated, which its examples need.

mod operate;

use crate::error::RunError;
use crate::function::{self, Function};
use crate::sample::{Method, Samples};
use crate::tree::{Action, Expr, ExprKind, Formula, Position, Statement, Variable};
use crate::types::BinaryOperator;
use crate::{Error, Metric, Results, Timestamp, Value, World};

/// Elements that a vector may have. More than a history's rows; a formula that doubles a vector a
/// hundred times stops here.
pub const VECTOR_MAX: usize = 65_536;

/// Numbers that a trace keeps at most; what is seen after them is left out.
pub const SEEN_MAX: usize = 10_000;

/// What an evaluation gave. With an error the service does not resize, and still shows results.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// What was set until the end or the error.
    pub results: Results,
    /// Why the evaluation ended early.
    pub error: Option<RunError>,
}

impl Evaluation {
    /// The answer of the service's *evaluate* to a formula whose mistake it finds only then (an
    /// unknown name: recorded); `None` where it answers 400.
    pub fn of_mistake(mistake: &Error, world: &World<'_>) -> Option<Evaluation> {
        let at = Position { line: mistake.line, column: mistake.column };
        let found_late = mistake.kind.found_by_evaluation();
        found_late
            .then(|| Evaluation::failed(Results::new(world), RunError::evaluation(at, &mistake.message)))
    }

    fn failed(mut results: Results, error: RunError) -> Evaluation {
        results.fail();
        Evaluation { results, error: Some(error) }
    }
}

/// What one statement did, for an explanation.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<'a> {
    /// The statement.
    pub statement: &'a Statement,
    /// The value that it assigned; `None` where it failed or stopped.
    pub value: Option<Value>,
    /// What its variables, samples and calls were worth, in the order of evaluation. A branch that
    /// was not needed is missing. Bounded by [`SEEN_MAX`].
    pub seen: Vec<(&'a Expr, Value)>,
}

impl Formula {
    /// Runs the formula. Never panics.
    pub fn evaluate(&self, world: &World<'_>) -> Evaluation {
        let mut run = Run { world: *world, results: Results::new(world), random: world.seed, seen: None };
        let ended = self.statements().iter().find_map(|statement| run.statement(statement).err());
        run.end(ended)
    }

    /// Runs the formula and tells what each statement did, up to the one that failed or stopped.
    pub fn trace(&self, world: &World<'_>) -> (Evaluation, Vec<Step<'_>>) {
        let seen = Some(Seen { room: SEEN_MAX, values: Vec::new() });
        let mut run = Run { world: *world, results: Results::new(world), random: world.seed, seen };
        let mut steps = Vec::new();
        let ended = self.statements().iter().find_map(|statement| {
            let done = run.statement(statement);
            let seen = run.seen.as_mut().map(|seen| std::mem::take(&mut seen.values)).unwrap_or_default();
            steps.push(Step { statement, value: done.as_ref().ok().cloned(), seen });
            done.err()
        });
        (run.end(ended), steps)
    }
}

/// Why an evaluation ends before its last statement.
enum Ended {
    Stopped,
    Failed(Box<RunError>),
}

fn fail<T>(at: Position, message: impl AsRef<str>) -> Result<T, Ended> {
    Err(Ended::Failed(Box::new(RunError::evaluation(at, message.as_ref()))))
}

struct Run<'w, 'f> {
    world: World<'w>,
    results: Results,
    random: u64,
    seen: Option<Seen<'f>>,
}

/// The values that a trace keeps of the statement at hand.
struct Seen<'f> {
    room: usize,
    values: Vec<(&'f Expr, Value)>,
}

impl<'f> Seen<'f> {
    fn note(&mut self, expr: &'f Expr, value: &Value) {
        use ExprKind::{Call, Latest, Member, Read, Sample};
        let tells = matches!(expr.kind, Call(..) | Latest(_) | Member(..) | Read(_) | Sample { .. });
        let size = if let Value::Vector(elements) = value { elements.len().max(1) } else { 1 };
        if tells && size <= self.room {
            self.room -= size;
            self.values.push((expr, value.clone()));
        }
    }
}

impl<'f> Run<'_, 'f> {
    fn end(self, ended: Option<Ended>) -> Evaluation {
        match ended {
            Some(Ended::Failed(error)) => Evaluation::failed(self.results, *error),
            Some(Ended::Stopped) | None => Evaluation { results: self.results, error: None },
        }
    }

    fn statement(&mut self, statement: &'f Statement) -> Result<Value, Ended> {
        let Action::Assign { to, value: expr } = &statement.action else { return Err(Ended::Stopped) };
        let mut value = self.value(expr)?;
        if matches!(to, Variable::Dedicated(_) | Variable::LowPriority(_)) {
            value = Value::Double(nodes(&value, to, expr.at)?);
        }
        self.results.assign(to.clone(), value.clone());
        Ok(value)
    }

    fn value(&mut self, expr: &'f Expr) -> Result<Value, Ended> {
        let value = self.unseen(expr)?;
        if let Some(seen) = &mut self.seen {
            seen.note(expr, &value);
        }
        Ok(value)
    }

    fn unseen(&mut self, expr: &'f Expr) -> Result<Value, Ended> {
        match &expr.kind {
            ExprKind::Number(number) => Ok(Value::Double(*number)),
            ExprKind::Text(text) => Ok(Value::Text(text.clone())),
            ExprKind::Unit(unit) => Ok(Value::Interval(unit.interval())),
            ExprKind::Deallocation(option) => Ok(Value::Deallocation(*option)),
            ExprKind::Read(variable) => match self.results.read(variable) {
                Some(value) => Ok(value),
                None => fail(expr.at, format!("Variable {} has no value", variable.name())),
            },
            ExprKind::Latest(metric) => match self.samples(*metric).latest() {
                Some(value) => Ok(Value::Double(value)),
                None => Err(insufficient(expr.at, *metric, 100.0, 0.0)),
            },
            ExprKind::Sample { metric, method, arguments } => {
                self.sample(expr.at, (*metric, *method), arguments)
            }
            ExprKind::Member(of, field) => match self.value(of)? {
                Value::Timestamp(at) => Ok(Value::Double(at.field(*field) as f64)),
                _ => fail(expr.at, "Only a timestamp has members"),
            },
            ExprKind::Call(function, arguments) => self.call(expr.at, *function, arguments),
            ExprKind::Unary(operator, of) => {
                let of = self.value(of)?;
                operate::unary(*operator, &of).map_or_else(|message| fail(expr.at, message), Ok)
            }
            ExprKind::Binary(operator, left, right) => self.binary(expr.at, *operator, left, right),
            ExprKind::Conditional { condition, yes, no } => {
                if self.truth(condition)? {
                    self.value(yes)
                } else {
                    self.value(no)
                }
            }
        }
    }

    fn truth(&mut self, expr: &'f Expr) -> Result<bool, Ended> {
        match self.value(expr)? {
            Value::Double(double) => Ok(double != 0.0),
            _ => fail(expr.at, "Only a double can be tested"),
        }
    }

    fn binary(
        &mut self,
        at: Position,
        operator: BinaryOperator,
        left: &'f Expr,
        right: &'f Expr,
    ) -> Result<Value, Ended> {
        let truth = |truth: bool| Value::Double(f64::from(u8::from(truth)));
        match operator {
            BinaryOperator::And => Ok(truth(self.truth(left)? && self.truth(right)?)),
            BinaryOperator::Or => Ok(truth(self.truth(left)? || self.truth(right)?)),
            _ => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                operate::binary(operator, &left, &right).map_or_else(|message| fail(at, message), Ok)
            }
        }
    }

    fn values(&mut self, exprs: &'f [Expr]) -> Result<Vec<Value>, Ended> {
        exprs.iter().map(|expr| self.value(expr)).collect()
    }

    fn samples(&self, metric: Metric) -> Samples<'_> {
        Samples { history: self.world.history, metric, now: self.world.now }
    }

    fn sample(
        &mut self,
        at: Position,
        (metric, method): (Metric, Method),
        arguments: &'f [Expr],
    ) -> Result<Value, Ended> {
        let arguments = self.values(arguments)?;
        let called = self.samples(metric).call(method, &arguments);
        called.map_err(|short| insufficient(at, metric, short.wanted, short.received))
    }

    fn call(&mut self, at: Position, function: Function, arguments: &'f [Expr]) -> Result<Value, Ended> {
        let arguments = self.values(arguments)?;
        match (function, &arguments[..]) {
            (Function::Stop, _) => Err(Ended::Stopped),
            (Function::Rand, _) => {
                let (drawn, state) = function::random(self.random);
                self.random = state;
                Ok(Value::Double(drawn))
            }
            (Function::Time, []) => Ok(Value::Timestamp(self.world.now)),
            (Function::Time, [Value::Text(text)]) if text.is_empty() => Ok(Value::Timestamp(self.world.now)),
            (Function::Time, [Value::Text(text)]) => match Timestamp::parse(text) {
                Some(at) => Ok(Value::Timestamp(at)),
                None => fail(at, format!("\"{text}\" is no W3C-DTF or RFC 1123 time")),
            },
            (Function::Percentile, [Value::Vector(list), Value::Double(percent)]) => {
                let found = function::percentile(list, *percent);
                found
                    .map_or_else(|| fail(at, no_percentile(list, *percent)), |found| Ok(Value::Double(found)))
            }
            (Function::Val, [Value::Vector(list), Value::Double(index)]) => {
                let found = function::element(list, *index);
                let missing = || fail(at, format!("Index {index} is outside a vector of {}", list.len()));
                found.map_or_else(missing, |found| Ok(Value::Double(found)))
            }
            (Function::Lg | Function::Ln | Function::Log, [Value::Double(x)])
            | (Function::Ceil | Function::Floor | Function::Round, [Value::Double(x)]) => {
                Ok(Value::Double(function::of_double(function, *x)))
            }
            _ => of_list(at, function, &arguments),
        }
    }
}

fn of_list(at: Position, function: Function, arguments: &[Value]) -> Result<Value, Ended> {
    let mut list = Vec::new();
    for argument in arguments {
        match argument {
            Value::Double(double) => list.push(*double),
            Value::Vector(elements) => list.extend_from_slice(elements),
            _ => return fail(at, format!("{} takes doubles and doubleVecs", function.name())),
        }
        if list.len() > VECTOR_MAX {
            return fail(at, format!("A vector has more than {VECTOR_MAX} elements"));
        }
    }
    match function {
        Function::Vec => Ok(Value::Vector(list)),
        Function::Lg | Function::Ln | Function::Log => {
            Ok(Value::Vector(list.into_iter().map(|x| function::of_double(function, x)).collect()))
        }
        _ => match function::of_list(function, &list) {
            Some(double) => Ok(Value::Double(double)),
            None => fail(at, format!("{} of an empty vector", function.name())),
        },
    }
}

/// The number of nodes that a value means as a target.
fn nodes(value: &Value, to: &Variable, at: Position) -> Result<f64, Ended> {
    let nodes = match value {
        Value::Double(double) => *double,
        // Not documented; see `Undocumented::VectorAsTarget`.
        Value::Vector(elements) => match elements.last() {
            Some(newest) => *newest,
            None => return fail(at, format!("An empty vector is assigned to {}", to.name())),
        },
        _ => return fail(at, format!("{} takes a double", to.name())),
    };
    if nodes.is_finite() { Ok(nodes) } else { fail(at, format!("{nodes} is assigned to {}", to.name())) }
}

fn no_percentile(list: &[f64], percent: f64) -> String {
    if list.is_empty() {
        "percentile of an empty vector".to_owned()
    } else {
        format!("A percentile must be from 0 to 100, not {percent}")
    }
}

fn insufficient(at: Position, metric: Metric, wanted: f64, received: f64) -> Ended {
    Ended::Failed(Box::new(RunError::insufficient(at, metric, wanted, received)))
}
