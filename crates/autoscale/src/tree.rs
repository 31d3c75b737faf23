//! A formula as a typed tree with positions: what a linter, an explainer or a printer walks.

use crate::function::Function;
use crate::sample::Method;
use crate::time::{Field, Unit};
use crate::types::{BinaryOperator, Type, UnaryOperator};
use crate::undocumented::Caution;
use crate::{Deallocation, Metric};

/// A formula that the service would accept.
#[derive(Clone, Debug, PartialEq)]
pub struct Formula {
    pub(crate) statements: Vec<Statement>,
    pub(crate) cautions: Vec<Caution>,
}

impl Formula {
    /// The statements, in order; at least one.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// Where the formula relies on what the service does not document, in the order of the text.
    pub fn undocumented(&self) -> &[Caution] {
        &self.cautions
    }

    /// Shows every expression to `visit`, in the order of the text, parents first.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        for statement in &self.statements {
            if let Action::Assign { value, .. } = &statement.action {
                value.walk(visit);
            }
        }
    }
}

/// A place in a formula's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The character in the line, from 1.
    pub column: u32,
}

/// One statement of a formula.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Where it begins.
    pub at: Position,
    /// What it does.
    pub action: Action,
}

/// What a statement does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `name = expression`
    Assign {
        /// What is assigned.
        to: Variable,
        /// The expression.
        value: Expr,
    },
    /// `stop()` as a statement of its own.
    Stop,
}

/// A variable that a formula may assign.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variable {
    /// `$TargetDedicatedNodes` or its alias.
    Dedicated(Spelling),
    /// `$TargetLowPriorityNodes` or its alias.
    LowPriority(Spelling),
    /// `$NodeDeallocationOption`
    Deallocation,
    /// A variable of the formula's own, with or without `$`; `x` and `$x` are two variables.
    User(String),
}

/// How a target is spelled. Where a formula sets both, the full name wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Spelling {
    /// With `Nodes` at its end.
    Full,
    /// Without.
    Alias,
}

impl Variable {
    /// The variables of the service that a formula may assign.
    pub const SERVICE: [Variable; 5] = [
        Variable::Dedicated(Spelling::Full),
        Variable::Dedicated(Spelling::Alias),
        Variable::LowPriority(Spelling::Full),
        Variable::LowPriority(Spelling::Alias),
        Variable::Deallocation,
    ];

    /// The name as the formula writes it.
    pub fn name(&self) -> &str {
        match self {
            Variable::Dedicated(Spelling::Full) => "$TargetDedicatedNodes",
            Variable::Dedicated(Spelling::Alias) => "$TargetDedicated",
            Variable::LowPriority(Spelling::Full) => "$TargetLowPriorityNodes",
            Variable::LowPriority(Spelling::Alias) => "$TargetLowPriority",
            Variable::Deallocation => "$NodeDeallocationOption",
            Variable::User(name) => name,
        }
    }

    /// The variable of that name; a name that the service does not know is the formula's own.
    pub fn named(name: &str) -> Variable {
        let service = Variable::SERVICE.into_iter().find(|variable| variable.name() == name);
        service.unwrap_or_else(|| Variable::User(name.to_owned()))
    }
}

/// An expression with its type and place.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// The type of its value.
    pub ty: Type,
    /// Where it begins; of a binary operation, where the operator stands.
    pub at: Position,
}

/// The kinds of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A number.
    Number(f64),
    /// A string.
    Text(String),
    /// A `TimeInterval_…` constant.
    Unit(Unit),
    /// A word of `$NodeDeallocationOption`.
    Deallocation(Deallocation),
    /// The value of a variable.
    Read(Variable),
    /// A service variable used as a number: its newest sample. An official example does it.
    Latest(Metric),
    /// A method of a service variable.
    Sample {
        /// The variable.
        metric: Metric,
        /// The method.
        method: Method,
        /// What is passed.
        arguments: Vec<Expr>,
    },
    /// A part of a timestamp.
    Member(Box<Expr>, Field),
    /// A function call.
    Call(Function, Vec<Expr>),
    /// An operator before its operand.
    Unary(UnaryOperator, Box<Expr>),
    /// An operator between its operands.
    Binary(BinaryOperator, Box<Expr>, Box<Expr>),
    /// `condition ? yes : no`; the branch that is not taken is not evaluated.
    Conditional {
        /// The double that is tested; all but 0 is true.
        condition: Box<Expr>,
        /// The value where it is true.
        yes: Box<Expr>,
        /// The value where it is 0.
        no: Box<Expr>,
    },
}

impl Expr {
    /// The expressions right under this one, in the order of the text.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            ExprKind::Number(_)
            | ExprKind::Text(_)
            | ExprKind::Unit(_)
            | ExprKind::Deallocation(_)
            | ExprKind::Read(_)
            | ExprKind::Latest(_) => Vec::new(),
            ExprKind::Sample { arguments, .. } | ExprKind::Call(_, arguments) => arguments.iter().collect(),
            ExprKind::Member(of, _) | ExprKind::Unary(_, of) => vec![of],
            ExprKind::Binary(_, left, right) => vec![left, right],
            ExprKind::Conditional { condition, yes, no } => vec![condition, yes, no],
        }
    }

    /// Shows this expression and every one below it to `visit`, parents first.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        visit(self);
        for child in self.children() {
            child.walk(visit);
        }
    }
}
