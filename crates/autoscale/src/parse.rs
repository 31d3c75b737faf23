//! From text to a typed tree: statements, expressions by precedence climbing, types as they are
//! read. A variable is known from the statement after its first assignment on.

mod expr;

use std::collections::BTreeMap;

use crate::function::Function;
use crate::lex::{Token, TokenKind, lex};
use crate::tree::{Action, Expr, ExprKind, Formula, Position, Statement, Variable};
use crate::types::Type;
use crate::undocumented::{Caution, Undocumented};
use crate::{Deallocation, Error, ErrorKind, Metric};

/// Characters that the service takes.
pub const CHARACTERS_MAX: usize = 8_192;
/// Statements that the service takes.
pub const STATEMENTS_MAX: usize = 100;
/// How deep expressions may nest, in parentheses or by operators in a row. Ours: it bounds the
/// stack of everything that walks a tree.
pub const DEPTH_MAX: usize = 100;

/// Reads a formula.
///
/// # Errors
/// The first mistake, with its line and column.
pub fn parse(text: &str) -> Result<Formula, Error> {
    let start = Position { line: 1, column: 1 };
    if text.chars().count() > CHARACTERS_MAX {
        let message = format!("The formula is longer than {CHARACTERS_MAX} characters");
        return Err(Error::new(start, ErrorKind::TooLong, message));
    }
    let mut parser =
        Parser { tokens: lex(text)?, next: 0, depth: 0, scope: BTreeMap::new(), cautions: Vec::new() };
    let statements = parser.statements()?;
    let mut cautions = parser.cautions;
    cautions.sort_by_key(|caution| caution.at);
    Ok(Formula { statements, cautions })
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    /// The types of the formula's own variables that are assigned so far.
    scope: BTreeMap<String, Type>,
    cautions: Vec<Caution>,
}

impl Parser {
    fn statements(&mut self) -> Result<Vec<Statement>, Error> {
        let mut statements = Vec::new();
        loop {
            let at = self.at();
            if statements.len() == STATEMENTS_MAX && !self.ended() {
                let message = format!("The formula has more than {STATEMENTS_MAX} statements");
                return Err(Error::new(at, ErrorKind::TooManyStatements, message));
            }
            statements.push(Statement { at, action: self.action()? });
            if !self.ended() {
                self.expect(";")?;
            }
            if self.ended() {
                return Ok(statements);
            }
        }
    }

    fn action(&mut self) -> Result<Action, Error> {
        let (at, name) = (self.at(), self.name("a statement")?);
        if name == Function::Stop.name() && self.takes("(") {
            self.expect(")")?;
            return Ok(Action::Stop);
        }
        if !self.sees("=") {
            // The service finds an unknown name first (recorded).
            self.known(&name, at)?;
        }
        self.expect("=")?;
        let to = assignable(name, at)?;
        let value = self.expression()?;
        self.assign(&to, &value)?;
        Ok(Action::Assign { to, value })
    }

    fn known(&self, name: &str, at: Position) -> Result<(), Error> {
        let service = Variable::SERVICE.iter().any(|variable| variable.name() == name);
        let own = self.scope.contains_key(name);
        let function = Function::named(name).is_some();
        if service || own || function || Metric::named(name).is_some() || Deallocation::named(name).is_some()
        {
            return Ok(());
        }
        Err(unknown(name, at))
    }

    /// Checks a value against what it is assigned to, and remembers the variable's type.
    fn assign(&mut self, to: &Variable, value: &Expr) -> Result<(), Error> {
        match (to, value.ty) {
            (Variable::Dedicated(_) | Variable::LowPriority(_), Type::Double | Type::Never)
            | (Variable::Deallocation, Type::Deallocation | Type::Never) => {}
            (Variable::Dedicated(_) | Variable::LowPriority(_), Type::DoubleVec) => {
                self.caution(value.at, Undocumented::VectorAsTarget);
            }
            (Variable::User(name), ty) => {
                if ty == Type::Deallocation {
                    self.caution(value.at, Undocumented::OptionInVariable);
                }
                let before = self.scope.insert(name.clone(), ty);
                if before.is_some_and(|before| before != ty) {
                    self.caution(value.at, Undocumented::Retyped);
                }
            }
            (to, ty) => {
                let message = format!("A {ty} cannot be assigned to {}", to.name());
                return Err(Error::new(value.at, ErrorKind::Type, message));
            }
        }
        Ok(())
    }

    fn caution(&mut self, at: Position, what: Undocumented) {
        self.cautions.push(Caution { at, what });
    }

    fn token(&self) -> &Token {
        // The last token is `End`, and nothing goes past it.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn at(&self) -> Position {
        self.token().at
    }

    fn ended(&self) -> bool {
        self.token().kind == TokenKind::End
    }

    fn sees(&self, symbol: &str) -> bool {
        matches!(self.token().kind, TokenKind::Symbol(seen) if seen == symbol)
    }

    /// Whether the next token is that symbol, which is then behind us.
    fn takes(&mut self, symbol: &str) -> bool {
        let takes = self.sees(symbol);
        self.next += usize::from(takes);
        takes
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Error> {
        if self.takes(symbol) { Ok(()) } else { Err(self.unexpected(&format!("'{symbol}'"))) }
    }

    fn name(&mut self, wanted: &str) -> Result<String, Error> {
        let TokenKind::Name(name) = &self.token().kind else { return Err(self.unexpected(wanted)) };
        let name = name.clone();
        self.next += 1;
        Ok(name)
    }

    fn unexpected(&self, wanted: &str) -> Error {
        let seen = match &self.token().kind {
            TokenKind::End => "the end of the formula".to_owned(),
            TokenKind::Number(number) => format!("'{number}'"),
            TokenKind::Text(text) => format!("\"{text}\""),
            TokenKind::Name(name) => format!("'{name}'"),
            TokenKind::Symbol(symbol) => format!("'{symbol}'"),
        };
        Error::new(self.at(), ErrorKind::Syntax, format!("Expected {wanted} but found {seen}"))
    }
}

/// The variable of that name, if a formula may assign it.
fn assignable(name: String, at: Position) -> Result<Variable, Error> {
    if Metric::named(&name).is_some() {
        return Err(Error::new(at, ErrorKind::ReadOnly, format!("Variable {name} is read-only")));
    }
    if Deallocation::named(&name).is_some() || name.starts_with("TimeInterval_") {
        return Err(Error::new(at, ErrorKind::ReadOnly, format!("{name} is a constant")));
    }
    Ok(Variable::named(&name))
}

fn unknown(name: &str, at: Position) -> Error {
    let hint = close_name(name).map_or_else(String::new, |close| format!("; did you mean {close}?"));
    Error::new(at, ErrorKind::UnknownName, format!("Undefined name {name}{hint}"))
}

/// A name of the service's that differs only in its case or its `$`.
fn close_name(name: &str) -> Option<String> {
    let bare = |name: &str| name.trim_start_matches('$').to_ascii_lowercase();
    let service = Variable::SERVICE.iter().map(Variable::name).chain(Metric::ALL.iter().map(|m| m.name()));
    let functions = Function::ALL.iter().map(|function| function.name());
    service.chain(functions).find(|known| bare(known) == bare(name)).map(str::to_owned)
}

/// The literal that a name is, if it is one.
fn constant(name: &str) -> Option<(ExprKind, Type)> {
    let option = Deallocation::named(name).map(|option| (ExprKind::Deallocation(option), Type::Deallocation));
    let unit = || crate::time::Unit::named(name).map(|unit| (ExprKind::Unit(unit), Type::TimeInterval));
    option.or_else(unit)
}
