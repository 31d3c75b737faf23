//! The types, and which operators take which of them, as data: the service's table of operations.

use std::fmt;

/// The types of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// A double; truth is 1 or 0.
    Double,
    /// A list of doubles.
    DoubleVec,
    /// A string.
    Text,
    /// A moment.
    Timestamp,
    /// A span of time.
    TimeInterval,
    /// A word of `$NodeDeallocationOption`.
    Deallocation,
    /// What `stop()` gives: no value, wherever any may stand.
    Never,
}

impl Type {
    /// The types that values have.
    pub const ALL: [Type; 6] =
        [Type::Double, Type::DoubleVec, Type::Text, Type::Timestamp, Type::TimeInterval, Type::Deallocation];
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Double => "double",
            Type::DoubleVec => "doubleVec",
            Type::Text => "string",
            Type::Timestamp => "timestamp",
            Type::TimeInterval => "timeinterval",
            Type::Deallocation => "deallocation option",
            Type::Never => "nothing",
        })
    }
}

/// Operators before an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOperator {
    /// `-`
    Minus,
    /// `!`
    Not,
}

impl UnaryOperator {
    /// Every operator.
    pub const ALL: [UnaryOperator; 2] = [UnaryOperator::Minus, UnaryOperator::Not];

    /// How it is written.
    pub const fn symbol(self) -> &'static str {
        match self {
            UnaryOperator::Minus => "-",
            UnaryOperator::Not => "!",
        }
    }
}

/// Operators between operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the symbols say it")]
pub enum BinaryOperator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    NotEqual,
    And,
    Or,
}

use BinaryOperator::{
    Add, And, Divide, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Multiply, NotEqual, Or, Subtract,
};

impl BinaryOperator {
    /// Every operator.
    pub const ALL: [BinaryOperator; 12] = [
        Add,
        Subtract,
        Multiply,
        Divide,
        Less,
        LessOrEqual,
        Equal,
        GreaterOrEqual,
        Greater,
        NotEqual,
        And,
        Or,
    ];

    /// How it is written.
    pub const fn symbol(self) -> &'static str {
        match self {
            Add => "+",
            Subtract => "-",
            Multiply => "*",
            Divide => "/",
            Less => "<",
            LessOrEqual => "<=",
            Equal => "==",
            GreaterOrEqual => ">=",
            Greater => ">",
            NotEqual => "!=",
            And => "&&",
            Or => "||",
        }
    }

    /// How tightly it binds. Not documented; the official examples need this order among
    /// arithmetic, comparison, `&&` and `?:`, and the rest is that of C.
    pub const fn precedence(self) -> u8 {
        match self {
            Or => 1,
            And => 2,
            Less | LessOrEqual | Equal | GreaterOrEqual | Greater | NotEqual => 3,
            Add | Subtract => 4,
            Multiply | Divide => 5,
        }
    }

    /// Whether it compares.
    pub const fn compares(self) -> bool {
        self.precedence() == 3
    }
}

/// A row of the service's table of operations.
pub struct Operation {
    /// The left operand.
    pub left: Type,
    /// What may stand between.
    pub operators: &'static [BinaryOperator],
    /// The right operand.
    pub right: Type,
    /// What it gives.
    pub result: Type,
}

const fn row(left: Type, operators: &'static [BinaryOperator], right: Type, result: Type) -> Operation {
    Operation { left, operators, right, result }
}

const ARITHMETIC: &[BinaryOperator] = &[Add, Subtract, Multiply, Divide];
const COMPARISON: &[BinaryOperator] = &[Less, LessOrEqual, Equal, GreaterOrEqual, Greater, NotEqual];

/// Which operators stand between which types. What is not here, the service does not take: a
/// double before a doubleVec, a timeinterval taken from a timestamp, a comparison of vectors.
pub const OPERATIONS: &[Operation] = &[
    row(Type::Double, ARITHMETIC, Type::Double, Type::Double),
    row(Type::Double, &[Multiply], Type::TimeInterval, Type::TimeInterval),
    row(Type::DoubleVec, ARITHMETIC, Type::Double, Type::DoubleVec),
    row(Type::DoubleVec, ARITHMETIC, Type::DoubleVec, Type::DoubleVec),
    row(Type::TimeInterval, &[Multiply, Divide], Type::Double, Type::TimeInterval),
    row(Type::TimeInterval, &[Add, Subtract], Type::TimeInterval, Type::TimeInterval),
    row(Type::TimeInterval, &[Add], Type::Timestamp, Type::Timestamp),
    row(Type::Timestamp, &[Add], Type::TimeInterval, Type::Timestamp),
    row(Type::Timestamp, &[Subtract], Type::Timestamp, Type::TimeInterval),
    row(Type::Double, COMPARISON, Type::Double, Type::Double),
    row(Type::Text, COMPARISON, Type::Text, Type::Double),
    row(Type::Timestamp, COMPARISON, Type::Timestamp, Type::Double),
    row(Type::TimeInterval, COMPARISON, Type::TimeInterval, Type::Double),
    row(Type::Double, &[And, Or], Type::Double, Type::Double),
];

/// What a binary operation gives, or `None` where the service's table has no such row.
pub fn binary(left: Type, operator: BinaryOperator, right: Type) -> Option<Type> {
    let fits = |row: &&Operation| row.left == left && row.right == right && row.operators.contains(&operator);
    OPERATIONS.iter().find(fits).map(|row| row.result)
}

/// What a unary operation gives, or `None` where the service's table has no such row.
pub fn unary(operator: UnaryOperator, operand: Type) -> Option<Type> {
    match (operator, operand) {
        (UnaryOperator::Minus | UnaryOperator::Not, Type::Double) => Some(Type::Double),
        (UnaryOperator::Minus, Type::TimeInterval) => Some(Type::TimeInterval),
        _ => None,
    }
}
