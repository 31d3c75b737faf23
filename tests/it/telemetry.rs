//! What leaves the process: metrics, spans and lines of the log, as the receiver of Application Insights
//! envelopes sees them.

mod envelopes;
mod metrics;
mod secrets;
mod spans;

use local::telemetry::Receiver;
use serde_json::Value;

use crate::handler_stage::*;

/// A receiver on a free port.
fn receiver() -> Receiver {
    Receiver::start(std::net::TcpListener::bind("127.0.0.1:0").unwrap()).unwrap()
}

/// A handler whose telemetry goes there.
fn told(stage: Stage, receiver: &Receiver) -> Stage {
    stage.with("APPLICATIONINSIGHTS_CONNECTION_STRING", receiver.connection_string())
}

/// What a timer's or queue's function is posted.
async fn invoke(client: &reqwest::Client, url: &str, function: &str, name: &str, value: Value) -> u16 {
    let body = serde_json::json!({ "Data": { name: value }, "Metadata": {} }).to_string();
    client.post(format!("{url}/{function}")).body(body).send().await.unwrap().status().as_u16()
}

fn data(envelope: &Value) -> &Value {
    &envelope["data"]["baseData"]
}

/// Envelopes of this type.
fn of_type(receiver: &Receiver, kind: &str) -> Vec<Value> {
    let mut envelopes = receiver.envelopes();
    envelopes.retain(|envelope| envelope["data"]["baseType"] == kind);
    envelopes
}
