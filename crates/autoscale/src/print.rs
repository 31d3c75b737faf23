//! A tree as text that reads back to the same tree: one statement a line, parentheses around
//! every operation inside another, no comments.

use std::fmt;

use crate::tree::{Action, Expr, ExprKind, Formula, Statement};

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.statements().iter().try_for_each(|statement| writeln!(f, "{statement};"))
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::Assign { to, value } => write!(f, "{} = {value}", to.name()),
            Action::Stop => f.write_str("stop()"),
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(number) => number.fmt(f),
            ExprKind::Text(text) => write!(f, "\"{text}\""),
            ExprKind::Unit(unit) => f.write_str(unit.name()),
            ExprKind::Deallocation(option) => f.write_str(option.as_str()),
            ExprKind::Read(variable) => f.write_str(variable.name()),
            ExprKind::Latest(metric) => metric.fmt(f),
            ExprKind::Sample { metric, method, arguments } => {
                write!(f, "{metric}.{}", method.name())?;
                list(f, arguments)
            }
            ExprKind::Member(of, field) => write!(f, "{}.{}", Nested(of), field.name()),
            ExprKind::Call(function, arguments) => {
                f.write_str(function.name())?;
                list(f, arguments)
            }
            ExprKind::Unary(operator, of) => write!(f, "{}{}", operator.symbol(), Nested(of)),
            ExprKind::Binary(operator, left, right) => {
                write!(f, "{} {} {}", Nested(left), operator.symbol(), Nested(right))
            }
            ExprKind::Conditional { condition, yes, no } => {
                write!(f, "{} ? {} : {}", Nested(condition), Nested(yes), Nested(no))
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, arguments: &[Expr]) -> fmt::Result {
    f.write_str("(")?;
    for (at, argument) in arguments.iter().enumerate() {
        write!(f, "{}{argument}", if at > 0 { ", " } else { "" })?;
    }
    f.write_str(")")
}

/// An expression inside another.
struct Nested<'a>(&'a Expr);

impl fmt::Display for Nested<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind {
            ExprKind::Unary(..) | ExprKind::Binary(..) | ExprKind::Conditional { .. } => {
                write!(f, "({})", self.0)
            }
            _ => self.0.fmt(f),
        }
    }
}
