//! A `multipart/form-data` body (RFC 7578), taken apart while it arrives. The parser knows no I/O;
//! [`Multipart`] feeds it from a request.
//!
//! Memory is flat: what came in is passed on before more is read, and a part's head has a bound. The
//! usual crate for this, multer, has neither (3.1): it reads on for as long as the body has anything
//! ready, and looks for the end of a head in all of it; its one limit is that of the whole body.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::{Body, Request};
use crate::failure::Failure;

/// Head of a part, at most: three headers and a file name.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Longest boundary (RFC 2046).
const BOUNDARY_CHARS_MAX: usize = 70;

/// What comes next in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A part begins.
    Part(Head),
    /// A piece of its content; never empty.
    Data(Bytes),
    /// It ends.
    PartEnd,
    /// No part follows.
    End,
}

/// Who a part is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The field's name.
    pub name: String,
    /// The file's name, where the part is a file.
    pub filename: Option<String>,
}

/// Why a body is not multipart: what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body {0}")]
struct Malformed(&'static str);

/// A multipart body as it arrives.
pub struct Multipart<'a> {
    body: &'a mut Body,
    parser: Parser,
}

impl<'a> Multipart<'a> {
    /// The body of this request.
    ///
    /// # Errors
    /// 400 when its `Content-Type` is another.
    pub fn of(request: &'a mut Request) -> Result<Multipart<'a>, Failure> {
        let boundary = request.header("content-type").and_then(boundary).ok_or_else(|| {
            let message = "send multipart/form-data with a boundary in `Content-Type`";
            Failure::invalid("Content-Type", "invalid_content_type", message)
        })?;
        Ok(Multipart { parser: Parser::new(&boundary), body: &mut request.body })
    }

    /// What comes next; [`Event::End`] once, at the end.
    ///
    /// # Errors
    /// 400 when the body breaks off or is not multipart.
    pub async fn next(&mut self) -> Result<Event, Failure> {
        loop {
            if let Some(event) = self.parser.take().map_err(wrong)? {
                return Ok(event);
            }
            match self.body.next().await {
                Some(Ok(bytes)) => self.parser.push(&bytes),
                Some(Err(_)) | None => return Err(super::broken_off()),
            }
        }
    }

    /// The rest of the part that has begun, as text.
    ///
    /// # Errors
    /// 400 above `most` bytes, and where it is not UTF-8.
    pub async fn text(&mut self, name: &str, most: usize) -> Result<String, Failure> {
        let mut text = Vec::new();
        while let Event::Data(piece) = self.next().await? {
            text.extend_from_slice(&piece);
            if text.len() > most {
                let message = format!("`{name}` has more than {most} bytes");
                return Err(Failure::invalid("body", "invalid_value", message).of(name.to_owned()));
            }
        }
        String::from_utf8(text).map_err(|_| {
            Failure::invalid("body", "invalid_value", format!("`{name}` is not UTF-8")).of(name.to_owned())
        })
    }
}

fn wrong(malformed: Malformed) -> Failure {
    Failure::invalid("body", "invalid_multipart", malformed.to_string())
}

/// The boundary that a `Content-Type` names.
fn boundary(content_type: &str) -> Option<String> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = parameter(rest, "boundary")?;
    let fits = (1..=BOUNDARY_CHARS_MAX).contains(&value.len());
    (fits && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))).then_some(value)
}

/// A parameter of a header, as `; name="value"`: quoted or not.
fn parameter(parameters: &str, wanted: &str) -> Option<String> {
    let mut rest = parameters;
    loop {
        rest = rest.trim_start_matches([';', ' ', '\t']);
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = after;
    }
}

/// The value up to the closing quote, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                escaped @ ('"' | '\\') => value.push(escaped),
                // Windows paths are sent unescaped by some browsers.
                other => value.extend(['\\', other]),
            },
            c => value.push(c),
        }
    }
    None
}

/// Takes bytes in any pieces and tells what they hold.
#[derive(Debug)]
struct Parser {
    /// A line break, two hyphens and the boundary.
    delimiter: Vec<u8>,
    held: BytesMut,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the first delimiter.
    Preamble,
    /// Right after a delimiter.
    Between,
    Head,
    Content,
    Over,
}

impl Parser {
    /// A parser for this boundary.
    fn new(boundary: &str) -> Parser {
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        // The first delimiter may begin the body; with a line break before it, it is like the others.
        Parser { delimiter, held: BytesMut::from(&b"\r\n"[..]), place: Place::Preamble }
    }

    /// Adds what arrived.
    fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// What comes next; none: more bytes are needed, or the body is over.
    ///
    /// # Errors
    /// [`Malformed`].
    fn take(&mut self) -> Result<Option<Event>, Malformed> {
        if self.place == Place::Preamble && !self.skip_preamble() {
            return Ok(None);
        }
        match self.place {
            Place::Preamble | Place::Between => self.between(),
            Place::Head => self.head(),
            Place::Content => Ok(self.content()),
            Place::Over => {
                self.held.clear();
                Ok(None)
            }
        }
    }

    /// Whether the first delimiter was found.
    fn skip_preamble(&mut self) -> bool {
        match self.scan() {
            Scan::Delimiter(at) => {
                let _ = self.held.split_to(at + self.delimiter.len());
                self.place = Place::Between;
                true
            }
            Scan::Content(bytes) => {
                let _ = self.held.split_to(bytes);
                false
            }
        }
    }

    fn between(&mut self) -> Result<Option<Event>, Malformed> {
        let padding = self.held.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let _ = self.held.split_to(padding);
        let Some(two) = self.held.get(..2) else { return Ok(None) };
        if two == b"--" {
            self.place = Place::Over;
            return Ok(Some(Event::End));
        }
        if two != b"\r\n" {
            return Err(Malformed("has a boundary that neither a line break nor `--` follows"));
        }
        let _ = self.held.split_to(2);
        self.place = Place::Head;
        self.head()
    }

    fn head(&mut self) -> Result<Option<Event>, Malformed> {
        const END: &[u8] = b"\r\n\r\n";
        let looked_at = &self.held[..self.held.len().min(HEAD_BYTES_MAX)];
        let Some(end) = looked_at.windows(END.len()).position(|window| window == END) else {
            let too_long = self.held.len() >= HEAD_BYTES_MAX;
            return if too_long { Err(Malformed("has a part whose head is too long")) } else { Ok(None) };
        };
        let head = self.held.split_to(end + END.len());
        self.place = Place::Content;
        read_head(&head[..end]).map(|head| Some(Event::Part(head)))
    }

    fn content(&mut self) -> Option<Event> {
        match self.scan() {
            Scan::Delimiter(0) => {
                let _ = self.held.split_to(self.delimiter.len());
                self.place = Place::Between;
                Some(Event::PartEnd)
            }
            Scan::Delimiter(bytes) | Scan::Content(bytes) if bytes > 0 => {
                Some(Event::Data(self.held.split_to(bytes).freeze()))
            }
            _ => None,
        }
    }

    /// Looks for the next delimiter. Its CR stands nowhere else in it, so every CR is looked at once.
    fn scan(&self) -> Scan {
        let mut from = 0;
        while let Some(cr) = self.held[from..].iter().position(|byte| *byte == b'\r') {
            let at = from + cr;
            let rest = &self.held[at..];
            if rest.starts_with(&self.delimiter) {
                return Scan::Delimiter(at);
            }
            if self.delimiter.starts_with(rest) {
                return Scan::Content(at);
            }
            from = at + 1;
        }
        Scan::Content(self.held.len())
    }
}

enum Scan {
    /// The delimiter begins after this many bytes of content.
    Delimiter(usize),
    /// This many bytes are content; a delimiter may begin after them.
    Content(usize),
}

fn read_head(head: &[u8]) -> Result<Head, Malformed> {
    let head = std::str::from_utf8(head).map_err(|_| Malformed("has a part whose head is not UTF-8"))?;
    let disposition = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then(|| value.trim())
    });
    let (kind, parameters) = disposition
        .and_then(|value| value.split_once(';'))
        .ok_or(Malformed("has a part without `Content-Disposition: form-data; name=…`"))?;
    let name = parameter(parameters, "name").filter(|_| kind.trim().eq_ignore_ascii_case("form-data"));
    let name = name.ok_or(Malformed("has a part without a name"))?;
    Ok(Head { name, filename: parameter(parameters, "filename") })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The events of a body that arrives in pieces of these lengths; contents joined.
    fn events(body: &[u8], cuts: &[usize]) -> Result<Vec<Event>, Malformed> {
        let mut parser = Parser::new("XX");
        let mut events: Vec<Event> = Vec::new();
        let mut rest = body;
        let mut cuts = cuts.iter().copied().chain(std::iter::repeat(usize::MAX));
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(cuts.next().unwrap().clamp(1, rest.len()));
            rest = after;
            parser.push(piece);
            while let Some(event) = parser.take()? {
                match (events.last_mut(), event) {
                    (Some(Event::Data(whole)), Event::Data(more)) => {
                        *whole = [whole.as_ref(), &more].concat().into();
                    }
                    (_, event) => events.push(event),
                }
            }
        }
        Ok(events)
    }

    fn head(name: &str, filename: Option<&str>) -> Event {
        Event::Part(Head { name: name.to_owned(), filename: filename.map(str::to_owned) })
    }

    fn data(text: &str) -> Event {
        Event::Data(Bytes::copy_from_slice(text.as_bytes()))
    }

    const BODY: &str = "preamble\r\n--XX\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--XX \r\n\
        content-type: text/plain\r\ncontent-disposition: form-data; filename=\"a \\\"b\\\".jsonl\"; name=file\r\n\r\n\
        \r\n--X\r\r\n--YX\r\n\n\r\n--XX\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--XX--\r\nepilogue\r\n--XX\r\n";

    fn wanted() -> Vec<Event> {
        vec![
            head("purpose", None),
            data("batch"),
            Event::PartEnd,
            head("file", Some("a \"b\".jsonl")),
            data("\r\n--X\r\r\n--YX\r\n\n"),
            Event::PartEnd,
            head("empty", None),
            Event::PartEnd,
            Event::End,
        ]
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_parts(cuts in prop::collection::vec(1_usize..40, 0..200)) {
            prop_assert_eq!(events(BODY.as_bytes(), &cuts).unwrap(), wanted());
        }

        #[test]
        fn no_bytes_break_the_parser(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut whole = b"--XX\r\n".to_vec();
            whole.extend(body);
            let _ = events(&whole, &[]);
        }
    }

    #[test]
    fn what_is_not_multipart_is_refused() {
        let long = format!("--XX\r\nA: {}", "x".repeat(HEAD_BYTES_MAX));
        for (body, wanted) in [
            ("--XXY\r\n", "neither a line break"),
            ("--XX\r\n\r\n\r\nx", "without `Content-Disposition"),
            ("--XX\r\nContent-Disposition: form-data; filename=\"x\"\r\n\r\n", "without a name"),
            ("--XX\r\nContent-Disposition: attachment; name=\"x\"\r\n\r\n", "without a name"),
            (long.as_str(), "too long"),
        ] {
            let error = events(body.as_bytes(), &[]).unwrap_err().to_string();
            assert!(error.contains(wanted), "{body:.80}: {error}");
        }
    }

    #[test]
    fn boundaries_are_read_from_the_content_type() {
        let cases = [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("Multipart/Form-Data; charset=utf-8; boundary=\"a b\"", Some("a b")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/mixed; boundary=abc", None),
            ("application/json; boundary=abc", None),
        ];
        for (content_type, wanted) in cases {
            assert_eq!(boundary(content_type).as_deref(), wanted, "{content_type}");
        }
    }
}
