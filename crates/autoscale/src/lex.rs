//! From text to tokens with positions. `//` comments and white space separate tokens.

use crate::tree::Position;
use crate::{Error, ErrorKind};

/// A token and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub at: Position,
    pub kind: TokenKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    Number(f64),
    Text(String),
    /// A word, with its `$` if it has one.
    Name(String),
    /// An operator or a separator.
    Symbol(&'static str),
    /// After the last token.
    End,
}

/// What operators and separators there are; the longer ones first.
const SYMBOLS: [&str; 21] = [
    "<=", ">=", "==", "!=", "&&", "||", "+", "-", "*", "/", "!", "<", ">", "=", "?", ":", "(", ")", ",", ".",
    ";",
];

/// Cuts a text into tokens; the last one is [`TokenKind::End`].
///
/// # Errors
/// At a character that begins no token, a string without its end, a number too large.
pub(crate) fn lex(text: &str) -> Result<Vec<Token>, Error> {
    let mut lexer = Lexer { rest: text, at: Position { line: 1, column: 1 } };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_space();
        let at = lexer.at;
        let kind = lexer.token()?;
        let ended = kind == TokenKind::End;
        tokens.push(Token { at, kind });
        if ended {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
    at: Position,
}

impl<'a> Lexer<'a> {
    fn skip_space(&mut self) {
        loop {
            let comment = self.rest.starts_with("//");
            let in_gap = |c: char| if comment { c != '\n' } else { c.is_whitespace() };
            if self.take_while(in_gap).is_empty() {
                return;
            }
        }
    }

    fn token(&mut self) -> Result<TokenKind, Error> {
        let at = self.at;
        let Some(first) = self.rest.chars().next() else { return Ok(TokenKind::End) };
        if first.is_ascii_digit() {
            return self.number();
        }
        if first == '"' {
            return self.text();
        }
        if first == '$' || first == '_' || first.is_ascii_alphabetic() {
            let word = self.word();
            return if word == "$" { Err(unexpected(at, "$")) } else { Ok(TokenKind::Name(word)) };
        }
        let symbol = SYMBOLS.into_iter().find(|symbol| self.rest.starts_with(symbol));
        let Some(symbol) = symbol else { return Err(unexpected(at, &first.to_string())) };
        self.advance(symbol.len());
        Ok(TokenKind::Symbol(symbol))
    }

    /// Digits, and a fraction where a digit follows the point. No exponents: none is documented.
    fn number(&mut self) -> Result<TokenKind, Error> {
        let at = self.at;
        let mut digits = self.take_while(|c| c.is_ascii_digit()).to_owned();
        let mut next = self.rest.chars();
        if next.next() == Some('.') && next.next().is_some_and(|c| c.is_ascii_digit()) {
            self.advance(1);
            digits.push('.');
            digits.push_str(self.take_while(|c| c.is_ascii_digit()));
        }
        let number = digits.parse().unwrap_or(f64::INFINITY);
        if number.is_finite() {
            Ok(TokenKind::Number(number))
        } else {
            Err(mistake(at, "The number is too large".to_owned()))
        }
    }

    /// A string has no escapes and ends on its line.
    fn text(&mut self) -> Result<TokenKind, Error> {
        let at = self.at;
        self.advance(1);
        let text = self.take_while(|c| c != '"' && c != '\n').to_owned();
        if !self.rest.starts_with('"') {
            return Err(mistake(at, "The string has no closing quote".to_owned()));
        }
        self.advance(1);
        Ok(TokenKind::Text(text))
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        if self.rest.starts_with('$') {
            self.advance(1);
            word.push('$');
        }
        word.push_str(self.take_while(|c| c == '_' || c.is_ascii_alphanumeric()));
        word
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let length = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        self.advance(length)
    }

    /// Goes on by that many bytes, counting lines and characters.
    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        for c in taken.chars() {
            if c == '\n' {
                self.at = Position { line: self.at.line + 1, column: 1 };
            } else {
                self.at.column += 1;
            }
        }
        self.rest = rest;
        taken
    }
}

fn unexpected(at: Position, what: &str) -> Error {
    mistake(at, format!("Unexpected character '{}'", what.escape_debug()))
}

fn mistake(at: Position, message: String) -> Error {
    Error::new(at, ErrorKind::Syntax, message)
}
