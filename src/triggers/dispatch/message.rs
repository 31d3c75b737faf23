//! What a queue message says. Producers write a ticket as its text (`az storage message put`, the SDKs as
//! they are) or as base64 of that text (the SDKs' base64 policies, hosts whose `messageEncoding` is left as
//! it is). Both are read, as no ticket looks like base64; what cannot be read is told apart, so that its
//! dead letter says what was wrong with it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use wire::ticket::{self, Ticket};

/// Why a message is no ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Nothing but white space.
    Empty,
    /// Neither a ticket nor base64.
    NoTicket,
    /// base64 of a text that is no ticket.
    NoTicketInBase64,
    /// base64, and what it encodes is no UTF-8.
    NoTextInBase64,
    /// A ticket of another version.
    OtherVersion,
}

impl Unread {
    /// The reason of its dead letter.
    pub fn reason(self) -> &'static str {
        match self {
            Unread::Empty => "empty_message",
            Unread::NoTicket => "no_ticket",
            Unread::NoTicketInBase64 => "base64_no_ticket",
            Unread::NoTextInBase64 => "base64_no_text",
            Unread::OtherVersion => "ticket_version",
        }
    }
}

/// The ticket that a message is.
///
/// # Errors
/// Why it is none.
pub fn read(text: &str) -> Result<Ticket, Unread> {
    let text = bare(text);
    if text.is_empty() {
        return Err(Unread::Empty);
    }
    if let Some(ticket) = parse(text) {
        return of_this_version(ticket);
    }
    let inner = unwrapped(text).ok_or(Unread::NoTicket)?;
    let inner = String::from_utf8(inner).map_err(|_| Unread::NoTextInBase64)?;
    of_this_version(parse(bare(&inner)).ok_or(Unread::NoTicketInBase64)?)
}

/// Without the byte order mark that .NET and PowerShell write, and without line ends of shells.
fn bare(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim()
}

fn parse(text: &str) -> Option<Ticket> {
    serde_json::from_str(text).ok()
}

fn of_this_version(ticket: Ticket) -> Result<Ticket, Unread> {
    if ticket.v == ticket::VERSION { Ok(ticket) } else { Err(Unread::OtherVersion) }
}

/// What base64 encodes. A shell's `base64` breaks its lines; blanks are for words, which are no base64.
fn unwrapped(text: &str) -> Option<Vec<u8>> {
    let joined: String = text.chars().filter(|letter| !matches!(letter, '\r' | '\n')).collect();
    BASE64.decode(joined).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#"{"v":1,"tenant":"a","job_id":"j1"}"#;

    fn encoded(text: impl AsRef<[u8]>) -> String {
        BASE64.encode(text)
    }

    #[test]
    fn tickets_in_either_encoding_are_read() {
        let rescue = r#"{"v":1,"tenant":"a","job_id":"j1","shard":3,"try":1}"#;
        let wrapped = encoded(rescue);
        let (first, second) = wrapped.split_at(20);
        let cases = [
            PLAIN.to_owned(),
            format!("{PLAIN}\n"),
            format!("\u{feff}{PLAIN}"),
            "{ \"job_id\": \"j1\",\r\n \"tenant\": \"a\", \"v\": 1 }\r\n".to_owned(),
            encoded(PLAIN),
            format!("{}\n", encoded(PLAIN)),
            encoded(format!("{PLAIN}\n")),
            encoded(format!("\u{feff}{PLAIN}")),
            format!("{first}\n{second}\n"),
        ];
        for text in cases {
            let ticket = read(&text).unwrap_or_else(|unread| panic!("{text:?}: {unread:?}"));
            assert_eq!((ticket.tenant.as_str(), ticket.job_id.as_str()), ("a", "j1"), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_ticket_is_told_apart() {
        // The most that the service takes.
        let largest = "x".repeat(64 * 1024);
        let utf16: Vec<u8> = PLAIN.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases = [
            (String::new(), Unread::Empty),
            (" \r\n".to_owned(), Unread::Empty),
            ("\u{feff}".to_owned(), Unread::Empty),
            ("look at job one".to_owned(), Unread::NoTicket),
            ("{\"job_id\":\"j1\"}".to_owned(), Unread::NoTicket),
            (PLAIN[..20].to_owned(), Unread::NoTicket),
            ("\"j1\"".to_owned(), Unread::NoTicket),
            // A ticket that was made JSON twice.
            (serde_json::to_string(PLAIN).unwrap(), Unread::NoTicket),
            ("12345".to_owned(), Unread::NoTicket),
            (format!("{largest}!"), Unread::NoTicket),
            (encoded("look at job j1"), Unread::NoTicketInBase64),
            (encoded(encoded(PLAIN)), Unread::NoTicketInBase64),
            (encoded(""), Unread::Empty),
            (encoded(&utf16), Unread::NoTicketInBase64),
            (encoded([0xff, 0xfe, 0x00]), Unread::NoTextInBase64),
            // Letters alone may be base64 of anything.
            ("done".to_owned(), Unread::NoTextInBase64),
            (PLAIN.replace("\"v\":1", "\"v\":2"), Unread::OtherVersion),
            (encoded(PLAIN.replace("\"v\":1", "\"v\":2")), Unread::OtherVersion),
        ];
        for (text, expected) in cases {
            let shown: String = text.chars().take(60).collect();
            assert_eq!(read(&text), Err(expected), "{shown:?}");
        }
        assert!(read(&largest).is_err(), "letters of the largest size");
    }

    #[test]
    fn reasons_are_codes_and_none_is_used_twice() {
        let all = [
            Unread::Empty,
            Unread::NoTicket,
            Unread::NoTicketInBase64,
            Unread::NoTextInBase64,
            Unread::OtherVersion,
        ];
        let codes: std::collections::BTreeSet<_> = all.map(Unread::reason).into();
        assert_eq!(codes.len(), all.len());
        assert!(codes.iter().all(|code| {
            code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        }));
    }
}
