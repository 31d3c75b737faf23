//! Expressions: precedence, types, and what among them is not documented.

use super::{DEPTH_MAX, Parser, constant, unknown};
use crate::function::Function;
use crate::lex::TokenKind;
use crate::sample::Method;
use crate::time::{Field, Unit};
use crate::tree::{Expr, ExprKind, Position, Variable};
use crate::types::{self, BinaryOperator, Type, UnaryOperator};
use crate::undocumented::Undocumented;
use crate::{Error, ErrorKind, Metric, Timestamp};

/// An expression while it is read.
struct Operand {
    expr: Expr,
    /// Whether parentheses stand around it.
    grouped: bool,
    /// Expressions from here down to the lowest leaf.
    height: usize,
}

impl Operand {
    fn leaf(kind: ExprKind, ty: Type, at: Position) -> Operand {
        Operand { expr: Expr { kind, ty, at }, grouped: false, height: 1 }
    }

    /// Whether it is an operation without parentheses that `is` says yes to.
    fn is_bare(&self, is: impl Fn(BinaryOperator) -> bool) -> bool {
        !self.grouped && matches!(&self.expr.kind, ExprKind::Binary(operator, _, _) if is(*operator))
    }

    fn is_bare_conditional(&self) -> bool {
        !self.grouped && matches!(self.expr.kind, ExprKind::Conditional { .. })
    }
}

impl Parser {
    pub(super) fn expression(&mut self) -> Result<Expr, Error> {
        Ok(self.conditional()?.expr)
    }

    /// An expression above others: checked against the bound on nesting.
    fn above(
        &self,
        kind: ExprKind,
        ty: Type,
        at: Position,
        heights: impl IntoIterator<Item = usize>,
    ) -> Result<Operand, Error> {
        let height = 1 + heights.into_iter().max().unwrap_or(0);
        if height > DEPTH_MAX {
            return Err(too_deep(at));
        }
        Ok(Operand { expr: Expr { kind, ty, at }, grouped: false, height })
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Parser) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == DEPTH_MAX {
            return Err(too_deep(self.at()));
        }
        self.depth += 1;
        let done = read(self);
        self.depth -= 1;
        done
    }

    fn conditional(&mut self) -> Result<Operand, Error> {
        let condition = self.binary(1)?;
        let at = self.at();
        if !self.takes("?") {
            return Ok(condition);
        }
        if condition.expr.ty != Type::Double {
            let message = format!("A condition must be a double, not a {}", condition.expr.ty);
            return Err(Error::new(condition.expr.at, ErrorKind::Type, message));
        }
        let yes = self.deeper(Parser::conditional)?;
        self.expect(":")?;
        let no = self.deeper(Parser::conditional)?;
        if yes.is_bare_conditional() || no.is_bare_conditional() {
            self.caution(at, Undocumented::Precedence);
        }
        let ty = match (yes.expr.ty, no.expr.ty) {
            (Type::Never, ty) | (ty, Type::Never) => ty,
            (yes, no) if yes == no => yes,
            (yes, no) => {
                let message = format!("The branches of '?' differ: {yes} and {no}");
                return Err(Error::new(at, ErrorKind::Type, message));
            }
        };
        let heights = [condition.height, yes.height, no.height];
        let [condition, yes, no] = [condition, yes, no].map(|operand| Box::new(operand.expr));
        self.above(ExprKind::Conditional { condition, yes, no }, ty, at, heights)
    }

    /// Operators that bind at least as tightly as `precedence`, all of them to the left.
    fn binary(&mut self, precedence: u8) -> Result<Operand, Error> {
        let mut left = self.unary()?;
        while let Some(operator) = self.operator().filter(|found| found.precedence() >= precedence) {
            let at = self.at();
            self.next += 1;
            let right = self.deeper(|parser| parser.binary(operator.precedence() + 1))?;
            if mixes(operator, &left) || mixes(operator, &right) {
                self.caution(at, Undocumented::Precedence);
            }
            let types = (left.expr.ty, right.expr.ty);
            let Some(ty) = types::binary(types.0, operator, types.1) else {
                let message =
                    format!("Operator '{}' does not apply to {} and {}", operator.symbol(), types.0, types.1);
                return Err(Error::new(at, ErrorKind::Type, message));
            };
            let heights = [left.height, right.height];
            let kind = ExprKind::Binary(operator, Box::new(left.expr), Box::new(right.expr));
            left = self.above(kind, ty, at, heights)?;
        }
        Ok(left)
    }

    fn operator(&self) -> Option<BinaryOperator> {
        let TokenKind::Symbol(symbol) = self.token().kind else { return None };
        BinaryOperator::ALL.into_iter().find(|operator| operator.symbol() == symbol)
    }

    fn unary(&mut self) -> Result<Operand, Error> {
        let at = self.at();
        let Some(operator) = UnaryOperator::ALL.into_iter().find(|operator| self.sees(operator.symbol()))
        else {
            return self.postfix();
        };
        self.next += 1;
        let of = self.deeper(Parser::unary)?;
        let Some(ty) = types::unary(operator, of.expr.ty) else {
            let message = format!("Operator '{}' does not apply to {}", operator.symbol(), of.expr.ty);
            return Err(Error::new(at, ErrorKind::Type, message));
        };
        let height = [of.height];
        self.above(ExprKind::Unary(operator, Box::new(of.expr)), ty, at, height)
    }

    fn postfix(&mut self) -> Result<Operand, Error> {
        let mut operand = self.primary()?;
        while self.takes(".") {
            let at = self.at();
            let name = self.name("a member")?;
            operand = self.member(operand, &name, at)?;
        }
        Ok(operand)
    }

    /// What stands after a point: a method of a metric, or a field of a timestamp.
    fn member(&mut self, of: Operand, name: &str, at: Position) -> Result<Operand, Error> {
        match (&of.expr.kind, of.expr.ty) {
            (ExprKind::Latest(metric), _) if !of.grouped => {
                let metric = *metric;
                let Some(method) = Method::named(name) else {
                    return Err(no_member(name, metric.name(), at));
                };
                self.method(metric, method, of.expr.at)
            }
            (_, Type::Timestamp) => {
                let Some(field) = Field::named(name) else { return Err(no_member(name, "A timestamp", at)) };
                let height = [of.height];
                let place = of.expr.at;
                self.above(ExprKind::Member(Box::new(of.expr), field), Type::Double, place, height)
            }
            (_, ty) => Err(no_member(name, &format!("A {ty}"), at)),
        }
    }

    fn method(&mut self, metric: Metric, method: Method, at: Position) -> Result<Operand, Error> {
        let (arguments, height) = self.arguments()?;
        let types: Vec<Type> = arguments.iter().map(|argument| argument.ty).collect();
        let fits = |overload: &&&[crate::sample::Parameter]| {
            overload.len() == types.len() && overload.iter().zip(&types).all(|(wanted, ty)| wanted.takes(*ty))
        };
        if !method.overloads().iter().any(|overload| fits(&overload)) {
            return Err(no_overload(method.name(), &types, at));
        }
        let guarded = types.len() > 1 && types.last() == Some(&Type::Double);
        if method == Method::GetSample && !guarded {
            self.caution(at, Undocumented::EmptyWindow);
        }
        self.above(ExprKind::Sample { metric, method, arguments }, method.result(), at, [height])
    }

    fn primary(&mut self) -> Result<Operand, Error> {
        let at = self.at();
        if self.takes("(") {
            let inner = self.deeper(Parser::conditional)?;
            self.expect(")")?;
            return Ok(Operand { grouped: true, ..inner });
        }
        let leaf = match &self.token().kind {
            TokenKind::Number(number) => Operand::leaf(ExprKind::Number(*number), Type::Double, at),
            TokenKind::Text(text) => Operand::leaf(ExprKind::Text(text.clone()), Type::Text, at),
            TokenKind::Name(_) => return self.named(at),
            _ => return Err(self.unexpected("an expression")),
        };
        self.next += 1;
        Ok(leaf)
    }

    fn named(&mut self, at: Position) -> Result<Operand, Error> {
        let name = self.name("an expression")?;
        if self.sees("(") {
            let Some(function) = Function::named(&name) else { return Err(unknown(&name, at)) };
            return self.call(function, at);
        }
        if let Some(metric) = Metric::named(&name) {
            return Ok(Operand::leaf(ExprKind::Latest(metric), Type::Double, at));
        }
        if let Some((kind, ty)) = constant(&name) {
            if kind == ExprKind::Unit(Unit::Year) {
                self.caution(at, Undocumented::Year);
            }
            return Ok(Operand::leaf(kind, ty, at));
        }
        let variable = Variable::named(&name);
        let ty = match &variable {
            Variable::Dedicated(_) | Variable::LowPriority(_) => Type::Double,
            Variable::Deallocation => Type::Deallocation,
            Variable::User(name) => *self.scope.get(name).ok_or_else(|| unknown(name, at))?,
        };
        Ok(Operand::leaf(ExprKind::Read(variable), ty, at))
    }

    fn call(&mut self, function: Function, at: Position) -> Result<Operand, Error> {
        let (arguments, height) = self.arguments()?;
        let types: Vec<Type> = arguments.iter().map(|argument| argument.ty).collect();
        let Some(ty) = function.result(&types) else { return Err(no_overload(function.name(), &types, at)) };
        match function {
            Function::Ceil | Function::Floor | Function::Round => self.caution(at, Undocumented::Rounding),
            Function::Stop => self.caution(at, Undocumented::StopInside),
            _ => {}
        }
        if let (Function::Time, [Expr { kind: ExprKind::Text(text), at, .. }]) = (function, &arguments[..])
            && !text.is_empty()
            && Timestamp::parse(text).is_none()
        {
            let message = format!("\"{text}\" is no W3C-DTF or RFC 1123 time");
            return Err(Error::new(*at, ErrorKind::Syntax, message));
        }
        self.above(ExprKind::Call(function, arguments), ty, at, [height])
    }

    /// A list of arguments in parentheses, and the height of the highest.
    fn arguments(&mut self) -> Result<(Vec<Expr>, usize), Error> {
        self.expect("(")?;
        let (mut arguments, mut height) = (Vec::new(), 0);
        if self.takes(")") {
            return Ok((arguments, height));
        }
        loop {
            let argument = self.deeper(Parser::conditional)?;
            height = height.max(argument.height);
            arguments.push(argument.expr);
            if !self.takes(",") {
                self.expect(")")?;
                return Ok((arguments, height));
            }
        }
    }
}

/// Whether an operand without parentheses leaves open how it and the operator bind: `&&` beside
/// `||`, a comparison of a comparison.
fn mixes(operator: BinaryOperator, operand: &Operand) -> bool {
    match operator {
        BinaryOperator::Or => operand.is_bare(|inner| inner == BinaryOperator::And),
        _ if operator.compares() => operand.is_bare(BinaryOperator::compares),
        _ => false,
    }
}

fn too_deep(at: Position) -> Error {
    let message = format!("The expression nests deeper than {DEPTH_MAX} levels");
    Error::new(at, ErrorKind::TooDeep, message)
}

fn no_member(name: &str, of: &str, at: Position) -> Error {
    Error::new(at, ErrorKind::Syntax, format!("{of} has no member {name}"))
}

fn no_overload(name: &str, types: &[Type], at: Position) -> Error {
    let types: Vec<String> = types.iter().map(Type::to_string).collect();
    Error::new(at, ErrorKind::Type, format!("{name} does not take ({})", types.join(", ")))
}
