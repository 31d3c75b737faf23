//! What a handler's output values become. The rules were recorded from the real host; the odd ones
//! are its own.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Serialize;
use serde_json::Value;

/// .NET's `Convert.FromBase64String` wants padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// The queue messages that a value becomes, byte for byte. An array of strings is the one form
/// that is exact; a single string is tried as base64 first unless the binding is `binary`.
///
/// # Errors
/// A text that looks like JSON and is not fails the invocation.
pub fn messages(value: &Value, binary: bool) -> Result<Vec<Vec<u8>>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(elements) => Ok(elements.iter().map(element).collect()),
        Value::String(text) => from_text(text, binary),
        Value::Object(_) => Ok(vec![indented(value).into_bytes()]),
        Value::Number(_) | Value::Bool(_) => Ok(vec![scalar(value).into_bytes()]),
    }
}

fn from_text(text: &str, binary: bool) -> Result<Vec<Vec<u8>>, String> {
    if !binary && let Some(bytes) = base64(text) {
        return Ok(vec![bytes]);
    }
    let trimmed = text.trim();
    let looks_like = |open, close| trimmed.starts_with(open) && trimmed.ends_with(close);
    if looks_like('{', '}') || looks_like('[', ']') {
        let value: Value =
            serde_json::from_str(trimmed).map_err(|error| format!("an output is not valid JSON: {error}"))?;
        return match value {
            Value::Array(elements) => Ok(elements.iter().map(element).collect()),
            object => Ok(vec![indented(&object).into_bytes()]),
        };
    }
    Ok(vec![text.as_bytes().to_vec()])
}

/// The bytes, if .NET would take the text for base64: white space is ignored.
fn base64(text: &str) -> Option<Vec<u8>> {
    let dense: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    BASE64.decode(dense).ok()
}

fn element(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        Value::Null => Vec::new(),
        Value::Array(_) | Value::Object(_) => indented(value).into_bytes(),
        Value::Number(_) | Value::Bool(_) => scalar(value).into_bytes(),
    }
}

/// .NET writes `True` and `False`.
fn scalar(value: &Value) -> String {
    match value {
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    }
}

/// Newtonsoft's indented form: two blanks, and an empty object on one line.
pub(super) fn indented(value: &Value) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"  ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    value.serialize(&mut serializer).expect("a JSON value serializes into memory");
    String::from_utf8(text).expect("serde_json writes UTF-8")
}
