//! Request targets as Kestrel and the host rewrite them on the way to the handler.

use hyper::Uri;

/// A request target, read as Kestrel reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Decoded, dot segments removed; `%2F` is the one escape that stays.
    path: String,
    query: Option<String>,
}

impl Target {
    pub(super) fn of(uri: &Uri) -> Target {
        let decoded = decode_keeping_slashes(uri.path());
        Target { path: without_dot_segments(&decoded), query: uri.query().map(str::to_owned) }
    }

    /// The path's segments after the first slash, decoded.
    pub(super) fn segments(&self) -> Vec<String> {
        let path = self.path.trim_start_matches('/').trim_end_matches('/');
        if path.is_empty() { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// What a proxied request asks for: the query as sent; `%2F` has become `%252F`.
    pub(super) fn proxied(&self) -> String {
        let path = encode_path(&self.path, |_| false);
        match self.query.as_deref() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        }
    }

    /// What a forwarded request asks for: `%2F` stays, the query is rebuilt from a dictionary.
    pub(super) fn forwarded(&self) -> String {
        let path = encode_path(&self.path, |rest| {
            rest.get(..3).is_some_and(|text| text.eq_ignore_ascii_case("%2F"))
        });
        let pairs = self.query_values();
        let encoded = |(name, values): &(String, Vec<String>)| {
            // Commas within values are not told from those between them.
            format!("{}={}", encode_data(name), encode_data(&values.join(",")).replace("%2C", ","))
        };
        match pairs.is_empty() {
            true => path,
            false => format!("{path}?{}", pairs.iter().map(encoded).collect::<Vec<_>>().join("&")),
        }
    }

    /// What an envelope tells: the query as sent.
    pub(super) fn url(&self, host: &str) -> String {
        format!("http://{host}{}", self.proxied())
    }

    /// The query as a dictionary: names compared without case, values in order.
    pub(super) fn query_values(&self) -> Vec<(String, Vec<String>)> {
        let mut found: Vec<(String, Vec<String>)> = Vec::new();
        for pair in self.query.as_deref().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode_form(name), decode_form(value));
            match found.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                // The last spelling of a name is the one that is told.
                Some((known, values)) => {
                    *known = name;
                    values.push(value);
                }
                None => found.push((name, vec![value])),
            }
        }
        found
    }
}

fn hex(bytes: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(bytes.get(1..3)?).ok()?;
    (bytes[0] == b'%').then(|| u8::from_str_radix(text, 16).ok())?
}

fn decode(text: &str, keep: impl Fn(u8) -> bool, plus_is_blank: bool) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        match hex(&bytes[at..]) {
            Some(byte) if !keep(byte) => {
                decoded.push(byte);
                at += 3;
            }
            _ => {
                decoded.push(if plus_is_blank && bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn decode_keeping_slashes(path: &str) -> String {
    decode(path, |byte| byte == b'/', false)
}

fn decode_form(text: &str) -> String {
    decode(text, |_| false, true)
}

fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.trim_start_matches('/').split('/').peekable();
    let starts = path.len() - path.trim_start_matches('/').len();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("{}{}", "/".repeat(starts.max(1)), kept.join("/"))
}

/// Percent-encodes what ASP.NET's `PathString` does not allow. `keep` sees the rest of the text.
fn encode_path(path: &str, keep: impl Fn(&str) -> bool) -> String {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte);
    let mut encoded = String::with_capacity(path.len());
    for (at, c) in path.char_indices() {
        let mut buffer = [0; 4];
        for byte in c.encode_utf8(&mut buffer).bytes() {
            if allowed(byte) || (byte == b'%' && keep(&path[at..])) {
                encoded.push(byte as char);
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    encoded
}

/// .NET's `Uri.EscapeDataString`.
fn encode_data(text: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode =
        |byte: u8| if unreserved(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}
