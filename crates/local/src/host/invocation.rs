//! One invocation by envelope: `POST /{FunctionName}` at the handler and what its answer means.

use serde_json::{Map, Value};

/// What is posted to the handler.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// `Data.{binding}`, already encoded as the host encodes it.
    pub data: Map<String, Value>,
    /// `Metadata`, already encoded as the host encodes it.
    pub metadata: Map<String, Value>,
}

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The handler answered 2xx with a JSON object and every output was written.
    Succeeded,
    /// Anything else; the text is for the log.
    Failed(String),
}

/// A .NET string, number, bool or list travels as a JSON string that itself contains JSON text.
pub fn double_encoded(value: &Value) -> Value {
    Value::String(value.to_string())
}
