//! Reading request bodies: every property is known, has its type and is in its range, or the
//! request is refused with the property's name.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::duration;
use super::fault::{Code, Fault};

/// A JSON object of a request.
pub(super) type Object = Map<String, Value>;

/// What a property may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Property {
    /// Kept and obeyed, or kept and shown because it changes nothing here.
    Taken,
    /// Refused, because leaving it out silently would change what happens.
    Refused,
}

/// The properties of an object, by their names on the wire.
pub(super) type Properties = &'static [(&'static str, Property)];

/// The body as an object; an empty one where there is none.
pub(super) fn object(body: &[u8]) -> Result<Object, Fault> {
    if body.is_empty() {
        return Ok(Object::new());
    }
    serde_json::from_slice(body).map_err(|_| Code::InvalidRequestBody.into())
}

/// Refuses properties that the service does not know or the stand-in does not carry out. An
/// unknown one is nearly always a misspelt one: `nodeAgentSkuId` for `nodeAgentSKUId`.
pub(super) fn check(object: &Object, properties: Properties) -> Result<(), Fault> {
    for (name, value) in object {
        match properties.iter().find(|(known, _)| known == name) {
            Some((_, Property::Taken)) => {}
            Some((_, Property::Refused)) if is_nothing(value) => {}
            Some((_, Property::Refused)) => {
                let reason = "the Azure Batch stand-in does not carry it out";
                return Err(Fault::property(Code::UnsupportedProperty, name, reason));
            }
            None => return Err(Fault::property(Code::InvalidRequestBody, name, "no property has this name")),
        }
    }
    Ok(())
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// An id: up to 64 letters, digits, hyphens and underscores.
pub(super) fn id(object: &Object) -> Result<String, Fault> {
    let id = text(object, "id")?.ok_or_else(|| missing("id"))?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if id.is_empty() || id.len() > 64 || !id.bytes().all(allowed) {
        return Err(invalid("id", "an id has 1 to 64 letters, digits, hyphens and underscores"));
    }
    Ok(id.to_owned())
}

/// A text.
pub(super) fn text<'a>(object: &'a Object, name: &str) -> Result<Option<&'a str>, Fault> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid(name, "it is a text")),
    }
}

/// One of a closed list of texts.
pub(super) fn choice(
    object: &Object,
    name: &str,
    allowed: &[&'static str],
) -> Result<Option<&'static str>, Fault> {
    let Some(given) = text(object, name)? else { return Ok(None) };
    // The service's enums do not mind the case.
    let found = allowed.iter().find(|allowed| allowed.eq_ignore_ascii_case(given));
    found
        .map(|found| Some(*found))
        .ok_or_else(|| invalid(name, &format!("it is one of {}", allowed.join(", "))))
}

/// True or false.
pub(super) fn flag(object: &Object, name: &str) -> Result<Option<bool>, Fault> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(invalid(name, "it is true or false")),
    }
}

/// A whole number in a range.
pub(super) fn number(object: &Object, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, Fault> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_i64() {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            Some(_) => {
                let reason = format!("it is from {} to {}", range.start(), range.end());
                Err(Fault::property(Code::OutOfRangeInput, name, &reason))
            }
            None => Err(invalid(name, "it is a whole number")),
        },
    }
}

/// A duration in milliseconds.
pub(super) fn duration_ms(object: &Object, name: &str) -> Result<Option<u64>, Fault> {
    let Some(given) = text(object, name)? else { return Ok(None) };
    duration::parse_ms(given)
        .map(Some)
        .ok_or_else(|| invalid(name, "it is an ISO 8601 duration such as PT5M"))
}

/// An object inside the object; an empty one where it is absent.
pub(super) fn inner(object: &Object, name: &str) -> Result<Object, Fault> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(Object::new()),
        Some(Value::Object(inner)) => Ok(inner.clone()),
        Some(_) => Err(invalid(name, "it is an object")),
    }
}

/// `[{"name", "value"}]`, as environment settings are written.
pub(super) fn settings(object: &Object, name: &str) -> Result<Vec<(String, String)>, Fault> {
    let wrong = || invalid(name, "it is a list of objects with name and value");
    let items = match object.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(wrong()),
    };
    let pair = |item: &Value| {
        let name =
            item.get("name")?.as_str().filter(|name| !name.is_empty() && !name.contains(['=', '\0']))?;
        let value = item.get("value").and_then(Value::as_str).unwrap_or_default();
        (!value.contains('\0')).then(|| (name.to_owned(), value.to_owned()))
    };
    items.iter().map(|item| pair(item).ok_or_else(wrong)).collect()
}

/// The fault of a property that must be there.
pub(super) fn missing(name: &str) -> Fault {
    Fault::property(Code::MissingRequiredProperty, name, "it is required")
}

/// The fault of a property whose value cannot be.
pub(super) fn invalid(name: &str, reason: &str) -> Fault {
    Fault::property(Code::InvalidPropertyValue, name, reason)
}
