//! The few XML bodies of the Queue service, written as the service writes them, and a reader that
//! is enough for them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::date;
use super::store::{Message, Page};

/// How every body starts. The service puts a byte order mark before it; Azurite does not, and
/// neither do we, because simple clients stumble over it and none needs it.
const DECLARATION: &str = r#"<?xml version="1.0" encoding="utf-8"?>"#;

/// The answer to Get Service Properties: nothing is logged, measured or shared.
pub const SERVICE_PROPERTIES: &str = concat!(
    r#"<?xml version="1.0" encoding="utf-8"?><StorageServiceProperties>"#,
    "<Logging><Version>1.0</Version><Delete>false</Delete><Read>false</Read><Write>false</Write>",
    "<RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></Logging>",
    "<HourMetrics><Version>1.0</Version><Enabled>false</Enabled>",
    "<RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></HourMetrics>",
    "<MinuteMetrics><Version>1.0</Version><Enabled>false</Enabled>",
    "<RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></MinuteMetrics>",
    "<Cors /></StorageServiceProperties>"
);

/// Which fields of messages an answer shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Put: all but the text and the count.
    Put,
    /// Get: everything.
    Taken,
    /// Peek: nothing that would let one act on the message.
    Peeked,
}

/// The body is not the XML that the operation takes.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// A `QueueMessagesList`.
pub fn messages(messages: &[Message], shown: Shown) -> String {
    let mut body = format!("{DECLARATION}<QueueMessagesList>");
    for message in messages {
        body.push_str("<QueueMessage>");
        element(&mut body, "MessageId", &message.id);
        element(&mut body, "InsertionTime", &date::rfc1123(message.inserted_ms));
        element(&mut body, "ExpirationTime", &date::rfc1123(message.expires_ms));
        if shown != Shown::Peeked {
            element(&mut body, "PopReceipt", &message.pop_receipt);
            element(&mut body, "TimeNextVisible", &date::rfc1123(message.next_visible_ms));
        }
        if shown != Shown::Put {
            element(&mut body, "DequeueCount", &message.dequeue_count.to_string());
            element(&mut body, "MessageText", &message.text);
        }
        body.push_str("</QueueMessage>");
    }
    body + "</QueueMessagesList>"
}

/// What was asked of List Queues; it is repeated in the answer.
pub struct Listing<'a> {
    /// The account's address.
    pub endpoint: &'a str,
    /// Names start with this.
    pub prefix: &'a str,
    /// Where the page starts.
    pub marker: &'a str,
    /// As given, or empty.
    pub max_results: &'a str,
    /// Whether metadata was asked for.
    pub with_metadata: bool,
}

/// An `EnumerationResults` of queues.
pub fn queues(asked: &Listing<'_>, page: &Page) -> String {
    let endpoint = escape(asked.endpoint);
    let mut body = format!(r#"{DECLARATION}<EnumerationResults ServiceEndpoint="{endpoint}">"#);
    for (name, value) in
        [("Prefix", asked.prefix), ("Marker", asked.marker), ("MaxResults", asked.max_results)]
    {
        if !value.is_empty() {
            element(&mut body, name, value);
        }
    }
    body.push_str("<Queues>");
    for (name, metadata) in &page.queues {
        body.push_str("<Queue>");
        element(&mut body, "Name", name);
        if asked.with_metadata {
            body.push_str("<Metadata>");
            metadata.iter().for_each(|(name, value)| element(&mut body, name, value));
            body.push_str("</Metadata>");
        }
        body.push_str("</Queue>");
    }
    body.push_str("</Queues>");
    match &page.next {
        Some(next) => element(&mut body, "NextMarker", next),
        None => body.push_str("<NextMarker />"),
    }
    body + "</EnumerationResults>"
}

/// An `Error`; `details` are further elements, as the service adds them for some codes.
pub fn error(code: &str, message: &str, details: &[(&str, String)]) -> String {
    let mut body = format!("{DECLARATION}<Error>");
    element(&mut body, "Code", code);
    element(&mut body, "Message", message);
    details.iter().for_each(|(name, value)| element(&mut body, name, value));
    body + "</Error>"
}

/// The body of Put and Update Message.
pub fn message_text(text: &str) -> String {
    let mut body = format!("{DECLARATION}<QueueMessage>");
    element(&mut body, "MessageText", text);
    body + "</QueueMessage>"
}

/// For each element of that name, its children that hold only text.
///
/// # Errors
/// [`Malformed`] when the document is not well-formed or holds a character that XML 1.0 forbids.
pub fn records(document: &str, record: &str) -> Result<Vec<HashMap<String, String>>, Malformed> {
    let document = document.strip_prefix('\u{feff}').unwrap_or(document);
    if document.chars().any(forbidden) {
        return Err(Malformed);
    }
    let mut reader = Reader::from_str(document);
    reader.config_mut().expand_empty_elements = true;
    let (mut found, mut open) = (Vec::new(), Vec::<String>::new());
    let mut text = String::new();
    loop {
        match reader.read_event().map_err(|_| Malformed)? {
            Event::Start(start) => {
                let name = String::from_utf8(start.name().as_ref().to_vec()).map_err(|_| Malformed)?;
                if name == record {
                    found.push(HashMap::new());
                }
                open.push(name);
                text.clear();
            }
            Event::Text(part) => text.push_str(&part.xml10_content().map_err(|_| Malformed)?),
            Event::CData(part) => text.push_str(&part.xml10_content().map_err(|_| Malformed)?),
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|_| Malformed)?;
                text.push(character(&name).ok_or(Malformed)?);
            }
            Event::End(_) => {
                let name = open.pop().ok_or(Malformed)?;
                if let (Some(fields), true) = (found.last_mut(), open.last().is_some_and(|o| o == record)) {
                    fields.insert(name, std::mem::take(&mut text));
                }
            }
            Event::Eof if open.is_empty() => return Ok(found),
            Event::Eof => return Err(Malformed),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            // A document type could define entities; nobody sends one to a queue.
            Event::DocType(_) | Event::Empty(_) => return Err(Malformed),
        }
    }
}

/// What `&name;` stands for.
fn character(name: &str) -> Option<char> {
    let named = [("lt", '<'), ("gt", '>'), ("amp", '&'), ("quot", '"'), ("apos", '\'')];
    if let Some((_, character)) = named.iter().find(|(known, _)| *known == name) {
        return Some(*character);
    }
    let digits = name.strip_prefix('#')?;
    let code = match digits.strip_prefix('x') {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    char::from_u32(code.ok()?).filter(|&character| !forbidden(character))
}

/// Not a `Char` of XML 1.0: cannot be in a document, not even as a reference.
fn forbidden(character: char) -> bool {
    matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

fn element(body: &mut String, name: &str, text: &str) {
    write!(body, "<{name}>{}</{name}>", escape(text)).expect("writing to a string cannot fail");
}

/// A carriage return is written as a reference, or the reader would take it for a line feed.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['<', '>', '&', '"', '\r']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\r' => escaped.push_str("&#xD;"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text_of(document: &str) -> Result<Option<String>, Malformed> {
        Ok(records(document, "QueueMessage")?.pop().and_then(|mut fields| fields.remove("MessageText")))
    }

    proptest! {
        #[test]
        fn any_text_that_xml_allows_survives(text in "[^\u{0}-\u{8}\u{b}\u{c}\u{e}-\u{1f}\u{fffe}\u{ffff}]{0,60}") {
            prop_assert_eq!(text_of(&message_text(&text)), Ok(Some(text)));
        }

        #[test]
        fn no_document_makes_the_reader_panic(document in ".{0,80}") {
            let _ = records(&document, "QueueMessage");
        }
    }

    #[test]
    fn bodies_of_clients_are_read() {
        let cases = [
            ("<QueueMessage><MessageText>a</MessageText></QueueMessage>", Ok(Some("a"))),
            (
                "\u{feff}<?xml version='1.0'?>\n<QueueMessage>\n <MessageText>  </MessageText>\n</QueueMessage>\n",
                Ok(Some("  ")),
            ),
            ("<QueueMessage><MessageText/></QueueMessage>", Ok(Some(""))),
            (
                "<QueueMessage><MessageText><![CDATA[<a>]]>&#65;&lt;</MessageText></QueueMessage>",
                Ok(Some("<a>A<")),
            ),
            ("<QueueMessage></QueueMessage>", Ok(None)),
            ("<Other><MessageText>a</MessageText></Other>", Ok(None)),
            ("<QueueMessage><MessageText>a</QueueMessage>", Err(Malformed)),
            ("<QueueMessage><MessageText>a", Err(Malformed)),
            ("<QueueMessage><MessageText>&nope;</MessageText></QueueMessage>", Err(Malformed)),
            ("<QueueMessage><MessageText>a\u{1}b</MessageText></QueueMessage>", Err(Malformed)),
            ("<QueueMessage><MessageText>&#1;</MessageText></QueueMessage>", Err(Malformed)),
        ];
        for (document, expected) in cases {
            assert_eq!(text_of(document), expected.map(|text| text.map(str::to_owned)), "{document}");
        }
    }
}
