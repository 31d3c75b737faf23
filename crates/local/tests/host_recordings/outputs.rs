//! What output values become in a queue: `out-queue-` cases.

use local::host::app::{Function, Output, Trigger};
use local::host::invocation::read_answer;
use local::host::outputs::messages;
use serde_json::Value;

use crate::assert_all;
use crate::cases::PARTS;

fn function(stimulus: &str) -> Function {
    let name = if stimulus.contains("$return") { "$return" } else { "next" };
    let output = Output::Queue {
        name: name.into(),
        queue_name: "n".into(),
        connection: None,
        binary: stimulus.contains("dataType:'binary'") || stimulus.contains("binary"),
    };
    let trigger =
        Trigger::Queue { binding: "item".into(), queue_name: "q".into(), connection: None, binary: false };
    Function { name: "DispatchQueue".into(), trigger, outputs: vec![output] }
}

/// As the recording writes a message: text, or its bytes where it is not text.
fn shown(message: &[u8]) -> String {
    match std::str::from_utf8(message) {
        Ok(text) if !text.contains('\0') => text.to_owned(),
        _ => {
            let hex: Vec<String> = message.iter().map(|byte| format!("{byte:02X}")).collect();
            format!("bytes:{}", hex.join("-"))
        }
    }
}

fn check(case: &Value) -> Result<(), String> {
    let body = case["answered"].as_str().unwrap_or_default();
    let response = hyper::Response::builder()
        .header("content-type", "application/json")
        .body(bytes::Bytes::from(body.to_owned()))
        .map_err(|error| error.to_string())?;
    let answer = read_answer(&response).ok_or("never completes")??;
    let function = function(case["stimulus"].as_str().unwrap_or_default());
    let Output::Queue { name, binary, .. } = &function.outputs[0] else { return Err("no queue".into()) };
    let ours = match answer.output(&function, name).map(|value| messages(value, *binary)) {
        None => Ok(Vec::new()),
        Some(written) => written.map(|all| all.iter().map(|message| shown(message)).collect::<Vec<_>>()),
    };
    let failed = case["outcome"]["outcome"].as_str() != Some("SUCCEEDED");
    let theirs: Vec<String> = case["outcome"]["messages"]
        .as_array()
        .map(|all| all.iter().map(|text| text.as_str().unwrap_or_default().to_owned()).collect())
        .unwrap_or_default();
    match ours {
        Err(_) if failed => Ok(()),
        Ok(ours) if !failed && ours == theirs => Ok(()),
        ours => Err(format!("ours {ours:?}, theirs {} {theirs:?}", case["outcome"]["outcome"])),
    }
}

#[test]
fn outputs_become_the_recorded_messages() {
    let cases = PARTS.replayed_by("outputs::outputs_become_the_recorded_messages");
    assert_all(cases.into_iter().map(|(id, case)| (id, check(&case))).collect());
}
