//! One line of a batch's input: whether it has the strict form of the OpenAI batch API, and how much
//! work it is.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::act::realtime;
use crate::failure::Failure;
use crate::triggers::openai::shape;

/// What a line may ask for, as told to people.
pub const URLS: &str = "/v1/embeddings, /v1/chat/completions, /v1/completions";
/// Longest `custom_id`: every result and every error repeats it.
const CUSTOM_ID_BYTES_MAX: usize = 512;
/// What an error shows of a client's own text.
const SHOWN_CHARS_MAX: usize = 80;
/// Longest message of an error.
const MESSAGE_CHARS_MAX: usize = 300;

/// A line that is right by itself.
#[derive(Debug)]
pub struct Checked<'a> {
    /// The client's name of it.
    pub custom_id: Cow<'a, str>,
    /// As `/v1/embeddings`.
    pub url: &'static str,
    /// As the line names it.
    pub model: Cow<'a, str>,
    /// Inputs.
    pub items: u64,
    /// Tokens that go in; an estimate.
    pub tokens_in: u64,
    /// Tokens that may come out.
    pub tokens_out: u64,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// The member that is wrong.
    pub param: Option<String>,
}

/// A line's members, each as it stands there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<'a> {
    #[serde(borrow)]
    custom_id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    url: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Checks a line.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn line(line: &[u8]) -> Result<Checked<'_>, Wrong> {
    let text = std::str::from_utf8(line)
        .map_err(|_| wrong("invalid_utf8", "the line is not UTF-8; encode the file as UTF-8", ""))?;
    // A list would do for the parser.
    if !text.trim_start().starts_with('{') {
        return Err(wrong("invalid_json_line", "the line is no JSON object", ""));
    }
    let members: Members<'_> = serde_json::from_str(text).map_err(|error| {
        wrong("invalid_json_line", &format!("the line is no request: {}", place(&error)), "")
    })?;
    let custom_id = required(members.custom_id, "custom_id")?;
    if custom_id.is_empty() || custom_id.len() > CUSTOM_ID_BYTES_MAX {
        let message = format!("`custom_id` must have from 1 to {CUSTOM_ID_BYTES_MAX} bytes");
        return Err(wrong("invalid_custom_id", &message, "custom_id"));
    }
    if required(members.method, "method")? != "POST" {
        return Err(wrong("invalid_method", "`method` must be POST", "method"));
    }
    let url = required(members.url, "url")?;
    let Some(operation) = realtime::operation(&url) else {
        let message = format!("`url` is `{}`; it must be one of {URLS}", shown(&url));
        return Err(wrong("invalid_url", &message, "url"));
    };
    let body = members.body.ok_or_else(|| missing("body"))?.get();
    if !body.starts_with('{') {
        return Err(wrong("invalid_value", "`body` must be a JSON object", "body"));
    }
    let shape = shape::read(operation, body.as_bytes()).map_err(in_body)?;
    if shape.stream {
        let message = "`stream` cannot be true in a batch; leave it out";
        return Err(wrong("invalid_value", message, "body.stream"));
    }
    Ok(Checked {
        custom_id,
        url: realtime::url(operation),
        items: shape.items,
        tokens_in: shape.tokens_in.0,
        tokens_out: shape.tokens_out.0,
        model: shape.model,
    })
}

/// A `custom_id` that another line has already.
pub fn duplicate(custom_id: &str, first: u64) -> Wrong {
    let message = format!("`custom_id` is `{}`, which line {first} has already", shown(custom_id));
    wrong("duplicate_custom_id", &message, "custom_id")
}

/// A member that differs from the same of the lines before.
pub fn mixed(param: &str, code: &'static str, found: &str, wanted: &str) -> Wrong {
    let message = format!("`{param}` is `{}`, but `{}` before; a file has one", shown(found), shown(wanted));
    wrong(code, &message, param)
}

/// A line above the limit.
pub fn too_long() -> Wrong {
    let message = format!("the line has more than {} bytes", facts::line::LINE_BYTES_MAX);
    wrong("line_too_long", &message, "")
}

fn required<'a>(raw: Option<&'a RawValue>, name: &'static str) -> Result<Cow<'a, str>, Wrong> {
    let raw = raw.ok_or_else(|| missing(name))?;
    let text: Result<Text<'a>, _> = serde_json::from_str(raw.get());
    text.map(|text| text.0).map_err(|_| wrong("invalid_value", &format!("`{name}` must be text"), name))
}

fn missing(name: &str) -> Wrong {
    wrong("missing_required_parameter", &format!("`{name}` is missing"), name)
}

/// A failure of the body, told as one of the line.
fn in_body(failure: Failure) -> Wrong {
    let param = match failure.param.as_deref() {
        None | Some("body") => "body".to_owned(),
        Some(field) => format!("body.{field}"),
    };
    Wrong { param: Some(param), ..wrong(failure.code, &failure.message, "") }
}

fn wrong(code: &'static str, message: &str, param: &str) -> Wrong {
    let message = message.chars().take(MESSAGE_CHARS_MAX).collect();
    Wrong { code, message, param: Some(param.to_owned()).filter(|param| !param.is_empty()) }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

/// What the parser found, by its column: the line is always the first.
fn place(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(body: &str) -> String {
        format!(r#"{{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{body}}}"#)
    }

    #[test]
    fn work_is_estimated_as_a_requests() {
        let text = good(r#"{"model":"org\/m","input":["abcd","abcdefgh"]}"#);
        let checked = line(text.as_bytes()).unwrap();
        assert_eq!((checked.url, checked.model.as_ref()), ("/v1/embeddings", "org/m"));
        assert_eq!((checked.items, checked.tokens_in, checked.tokens_out), (2, 3, 0));
        let chat = r#"{"custom_id":"c","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{}],"max_tokens":7}}"#;
        assert_eq!(line(chat.as_bytes()).unwrap().tokens_out, 7);
    }

    #[test]
    fn bad_lines_are_refused_by_name() {
        let body = r#"{"model":"m","input":"x"}"#;
        let swap = |from: &str, to: &str| good(body).replace(from, to);
        let long = swap("\"a\"", &format!("\"{}\"", "x".repeat(513)));
        let unknown = format!(r#"{{"{}":1}}"#, "x".repeat(1_000));
        let cases: &[(&str, &str, &str)] = &[
            ("", "invalid_json_line", ""),
            ("{", "invalid_json_line", ""),
            ("\"x\"", "invalid_json_line", ""),
            (r#"["a","POST","/v1/embeddings",{}]"#, "invalid_json_line", ""),
            (&swap("}}", "}} {}"), "invalid_json_line", ""),
            (&swap("\"method\"", "\"meth\""), "invalid_json_line", ""),
            (&swap("\"a\",", "\"a\",\"custom_id\":\"b\","), "invalid_json_line", ""),
            (&unknown, "invalid_json_line", ""),
            (r#"{"method":"POST"}"#, "missing_required_parameter", "custom_id"),
            (&swap("\"a\"", "null"), "missing_required_parameter", "custom_id"),
            (&swap("\"a\"", "7"), "invalid_value", "custom_id"),
            (&swap("\"a\"", "\"\""), "invalid_custom_id", "custom_id"),
            (&long, "invalid_custom_id", "custom_id"),
            (&swap("POST", "GET"), "invalid_method", "method"),
            (&swap("/v1/embeddings", "/v1/moderations"), "invalid_url", "url"),
            (&swap("/v1/embeddings", "https://x/v1/embeddings"), "invalid_url", "url"),
            (&good("7"), "invalid_value", "body"),
            (&good("[]"), "invalid_value", "body"),
            (&good("{}"), "missing_required_parameter", "body.model"),
            (&good(r#"{"model":"m"}"#), "missing_required_parameter", "body.input"),
            (&good(r#"{"model":"m","input":""}"#), "invalid_value", "body.input"),
            (&good(r#"{"model":"m","input":"x","stream":true}"#), "invalid_value", "body.stream"),
            (&good(r#"{"model":"m","input":"x","stream":1}"#), "invalid_value", "body.stream"),
        ];
        for (text, code, param) in cases {
            let wrong = line(text.as_bytes()).unwrap_err();
            assert_eq!((wrong.code, wrong.param.as_deref().unwrap_or("")), (*code, *param), "{text}");
            assert!(!wrong.message.is_empty() && wrong.message.len() <= MESSAGE_CHARS_MAX, "{text}");
        }
        assert_eq!(line(b"{\"a\":\"\xff\"}").unwrap_err().code, "invalid_utf8");
    }
}
