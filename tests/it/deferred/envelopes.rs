//! What the host posts.

use serde_json::{Value, json};
use wire::envelope::Envelope;

/// A queue message as the host posts it.
pub fn ticket(text: &str) -> Envelope {
    let data = json!({ "ticket": serde_json::to_string(text).unwrap() });
    envelope(data)
}

/// A tick of a timer as the host posts it.
pub fn tick() -> Envelope {
    envelope(json!({ "timer": { "ScheduleStatus": null, "IsPastDue": false } }))
}

fn envelope(data: Value) -> Envelope {
    serde_json::from_value(json!({ "Data": data, "Metadata": {} })).unwrap()
}
