//! How the host's .NET writes times and turns JSON values into text.

use jiff::civil::DateTime;
use serde_json::{Map, Value, json};

use super::identity;
use super::invocation::double_encoded;
use crate::queue::date;

/// `DateTimeOffset.MinValue`: what stands for "never".
pub(super) const NEVER: &str = "0001-01-01T00:00:00+00:00";

/// `2026-11-21T01:58:38+00:00`: metadata drops fractions of seconds.
pub(super) fn whole_seconds(unix_ms: u64) -> String {
    date::civil(unix_ms).strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// `2026-11-21T02:07:00.0006+00:00`, without a fraction that is zero.
pub(super) fn local_time(unix_ms: u64) -> String {
    date::civil(unix_ms).strftime("%Y-%m-%dT%H:%M:%S%.f+00:00").to_string()
}

/// The `sys` of every envelope's metadata.
pub(super) fn sys(function: &str, now_ms: u64) -> Value {
    let now = date::civil(now_ms).strftime("%Y-%m-%dT%H:%M:%S%.fZ").to_string();
    json!({ "MethodName": function, "UtcNow": now, "RandGuid": identity::guid() })
}

/// Adds the members of a message that is a JSON object to its metadata, as the host's binding
/// data does: by names without regard to case, the first spelling kept; null and arrays left out;
/// everything but objects as .NET text. Afterwards no name that ends in `trigger` is left.
pub(super) fn merge_members(metadata: &mut Map<String, Value>, text: &str) {
    let trimmed = text.trim();
    if trimmed.starts_with('{')
        && trimmed.ends_with('}')
        && let Ok(Value::Object(members)) = serde_json::from_str(trimmed)
    {
        for (name, value) in members {
            let encoded = match &value {
                Value::Null | Value::Array(_) => continue,
                Value::Object(_) => value,
                scalar => double_encoded(&Value::String(invariant_text(scalar))),
            };
            let known = metadata.keys().find(|known| known.eq_ignore_ascii_case(&name)).cloned();
            metadata.insert(known.unwrap_or(name), encoded);
        }
    }
    metadata.retain(|name, _| !name.to_ascii_lowercase().ends_with("trigger"));
}

/// `Convert.ToString` in the invariant culture of what Newtonsoft read.
fn invariant_text(scalar: &Value) -> String {
    match scalar {
        Value::String(text) => invariant_date(text).unwrap_or_else(|| text.clone()),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    }
}

/// Newtonsoft reads a string that is a whole ISO date-time as a date; its text is in local time,
/// which is UTC here.
fn invariant_date(text: &str) -> Option<String> {
    if text.as_bytes().get(10) != Some(&b'T') {
        return None;
    }
    let local: DateTime = match text.parse::<jiff::Timestamp>() {
        Ok(instant) => jiff::tz::TimeZone::UTC.to_datetime(instant),
        Err(_) => text.parse().ok()?,
    };
    Some(local.strftime("%m/%d/%Y %H:%M:%S").to_string())
}
