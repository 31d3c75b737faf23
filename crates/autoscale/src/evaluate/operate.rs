//! The operators on values. Which types may meet is decided before, by the table in `types`.

use std::cmp::Ordering;

use crate::types::{BinaryOperator, UnaryOperator};
use crate::{Interval, Timestamp, Value};

/// Applies an operator to its operand.
///
/// # Errors
/// What is wrong, for the detail of a run error.
pub(super) fn unary(operator: UnaryOperator, of: &Value) -> Result<Value, String> {
    match (operator, of) {
        (UnaryOperator::Minus, Value::Double(x)) => Ok(Value::Double(-x)),
        (UnaryOperator::Not, Value::Double(x)) => Ok(truth(*x == 0.0)),
        (UnaryOperator::Minus, Value::Interval(Interval(ticks))) => {
            Ok(Value::Interval(Interval(ticks.saturating_neg())))
        }
        _ => Err(format!("Operator '{}' does not apply to {}", operator.symbol(), of.ty())),
    }
}

/// Applies an operator to its operands. `&&` and `||` are not here: they may leave one alone.
///
/// # Errors
/// What is wrong, for the detail of a run error.
pub(super) fn binary(operator: BinaryOperator, left: &Value, right: &Value) -> Result<Value, String> {
    use Value::{Double, Interval as Span, Timestamp as Moment, Vector};
    if operator.compares() {
        return compare(operator, left, right);
    }
    match (left, operator, right) {
        (Double(x), _, Double(y)) => Ok(Double(arithmetic(operator, *x, *y))),
        (Vector(x), _, Double(y)) => Ok(Vector(x.iter().map(|x| arithmetic(operator, *x, *y)).collect())),
        (Vector(x), _, Vector(y)) if x.len() == y.len() => {
            Ok(Vector(x.iter().zip(y).map(|(x, y)| arithmetic(operator, *x, *y)).collect()))
        }
        (Vector(x), _, Vector(y)) => {
            Err(format!("Operator '{}' on vectors of {} and {}", operator.symbol(), x.len(), y.len()))
        }
        (Double(x), BinaryOperator::Multiply, Span(y)) => scaled(*y, operator, *x),
        (Span(x), BinaryOperator::Multiply | BinaryOperator::Divide, Double(y)) => scaled(*x, operator, *y),
        (Span(x), BinaryOperator::Add, Span(y)) => Ok(Span(Interval(x.0.saturating_add(y.0)))),
        (Span(x), BinaryOperator::Subtract, Span(y)) => Ok(Span(Interval(x.0.saturating_sub(y.0)))),
        (Span(x), BinaryOperator::Add, Moment(y)) | (Moment(y), BinaryOperator::Add, Span(x)) => {
            Ok(Moment(Timestamp(y.0.saturating_add(x.0))))
        }
        (Moment(x), BinaryOperator::Subtract, Moment(y)) => Ok(Span(Interval(x.0.saturating_sub(y.0)))),
        _ => Err(format!(
            "Operator '{}' does not apply to {} and {}",
            operator.symbol(),
            left.ty(),
            right.ty()
        )),
    }
}

fn arithmetic(operator: BinaryOperator, x: f64, y: f64) -> f64 {
    match operator {
        BinaryOperator::Add => x + y,
        BinaryOperator::Subtract => x - y,
        BinaryOperator::Multiply => x * y,
        _ => x / y,
    }
}

fn scaled(span: Interval, operator: BinaryOperator, by: f64) -> Result<Value, String> {
    let ticks = arithmetic(operator, span.0 as f64, by);
    if ticks.is_finite() {
        Ok(Value::Interval(Interval(ticks as i64)))
    } else {
        Err(format!("A timeinterval would be {ticks}"))
    }
}

fn compare(operator: BinaryOperator, left: &Value, right: &Value) -> Result<Value, String> {
    let order = match (left, right) {
        (Value::Double(x), Value::Double(y)) => x.partial_cmp(y),
        (Value::Text(x), Value::Text(y)) => Some(x.cmp(y)),
        (Value::Timestamp(x), Value::Timestamp(y)) => Some(x.cmp(y)),
        (Value::Interval(x), Value::Interval(y)) => Some(x.cmp(y)),
        _ => return Err(format!("{} and {} cannot be compared", left.ty(), right.ty())),
    };
    Ok(truth(match operator {
        BinaryOperator::Less => order == Some(Ordering::Less),
        BinaryOperator::LessOrEqual => order.is_some_and(Ordering::is_le),
        BinaryOperator::Equal => order == Some(Ordering::Equal),
        BinaryOperator::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        BinaryOperator::Greater => order == Some(Ordering::Greater),
        _ => order != Some(Ordering::Equal),
    }))
}

fn truth(truth: bool) -> Value {
    Value::Double(f64::from(u8::from(truth)))
}
