//! What a webhook is told: the vendor's events of batches.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of a webhook's request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct Event {
    /// The same in every attempt to deliver it.
    pub id: String,
    /// Always `event`.
    pub object: Cow<'static, str>,
    /// When it happened, in Unix seconds.
    pub created_at: u64,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// To what.
    pub data: EventData,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub enum EventKind {
    /// Every item of a batch has an outcome of its own.
    #[serde(rename = "batch.completed")]
    BatchCompleted,
    /// Nothing could run it.
    #[serde(rename = "batch.failed")]
    BatchFailed,
    /// Its deadline passed.
    #[serde(rename = "batch.expired")]
    BatchExpired,
    /// Its owner stopped it.
    #[serde(rename = "batch.cancelled")]
    BatchCancelled,
}

impl EventKind {
    /// All of them.
    pub const ALL: [EventKind; 4] = [
        EventKind::BatchCompleted,
        EventKind::BatchFailed,
        EventKind::BatchExpired,
        EventKind::BatchCancelled,
    ];

    /// As in the body.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::BatchCompleted => "batch.completed",
            EventKind::BatchFailed => "batch.failed",
            EventKind::BatchExpired => "batch.expired",
            EventKind::BatchCancelled => "batch.cancelled",
        }
    }
}

/// What it happened to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct EventData {
    /// The batch's id.
    pub id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_written_as_the_vendor_does() {
        let event = Event {
            id: "evt_a".to_owned(),
            object: Cow::Borrowed("event"),
            created_at: 7,
            kind: EventKind::BatchExpired,
            data: EventData { id: "batch_a".to_owned() },
        };
        let text = r#"{"id":"evt_a","object":"event","created_at":7,"type":"batch.expired","data":{"id":"batch_a"}}"#;
        assert_eq!(serde_json::to_string(&event).unwrap(), text);
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
