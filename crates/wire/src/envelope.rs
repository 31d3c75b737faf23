//! The envelope in which the Functions host posts a queue message or a timer tick, and our answer.
//!
//! The host encodes every text value as a JSON string that itself contains JSON text; other
//! writers (and the published samples) do not. [`Envelope::text`] takes both.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `POST /{FunctionName}` of the host.
#[derive(Clone, Debug, Deserialize)]
pub struct Envelope {
    /// One value, under the name of the trigger's binding.
    #[serde(rename = "Data")]
    pub data: Map<String, Value>,
    /// What the host says about it. Top-level members of a JSON message overwrite it, so nothing
    /// in here is ever believed.
    #[serde(rename = "Metadata", default)]
    pub metadata: Map<String, Value>,
}

impl Envelope {
    /// The text of the queue message bound to `name`; none when the envelope has no such value.
    pub fn text(&self, name: &str) -> Option<String> {
        self.data.get(name).map(message_text)
    }

    /// The tick bound to `name`; none when it is missing or no timer's.
    pub fn timer(&self, name: &str) -> Option<Timer> {
        Timer::deserialize(self.data.get(name)?).ok()
    }
}

/// Undoes one level of encoding: a string that holds a JSON string is that inner string; any
/// other string stands for itself; bare numbers, objects and lists are their JSON text.
fn message_text(value: &Value) -> String {
    match value {
        Value::String(encoded) => serde_json::from_str::<String>(encoded).unwrap_or_else(|_| encoded.clone()),
        bare => bare.to_string(),
    }
}

/// A tick of a timer trigger.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Timer {
    /// Whether the occurrence should have run earlier.
    #[serde(rename = "IsPastDue", default)]
    pub is_past_due: bool,
}

/// What a queue or timer function answers when it is done: never an empty body, which would
/// hang the invocation until the host kills the handler.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Done {
    /// Lines for the function's own log.
    #[serde(rename = "Logs", skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(data: &str) -> Option<String> {
        let envelope: Envelope = serde_json::from_str(&format!(r#"{{"Data":{data}}}"#)).unwrap();
        envelope.text("item")
    }

    #[test]
    fn texts_of_host_and_samples_are_understood() {
        let cases = [
            (r#"{"item":"\"hello\""}"#, Some("hello")),
            (r#"{"item":"hello"}"#, Some("hello")),
            (r#"{"item":"\"{\\\"a\\\":1}\""}"#, Some(r#"{"a":1}"#)),
            (r#"{"item":"{\"a\":1}"}"#, Some(r#"{"a":1}"#)),
            (r#"{"item":"\"\\\"quoted\\\"\""}"#, Some(r#""quoted""#)),
            (r#"{"item":"\"\""}"#, Some("")),
            (r#"{"item":"12"}"#, Some("12")),
            (r#"{"item":12}"#, Some("12")),
            (r#"{"item":{"a":1}}"#, Some(r#"{"a":1}"#)),
            (r#"{"other":"x"}"#, None),
        ];
        for (data, text) in cases {
            assert_eq!(text_of(data).as_deref(), text, "{data}");
        }
    }

    #[test]
    fn a_timer_without_a_schedule_status_is_one() {
        let envelope: Envelope = serde_json::from_str(
            r#"{"Data":{"timer":{"Schedule":{"AdjustForDST":true},"ScheduleStatus":null,"IsPastDue":true}}}"#,
        )
        .unwrap();
        assert_eq!(envelope.timer("timer"), Some(Timer { is_past_due: true }));
        assert_eq!(envelope.timer("item"), None);
    }

    #[test]
    fn an_answer_is_never_empty() {
        assert_eq!(serde_json::to_string(&Done::default()).unwrap(), "{}");
    }
}
